//! A connection that is cut at any byte, again and again: what a client ends with is what one that was never cut ends with.
//!
//! Where it is cut is chosen by a seed. `CUTS_SEED` sets one; a failure prints its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::socket::{Shutdown, shutdown};
use serde_json::{Value, json};

use super::raw::{PATIENCE, Server, Way};
use super::sessions::wait_for_children;

/// What is tried where nobody sets a seed.
const SEEDS: std::ops::Range<u64> = 1..9;
/// After so many cuts there is none any more, so that there is an end.
const MOST_CUTS: u32 = 60;
/// The longest way between two cuts, in bytes of one direction.
const LONGEST: u64 = 48 * 1024;
/// How many lines the process is given.
const LINES: usize = 16;
/// How many bytes it answers each of them with.
const ANSWER: usize = 12_000;

/// Numbers that look like chance and are the same for the same seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Why a connection leads no further.
#[derive(Debug, PartialEq, Eq)]
enum Stopped {
    Cut,
    /// The server has not seen yet that the one before is gone.
    Held,
}

/// A connection that ends after so many bytes in one or the other direction.
struct Line {
    /// A socket.
    stream: File,
    /// Whether it is a WebSocket, and whether the server has agreed to that.
    is_web: bool,
    is_upgraded: bool,
    up: usize,
    down: usize,
    /// What has come and is no whole message.
    came: Vec<u8>,
}

impl Line {
    fn connect(server: &Server, up: usize, down: usize) -> Self {
        let is_web = server.way() == Way::WebSocket;
        let socket: OwnedFd = if is_web {
            let stream = TcpStream::connect(server.address()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.into()
        } else {
            let stream = UnixStream::connect(server.path("socket")).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.into()
        };
        Self { stream: socket.into(), is_web, is_upgraded: false, up, down, came: Vec::new() }
    }

    fn cut(&self) -> Stopped {
        // The server may be gone first.
        shutdown(self.stream.as_raw_fd(), Shutdown::Both).ok();
        Stopped::Cut
    }

    fn send(&mut self, message: &Value) -> Result<(), Stopped> {
        let text = message.to_string();
        if !self.is_web {
            return self.write(format!("{text}\n").as_bytes());
        }
        if !self.is_upgraded {
            self.upgrade()?;
        }
        self.write(&frame(text.as_bytes()))
    }

    /// Asks for a WebSocket. What asks and what agrees is cut like everything else.
    fn upgrade(&mut self) -> Result<(), Stopped> {
        self.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )?;
        let end = loop {
            match self.came.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(end) => break end,
                None => self.read()?,
            }
        };
        assert!(self.came.starts_with(b"HTTP/1.1 101 "));
        self.came.drain(..end + 4);
        self.is_upgraded = true;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        let most = bytes.len().min(self.up);
        self.stream.write_all(&bytes[..most]).map_err(|_closed| Stopped::Cut)?;
        self.up -= most;
        if most < bytes.len() { Err(self.cut()) } else { Ok(()) }
    }

    /// The first message of what has come, where it is whole.
    fn whole(&mut self) -> Option<Vec<u8>> {
        if !self.is_web {
            let end = self.came.iter().position(|byte| *byte == b'\n')?;
            return Some(self.came.drain(..=end).collect());
        }
        loop {
            let (kind, begin, length) = head(&self.came)?;
            let frame: Vec<u8> = self.came.get(begin..begin + length)?.to_vec();
            self.came.drain(..begin + length);
            match kind {
                TEXT => return Some(frame),
                // Nobody has to answer within the time of a test.
                PING => {}
                other => panic!("a frame {other:x}"),
            }
        }
    }

    fn next(&mut self) -> Result<Value, Stopped> {
        loop {
            if let Some(message) = self.whole() {
                return Ok(serde_json::from_slice(&message).unwrap());
            }
            self.read()?;
        }
    }

    /// Takes what has come, as much as may come before the cut.
    fn read(&mut self) -> Result<(), Stopped> {
        if self.down == 0 {
            return Err(self.cut());
        }
        let mut bytes = vec![0; self.down.min(4096)];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(Stopped::Cut),
            Ok(count) => {
                self.down -= count;
                self.came.extend(&bytes[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing has come"),
            Err(_closed) => Err(Stopped::Cut),
        }
    }
}

/// A frame that has the whole of a text, and one that asks whether somebody is there.
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;

/// A text in a frame of a client: masked, with zeros.
fn frame(text: &[u8]) -> Vec<u8> {
    [&[TEXT, 0xff][..], &(text.len() as u64).to_be_bytes(), &[0; 4], text].concat()
}

/// What the first frame of a server is, where its content begins, and how long that is. Nothing where not even this has come.
fn head(came: &[u8]) -> Option<(u8, usize, usize)> {
    let (kind, short) = (*came.first()?, *came.get(1)?);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    Some(match short {
        126 => (kind, 4, number(came.get(2..4)?)),
        127 => (kind, 10, number(came.get(2..10)?)),
        short => (kind, 2, short.into()),
    })
}

/// What a client knows of its process, over all connections.
#[derive(Default)]
struct Known {
    session: Option<Value>,
    /// Whether a start was ever sent, and whether it is known to have been taken.
    asked: bool,
    started: bool,
    /// How many lines were taken.
    written: usize,
    /// What was heard, by its number.
    output: BTreeMap<u64, Vec<u8>>,
    others: BTreeMap<u64, String>,
    /// Everything up to this number was read.
    cursor: u64,
    exit_code: Option<i64>,
    closed: bool,
}

impl Known {
    fn heard(&mut self, seq: &Value, stream: &Value, chunk: &Value) {
        assert_eq!(stream, "stdout");
        let (seq, bytes) = (seq.as_u64().unwrap(), STANDARD.decode(chunk.as_str().unwrap()).unwrap());
        // However often it is told, it is the same.
        if let Some(before) = self.output.insert(seq, bytes.clone()) {
            assert_eq!(before, bytes, "{seq} is told in two ways");
        }
    }

    fn notification(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str().unwrap() {
            "process/output" => self.heard(&params["seq"], &params["stream"], &params["chunk"]),
            method => {
                if method == "process/exited" {
                    assert_eq!(params["exitCode"], 7);
                }
                let before = self.others.insert(params["seq"].as_u64().unwrap(), method.to_owned());
                assert!(before.is_none_or(|before| before == method));
            }
        }
    }

    /// Asks for something over a connection, and takes what else comes in the meantime.
    fn call(&mut self, line: &mut Line, method: &str, params: &Value) -> Result<Value, Stopped> {
        line.send(&json!({"id": method, "method": method, "params": params}))?;
        loop {
            let message = line.next()?;
            if message.get("id").is_some() {
                assert_eq!(message["id"], method);
                return Ok(message);
            }
            self.notification(&message);
        }
    }

    fn read(&mut self, line: &mut Line, process: &str, wait: u64) -> Result<(), Stopped> {
        let params = json!({"processId": process, "afterSeq": self.cursor, "maxBytes": 8192, "waitMs": wait});
        let answer = self.call(line, "process/read", &params)?;
        if answer.get("error").is_some() {
            assert!(!self.started, "{answer}");
            return Ok(());
        }
        let read = &answer["result"];
        for chunk in read["chunks"].as_array().unwrap() {
            self.heard(&chunk["seq"], &chunk["stream"], &chunk["chunk"]);
        }
        self.started = true;
        self.cursor = read["nextSeq"].as_u64().unwrap() - 1;
        // Of what is over, all was read only where nothing is cut off.
        if read["closed"] == true && read["chunks"].as_array().unwrap().is_empty() {
            (self.closed, self.exit_code) = (true, read["exitCode"].as_i64());
        }
        Ok(())
    }

    /// Goes on over a connection from where the one before was cut.
    fn go_on(&mut self, line: &mut Line, process: &str, start: &Value) -> Result<(), Stopped> {
        let hello = json!({"clientName": "cuts", "resumeSessionId": self.session});
        let answer = self.call(line, "initialize", &hello)?;
        if answer["error"]["code"] == -32010 {
            return Err(Stopped::Held);
        }
        assert!(answer.get("error").is_none(), "{answer}");
        self.session = Some(answer["result"]["sessionId"].clone());
        line.send(&json!({"method": "initialized"}))?;
        if self.asked {
            self.read(line, process, 0)?;
        }
        if !self.started {
            self.asked = true;
            let answer = self.call(line, "process/start", start)?;
            // That it is there already is as good.
            let message = answer["error"]["message"].as_str().unwrap_or("is already in use");
            assert!(message.ends_with("is already in use"), "{answer}");
            self.started = true;
        }
        while self.written < LINES {
            let chunk = STANDARD.encode(format!("{}\n", self.written));
            let write = json!({"processId": process, "chunk": chunk, "writeId": self.written.to_string()});
            let answer = self.call(line, "process/write", &write)?;
            assert_eq!(answer["result"], json!({"status": "accepted"}), "{answer}");
            self.written += 1;
        }
        while !self.closed {
            self.read(line, process, 60_000)?;
        }
        Ok(())
    }
}

#[expect(clippy::print_stderr, reason = "shown where it fails")]
fn run(server: &Server, seed: u64) {
    eprintln!("CUTS_SEED={seed}");
    let mut numbers = Numbers(seed);
    let process = format!("p{seed}");
    let script = format!(
        "echo ran >>ran-{process}\nwhile read -r line; do\n  echo \"$line\" >>effects-{process}\n  \
         printf \"$line%0{ANSWER}d\" 0\n  if [ \"$line\" = {last} ]; then exit 7; fi\ndone\n",
        last = LINES - 1,
    );
    let mut start = server.start_params(&process, &["bash", "-c", &script]);
    start["pipeStdin"] = json!(true);
    let mut known = Known::default();
    let mut cuts = 0;
    loop {
        let mut way = || match cuts {
            MOST_CUTS.. => usize::MAX,
            _ => usize::try_from(numbers.below(LONGEST)).unwrap(),
        };
        // Some of them come before the first answer is whole, in either direction.
        let (up, down) = (way(), way());
        let up = if up % 4 == 0 { up % 2048 } else { up };
        let deadline = Instant::now() + PATIENCE;
        let ended = loop {
            match known.go_on(&mut Line::connect(server, up, down), &process, &start) {
                Err(Stopped::Held) if Instant::now() < deadline => std::thread::yield_now(),
                ended => break ended,
            }
        };
        assert_ne!(ended, Err(Stopped::Held));
        if ended.is_ok() {
            break;
        }
        cuts += 1;
    }
    let expected: String = (0..LINES).map(|line| format!("{line}{:0ANSWER$}", 0)).collect();
    let output: Vec<u8> = known.output.values().flatten().copied().collect();
    assert_eq!(output.len(), expected.len());
    assert!(output == expected.as_bytes());
    assert_eq!(known.exit_code, Some(7));
    // Two numbers are none of output: its exit and its end.
    let others: Vec<u64> = (1..=known.cursor).filter(|seq| !known.output.contains_key(seq)).collect();
    assert_eq!(others.len(), 2, "{others:?}");
    assert!(known.others.keys().all(|seq| others.contains(seq)), "{others:?} {:?}", known.others);
    let read = |name: &str| std::fs::read_to_string(server.path(&format!("ws/{name}-{process}"))).unwrap();
    assert_eq!(read("ran"), "ran\n");
    assert_eq!(read("effects"), (0..LINES).map(|line| format!("{line}\n")).collect::<String>());
    assert!(cuts > 0, "nothing was cut");
}

#[test]
fn a_connection_that_is_cut_at_any_byte_changes_nothing() {
    for way in [Way::Unix, Way::WebSocket] {
        let server = Server::start(way);
        match std::env::var("CUTS_SEED") {
            Ok(seed) => run(&server, seed.parse().unwrap()),
            Err(_unset) => SEEDS.for_each(|seed| run(&server, seed)),
        }
        wait_for_children(&server, 0);
    }
}
