//! The doors: who gets in, and what the port says to others.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nix::sys::signal::{Signal, kill};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::raw::{PATIENCE, Server, Way};

/// What the port of a server says to a head of a request, which is for loopback unless it names another host.
pub(crate) fn http(server: &Server, head: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let host = if head.contains("Host:") { "" } else { "Host: localhost\r\n" };
    stream.write_all(format!("{head}\r\n{host}Connection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn status(server: &Server, head: &str) -> u16 {
    http(server, head).split(' ').nth(1).unwrap().parse().unwrap()
}

/// A request for a WebSocket.
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

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
        // A page sends no origin where it reads what has its own name; that this name leads here it can bring about.
        ("GET /metrics HTTP/1.1\r\nHost: evil.example", 403),
        ("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example", 403),
        ("GET /metrics HTTP/1.1\r\nHost: [::1]:80", 200),
        ("GET /healthz HTTP/1.1\r\nHost: evil.example", 200),
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

/// All that a client has to say to have a command run, without a wait for any answer.
pub(crate) fn said_at_once(server: &Server, argv: &[&str]) -> Vec<u8> {
    let mut said = UPGRADE.as_bytes().to_vec();
    for message in [
        json!({"id": 1, "method": "initialize", "params": {"clientName": "t"}}),
        json!({"method": "initialized"}),
        json!({"id": 2, "method": "process/start", "params": server.start_params("p", argv)}),
    ] {
        let text = message.to_string();
        // A text frame with a length of eight bytes, masked with zeros.
        said.extend([0x81, 0xff]);
        said.extend((text.len() as u64).to_be_bytes());
        said.extend([0; 4]);
        said.extend(text.as_bytes());
    }
    said
}

fn counted(server: &Server, name: &str) -> u64 {
    let metrics = http(server, "GET /metrics HTTP/1.1");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&format!("codex_exec_server_{name} ")));
    // One with a label comes to be with the first of its kind.
    if value.is_none() && name.contains('{') { 0 } else { value.unwrap().parse().unwrap() }
}

/// What is no WebSocket any more ends its own connection, and says by the code what it was.
#[test]
fn what_breaks_a_web_socket_breaks_no_other_and_is_named() {
    let server = Server::start(Way::WebSocket);
    let mut other = server.ready();
    for (frame, code) in [
        // Not masked; a reserved bit; a kind that there is none of; a text that is none.
        (&[0x81, 0x02, b'{', b'}'][..], 1002_u16),
        (&[0xc1, 0x80, 0, 0, 0, 0], 1002),
        (&[0x85, 0x80, 0, 0, 0, 0], 1002),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007),
    ] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(UPGRADE.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        stream.write_all(frame).unwrap();
        let mut close = [0; 4];
        stream.read_exact(&mut close).unwrap();
        assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, code), "{frame:x?}");
    }
    assert_eq!(other.result("environment/status", &Value::Null), json!({"status": "ready"}));
    assert_eq!(counted(&server, "malformed_messages_total"), 4);
}

#[test]
fn bounds_that_are_met_are_counted() {
    let server = Server::with(Way::WebSocket, "", &["--max-processes", "1", "--concurrent-requests", "1"]);
    let mut raw = server.ready();
    let before = counted(&server, "turns_total");
    raw.result("process/start", &server.start_params("p", &["sleep", "600"]));
    assert_eq!(counted(&server, "turns_total"), before + 1);
    assert_eq!(raw.error("process/start", &server.start_params("q", &["true"])).0, -32600);
    raw.send_bytes(format!("{}1{}", "[".repeat(200), "]".repeat(200)).as_bytes());
    assert_eq!(raw.answer(-1)["error"]["code"], -32600);
    // The second one waits for the first.
    raw.request("process/read", &json!({"processId": "p", "waitMs": 1000}));
    raw.result("environment/status", &Value::Null);
    for bound in ["processes", "message_structure", "concurrent_requests"] {
        count_to(&server, &format!("limits_hit_total{{limit=\"{bound}\"}}"), 1);
    }
    raw.result("process/terminate", &json!({"processId": "p"}));
    raw.hear("p");
    // One has to be over before there is room for the next.
    count_to(&server, "processes_active", 0);
    raw.run(&server.start_params("refused", &["sh", "-c", "head -c 3000000 /dev/zero; touch ../outside/x"]));
    count_to(&server, "denials_total{operation=\"create\"}", 1);
    // A megabyte is kept, and what is for each of its chunks is part of that.
    let evicted = counted(&server, "evicted_bytes_total");
    assert!((1_900_000..2_100_000).contains(&evicted), "{evicted}");
}

/// Waits for a number that somebody else counts up.
fn count_to(server: &Server, name: &str, expected: u64) {
    let deadline = Instant::now() + PATIENCE;
    while counted(server, name) != expected && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(counted(server, name), expected, "{name}");
}

#[test]
fn without_a_token_only_who_is_known_to_be_ours_gets_in() {
    let server = Server::start(Way::WebSocket);
    let said = said_at_once(&server, &["true"]);
    // What is said means something, from who may say it and is there.
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(&said).unwrap();
    let mut heard = Vec::new();
    while !heard.windows(13).any(|piece| piece == b"\"processId\":\"") {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend(&piece[..count]);
    }
    drop(stream);
    assert_eq!(
        (counted(&server, "processes_started_total"), counted(&server, "connections_refused_total")),
        (1, 0)
    );
    // And nothing from who has gone before the server looks: the kernel lists that as root's, whoever it was.
    let pid = nix::unistd::Pid::from_raw(server.process().try_into().unwrap());
    let strangers: &[Option<u32>] =
        if nix::unistd::geteuid().is_root() { &[None, Some(65534)] } else { &[None] };
    for (refused, user) in (1..).zip(strangers) {
        kill(pid, Signal::SIGSTOP).unwrap();
        let mut client = Command::new("bash");
        client.args(["-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{}; cat >&3", server.address().port())]);
        if let Some(user) = *user {
            client.uid(user).gid(user);
        }
        let mut client = client.current_dir("/").stdin(Stdio::piped()).spawn().unwrap();
        client.stdin.take().unwrap().write_all(&said).unwrap();
        assert!(client.wait().unwrap().success());
        kill(pid, Signal::SIGCONT).unwrap();
        count_to(&server, "connections_refused_total", refused);
    }
    assert_eq!(counted(&server, "processes_started_total"), 1);
    // One that is there and another user's is told nothing.
    if nix::unistd::geteuid().is_root() {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{}; printf 'GET /healthz HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3; cat <&3 2>&1",
            server.address().port()
        );
        let mut client = Command::new("bash");
        client.args(["-c", &script]).current_dir("/").uid(65534).gid(65534);
        let told = String::from_utf8(client.output().unwrap().stdout).unwrap();
        assert!(!told.contains("HTTP/1.1"), "{told}");
        count_to(&server, "connections_refused_total", 3);
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

/// A JSON Web Token, signed as one likes.
fn token(alg: &str, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let text = format!(
        "{}.{}",
        encode(json!({ "alg": alg }).to_string().as_bytes()),
        encode(claims.to_string().as_bytes())
    );
    format!("{text}.{}", encode(&sign(text.as_bytes())))
}

/// A file that is nobody else's.
fn private(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn a_signed_token_is_asked_for_where_there_is_a_key() {
    let secret = "0123456789abcdef0123456789abcdef";
    let hmac = |text: &[u8]| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text).as_ref().to_vec()
    };
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let key = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", pair.public_key().as_ref()].concat();
    let key = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(key));
    let ed25519 = |text: &[u8]| pair.sign(text).as_ref().to_vec();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let (good, old) = (
        json!({"exp": now + 600, "aud": "here", "iss": "me"}),
        json!({"exp": now - 600, "aud": "here", "iss": "me"}),
    );
    let (elsewhere, forged) =
        (json!({"exp": now + 600, "aud": "there", "iss": "me"}), json!({"exp": now + 600, "aud": "here"}));
    let (secret_file, key_file) = (private(secret), private(&key));
    for (option, file, alg, sign) in [
        ("--ws-shared-secret-file", &secret_file, "HS256", &hmac as &dyn Fn(&[u8]) -> Vec<u8>),
        ("--ws-public-key-file", &key_file, "EdDSA", &ed25519),
    ] {
        let file = file.path().to_str().unwrap();
        let arguments = [
            "--ws-auth",
            "signed-bearer-token",
            option,
            file,
            "--ws-audience",
            "here",
            "--ws-issuer",
            "me",
            "--ws-max-clock-skew-seconds",
            "60",
        ];
        let server = Server::with(Way::WebSocket, "", &arguments);
        let show = |token: String| upgrade(&server, &format!("Authorization: Bearer {token}\r\n"));
        assert_eq!(upgrade(&server, ""), 401);
        assert_eq!(show(token(alg, &good, sign)), 101, "{alg}");
        for claims in [&old, &elsewhere, &forged] {
            assert_eq!(show(token(alg, claims, sign)), 401, "{alg} {claims}");
        }
        assert_eq!(show(token(alg, &good, |_| vec![0; 64])), 401);
        assert_eq!(show(token("none", &good, |_| Vec::new())), 401);
        // What opens one server does not open the other.
        for (other, sign) in [("HS256", &hmac as &dyn Fn(&[u8]) -> Vec<u8>), ("EdDSA", &ed25519)] {
            assert_eq!(
                show(token(other, &good, sign)),
                if other == alg { 101 } else { 401 },
                "{alg} {other}"
            );
        }
        assert_eq!(show(secret.to_owned()), 401, "the secret itself is no token");
        assert_eq!(status(&server, "GET /readyz HTTP/1.1"), 200);
        assert_eq!(status(&server, "GET /metrics HTTP/1.1"), 401);
    }
}

#[test]
fn a_server_that_everybody_could_use_does_not_start() {
    let (secret, open) = (private(&"s".repeat(32)), private(&"s".repeat(32)));
    std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let [secret, open] = [&secret, &open].map(|file| file.path().to_str().unwrap());
    for (arguments, code, words) in [
        (&["--listen", "ws://0.0.0.0:0"][..], 2, "can be reached from other machines"),
        (&["--listen", "ws://localhost:0"], 2, "not an address to listen at"),
        (&["--listen", "stdio", "--listen", "stdio"], 2, "once only"),
        (&["--listen", "unix:///nowhere/socket"], 125, "can't listen at"),
        (&["--ws-token-file", "/nowhere"], 2, "the token file /nowhere"),
        (&["--ws-token-file", open], 2, "has the mode 0644"),
        (&["--ws-token-sha256", "ab"], 2, "64 hexadecimal digits"),
        (&["--ws-auth", "capability-token"], 2, "required"),
        (&["--ws-auth", "signed-bearer-token"], 2, "required"),
        (&["--ws-shared-secret-file", "/nowhere"], 2, "the key file /nowhere"),
        (&["--ws-shared-secret-file", open], 2, "has the mode 0644"),
        (&["--ws-public-key-file", open], 2, "no Ed25519 key"),
        (&["--ws-auth", "capability-token", "--ws-shared-secret-file", secret], 2, "does not go with"),
        (&["--ws-token-file", secret, "--ws-shared-secret-file", secret], 2, "cannot be used with"),
        (&["--ws-token-file", secret, "--ws-audience", "x"], 2, "required"),
        (&["--ws-shared-secret-file", secret, "--ws-max-clock-skew-seconds", "301"], 2, "0..=300"),
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
