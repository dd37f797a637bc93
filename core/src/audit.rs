//! Who ran what under which policy, what came of it, and what was refused: JSON lines in a file that only grows, up to a size.
//!
//! Each line holds the digest of the line before it, so that a line that was changed, removed or put in shows
//! ([`verify()`]). A chain needs no key, and proves no more than that: whoever may write the file can also write a whole new
//! chain, or cut off its end. Who keeps the last digest elsewhere sees that as well.

mod chain;
mod file;
mod turn;
mod verify;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use codex_linux_sandbox::shown;
use nix::errno::Errno;
use serde::Serialize;

use turn::Turn;

pub use chain::Digest;
pub use verify::{AuditFault, AuditVerified, FaultKind, verify};

/// How large the file becomes before it is put aside and a new one begun, where nobody says otherwise. In bytes.
pub const DEFAULT_AUDIT_BYTES: u64 = 64 << 20;

/// How many full files are kept beside the one that grows: `FILE.1` is the youngest of them.
pub const KEPT_FILES: u32 = 4;

/// How long a record waits for others that write. A line takes them far below a millisecond.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The longest line. What would be longer is told without its details.
const LONGEST_LINE: usize = 1 << 20;

/// The audit log can't be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The kernel says no.
    #[error("the audit log {path}: {call}: {why} ({errno:?})", path = shown(.path), why = .errno.desc())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// What was tried.
        call: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// It is a device, a pipe or a directory.
    #[error("the audit log {path} is no regular file", path = shown(.0))]
    NotAFile(PathBuf),
    /// Anybody could write lines into it.
    #[error(
        "the audit log {path} can be written by its group or by everybody (mode {mode:o}); chmod go-w it, or name another file",
        path = shown(.path)
    )]
    Shared {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Somebody else could change what is in it.
    #[error(
        "the audit log {path} belongs to the user {uid}, who could change it; chown it, or name another file",
        path = shown(.path)
    )]
    Owned {
        /// The file.
        path: PathBuf,
        /// Whom it belongs to.
        uid: u32,
    },
    /// It can be written under another name, which nobody looks at.
    #[error("the audit log {path} has another name (a hard link); name another file", path = shown(.0))]
    Linked(PathBuf),
    /// Its end is nothing of ours, so that nothing can be chained to it.
    #[error("the audit log {path} ends in a line that is longer than any of ours; name another file", path = shown(.0))]
    Foreign(PathBuf),
    /// Somebody holds its lock, who does not let go: whoever may read the file can do so.
    #[error(
        "the audit log {path} has been locked by another process for {LONGEST_WAIT:?}; lslocks tells which",
        path = shown(.0)
    )]
    Locked(PathBuf),
    /// It is put aside by somebody else again and again.
    #[error("the audit log {path} was replaced while it was written, time and again", path = shown(.0))]
    Replaced(PathBuf),
    /// A record that is no JSON. Can't happen with records of ours.
    #[error("the audit log {path}: a record can't be written as JSON", path = shown(.0))]
    Record(PathBuf),
}

/// An audit log that can be written to, by any number of threads and programs at the same time.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    most_bytes: u64,
    patience: Duration,
    open: Turn<file::Open>,
}

impl AuditLog {
    /// Opens a log, and makes it (mode 0600) where it does not exist. It is put aside when it would grow beyond `most_bytes`;
    /// of the files put aside, [`KEPT_FILES`] are kept.
    ///
    /// Links are followed now, and never again: what a later one would lead to is not the log.
    ///
    /// # Errors
    ///
    /// [`AuditError`] where it can't be opened, is no regular file, or others may write it or own it.
    pub fn open(path: &Path, most_bytes: u64) -> Result<Self, AuditError> {
        let path = followed(path);
        let open = file::Open::new(&path)?;
        Ok(Self { path, most_bytes, patience: LONGEST_WAIT, open: Turn::new(open) })
    }

    /// The same log, for whoever does not wait for others longer than this with each record. Without it that is ten seconds.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Where it is, links followed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is, and where what is put aside of it is, or will be.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        std::iter::once(self.path.clone()).chain((1..=KEPT_FILES).map(|age| put_aside(&self.path, age)))
    }

    /// Appends a record: the time, the digest of the line before, `event`, and the fields of `body`, which must be a struct
    /// or a map. Waits for the disk, and for others who write just now. The kernel has it when this returns; the disk may not.
    ///
    /// # Errors
    ///
    /// [`AuditError`]: nothing was appended.
    pub fn append(&self, event: &str, body: &impl Serialize) -> Result<(), AuditError> {
        self.append_until(Instant::now() + self.patience, event, body)
    }

    /// The same, for whoever has the patience until then: to wait for other threads here, then for other programs.
    fn append_until(&self, deadline: Instant, event: &str, body: &impl Serialize) -> Result<(), AuditError> {
        let Some(mut open) = self.open.take_until(deadline) else {
            return Err(AuditError::Locked(self.path.clone()));
        };
        open.append(&self.path, self.most_bytes, deadline, |before| {
            chain::line(before, now_ms(), event, body).ok_or_else(|| AuditError::Record(self.path.clone()))
        })
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The file that a path leads to, or that will be made there.
fn followed(path: &Path) -> PathBuf {
    let through_directory = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(through_directory).unwrap_or_else(|| path.to_owned())
}

/// The file that was put aside `age` files ago.
fn put_aside(path: &Path, age: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    name.into()
}

#[cfg(test)]
mod tests;
