//! What the kernel says of one connection (`sock_diag(7)`): one question and one answer, however many connections there are.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, send, socket,
};

use super::{Owner, mapped};

/// `NLMSG_ERROR`, `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST`: linux/netlink.h and linux/sock_diag.h.
const ERROR: u16 = 2;
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
/// `AF_INET`, `AF_INET6`, `IPPROTO_TCP`, `TCP_ESTABLISHED`.
const FOUR: u8 = 2;
const SIX: u8 = 10;
const TCP: u8 = 6;
const ESTABLISHED: u8 = 1;
/// The sizes of `nlmsghdr`, `inet_diag_req_v2` and `inet_diag_msg`.
const HEADER: usize = 16;
const QUESTION: usize = 56;
const ANSWER: usize = 72;

/// Whether the kernel has found a connection before: then one that it does not find is not there. Where it has nobody who knows of TCP,
/// it says the same.
static KNOWS_TCP: AtomicBool = AtomicBool::new(false);

/// Whose the socket at `from` is that is connected to `to`. Nothing where there is none.
///
/// # Errors
///
/// Where the kernel does not say: it refuses such questions, or nobody in it knows.
pub(super) fn owner(from: SocketAddr, to: SocketAddr) -> Result<Option<Owner>, Errno> {
    match ask(from, to) {
        Ok(found) => {
            KNOWS_TCP.store(true, Ordering::Relaxed);
            Ok(found)
        }
        // The other end of the same connection is our own, and there.
        Err(Errno::ENOENT) if KNOWS_TCP.load(Ordering::Relaxed) || ask(to, from).is_ok() => {
            KNOWS_TCP.store(true, Ordering::Relaxed);
            Ok(None)
        }
        Err(errno) => Err(errno),
    }
}

fn ask(from: SocketAddr, to: SocketAddr) -> Result<Option<Owner>, Errno> {
    let kernel = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkSockDiag,
    )?;
    let fd = kernel.as_raw_fd();
    // Without an address, it goes to the kernel, which has answered when it is sent.
    send(fd, &question(from, to), MsgFlags::empty())?;
    let mut answer = [0; 512];
    loop {
        let (length, sender) = recvfrom::<NetlinkAddr>(fd, &mut answer)?;
        // Nobody else's word counts.
        if sender.is_some_and(|sender| sender.pid() == 0) {
            return read(answer.get(..length).unwrap_or_default(), from, to);
        }
    }
}

/// Asks for the socket that has exactly these two addresses.
fn question(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + QUESTION);
    let length = u32::try_from(HEADER + QUESTION).unwrap_or_default();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    // A number and a sender, which nobody asks for.
    bytes.extend([0; 8]);
    bytes.extend([family_of(from), TCP, 0, 0]);
    // Every state. Which one it has to be is seen in the answer.
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(pair(from, to));
    // Of any interface, and whatever its cookie.
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([0xff; 8]);
    bytes
}

/// An address as it stands in questions and answers.
fn place(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(four) => {
            let mut place = [0; 16];
            for (byte, known) in place.iter_mut().zip(four.octets()) {
                *byte = known;
            }
            place
        }
        IpAddr::V6(six) => six.octets(),
    }
}

/// What an answer says of the connection from one address to another.
fn read(answer: &[u8], from: SocketAddr, to: SocketAddr) -> Result<Option<Owner>, Errno> {
    let number = |at: usize| {
        let bytes = answer.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let kind =
        answer.get(4..).and_then(|rest| rest.first_chunk::<2>()).map(|bytes| u16::from_ne_bytes(*bytes));
    match kind {
        Some(ERROR) => {
            let errno = number(HEADER).map(|errno| i32::from_ne_bytes(errno.to_ne_bytes()).wrapping_neg());
            // It was not asked for a receipt, so that this is none.
            return Err(errno.filter(|errno| *errno > 0).map_or(Errno::EPROTO, Errno::from_raw));
        }
        Some(BY_FAMILY) if answer.len() >= HEADER + ANSWER => {}
        _ => return Err(Errno::EPROTO),
    }
    let message = answer.get(HEADER..).ok_or(Errno::EPROTO)?;
    let (Some([family, state]), Some(addresses)) =
        (message.first_chunk::<2>(), message.get(4..).and_then(|rest| rest.first_chunk::<36>()))
    else {
        return Err(Errno::EPROTO);
    };
    // The kernel falls back on who listens at that address. A socket of version 6 may be connected to an address of version 4.
    let is_it = (*family == family_of(from) && *addresses == pair(from, to))
        || (from.is_ipv4() && *family == SIX && *addresses == pair(mapped(from), mapped(to)));
    if !is_it {
        return Ok(None);
    }
    let (user, inode) =
        (number(HEADER + 64).ok_or(Errno::EPROTO)?, number(HEADER + 68).ok_or(Errno::EPROTO)?);
    // What no process holds any more is said to be root's.
    let is_held = *state == ESTABLISHED && inode != 0;
    Ok(Some(if is_held { Owner::User(user) } else { Owner::Nobody }))
}

fn family_of(address: SocketAddr) -> u8 {
    if address.is_ipv4() { FOUR } else { SIX }
}

/// Two addresses as they stand in questions and answers: the ports, and the places.
fn pair(from: SocketAddr, to: SocketAddr) -> [u8; 36] {
    let mut bytes = [0; 36];
    let parts =
        [&from.port().to_be_bytes()[..], &to.port().to_be_bytes(), &place(from.ip()), &place(to.ip())];
    for (byte, known) in bytes.iter_mut().zip(parts.concat()) {
        *byte = known;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use nix::unistd::geteuid;
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// An answer as the kernel writes one.
    fn answer(family: u8, state: u8, pair: [u8; 36], user: u32, inode: u32) -> Vec<u8> {
        let mut bytes = vec![88, 0, 0, 0];
        bytes.extend(BY_FAMILY.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend([family, state, 0, 0]);
        bytes.extend(pair);
        // Interface, cookie, three numbers.
        bytes.extend([0; 12 + 12]);
        bytes.extend(user.to_ne_bytes());
        bytes.extend(inode.to_ne_bytes());
        bytes
    }

    #[test]
    fn answers_are_read_as_the_kernel_writes_them() {
        let (from, to) = (at("127.0.0.1:4000"), at("127.0.0.1:80"));
        let four = |state, pair, inode| read(&answer(FOUR, state, pair, 1001, inode), from, to);
        assert_eq!(four(1, pair(from, to), 7), Ok(Some(Owner::User(1001))));
        let six = answer(SIX, 1, pair(mapped(from), mapped(to)), 1001, 7);
        assert_eq!(read(&six, from, to), Ok(Some(Owner::User(1001))));
        // Closed on one side, on both, still to be accepted; and nobody's.
        for (state, inode) in [(4, 7), (6, 0), (3, 0), (2, 7), (1, 0)] {
            assert_eq!(four(state, pair(from, to), inode), Ok(Some(Owner::Nobody)), "{state}");
        }
        // Another's: who listens at that address, one of the same ports, the other end.
        for other in [
            pair(from, at("0.0.0.0:0")),
            pair(at("127.0.0.2:4000"), to),
            pair(from, at("127.0.0.1:81")),
            pair(to, from),
            pair(mapped(from), mapped(to)),
        ] {
            assert_eq!(four(1, other, 7), Ok(None));
        }
        let six = at("[::1]:4000");
        assert_eq!(read(&answer(FOUR, 1, pair(six, six), 1001, 7), six, six), Ok(None));
        let mut refused = vec![36, 0, 0, 0];
        refused.extend(ERROR.to_ne_bytes());
        refused.extend([0; 10]);
        refused.extend((-2_i32).to_ne_bytes());
        assert_eq!(read(&refused, from, to), Err(Errno::ENOENT));
        let whole = answer(FOUR, 1, pair(from, to), 1001, 7);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length], from, to), Err(Errno::EPROTO), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_crashes_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let found = read(&bytes, at("127.0.0.1:1"), at("127.0.0.1:2"));
            prop_assert!(found.is_err() || found == Ok(None));
        }
    }

    /// Where the kernel does not answer such questions, the list is read, and this says nothing.
    #[test]
    fn the_kernel_is_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, peer) = listener.accept().unwrap();
        let to = listener.local_addr().unwrap();
        match owner(peer, to) {
            Ok(found) => {
                assert_eq!(found, Some(Owner::User(geteuid().as_raw())));
                // One that there is not, though somebody listens there.
                assert_eq!(owner(to, at("127.0.0.1:1")), Ok(None));
                drop(client);
            }
            Err(errno) => assert!(std::env::var_os("CI").is_none(), "{errno}"),
        }
    }
}
