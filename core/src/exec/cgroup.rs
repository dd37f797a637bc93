//! A control group (version 2) of a call's own, where one can be had: it holds the memory and the processes of all
//! together, counts exactly, and ends them at once.
//!
//! ```text
//! delegation (ours, and what is above it) ▶ create ▶ limits ▶ helper enters ▶ … ▶ kill ▶ usage ▶ remove
//! ```
//!
//! Version 1 is not used: its hierarchies are delegated to nobody but root, have neither `cgroup.kill` nor a common group
//! for memory and processes, and distributions have given it up.
//!
//! A group is known by a lock on its directory, which ends with the process that holds it: what a killed agent has left
//! is told from what is in use, whatever PID namespaces lie between.

mod delegation;
mod files;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Pid, UnlinkatFlags, faccessat, getpid, unlinkat};

use crate::limits::{Limit, ResourceLimits};
pub use delegation::{Delegation, NoCgroup};
use files::{number_in, read, write};

/// Groups that we have made begin with this.
const PREFIX: &str = "codex-";
/// How often a name is tried that somebody removes under our hands.
const ATTEMPTS: u32 = 16;
/// How long the end of the last process in a group is waited for, doubled each time: 255 ms together.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const WAITS: u32 = 8;
/// How many groups deep a command can have made groups of its own: with everything allowed, root's can.
const DEEPEST: u32 = 16;

/// Why a group can't be had, though one should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cgroup: {call} on {file}: {why} ({errno:?})", file = codex_linux_sandbox::shown(.file), why = .errno.desc())]
pub struct CgroupError {
    /// The system call.
    pub call: &'static str,
    /// What it was about.
    pub file: PathBuf,
    /// The kernel's answer.
    pub errno: Errno,
}

/// What a group has counted. `None` where the kernel does not count it here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupUsage {
    /// The most memory at a time, in bytes (`memory.peak`, Linux 5.19).
    pub memory_peak: Option<u64>,
    /// How many processes the kernel has killed for want of memory.
    pub out_of_memory_kills: Option<u64>,
    /// The most processes and threads at a time (`pids.peak`, Linux 6.2).
    pub processes_peak: Option<u64>,
    /// How many times another process was refused.
    pub processes_refused: Option<u64>,
    /// Processor time.
    pub cpu_time: Option<Duration>,
}

/// A group of one call. Dropped, its processes are killed and it is removed, if that goes at once; else whoever sweeps next
/// removes it.
#[derive(Debug)]
pub struct Cgroup {
    parent: OwnedFd,
    name: String,
    path: PathBuf,
    /// Locked for as long as this process lives.
    directory: Flock<OwnedFd>,
    holds: Vec<Limit>,
    removed: bool,
}

impl Delegation {
    /// Makes a group that holds those of the limits that [`Delegation::holds`]. `beside` is how many processes of ours will
    /// be in it beside the command's.
    ///
    /// # Errors
    ///
    /// [`CgroupError`] names the call and the file. Nothing is left then.
    pub fn create(&self, limits: &ResourceLimits, beside: u64) -> Result<Cgroup, CgroupError> {
        let mut group = self.empty()?;
        group.limit(limits, &self.holds(), beside)?;
        Ok(group)
    }

    /// A group without limits, locked.
    fn empty(&self) -> Result<Cgroup, CgroupError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut last = Errno::EBUSY;
        for _ in 0..ATTEMPTS {
            let name = format!("{PREFIX}{}-{}", getpid(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = self.path().join(&name);
            let failed = |call| move |errno| CgroupError { call, file: path.clone(), errno };
            match mkdirat(self.directory(), name.as_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) => {}
                // Of a process that had our number before us, here or in another PID namespace.
                Err(Errno::EEXIST) => continue,
                Err(errno) => return Err(failed("mkdir")(errno)),
            }
            // Whoever sweeps may take it for left behind until it is locked, and remove it.
            let locked = open_directory(self.directory(), name.as_str()).and_then(lock);
            match locked.and_then(|directory| still_there(&directory).map(|()| directory)) {
                Ok(directory) => {
                    let parent = self
                        .directory()
                        .try_clone_to_owned()
                        .map_err(|_full| failed("fcntl")(Errno::EMFILE))?;
                    let path = self.path().join(&name);
                    return Ok(Cgroup { parent, name, path, directory, holds: Vec::new(), removed: false });
                }
                Err(errno @ (Errno::ENOENT | Errno::ENODEV | Errno::EWOULDBLOCK)) => last = errno,
                Err(errno) => {
                    if let Err(_stays) = unlinkat(self.directory(), name.as_str(), UnlinkatFlags::RemoveDir) {
                    }
                    return Err(failed("open")(errno));
                }
            }
        }
        Err(CgroupError { call: "mkdir", file: self.path().to_owned(), errno: last })
    }

    /// Ends and removes what agents have left that were killed. Returns how many groups that were. What is in use is not
    /// touched; what can't be removed is left to the next one.
    pub fn sweep(&self) -> usize {
        let Ok(mut here) = nix::dir::Dir::openat(self.directory(), ".", DIRECTORY, Mode::empty()) else {
            return 0;
        };
        let names: Vec<_> = here.iter().flatten().map(|entry| entry.file_name().to_owned()).collect();
        let ours = names.iter().filter(|name| name.to_bytes().starts_with(PREFIX.as_bytes()));
        ours.filter(|name| {
            let name = name.as_c_str();
            let locked = open_directory(self.directory(), name).and_then(lock);
            let Ok(directory) = locked else { return false };
            if let Err(_empty_or_old) = write(directory.as_fd(), "cgroup.kill", "1") {}
            remove_below(directory.as_fd(), DEEPEST);
            unlinkat(self.directory(), name, UnlinkatFlags::RemoveDir).is_ok()
        })
        .count()
    }
}

impl Cgroup {
    fn limit(&mut self, limits: &ResourceLimits, holds: &[Limit], beside: u64) -> Result<(), CgroupError> {
        for (limit, amount) in limits.iter().filter(|(limit, _)| holds.contains(limit)) {
            let amount = amount.get();
            match limit {
                Limit::Memory => {
                    self.write("memory.max", &amount.to_string())?;
                    // All or none: a command that lost one of its processes in silence would go on with half of its work.
                    self.write("memory.oom.group", "1")?;
                    // What is swapped out is used all the same. Absent where the kernel has no swap.
                    match self.write("memory.swap.max", "0") {
                        Err(CgroupError { errno: Errno::ENOENT, .. }) | Ok(()) => {}
                        Err(error) => return Err(error),
                    }
                }
                Limit::Processes => self.write("pids.max", &amount.saturating_add(beside).to_string())?,
                Limit::CpuTime | Limit::OpenFiles | Limit::FileSize | Limit::Shm => continue,
            }
            self.holds.push(limit);
        }
        Ok(())
    }

    /// What it holds.
    #[must_use]
    pub fn holds(&self) -> Vec<Limit> {
        self.holds.clone()
    }

    /// Where the helper enters: `cgroup.procs`, open for writing. Close-on-exec.
    ///
    /// # Errors
    ///
    /// [`CgroupError`] with the kernel's answer.
    pub fn members(&self) -> Result<OwnedFd, CgroupError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        openat(&*self.directory, "cgroup.procs", flags, Mode::empty())
            .map_err(self.failed("open", "cgroup.procs"))
    }

    /// Takes a process in, which must not have been told what to run yet: what it has started stays outside.
    ///
    /// # Errors
    ///
    /// [`CgroupError`] with the kernel's answer.
    pub fn add(&self, process: Pid) -> Result<(), CgroupError> {
        self.write("cgroup.procs", &process.to_string())
    }

    /// Kills everything in it: `cgroup.kill` (Linux 5.14). Nothing in it can start another process meanwhile.
    ///
    /// # Errors
    ///
    /// [`CgroupError`]: `ENOENT` where the kernel is older.
    pub fn kill(&self) -> Result<(), CgroupError> {
        self.write("cgroup.kill", "1")
    }

    /// Whether there is a living process in it.
    #[must_use]
    pub fn is_populated(&self) -> bool {
        number_in(self.directory.as_fd(), "cgroup.events", "populated") == Some(1)
    }

    /// The processor time of all that was ever in it.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        number_in(self.directory.as_fd(), "cpu.stat", "usage_usec").map(Duration::from_micros)
    }

    /// What it has counted so far.
    #[must_use]
    pub fn usage(&self) -> CgroupUsage {
        let directory = self.directory.as_fd();
        let single = |file| read(directory, file)?.trim().parse().ok();
        CgroupUsage {
            memory_peak: single("memory.peak"),
            out_of_memory_kills: number_in(directory, "memory.events", "oom_kill"),
            processes_peak: single("pids.peak"),
            processes_refused: number_in(directory, "pids.events", "max"),
            cpu_time: self.cpu_time(),
        }
    }

    /// Kills what is left, and removes the group once it is empty, which is waited for up to a quarter of a second.
    ///
    /// # Errors
    ///
    /// [`CgroupError`] where it stays: the kernel holds a process in it, in a device or on a network mount.
    pub async fn remove(mut self) -> Result<(), CgroupError> {
        let mut wait = FIRST_WAIT;
        let mut answer = self.try_remove();
        for _ in 0..WAITS {
            if !matches!(answer, Err(CgroupError { errno: Errno::EBUSY, .. })) {
                break;
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
            answer = self.try_remove();
        }
        answer
    }

    fn try_remove(&mut self) -> Result<(), CgroupError> {
        if self.is_populated() {
            self.kill()?;
        }
        remove_below(self.directory.as_fd(), DEEPEST);
        let removed = unlinkat(&self.parent, self.name.as_str(), UnlinkatFlags::RemoveDir);
        self.removed = matches!(removed, Ok(()) | Err(Errno::ENOENT));
        if self.removed { Ok(()) } else { removed.map_err(self.failed("rmdir", "")) }
    }

    fn write(&self, file: &'static str, text: &str) -> Result<(), CgroupError> {
        write(self.directory.as_fd(), file, text).map_err(self.failed("write", file))
    }

    fn failed(&self, call: &'static str, file: &'static str) -> impl Fn(Errno) -> CgroupError {
        let file = self.path.join(file);
        move |errno| CgroupError { call, file: file.clone(), errno }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        if let Err(error) = self.try_remove() {
            tracing::debug!(%error, "a cgroup is left for the next one to sweep");
        }
    }
}

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn open_directory<N: NixPath + ?Sized>(parent: impl AsFd, name: &N) -> Result<OwnedFd, Errno> {
    openat(parent, name, DIRECTORY, Mode::empty())
}

fn lock(directory: OwnedFd) -> Result<Flock<OwnedFd>, Errno> {
    Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)
}

/// The directory of a group that was removed has nothing in it any more.
fn still_there(directory: &Flock<OwnedFd>) -> Result<(), Errno> {
    faccessat(&**directory, "cgroup.procs", nix::unistd::AccessFlags::F_OK, nix::fcntl::AtFlags::empty())
}

/// Removes the groups below a directory, deepest first, as far as they are empty.
fn remove_below(directory: impl AsFd, depth: u32) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let Ok(mut here) = nix::dir::Dir::openat(&directory, ".", DIRECTORY, Mode::empty()) else { return };
    for entry in here.iter().flatten() {
        let name = entry.file_name();
        if entry.file_type() != Some(nix::dir::Type::Directory) || matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if let Ok(inner) = openat(&directory, name, DIRECTORY, Mode::empty()) {
            remove_below(inner, depth);
        }
        if let Err(_stays) = unlinkat(&directory, name, UnlinkatFlags::RemoveDir) {}
    }
}

#[cfg(test)]
mod tests;
