//! `http/request`: what is noted, what it waits for, and how it ends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use codex_tests::harness::require_tool;
use serde_json::{Value, json};

use super::http::{Site, body, get, plain, to};
use super::raw::{PATIENCE, Server, Way};

/// A site that says so much to each connection and no more, and tells of each.
fn stalling(said: &'static [u8]) -> (SocketAddr, Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, connections) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
            while head.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            stream.write_all(said).unwrap();
            if sender.send(stream).is_err() {
                return;
            }
        }
    });
    (address, connections)
}

fn granting(addresses: &[SocketAddr]) -> String {
    let granted: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    format!("[exec_server]\nhttp_allow = {granted:?}\n")
}

#[test]
fn each_hop_is_in_the_audit_log() {
    let hidden = Site::start(|_path| plain("secret"));
    let elsewhere = hidden.url("/far?secret");
    let site = Site::start(move |path| match path {
        "/out" => to(&elsewhere),
        "/in?secret" => to("/end"),
        _ => plain("end"),
    });
    // No writable root lies there, as `/tmp` is one.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let log = directory.path().join("log");
    let config = format!("{}[audit]\nfile = {log:?}\n", granting(&[site.address]));
    let server = Server::with(Way::Unix, &config, &[]);
    let mut raw = server.ready();
    assert_eq!(body(&raw.result("http/request", &get(&site.url("/in?secret")))), "end");
    assert_eq!(raw.error("http/request", &get(&site.url("/out"))).0, -32600);
    let text = std::fs::read_to_string(&log).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [
        ("http", site.url("/in")),
        ("http", site.url("/end")),
        ("http", site.url("/out")),
        ("http", hidden.url("/far")),
        ("refused", hidden.url("/far")),
    ];
    let found: Vec<(&str, String)> = records
        .iter()
        .map(|record| (record["event"].as_str().unwrap(), record["url"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(found, expected);
    for record in &records {
        assert_eq!((&record["method"], &record["client"]), (&json!("GET"), &json!("test")));
        assert_eq!(record.get("refused").is_some(), record["event"] == "refused");
    }
    // What can't be noted is not asked.
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    let (code, message) = raw.error("http/request", &get(&site.url("/in")));
    assert!(code == -32603 && message.starts_with("nothing is done: the audit log"), "{message}");
}

#[test]
fn a_stream_that_is_cancelled_ends_and_gives_its_place_back() {
    let (address, connections) = stalling(b"HTTP/1.1 200 OK\r\n\r\nhello");
    let server = Server::with(Way::Unix, &granting(&[address]), &[]);
    let mut raw = server.extended();
    let mut params = get(&format!("http://{address}/"));
    params["streamResponse"] = json!(true);
    // More often than there are places.
    for _ in 0..70 {
        let id = raw.request("http/request", &params);
        assert_eq!(raw.answer(id)["result"]["status"], 200);
        let piece = raw.notification();
        assert_eq!(
            (&piece["params"]["seq"], &piece["params"]["deltaBase64"], &piece["params"]["done"]),
            (&json!(1), &json!("aGVsbG8="), &json!(false))
        );
        raw.send(&json!({"method": "request/cancel", "params": {"id": id}}));
        let end = raw.notification();
        let expected = json!({"requestId": "r", "seq": 2, "deltaBase64": "", "done": true,
                              "error": "the request was cancelled"});
        assert_eq!(end["params"], expected);
        // The other side hears of it too.
        let mut stream = connections.recv_timeout(PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "it is still asked");
    }
}

#[test]
fn what_waits_for_an_answer_takes_no_room_of_files_and_no_more_than_its_time() {
    let (address, _connections) = stalling(b"HTTP/1.1 200 OK\r\nContent-Length: 49000000\r\n\r\n");
    let server = Server::with(Way::Unix, &granting(&[address]), &[]);
    std::fs::write(server.path("ws/file"), "text").unwrap();
    let mut raw = server.ready();
    let mut params = get(&format!("http://{address}/"));
    params["timeoutMs"] = json!(600_000);
    for _ in 0..2 {
        raw.request("http/request", &params);
    }
    params["timeoutMs"] = json!(100);
    assert_eq!(raw.error("http/request", &params), (-32603, "no answer within 100 ms".to_owned()));
    let read = raw.result("fs/readFile", &json!({"path": server.uri("ws/file")}));
    assert_eq!(read["dataBase64"], "dGV4dA==");
}

/// A site with a certificate of its own.
struct Secure(Child);

impl Secure {
    fn start(openssl: &Path, directory: &Path) -> (Self, SocketAddr) {
        let made = Command::new(openssl)
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key", "-out", "certificate"])
            .current_dir(directory)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let mut child = Command::new(openssl)
            .args(["s_server", "-www", "-cert", "certificate", "-key", "key", "-accept", "127.0.0.1:0"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address =
            lines.find_map(|line| Some(line.unwrap().strip_prefix("ACCEPT ")?.parse().unwrap())).unwrap();
        (Self(child), address)
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn certificates_are_needed_for_https_and_for_nothing_else() {
    let Some(openssl) = require_tool("openssl") else { return };
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (_site, secure) = Secure::start(&openssl, directory.path());
    let plain_site = Site::start(|_path| plain("hello"));
    let server = Server::with(Way::Stdio, &granting(&[secure, plain_site.address]), &[]);
    let certificate = directory.path().join("certificate");
    let nothing = directory.path().join("nothing");
    let url = format!("https://{secure}/");

    // It is trusted by who is told so,
    let mut raw = server.with_variables(&[("SSL_CERT_FILE", &certificate)]);
    assert!(body(&raw.result("http/request", &get(&url))).contains("s_server -www"), "{url}");
    assert_eq!(body(&raw.result("http/request", &get(&plain_site.url("/")))), "hello");
    // by nobody else,
    let other = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (_other, _) = Secure::start(&openssl, other.path());
    let mut raw = server.with_variables(&[("SSL_CERT_FILE", &other.path().join("certificate"))]);
    let (code, message) = raw.error("http/request", &get(&url));
    assert!(code == -32603 && message.contains("certificate"), "{message}");
    // and where there are no certificates at all, http needs none.
    let mut raw = server.with_variables(&[("SSL_CERT_FILE", &nothing), ("SSL_CERT_DIR", &nothing)]);
    let (code, message) = raw.error("http/request", &get(&url));
    assert!(code == -32603 && message.contains("ca-certificates"), "{message}");
    assert_eq!(body(&raw.result("http/request", &get(&plain_site.url("/")))), "hello");
}
