//! The thread that waits for an answer, and what it means by its arguments.
//!
//! Nothing here is a judgement: a caller can have changed all of it a moment later, and what was taken from it once is
//! what is judged and used.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::sys::{self, PidFd};

/// `sizeof(struct sockaddr_storage)`: the kernel takes no longer address.
const LONGEST_ADDRESS: usize = 128;

/// A thread by its number. The number means it as long as its call is not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) Pid);

impl Caller {
    /// What the caller has open under a number, as a descriptor of ours.
    ///
    /// A thread may have a table of descriptors to itself, so that it is asked, and not its process, where the kernel can
    /// be told so (Linux 6.9).
    pub(super) fn descriptor(self, argument: u64) -> Result<OwnedFd, Errno> {
        let held = match sys::hold_thread(self.0) {
            Err(Errno::EINVAL) => PidFd::open(self.process()?)?.into(),
            held => held?,
        };
        sys::take_from(held.as_fd(), lower(argument))
    }

    /// The address at a place in the caller's memory, as `connect(2)` reads it.
    pub(super) fn address(self, place: u64, length: u64) -> Result<Vec<u8>, Errno> {
        let length = usize::try_from(lower(length)).map_err(|_negative| Errno::EINVAL)?;
        if length > LONGEST_ADDRESS {
            return Err(Errno::EINVAL);
        }
        let mut address = vec![0; length];
        if length > 0 {
            let base = usize::try_from(place).map_err(|_beyond| Errno::EFAULT)?;
            let remote = [RemoteIoVec { base, len: length }];
            if process_vm_readv(self.0, &mut [IoSliceMut::new(&mut address)], &remote)? < length {
                return Err(Errno::EFAULT);
            }
        }
        Ok(address)
    }

    /// What a path leads the caller to. It can have no root but ours: `chroot(2)` is refused.
    pub(super) fn find(self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let found = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let path = Path::new(OsStr::from_bytes(path));
        if path.is_absolute() {
            return open(&self.as_seen_from_here(path)?, found, Mode::empty());
        }
        let directory = open(
            format!("/proc/{}/cwd", self.0).as_str(),
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        openat(&directory, path, found, Mode::empty())
    }

    /// A path below `/proc/self`, which programs use to name a socket in a directory whose own name is too long, leads
    /// everybody elsewhere.
    fn as_seen_from_here(self, path: &Path) -> Result<PathBuf, Errno> {
        let mine = |rest: &Path| Ok(Path::new("/proc").join(self.process()?.to_string()).join(rest));
        if let Ok(rest) = path.strip_prefix("/proc/self") {
            mine(rest)
        } else if let Ok(rest) = path.strip_prefix("/proc/thread-self") {
            mine(&Path::new("task").join(self.0.to_string()).join(rest))
        } else if let Ok(rest) = path.strip_prefix("/dev/fd") {
            mine(&Path::new("fd").join(rest))
        } else {
            Ok(path.to_owned())
        }
    }

    fn process(self) -> Result<Pid, Errno> {
        let number = self.status()?.field("Tgid:").and_then(|text| text.parse().ok());
        number.map(Pid::from_raw).ok_or(Errno::ESRCH)
    }

    /// The short name of the program.
    pub(super) fn program(self) -> OsString {
        let name = fs::read(format!("/proc/{}/comm", self.0)).unwrap_or_default();
        OsString::from_vec(name.trim_ascii_end().to_vec())
    }

    /// Whether a signal has come for which the caller has a handler, so that a call of the kernel's own would end.
    pub(super) fn is_signalled(self) -> bool {
        let Ok(status) = self.status() else { return false };
        let set = |name| status.field(name).and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
        (set("SigPnd:") | set("ShdPnd:")) & set("SigCgt:") & !set("SigBlk:") != 0
    }

    fn status(self) -> Result<Status, Errno> {
        let status = fs::read(format!("/proc/{}/status", self.0)).map_err(|_ended| Errno::ESRCH)?;
        // A program's name is any bytes, and cut anywhere.
        Ok(Status(String::from_utf8_lossy(&status).into_owned()))
    }
}

/// A file `/proc/PID/status`.
struct Status(String);

impl Status {
    fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
    }
}

/// An argument that the kernel takes as an `int`.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "as the kernel does")]
const fn lower(argument: u64) -> RawFd {
    argument as u32 as RawFd
}
