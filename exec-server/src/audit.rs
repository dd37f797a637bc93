//! Who ran what under which policy, a line each, in a file that only grows.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use codex_linux_sandbox::shown;
use serde::Serialize;

/// The file can't be opened or written.
#[derive(Debug, thiserror::Error)]
#[error("the audit log {path}: {error}", path = shown(.path))]
pub struct AuditError {
    /// The file.
    pub path: PathBuf,
    /// What the kernel says.
    pub error: std::io::Error,
}

/// The audit log.
#[derive(Debug)]
pub(crate) struct AuditLog {
    path: PathBuf,
    file: File,
}

/// What is said of the start of a command.
#[derive(Debug, Serialize)]
pub(crate) struct Record<'r> {
    pub(crate) time_ms: u64,
    pub(crate) event: &'static str,
    pub(crate) peer: &'r str,
    pub(crate) client: &'r str,
    pub(crate) session: &'r str,
    pub(crate) process: &'r str,
    pub(crate) argv: &'r [String],
    pub(crate) cwd: String,
    pub(crate) mode: Option<&'static str>,
    pub(crate) network: Option<bool>,
    pub(crate) writable_roots: Option<Vec<String>>,
    pub(crate) refused: Option<&'r str>,
}

impl AuditLog {
    pub(crate) fn open(path: &Path) -> Result<Self, AuditError> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let file = file.map_err(|error| AuditError { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends a line by one `write`, so that lines of several servers stay apart.
    pub(crate) fn append(&self, record: &Record<'_>) -> Result<(), AuditError> {
        let failed = |error| AuditError { path: self.path.clone(), error };
        let mut line = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        (&self.file).write_all(&line).map_err(failed)
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
