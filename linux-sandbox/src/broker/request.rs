//! One call, from what its caller meant to the answer.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{UnixAddr, getpeername};
use nix::unistd::{Pid, gettid};

use super::House;
use super::caller::Caller;
use crate::enforce::privileges::ask_sockets;
use crate::plan::Network;
use crate::sys::{self, Notification};

/// Where `struct sockaddr_un` has its path, and how long it is at most.
const PATH: usize = 2;
const LONGEST_UNIX_ADDRESS: usize = PATH + 108;

/// A call that is being worked on.
#[derive(Debug)]
pub(super) struct Request {
    notification: Notification,
    /// The thread that works on it.
    thread: Pid,
    interrupted: AtomicBool,
}

/// What becomes of a call.
enum Verdict {
    /// It is answered.
    Answered(Result<(), Errno>),
    /// The kernel does it.
    GoesOn,
}

impl From<Errno> for Verdict {
    fn from(errno: Errno) -> Self {
        Self::Answered(Err(errno))
    }
}

impl Request {
    /// A call that this thread works on.
    pub(super) fn new(notification: Notification) -> Self {
        Self { notification, thread: gettid(), interrupted: AtomicBool::new(false) }
    }

    /// Works on the call, and answers it.
    pub(super) fn serve(&self, house: &House) {
        let listener = house.listener.as_fd();
        let id = self.notification.id;
        let told = match self.verdict(house) {
            Verdict::Answered(answer) => sys::answer_call(listener, id, answer),
            Verdict::GoesOn => sys::let_call_go_on(listener, id),
        };
        // The caller has ended, and nobody waits.
        if let Err(_ended) = told {}
    }

    /// Ends what the thread waits for, where nobody waits for it any longer.
    pub(super) fn check(&self, listener: BorrowedFd<'_>) {
        let needless = !sys::still_waits(listener, self.notification.id)
            || Caller(self.notification.caller).is_signalled();
        if needless {
            self.interrupted.store(true, Ordering::SeqCst);
            // It has finished by itself.
            if let Err(_finished) = sys::interrupt_thread(self.thread) {}
        }
    }

    fn verdict(&self, house: &House) -> Verdict {
        match self.notification.call {
            libc::SYS_connect => Verdict::Answered(self.connect(house)),
            libc::SYS_bind => Verdict::Answered(self.bind(house)),
            libc::SYS_listen => self.listen(house),
            // The filter asks about no other.
            _ => Errno::ENOSYS.into(),
        }
    }

    /// Connects what the caller called a socket to what it called an address, both taken once and not looked at again
    /// where it could change them. Where that fails, it is remembered for whoever asks why.
    fn connect(&self, house: &House) -> Result<(), Errno> {
        let (socket, address) = self.taken(house)?;
        let answer = sys::socket_family(socket.as_fd()).and_then(|family| match family {
            libc::AF_UNIX => self.connect_unix(house, &socket, &address),
            libc::AF_INET | libc::AF_INET6 | libc::AF_NETLINK => self.connected(&socket, &address),
            // One that came from the outside as a standard stream.
            _ => Err(Errno::EACCES),
        });
        answer.inspect_err(|errno| house.refusals.add(Caller(self.notification.caller), &address, *errno))
    }

    fn connect_unix(&self, house: &House, socket: &OwnedFd, address: &[u8]) -> Result<(), Errno> {
        let family = address.first_chunk().map(|family| u16::from_ne_bytes(*family));
        let in_bounds = address.len() > PATH && address.len() <= LONGEST_UNIX_ADDRESS;
        if !in_bounds || family.map(i32::from) != Some(libc::AF_UNIX) {
            return Err(Errno::EINVAL);
        }
        let path = address.get(PATH..).unwrap_or_default();
        if path.first() == Some(&0) {
            return match house.network {
                // The socket is of the sandbox's own namespace, and so is whoever has the name in it.
                Network::Off => self.connected(socket, address),
                Network::Full => Err(Errno::EACCES),
            };
        }
        let path = CStr::from_bytes_until_nul(path).map_or(path, CStr::to_bytes);
        let file = Caller(self.notification.caller).find(path)?;
        let Some(known) = house.known.find(&file)? else {
            // What the kernel would have said is not kept from whoever does not need the file.
            let connected = getpeername::<UnixAddr>(socket.as_raw_fd()).is_ok();
            return Err(if connected { Errno::EISCONN } else { Errno::EACCES });
        };
        let mut held = u16::try_from(libc::AF_UNIX).unwrap_or_default().to_ne_bytes().to_vec();
        held.extend(format!("/proc/self/fd/{}\0", known.as_raw_fd()).into_bytes());
        self.connected(socket, &held)
    }

    /// Connects, and waits as long as somebody waits for it.
    fn connected(&self, socket: &OwnedFd, address: &[u8]) -> Result<(), Errno> {
        loop {
            match sys::connect_to(socket.as_fd(), address) {
                // Anybody inside can send us signals.
                Err(Errno::EINTR) if !self.interrupted.load(Ordering::SeqCst) => {}
                answer => return answer,
            }
        }
    }

    /// Only asked about where the network is the host's: no name of a unix socket is made there.
    fn bind(&self, house: &House) -> Result<(), Errno> {
        let (socket, address) = self.taken(house)?;
        match sys::socket_family(socket.as_fd())? {
            libc::AF_INET | libc::AF_INET6 | libc::AF_NETLINK => sys::bind_to(socket.as_fd(), &address),
            _ => Err(Errno::EACCES),
        }
    }

    /// Learns which file leads to the socket. The call itself is the kernel's, whatever socket it finds by then: that a
    /// socket listens hurts nobody, and one that was not learned of is not connected to.
    ///
    /// Only a socket of the sandbox's own network namespace gives its file away to us. One of the host, which came as a standard
    /// stream, does not.
    fn listen(&self, house: &House) -> Verdict {
        let learned = (|| {
            let socket = Caller(self.notification.caller).descriptor(self.notification.arguments[0])?;
            self.is_the_callers(house)?;
            if sys::socket_family(socket.as_fd())? == libc::AF_UNIX {
                house.known.add(ask_sockets(|| sys::file_of_socket(socket.as_fd()))?)?;
            }
            Ok(())
        })();
        match learned {
            // Nobody could connect to it, and its clients would not know why.
            Err(errno @ (Errno::EMFILE | Errno::ENFILE)) => errno.into(),
            _ => Verdict::GoesOn,
        }
    }

    /// The socket and the address that the first arguments name.
    fn taken(&self, house: &House) -> Result<(OwnedFd, Vec<u8>), Errno> {
        let [number, place, length, ..] = self.notification.arguments;
        let caller = Caller(self.notification.caller);
        let socket = caller.descriptor(number).map_err(|errno| match errno {
            // Ours, not the caller's.
            Errno::EMFILE | Errno::ENFILE => Errno::ENOBUFS,
            other => other,
        })?;
        let address = caller.address(place, length)?;
        self.is_the_callers(house)?;
        let network = sys::network_of_socket(socket.as_fd())?;
        match house.network {
            Network::Off if house.namespace != Some(network) => Err(Errno::EACCES),
            Network::Off | Network::Full => Ok((socket, address)),
        }
    }

    /// Makes sure that what was taken is the caller's, and not that of somebody who got its number since.
    fn is_the_callers(&self, house: &House) -> Result<(), Errno> {
        if sys::still_waits(house.listener.as_fd(), self.notification.id) {
            Ok(())
        } else {
            Err(Errno::ESRCH)
        }
    }
}
