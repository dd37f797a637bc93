//! `fs/*` between requests that are given up, answers that nobody takes and clients that want all of it.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client};

use super::front::http;
use super::raw::{PATIENCE, Raw, Server, Way};

/// Has a request given up right behind it, and says what was answered.
fn give_up(raw: &mut Raw, method: &str, params: &Value) -> Value {
    let id = raw.request(method, params);
    raw.send(&json!({"method": "request/cancel", "params": {"id": id}}));
    raw.answer(id)
}

/// How many descriptors the processes of this user have of a file.
fn open_at(path: &Path) -> usize {
    let wanted = fs::metadata(path).unwrap();
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let descriptors = processes.filter_map(|process| fs::read_dir(process.path().join("fd")).ok()).flatten();
    let files = descriptors.filter_map(|descriptor| fs::metadata(descriptor.ok()?.path()).ok());
    files.filter(|file| (file.dev(), file.ino()) == (wanted.dev(), wanted.ino())).count()
}

fn wait_for_open(path: &Path, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while open_at(path) != count {
        assert!(Instant::now() < deadline, "{} descriptors", open_at(path));
        std::thread::yield_now();
    }
}

#[test]
fn a_file_whose_opening_or_closing_is_given_up_is_closed() {
    let server = Server::start(Way::Unix);
    let mut raw = server.extended();
    let file = server.path("ws/file");
    for name in ["file", "kept"] {
        fs::write(server.path("ws").join(name), "text").unwrap();
    }
    let open = |id: &str, name: &str, mode: &str| {
        json!({"handleId": id, "path": server.uri(&format!("ws/{name}")), "mode": mode,
               "sandbox": server.sandbox("restricted")})
    };
    // Another file has the same worker, which so goes on.
    raw.result("fs/open", &open("kept", "kept", "read"));
    for mode in ["read", "replace"] {
        let deadline = Instant::now() + PATIENCE;
        // Until it comes in time.
        while give_up(&mut raw, "fs/open", &open("id", "file", mode))["error"]["code"] != -32800 {
            assert!(Instant::now() < deadline, "the opening is never given up");
            raw.result("fs/close", &json!({"handleId": "id"}));
        }
        // The id is nobody's, and what comes for it is answered.
        let (code, _) = raw.error("fs/readBlock", &json!({"handleId": "id", "offset": 0, "len": 1}));
        assert_eq!(code, -32004, "{mode}");
        wait_for_open(&file, 0);
        let deadline = Instant::now() + PATIENCE;
        loop {
            raw.result("fs/open", &open("id", "file", mode));
            wait_for_open(&file, 1);
            let closed = give_up(&mut raw, "fs/close", &json!({"handleId": "id"}));
            wait_for_open(&file, 0);
            if closed["error"]["code"] == -32800 {
                break;
            }
            assert!(Instant::now() < deadline, "the closing is never given up");
        }
    }
    let block = raw.result("fs/readBlock", &json!({"handleId": "kept", "offset": 0, "len": 4}));
    assert_eq!(block["chunk"], "dGV4dA==");
}

#[test]
fn small_answers_wait_for_no_large_ones() {
    let server = Server::start(Way::WebSocket);
    fs::write(server.path("ws/large"), vec![b'x'; 45 << 20]).unwrap();
    fs::write(server.path("ws/small"), "text").unwrap();
    // A client that takes nothing.
    let stream = TcpStream::connect(server.address()).unwrap();
    let (mut socket, _) = client(format!("ws://{}/", server.address()), stream).unwrap();
    let mut send = |message: Value| socket.send(Message::text(message.to_string())).unwrap();
    send(json!({"id": 1, "method": "initialize", "params": {"clientName": "test"}}));
    send(json!({"method": "initialized"}));
    let answered = |method: &str, count: usize| {
        let line = format!("_seconds_count{{method=\"{method}\",result=\"ok\"}} {count}\n");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = http(&server, "GET /metrics HTTP/1.1");
            if metrics.contains(&line) {
                return;
            }
            assert!(Instant::now() < deadline, "{line}{metrics}");
            std::thread::yield_now();
        }
    };
    for id in 2..4 {
        send(json!({"id": id, "method": "fs/readFile", "params": {"path": server.uri("ws/large")}}));
    }
    answered("fs/readFile", 2);
    // There is no room for a third one, and for these there is.
    send(json!({"id": 4, "method": "fs/readFile", "params": {"path": server.uri("ws/large")}}));
    for id in 5..10 {
        send(json!({"id": id, "method": "fs/getMetadata", "params": {"path": server.uri("ws/small")}}));
    }
    answered("fs/getMetadata", 5);
}

#[test]
fn no_client_takes_all_workers() {
    let server = Server::start(Way::Unix);
    fs::write(server.path("ws/file"), "text").unwrap();
    let open = |id: usize| {
        json!({"handleId": id.to_string(), "path": server.uri("ws/file"), "mode": "replace",
               "sandbox": server.sandbox("restricted")})
    };
    // A worker each, to the end of what one client is left.
    let mut connections = Vec::new();
    for expected in [16, 16, 8] {
        let mut raw = server.ready();
        let opened: Vec<i64> = (0..expected).map(|id| raw.request("fs/open", &open(id))).collect();
        for id in opened {
            let answer = raw.answer(id);
            assert!(answer.get("error").is_none(), "{answer}");
        }
        connections.push(raw);
    }
    let (code, message) = connections[2].error("fs/open", &open(8));
    assert_eq!(
        (code, &*message),
        (
            -32600,
            "the open files of this connection take 8 workers, and 8 are left for all: a connection may have as many as \
             it leaves; fs/close gives one back"
        )
    );
    // Another client has what it needs.
    let mut other = server.ready();
    other.result("fs/open", &open(0));
    other.result("fs/writeBlock", &json!({"handleId": "0", "offset": 0, "chunk": "dGV4dA=="}));
    other.result("fs/close", &json!({"handleId": "0"}));
    let read = other.result("fs/readFile", &json!({"path": server.uri("ws/file")}));
    assert_eq!(read["dataBase64"], "dGV4dA==");
    // And what is given back is there again.
    connections[2].result("fs/close", &json!({"handleId": "7"}));
    connections[2].result("fs/open", &open(8));
}
