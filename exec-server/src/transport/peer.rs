//! Who is at the other end.

use std::net::SocketAddr;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Uid, geteuid};
use tokio::net::UnixStream;

/// The user at the other end of a unix socket, where it is ours or root. Says who it is otherwise.
pub(crate) fn unix_peer(stream: &UnixStream) -> Result<u32, Option<u32>> {
    let peer = getsockopt(stream, PeerCredentials).map_err(|_errno| None)?.uid();
    if is_trusted(peer) { Ok(peer) } else { Err(Some(peer)) }
}

/// Whether what is connected over loopback belongs to our user or root, by what the kernel lists
/// (`proc_net_tcp(5)`). Where it is not in the list, nobody knows.
pub(crate) fn same_user(local: SocketAddr, peer: SocketAddr) -> Option<bool> {
    let table = if peer.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let table = std::fs::read_to_string(table).ok()?;
    owner_in(&table, peer, local).map(is_trusted)
}

fn is_trusted(user: u32) -> bool {
    let user = Uid::from_raw(user);
    user.is_root() || user == geteuid()
}

/// The user that a connection from one address to another belongs to.
fn owner_in(table: &str, from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let (from, to) = (written(from), written(to));
    table.lines().skip(1).find_map(|line| {
        // sl local rem st tx:rx tr:tm->when retrnsmt uid …
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_it = fields.next()? == from && fields.next()? == to;
        is_it.then(|| fields.nth(4)?.parse().ok())?
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
    use std::net::{TcpListener, TcpStream};

    use super::{geteuid, owner_in, same_user};

    #[test]
    fn a_connection_of_our_own_is_ours() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine may have no IPv6.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            assert_eq!(same_user(server.local_addr().unwrap(), peer), Some(true));
            assert_eq!(same_user(client.local_addr().unwrap(), peer), None);
        }
        let user = geteuid().as_raw();
        assert!(user < u32::MAX);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn another_users_is_told() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1\n   \
            1: 0100007F:C001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 2 1\n";
        let (from, to) = ("127.0.0.1:49153".parse().unwrap(), "127.0.0.1:8080".parse().unwrap());
        assert_eq!(owner_in(table, from, to), Some(1001));
        assert_eq!(owner_in(table, to, from), None);
    }
}
