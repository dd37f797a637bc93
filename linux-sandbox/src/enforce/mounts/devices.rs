//! A `/dev` of the sandbox's own: the devices that hold nothing and lead nowhere, terminals and shared memory of its own.

use std::os::fd::{AsFd as _, OwnedFd};

use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::unistd::symlinkat;

use super::memory::{EVERYBODY, Memory};
use super::terminals::Terminal;
use super::{failed, put};
use crate::enforce::device::{DEVICES, RANDOM};
use crate::error::{SetupError, Step};
use crate::sys::{self, MountAttributes};

/// What programs expect beside the devices: what each is, and what it leads to.
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "fd/0"),
    ("stdout", "fd/1"),
    ("stderr", "fd/2"),
];

/// The device that terminals are made with belongs to the terminals, and those inside are others.
const OF_THE_TERMINALS: &str = "ptmx";

/// A device of the host by its name, as a mount of its own.
type Node = (&'static str, OwnedFd);

/// Puts the new `/dev` in place. Yields the mounts in it that can be written.
pub(super) fn provide(
    nodes: Vec<Node>,
    terminals: &[Terminal],
    memory: &Memory,
) -> Result<Vec<OwnedFd>, SetupError> {
    let here = |call| failed(call, "/dev");
    let everybody_reads = Mode::S_IRWXU | Mode::S_IRGRP | Mode::S_IXGRP | Mode::S_IROTH | Mode::S_IXOTH;
    let mount = memory.directory("dev", everybody_reads)?;
    let streams = terminals.iter().map(|terminal| (terminal.name, terminal.place()));
    let nodes: Vec<_> = nodes.iter().map(|(name, node)| (*name, node.as_fd())).chain(streams).collect();
    for (name, _) in &nodes {
        mknodat(&mount, *name, SFlag::S_IFREG, Mode::empty(), 0).map_err(here("mknodat"))?;
    }
    for (link, target) in LINKS {
        symlinkat(target, &mount, link).map_err(here("symlinkat"))?;
    }
    for directory in ["pts", "shm", "mqueue"] {
        mkdirat(&mount, directory, Mode::from_bits_truncate(0o755)).map_err(here("mkdirat"))?;
    }
    put("/dev", &mount)?;
    for (name, device) in &nodes {
        sys::attach_mount_in(*device, mount.as_fd(), name).map_err(here("move_mount"))?;
    }
    let attributes = MountAttributes::NO_SET_USER_ID.and(MountAttributes::NO_PROGRAMS);
    let options = [(c"ptmxmode", c"0666"), (c"mode", c"0620")];
    let terminals = sys::new_file_system(c"devpts", &options, attributes)
        .map_err(|(call, errno)| failed(call, "/dev/pts")(errno))?;
    put("/dev/pts", &terminals)?;
    // The queues of the IPC namespace, which Landlock knows by their file system.
    let queues = sys::new_file_system(c"mqueue", &[], attributes.and(MountAttributes::NO_DEVICES))
        .map_err(|(call, errno)| failed(call, "/dev/mqueue")(errno));
    let queues = match queues {
        Ok(queues) => Some(queues),
        // A kernel without them (CONFIG_POSIX_MQUEUE).
        Err(error) if error.errno == Some(nix::errno::Errno::ENODEV) => None,
        Err(error) => return Err(error),
    };
    if let Some(queues) = &queues {
        put("/dev/mqueue", queues)?;
    }
    let shared = memory.directory("shm", EVERYBODY)?;
    put("/dev/shm", &shared)?;
    Ok([terminals, shared].into_iter().chain(queues).collect())
}

/// The host's devices, each a mount of its own. One that is not there, as in some containers, or is something else, is
/// left out.
pub(super) fn nodes() -> Result<Vec<Node>, SetupError> {
    let mut taken = Vec::new();
    for device in DEVICES.into_iter().chain(RANDOM).filter(|device| device.name != OF_THE_TERMINALS) {
        // They become read-only with all the rest: a device is written to all the same, but its mode and owner are the
        // host's.
        if let Some(mount) = device.mount(Step::Mounts)? {
            taken.push((device.name, mount));
        }
    }
    Ok(taken)
}
