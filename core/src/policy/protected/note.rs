//! What somebody should know about how far the protection goes.

use std::fmt;
use std::path::PathBuf;

use codex_linux_sandbox::shown;
use nix::errno::Errno;

/// A limit of the protection that was met.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtectionNote {
    /// The tree is larger than the search for repositories goes in one call. What lies beyond is found later.
    Bounded {
        /// The writable root.
        root: PathBuf,
        /// How many directories were seen.
        directories: usize,
    },
    /// A directory in which something is protected can't be looked into.
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The file has other names, by which it can be changed.
    OtherNames {
        /// The protected file.
        path: PathBuf,
        /// How many names it has.
        names: u64,
    },
    /// A symbolic link stands where something is protected. It can be replaced during a call, and is put back afterwards.
    Link {
        /// The link.
        path: PathBuf,
    },
    /// There are more submodules and work trees than are looked at.
    TooMany {
        /// The git directory.
        path: PathBuf,
    },
}

impl fmt::Display for ProtectionNote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bounded { root, directories } => write!(
                formatter,
                "{}: the search for repositories ended after {directories} directories; those beyond are not protected yet",
                shown(root)
            ),
            Self::Unreadable { path, errno } => {
                write!(formatter, "{}: {}; what is protected in it is not known", shown(path), errno.desc())
            }
            Self::OtherNames { path, names } => write!(
                formatter,
                "{}: the file has {names} names, and can be changed by another of them",
                shown(path)
            ),
            Self::Link { path } => {
                write!(
                    formatter,
                    "{}: a symbolic link, which is put back if a command replaces it",
                    shown(path)
                )
            }
            Self::TooMany { path } => {
                write!(formatter, "{}: it has more submodules and work trees than are protected", shown(path))
            }
        }
    }
}
