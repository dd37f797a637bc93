//! A host outside of every sandbox, which keeps what comes.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(50);

/// What a host does with a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Serving {
    /// Answers one request, and takes what comes after it.
    Http,
    /// Sends back all that comes, and `end` behind it.
    Echo,
    /// Says `here`, and waits for the end.
    Waiting,
    /// Reads nothing until the host is gone.
    Deaf,
}

/// A host. Gone when it is dropped.
pub(super) struct Outside {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    arrived: Vec<(IpAddr, SocketAddr)>,
    ended: Vec<(SocketAddr, Vec<u8>)>,
    /// Our own, which tell one time from another.
    marks: Vec<SocketAddr>,
    over: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn until<T>(&self, what: &str, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let mut state = self.state();
        loop {
            if let Some(found) = ready(&mut state) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited too long for {what}");
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Outside {
    pub(super) fn serve(at: &str, serving: Serving) -> Self {
        let listener = TcpListener::bind((at, 0)).expect("listen outside");
        let address = listener.local_addr().expect("the host's address");
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("take a connection outside");
                let (local, peer) = (stream.local_addr(), stream.peer_addr());
                // One that ended before it was taken has no other end.
                let Ok(peer) = peer else { continue };
                let mut state = seen.state();
                if state.over {
                    return;
                }
                state.arrived.push((local.expect("our end").ip(), peer));
                drop(state);
                seen.changed.notify_all();
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || {
                    let data = talk(stream, serving, &seen);
                    seen.state().ended.push((peer, data));
                    seen.changed.notify_all();
                });
            }
        });
        Self { address, shared }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// As a grant names it.
    pub(super) fn name(&self) -> String {
        self.address.to_string()
    }

    /// To which of its addresses connections have come up to now, since somebody asked.
    pub(super) fn arrivals(&self) -> Vec<IpAddr> {
        // Connections are taken in their order: what was there before this one, is known when it is.
        let mark = TcpStream::connect(self.address).expect("reach the host from outside");
        let own = mark.local_addr().expect("our end");
        self.shared.state().marks.push(own);
        self.shared.until("a connection from outside", |state| {
            state.arrived.iter().any(|(_, peer)| *peer == own).then_some(())
        });
        let mut state = self.shared.state();
        let State { arrived, marks, .. } = &mut *state;
        arrived.drain(..).filter(|(_, peer)| !marks.contains(peer)).map(|(at, _)| at).collect()
    }

    /// What came over a number of connections, when they have ended. In no order.
    pub(super) fn ended(&self, count: usize) -> Vec<Vec<u8>> {
        let what = format!("the end of {count} connections");
        self.shared.until(&what, |state| {
            let State { ended, marks, .. } = state;
            ended.retain(|(peer, _)| !marks.contains(peer));
            (ended.len() >= count).then(|| ended.drain(..).map(|(_, data)| data).collect())
        })
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.shared.changed.notify_all();
        drop(TcpStream::connect(self.address));
    }
}

/// Serves a connection to its end. All that has come.
fn talk(mut stream: TcpStream, serving: Serving, shared: &Shared) -> Vec<u8> {
    let mut data = Vec::new();
    match serving {
        Serving::Http => {
            let (head, length) = request(&mut stream, &mut data);
            let text = String::from_utf8_lossy(&head).into_owned();
            if text.is_empty() {
                return data;
            }
            let path = text.split(' ').nth(1).unwrap_or_default();
            let answer = match path {
                "/chunked" => {
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n\
                               6\r\nin lit\r\n9\r\ntle piece\r\n2\r\ns\n\r\n0\r\n\r\n"
                        .to_owned()
                }
                "/length" => with_length(&format!("{length}\n")),
                _ => with_length("hello\n"),
            };
            // A client that has gone does not listen.
            drop(stream.write_all(answer.as_bytes()));
        }
        Serving::Echo => {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            drop(stream.write_all(b"end"));
            drop(stream.shutdown(Shutdown::Write));
        }
        Serving::Waiting => drop(stream.write_all(b"here")),
        Serving::Deaf => shared.until("the end of the host", |state| state.over.then_some(())),
    }
    // Not to its end where the other side has broken it off.
    drop(stream.read_to_end(&mut data));
    data
}

fn with_length(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Reads one request. Its head, and the length of its body.
fn request(stream: &mut TcpStream, data: &mut Vec<u8>) -> (Vec<u8>, usize) {
    let mut byte = [0];
    while !data.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => data.extend(byte),
            _ => return (Vec::new(), 0),
        }
    }
    let head = data.clone();
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse().ok());
    let mut buffer = vec![0; 1 << 16];
    let is_whole = |data: &[u8]| match length {
        Some(length) => data.len() - head.len() >= length,
        None => !text.contains("transfer-encoding: chunked") || data.ends_with(b"0\r\n\r\n"),
    };
    while !is_whole(data) {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => data.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    let length = data.len() - head.len();
    (head, length)
}
