//! What a client has of a call whose connection broke off: all of it, once, and nobody else any of it.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

use super::http::{Server, call, event, first_id, head};
use super::raw::{PATIENCE, Presence};

/// Waits for `go`, and says something then.
const WAITS: &str = "echo here >begun; until test -e go; do sleep 0.05; done; echo done";

/// Until a call of `shell` was answered, whoever has the answer.
fn answered(server: &Server) {
    let end = Instant::now() + PATIENCE;
    while server.number("request_duration_seconds_count{method=\"shell\",result=\"ok\"}").is_none() {
        assert!(Instant::now() < end, "the call is never answered");
        std::thread::yield_now();
    }
}

/// All events of a stream that ends, each with its id.
fn events(mut stream: BufReader<TcpStream>) -> Vec<(String, Value)> {
    assert!(head(&mut stream).starts_with("HTTP/1.1 200"));
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (mut id, mut events) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(found) = line.strip_prefix("id:") {
            id = found.trim().to_owned();
        }
        if let Some(message) = line.strip_prefix("data:").and_then(|data| serde_json::from_str(data).ok()) {
            events.push((id.clone(), message));
        }
    }
    events
}

#[test]
fn an_answer_that_comes_while_nobody_is_there_is_had_once_and_by_nobody_else() {
    let server = Server::start("", &["-s", "workspace-write"]);
    let (session, other) = (server.session(), server.session());
    let begun = Presence::new(&server.place.path("ws/begun"));
    let headers = [("Mcp-Session-Id", session.as_str())];
    let body = call(9, "shell", &json!({"command": ["sh", "-c", WAITS]}));
    let mut stream = server.send("POST", "/mcp", &headers, &body);
    let first = first_id(&mut stream);
    begun.began();
    // As long as it is under way, its id means this one.
    let again = events(server.send("POST", "/mcp", &headers, &body));
    assert_eq!((again.len(), &again[0].1["error"]["code"]), (1, &json!(-32600)), "{again:?}");
    stream.get_ref().shutdown(Shutdown::Both).unwrap();
    drop(stream);
    std::fs::write(server.place.path("ws/go"), "").unwrap();
    answered(&server);

    let resume = |session: &str, id: &str| {
        events(server.send("GET", "/mcp", &[("Mcp-Session-Id", session), ("Last-Event-ID", id)], ""))
    };
    assert_eq!(resume(&other, &first), []);
    let stranger = [("Mcp-Session-Id", "00000000-0000-0000-0000-000000000000"), ("Last-Event-ID", &first)];
    assert_eq!(server.status("GET", "/mcp", &stranger, ""), 404);
    // Of a version that has no sessions, nothing can be resumed.
    let without = [("MCP-Protocol-Version", "2026-07-28"), ("Last-Event-ID", &first)];
    assert_eq!(server.status("GET", "/mcp", &without, ""), 405);
    for unknown in ["0", "1/0", "x", "", &first.replace("-0", "-7"), &first.replace(char::is_numeric, "a")] {
        assert_eq!(resume(&session, unknown), [], "{unknown}");
    }
    let told = resume(&session, &first);
    let [(last, message)] = told.as_slice() else { panic!("{told:?}") };
    let output = &message["result"]["structuredContent"]["output"]["text"];
    assert_eq!((&message["id"], output), (&json!(9), &json!("done\n")));
    // Who has it says so, and has nothing more.
    assert_eq!(resume(&session, last), []);
    // The end of the session is the end of what it keeps.
    assert_eq!(server.status("DELETE", "/mcp", &headers, ""), 202);
    let headers = [headers[0], ("Last-Event-ID", &first)];
    assert_eq!(server.status("GET", "/mcp", &headers, ""), 404);
}

#[test]
fn a_question_waits_for_who_comes_back() {
    let server = Server::start("", &["-s", "read-only"]);
    let session = server.session_with(&json!({"elicitation": {}}));
    let headers = [("Mcp-Session-Id", session.as_str())];
    let arguments = json!({"command": ["touch", "made"], "sandbox_permissions": "workspace-write"});
    let mut stream = server.send("POST", "/mcp", &headers, &call(9, "shell", &arguments));
    let first = first_id(&mut stream);
    let (_, asked) = event(&mut stream);
    assert_eq!(asked["method"], "elicitation/create");
    // It was on its way, and did not come.
    drop(stream);
    let resumed = [headers[0], ("Last-Event-ID", first.as_str())];
    let mut stream = server.send("GET", "/mcp", &resumed, "");
    let (_, again) = event(&mut stream);
    assert_eq!(again, asked);
    let yes = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {}}});
    assert_eq!(server.status("POST", "/mcp", &headers, &yes.to_string()), 202);
    let (_, message) = event(&mut stream);
    assert_eq!(message["result"]["structuredContent"]["exit_code"], 0, "{message}");
    assert!(server.place.path("ws/made").exists());
}

#[test]
fn the_newest_connection_is_told_and_one_that_takes_nothing_holds_up_nobody() {
    let server = Server::start("", &["-s", "workspace-write"]);
    let session = server.session();
    let headers = [("Mcp-Session-Id", session.as_str())];
    let begun = Presence::new(&server.place.path("ws/begun"));
    let body = call(9, "shell", &json!({"command": ["sh", "-c", WAITS]}));
    let mut stream = server.send("POST", "/mcp", &headers, &body);
    let first = first_id(&mut stream);
    begun.began();
    let resumed = [headers[0], ("Last-Event-ID", first.as_str())];
    let mut newer = server.send("GET", "/mcp", &resumed, "");
    head(&mut newer);
    // The one before has its end, though it never broke off.
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("result"), "{rest}");
    std::fs::write(server.place.path("ws/go"), "").unwrap();
    assert_eq!(event(&mut newer).1["id"], 9);
    // Its own answers, which it does not take, are no other request's matter.
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}).to_string();
    let _stuck: Vec<_> = (10..40)
        .map(|id| server.send("POST", "/mcp", &headers, &list.replace("\"id\":2", &format!("\"id\":{id}"))))
        .collect();
    assert_eq!(event(&mut server.send("POST", "/mcp", &headers, &list)).1["id"], 2);
}

/// Stands between a client and a server. While it is shut, connections are broken off, and new ones wait.
#[derive(Clone, Default)]
struct Way {
    state: Arc<Mutex<(bool, Vec<TcpStream>)>>,
    opened: Arc<Condvar>,
}

impl Way {
    /// Leads to this address. Gives its own.
    fn to(&self, server: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let way = self.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut state = way.state.lock().unwrap();
                while state.0 {
                    state = way.opened.wait(state).unwrap();
                }
                let Ok(server) = TcpStream::connect(server) else { return };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let mut bytes = [0; 8192];
                        while let Ok(read @ 1..) = from.read(&mut bytes) {
                            if to.write_all(&bytes[..read]).is_err() {
                                break;
                            }
                        }
                        // Of one that has gone there is nothing left to end.
                        to.shutdown(Shutdown::Both).unwrap_or_default();
                    });
                }
                state.1.extend([client, server]);
            }
        });
        address
    }

    fn shut(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        for stream in state.1.drain(..) {
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }

    fn open(&self) {
        self.state.lock().unwrap().0 = false;
        self.opened.notify_all();
    }
}

/// The official Python client, whose connections all break off in the middle of a call.
#[test]
fn the_python_client_has_the_answer_of_a_call_that_was_cut_off() {
    let Some(packages) = super::clients::python() else { return };
    let server = Server::start("", &["-s", "workspace-write"]);
    let way = Way::default();
    let url = format!("http://{}/mcp", way.to(server.address()));
    let begun = Presence::new(&server.place.path("ws/begun"));
    let mut client = super::clients::script("python3", "mcp_resume.py");
    client.args([&url, WAITS]);
    server.place.surround(&mut client);
    let client = client.env("PYTHONPATH", packages).stdin(std::process::Stdio::null());
    let client =
        client.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    begun.began();
    way.shut();
    std::fs::write(server.place.path("ws/go"), "").unwrap();
    answered(&server);
    way.open();
    let output = client.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said, "done\n");
}
