//! Acts on files: every way that is known to change what is at a path.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, open, renameat, renameat2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{LinkatFlags, linkat, mkfifo, truncate};

use crate::raw::{Word, syscall};
use crate::{Failure, Outcome};

/// What the acts write.
const MARK: &[u8] = b"changed by a probe\n";

pub(crate) fn act(name: &str, arguments: &[OsString]) -> Option<Outcome> {
    let words: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    let path = |index: usize| Path::new(words.get(index).copied().unwrap_or_default());
    Some(match name {
        "open" => open_file(path(0), path(1)).map(|_| String::new()),
        "write" => open_file(path(0), path(1)).and_then(mark),
        "write-decimal" => open_file(path(0), Path::new("WRONLY")).and_then(|file| decimal(file, path(1))),
        "write-descriptor" => write_descriptor(path(0)),
        "reopen-descriptor" => write_descriptor_path(path(0)),
        "reopen-path" => reopen(path(0)),
        "write-from" => write_from(path(0), path(1)),
        "through-new-link" => through_new_link(path(0), path(1)),
        "truncate" => truncate(path(0), 1).map_err(Failure::from).map(|()| String::new()),
        "unlink" => fs::remove_file(path(0)).map_err(Failure::from).map(|()| String::new()),
        "rmdir" => fs::remove_dir(path(0)).map_err(Failure::from).map(|()| String::new()),
        "mkdir" => fs::create_dir(path(0)).map_err(Failure::from).map(|()| String::new()),
        "symlink" => {
            std::os::unix::fs::symlink(path(0), path(1)).map_err(Failure::from).map(|()| String::new())
        }
        "link" => linkat(AT_FDCWD, path(0), AT_FDCWD, path(1), LinkatFlags::empty())
            .map_err(Failure::from)
            .map(|()| String::new()),
        "rename" => {
            renameat(AT_FDCWD, path(0), AT_FDCWD, path(1)).map_err(Failure::from).map(|()| String::new())
        }
        "exchange" => exchange(path(0), path(1)),
        "mkfifo" => mkfifo(path(0), mode(0o600)).map_err(Failure::from).map(|()| String::new()),
        "mknod" => make_node(path(0), path(1)),
        "bind" => UnixListener::bind(path(0)).map_err(Failure::from).map(|_| String::new()),
        "link-unnamed" => link_unnamed(path(0), path(1)),
        "by-handle" => by_handle(path(0)),
        _ => return None,
    })
}

fn mode(bits: u32) -> Mode {
    Mode::from_bits_truncate(bits)
}

/// Opens a file with flags by their names: `WRONLY,TRUNC`.
pub(crate) fn open_file(path: &Path, flags: &Path) -> Result<OwnedFd, Failure> {
    let mut wanted = OFlag::O_CLOEXEC;
    for flag in flags.to_string_lossy().split(',') {
        wanted |= match flag {
            "RDONLY" => OFlag::O_RDONLY,
            "WRONLY" => OFlag::O_WRONLY,
            "RDWR" => OFlag::O_RDWR,
            "APPEND" => OFlag::O_APPEND,
            "CREAT" => OFlag::O_CREAT,
            "EXCL" => OFlag::O_EXCL,
            "TRUNC" => OFlag::O_TRUNC,
            "TMPFILE" => OFlag::O_TMPFILE,
            "NONBLOCK" => OFlag::O_NONBLOCK,
            other => return Err(Failure::Usage(format!("no flag is called {other}"))),
        };
    }
    Ok(open(path, wanted, mode(0o600))?)
}

pub(crate) fn mark(descriptor: OwnedFd) -> Outcome {
    File::from(descriptor).write_all(MARK)?;
    Ok(String::new())
}

/// Writes a number as the kernel's own files take it.
fn decimal(descriptor: OwnedFd, number: &Path) -> Outcome {
    File::from(descriptor).write_all(number.as_os_str().as_bytes())?;
    Ok(String::new())
}

/// Writes to a descriptor that this process was started with.
fn write_descriptor(number: &Path) -> Outcome {
    let number = number.to_string_lossy().parse().map_err(|_| "not a descriptor".to_owned())?;
    let mut words = [Word::Number(number), Word::Buffer(MARK.to_vec()), Word::Number(MARK.len() as u64)];
    Ok(syscall(libc::SYS_write, &mut words)?.to_string())
}

/// Opens a descriptor that this process was started with again, for writing this time.
fn write_descriptor_path(number: &Path) -> Outcome {
    open_file(&Path::new("/proc/self/fd").join(number), Path::new("WRONLY")).and_then(mark)
}

/// Takes hold of a file without opening it, then opens what it holds.
fn reopen(path: &Path) -> Outcome {
    let held = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let again = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    open_file(&again, Path::new("WRONLY")).and_then(mark)
}

/// Changes the directory, then writes by a relative path.
fn write_from(directory: &Path, file: &Path) -> Outcome {
    std::env::set_current_dir(directory)?;
    open_file(file, Path::new("WRONLY,CREAT")).and_then(mark)
}

/// Makes a symlink where that is allowed, and writes through it.
fn through_new_link(target: &Path, link: &Path) -> Outcome {
    std::os::unix::fs::symlink(target, link)?;
    open_file(link, Path::new("WRONLY,TRUNC")).and_then(mark)
}

fn exchange(one: &Path, other: &Path) -> Outcome {
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)?;
    Ok(String::new())
}

fn make_node(path: &Path, kind: &Path) -> Outcome {
    // Numbers of the null device: harmless wherever they appear.
    let (kind, device) = match kind.to_string_lossy().as_ref() {
        "char" => (SFlag::S_IFCHR, makedev(1, 3)),
        "block" => (SFlag::S_IFBLK, makedev(7, 255)),
        "fifo" => (SFlag::S_IFIFO, 0),
        "socket" => (SFlag::S_IFSOCK, 0),
        "regular" => (SFlag::S_IFREG, 0),
        other => return Err(Failure::Usage(format!("no kind of node is called {other}"))),
    };
    mknod(path, kind, mode(0o600), device)?;
    Ok(String::new())
}

/// Writes a file that has no name yet, then gives it one.
fn link_unnamed(directory: &Path, path: &Path) -> Outcome {
    let file = open_file(directory, Path::new("TMPFILE,RDWR"))?;
    let held = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    linkat(AT_FDCWD, &held, AT_FDCWD, path, LinkatFlags::AT_SYMLINK_FOLLOW)?;
    mark(file)
}

/// Opens a file by its handle, which passes every directory by.
fn by_handle(path: &Path) -> Outcome {
    const HEADER: usize = 8;
    const LARGEST: u8 = 128;
    let mut handle = vec![0; HEADER + usize::from(LARGEST)];
    if let Some(size) = handle.first_mut() {
        *size = LARGEST;
    }
    let at_cwd = i64::from(libc::AT_FDCWD).cast_unsigned();
    let mut words = [
        Word::Number(at_cwd),
        Word::Buffer([path.as_os_str().as_bytes(), b"\0"].concat()),
        Word::Buffer(handle),
        Word::Buffer(vec![0; 4]),
        Word::Number(0),
    ];
    syscall(libc::SYS_name_to_handle_at, &mut words)?;
    let [_, _, Word::Buffer(handle), ..] = words else {
        return Err(Failure::Usage("the handle is gone".into()));
    };
    let mount = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut words = [
        Word::Number(u64::from(mount.as_raw_fd().unsigned_abs())),
        Word::Buffer(handle),
        Word::Number(u64::from(libc::O_WRONLY.unsigned_abs())),
    ];
    let opened = syscall(libc::SYS_open_by_handle_at, &mut words)?;
    write_descriptor(Path::new(&opened.to_string()))
}
