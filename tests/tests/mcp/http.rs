//! MCP over HTTP: who gets in, and what a session is there.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use super::raw::{HOLDS, PATIENCE, Place, Presence};

/// A server at a port of its own.
pub(crate) struct Server {
    pub(crate) place: Place,
    child: Child,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(config: &str, arguments: &[&str]) -> Self {
        let place = Place::new(config);
        let mut command = place.command(&[&["--listen", "http://127.0.0.1:0"], arguments].concat());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { place, child, url: url.trim().to_owned() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.url.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap().parse().unwrap()
    }

    /// Sends a request, whose answer is read by whoever wants to.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        let usual = [
            ("Host", self.address().to_string()),
            ("Accept", "application/json, text/event-stream".to_owned()),
            ("Content-Type", "application/json".to_owned()),
            ("Content-Length", body.len().to_string()),
        ];
        let says = |name: &str| headers.iter().any(|(known, _)| *known == name);
        let given = |name: &str| says(name) || (name == "Content-Length" && says("Transfer-Encoding"));
        for (name, value) in usual.iter().filter(|(name, _)| !given(name)) {
            head += &format!("{name}: {value}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
        BufReader::new(stream)
    }

    pub(crate) fn status(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
        let mut line = String::new();
        self.send(method, path, headers, body).read_line(&mut line).unwrap();
        line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}")).parse().unwrap()
    }

    /// A session whose handshake is done, by its id.
    pub(crate) fn session(&self) -> String {
        self.session_with(&json!({}))
    }

    /// One whose client declares these capabilities.
    pub(crate) fn session_with(&self, capabilities: &Value) -> String {
        let hello =
            hello("2025-06-18").replace("\"capabilities\":{}", &format!("\"capabilities\":{capabilities}"));
        let mut answer = self.send("POST", "/mcp", &[], &hello);
        let mut id = String::new();
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).unwrap();
            if let Some(found) = line.to_ascii_lowercase().strip_prefix("mcp-session-id: ") {
                id = found.trim().to_owned();
            }
            if line == "\r\n" {
                break;
            }
        }
        assert_eq!(event(&mut answer).1["result"]["serverInfo"]["name"], "codex");
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        assert_eq!(self.status("POST", "/mcp", &[("Mcp-Session-Id", &id)], &initialized), 202);
        id
    }

    /// A call's result as data.
    fn call(&self, session: &str, tool: &str, arguments: &Value) -> Value {
        let mut answer = self.send("POST", "/mcp", &[("Mcp-Session-Id", session)], &call(7, tool, arguments));
        loop {
            let (_, mut message) = event(&mut answer);
            if message["id"] == 7 {
                return message["result"]["structuredContent"].take();
            }
        }
    }

    /// A number that the server counts.
    fn counted(&self, name: &str) -> u64 {
        self.number(name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// One that is not there before it is more than nothing.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let mut answer = String::new();
        self.send("GET", "/metrics", &[], "").read_to_string(&mut answer).unwrap();
        let value = answer.lines().find_map(|line| line.strip_prefix(&format!("codex_exec_server_{name} ")));
        value.map(|value| value.parse().unwrap())
    }

    fn end(mut self) -> Option<i32> {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn hello(version: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}})
    .to_string()
}

pub(crate) fn call(id: i64, tool: &str, arguments: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}).to_string()
}

/// The next event that has a message, with its id, and the id of the last one that had none.
pub(crate) fn event(stream: &mut BufReader<TcpStream>) -> (String, Value) {
    let mut id = String::new();
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream has ended");
        if let Some(found) = line.strip_prefix("id:") {
            id = found.trim().to_owned();
        }
        if let Some(data) = line.strip_prefix("data:")
            && let Ok(message) = serde_json::from_str(data)
        {
            return (id, message);
        }
    }
}

/// The first line of an answer, with the rest of its head behind it.
pub(crate) fn head(stream: &mut BufReader<TcpStream>) -> String {
    let (mut first, mut line) = (String::new(), String::new());
    stream.read_line(&mut first).unwrap();
    while line != "\r\n" {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the answer has no end of its head");
    }
    first
}

/// The id of the event that begins a stream, which a client resumes by.
pub(crate) fn first_id(stream: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream has ended");
        if let Some(found) = line.strip_prefix("id:") {
            return found.trim().to_owned();
        }
    }
}

#[test]
fn no_browser_and_nobody_without_a_token_gets_in() {
    let server = Server::start("", &[]);
    let ok = hello("2025-06-18");
    assert_eq!(server.status("POST", "/mcp", &[], &ok), 200);
    for origin in ["http://evil.example", "null", "http://127.0.0.1"] {
        assert_eq!(server.status("POST", "/mcp", &[("Origin", origin)], &ok), 403, "{origin}");
    }
    // A name that leads here by somebody else's word.
    assert_eq!(server.status("POST", "/mcp", &[("Host", "evil.example")], &ok), 403);
    assert_eq!(server.status("GET", "/metrics", &[("Host", "evil.example")], ""), 403);
    assert_eq!(server.status("GET", "/metrics", &[], ""), 200);
    // Loopback has more than one address.
    for host in ["localhost:1", "127.0.0.2", "[::1]:80"] {
        assert_eq!(server.status("POST", "/mcp", &[("Host", host)], &ok), 200, "{host}");
    }
    for (method, path, expected) in [
        ("GET", "/healthz", 200),
        ("GET", "/", 404),
        ("PUT", "/mcp", 405),
        ("POST", "/mcp/x", 404),
        ("POST", "/", 404),
    ] {
        assert_eq!(server.status(method, path, &[], ""), expected, "{method} {path}");
    }
    assert_eq!(server.end(), Some(0));

    let token = "0123456789abcdef0123456789abcdef";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), token).unwrap();
    let server = Server::start("", &["--ws-token-file", file.path().to_str().unwrap()]);
    assert_eq!(server.status("POST", "/mcp", &[], &ok), 401);
    assert_eq!(server.status("POST", "/mcp", &[("Authorization", "Bearer x")], &ok), 401);
    let shown = format!("Bearer {token}");
    assert_eq!(server.status("POST", "/mcp", &[("Authorization", &shown)], &ok), 200);
    // Off loopback there is no server without one.
    let output = server.place.command(&["--listen", "http://0.0.0.0:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("can be reached from other machines"));
    // And on a WebSocket's port there is no such thing.
    let place = Place::new("");
    let mut child = place
        .command(&["--listen", "ws://127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let url = url.trim().replace("ws://", "http://") + "/mcp";
    assert_eq!(Server { place, child, url }.status("POST", "/mcp", &[], &ok), 404);
}

#[test]
fn a_session_is_its_clients_and_ends_what_it_has_started() {
    let server = Server::start("", &["-s", "workspace-write"]);
    let session = server.session();
    let done = server.call(&session, "shell", &json!({"command": ["sh", "-c", "echo out; exit 3"]}));
    assert_eq!((&done["exit_code"], &done["output"]["text"]), (&json!(3), &json!("out\n")));
    let held = Presence::new(&server.place.path("ws/held"));
    let begun = server.call(&session, "exec_command", &json!({"cmd": HOLDS, "yield_time_ms": 250}));
    assert_eq!(begun["outcome"], "running");
    held.began();
    // What goes on is another session's no more than its output is.
    let other = server.session();
    let strange = server.call(&other, "kill", &json!({"session_id": begun["session_id"]}));
    assert_eq!(strange["outcome"], "refused", "{strange}");
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}).to_string();
    for unknown in ["00000000-0000-0000-0000-000000000000", "x"] {
        assert_eq!(server.status("POST", "/mcp", &[("Mcp-Session-Id", unknown)], &list), 404);
    }
    assert_ne!(server.status("POST", "/mcp", &[], &list), 200);
    assert_eq!(server.status("DELETE", "/mcp", &[("Mcp-Session-Id", &session)], ""), 202);
    held.ended();
    assert_eq!(server.status("POST", "/mcp", &[("Mcp-Session-Id", &session)], &list), 404);

    // The server's end is everybody's.
    std::fs::remove_file(server.place.path("ws/held")).unwrap();
    let held = Presence::new(&server.place.path("ws/held"));
    server.call(&other, "exec_command", &json!({"cmd": HOLDS, "yield_time_ms": 250}));
    held.began();
    assert_eq!(server.end(), Some(0));
    held.ended();
}

#[test]
fn a_call_goes_on_without_its_connection() {
    let server = Server::start("", &["-s", "workspace-write"]);
    let session = server.session();
    let waits = "echo here >begun; until test -e go; do sleep 0.1; done; echo done";
    let begun = Presence::new(&server.place.path("ws/begun"));
    let arguments = json!({"command": ["sh", "-c", waits]});
    let mut stream =
        server.send("POST", "/mcp", &[("Mcp-Session-Id", &session)], &call(9, "shell", &arguments));
    let id = first_id(&mut stream);
    begun.began();
    drop(stream);
    let headers = [("Mcp-Session-Id", session.as_str()), ("Last-Event-ID", &id)];
    let mut stream = server.send("GET", "/mcp", &headers, "");
    // Who has asked again is heard of once the answer to that begins.
    head(&mut stream);
    std::fs::write(server.place.path("ws/go"), "").unwrap();
    let (_, message) = event(&mut stream);
    assert_eq!(
        (&message["id"], &message["result"]["structuredContent"]["output"]["text"]),
        (&json!(9), &json!("done\n"))
    );
}

#[test]
fn what_waits_for_the_rest_of_itself_is_under_way() {
    let server = Server::start("", &["--concurrent-requests", "8"]);
    let session = server.session();
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}).to_string();
    let headers = [("Mcp-Session-Id", session.as_str())];
    // A place comes back a moment after its answer.
    let until = |expected: u16| {
        let end = Instant::now() + PATIENCE;
        while server.status("POST", "/mcp", &headers, &list) != expected {
            assert!(Instant::now() < end, "it is never answered with {expected}");
        }
    };
    until(200);
    // They have said how much they will say, and all but its end.
    let length = [headers[0], ("Content-Length", &list.len().to_string())];
    let (begin, rest) = list.split_at(list.len() - 1);
    let mut halves: Vec<_> = (0..8).map(|_| server.send("POST", "/mcp", &length, begin)).collect();
    until(503);
    // What is no call is answered meanwhile.
    assert_eq!(server.status("GET", "/healthz", &[], ""), 200);
    let mut answered = 0;
    for half in &mut halves {
        let mut line = String::new();
        // One of them may have come when another request had the last place, and was told so, and left.
        let is_there = half.get_mut().write_all(rest.as_bytes()).is_ok() && half.read_line(&mut line).is_ok();
        answered += usize::from(is_there && line.starts_with("HTTP/1.1 200"));
    }
    assert!(answered >= 7, "{answered}");
    drop(halves);
    until(200);
}

#[test]
fn bad_requests_harm_nobody() {
    let server = Server::start("", &["--max-connections", "8"]);
    let session = server.session();
    let headers = [("Mcp-Session-Id", session.as_str())];
    for (body, expected) in [
        ("nonsense".to_owned(), 400..=499),
        ("[]".to_owned(), 400..=499),
        (format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200)), 400..=400),
    ] {
        let status = server.status("POST", "/mcp", &headers, &body);
        assert!(expected.contains(&status), "{}: {status}", &body[..body.len().min(40)]);
    }
    // It is not waited for what is too long.
    let long = [headers[0], ("Content-Length", "9000000")];
    assert_eq!(server.status("POST", "/mcp", &long, ""), 413);
    for (name, value) in
        [("Content-Type", "text/plain"), ("Accept", "text/html"), ("MCP-Protocol-Version", "1999-01-01")]
    {
        let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}).to_string();
        let status = server.status("POST", "/mcp", &[headers[0], (name, value)], &list);
        assert!((400..500).contains(&status), "{name}: {status}");
    }
    // Without a session, no version leads to a command.
    for version in ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"] {
        let meta = json!({"io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {},
                          "io.modelcontextprotocol/clientInfo": {"name": "x", "version": "1"}});
        for params in [
            json!({"name": "shell", "arguments": {"command": ["touch", "made"]}}),
            json!({"name": "shell", "arguments": {"command": ["touch", "made"]}, "_meta": meta}),
        ] {
            let body =
                json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params}).to_string();
            let version =
                [("MCP-Protocol-Version", version), ("Mcp-Method", "tools/call"), ("Mcp-Name", "shell")];
            let mut answer = server.send("POST", "/mcp", &version, &body);
            let mut text = String::new();
            answer.read_to_string(&mut text).unwrap();
            let is_refused = !text.starts_with("HTTP/1.1 200") || text.contains("\"error\"");
            assert!(is_refused && !text.contains("exit_code"), "{text}");
        }
    }
    assert!(!server.place.path("ws/made").exists());
    assert_eq!(server.call(&session, "shell", &json!({"command": ["true"]}))["exit_code"], 0);
}

/// What a turn is, the tests of turns say: that calls take them is what is seen here.
#[test]
fn each_call_takes_a_turn_at_being_set_up() {
    let server = Server::start("", &["-s", "workspace-write"]);
    let session = server.session();
    let before = server.counted("turns_total");
    let begun = server.call(&session, "exec_command", &json!({"cmd": "sleep 1000", "yield_time_ms": 250}));
    server.call(&session, "shell", &json!({"command": ["true"]}));
    let patch = "*** Begin Patch\n*** Add File: made\n+text\n*** End Patch";
    assert_eq!(server.call(&session, "apply_patch", &json!({"input": patch}))["outcome"], "applied");
    assert_eq!(server.counted("turns_total"), before + 3);
    // What is there already takes none, nor does what is refused before anything is set up.
    server.call(&session, "write_stdin", &json!({"session_id": begun["session_id"], "yield_time_ms": 250}));
    server.call(&session, "kill", &json!({"session_id": begun["session_id"]}));
    server.call(
        &session,
        "shell",
        &json!({"command": ["true"], "sandbox_permissions": "danger-full-access"}),
    );
    assert_eq!(server.counted("turns_total"), before + 3);
}

#[test]
fn the_end_of_the_server_waits_for_what_it_ends() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let log = directory.path().join("log");
    let server = Server::start(&format!("audit.file = {log:?}\n"), &["-s", "workspace-write"]);
    let session = server.session();
    let held = Presence::new(&server.place.path("ws/held"));
    server.call(&session, "exec_command", &json!({"cmd": HOLDS, "yield_time_ms": 250}));
    held.began();
    let waits = call(8, "shell", &json!({"command": ["sleep", "1000"]}));
    let _waiting = server.send("POST", "/mcp", &[("Mcp-Session-Id", &session)], &waits);
    let count = |event: &str| {
        let lines = std::fs::read_to_string(&log).unwrap();
        lines.lines().filter(|line| line.contains(&format!("\"event\":\"{event}\""))).count()
    };
    let deadline = Instant::now() + PATIENCE;
    while count("start") < 2 {
        assert!(Instant::now() < deadline, "{} have begun", count("start"));
        std::thread::yield_now();
    }
    assert_eq!(server.end(), Some(0));
    // Each has its end in the log, which is there when the server is not.
    assert_eq!(count("end"), 2);
    held.ended();
}
