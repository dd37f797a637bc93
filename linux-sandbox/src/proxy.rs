//! The one door of a closed network: a socket that listens inside, and is answered by whoever watches over the command.
//!
//! ```text
//! first process inside                          caller, outside
//!   listens at 127.0.0.1:3128, in the
//!   sandbox's own network namespace
//!   over a socket: the listening socket ──────▶   accepts, decides, connects
//! ```
//!
//! A socket belongs to the network namespace in which it was made, whoever holds it: the caller answers what is asked inside, and
//! no process has to carry bytes from one side to the other. What is asked there is the command's choice, and what comes of it the
//! caller's: the helper decides nothing.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::error::{SetupError, Step};
use crate::plan::Proxy;
use crate::sys;

/// Where commands find their proxy: in a network namespace of their own, so that nobody else is there before.
pub const PROXY_ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 3128);

/// What a descriptor is sent with.
const HERE: u8 = 1;

/// Begins to listen, and gives the socket away. To be called in the new network namespace, with its loopback up and before
/// anything else is there. `orders` is over what the orders came.
pub(crate) fn open(proxy: Proxy, orders: BorrowedFd<'_>) -> Result<(), SetupError> {
    let failed = |call| move |errno| SetupError::call(Step::Proxy, call, errno);
    let taken;
    let to = match proxy {
        Proxy::None => return Ok(()),
        Proxy::OverOrders => orders,
        Proxy::Over(number) => {
            taken = sys::take_descriptor(number)
                .map_err(|errno| failed("fcntl")(errno).hint("--proxy-fd names no open descriptor"))?;
            taken.as_fd()
        }
    };
    let listener = TcpListener::bind(PROXY_ADDRESS).map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        failed("bind")(errno).on(PROXY_ADDRESS.to_string())
    })?;
    let descriptors = [listener.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(&[HERE])], &message, MsgFlags::MSG_NOSIGNAL, None)
        .map_err(failed("sendmsg"))
        .map(drop)
}

/// Lets go of the socket on the way out of a process that has nothing to give away: who waits at the other end has to see it
/// close.
pub(crate) fn forget(proxy: Proxy) {
    if let Proxy::Over(number) = proxy {
        // There is none to let go of where it was never open.
        drop(sys::take_descriptor(number));
    }
}

/// Takes the listening socket that the helper gives away, on the caller's side. Never waits: `EAGAIN` where it has not come.
/// Nothing where it never will: the helper has ended, or its set-up has failed.
///
/// # Errors
///
/// What `recvmsg(2)` says; `EBADMSG` where something else came.
pub fn take_proxy_socket(socket: &OwnedFd) -> Result<Option<TcpListener>, Errno> {
    let mut descriptors = sys::receive_descriptors(socket.as_fd(), 1)?.into_iter();
    Ok(descriptors.next().map(TcpListener::from))
}
