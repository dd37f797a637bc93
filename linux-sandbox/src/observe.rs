//! Seeing what is refused, from outside of the sandbox: `ptrace(2)` and two filters that only say what is to be seen.
//!
//! A process of its own, the observer, is started beside the helper:
//!
//! ```text
//! codex-linux-sandbox --observe SOCKET LOG PARENT VIEWED HIDDEN [HIDDEN-PATH]… [WRITABLE-TREE]…
//!
//! command, just before execve                    observer, outside
//!   over the socket: here I am ────────────────▶   PTRACE_SEIZE
//!   ◀──────────────────────────── it is done, or the error
//!   installs both filters, executes                waits for stops, writes what failed into LOG
//! ```
//!
//! - **It decides nothing.** Each call runs in the kernel, under the same rules as without; the observer lets the thread go
//!   on and looks at the answer. Nothing that it reads from another process is used but to be told. It changes no argument but
//!   one flag: a process that is not to be followed (`CLONE_UNTRACED`) is all the same, for what the filters ask would kill it.
//! - **Which calls.** One filter stops a thread at calls that the plan can refuse (`SECCOMP_RET_TRACE`), and there again
//!   when they have returned, unless nothing can refuse them [where they go](spared). The other answers what a filter refuses anyway with a trap (`SECCOMP_RET_TRAP`, which also
//!   never makes the call), in whose place the thread gets `EPERM`, as without. Everything else runs at full speed.
//! - **No signal is lost or added.** A stop is none that a program can see: calls are not interrupted for it, other signals
//!   are handed on as they come, and what stops a job stops it (`PTRACE_SEIZE`, `PTRACE_LISTEN`). That it is followed makes one
//!   difference of the kernel's own: a signal that is ignored reaches a thread all the same, and ends a call that it waits in
//!   and that no signal lets begin again (`epoll_wait`, `semop`, `sigtimedwait`, a socket's timeout) with `EINTR`.
//! - **Nobody waits for another.** Everybody who has stopped is served before whoever stops next.
//! - **It fails closed.** Without it, calls that it watches would answer `ENOSYS`; so everything followed ends with it
//!   (`PTRACE_O_EXITKILL`). Nobody inside can reach it at level namespaces, where it has no number.
//! - **It can't be had everywhere.** Where the machine refuses, the command runs as without, and the report says why.

mod attempt;
mod call;
mod look;
mod own;
mod place;
mod spared;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::IoSliceMut;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::{get_dumpable, set_dumpable};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType, UnixCredentials, recvmsg,
    setsockopt, shutdown, socketpair, sockopt,
};
use nix::unistd::{Pid, getpid, read, write};

use crate::broker::UnixSockets;
use crate::enforce::seccomp;
use crate::error::{SetupError, Step};
use crate::keeper::end_with;
use crate::plan::Plan;
use crate::report::Observation;
use crate::sys;
use crate::sys::trace::{self, Called, Resume, Stop};
pub(crate) use attempt::Log;
use attempt::What;
pub use attempt::{Attempt, MOST_ATTEMPTS};
pub use call::Act;
use look::Look;
pub(crate) use look::address_named;
use spared::Spared;

/// The option by which the observer is started, before all others.
const OPTION: &str = "--observe";
/// What the filters say to us, so that a filter of the command's own is not mistaken for one of them.
pub(crate) const MARK: u16 = 0x0b5e;
/// How long the observer is waited for, in milliseconds. It has nothing else to do.
const PATIENCE: u16 = 5000;
/// `CLONE_UNTRACED` of `linux/sched.h`.
pub(crate) const UNTRACED: u64 = 0x0080_0000;
/// A number, or an error, on the socket.
const WORD: usize = size_of::<i32>();

/// The ends of the socket: the observer's, and the command's.
///
/// # Errors
///
/// What `socketpair(2)` says.
pub fn observer_sockets() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (observers, commands) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    // From here on, the kernel says who writes to it.
    setsockopt(&observers, sockopt::PassCred, &true)?;
    Ok((observers, commands))
}

/// The observer's arguments, without the program's name: the numbers of its end of the socket and of the file to write to,
/// whose end ends it, whether what is written goes to views, below what a thing that is not there may be hidden, and the trees that
/// can be written.
#[must_use]
pub fn observer_arguments(
    socket: RawFd,
    log: RawFd,
    parent: i32,
    viewed: bool,
    hidden: Vec<PathBuf>,
    trees: Vec<PathBuf>,
) -> Vec<OsString> {
    let numbers = [socket, log, parent, i32::from(viewed)].map(|number| number.to_string());
    let numbers = numbers.into_iter().chain([hidden.len().to_string()]).map(OsString::from);
    let paths = hidden.into_iter().chain(trees).map(PathBuf::into_os_string);
    std::iter::once(OPTION.into()).chain(numbers).chain(paths).collect()
}

/// What the arguments say, where they are an observer's.
pub(crate) fn asked(arguments: &[OsString]) -> Option<&[OsString]> {
    let (first, rest) = arguments.split_first()?;
    (first == OPTION).then_some(rest)
}

/// The observer, from its first instruction to its last.
pub(crate) fn observe(arguments: &[OsString]) -> Result<(), SetupError> {
    let failed = |call: &'static str| move |errno| SetupError::call(Step::Start, call, errno);
    let needs = |what| SetupError::condition(Step::Arguments, OPTION, what);
    let [socket, log, parent, viewed, hidden, paths @ ..] = arguments else {
        return Err(needs(
            "needs a socket, a file, a parent, whether there is a view, and how many paths are hidden",
        ));
    };
    let number = |text: &OsString| text.to_str().and_then(|text| text.parse::<i32>().ok()).unwrap_or(-1);
    let (hidden, trees) = usize::try_from(number(hidden))
        .ok()
        .and_then(|hidden| paths.split_at_checked(hidden))
        .ok_or_else(|| needs("hides more paths than it was given"))?;
    let socket = sys::take_descriptor(number(socket)).map_err(failed("fcntl"))?;
    let log = sys::take_descriptor(number(log)).map_err(failed("fcntl"))?;
    sys::undo_spawn().map_err(failed("rt_sigaction"))?;
    // The end of whoever wants to know ends this, and everything that is followed.
    end_with(number(parent), libc::SIGKILL)?;
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).map_err(failed("rt_sigprocmask"))?;
    // Who has given up waiting is nobody who comes.
    if let Err(_gone) = write(&socket, &getpid().as_raw().to_ne_bytes()) {}
    let Some(command) = who_asks(&socket) else {
        // Nobody came: the set-up has failed.
        return Ok(());
    };
    let held = trace::hold(command);
    let viewed = number(viewed) == i32::from(true);
    // While it stands still: it has done nothing yet. What a view does otherwise is told as well, and can happen anywhere in it.
    let seen_once = held.is_ok() && !viewed;
    let spared =
        seen_once.then(|| Spared::find(command, trees.iter().map(PathBuf::from).collect())).flatten();
    let answer = held.as_ref().err().map_or(0, |errno| *errno as i32);
    let answered = write(&socket, &answer.to_ne_bytes()).is_ok();
    drop(socket);
    let followed = match held {
        // It takes the answer, now or later: it stands still, and has not given up.
        Ok(held) if answered => held.follow(),
        // It has given up, and goes on without: it must not end with us.
        Ok(held) => return held.leave().or_else(gone).map_err(failed("ptrace")),
        Err(_told) => return Ok(()),
    };
    followed.or_else(gone).map_err(failed("ptrace"))?;
    let hidden = hidden.iter().map(PathBuf::from).collect();
    let log = Log::new(log.into());
    Observer { log, hidden, viewed, spared, entered: HashMap::new(), started: Instant::now() }
        .follow()
        .map_err(failed("waitpid"))
}

/// What was to be done with a thread was done with one that was killed meanwhile: that is for the next stop to tell.
fn gone(errno: Errno) -> Result<(), Errno> {
    if errno == Errno::ESRCH { Ok(()) } else { Err(errno) }
}

/// Waits for the command's process, and learns its number here from the kernel.
fn who_asks(socket: &OwnedFd) -> Option<Pid> {
    let mut word = [0; WORD];
    let mut space = nix::cmsg_space!(UnixCredentials);
    let mut buffers = [IoSliceMut::new(&mut word)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::empty()).ok()?;
    if message.bytes == 0 {
        return None;
    }
    message.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::ScmCredentials(who) if who.pid() > 0 => Some(Pid::from_raw(who.pid())),
        _ => None,
    })
}

/// Has this process observed, which is about to become the command, and tells what came of it.
pub(crate) fn be_observed(
    socket: RawFd,
    plan: &Plan,
    unix_sockets: UnixSockets,
) -> Result<Observation, SetupError> {
    let socket = sys::take_descriptor(socket).map_err(|errno| {
        SetupError::call(Step::Report, "fcntl", errno).hint("--observer-fd names no open descriptor")
    })?;
    if let Err(errno) = ask(&socket, plan.uses_namespaces()) {
        return Ok(Observation::Refused(errno));
    }
    // From here on it is followed, and what the filters ask has somebody to answer it.
    seccomp::install_observing(plan, unix_sockets)?;
    Ok(Observation::Exact)
}

fn ask(socket: &OwnedFd, in_namespaces: bool) -> Result<(), Errno> {
    let observer = hear(socket)?;
    if !in_namespaces {
        // The number means the observer only where it is the same inside and outside. In namespaces, who made them may
        // follow.
        match trace::allow_to_follow(Pid::from_raw(observer)) {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    // Nobody follows what hides its memory. What is hidden is hidden again before there is anybody inside to look.
    let dumpable = get_dumpable()?;
    set_dumpable(true)?;
    let answer = write(socket, &[0; WORD]).and_then(|_| hear(socket).or_else(|errno| give_up(socket, errno)));
    set_dumpable(dumpable)?;
    match answer? {
        0 => Ok(()),
        errno => Err(Errno::from_raw(errno)),
    }
}

/// Waits no longer for the answer. One that has come until now counts: it would have this process followed. None can come after
/// this, and an observer that can't answer leaves this process alone.
fn give_up(socket: &OwnedFd, errno: Errno) -> Result<i32, Errno> {
    shutdown(socket.as_raw_fd(), Shutdown::Both)?;
    receive(socket).map_err(|_none| errno)
}

/// Reads a number from the observer, as long as there may be one.
fn hear(socket: &OwnedFd) -> Result<i32, Errno> {
    loop {
        match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(PATIENCE)) {
            Ok(0) => return Err(Errno::ETIMEDOUT),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
        }
        return receive(socket);
    }
}

fn receive(socket: &OwnedFd) -> Result<i32, Errno> {
    let mut word = [0; WORD];
    loop {
        return match read(socket, &mut word) {
            Ok(WORD) => Ok(i32::from_ne_bytes(word)),
            Ok(_) => Err(Errno::ECONNRESET),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(errno),
        };
    }
}

/// Whether the end of a call is to be seen as well.
enum Begun {
    Seen,
    Unseen,
}

/// Whoever follows the command and all that it starts.
struct Observer {
    log: Log,
    /// Below what a thing that is not there may be one that is hidden.
    hidden: Vec<PathBuf>,
    /// Whether links that the command makes go with it, so that it is seen now where they lead.
    viewed: bool,
    /// What nothing can be refused in, so that the end of a call there is not seen.
    spared: Option<Spared>,
    /// Calls that have begun, by their thread, and what they named then.
    entered: HashMap<Pid, (Called, Look)>,
    started: Instant,
}

impl Observer {
    /// Follows until nobody is left.
    fn follow(mut self) -> Result<(), Errno> {
        let mut stops = Vec::new();
        loop {
            trace::next_stops(&mut stops)?;
            if stops.is_empty() {
                return Ok(());
            }
            for (thread, stop) in stops.drain(..) {
                // It was killed meanwhile, of which the next stop tells; or its number has become that of the one that
                // executes something in its process, who comes to a stop of its own.
                if let Err(_stale) = self.serve(thread, stop) {}
            }
        }
    }

    fn serve(&mut self, thread: Pid, stop: Stop) -> Result<(), Errno> {
        match stop {
            Stop::Gone => {
                self.entered.remove(&thread);
                Ok(())
            }
            Stop::Call => self.enter(thread),
            Stop::Returned => {
                self.leave(thread);
                trace::resume(thread, Resume::Freely, 0)
            }
            Stop::Signal(signal) => {
                let signal = if signal == libc::SIGSYS && self.trapped(thread) { 0 } else { signal };
                trace::resume(thread, Resume::Freely, signal)
            }
            Stop::Group => trace::leave_stopped(thread),
            Stop::Executes => {
                self.entered.remove(&thread);
                if let Ok(before) = trace::number_before(thread) {
                    self.entered.remove(&before);
                }
                trace::resume(thread, Resume::Freely, 0)
            }
            Stop::Other => trace::resume(thread, Resume::Freely, 0),
        }
    }

    /// A call is about to be made.
    fn enter(&mut self, thread: Pid) -> Result<(), Errno> {
        match self.begin(thread) {
            Ok(Begun::Seen) => trace::resume(thread, Resume::ToTheEndOfTheCall, 0),
            // Nobody else lets it go on.
            Ok(Begun::Unseen) | Err(_) => trace::resume(thread, Resume::Freely, 0),
        }
    }

    fn begin(&mut self, thread: Pid) -> Result<Begun, Errno> {
        let (called, data) = trace::call(thread)?;
        if data != u32::from(MARK) {
            // A filter of the command's own wants a tracer, of which it has none.
            trace::skip_call(thread)?;
            return Ok(Begun::Unseen);
        }
        if called.number == libc::SYS_clone {
            let mut registers = trace::Registers::of(thread)?;
            registers.clear_in_first_argument(UNTRACED);
            registers.set(thread)?;
            return Ok(Begun::Unseen);
        }
        let Some(look) = Look::at(thread, &called) else { return Ok(Begun::Unseen) };
        if self.spared.as_mut().is_some_and(|spared| spared.spares(thread, &called, &look)) {
            return Ok(Begun::Unseen);
        }
        self.entered.insert(thread, (called, look));
        Ok(Begun::Seen)
    }

    /// A call was made.
    fn leave(&mut self, thread: Pid) {
        let Some((called, before)) = self.entered.remove(&thread) else { return };
        let Ok(Some(errno)) = trace::error_of_call(thread) else { return };
        if !refuses(errno) {
            return;
        }
        // Where it names something else by now, nobody knows what the kernel has read.
        let Some(look) = Look::at(thread, &called).filter(|now| *now == before) else { return };
        let Some(what) = look.resolve(thread, self.viewed) else { return };
        let may_be_hidden =
            |path: &OsString| self.hidden.iter().any(|hidden| PathBuf::from(path).starts_with(hidden));
        if errno == Errno::ENOENT
            && !may_be_hidden(&what.target)
            && !what.places.iter().flatten().any(may_be_hidden)
        {
            return;
        }
        self.tell(thread, what, errno);
    }

    /// A filter refused a call, and the kernel is about to say so by a signal. Whether it was ours.
    fn trapped(&mut self, thread: Pid) -> bool {
        if trace::trapped_by(thread) != Ok(Some(i32::from(MARK))) {
            return false;
        }
        let Ok(mut registers) = trace::Registers::of(thread) else { return false };
        let Some(Called { number, arguments }) = registers.call() else { return false };
        registers.fail(Errno::EPERM);
        if registers.set(thread).is_err() {
            return false;
        }
        let words: Vec<String> =
            std::iter::once(number.to_string()).chain(arguments.map(|word| word.to_string())).collect();
        self.tell(thread, What::new(Act::Call, words.join(" ").into()), Errno::EPERM);
        true
    }

    fn tell(&mut self, thread: Pid, what: What, errno: Errno) {
        let first = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.log.add(what, errno, first, || look::who(thread));
    }
}

/// Whether a sandbox, or a view in it, may be the reason for an error.
const fn refuses(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EACCES
            | Errno::EPERM
            | Errno::EROFS
            | Errno::EBUSY
            | Errno::ENOENT
            | Errno::EXDEV
            | Errno::ENETUNREACH
            | Errno::ECONNREFUSED
            // A view says these where the tree would not.
            | Errno::EOVERFLOW
            | Errno::ENOSPC
    )
}
