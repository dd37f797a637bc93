//! Starting the helper: descriptors in place, the command's environment in a file in memory, nothing else inherited.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use codex_linux_sandbox::{
    CallersSignals, EarlyInit, Ending, Environment, EnvironmentBlock, Footing, Invocation, PROGRAM,
    SetupError, wire,
};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, pthread_sigmask};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpid, pipe2};

use super::outcome::{ExecError, ResourceUsage};
use super::request::{Signals, Stdio};
use super::sandbox::Helper;
use super::standby::Standby;
use super::sys::{self, Fork, SigchldDisposition};
use super::tree::{kill_below, kill_children};

/// The descriptor by which the helper reports. The first after the standard streams.
const STATUS: RawFd = 3;
/// The descriptor from which the helper reads the command's environment.
const ENVIRONMENT: RawFd = 4;
/// Descriptors to be put in place are moved above all places first, so that no move overwrites another's source.
const ABOVE_ALL_PLACES: RawFd = 10;
/// `POSIX_SPAWN_SETSID` of `spawn.h` (glibc 2.26), which nix does not name.
const SETSID: libc::c_int = 0x80;

/// What to start, and how.
pub(super) struct Spawn {
    pub(super) helper: Helper,
    pub(super) invocation: Invocation,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) stdio: Stdio,
    pub(super) signals: Signals,
    pub(super) early: Option<EarlyInit>,
    pub(super) standby: Option<Arc<Standby>>,
    /// Whether the calling process is there for this command alone, and not needed before it has begun.
    pub(super) may_stand_still: bool,
}

/// The reading ends of what the helper and the command write to.
pub(super) struct Pipes {
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    pub(super) status: OwnedFd,
}

/// What a child of ours stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// It is the helper, then the command.
    ForItself,
    /// It is the first process of a PID namespace: all that is in it ends with it.
    ForANamespace,
    /// It waits for the first process of a PID namespace, which is its child.
    BeforeANamespace,
}

/// The helper, then the command or who stands for it: one process, ended and collected when this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    stands: Stands,
    /// Whether it leads a process group of its own.
    leads_group: bool,
    reaped: bool,
}

impl Child {
    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable once the process has ended.
    pub(super) const fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Passes a signal on to the process.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(errno) = sys::pidfd_send_signal(self.pidfd.as_fd(), signal)
            && errno != Errno::ESRCH
        {
            tracing::warn!(%errno, %signal, "a signal could not be passed on");
        }
    }

    /// Ends the process and everything below it.
    pub(super) fn kill_tree(&self) {
        match self.stands {
            Stands::ForANamespace => {}
            // It ends by itself once the namespace is empty: then nothing is left when it is gone.
            Stands::BeforeANamespace if kill_children(self.pid) => return,
            // Descendants before the process: once it has ended, they are somebody else's.
            Stands::ForItself | Stands::BeforeANamespace => {
                drop(kill_below(self.pid, &BTreeSet::new()));
            }
        }
        if let Err(errno) = sys::pidfd_send_signal(self.pidfd.as_fd(), Signal::SIGKILL)
            && errno != Errno::ESRCH
        {
            tracing::warn!(%errno, "the command could not be killed");
        }
        self.kill_group();
    }

    /// Ends what is left of the process group. The leader must not have been collected: until then the number of the
    /// group can't become another's.
    pub(super) fn kill_group(&self) {
        if self.leads_group
            && !self.reaped
            && let Err(errno) = killpg(self.pid, Signal::SIGKILL)
            && errno != Errno::ESRCH
        {
            tracing::warn!(%errno, "the command's process group could not be killed");
        }
    }

    /// Collects the process, which has ended.
    pub(super) fn reap(&mut self) -> Result<(Ending, ResourceUsage), Errno> {
        let collected = sys::reap(self.pid);
        self.reaped = true;
        collected
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        self.kill_tree();
        let pid = self.pid;
        // A killed process is gone within microseconds, unless the kernel holds it in a device or on a network mount;
        // nobody who drops a future should wait for that.
        let collect = move || collect(pid);
        if std::thread::Builder::new().name("codex-reaper".to_owned()).spawn(collect).is_err() {
            tracing::warn!(%pid, "no thread to collect a killed command: it stays a zombie until this process ends");
        }
    }
}

/// Collects a killed process whose end nobody asks about.
fn collect(pid: Pid) {
    if let Err(errno) = sys::reap(pid) {
        tracing::warn!(%pid, %errno, "a killed command could not be collected");
    }
}

/// What came of starting the helper.
pub(super) enum Spawned {
    Started(Child, Pipes),
    /// A step of the set-up failed that is taken before there is another process.
    Failed(SetupError),
}

/// Starts the helper. To be called on a thread that lasts.
pub(super) fn spawn(mut spawn: Spawn) -> Result<Spawned, ExecError> {
    spawn.invocation.parent = Some(getpid().as_raw());
    match (&spawn.helper, spawn.stdio, spawn.signals) {
        (Helper::ThisProgram, Stdio::Inherit, Signals::Inherit(signals)) => match fork(&mut spawn, signals) {
            Err(ExecError::Helper { errno: Errno::EDEADLK, .. }) => execute(spawn),
            forked => forked,
        },
        _ => execute(spawn),
    }
}

/// Forks the helper off this single-threaded process.
fn fork(spawn: &mut Spawn, signals: CallersSignals) -> Result<Spawned, ExecError> {
    let failed = |errno| ExecError::Helper { helper: shown(&spawn.helper), errno };
    let environment = environment(&spawn.env)?;
    let streams = |status| Pipes { stdout: None, stderr: None, status };
    if spawn.invocation.plan.uses_namespaces() {
        let early = match spawn.early.take().filter(|early| early.fits(&spawn.invocation)) {
            Some(early) => Ok(early),
            None => {
                sys::require_single_thread().map_err(failed)?;
                EarlyInit::begin(Footing::of(&spawn.invocation.plan), signals)
            }
        };
        return match early.and_then(|early| early.order(&spawn.invocation, &environment)) {
            Ok((pid, status)) => {
                never_wait(&status)?;
                Ok(Spawned::Started(child(pid, Stands::ForANamespace, false)?, streams(status)))
            }
            Err(error) => Ok(Spawned::Failed(error)),
        };
    }
    let (status, status_end) = status_pipe()?;
    if spawn.may_stand_still {
        sys::require_single_thread().map_err(failed)?;
        let started =
            codex_linux_sandbox::run_sharing_memory(&spawn.invocation, environment, status_end, signals);
        return Ok(Spawned::Started(
            child(started.map_err(failed)?, Stands::ForItself, false)?,
            streams(status),
        ));
    }
    match sys::fork_if_single_threaded().map_err(failed)? {
        Fork::Parent(pid) => Ok(Spawned::Started(child(pid, Stands::ForItself, false)?, streams(status))),
        Fork::Child => {
            let sigchld = if signals.sigchld_ignored {
                SigchldDisposition::Ignored
            } else {
                SigchldDisposition::Default
            };
            let restored = sys::set_sigchld(sigchld)
                .and_then(|_| pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&signals.mask), None));
            if let Err(errno) = restored {
                // Both were this process's own. An end without a record is a failed set-up.
                tracing::error!(%errno, "the caller's signals can't be restored");
                std::process::abort();
            }
            codex_linux_sandbox::run_forked(&spawn.invocation, environment, status_end)
        }
    }
}

fn execute(spawn: Spawn) -> Result<Spawned, ExecError> {
    let Spawn { helper, mut invocation, env, stdio, signals, standby, .. } = spawn;
    let environment = environment(&env)?;
    // What waits has what this process has of everything else, and its own session.
    if let (Some(standby), Stdio::Capture, Signals::Default) = (standby, stdio, signals)
        && invocation.plan.uses_namespaces()
        && invocation.directory.is_some()
        && let Some((child, pipes)) =
            standby.start(Footing::of(&invocation.plan), &invocation, &environment)?
    {
        return Ok(Spawned::Started(child, pipes));
    }
    let mut places = Places::new()?;
    let (status, status_end) = status_pipe()?;
    places.put(status_end, STATUS)?;
    places.put(environment_file(&environment)?, ENVIRONMENT)?;
    let (mut stdout, mut stderr) = (None, None);
    if stdio == Stdio::Capture {
        places.put(no_input()?, libc::STDIN_FILENO)?;
        for (end, place) in [(&mut stdout, libc::STDOUT_FILENO), (&mut stderr, libc::STDERR_FILENO)] {
            let (reading, writing) = pipe()?;
            *end = Some(reading);
            places.put(writing, place)?;
        }
    }
    invocation.status = Some(STATUS);
    invocation.environment = Environment::Descriptor(ENVIRONMENT);

    let pid = places.spawn(&helper, wire::encode(&invocation), stdio, signals)?;
    let stands = if invocation.plan.uses_namespaces() { Stands::BeforeANamespace } else { Stands::ForItself };
    let child = child(pid, stands, stdio == Stdio::Capture)?;
    Ok(Spawned::Started(child, Pipes { stdout, stderr, status }))
}

/// Starts the helper ahead of a call, with its end of a socket at this number and no streams. To be called on a thread that
/// lasts.
pub(super) fn stand_by(
    helper: &Helper,
    socket: OwnedFd,
    number: RawFd,
    arguments: Vec<OsString>,
) -> Result<Child, ExecError> {
    let mut places = Places::new()?;
    places.put(socket, number)?;
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(preparing("open /dev/null"))?;
    for stream in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        places.put(null.try_clone().map_err(|_full| preparing("fcntl")(Errno::EMFILE))?, stream)?;
    }
    let pid = places.spawn(helper, arguments, Stdio::Capture, Signals::Default)?;
    child(pid, Stands::BeforeANamespace, true)
}

/// Takes charge of a process that was just started.
fn child(pid: Pid, stands: Stands, leads_group: bool) -> Result<Child, ExecError> {
    let pidfd = sys::pidfd_open(pid).map_err(|errno| {
        // Nothing else stands for it yet, so that it has to be ended here.
        if nix::sys::signal::kill(pid, Signal::SIGKILL).is_ok() {
            collect(pid);
        }
        ExecError::Prepare { call: "pidfd_open", errno }
    })?;
    Ok(Child { pid, pidfd, stands, leads_group, reaped: false })
}

/// Descriptors on their way to the numbers at which the helper finds them.
struct Places {
    actions: PosixSpawnFileActions,
    held: Vec<OwnedFd>,
}

impl Places {
    fn new() -> Result<Self, ExecError> {
        let actions = PosixSpawnFileActions::init().map_err(preparing("posix_spawn_file_actions"))?;
        Ok(Self { actions, held: Vec::new() })
    }

    /// Executes the helper with everything in place.
    fn spawn(
        &self,
        helper: &Helper,
        words: Vec<OsString>,
        stdio: Stdio,
        signals: Signals,
    ) -> Result<Pid, ExecError> {
        let mut arguments = vec![c_string(PROGRAM.into())?];
        for word in words {
            arguments.push(c_string(word)?);
        }
        let attributes = attributes(stdio, signals).map_err(preparing("posix_spawnattr"))?;
        // The helper's own environment is empty: nothing in the command's can influence it.
        let no_environment: [&std::ffi::CStr; 0] = [];
        let path = c_string(helper.path().as_os_str().to_owned())?;
        posix_spawn(path.as_c_str(), &self.actions, &attributes, &arguments, &no_environment)
            .map_err(|errno| ExecError::Helper { helper: shown(helper), errno })
    }

    fn put(&mut self, descriptor: OwnedFd, place: RawFd) -> Result<(), ExecError> {
        let moved = sys::duplicate_above(descriptor.as_fd(), ABOVE_ALL_PLACES).map_err(preparing("fcntl"))?;
        self.actions.add_dup2(moved.as_raw_fd(), place).map_err(preparing("posix_spawn_file_actions"))?;
        self.held.push(moved);
        Ok(())
    }
}

fn attributes(stdio: Stdio, signals: Signals) -> Result<PosixSpawnAttr, Errno> {
    let mut attributes = PosixSpawnAttr::init()?;
    let mut flags = PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK;
    match signals {
        Signals::Default => {
            flags |= PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF;
            attributes.set_sigdefault(&SigSet::all())?;
            attributes.set_sigmask(&SigSet::empty())?;
        }
        Signals::Inherit(signals) => attributes.set_sigmask(&signals.mask)?,
    }
    if stdio == Stdio::Capture {
        flags |= PosixSpawnFlags::from_bits_retain(SETSID);
    }
    attributes.set_flags(flags)?;
    Ok(attributes)
}

fn environment(env: &[(OsString, OsString)]) -> Result<EnvironmentBlock, ExecError> {
    let entries = env.iter().map(|(name, value)| c_string(entry(name, value)));
    Ok(EnvironmentBlock::new(entries.collect::<Result<_, _>>()?))
}

/// An environment in a file that is nowhere but in memory.
fn environment_file(environment: &EnvironmentBlock) -> Result<OwnedFd, ExecError> {
    let file =
        memfd_create(c"codex-environment", MFdFlags::MFD_CLOEXEC).map_err(preparing("memfd_create"))?;
    let mut file = File::from(file);
    let written = file.write_all(&environment.to_bytes()).and_then(|()| file.rewind());
    written.map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        ExecError::Prepare { call: "write the environment", errno }
    })?;
    Ok(file.into())
}

/// What a captured command reads.
pub(super) fn no_input() -> Result<OwnedFd, ExecError> {
    open("/dev/null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(preparing("open /dev/null"))
}

/// A pipe whose reader never waits.
pub(super) fn status_pipe() -> Result<(OwnedFd, OwnedFd), ExecError> {
    let (reading, writing) = pipe()?;
    never_wait(&reading)?;
    Ok((reading, writing))
}

fn never_wait(pipe: &OwnedFd) -> Result<(), ExecError> {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(preparing("fcntl")).map(drop)
}

pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), ExecError> {
    pipe2(OFlag::O_CLOEXEC).map_err(preparing("pipe2"))
}

pub(super) fn preparing(call: &'static str) -> impl Fn(Errno) -> ExecError {
    move |errno| ExecError::Prepare { call, errno }
}

fn c_string(text: OsString) -> Result<CString, ExecError> {
    // The request was checked, and a plan holds no NUL bytes: this is for the helper's own path.
    CString::new(text.into_vec())
        .map_err(|_nul| ExecError::Prepare { call: "posix_spawn", errno: Errno::EINVAL })
}

/// `NAME=value`.
fn entry(name: &OsStr, value: &OsStr) -> OsString {
    let mut entry = OsString::with_capacity(name.len() + 1 + value.len());
    entry.push(name);
    entry.push("=");
    entry.push(value);
    entry
}

/// The helper by the name that a person knows it by.
fn shown(helper: &Helper) -> PathBuf {
    match helper {
        Helper::Program(path) => path.clone(),
        Helper::ThisProgram => std::fs::read_link(helper.path()).unwrap_or_else(|_| helper.path().to_owned()),
    }
}
