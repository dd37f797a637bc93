//! The doors: who gets in, and what the port says to others.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use super::raw::{Server, Way};

fn http(server: &Server, head: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn status(server: &Server, head: &str) -> u16 {
    http(server, head).split(' ').nth(1).unwrap().parse().unwrap()
}

/// A request for a WebSocket, with further headers. The status is the answer's.
fn upgrade(server: &Server, more: &str) -> u16 {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let head = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
}

#[test]
fn the_port_answers_orchestrators_and_no_browser() {
    let server = Server::start(Way::WebSocket);
    for (head, expected) in [
        ("GET /healthz HTTP/1.1", 200),
        ("GET /readyz HTTP/1.1", 200),
        ("GET /metrics HTTP/1.1", 200),
        ("GET / HTTP/1.1", 426),
        ("POST / HTTP/1.1", 405),
        ("GET /other HTTP/1.1", 404),
        ("GET /healthz HTTP/1.1\r\nOrigin: http://evil.example", 403),
    ] {
        assert_eq!(status(&server, head), expected, "{head}");
    }
    assert_eq!(upgrade(&server, ""), 101);
    assert_eq!(upgrade(&server, "Origin: null\r\n"), 403);
    server.ready().run(&server.start_params("p", &["true"]));
    let metrics = http(&server, "GET /metrics HTTP/1.1");
    for line in [
        "codex_exec_server_processes_started_total 1",
        "codex_exec_server_request_duration_seconds_count{method=\"process/start\",result=\"ok\"} 1",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[test]
fn a_token_is_asked_for_where_there_is_one() {
    let token = "0123456789abcdef0123456789abcdef";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{token}\n")).unwrap();
    let server = Server::with(
        Way::WebSocket,
        "",
        &["--ws-auth", "capability-token", "--ws-token-file", file.path().to_str().unwrap()],
    );
    assert_eq!(upgrade(&server, ""), 401);
    assert_eq!(upgrade(&server, "Authorization: Bearer x\r\n"), 401);
    assert_eq!(upgrade(&server, &format!("Authorization: Bearer {token}\r\n")), 101);
    assert_eq!(status(&server, "GET /readyz HTTP/1.1"), 200);
    assert_eq!(status(&server, "GET /metrics HTTP/1.1"), 401);
}

#[test]
fn a_server_that_everybody_could_use_does_not_start() {
    for (arguments, code, words) in [
        (&["--listen", "ws://0.0.0.0:0"][..], 2, "can be reached from other machines"),
        (&["--listen", "ws://localhost:0"], 2, "not an address to listen at"),
        (&["--listen", "stdio", "--listen", "stdio"], 2, "once only"),
        (&["--listen", "unix:///nowhere/socket"], 125, "can't listen at"),
        (&["--ws-token-file", "/nowhere"], 2, "the token file /nowhere"),
        (&["--ws-token-sha256", "ab"], 2, "64 hexadecimal digits"),
        (&["--ws-auth", "capability-token"], 2, "required"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_codex-under-test"))
            .arg("exec-server")
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
        assert!(output.stdout.is_empty());
    }
}
