//! What a worker is asked for.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::protocol::{ErrorCode, FileUri, OpenMode, RpcError};

/// One thing to do. Bytes that belong to it come before or after, in frames of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// The whole content of a regular file.
    Read {
        /// The file.
        path: FileUri,
        /// Whether symbolic links are followed.
        follow: bool,
        /// The size above which it is not read, in bytes.
        most: u64,
    },
    /// A file with the content that follows, in place of what is there.
    Write {
        /// The file.
        path: FileUri,
        /// Whether symbolic links are followed.
        follow: bool,
    },
    /// A directory.
    CreateDirectory {
        /// The directory.
        path: FileUri,
        /// Whether those above it are made, and one that is there is none too many.
        recursive: bool,
        /// Whether symbolic links are followed.
        follow: bool,
    },
    /// What a path leads to.
    Metadata {
        /// The path.
        path: FileUri,
        /// Whether symbolic links are followed.
        follow: bool,
    },
    /// The path without links.
    Canonicalize {
        /// The path.
        path: FileUri,
    },
    /// The names in a directory.
    List {
        /// The directory.
        path: FileUri,
        /// How many names it may have.
        most: u64,
    },
    /// What lies below a directory.
    Walk {
        /// The directory.
        path: FileUri,
        /// How far.
        options: WalkOptions,
    },
    /// A path that is not to be there.
    Remove {
        /// The path.
        path: FileUri,
        /// Whether what lies in a directory goes with it.
        recursive: bool,
        /// Whether it is no error that nothing is there.
        force: bool,
        /// Whether symbolic links on the way are followed.
        follow: bool,
    },
    /// The same in another place.
    Copy {
        /// What.
        source: FileUri,
        /// Where to.
        destination: FileUri,
        /// Whether a directory is copied.
        recursive: bool,
    },
    /// A file that stays open.
    Open {
        /// The number by which it is known from then on.
        handle: u64,
        /// The file.
        path: FileUri,
        /// What for.
        mode: OpenMode,
    },
    /// Bytes of an open file.
    ReadBlock {
        /// The file.
        handle: u64,
        /// From where on.
        offset: u64,
        /// How many at most.
        length: u64,
    },
    /// The bytes that follow, in an open file.
    WriteBlock {
        /// The file.
        handle: u64,
        /// Where.
        offset: u64,
    },
    /// Watching until something is not as it was, for [`Await`](Self::Await).
    Watch {
        /// What is not there.
        missing: Vec<FileUri>,
        /// What is.
        present: Option<FileUri>,
    },
    /// Waiting until it is not as it was.
    Await,
    /// An open file that is not needed any more.
    Close {
        /// The file.
        handle: u64,
    },
}

impl Order {
    /// Whether bytes follow.
    #[must_use]
    pub const fn has_body(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::WriteBlock { .. })
    }
}

/// How far a walk goes. Each bound is one that the client has chosen within the server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WalkOptions {
    /// How deep entries may lie; those of the directory itself are at 1.
    pub max_depth: u64,
    /// How many directories are read.
    pub max_directories: u64,
    /// How many entries are told.
    pub max_entries: u64,
    /// Whether links to directories are walked as well, each directory once.
    pub follow_directory_symlinks: bool,
    /// Whether directories are left out whose names begin with a dot.
    #[serde(default)]
    pub prune_hidden_directories: bool,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Something is not there.
    NotFound,
    /// It is not allowed, or not possible with what is there.
    Invalid,
    /// There is more of it than was asked for.
    TooLarge,
    /// Everything else that the kernel says.
    Other,
}

/// What a worker says of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The path by which the kernel knows what was changed.
    pub at: Option<FileUri>,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// One line.
    pub message: String,
}

impl Failure {
    pub(super) fn invalid(message: String) -> Self {
        Self { kind: FailureKind::Invalid, message }
    }

    /// What the kernel says of a path.
    pub(super) fn of(path: impl AsRef<std::path::Path>, errno: Errno) -> Self {
        let kind = match errno {
            Errno::ENOENT => FailureKind::NotFound,
            Errno::EACCES | Errno::EPERM | Errno::ELOOP => FailureKind::Invalid,
            _ => FailureKind::Other,
        };
        let why = std::io::Error::from(errno);
        Self { kind, message: format!("{}: {why}", codex_linux_sandbox::shown(path.as_ref())) }
    }
}

impl From<Failure> for RpcError {
    fn from(failure: Failure) -> Self {
        let code = match failure.kind {
            FailureKind::NotFound => ErrorCode::NotFound,
            FailureKind::Invalid | FailureKind::TooLarge => ErrorCode::InvalidRequest,
            FailureKind::Other => ErrorCode::Internal,
        };
        Self::new(code, failure.message)
    }
}
