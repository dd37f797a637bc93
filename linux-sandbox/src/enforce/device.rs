//! Devices by what makes them what they are.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat, major, minor};

use crate::error::{SetupError, Step};
use crate::sys;

/// A character device, with its numbers (`devices.txt` of the kernel): a file put in its place is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Device {
    /// Its name below `/dev`.
    pub(super) name: &'static str,
    numbers: (u64, u64),
}

const fn device(name: &'static str, major: u64, minor: u64) -> Device {
    Device { name, numbers: (major, minor) }
}

/// Devices that hold nothing and lead nowhere.
pub(super) const DEVICES: [Device; 5] = [
    device("null", 1, 3),
    device("zero", 1, 5),
    device("full", 1, 7),
    device("tty", 5, 0),
    device("ptmx", 5, 2),
];

/// Devices to read from: written to, these would change what the host draws its random numbers from.
pub(super) const RANDOM: [Device; 2] = [device("random", 1, 8), device("urandom", 1, 9)];

impl Device {
    /// Opens the node as a place, where it is there and is the device.
    pub(super) fn open(self, step: Step) -> Result<Option<OwnedFd>, SetupError> {
        // `/dev/ptmx` may be a link to where the terminals are.
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        self.checked(step, open(self.path().as_str(), flags, Mode::empty()).ok())
    }

    /// The node as a mount of its own, attached nowhere, where it is there and is the device.
    pub(super) fn mount(self, step: Step) -> Result<Option<OwnedFd>, SetupError> {
        self.checked(step, sys::clone_mount_of(Path::new(&self.path())).ok())
    }

    fn path(self) -> String {
        format!("/dev/{}", self.name)
    }

    fn checked(self, step: Step, node: Option<OwnedFd>) -> Result<Option<OwnedFd>, SetupError> {
        let Some(node) = node else { return Ok(None) };
        let status = fstat(&node).map_err(|errno| SetupError::call(step, "fstat", errno).on(self.path()))?;
        let character = SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFCHR;
        let this = character && (major(status.st_rdev), minor(status.st_rdev)) == self.numbers;
        Ok(this.then_some(node))
    }
}
