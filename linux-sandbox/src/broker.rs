//! Decides which unix sockets the command connects to, and connects it.
//!
//! A network namespace confines sockets by address and by abstract name, and not by a name in a file system; neither does a
//! read-only mount, and Landlock only from ABI 9 on. A filter can't read an address. So the filter of the command asks
//! ([`seccomp_unotify(2)`]), and the first process of the namespaces, which stays when the command has started, does the
//! call in the command's place. It never lets a `connect` go on: between a look at the arguments and the kernel's own, another
//! thread could put another socket or another address there.
//!
//! - **What is reached.** Sockets of the sandbox's own network namespace, and those that the plan names. With the network
//!   off, the broker learns of each socket when it starts to listen, asks the socket itself for its file, and holds the
//!   file; a path only selects one of the files held ([`known`]). The kernel's lists of sockets (`/proc/net/unix`, `sock_diag`)
//!   would not do: they have the lower half of an inode number, and no subvolume.
//! - **Which filter asks.** Only the last one, which the command's process installs between `vfork` and `execve`. There it
//!   shares our table of descriptors, so that the listener is ours; `execve` gives it a table of its own, without the
//!   listener. The broker's own calls are not asked about.
//! - **What the broker may.** All that the command may, and two calls and two capabilities more, over the namespaces that
//!   were made for the command. It runs under the same Landlock rules, so that it connects to nothing that the command
//!   could not without it, and its threads share no memory with anybody.
//! - **Waiting.** A thread leads: it takes a call, leaves the lead to the next and works on the call, so that none waits
//!   for another. Once a call was taken, no signal ends it but a deadly one (`WAIT_KILLABLE_RECV`), for half a connection
//!   can't be taken back. The leader looks after calls that take long: one whose caller has ended is given up, and one whose caller
//!   has a signal to handle answers `EINTR`. Where there are too many at once, more are answered `EAGAIN`, never kept.
//!
//! [`seccomp_unotify(2)`]: https://man7.org/linux/man-pages/man2/seccomp_unotify.2.html

mod caller;
mod known;
mod refusals;
mod request;

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::error::{SetupError, Step};
use crate::plan::{Isolation, Network, Plan};
use crate::sys;
use known::Known;
use refusals::Refusals;
pub(crate) use refusals::Refused;
use request::Request;

/// How unix sockets are kept from reaching the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnixSockets {
    /// There are none but connected pairs.
    Refused,
    /// The first process of the namespaces makes each connection.
    Broker,
    /// Landlock lets no path lead out (ABI 9).
    Landlock,
}

/// The first ABI of Landlock with a right for socket files.
const LANDLOCK_RESOLVES_SOCKETS: u8 = 9;

impl UnixSockets {
    /// How a plan has them closed, with this ABI of Landlock in use, as far as is known before the last filter is
    /// installed.
    pub(crate) fn of(plan: &Plan, landlock_abi: u8) -> Self {
        let wanted = plan.network == Network::Off || !plan.places.unix_sockets.is_empty();
        if plan.is_unrestricted() || plan.isolation == Isolation::Landlock || !wanted {
            Self::Refused
        } else if plan.network == Network::Off && landlock_abi >= LANDLOCK_RESOLVES_SOCKETS {
            Self::Landlock
        } else if sys::notifications_available() && !nobody_may_trace() {
            Self::Broker
        } else {
            Self::Refused
        }
    }
}

/// Whether descriptors can't be taken from any process, whatever the privileges: Yama's highest setting.
fn nobody_may_trace() -> bool {
    std::fs::read("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|scope| scope.starts_with(b"3"))
}

/// How many calls may be worked on at a time, and how large the stacks of the threads are that do it.
const THREADS: usize = 1024;
const STACK: usize = 64 * 1024;
/// How often calls that take long are looked after, in milliseconds.
const TICK: u16 = 50;

/// The broker, before it is needed.
pub(crate) struct Broker {
    network: Network,
    known: Option<Known>,
    listener: Option<OwnedFd>,
    signals: SignalFd,
    refusals: Arc<Refusals>,
}

/// What the threads share.
struct House {
    listener: OwnedFd,
    network: Network,
    /// The network namespace that is the command's own.
    namespace: Option<u64>,
    known: Known,
    refusals: Arc<Refusals>,
    /// Held by the thread that takes the next call.
    lead: Mutex<()>,
    crew: Mutex<Crew>,
}

/// The threads.
#[derive(Default)]
struct Crew {
    all: usize,
    /// Those that have no call: the leader, and who waits for the lead.
    free: usize,
    busy: Vec<Arc<Request>>,
}

impl Broker {
    /// Prepares for a command under a plan, whose signals to us are these. To be called after everything is mounted.
    pub(crate) fn prepare(plan: &Plan, signals: &SigSet) -> Result<Self, SetupError> {
        let known = Some(Known::allowed(&plan.places.unix_sockets)?);
        let signals = SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC)
            .map_err(|errno| SetupError::call(Step::Start, "signalfd4", errno))?;
        Ok(Self { network: plan.network, known, listener: None, signals, refusals: Arc::default() })
    }

    /// Takes over what the command's last filter asks.
    pub(crate) fn listen_to(&mut self, listener: OwnedFd) {
        self.listener = Some(listener);
    }

    /// What was refused to the command.
    pub(crate) fn refused(&self) -> Refused {
        self.refusals.all()
    }

    /// The numbers of the descriptors.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let allowed = self.known.iter().flat_map(Known::descriptors);
        let listener = self.listener.iter();
        allowed.chain(listener).map(OwnedFd::as_raw_fd).chain([self.signals.as_raw_fd()])
    }

    /// Waits for a signal. Begins to serve at the first call: most commands make none, and pay for no thread.
    pub(crate) fn attend(&mut self) {
        while let Some(listener) = &self.listener {
            let mut either = [
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            ];
            let polled = poll(&mut either, PollTimeout::NONE);
            let [signal, call] = either.map(|one| one.revents().unwrap_or(PollFlags::empty()));
            match polled {
                Ok(_) if call.contains(PollFlags::POLLIN) => self.begin(),
                Ok(_) if call.is_empty() => {}
                Err(Errno::EINTR) => {}
                // Nobody is left who could call, or nobody can be heard: closed, the listener tells callers so (`ENOSYS`).
                Ok(_) | Err(_) => self.listener = None,
            }
            if !signal.is_empty() {
                return;
            }
        }
    }

    fn begin(&mut self) {
        let (Some(listener), Some(known)) = (self.listener.take(), self.known.take()) else { return };
        // What a descriptor is needed for at a time is more than the usual limit, which is there for programs that can't
        // take more.
        if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE)
            && setrlimit(Resource::RLIMIT_NOFILE, most, most).is_ok()
        {}
        // Faster where the kernel knows how.
        if let Err(_unknown) = sys::wake_in_place(listener.as_fd()) {}
        let namespace = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
            .and_then(|socket| sys::network_of_socket(socket.as_fd()))
            .ok();
        let house = Arc::new(House {
            listener,
            network: self.network,
            namespace,
            known,
            refusals: Arc::clone(&self.refusals),
            lead: Mutex::default(),
            crew: Mutex::default(),
        });
        if sys::prepare_interrupts().is_ok() && house.crew().recruit(&house) {
            return;
        }
        // Nobody can be had to serve. It may be possible later; this one call can't wait for it.
        if let Ok(call) = sys::receive(house.listener.as_fd()) {
            house.turn_away(call);
        }
        if let Ok(House { listener, known, .. }) = Arc::try_unwrap(house).map_err(drop) {
            (self.listener, self.known) = (Some(listener), Some(known));
        }
    }
}

impl House {
    /// The life of a thread: it waits, takes a call, works on it.
    fn work(self: &Arc<Self>) {
        if let Err(_uninterruptible) = sys::be_interruptible() {}
        while let Some(request) = self.take_call() {
            request.serve(self);
            let mut crew = self.crew();
            crew.busy.retain(|other| !Arc::ptr_eq(other, &request));
            if crew.free >= 2 {
                crew.all -= 1;
                return;
            }
            crew.free += 1;
        }
    }

    /// Waits for the lead and takes the next call. Nothing where there will be none.
    fn take_call(self: &Arc<Self>) -> Option<Arc<Request>> {
        let _lead = self.lead.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.wait_for_call() {
                Ok(true) => {}
                Ok(false) => continue,
                Err(_nobody_left) => return None,
            }
            let call = match sys::receive(self.listener.as_fd()) {
                Ok(call) => call,
                Err(Errno::ENOENT | Errno::EINTR) => continue,
                Err(_) => return None,
            };
            let mut crew = self.crew();
            crew.free -= 1;
            if crew.free > 0 || crew.recruit(self) {
                let request = Arc::new(Request::new(call));
                crew.busy.push(Arc::clone(&request));
                return Some(request);
            }
            crew.free += 1;
            drop(crew);
            // Whoever takes a call leaves somebody to take the next.
            self.turn_away(call);
        }
    }

    /// Whether there is a call. An error where nobody is left who could make one.
    fn wait_for_call(&self) -> Result<bool, Errno> {
        let busy = self.crew().busy.clone();
        let patience = if busy.is_empty() { PollTimeout::NONE } else { PollTimeout::from(TICK) };
        let mut listener = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut listener, patience) {
            Ok(0) => busy.iter().for_each(|request| request.check(self.listener.as_fd())),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let seen = listener[0].revents().unwrap_or(PollFlags::empty());
        if seen.contains(PollFlags::POLLIN) {
            Ok(true)
        } else if seen.is_empty() {
            Ok(false)
        } else {
            Err(Errno::ENOENT)
        }
    }

    fn turn_away(&self, call: sys::Notification) {
        // Its caller has ended.
        if let Err(_ended) = sys::answer_call(self.listener.as_fd(), call.id, Err(Errno::EAGAIN)) {}
    }

    fn crew(&self) -> MutexGuard<'_, Crew> {
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crew {
    /// Adds a thread, where there can be one more.
    fn recruit(&mut self, house: &Arc<House>) -> bool {
        if self.all >= THREADS {
            return false;
        }
        let house = Arc::clone(house);
        let started = thread::Builder::new().stack_size(STACK).spawn(move || house.work()).is_ok();
        if started {
            self.all += 1;
            self.free += 1;
        }
        started
    }
}

#[cfg(test)]
mod tests {
    use super::UnixSockets;
    use crate::plan::{Isolation, Network, Plan, PlanPath, Writes};

    #[test]
    fn they_are_closed_by_the_best_that_there_is_and_open_only_where_that_is_wanted() {
        let plan = |isolation, network| Plan::new(isolation, Writes::Beneath(Vec::new()), network);
        let inside = plan(Isolation::Namespaces, Network::Off);
        assert_eq!(UnixSockets::of(&inside, 9), UnixSockets::Landlock);
        assert_ne!(UnixSockets::of(&inside, 8), UnixSockets::Landlock);
        assert_eq!(UnixSockets::of(&plan(Isolation::Landlock, Network::Off), 9), UnixSockets::Refused);
        let mut online = plan(Isolation::Namespaces, Network::Full);
        assert_eq!(UnixSockets::of(&online, 9), UnixSockets::Refused);
        // Landlock would not keep names without a file from being made on the host.
        online.places.unix_sockets.push(PlanPath::new("/run/socket").unwrap());
        assert_ne!(UnixSockets::of(&online, 9), UnixSockets::Landlock);
        assert_eq!(UnixSockets::of(&Plan::UNRESTRICTED, 9), UnixSockets::Refused);
    }
}
