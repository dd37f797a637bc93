//! Starting the helper: descriptors in place, the command's environment in a file in memory, nothing else inherited.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use codex_linux_sandbox::tree::{children, kill_below, kill_children};
use codex_linux_sandbox::{
    CallersSignals, EarlyInit, Ending, Environment, EnvironmentBlock, Footing, Invocation, ORDER_END,
    ORDER_INTERRUPT, ORDER_TERMINATE, PROGRAM, PidFd, SetupError, wire,
};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpid, pipe2};
use tokio::io::unix::AsyncFd;

use super::accounting::Root;
use super::cgroup::{Cgroup, CgroupError};
use super::outcome::{ExecError, LeftBehind, MOST_LEFT_BEHIND, ResourceUsage};
use super::request::{Control, Signals, Stdio};
use super::sandbox::Helper;
use super::standby::Standby;
use super::sys::{self, Fork};
use super::terminal;

/// The descriptor by which the helper reports. The first after the standard streams.
const STATUS: RawFd = 3;
/// The descriptor from which the helper reads the command's environment.
const ENVIRONMENT: RawFd = 4;
/// The descriptor by which the helper enters a cgroup.
const MEMBERS: RawFd = 5;
/// Descriptors to be put in place are moved above all places first, so that no move overwrites another's source.
const ABOVE_ALL_PLACES: RawFd = 10;
/// `POSIX_SPAWN_SETSID` of `spawn.h` (glibc 2.26), which nix does not name.
const SETSID: libc::c_int = 0x80;

/// How long, in milliseconds, a process that was told to end everything below it may take.
const KILL_PATIENCE: u16 = 2500;

/// What to start, and how.
pub(super) struct Spawn {
    pub(super) helper: Helper,
    pub(super) invocation: Invocation,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) stdio: Stdio,
    pub(super) signals: Signals,
    pub(super) early: Option<EarlyInit>,
    /// What the command is to belong to.
    pub(super) group: Option<Arc<Cgroup>>,
    /// What may be ready for it.
    pub(super) standby: Option<Arc<Standby>>,
}

/// Our ends of what the helper and the command read and write.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    /// All three in one, where the command has a terminal of its own.
    pub(super) master: Option<OwnedFd>,
    pub(super) status: OwnedFd,
}

impl Streams {
    /// The streams of a command that has the caller's own.
    const fn none(status: OwnedFd) -> Self {
        Self { stdin: None, stdout: None, stderr: None, master: None, status }
    }
}

/// What a child of ours stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// It stays beside the command, and ends everything below it.
    BesideTheCommand,
    /// It is the first process of a PID namespace: all that is in it ends with it.
    ForANamespace,
    /// It waits for the first process of a PID namespace, which is its child.
    BeforeANamespace,
}

/// The helper, which stays while the command runs: one process, ended and collected when this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    process: PidFd,
    stands: Stands,
    /// The terminal that is the command's own.
    pub(super) terminal: Option<Arc<AsyncFd<OwnedFd>>>,
    reaped: bool,
}

impl Child {
    /// Readable once the process has ended.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    /// Where what the command has started is found.
    pub(super) const fn root(&self) -> Root {
        match self.stands {
            Stands::BesideTheCommand | Stands::ForANamespace => Root::Keeper(self.pid),
            Stands::BeforeANamespace => Root::Relay(self.pid),
        }
    }

    /// Does with the command what the caller wants.
    pub(super) fn control(&self, control: Control) {
        let done = match (control, &self.terminal) {
            (Control::Signal(signal), _) => return self.signal(signal),
            (Control::Interrupt, None) => return self.signal(ORDER_INTERRUPT),
            (Control::Interrupt, Some(terminal)) => {
                sys::signal_foreground(terminal.get_ref().as_fd(), Signal::SIGINT)
            }
            (Control::Resize(size), Some(terminal)) => {
                sys::set_terminal_size(terminal.get_ref().as_fd(), size)
            }
            (Control::Resize(_), None) => Ok(()),
        };
        if let Err(errno) = done {
            tracing::warn!(%errno, ?control, "the command's terminal does not take it");
        }
    }

    /// Passes a signal on to the command.
    pub(super) fn signal(&self, signal: i32) {
        if let Err(errno) = self.process.send(signal)
            && errno != Errno::ESRCH
        {
            tracing::warn!(%errno, signal, "a signal could not be passed on");
        }
    }

    /// Asks the command, and everything that it has started, to end.
    pub(super) fn terminate(&self) {
        self.signal(ORDER_TERMINATE);
    }

    /// Ends the command and everything that it has started.
    pub(super) fn kill_tree(&self) {
        match self.stands {
            // It knows best what is below it.
            Stands::BesideTheCommand => self.signal(ORDER_END),
            // It ends by itself once the namespace is empty: then nothing is left when it is gone.
            Stands::BeforeANamespace if kill_children(self.pid) => {}
            Stands::BeforeANamespace | Stands::ForANamespace => self.signal(libc::SIGKILL),
        }
    }

    /// The same where the process that should have done it does not.
    pub(super) fn kill_hard(&self) {
        if self.stands == Stands::BesideTheCommand {
            // Descendants before the process: once it has ended, they are somebody else's.
            drop(kill_below(self.pid));
        }
        self.signal(libc::SIGKILL);
    }

    /// What runs beside the command, or is left of it.
    pub(super) fn others(&self) -> Vec<LeftBehind> {
        let mut waiting = match self.stands {
            Stands::BesideTheCommand | Stands::ForANamespace => children(self.pid),
            Stands::BeforeANamespace => children(self.pid).into_iter().flat_map(children).collect(),
        };
        let mut others = Vec::new();
        while let Some(pid) = waiting.pop() {
            if others.len() == MOST_LEFT_BEHIND {
                break;
            }
            waiting.extend(children(pid));
            others.extend(LeftBehind::of(pid));
        }
        others
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
        let (pid, stands) = (self.pid, self.stands);
        // A killed process is gone within microseconds, unless the kernel holds it in a device or on a network mount;
        // nobody who drops a runtime should wait for that.
        let collect = move || {
            if stands == Stands::BesideTheCommand {
                end_hard_if_need_be(pid);
            }
            collect(pid);
        };
        if std::thread::Builder::new().name("codex-reaper".to_owned()).spawn(collect).is_err() {
            tracing::warn!(%pid, "no thread to collect a killed command: it stays a zombie until this process ends");
        }
    }
}

/// Gives a process the time to end everything below it.
fn end_hard_if_need_be(pid: Pid) {
    let Ok(process) = PidFd::open(pid) else { return };
    let mut ended = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ended, KILL_PATIENCE) == Ok(0) {
        drop(kill_below(pid));
        if let Err(errno) = process.send(libc::SIGKILL) {
            tracing::warn!(%pid, %errno, "a process that should have ended can't be killed");
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
    Started(Child, Streams),
    /// A step of the set-up failed that is taken before there is another process.
    Failed(SetupError),
    /// Arguments and environment are more than a program can be given.
    TooLarge,
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
    if spawn.invocation.plan.uses_namespaces() {
        let early = match spawn.early.take().filter(|early| early.fits(&spawn.invocation)) {
            Some(early) => Ok(early),
            None => {
                sys::require_single_thread().map_err(failed)?;
                EarlyInit::begin(Footing::of(&spawn.invocation.plan), signals)
            }
        };
        // It waits for its orders, and has started nobody.
        if let (Ok(early), Some(group)) = (&early, &spawn.group)
            && let Some(pid) = early.pid()
        {
            group.add(pid).map_err(entering)?;
        }
        return match early.and_then(|early| early.order(&spawn.invocation, &environment)) {
            Ok((pid, status)) => {
                never_wait(&status)?;
                Ok(Spawned::Started(child(pid, Stands::ForANamespace)?, Streams::none(status)))
            }
            Err(error) => Ok(Spawned::Failed(error)),
        };
    }
    let (status, status_end) = status_pipe()?;
    let members = spawn.group.as_ref().map(|group| group.members().map_err(entering)).transpose()?;
    spawn.invocation.cgroup = members.as_ref().map(AsRawFd::as_raw_fd);
    match sys::fork_if_single_threaded().map_err(failed)? {
        Fork::Parent(pid) => {
            Ok(Spawned::Started(child(pid, Stands::BesideTheCommand)?, Streams::none(status)))
        }
        Fork::Child => codex_linux_sandbox::run_forked(&spawn.invocation, environment, signals, status_end),
    }
}

fn execute(spawn: Spawn) -> Result<Spawned, ExecError> {
    let Spawn { helper, mut invocation, env, stdio, signals, group, standby, .. } = spawn;
    let environment = environment(&env)?;
    let (status, status_end) = status_pipe()?;
    let (ends, theirs) = connect(stdio, status)?;
    // What waits has what this process has of everything else, a session of its own, and nobody who could put it into a
    // cgroup.
    if let (Some(standby), Some(streams), Signals::Default, None) = (standby, &theirs, signals, &group)
        && invocation.plan.uses_namespaces()
        && invocation.directory.is_some()
        && let Some(child) =
            standby.start(Footing::of(&invocation.plan), &invocation, &environment, streams, &status_end)
    {
        return Ok(Spawned::Started(child, ends));
    }
    let mut places = Places::new()?;
    places.put(status_end, STATUS)?;
    places.put(environment_file(&environment)?, ENVIRONMENT)?;
    for (stream, place) in theirs.into_iter().flatten().zip(libc::STDIN_FILENO..) {
        places.put(stream, place)?;
    }
    if let Some(group) = &group {
        places.put(group.members().map_err(entering)?, MEMBERS)?;
        invocation.cgroup = Some(MEMBERS);
    }
    invocation.status = Some(STATUS);
    invocation.environment = Environment::Descriptor(ENVIRONMENT);

    let pid = places.spawn(&helper, wire::encode(&invocation), stdio, signals)?;
    let stands =
        if invocation.plan.uses_namespaces() { Stands::BeforeANamespace } else { Stands::BesideTheCommand };
    Ok(Spawned::Started(child(pid, stands)?, ends))
}

/// The command's standard streams, in order. Nothing where it has the caller's own.
type Theirs = Option<[OwnedFd; 3]>;

/// Makes the command's standard streams, and our ends of them.
fn connect(stdio: Stdio, status: OwnedFd) -> Result<(Streams, Theirs), ExecError> {
    let mut ours = Streams::none(status);
    let theirs = match stdio {
        Stdio::Inherit => return Ok((ours, None)),
        Stdio::Terminal(size) => {
            let (master, slave) =
                terminal::pair(size).map_err(|(call, errno)| ExecError::Prepare { call, errno })?;
            let another = || slave.try_clone().map_err(|error| preparing("fcntl")(errno_of(&error)));
            ours.master = Some(master);
            [another()?, another()?, slave]
        }
        Stdio::Capture | Stdio::Piped => {
            let input = if stdio == Stdio::Piped {
                let (reading, writing) = pipe()?;
                never_wait(&writing)?;
                ours.stdin = Some(writing);
                reading
            } else {
                open("/dev/null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
                    .map_err(preparing("open /dev/null"))?
            };
            let (stdout, their_stdout) = pipe()?;
            let (stderr, their_stderr) = pipe()?;
            never_wait(&stdout)?;
            never_wait(&stderr)?;
            (ours.stdout, ours.stderr) = (Some(stdout), Some(stderr));
            [input, their_stdout, their_stderr]
        }
    };
    Ok((ours, Some(theirs)))
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
    child(pid, Stands::BeforeANamespace)
}

/// Takes charge of a process that was just started.
fn child(pid: Pid, stands: Stands) -> Result<Child, ExecError> {
    let process = PidFd::open(pid).map_err(|errno| {
        // Nothing else stands for it yet, so that it has to be ended here.
        if nix::sys::signal::kill(pid, Signal::SIGKILL).is_ok() {
            collect(pid);
        }
        ExecError::Prepare { call: "pidfd_open", errno }
    })?;
    Ok(Child { pid, process, stands, terminal: None, reaped: false })
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
    if stdio != Stdio::Inherit {
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
    written.map_err(|error| ExecError::Prepare { call: "write the environment", errno: errno_of(&error) })?;
    Ok(file.into())
}

fn entering(error: CgroupError) -> ExecError {
    ExecError::Prepare { call: "a cgroup to enter", errno: error.errno }
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
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
