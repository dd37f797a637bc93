//! The process that sees what a command is refused, and what it has seen.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use codex_linux_sandbox::{Attempt, Isolation, Kept, Plan, Writes, observer_arguments, observer_sockets};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpid};
use tokio::time::Instant;

use super::error::ExecError;
use super::options::Helper;
use super::outcome::Outcome;
use super::{spawn, sys};

/// The descriptors at which the observer finds its end of the socket, and the file that it writes to.
const SOCKET: i32 = 3;
const LOG: i32 = 4;
/// As much as is read of what it has written: more than it writes.
const MOST_READ: usize = 16 * 1024 * 1024;

/// An observer. It ends by itself when nobody is left whom it follows, or nobody came.
#[derive(Debug)]
pub(super) struct Observer {
    pid: Pid,
    log: File,
    started: Instant,
}

impl Observer {
    /// Starts one for a command under a plan, and returns what the command's process needs to be seen by it. To be called on
    /// a thread that lasts.
    pub(super) fn begin(helper: &Helper, plan: &Plan) -> Result<(Self, OwnedFd), ExecError> {
        let (observers, commands) = observer_sockets().map_err(spawn::preparing("socketpair"))?;
        let log = memfd_create(c"codex-observed", MFdFlags::MFD_CLOEXEC)
            .map_err(spawn::preparing("memfd_create"))?;
        let log = File::from(log);
        let theirs = log.try_clone().map_err(|_full| spawn::preparing("fcntl")(Errno::EMFILE))?;
        let (hidden, trees) = (hidden_by(plan), written_by(plan));
        let arguments =
            observer_arguments(SOCKET, LOG, getpid().as_raw(), plan.view.is_some(), hidden, trees);
        let pid = spawn::observe(helper, [(observers, SOCKET), (theirs.into(), LOG)], arguments)?;
        Ok((Self { pid, log, started: Instant::now() }, commands))
    }

    /// What was seen so far, and how often there was no room for more. All that a process tried before it ended is among it: it
    /// could not go on before it was written down.
    pub(super) fn attempts(&self) -> (Vec<Attempt>, u64) {
        let length = self.log.metadata().map_or(0, |status| status.len());
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(MOST_READ).min(MOST_READ)];
        match self.log.read_exact_at(&mut bytes, 0) {
            Ok(()) => Attempt::read_all(&bytes),
            Err(error) => {
                tracing::warn!(%error, "what was observed can't be read");
                (Vec::new(), 0)
            }
        }
    }

    /// Whether it was its end that ended the command so.
    ///
    /// A command that is killed can have been killed by anybody. The kernel kills what is followed on the way of the observer's own
    /// end: where that has not begun, it has nothing to do with it, and where it has, its status comes at once.
    pub(super) fn took_along(&self, outcome: &Outcome) -> bool {
        if !matches!(outcome, Outcome::Signalled { signal: libc::SIGKILL, .. }) || !self.is_ending() {
            return false;
        }
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::Pid(self.pid), flags) {
                Err(Errno::EINTR) => {}
                // By itself it ends when nobody is left to follow.
                Ok(WaitStatus::Exited(_, 0)) | Err(Errno::ECHILD) => return false,
                Ok(_) | Err(_) => return true,
            }
        }
    }

    /// Whether it is past its last instruction (`PF_EXITING` of `linux/sched.h`, in the ninth field of `proc_pid_stat(5)`).
    fn is_ending(&self) -> bool {
        const EXITING: u64 = 0x4;
        /// Behind the name, which ends with the last parenthesis.
        const FLAGS: usize = 6;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let flags = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(FLAGS)?.parse().ok());
        flags.is_some_and(|flags: u64| flags & EXITING != 0)
    }

    /// When it began to see.
    pub(super) const fn started(&self) -> Instant {
        self.started
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let pid = self.pid;
        // It is about to end, unless something goes on that it follows.
        let collect = move || {
            if let Err(errno) = sys::reap(pid) {
                tracing::warn!(%pid, %errno, "an observer could not be collected");
            }
        };
        if std::thread::Builder::new().name("codex-reaper".to_owned()).spawn(collect).is_err() {
            tracing::warn!(%pid, "no thread to collect an observer: it stays a zombie until this process ends");
        }
    }
}

/// Below what a thing that is not there may be one that the plan hides.
fn hidden_by(plan: &Plan) -> Vec<PathBuf> {
    let mut hidden: Vec<PathBuf> = plan.places.denied.iter().map(|place| place.path().to_owned()).collect();
    if plan.isolation == Isolation::Namespaces {
        hidden.push(PathBuf::from("/dev"));
    }
    hidden
}

/// What a plan lets be written, and what it pins in there: that is mounted apart, and can be written as well.
fn written_by(plan: &Plan) -> Vec<PathBuf> {
    let Writes::Beneath(trees) = &plan.writes else { return Vec::new() };
    let mut written: Vec<PathBuf> = trees.iter().map(|tree| tree.path().to_owned()).collect();
    if plan.uses_namespaces() {
        let pinned = plan.places.protected.iter().filter(|protected| protected.kept == Kept::Pinned);
        written.extend(pinned.map(|protected| protected.path.path().to_owned()));
        written.extend(plan.places.private_tmp.then(|| PathBuf::from("/tmp")));
    }
    written
}
