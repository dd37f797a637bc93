//! What the command sees of the file system: everything read-only, in place, but for the writable trees; devices,
//! processes and shared memory of its own.
//!
//! Nothing is mounted from the outside by name. Each place is looked up once, without following a link, and the mount
//! is made of, or put on, what was found.

mod covers;
mod devices;
mod groups;
mod memory;
mod places;
mod streams;
mod terminals;
mod view;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::limits;
use crate::error::{SetupError, Step};
use crate::plan::{Footing, Plan, Writes};
use crate::sys::{self, MountAttributes};
use groups::Group;
use memory::Memory;
use places::Arrangement;
use terminals::Terminal;
use view::View;

/// A mount namespace with all that is the same for every plan on one footing.
pub(crate) struct Ground {
    root: OwnedFd,
    /// The host's `/dev`, for plans that name a place in it.
    devices: OwnedFd,
    memory: Memory,
    /// The terminals among the standard streams.
    terminals: Vec<Terminal>,
    /// What stays writable when all else becomes read-only.
    own: Vec<OwnedFd>,
    confined: bool,
}

/// Lays the ground. To be called by the first process of a new mount namespace.
pub(super) fn prepare(footing: Footing) -> Result<Ground, SetupError> {
    let root = open_directory("/")?;
    // What is mounted or unmounted outside from here on changes nothing inside: no tree can appear in a writable one.
    sys::set_mounts_private(root.as_fd()).map_err(failed("mount_setattr", "/"))?;
    let devices = open_directory("/dev")?;
    // While there is the `/proc` that knows them.
    let terminals = if footing.confined { terminals::take(&devices)? } else { Vec::new() };
    let memory = Memory::make()?;
    let own = if footing.confined {
        // Devices are taken before there are none: a node that lies in some directory tree is nobody's business.
        let nodes = devices::nodes()?;
        let attributes = MountAttributes::NO_DEVICES.and(MountAttributes::NO_SET_USER_ID);
        sys::set_mount_attributes(root.as_fd(), attributes, true).map_err(failed("mount_setattr", "/"))?;
        devices::provide(nodes, &terminals, &memory)?
    } else {
        Vec::new()
    };
    processes()?;
    Ok(Ground { root, devices, memory, terminals, own, confined: footing.confined })
}

impl Ground {
    /// Arranges what the command sees under a plan, where it starts in this directory. Yields the namespaces that are left
    /// out, as `CLONE_NEW*` bits.
    pub(crate) fn arrange(self, plan: &Plan, directory: Option<&Path>) -> Result<u64, SetupError> {
        let group = Group::own();
        group.become_top()?;
        let trees: &[_] = match &plan.writes {
            Writes::Beneath(trees) => trees,
            Writes::Everywhere => &[],
        };
        if self.confined != matches!(plan.writes, Writes::Beneath(_)) {
            return Err(SetupError::condition(Step::Mounts, "clone", "the ground was laid for another plan"));
        }
        // Taken before everything becomes read-only, so that each mount in a writable tree keeps what it was.
        let view = plan.view.map(|bytes| View::make(bytes, &self.memory)).transpose()?;
        let arrangement = Arrangement::plan(plan, trees, view, &self.devices)?;
        if self.confined {
            // One call for every mount below: none of them is looked into, so that none can hang or start anything.
            sys::set_mount_attributes(self.root.as_fd(), MountAttributes::READ_ONLY, true)
                .map_err(failed("mount_setattr", "/"))?;
            for mount in self.own.iter().map(OwnedFd::as_fd).chain([self.memory.as_fd()]) {
                sys::set_mount_writable(mount).map_err(failed("mount_setattr", "/dev"))?;
            }
        }
        arrangement.apply(&self.memory)?;
        group.show(plan, directory);
        if let Some(bytes) = plan.limits.shm {
            self.memory.limit(bytes)?;
        }
        if let Some(limit) = plan.limits.processes.filter(|_| limits::bounds_numbers(plan)) {
            limits::bound_numbers(limit)?;
        }
        if plan.view.is_some() {
            streams::refuse_files()?;
        }
        streams::reopen(&self.terminals)?;
        Ok(group.left_out())
    }
}

/// The namespaces that a sandbox of this process's would be left without, as `CLONE_NEW*` bits.
pub(super) fn left_out() -> u64 {
    Group::own().left_out()
}

/// `/proc` of the new PID namespace: no process outside is in it. Read-only, since much of what root could write there is
/// the host's.
fn processes() -> Result<(), SetupError> {
    let attributes = MountAttributes::READ_ONLY
        .and(MountAttributes::NO_SET_USER_ID)
        .and(MountAttributes::NO_DEVICES)
        .and(MountAttributes::NO_PROGRAMS);
    let mount = sys::new_file_system(c"proc", &[], attributes).map_err(|(call, errno)| {
        let error = SetupError::call(Step::Mounts, call, errno).on("/proc");
        match errno {
            Errno::EPERM => error.hint(
                "the kernel gives a new /proc only to who sees all of the present one, and a container hides parts of it",
            ),
            _ => error,
        }
    })?;
    put("/proc", &mount)
}

/// Mounts on a place that only root can have made.
fn put(place: &str, mount: &OwnedFd) -> Result<(), SetupError> {
    let directory = open_directory(place)?;
    sys::attach_mount(mount.as_fd(), directory.as_fd()).map_err(failed("move_mount", place))
}

fn open_directory(place: &str) -> Result<OwnedFd, SetupError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    open(place, flags, Mode::empty()).map_err(failed("open", place))
}

fn failed<'p>(call: &'static str, place: &'p str) -> impl Fn(Errno) -> SetupError + 'p {
    move |errno| SetupError::call(Step::Mounts, call, errno).on(place)
}
