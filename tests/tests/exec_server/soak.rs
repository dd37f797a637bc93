//! What many clients leave behind that go as they like: some of them in every run of the suite, and as many as there is time for by
//! `SOAK_SECONDS=300 cargo test -p codex-tests --test exec_server soak -- --ignored --nocapture`, and with `SOAK_BIN` of another
//! program than the one under test, a release build for instance.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::raw::{Server, Way};
use super::sessions::{children, wait_for_children};

/// How many clients there are at a time.
const CLIENTS: u64 = 16;

/// What a server holds.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    children: usize,
    resident_kib: u64,
}

impl Held {
    fn by(server: &Server) -> Self {
        let of = |name: &str| format!("/proc/{}/{name}", server.process());
        let count = |name: &str| std::fs::read_dir(of(name)).unwrap().count();
        let status = std::fs::read_to_string(of("status")).unwrap();
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        Self {
            descriptors: count("fd"),
            threads: count("task"),
            children: children(server),
            resident_kib: resident.unwrap().parse().unwrap(),
        }
    }
}

/// Numbers that look like chance, and are the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// One client's doing, from its connection to its end.
fn one(server: &Server, chance: &mut Chance) {
    let mut params = server.start_params("p", &["true"]);
    match chance.below(8) {
        0 => assert_eq!(server.ready().run(&params).exit_code, Some(0)),
        1 => {
            let heard = server.ready().run(&server.start_params("p", &["head", "-c", "300000", "/dev/zero"]));
            assert_eq!((heard.stdout.len(), heard.is_whole()), (300_000, true));
        }
        // Goes, and what it has started is ended for it.
        2 => drop(server.ready().result("process/start", &server.start_params("p", &["sleep", "600"]))),
        3 => resume(server, chance),
        // Takes some of a flood, and no more.
        4 => {
            let mut raw = server.extended();
            raw.request("process/start", &server.start_params("p", &["head", "-c", "4000000", "/dev/zero"]));
            for _ in 0..chance.below(40) {
                raw.next();
            }
        }
        // Reads some of what is kept in a file, and goes. At the bound there is none.
        5 => {
            let mut raw = server.extended();
            params = server.start_params("p", &["head", "-c", "2000000", "/dev/zero"]);
            params["spill"] = json!(true);
            let is_kept = raw.call("process/start", &params).get("error").is_none();
            for piece in 0..chance.below(4) * u64::from(is_kept) {
                raw.result("process/readSpill", &json!({"processId": "p", "offset": piece * 300_000}));
            }
        }
        // Is cut anywhere in what it says.
        6 => {
            let start = json!({"id": 2, "method": "process/start", "params": params});
            let said = format!(
                "{}\n{}\n{start}",
                json!({"id": 1, "method": "initialize", "params": {"clientName": "t"}}),
                json!({"method": "initialized"}),
            );
            let length = usize::try_from(chance.below(said.len() as u64 + 1)).unwrap();
            server.connect().send_bytes(&said.as_bytes()[..length]);
        }
        _ => {
            params = server.start_params("p", &["sh", "-c", "test -t 0 && exit 4"]);
            params["tty"] = json!(true);
            assert_eq!(server.ready().run(&params).exit_code, Some(4));
        }
    }
}

/// Goes and comes back, some times, to a process that says what it is told.
fn resume(server: &Server, chance: &mut Chance) {
    let mut raw = server.connect();
    let session = raw.handshake(&json!({"clientName": "t"}))["sessionId"].clone();
    let mut params = server.start_params("p", &["cat"]);
    params["pipeStdin"] = json!(true);
    raw.result("process/start", &params);
    let times = chance.below(4);
    for number in 0..times {
        drop(raw);
        raw = server.connect();
        raw.resume(&session);
        // Twice: it is written once.
        for _ in 0..2 {
            let write = json!({"processId": "p", "chunk": "eA==", "writeId": number.to_string()});
            assert_eq!(raw.result("process/write", &write)["status"], "accepted");
        }
    }
    let mut read = String::new();
    while read.len() < usize::try_from(times).unwrap() {
        let result = raw.result("process/read", &json!({"processId": "p", "afterSeq": 0, "waitMs": 10}));
        let chunks = result["chunks"].as_array().unwrap();
        read = chunks
            .iter()
            .map(|chunk| {
                chunk["chunk"]
                    .as_str()
                    .unwrap()
                    .replace("eA==", "x")
                    .replace("eHg=", "xx")
                    .replace("eHh4", "xxx")
            })
            .collect();
    }
    assert_eq!(read, "x".repeat(usize::try_from(times).unwrap()));
    raw.result("process/terminate", &json!({"processId": "p"}));
}

/// Lets clients come and go as long as one more may, by how many of its line there were. Says how many did.
fn clients(server: &Server, seed: u64, one_more: impl Fn(u64) -> bool + Sync) -> u64 {
    let one_more = &one_more;
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    let (mut chance, mut count) = (Chance(seed + client), 0);
                    while one_more(count) {
                        one(server, &mut chance);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        running.into_iter().map(|one| one.join().unwrap()).sum()
    })
}

/// Waits until the last sessions have ended, with what they keep.
fn settle(server: &Server) {
    wait_for_children(server, 0);
    let sessions = || {
        let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix("codex_exec_server_sessions_active "));
        value.unwrap().parse::<u64>().unwrap()
    };
    let deadline = Instant::now() + super::raw::PATIENCE;
    while sessions() > 0 {
        assert!(Instant::now() < deadline, "{} sessions", sessions());
        std::thread::yield_now();
    }
}

#[test]
fn some_clients_leave_nothing() {
    let server = Server::with(Way::WebSocket, "", &["--session-timeout", "1s"]);
    assert_eq!(clients(&server, 1, |count| count < 3), 3 * CLIENTS);
    settle(&server);
    let before = Held::by(&server);
    assert_eq!(clients(&server, 1000, |count| count < 6), 6 * CLIENTS);
    settle(&server);
    let after = Held::by(&server);
    assert!(after.descriptors <= before.descriptors + 8, "{before:?} {after:?}");
    assert!(after.threads <= before.threads + 8, "{before:?} {after:?}");
    assert_eq!((before.children, after.children), (0, 0));
    assert_eq!(server.ready().result("environment/status", &Value::Null), json!({"status": "ready"}));
    assert_eq!(server.end(), Some(0));
}

#[test]
#[ignore = "takes as long as it is told to, and prints figures"]
fn clients_that_go_as_they_like_leave_nothing() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(60, |text| text.parse().unwrap());
    let server = Server::with(Way::WebSocket, "", &["--session-timeout", "1s"]);
    let time = |seconds: u64| {
        let end = Instant::now() + Duration::from_secs(seconds);
        move |_| Instant::now() < end
    };
    clients(&server, 1, time(10));
    settle(&server);
    let before = Held::by(&server);
    let count = clients(&server, 1000, time(seconds));
    settle(&server);
    let after = Held::by(&server);
    println!("{count} clients in {seconds} s, {CLIENTS} at a time: {before:?} before, {after:?} after");
    // One more policy's namespaces may be kept ready, and one session more be about to end.
    assert!(after.descriptors <= before.descriptors + 8, "{before:?} {after:?}");
    assert!(after.threads <= before.threads + 8, "{before:?} {after:?}");
    assert_eq!((before.children, after.children), (0, 0));
    assert!(after.resident_kib < before.resident_kib * 3 / 2 + 16 * 1024, "{before:?} {after:?}");
    assert_eq!(server.ready().result("environment/status", &Value::Null), json!({"status": "ready"}));
    assert_eq!(server.end(), Some(0));
}
