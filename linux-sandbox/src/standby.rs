//! A first process of new namespaces that is kept ready for a command which is not known yet.
//!
//! A caller that runs one command after another has time between two of them, and making namespaces needs nothing of
//! the next command but its [`Footing`]. So the helper is started ahead:
//!
//! ```text
//! codex-linux-sandbox --standby FD -s PERMISSION… --isolation namespaces --parent-pid PID -- standby
//! ```
//!
//! It says over the socket `FD` that it understands ([`HELLO`]), makes the namespaces, lays the ground, and waits. What is
//! to be run comes over the same socket, once: a byte, and with it the descriptors of the [orders], of the
//! three standard streams and of the status pipe. From there on it is a first process like any other. Whatever went wrong
//! before is kept until somebody can be told: a caller learns of it as of any failed set-up.
//!
//! It ends by itself, having run nothing, when the caller goes away or closes the socket, when it has waited for
//! [`PATIENCE`], and as soon as something is mounted or unmounted outside: what it holds is a copy of the tree as it was,
//! and a file system in it can't be unmounted for good.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{IoSlice, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, Shutdown, SockFlag, SockType, recv, send, sendmsg, shutdown,
    socketpair,
};
use nix::unistd::chdir;

use crate::error::{Failure, SetupError, Step};
use crate::handoff::EnvironmentBlock;
use crate::orders;
use crate::plan::{Command, Footing, Invocation, Isolation, Network, Plan, Writes};
use crate::{sys, wire};

/// The option by which the helper is started ahead, before all others.
const OPTION: &str = "--standby";
/// The command's place in the arguments.
const NOBODY: &str = "standby";
/// What the helper says first. Another number is another protocol, and another helper knows nothing of it.
const HELLO: u8 = 1;
/// How long it waits, in milliseconds: longer than a model thinks between two commands.
const PATIENCE: u16 = 60_000;
/// Orders, three streams, status pipe.
const DESCRIPTORS: usize = 5;

/// The caller's end of the socket.
#[derive(Debug)]
pub struct StandbyOrders {
    socket: OwnedFd,
    understood: bool,
}

impl StandbyOrders {
    /// A pair of sockets: the caller's end, and the one to give to the helper.
    ///
    /// # Errors
    ///
    /// What `socketpair(2)` says.
    pub fn pair() -> Result<(Self, OwnedFd), Errno> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (socket, helpers) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
        Ok((Self { socket, understood: false }, helpers))
    }

    /// The helper's arguments, without the program's name: what to stand on, the number of its end of the socket, and
    /// whose end ends it.
    #[must_use]
    pub fn arguments(footing: Footing, socket: RawFd, parent: i32) -> Vec<OsString> {
        let writes = if footing.confined { Writes::Beneath(Vec::new()) } else { Writes::Everywhere };
        let plan = Plan::new(Isolation::Namespaces, writes, footing.network);
        let command = Command { program: NOBODY.into(), argv0: None, arguments: Vec::new() };
        let invocation = Invocation { parent: Some(parent), ..Invocation::new(plan, command) };
        let mut arguments = vec![OsString::from(OPTION), socket.to_string().into()];
        arguments.extend(wire::encode(&invocation));
        arguments
    }

    /// Whether a plan can be kept ready for: one that restricts nothing has no namespaces.
    #[must_use]
    pub const fn are_for(footing: Footing) -> bool {
        footing.confined || matches!(footing.network, Network::Off)
    }

    /// Whether the helper has said that it understands. Never waits.
    ///
    /// # Errors
    ///
    /// Where it never will: it has ended, or is another program.
    pub fn are_understood(&mut self) -> Result<bool, Errno> {
        if self.understood {
            return Ok(true);
        }
        let mut said = [0];
        match recv(self.socket.as_raw_fd(), &mut said, MsgFlags::MSG_DONTWAIT) {
            Ok(1) if said == [HELLO] => {
                self.understood = true;
                Ok(true)
            }
            Ok(0) => Err(Errno::EPIPE),
            Ok(_) => Err(Errno::EPROTO),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Tells the helper what to run, with these standard streams, and where to report to. Never waits. Yields the socket by which
    /// it has its orders: there comes what it [gives away](crate::Proxy::OverOrders).
    ///
    /// # Errors
    ///
    /// Where it has ended, or the kernel gives no descriptor. Nothing has run then, and nothing will.
    pub fn give(
        self,
        invocation: &Invocation,
        environment: &EnvironmentBlock,
        streams: [BorrowedFd<'_>; 3],
        status: BorrowedFd<'_>,
    ) -> Result<OwnedFd, Errno> {
        let mut file = File::from(memfd_create(c"codex-orders", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(&orders::encode(invocation, environment))
            .and_then(|()| file.rewind())
            .map_err(|error| errno(&error))?;
        let [input, output, errors] = streams.map(|stream| stream.as_raw_fd());
        let descriptors = [file.as_raw_fd(), input, output, errors, status.as_raw_fd()];
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let message = [ControlMessage::ScmRights(&descriptors)];
        sendmsg::<()>(self.socket.as_raw_fd(), &[IoSlice::new(&[HELLO])], &message, flags, None)?;
        Ok(self.socket)
    }
}

/// The helper's side: what it was asked for in its arguments.
pub(crate) struct Asked {
    /// The place of a command and its plan.
    pub(crate) invocation: Invocation,
    pub(crate) standby: Standby,
}

/// The waiting process's end of the socket.
pub(crate) struct Standby {
    socket: OwnedFd,
    /// What is mounted outside, for as long as that is what is mounted here.
    mounts: OwnedFd,
}

/// What to run, as it came over the socket.
pub(crate) struct Given {
    orders: File,
    /// The socket itself, which has another direction.
    pub(crate) socket: OwnedFd,
}

impl Asked {
    /// Understands the arguments, if they ask for a process to be kept ready, and says so. To be called first of all.
    pub(crate) fn of(arguments: &[OsString]) -> Result<Option<Self>, Failure> {
        let [option, number, rest @ ..] = arguments else { return Ok(None) };
        if option != OPTION {
            return Ok(None);
        }
        let number = descriptor(number).ok_or_else(|| failed("fcntl", Errno::EBADF))?;
        let socket = sys::take_descriptor(number).map_err(|errno| failed("fcntl", errno))?;
        // What a caller with threads may have let through belongs to nobody here, and would be held for long.
        sys::close_all_but(3, &[number]).map_err(|errno| failed("close_range", errno))?;
        // Where the caller is now is to be had back, too: the command's directory comes with the orders.
        chdir("/").map_err(|errno| failed("chdir", errno))?;
        let invocation = wire::decode(rest.iter().cloned(), || Err("there is none yet"))?;
        let mounts = File::open("/proc/self/mountinfo").map_err(|error| failed("open", errno(&error)))?;
        send(socket.as_raw_fd(), &[HELLO], MsgFlags::MSG_NOSIGNAL).map_err(|errno| failed("send", errno))?;
        Ok(Some(Self { invocation, standby: Standby { socket, mounts: mounts.into() } }))
    }
}

impl Standby {
    /// Waits for orders, and puts the standard streams in place. Yields where to report to, and the orders; nothing where
    /// there will be none.
    pub(crate) fn wait(self) -> Result<Option<(OwnedFd, Given)>, SetupError> {
        let mut either = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.mounts.as_fd(), PollFlags::POLLPRI),
        ];
        loop {
            match poll(&mut either, PollTimeout::from(PATIENCE)) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed("poll", errno)),
            }
        }
        // Whatever it was that ended the wait: orders that have been sent are obeyed, and later ones can't be sent.
        shutdown(self.socket.as_raw_fd(), Shutdown::Read).map_err(|errno| failed("shutdown", errno))?;
        let received = sys::receive_descriptors(self.socket.as_fd(), DESCRIPTORS);
        let descriptors = match received {
            Ok(descriptors) => descriptors,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(failed("recvmsg", errno)),
        };
        let mut descriptors = descriptors.into_iter();
        let Some(orders) = descriptors.next() else { return Ok(None) };
        for number in 0..=2 {
            let stream = descriptors.next().ok_or_else(|| failed("recvmsg", Errno::EBADMSG))?;
            sys::replace_stream(&stream, number).map_err(|errno| failed("dup2", errno))?;
        }
        let status = descriptors.next().ok_or_else(|| failed("recvmsg", Errno::EBADMSG))?;
        Ok(Some((status, Given { orders: File::from(orders), socket: self.socket })))
    }
}

impl Given {
    /// What to run.
    pub(crate) fn read(&mut self) -> Result<(Invocation, EnvironmentBlock), Failure> {
        let mut message = Vec::new();
        let mut head = [0; orders::HEAD];
        self.orders
            .read_exact(&mut head)
            .and_then(|()| self.orders.read_to_end(&mut message))
            .map_err(|error| failed("read", errno(&error)))?;
        orders::decode(head, &message)
    }
}

fn descriptor(number: &OsStr) -> Option<RawFd> {
    number.to_str()?.parse().ok().filter(|number| *number > 2)
}

fn failed(call: &'static str, errno: Errno) -> SetupError {
    SetupError::call(Step::Start, call, errno)
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
