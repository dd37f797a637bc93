//! Why a policy is refused, each with one line.

use std::path::PathBuf;

use codex_linux_sandbox::shown;
use nix::errno::Errno;

/// Why a policy is refused. Nothing runs under a policy that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A relative path would mean another directory wherever the program is started.
    #[error("writable root {path}: not an absolute path", path = shown(.0))]
    Relative(PathBuf),
    /// There is nothing there.
    #[error("writable root {path}: no such directory; create it or take it out of the writable roots", path = shown(.0))]
    Missing(PathBuf),
    /// A place that a rule names can't be looked at.
    #[error("{path}: {why}", path = shown(.path), why = .errno.desc())]
    Place {
        /// The place.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// It is a file or something else that is no directory.
    #[error("writable root {path}: not a directory", path = shown(.0))]
    NotADirectory(PathBuf),
    /// It can't be looked at.
    #[error("writable root {path}: {why}", path = shown(.path), why = .errno.desc())]
    Unreadable {
        /// The root.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The way to the configuration can't be looked at, so that nobody knows which roots would expose it.
    #[error("the configuration directory {path}: {why}", path = shown(.path), why = .errno.desc())]
    UnreadableConfiguration {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A tree that no command may write.
    #[error(
        "writable root {path}: {place} can't be writable: {why}", path = shown(.path), place = shown(.place)
    )]
    Forbidden {
        /// The root.
        path: PathBuf,
        /// What it resolves to.
        place: PathBuf,
        /// The reason.
        why: &'static str,
    },
    /// Writing there would let a command change the rules of the next one.
    #[error(
        "writable root {path}: it contains or lies in the configuration directory {codex_home}, which commands must \
         not write; choose a deeper directory, or set CODEX_HOME to a directory outside", path = shown(.path),
        codex_home = shown(.codex_home)
    )]
    Configuration {
        /// The root.
        path: PathBuf,
        /// The directory of the configuration.
        codex_home: PathBuf,
    },
    /// A command of an earlier call may have put the link there.
    #[error(
        "writable root {path}: it goes through the symbolic link {link}, which is newer than the file that names the root; \
         if the link is yours, save that file again, or name the directory that the link leads to",
        path = shown(.path), link = shown(.link)
    )]
    NewerLink {
        /// The root.
        path: PathBuf,
        /// The link.
        link: PathBuf,
    },
    /// A command could turn the link and move the root.
    #[error(
        "writable root {path}: it goes through the symbolic link {link}, which lies in the writable root {root}, so that \
         commands could point it elsewhere; name the directory that it leads to", path = shown(.path),
        link = shown(.link), root = shown(.root)
    )]
    WritableLink {
        /// The root.
        path: PathBuf,
        /// The link.
        link: PathBuf,
        /// The root that the link lies in.
        root: PathBuf,
    },
}
