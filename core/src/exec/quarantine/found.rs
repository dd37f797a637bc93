//! What was moved away, where it is now, and why: for whoever is told.

use std::fmt;
use std::path::PathBuf;

use codex_linux_sandbox::shown;
use nix::errno::Errno;

use super::keeper::Taken;

/// Why something was moved away.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It came to be at a protected name.
    Appeared,
    /// It has taken the place of what was protected, which somebody outside must have moved or overwritten.
    Replaced,
    /// A symbolic link at a protected name said something else. It was put back as it was.
    LinkReplaced,
    /// A hook of a repository that the command has made.
    Hook,
    /// The configuration of such a repository. What runs nothing was left in its place.
    Configuration {
        /// The variables taken out. Empty where the file could not be read, or had other names.
        removed: Vec<String>,
    },
    /// The attributes in such a repository's git directory.
    Attributes,
    /// It made a directory a repository whose configuration lies outside of every known one.
    Pointer,
    /// A `.git` that is neither a directory nor a file, or one that can't be looked into.
    RepositoryLink,
}

/// Something that a command has made and that was moved out of the host's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Where it was.
    pub path: PathBuf,
    /// Where it is now. `None` where it could not be kept, or not be moved.
    pub kept_at: Option<PathBuf>,
    /// Why it was moved away.
    pub why: Why,
    /// Why it still is where it was. The next start tries again.
    pub stuck: Option<Errno>,
}

impl Quarantined {
    pub(super) fn of(path: PathBuf, taken: Taken, why: Why) -> Option<Self> {
        match taken {
            Taken::Kept(at) => Some(Self { path, kept_at: Some(at), why, stuck: None }),
            Taken::Gone => None,
            Taken::Stuck(errno) => Some(Self { path, kept_at: None, why, stuck: Some(errno) }),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appeared => {
                formatter.write_str("the name is protected; `sandbox.unprotect` would allow it")
            }
            Self::Replaced => formatter.write_str(
                "something protected was replaced from outside during the call, and could be written from then on",
            ),
            Self::LinkReplaced => formatter.write_str("the link that stood there is protected, and is back"),
            Self::Hook => formatter.write_str("git would run it"),
            Self::Configuration { removed } if removed.is_empty() => {
                formatter.write_str("git may read it as something else than it seems")
            }
            Self::Configuration { removed } => {
                let names: Vec<String> = removed.iter().map(shown).collect();
                write!(formatter, "git may run something because of {}", names.join(", "))
            }
            Self::Attributes => formatter.write_str("git would choose programs by it"),
            Self::Pointer => formatter.write_str("git would follow it out of the known repositories"),
            Self::RepositoryLink => formatter.write_str("git would take what is behind it for a repository"),
        }
    }
}

impl fmt::Display for Quarantined {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = shown(&self.path);
        match (&self.kept_at, self.stuck) {
            (Some(at), _) => write!(formatter, "{path}: moved to {}: {}", shown(at), self.why),
            (None, None) => write!(formatter, "{path}: removed: {}", self.why),
            (None, Some(errno)) => {
                write!(formatter, "{path}: could not be moved away ({}): {}", errno.desc(), self.why)
            }
        }
    }
}
