use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::{SinkExt as _, StreamExt as _, poll};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{advance, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::super::endpoint::Listening;
use super::super::{Endpoint, ExecServerClient};
use super::*;
use crate::transport::{Pipe, web_socket};

/// How long anything may take before a test fails.
const AT_MOST: Duration = Duration::from_secs(20);

/// A connection whose other end is ours, of a client that can make no other one.
async fn link() -> (Link, WebSocketStream<DuplexStream>, mpsc::UnboundedSender<Ask>) {
    link_of(1 << 20).await
}

/// One that takes so many bytes that nobody reads.
async fn link_of(bytes: usize) -> (Link, WebSocketStream<DuplexStream>, mpsc::UnboundedSender<Ask>) {
    let (ours, its) = duplex(bytes);
    let heard = Arc::new(AtomicBool::new(true));
    let its: Box<dyn Pipe> = Box::new(Listening::new(its, &heard));
    let (reader, writer) = web_socket(WebSocketStream::from_raw_socket(its, Role::Client, None).await);
    let connection = Connection::new(reader, writer, None, heard);
    let (asks, asked) = mpsc::unbounded_channel();
    let endpoint = Endpoint::Command { command: Vec::new() };
    let link = Link::new(endpoint, "test".to_owned(), "s".to_owned(), connection, asked);
    (link, WebSocketStream::from_raw_socket(ours, Role::Server, None).await, asks)
}

#[tokio::test(start_paused = true)]
async fn a_sign_that_has_come_counts_and_none_is_the_end() {
    let (link, mut server, _asks) = link().await;
    let mut run = Box::pin(link.run());
    for _ in 0..64 {
        assert!(poll!(&mut run).is_pending());
        assert!(matches!(server.next().await, Some(Ok(Message::Ping(_)))));
        // Its answer is there as soon as it is time to ask again.
        server.flush().await.unwrap();
        advance(SIGN).await;
    }
    assert!(poll!(&mut run).is_pending());
    advance(SIGN - Duration::from_millis(1)).await;
    assert!(poll!(&mut run).is_pending());
    advance(Duration::from_millis(1)).await;
    assert!(poll!(&mut run).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_message_is_a_sign_before_its_end() {
    let (link, mut server, _asks) = link().await;
    let mut run = Box::pin(link.run());
    let stream = server.get_mut();
    // A text of so many bytes, of which one comes at a time.
    stream.write_all(&[0x81, 64]).await.unwrap();
    for _ in 0..32 {
        assert!(poll!(&mut run).is_pending());
        stream.write_all(b" ").await.unwrap();
        advance(SIGN).await;
    }
    assert!(poll!(&mut run).is_pending());
    advance(SIGN).await;
    assert!(poll!(&mut run).is_ready());
}

/// A request with so many bytes, and where its answer comes.
fn asked(bytes: usize) -> (Ask, oneshot::Receiver<Result<Box<RawValue>, ClientError>>) {
    let (reply, answer) = oneshot::channel();
    let params = serde_json::value::to_raw_value(&"x".repeat(bytes)).unwrap();
    (Ask::Call(Call { method: "process/read", params, reply, watched: None }), answer)
}

#[tokio::test(start_paused = true)]
async fn a_network_that_takes_nothing_is_seen_while_something_is_written() {
    let (link, _server, asks) = link_of(1024).await;
    let mut run = Box::pin(link.run());
    let (ask, answer) = asked(1 << 20);
    asks.send(ask).unwrap();
    // The first sign was the handshake's.
    assert!(poll!(&mut run).is_pending());
    advance(SIGN - Duration::from_millis(1)).await;
    assert!(poll!(&mut run).is_pending());
    advance(Duration::from_millis(1)).await;
    timeout(AT_MOST, run).await.unwrap();
    assert!(answer.await.is_err(), "whoever waits learns that nobody answers");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_nothing_for_long_but_gives_signs_has_it_in_the_end() {
    let (link, server, asks) = link_of(1024).await;
    let running = tokio::spawn(link.run());
    let (ask, mut answer) = asked(1 << 20);
    asks.send(ask).unwrap();
    // The two ends of its stream by themselves: it says something, and takes nothing.
    let (mut takes, mut says) = tokio::io::split(server.into_inner());
    for _ in 0..8 {
        advance(SIGN / 2).await;
        // A ping without content.
        says.write_all(&[0x89, 0]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(!running.is_finished() && answer.try_recv().is_err());
    // What was asked for is all there, and what it says meanwhile is heard.
    let mut seen = vec![0; 1 << 20];
    timeout(AT_MOST, tokio::io::AsyncReadExt::read_exact(&mut takes, &mut seen)).await.unwrap().unwrap();
    let text = r#"{"id":2,"result":"done"}"#;
    says.write_all(&[0x81, u8::try_from(text.len()).unwrap()]).await.unwrap();
    says.write_all(text.as_bytes()).await.unwrap();
    let taking = tokio::spawn(async move { tokio::io::copy(&mut takes, &mut tokio::io::sink()).await });
    assert_eq!(timeout(AT_MOST, answer).await.unwrap().unwrap().unwrap().get(), "\"done\"");
    taking.abort();
    running.abort();
}

/// A server that does what a test says.
async fn listen() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    (listener, Endpoint::WebSocket { host, token: None })
}

async fn accept(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let (stream, _) = timeout(AT_MOST, listener.accept()).await.unwrap().unwrap();
    tokio_tungstenite::accept_async(stream).await.unwrap()
}

/// The next message, whatever comes in between.
async fn hear(server: &mut WebSocketStream<TcpStream>) -> Value {
    loop {
        match timeout(AT_MOST, server.next()).await.unwrap() {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn answer(server: &mut WebSocketStream<TcpStream>, request: &Value, result: Value) {
    let answer = json!({"id": request["id"], "result": result}).to_string();
    server.send(Message::text(answer)).await.unwrap();
}

#[tokio::test]
async fn a_ping_before_the_answer_is_no_end() {
    let (listener, endpoint) = listen().await;
    let serving = async {
        let mut server = accept(&listener).await;
        server.send(Message::Ping("a".into())).await.unwrap();
        server.send(Message::Pong("b".into())).await.unwrap();
        let hello = hear(&mut server).await;
        answer(&mut server, &hello, json!({"sessionId": "s"})).await;
        server
    };
    let (client, _server) = tokio::join!(ExecServerClient::connect(endpoint, "test"), serving);
    assert_eq!(client.unwrap().session(), "s");
    // What is no answer is the end.
    let (listener, endpoint) = listen().await;
    let serving = async { accept(&listener).await.close(None).await };
    let (client, _ended) = tokio::join!(ExecServerClient::connect(endpoint, "test"), serving);
    assert!(matches!(client, Err(ClientError::Lost | ClientError::Unreachable(_))), "{client:?}");
}

#[tokio::test]
async fn a_connection_that_is_given_up_is_let_go_of_before_the_next() {
    let (listener, endpoint) = listen().await;
    let serving = async {
        let mut first = accept(&listener).await;
        let hello = hear(&mut first).await;
        answer(&mut first, &hello, json!({"sessionId": "s"})).await;
        assert_eq!(hear(&mut first).await["method"], "initialized");
        // What is none of a WebSocket's frames.
        first.get_mut().write_all(&[0xc1, 0]).await.unwrap();
        let mut second = accept(&listener).await;
        let hello = hear(&mut second).await;
        assert_eq!(hello["params"]["resumeSessionId"], "s");
        // It is answered once nobody holds the other one.
        let ended = async { while let Some(Ok(_)) = first.next().await {} };
        timeout(AT_MOST, ended).await.unwrap();
        answer(&mut second, &hello, json!({"sessionId": "s"})).await;
        assert_eq!(hear(&mut second).await["method"], "initialized");
        let asked = hear(&mut second).await;
        answer(&mut second, &asked, json!("done")).await;
        second
    };
    let using = async {
        let client = ExecServerClient::connect(endpoint, "test").await.unwrap();
        // A method that may be asked for twice, since nobody knows which connection it finds.
        let done: String = client.call("process/read", &json!({})).await.unwrap();
        assert_eq!(done, "done");
    };
    tokio::join!(using, serving);
}
