//! Reading configuration files without trusting what lies at their paths.
//!
//! A path may lead to a pipe that nobody writes to, a device, or a file without end. Everything is therefore opened
//! without waiting, looked at through the descriptor, and read up to a limit.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

use super::position::LineIndex;
use super::problem::{Place, Problem, ProblemKind};

/// Larger than any configuration, and small enough to read and parse in no time.
pub(super) const SIZE_LIMIT: u64 = 1 << 20;

/// The name of the configuration file in its directory.
pub(super) const FILE_NAME: &str = "config.toml";

/// The directory of a project that holds its configuration.
pub(super) const PROJECT_DIRECTORY: &str = ".codex";

/// A file that was read.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) text: String,
    /// Which file it is, whatever its path.
    pub(super) identity: (u64, u64),
}

/// Reads the user's file, following symlinks. `None` where there is none.
pub(super) fn read_user_file(path: &Path) -> Result<Option<Contents>, Box<Problem>> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => contents(file, path).map(Some),
        // A symlink that leads nowhere is a configuration that got lost, not one that was never written.
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.symlink_metadata() {
            Ok(_) => Err(unreadable(path, "it is a symbolic link to a file that does not exist".to_owned())),
            Err(_) => Ok(None),
        },
        Err(error) => Err(unreadable(path, reason(&error))),
    }
}

/// Reads a project's file, following no symlink below `root`: what a repository's links point at is not the
/// repository's. `None` where there is none.
pub(super) fn read_project_file(root: &Path, path: &Path) -> Result<Option<Contents>, Box<Problem>> {
    match open_project_file(root) {
        Ok(file) => contents(file, path).map(Some),
        Err(Errno::ENOENT) => Ok(None),
        Err(Errno::ELOOP) => Err(unreadable(path, "it is a symbolic link".to_owned())),
        Err(Errno::ENOTDIR) => {
            Err(unreadable(path, "`.codex` is not a directory, and links are not followed".to_owned()))
        }
        Err(errno) => Err(unreadable(path, errno.desc().to_lowercase())),
    }
}

fn open_project_file(root: &Path) -> Result<File, Errno> {
    let directory = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(root, directory, Mode::empty())?;
    let inner = openat(&root, PROJECT_DIRECTORY, directory | OFlag::O_NOFOLLOW, Mode::empty())?;
    let file = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    openat(&inner, FILE_NAME, file, Mode::empty()).map(File::from)
}

fn contents(file: File, path: &Path) -> Result<Contents, Box<Problem>> {
    let metadata = file.metadata().map_err(|error| unreadable(path, reason(&error)))?;
    if !metadata.is_file() {
        return Err(about(path, ProblemKind::NotAFile { found: kind_of(&metadata) }));
    }
    let mut bytes = Vec::new();
    // The size that the metadata claims may change, or be zero as in /proc: only reading tells.
    let read = file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes);
    let length = read.map_err(|error| unreadable(path, reason(&error)))?;
    if u64::try_from(length).is_ok_and(|length| length > SIZE_LIMIT) {
        return Err(about(path, ProblemKind::TooLarge { limit: SIZE_LIMIT }));
    }
    let text = utf8(bytes, path)?;
    Ok(Contents { text, identity: (metadata.dev(), metadata.ino()) })
}

fn utf8(bytes: Vec<u8>, path: &Path) -> Result<String, Box<Problem>> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default());
        let position = LineIndex::new(&text).position(valid);
        let place =
            Place::Position { path: path.to_path_buf(), line: position.line, column: position.column };
        Box::new(Problem { place, kind: ProblemKind::NotUtf8 })
    })
}

fn about(path: &Path, kind: ProblemKind) -> Box<Problem> {
    Box::new(Problem { place: Place::File(path.to_path_buf()), kind })
}

fn unreadable(path: &Path, reason: String) -> Box<Problem> {
    about(path, ProblemKind::Unreadable { reason })
}

fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(raw) => Errno::from_raw(raw).desc().to_lowercase(),
        None => error.to_string(),
    }
}

fn kind_of(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else {
        "a special file"
    }
}
