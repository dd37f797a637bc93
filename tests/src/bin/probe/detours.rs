//! Acts on files that take a way round: by what is held already, by a second name, by what the kernel shows of a file.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{LinkatFlags, fchdir, linkat};

use crate::files::{mark, open_file};
use crate::raw::{Word, syscall};
use crate::{Failure, Outcome};

pub(crate) fn act(name: &str, arguments: &[OsString]) -> Option<Outcome> {
    let words: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    let path = |index: usize| Path::new(words.get(index).copied().unwrap_or_default());
    Some(match name {
        "reopen-read" => reopen_read(path(0)),
        "write-below" => write_below(path(0), path(1)),
        "write-from-held" => write_from_held(path(0), path(1)),
        "link-and-write" => link_and_write(path(0), path(1)),
        "write-mapped" => write_mapped(path(0)),
        "set-nodump" => set_nodump(path(0)),
        "set-nodump-extended" => set_nodump_extended(path(0)),
        _ => return None,
    })
}

fn hold(path: &Path) -> Result<OwnedFd, Failure> {
    Ok(open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// Opens a file for reading, and that descriptor again, for writing.
fn reopen_read(path: &Path) -> Outcome {
    let held = open_file(path, Path::new("RDONLY"))?;
    let again = format!("/proc/self/fd/{}", held.as_raw_fd());
    open_file(Path::new(&again), Path::new("WRONLY")).and_then(mark)
}

/// Takes hold of a directory, and goes on by its name among the descriptors.
fn write_below(directory: &Path, name: &Path) -> Outcome {
    let held = hold(directory)?;
    let below = Path::new("/proc/self/fd").join(held.as_raw_fd().to_string()).join(name);
    open_file(&below, Path::new("WRONLY,CREAT")).and_then(mark)
}

/// Takes hold of a directory, goes there, and writes by a relative path.
fn write_from_held(directory: &Path, name: &Path) -> Outcome {
    fchdir(hold(directory)?.as_fd())?;
    open_file(name, Path::new("WRONLY,CREAT")).and_then(mark)
}

/// Gives a file a second name, and writes by that one.
fn link_and_write(path: &Path, link: &Path) -> Outcome {
    linkat(AT_FDCWD, path, AT_FDCWD, link, LinkatFlags::empty())?;
    open_file(link, Path::new("WRONLY")).and_then(mark)
}

/// Maps a file for reading, and opens what the kernel shows of the mapping.
fn write_mapped(path: &Path) -> Outcome {
    const PAGE: u64 = 4096;
    let file = open_file(path, Path::new("RDONLY"))?;
    let descriptor = u64::from(file.as_raw_fd().unsigned_abs());
    let (read, private) = (libc::PROT_READ.unsigned_abs(), libc::MAP_PRIVATE.unsigned_abs());
    let words = [0, PAGE, u64::from(read), u64::from(private), descriptor, 0];
    let start = syscall(libc::SYS_mmap, &mut words.map(Word::Number))?.cast_unsigned();
    let shown = format!("/proc/self/map_files/{start:x}-{:x}", start + PAGE);
    open_file(Path::new(&shown), Path::new("WRONLY")).and_then(mark)
}

fn ioctl(file: &OwnedFd, request: u64, value: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let descriptor = u64::from(file.as_raw_fd().unsigned_abs());
    let mut words = [Word::Number(descriptor), Word::Number(request), Word::Buffer(value)];
    syscall(libc::SYS_ioctl, &mut words)?;
    let [_, _, Word::Buffer(value)] = words else { return Err(Failure::Usage("the value is gone".into())) };
    Ok(value)
}

/// Adds the flag that keeps a file out of dumps to those that it has: a flag that its owner may set.
fn set_nodump(path: &Path) -> Outcome {
    const GET: u64 = 0x8008_6601;
    const SET: u64 = 0x4008_6602;
    const NODUMP: u8 = 0x40;
    let file = open_file(path, Path::new("RDONLY"))?;
    let mut flags = ioctl(&file, GET, vec![0; 8])?;
    if let Some(lowest) = flags.first_mut() {
        *lowest |= NODUMP;
    }
    ioctl(&file, SET, flags).map(|_| String::new())
}

/// The same, by the newer request.
fn set_nodump_extended(path: &Path) -> Outcome {
    const GET: u64 = 0x801c_581f;
    const SET: u64 = 0x401c_5820;
    const NODUMP: u8 = 0x80;
    let file = open_file(path, Path::new("RDONLY"))?;
    let mut attributes = ioctl(&file, GET, vec![0; 28])?;
    if let Some(lowest) = attributes.first_mut() {
        *lowest |= NODUMP;
    }
    ioctl(&file, SET, attributes).map(|_| String::new())
}
