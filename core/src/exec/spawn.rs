//! Starting the helper: descriptors in place, the command's environment in a file in memory, nothing else inherited.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use codex_linux_sandbox::{
    CallersSignals, EarlyInit, Environment, EnvironmentBlock, Footing, Invocation, Proxy, SetupError, wire,
};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpid, pipe2};

use super::cgroup::{Cgroup, CgroupError};
use super::child::{Child, Stands, child};
use super::error::ExecError;
use super::observer::Observer;
use super::options::Helper;
use super::overheard::WayIn;
use super::request::{Signals, Stdio};
use super::standby::Standby;
use super::sys::{self, Fork};
use super::terminal;
use places::{Places, shown};

mod places;

/// The descriptor by which the helper reports. The first after the standard streams.
const STATUS: RawFd = 3;
/// The descriptor from which the helper reads the command's environment.
const ENVIRONMENT: RawFd = 4;
/// The descriptor by which the helper enters a cgroup.
const MEMBERS: RawFd = 5;
/// The descriptor by which the command's process comes to be observed.
const OBSERVER: RawFd = 6;
/// The descriptor over which the helper gives away where commands ask for hosts.
const PROXY: RawFd = 7;
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
    /// Whether somebody is to see what it is refused.
    pub(super) observe: bool,
    /// Whether somebody answers what it asks of hosts outside.
    pub(super) proxied: bool,
    /// What the command has for its standard error, where it is overheard.
    pub(super) way_in: Option<Arc<WayIn>>,
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
    /// Where the socket comes from at which the command asks for hosts outside.
    pub(super) proxy: Option<OwnedFd>,
}

impl Streams {
    /// The streams of a command that has the caller's own.
    const fn none(status: OwnedFd) -> Self {
        Self { stdin: None, stdout: None, stderr: None, master: None, status, proxy: None }
    }
}

/// What came of starting the helper.
pub(super) enum Spawned {
    Started(Child, Streams, Option<Observer>),
    /// A step of the set-up failed that is taken before there is another process.
    Failed(SetupError),
    /// Arguments and environment are more than a program can be given.
    TooLarge,
}

/// Starts the helper. To be called on a thread that lasts.
pub(super) fn spawn(mut spawn: Spawn) -> Result<Spawned, ExecError> {
    spawn.invocation.parent = Some(getpid().as_raw());
    match spawn.way_in.take() {
        Some(way_in) => way_in.lend(|| begin(spawn)),
        None => begin(spawn),
    }
}

fn begin(mut spawn: Spawn) -> Result<Spawned, ExecError> {
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
    let (mut observer, mut observed) = (None, None);
    if spawn.observe {
        sys::require_single_thread().map_err(failed)?;
        // What was forked before has no share in the socket.
        spawn.early = None;
        let (seeing, socket) = Observer::begin(&spawn.helper, &spawn.invocation.plan)?;
        spawn.invocation.observer = Some(socket.as_raw_fd());
        (observer, observed) = (Some(seeing), Some(socket));
    }
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
        if spawn.proxied {
            spawn.invocation.proxy = Proxy::OverOrders;
        }
        return match early.and_then(|early| early.order(&spawn.invocation, &environment)) {
            Ok((pid, status, orders)) => {
                never_wait(&status)?;
                let proxy = spawn.proxied.then_some(orders);
                let ends = Streams { proxy, ..Streams::none(status) };
                Ok(Spawned::Started(child(pid, Stands::ForANamespace)?, ends, observer))
            }
            Err(error) => Ok(Spawned::Failed(error)),
        };
    }
    let (status, status_end) = status_pipe()?;
    let members = spawn.group.as_ref().map(|group| group.members().map_err(entering)).transpose()?;
    spawn.invocation.cgroup = members.as_ref().map(AsRawFd::as_raw_fd);
    match sys::fork_if_single_threaded().map_err(failed)? {
        Fork::Parent(pid) => {
            // Only the other side has a use for it.
            drop(observed);
            Ok(Spawned::Started(child(pid, Stands::BesideTheCommand)?, Streams::none(status), observer))
        }
        Fork::Child => codex_linux_sandbox::run_forked(&spawn.invocation, environment, signals, status_end),
    }
}

fn execute(spawn: Spawn) -> Result<Spawned, ExecError> {
    let Spawn { helper, mut invocation, env, stdio, signals, group, standby, observe, proxied, .. } = spawn;
    let environment = environment(&env)?;
    let (status, status_end) = status_pipe()?;
    let (mut ends, theirs) = connect(stdio, status)?;
    // What waits has what this process has of everything else, a session of its own, and nobody who could put it into a
    // cgroup. A terminal has to be there when the ground is laid, to have a place on it.
    if !matches!(stdio, Stdio::Terminal(_))
        && let (Some(standby), Some(streams), Signals::Default, None) = (standby, &theirs, signals, &group)
        && invocation.plan.uses_namespaces()
        && invocation.directory.is_some()
        && !observe
    {
        let mut invocation = invocation.clone();
        if proxied {
            invocation.proxy = Proxy::OverOrders;
        }
        let footing = Footing::of(&invocation.plan);
        if let Some((child, orders)) = standby.start(footing, &invocation, &environment, streams, &status_end)
        {
            ends.proxy = proxied.then_some(orders);
            return Ok(Spawned::Started(child, ends, None));
        }
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
    let mut observer = None;
    if observe {
        let (seeing, socket) = Observer::begin(&helper, &invocation.plan)?;
        places.put(socket, OBSERVER)?;
        invocation.observer = Some(OBSERVER);
        observer = Some(seeing);
    }
    if proxied {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
            .map_err(preparing("socketpair"))?;
        places.put(theirs, PROXY)?;
        invocation.proxy = Proxy::Over(PROXY);
        ends.proxy = Some(ours);
    }
    invocation.status = Some(STATUS);
    invocation.environment = Environment::Descriptor(ENVIRONMENT);

    let pid = places.spawn(&helper, wire::encode(&invocation), stdio, signals)?;
    let stands =
        if invocation.plan.uses_namespaces() { Stands::BeforeANamespace } else { Stands::BesideTheCommand };
    Ok(Spawned::Started(child(pid, stands)?, ends, observer))
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
    places.put_nothing_in_the_streams()?;
    let pid = places.spawn(helper, arguments, Stdio::Capture, Signals::Default)?;
    child(pid, Stands::BeforeANamespace)
}

/// Starts an observer, with its end of a socket and the file that it writes to at these numbers, and no streams. To be called
/// on a thread that lasts.
pub(super) fn observe(
    helper: &Helper,
    descriptors: [(OwnedFd, RawFd); 2],
    arguments: Vec<OsString>,
) -> Result<Pid, ExecError> {
    let mut places = Places::new()?;
    for (descriptor, place) in descriptors {
        places.put(descriptor, place)?;
    }
    places.put_nothing_in_the_streams()?;
    places.spawn(helper, arguments, Stdio::Capture, Signals::Default)
}

fn environment(env: &[(OsString, OsString)]) -> Result<EnvironmentBlock, ExecError> {
    let mut block = EnvironmentBlock::default();
    for (name, value) in env {
        if !block.push(name, value) {
            return Err(ExecError::Environment { name: name.clone() });
        }
    }
    Ok(block)
}

/// An environment in a file that is nowhere but in memory.
fn environment_file(environment: &EnvironmentBlock) -> Result<OwnedFd, ExecError> {
    let file =
        memfd_create(c"codex-environment", MFdFlags::MFD_CLOEXEC).map_err(preparing("memfd_create"))?;
    let mut file = File::from(file);
    let written = file.write_all(environment.as_bytes()).and_then(|()| file.rewind());
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

/// What stands in the way of waiting for a descriptor.
pub(super) fn watching(error: std::io::Error) -> ExecError {
    preparing("epoll_ctl")(errno_of(&error))
}

pub(super) fn preparing(call: &'static str) -> impl Fn(Errno) -> ExecError {
    move |errno| ExecError::Prepare { call, errno }
}
