//! All that a process wrote, in a file of the server's, for clients that ask for it.

use std::os::unix::fs::MetadataExt as _;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_tests::harness::require_tool;
use serde_json::{Value, json};

use super::raw::{PATIENCE, Raw, Server, Way, over_all, wrapped};

/// A process whose output is more than is kept in memory, on both streams.
const LONG: &str = "seq 1 200000; seq 1 200000 >&2; seq 200001 400000; exit 3";

/// A start of it.
fn long(server: &Server, id: &str) -> Value {
    let mut params = server.start_params(id, &["sh", "-c", LONG]);
    params["spill"] = json!(true);
    params
}

/// What `LONG` writes to standard output, and to standard error.
fn numbers(numbers: std::ops::RangeInclusive<u32>) -> String {
    numbers.map(|number| format!("{number}\n")).collect()
}

/// What the file has: all of it in its order, each stream by itself, and why it has no more. Waits until it has all.
fn spilled(raw: &mut Raw, id: &str) -> (Vec<u8>, [Vec<u8>; 2], Option<String>) {
    let (mut whole, mut streams, end) = (Vec::new(), [Vec::new(), Vec::new()], Instant::now() + PATIENCE);
    loop {
        let asked = json!({"processId": id, "offset": whole.len(), "maxBytes": 1 << 20});
        let read = raw.result("process/readSpill", &asked);
        for chunk in read["chunks"].as_array().unwrap() {
            let bytes = STANDARD.decode(chunk["chunk"].as_str().unwrap()).unwrap();
            streams[usize::from(chunk["stream"] == "stderr")].extend_from_slice(&bytes);
            whole.extend(bytes);
        }
        assert_eq!(read["nextOffset"], whole.len());
        if read["ended"] == true && read["written"] == whole.len() {
            return (whole, streams, read["stopped"].as_str().map(str::to_owned));
        }
        assert!(Instant::now() < end, "{} bytes of {read}", whole.len());
    }
}

/// Waits for the end of a process that nobody follows.
fn closed(raw: &mut Raw, id: &str) -> Value {
    loop {
        let read = raw.result(
            "process/read",
            &json!({"processId": id, "afterSeq": 1_000_000_000, "waitMs": 100, "maxBytes": 1}),
        );
        if read["closed"] == true {
            return read;
        }
    }
}

/// Starts it, and goes: nobody follows it, so that nobody holds it up.
fn left_alone(server: &Server, params: &Value) -> Raw {
    let mut raw = server.connect();
    let hello = json!({"clientName": "test", "extensions": {"version": 1}});
    let session = raw.handshake(&hello)["sessionId"].clone();
    raw.result("process/start", params);
    drop(raw);
    let end = Instant::now() + PATIENCE;
    loop {
        let mut raw = server.connect();
        let mut hello = hello.clone();
        hello["resumeSessionId"] = session.clone();
        let answer = raw.call("initialize", &hello);
        if answer.get("error").is_none() {
            raw.send(&json!({"method": "initialized"}));
            return raw;
        }
        assert!(answer["error"]["code"] == -32010 && Instant::now() < end, "{answer}");
        std::thread::yield_now();
    }
}

#[test]
fn what_was_missed_is_in_the_file_where_the_gap_says() {
    for way in [Way::WebSocket, Way::Unix] {
        let server = Server::start(way);
        let mut raw = left_alone(&server, &long(&server, "p"));
        assert_eq!(closed(&mut raw, "p")["exitCode"], 3);
        let (whole, [stdout, stderr], stopped) = spilled(&mut raw, "p");
        assert_eq!(stopped, None);
        assert!(stdout == numbers(1..=400_000).as_bytes() && stderr == numbers(1..=200_000).as_bytes());
        // What was missed and what is left are all of it.
        let read = raw.result("process/read", &json!({"processId": "p", "afterSeq": 0}));
        let missed = &read["missed"];
        let bytes = |stream: &str| missed["bytes"][stream].as_u64().unwrap();
        let end = missed["spill"]["end"].as_u64().unwrap();
        assert_eq!((&missed["spill"]["offset"], end), (&json!(0), bytes("stdout") + bytes("stderr")));
        let left: Vec<u8> = read["chunks"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|chunk| STANDARD.decode(chunk["chunk"].as_str().unwrap()).unwrap())
            .collect();
        assert!(end > 1 << 20 && whole[usize::try_from(end).unwrap()..] == left);
        // Who begins in the middle of what is gone knows where that ends.
        let read = raw.result("process/read", &json!({"processId": "p", "afterSeq": 1}));
        assert_eq!(read["missed"]["spill"], json!({"offset": null, "end": end}));
        // Another session has it by the right to the process, and nobody without.
        let asked = json!({"processId": "p", "offset": 5, "maxBytes": 4});
        assert_eq!(server.extended().error("process/readSpill", &asked).0, -32600);
        let beyond = raw.result("process/readSpill", &json!({"processId": "p", "offset": 1_u64 << 60}));
        assert_eq!((&beyond["chunks"], &beyond["written"]), (&json!([]), &json!(whole.len())));
        assert_eq!(raw.error("process/readSpill", &json!({"processId": "p", "offset": -1})).0, -32602);
    }
}

#[test]
fn it_is_there_for_who_asks_and_says_so() {
    over_all(|server| {
        // To a client that has not asked for what is ours, there is no such thing.
        let mut raw = server.ready();
        assert_eq!(raw.run(&long(server, "p")).exit_code, Some(3));
        assert_eq!(raw.error("process/readSpill", &json!({"processId": "p", "offset": 0})).0, -32601);
        let read = raw.result("process/read", &json!({"processId": "p", "afterSeq": 0}));
        assert!(read.get("missed").is_none(), "{}", read["missed"]);
        let mut raw = server.extended();
        let mut params = long(server, "p");
        params["spill"] = json!(false);
        raw.run(&params);
        let (code, message) = raw.error("process/readSpill", &json!({"processId": "p", "offset": 0}));
        assert!(code == -32600 && message.contains("`spill`"), "{message}");
        let missed = &raw.result("process/read", &json!({"processId": "p", "afterSeq": 0}))["missed"];
        assert!(missed.is_object() && missed.get("spill").is_none(), "{missed}");
        // What is too little for a file is in none.
        let mut params = server.start_params("q", &["echo", "hello"]);
        params["spill"] = json!(true);
        assert_eq!(raw.run(&params).text(), "hello\n");
        assert_eq!(spilled(&mut raw, "q"), (vec![], [vec![], vec![]], None));
    });
}

/// The files that a server has open and that have no name, each with its mode.
fn nameless(server: &Server) -> Vec<u32> {
    let place = server.path("home/tmp/output");
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.process())).unwrap();
    let files = descriptors.filter_map(|entry| {
        let path = entry.unwrap().path();
        let link = std::fs::read_link(&path).ok()?;
        link.starts_with(&place).then(|| std::fs::metadata(&path).unwrap())
    });
    let files = files.filter(|file| file.is_file());
    files.map(|file| (file.mode() & 0o7777) | u32::from(file.nlink() > 0) << 16).collect()
}

/// A client that reads all of it.
fn followed(server: &Server) -> Raw {
    let mut raw = server.extended();
    assert_eq!(raw.run(&long(server, "p")).exit_code, Some(3));
    raw
}

#[test]
fn the_file_has_no_name_and_goes_with_its_process() {
    let server = Server::with(Way::Unix, "", &["--session-timeout", "1ms"]);
    let mut raw = followed(&server);
    let (whole, ..) = spilled(&mut raw, "p");
    assert!(!whole.is_empty());
    // One to read from, whatever has become of the one to write to.
    let found = nameless(&server);
    assert!(!found.is_empty() && found.iter().all(|mode| *mode == 0o600), "{found:?}");
    assert_eq!(std::fs::read_dir(server.path("home/tmp/output")).unwrap().count(), 0);
    drop(raw);
    let end = Instant::now() + PATIENCE;
    while !nameless(&server).is_empty() {
        assert!(Instant::now() < end, "the file outlives its session");
        std::thread::yield_now();
    }
}

#[test]
fn only_so_many_are_kept() {
    let server = Server::start(Way::Unix);
    let mut raw = server.extended();
    let params = |id: usize| {
        let mut params = server.start_params(&id.to_string(), &["sleep", "600"]);
        params["spill"] = json!(true);
        params
    };
    let starts: Vec<_> = (0..32).map(|id| raw.request("process/start", &params(id))).collect();
    for start in starts {
        assert!(raw.answer(start).get("error").is_none());
    }
    let (code, message) = raw.error("process/start", &params(32));
    assert!(code == -32600 && message.contains("the output of 32 processes is kept"), "{message}");
    // Without it there is room; and a process that has written nothing gives its place back with its end.
    assert_eq!(raw.run(&server.start_params("other", &["true"])).exit_code, Some(0));
    raw.result("process/terminate", &json!({"processId": "0"}));
    raw.hear("0");
    let end = Instant::now() + PATIENCE;
    while raw.call("process/start", &params(32)).get("error").is_some() {
        assert!(Instant::now() < end, "no place comes back");
    }
}

#[test]
fn a_full_disk_stops_the_file_and_nothing_else() {
    let Some(unshare) = require_tool("unshare") else { return };
    // A disk of its own, that has room for less than is written.
    let script = "mkdir -p -m 700 \"$CODEX_HOME/tmp/output\" && \
                  mount -t tmpfs -o size=512k,mode=700 none \"$CODEX_HOME/tmp/output\" && exec \"$@\"";
    let server = Server::beneath(Way::Unix, "", &[], |_, command| {
        wrapped(&unshare, &["-Urm", "sh", "-c", script, "sh"], &command)
    });
    let mut raw = server.extended();
    let heard = raw.run(&long(&server, "p"));
    // It has run to its end, and who follows has all of it.
    assert_eq!((heard.exit_code, heard.closed["result"]["outcome"].as_str()), (Some(3), Some("exited")));
    assert!(
        heard.stdout == numbers(1..=400_000).as_bytes() && heard.stderr == numbers(1..=200_000).as_bytes()
    );
    // The file has the beginning, whole, and says why it has no more.
    let (whole, _, stopped) = spilled(&mut raw, "p");
    assert_eq!(stopped.as_deref(), Some("write: No space left on device (ENOSPC)"));
    assert!((256 << 10..=512 << 10).contains(&whole.len()), "{}", whole.len());
    assert!(numbers(1..=200_000).as_bytes().starts_with(&whole));
    // The next one has nothing, and runs all the same; so does another client's.
    assert_eq!(raw.run(&long(&server, "q")).exit_code, Some(3));
    let (whole, _, stopped) = spilled(&mut raw, "q");
    assert!(whole.is_empty() && stopped.is_some_and(|why| why.ends_with("(ENOSPC)")));
    let heard = server.ready().run(&long(&server, "p"));
    assert_eq!((heard.exit_code, heard.stdout.len()), (Some(3), numbers(1..=400_000).len()));
}
