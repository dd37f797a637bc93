use std::net::TcpListener;

use codex_core::exec::{Mediator as _, Refusals};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::HostProxy;
use crate::upstream::Upstream;

/// What somebody says until the head of a request, or of a response, is whole.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn where_this_machine_has_a_proxy_it_is_gone_through() {
    let outside = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://me:secret@{}", outside.local_addr().unwrap());
    let matcher = Matcher::builder().all(url).no("direct.example").build();
    let proxy = HostProxy { upstream: Upstream::of(matcher), ..HostProxy::default() };
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = inside.local_addr().unwrap();
    let hosts: Vec<_> = ["granted.example", "*.above.example:443"].map(|host| host.parse().unwrap()).into();
    let refusals = Refusals::default();
    let serving = tokio::spawn(proxy.mediate(inside, hosts.into(), refusals));
    let ask = |request: &'static str| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    // A tunnel: no name is looked up here.
    for name in ["granted.example", "a.above.example"] {
        let request = if name.starts_with('g') {
            "CONNECT granted.example:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic x\r\n\r\n"
        } else {
            "CONNECT A.above.example.:443 HTTP/1.1\r\n\r\n"
        };
        let mut command = ask(request).await;
        let (mut there, _) = outside.accept().await.unwrap();
        let asked = head(&mut there).await;
        assert!(asked.starts_with("CONNECT ") && asked.to_lowercase().contains(name), "{asked}");
        assert_eq!(asked.matches("Basic").count(), 1, "{asked}");
        assert!(asked.contains("Basic bWU6c2VjcmV0"), "{asked}");
        there.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await.unwrap();
        assert!(head(&mut command).await.starts_with("HTTP/1.1 200"));
        let mut said = [0; 5];
        command.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"hello");
        command.write_all(b"and back").await.unwrap();
        let mut said = [0; 8];
        there.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"and back");
    }
    // A request: with the whole URL, for that is how a proxy is asked.
    let mut command = ask("GET http://granted.example/a?b HTTP/1.1\r\nHost: other.example\r\n\r\n").await;
    let (mut there, _) = outside.accept().await.unwrap();
    let asked = head(&mut there).await;
    assert!(asked.starts_with("GET http://granted.example/a?b HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("Basic bWU6c2VjcmV0") && !asked.contains("other.example"), "{asked}");
    there.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(head(&mut command).await.starts_with("HTTP/1.1 204"));
    // What it refuses is no answer of the host's.
    let mut command = ask("CONNECT granted.example:443 HTTP/1.1\r\n\r\n").await;
    let (mut there, _) = outside.accept().await.unwrap();
    head(&mut there).await;
    there
        .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    assert!(head(&mut command).await.starts_with("HTTP/1.1 502"));
    // What is not granted does not come so far.
    for request in [
        "CONNECT other.example:443 HTTP/1.1\r\n\r\n",
        "CONNECT a.above.example:80 HTTP/1.1\r\n\r\n",
        "CONNECT above.example:443 HTTP/1.1\r\n\r\n",
        "GET http://metadata.google.internal/ HTTP/1.1\r\n\r\n",
        "GET http://127.0.0.1:1/ HTTP/1.1\r\n\r\n",
    ] {
        assert!(head(&mut ask(request).await).await.starts_with("HTTP/1.1 403"), "{request}");
    }
    serving.abort();
}
