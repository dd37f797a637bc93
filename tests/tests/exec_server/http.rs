//! `http/request`: what is asked, and what may be.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket};
use serde_json::{Value, json};

use super::raw::{Raw, Server, WAYS, Way};

/// A server on loopback that answers each connection by its path, and keeps what it was asked.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Site {
    /// What it was asked, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn start(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let (kept, count) = (Arc::clone(&asked), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                let mut text = String::from_utf8(head).unwrap();
                let length = text.to_ascii_lowercase();
                let length = length
                    .split("content-length: ")
                    .nth(1)
                    .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                text += std::str::from_utf8(&body).unwrap();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                kept.lock().unwrap().push(text);
                // Whoever has asked may be gone.
                stream.write_all(&answer(&path)).ok();
            }
        });
        Self { address, asked, connections }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn port(&self) -> u16 {
        self.address.port()
    }
}

pub(crate) fn plain(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Kept: yes\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) fn to(location: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .into_bytes()
}

pub(crate) fn get(url: &str) -> Value {
    json!({"method": "GET", "url": url, "requestId": "r"})
}

pub(crate) fn body(result: &Value) -> String {
    String::from_utf8(STANDARD.decode(result["bodyBase64"].as_str().unwrap()).unwrap()).unwrap()
}

fn refused(raw: &mut Raw, url: &str) -> String {
    let (code, message) = raw.error("http/request", &get(url));
    assert_eq!(code, -32600, "{url}: {message}");
    message
}

#[test]
fn loopback_is_refused_unless_it_is_granted() {
    let site = Site::start(|_path| plain("hello"));
    let port = site.port();
    let closed = Server::start(Way::Unix);
    // Names lead there as well as addresses, in whatever form.
    let urls = [
        site.url("/"),
        format!("http://localhost:{port}/"),
        format!("http://LOCALHOST.:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://0x7f000001:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://[::ffff:7f00:1]:{port}/"),
        format!("http://0.0.0.0:{port}/"),
    ];
    for config in
        ["", "[exec_server]\nnetwork_access = true\n", "[exec_server]\nmax_policy = \"danger-full-access\"\n"]
    {
        let server = Server::with(Way::Unix, config, &[]);
        let mut raw = server.ready();
        for url in &urls {
            let message = refused(&mut raw, url);
            assert!(message.contains("exec_server.http_allow"), "{url}: {message}");
        }
        for url in [
            "http://169.254.169.254/",
            "http://[fd00:ec2::254]/",
            "http://10.0.0.1/",
            "http://[64:ff9b::7f00:1]/",
        ] {
            assert!(refused(&mut raw, url).contains("exec_server.http_allow"), "{url}");
        }
    }
    assert_eq!(site.connections.load(Ordering::SeqCst), 0);
    // A public address is the network's, which is off: nothing is sent to it here.
    let message = refused(&mut closed.ready(), "http://192.0.3.1/");
    assert!(message.contains("exec_server.network_access"), "{message}");

    for (granted, urls) in [
        (format!("127.0.0.1:{port}"), vec![urls[0].as_str(), &urls[1], &urls[3], &urls[4]]),
        (format!("localhost:{port}"), vec![urls[1].as_str(), &urls[2]]),
        ("127.0.0.1".to_owned(), vec![urls[0].as_str()]),
    ] {
        let server = Server::with(Way::Unix, &format!("[exec_server]\nhttp_allow = [{granted:?}]\n"), &[]);
        let mut raw = server.ready();
        for url in urls {
            assert_eq!(body(&raw.result("http/request", &get(url))), "hello", "{granted} {url}");
        }
    }
    let other = format!("[exec_server]\nhttp_allow = [\"127.0.0.1:{}\"]\n", port ^ 1);
    refused(&mut Server::with(Way::Unix, &other, &[]).ready(), &urls[0]);
}

#[test]
fn each_redirect_is_looked_at() {
    let hidden = Site::start(|_path| plain("secret"));
    let elsewhere = hidden.url("/");
    let site = Site::start(move |path| match path {
        "/out" => to(&elsewhere),
        "/in" => to("/end"),
        "/round" => to("/round"),
        "/file" => to("file:///etc/passwd"),
        _ => plain("end"),
    });
    let config = format!("[exec_server]\nhttp_allow = [\"{}\"]\n", site.address);
    let server = Server::with(Way::Unix, &config, &[]);
    let mut raw = server.ready();
    assert_eq!(body(&raw.result("http/request", &get(&site.url("/in")))), "end");
    refused(&mut raw, &site.url("/out"));
    assert_eq!(hidden.connections.load(Ordering::SeqCst), 0);
    assert_eq!(raw.error("http/request", &get(&site.url("/round"))).0, -32603);
    assert_eq!(raw.error("http/request", &get(&site.url("/file"))).0, -32603);
    let mut stop = get(&site.url("/out"));
    stop["redirectPolicy"] = json!("stop");
    assert_eq!(raw.result("http/request", &stop)["status"], 302);

    // The same redirect where both are granted; what may be a secret stays at the first.
    let config = format!("[exec_server]\nhttp_allow = [\"{}\", \"{}\"]\n", site.address, hidden.address);
    let server = Server::with(Way::Unix, &config, &[]);
    let mut params = get(&site.url("/out"));
    params["headers"] =
        json!([{"name": "Authorization", "value": "Bearer x"}, {"name": "Accept", "value": "a/b"}]);
    assert_eq!(body(&server.ready().result("http/request", &params)), "secret");
    assert!(site.asked.lock().unwrap().last().unwrap().contains("authorization: Bearer x"));
    let asked = hidden.asked.lock().unwrap().last().unwrap().clone();
    assert!(asked.contains("accept: a/b") && !asked.contains("Bearer"), "{asked}");
}

#[test]
fn requests_are_sent_and_answers_come_whole_or_in_pieces() {
    for way in WAYS {
        let site = Site::start(|path| match path {
            "/large" => plain(&"x".repeat(3_000_000)),
            "/short" => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nabc".to_vec(),
            _ => plain("hello"),
        });
        let server = Server::with(way, &format!("[exec_server]\nhttp_allow = [\"{}\"]\n", site.address), &[]);
        let mut raw = server.ready();
        let mut params = get(&site.url("/a?b=c"));
        (params["method"], params["bodyBase64"]) = (json!("POST"), json!(STANDARD.encode("sent")));
        params["headers"] = json!([{"name": "X-Mine", "value": "1"}, {"name": "Host", "value": "other"}]);
        let result = raw.result("http/request", &params);
        assert_eq!((&result["status"], body(&result)), (&json!(200), "hello".to_owned()));
        let headers = result["headers"].as_array().unwrap();
        assert!(headers.contains(&json!({"name": "x-kept", "value": "yes"})), "{headers:?}");
        let asked = site.asked.lock().unwrap().last().unwrap().clone();
        assert!(asked.starts_with("POST /a?b=c HTTP/1.1\r\n") && asked.ends_with("\r\n\r\nsent"), "{asked}");
        assert!(asked.contains("x-mine: 1") && !asked.contains("host: other"), "{asked}");

        let streamed = |raw: &mut Raw, path: &str| {
            let mut params = get(&site.url(path));
            params["streamResponse"] = json!(true);
            let result = raw.result("http/request", &params);
            assert_eq!((&result["status"], &result["bodyBase64"]), (&json!(200), &json!("")));
            let mut bytes = Vec::new();
            for seq in 1.. {
                let delta = raw.notification();
                assert_eq!(delta["method"], "http/request/bodyDelta");
                let delta = &delta["params"];
                assert_eq!((&delta["requestId"], &delta["seq"]), (&json!("r"), &json!(seq)));
                bytes.extend(STANDARD.decode(delta["deltaBase64"].as_str().unwrap()).unwrap());
                if delta["done"] == true {
                    return (bytes, delta["error"].clone());
                }
                assert_eq!(delta["error"], Value::Null);
            }
            unreachable!()
        };
        let (bytes, error) = streamed(&mut raw, "/large");
        assert_eq!((bytes.len(), error), (3_000_000, Value::Null));
        let (bytes, error) = streamed(&mut raw, "/short");
        assert!(bytes == b"abc" && error.as_str().unwrap().contains("breaks off"), "{error}");
        assert_eq!(raw.error("http/request", &get(&site.url("/short"))).0, -32603);
    }
}

/// A port that is taken and refuses every connection.
fn deaf() -> (OwnedFd, SocketAddr) {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    let address: SockaddrIn = getsockname(socket.as_raw_fd()).unwrap();
    (socket, SocketAddr::from((address.ip(), address.port())))
}

#[test]
fn bad_requests_have_their_codes() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    // Nobody else gets the port, and nobody listens.
    let (_kept, closed) = deaf();
    let config = format!(
        "[exec_server]\nhttp_allow = [\"{}\", \"{closed}\", \"nobody.invalid\"]\n",
        silent.local_addr().unwrap()
    );
    let server = Server::with(Way::Unix, &config, &[]);
    let mut raw = server.ready();
    let with = |name: &str, value: Value| {
        let mut params = get(&format!("http://{closed}/"));
        params[name] = value;
        params
    };
    for (params, code) in [
        (with("url", json!("ftp://127.0.0.1/")), -32602),
        (with("url", json!("file:///etc/passwd")), -32602),
        (with("url", json!("nonsense")), -32602),
        (with("method", json!("A B")), -32602),
        (with("headers", json!([{"name": "a b", "value": ""}])), -32602),
        (with("headers", json!([{"name": "a", "value": "b\r\nc: d"}])), -32602),
        (with("bodyBase64", json!("?")), -32602),
        (with("requestId", Value::Null), -32602),
        (with("redirectPolicy", json!("ask")), -32602),
        // Nobody listens.
        (with("method", json!("GET")), -32603),
        // It may be asked, but is nowhere.
        (with("url", json!("http://nobody.invalid./")), -32603),
    ] {
        let (found, message) = raw.error("http/request", &params);
        assert_eq!(found, code, "{params}: {message}");
    }
    let mut slow = get(&format!("http://{}/", silent.local_addr().unwrap()));
    slow["timeoutMs"] = json!(1);
    assert_eq!(raw.error("http/request", &slow), (-32603, "no answer within 1 ms".to_owned()));
}
