//! From the addresses of a host to a connection with it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long one address may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one address is tried alone (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(250);
/// How many are tried beside one another: whoever owns a name has it lead to any number, and each attempt has a descriptor.
const MOST_BESIDE: usize = 2;

/// Connects with the first address that answers. Each next one is tried beside those before when they take long or have failed.
pub(crate) async fn dial(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let next = addresses.next();
        let is_last = next.is_none();
        if let Some(address) = next {
            attempts.spawn(async move {
                timeout(PATIENCE, TcpStream::connect(address))
                    .await
                    .unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into()))
            });
        }
        let is_full = attempts.len() >= MOST_BESIDE;
        let wait = if is_last || is_full { PATIENCE * 2 } else { HEAD_START };
        match timeout(wait, attempts.join_next()).await {
            Ok(Some(Ok(Ok(stream)))) => {
                // Small packets go as they come: whoever speaks through us has the say about that.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Some(Ok(Err(error)))) => failed = error,
            Ok(Some(Err(error))) => failed = io::Error::other(error),
            Ok(None) if is_last => return Err(failed),
            Ok(None) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::net::TcpListener;

    use super::dial;

    #[tokio::test]
    async fn the_last_of_many_addresses_is_reached() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let here = listener.local_addr().unwrap();
        // Nobody listens at the others: whoever has this port at one address of loopback has no other.
        let others = (2..40).map(|last| SocketAddr::from(([127, 0, 0, last], here.port())));
        let stream = dial(others.clone().chain([here]).collect()).await.unwrap();
        assert!(stream.peer_addr().unwrap() == here && stream.nodelay().unwrap());
        assert_eq!(dial(others.collect()).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(dial(Vec::new()).await.is_err());
    }
}
