//! Who is at the other end.

mod diag;

use std::net::SocketAddr;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Uid, geteuid};
use tokio::net::UnixStream;

/// The user at the other end of a unix socket, where it is ours or root. Says who it is otherwise.
pub(crate) fn unix_peer(stream: &UnixStream) -> Result<u32, Option<u32>> {
    let peer = getsockopt(stream, PeerCredentials).map_err(|_errno| None)?.uid();
    if is_trusted(peer) { Ok(peer) } else { Err(Some(peer)) }
}

/// Why a connection over loopback is taken for nobody's that may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stranger {
    /// It is somebody else's.
    #[error("the connection belongs to user {0} of this machine")]
    Another(u32),
    /// The kernel lists no process that holds it.
    #[error("nobody knows whose connection it is: it is closed already, or the kernel does not list it")]
    Unknown,
}

/// How often the list is read for a connection that is not in it: the kernel writes it piece by piece, and what comes and goes
/// meanwhile can hide a line.
const READINGS: usize = 3;

/// Lets through what is connected over loopback by our user or root, by what the kernel says when it is asked for this very connection.
/// Where it can't be asked, by what it lists, which takes the longer the more connections there are or were a minute ago.
pub(crate) fn same_user(local: SocketAddr, peer: SocketAddr) -> Result<(), Stranger> {
    let found = diag::owner(peer, local).unwrap_or_else(|errno| {
        tracing::debug!("the kernel does not say whose a connection is: {errno}");
        listed(local, peer)
    });
    match found {
        Some(Owner::User(user)) if is_trusted(user) => Ok(()),
        Some(Owner::User(user)) => Err(Stranger::Another(user)),
        Some(Owner::Nobody) | None => Err(Stranger::Unknown),
    }
}

/// Whose a connection is by the kernel's list (`proc_net_tcp(5)`).
fn listed(local: SocketAddr, peer: SocketAddr) -> Option<Owner> {
    (0..READINGS).find_map(|_reading| {
        // A socket of version 6 that is connected to an address of version 4 is in the list of its own version.
        let mapped = peer.is_ipv4().then(|| ("/proc/net/tcp6", mapped(peer), mapped(local)));
        let plain = if peer.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
        [Some((plain, peer, local)), mapped].into_iter().flatten().find_map(|(table, from, to)| {
            let table = std::fs::read_to_string(table).ok()?;
            owner_in(&table, from, to)
        })
    })
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(four) => SocketAddr::new(four.ip().to_ipv6_mapped().into(), four.port()),
        SocketAddr::V6(_) => address,
    }
}

fn is_trusted(user: u32) -> bool {
    let user = Uid::from_raw(user);
    user.is_root() || user == geteuid()
}

/// Whose a line of the list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    User(u32),
    /// No process holds it any more. The kernel lists root then, who has nothing to do with it.
    Nobody,
}

/// What the list says of the connection from one address to another.
fn owner_in(table: &str, from: SocketAddr, to: SocketAddr) -> Option<Owner> {
    let (from, to) = (written(from), written(to));
    table.lines().skip(1).find_map(|line| {
        // sl local rem st tx:rx tr:tm->when retrnsmt uid timeout inode …
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_it = fields.next()? == from && fields.next()? == to;
        is_it.then(|| {
            let mut held = || {
                let is_established = fields.next()? == "01";
                let user = fields.nth(3)?.parse().ok()?;
                let inode: u64 = fields.nth(1)?.parse().ok()?;
                (is_established && inode != 0).then_some(Owner::User(user))
            };
            held().unwrap_or(Owner::Nobody)
        })
    })
}

/// An address as the kernel lists it: words of the host's byte order, the port as a number.
fn written(address: SocketAddr) -> String {
    let words: String = match address {
        SocketAddr::V4(address) => format!("{:08X}", u32::from_ne_bytes(address.ip().octets())),
        SocketAddr::V6(address) => {
            let octets = address.ip().octets();
            let (words, _) = octets.as_chunks::<4>();
            words.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word))).collect()
        }
    };
    format!("{words}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn6, connect, socket};
    use nix::unistd::{Uid, fchown, geteuid};

    use super::{Owner, Stranger, listed, owner_in, same_user};

    #[test]
    fn a_connection_of_our_own_is_ours() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine may have no IPv6.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            assert_eq!(same_user(server.local_addr().unwrap(), peer), Ok(()));
            // By its list, where the kernel can't be asked.
            let ours = Some(Owner::User(geteuid().as_raw()));
            assert_eq!(listed(server.local_addr().unwrap(), peer), ours);
            // One that there is not.
            assert_eq!(same_user(client.local_addr().unwrap(), peer), Err(Stranger::Unknown));
            assert_eq!(listed(client.local_addr().unwrap(), peer), None);
        }
    }

    #[test]
    fn one_of_version_6_to_an_address_of_version_4_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let Ok(client) = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None) else {
            return;
        };
        let port = listener.local_addr().unwrap().port();
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), port);
        let SocketAddr::V6(to) = to else { unreachable!() };
        connect(std::os::fd::AsRawFd::as_raw_fd(&client), &SockaddrIn6::from(to)).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert!(peer.is_ipv4());
        assert_eq!(same_user(server.local_addr().unwrap(), peer), Ok(()));
        assert_eq!(listed(server.local_addr().unwrap(), peer), Some(Owner::User(geteuid().as_raw())));
    }

    /// The kernel lists it as root's.
    #[test]
    fn what_is_closed_already_is_nobodys() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(same_user(server.local_addr().unwrap(), peer), Err(Stranger::Unknown));
        drop(client);
        assert_eq!(same_user(server.local_addr().unwrap(), peer), Err(Stranger::Unknown));
    }

    #[test]
    fn another_users_is_told() {
        // Only root can give a socket away.
        if geteuid().is_root() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            fchown(&client, Some(Uid::from_raw(4242)), None).unwrap();
            assert_eq!(same_user(server.local_addr().unwrap(), peer), Err(Stranger::Another(4242)));
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_are_read_as_the_kernel_writes_them() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1\n   \
            1: 0100007F:C001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 2 1\n   \
            2: 0100007F:C002 0100007F:1F90 04 00000001:00000000 01:00000014 00000000     0        0 0 2\n   \
            3: 0100007F:C003 0100007F:1F90 01 00000001:00000000 01:00000014 00000000     0        0 0 2\n   \
            4: 0100007F:C004 0100007F:1F90 02 00000001:00000000 01:00000014 00000000     0        0 3 2\n   \
            5: 0100007F:C005 0100007F:1F90 06 00000000:00000000 03:00001770 00000000     0        0 0 3\n   \
            6: 0100007F:C006 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001\n";
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert_eq!(owner_in(table, at(0xc001), at(8080)), Some(Owner::User(1001)));
        for port in 0xc002..=0xc006 {
            assert_eq!(owner_in(table, at(port), at(8080)), Some(Owner::Nobody), "{port:x}");
        }
        assert_eq!(owner_in(table, at(8080), at(0xc001)), None);
    }
}
