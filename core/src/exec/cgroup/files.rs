//! The files of a group.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// More than any of them holds that is read here.
const MOST: u64 = 64 * 1024;

/// Writes to a file of a group, in one call, as the kernel wants it.
pub(super) fn write(directory: BorrowedFd<'_>, file: &str, text: &str) -> Result<(), Errno> {
    let descriptor: OwnedFd = openat(directory, file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    nix::unistd::write(&descriptor, text.as_bytes()).map(drop)
}

/// What a file of a group says.
pub(super) fn read(directory: BorrowedFd<'_>, file: &str) -> Option<String> {
    let descriptor = openat(directory, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let mut text = String::new();
    File::from(descriptor).take(MOST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The number beside a word in a file of lines of a word and a number.
pub(super) fn number_in(directory: BorrowedFd<'_>, file: &str, word: &str) -> Option<u64> {
    let text = read(directory, file)?;
    text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.trim().parse().ok())
}
