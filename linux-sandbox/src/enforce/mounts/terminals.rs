//! Terminals that the caller gave as standard streams: each gets a place in the sandbox's `/dev`, since the host's terminals
//! are hidden. Opened there, it has a name (`ttyname(3)`), and its mode and owner can't be changed.

use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::readlink;
use nix::sys::stat::{FileStat, fstat};

use super::streams::is_same;
use crate::enforce::walk::Walk;
use crate::error::{SetupError, Step};
use crate::sys;

/// What the different ones are called, below `/dev`. The first is what programs expect a terminal in a container to be.
const NAMES: [&str; 3] = ["console", "console1", "console2"];
/// Where a terminal is found in a container that has opened it outside.
const OF_A_CONTAINER: &str = "/dev/console";

/// A terminal of the caller's.
pub(super) struct Terminal {
    /// Its name below the sandbox's `/dev`.
    pub(super) name: &'static str,
    is: FileStat,
    mount: OwnedFd,
}

impl Terminal {
    /// Whether a stream is this terminal.
    pub(super) fn is(&self, stream: &FileStat) -> bool {
        is_same(&self.is, stream)
    }

    /// The terminal as a place, in a mount of its own.
    pub(super) fn place(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }
}

/// Takes the terminals among the standard streams, each as a mount of its own. One that has no name here is left out.
/// `devices` is the host's `/dev`.
pub(super) fn take(devices: &OwnedFd) -> Result<Vec<Terminal>, SetupError> {
    let failed = |call| move |errno| SetupError::call(Step::Mounts, call, errno);
    let mut taken: Vec<Terminal> = Vec::new();
    for number in 0..=2 {
        let Some(stream) = sys::standard_stream(number).filter(|stream| stream.is_terminal()) else {
            continue;
        };
        let is = fstat(stream).map_err(failed("fstat"))?;
        if taken.iter().any(|terminal| terminal.is(&is)) {
            continue;
        }
        let path = readlink(Path::new(&format!("/proc/self/fd/{number}"))).map(PathBuf::from);
        let path = match path {
            Ok(path) => path,
            // Where `/proc` is not mounted, nothing says its name.
            Err(Errno::ENOENT) => continue,
            Err(errno) => return Err(failed("readlink")(errno)),
        };
        let mut walk = Walk::knowing(Step::Mounts, "/dev", devices);
        let mount = [path.as_path(), Path::new(OF_A_CONTAINER)].into_iter().find_map(|path| {
            let found = walk.place(path).ok()?;
            let same = fstat(found).is_ok_and(|found| is_same(&is, &found));
            same.then(|| sys::clone_mount(found, false))
        });
        if let (Some(mount), Some(name)) = (mount, NAMES.get(taken.len())) {
            taken.push(Terminal { name, is, mount: mount.map_err(failed("open_tree"))? });
        }
    }
    Ok(taken)
}
