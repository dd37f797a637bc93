//! A server of one test, and connections that send and take raw messages.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

#[path = "raw/server.rs"]
mod server;

pub(crate) use server::{Server, WAYS, Way, wrapped};

/// How long anything may take before a test fails. Nothing waits for it otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

enum Outgoing {
    Line(Box<dyn std::io::Write + Send>),
    WebSocket(tokio::sync::mpsc::UnboundedSender<Message>),
}

/// A connection.
pub(crate) struct Raw {
    /// Nothing once it was cut.
    out: Option<Outgoing>,
    received: Receiver<Value>,
    pub(crate) notifications: VecDeque<Value>,
    /// Answers that nobody has asked for yet.
    answers: Vec<Value>,
    next: i64,
    child: Option<Child>,
    /// What the thread that reads has as well.
    cut: Option<UnixStream>,
}

impl Raw {
    fn lines(
        source: impl std::io::Read + Send + 'static,
        sink: impl std::io::Write + Send + 'static,
        child: Option<Child>,
    ) -> Self {
        let (sender, received) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines() {
                let Ok(line) = line else { return };
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self {
            out: Some(Outgoing::Line(Box::new(sink))),
            received,
            notifications: VecDeque::new(),
            answers: Vec::new(),
            next: 1,
            child,
            cut: None,
        }
    }

    fn web_socket(address: SocketAddr) -> Self {
        let (sender, received) = channel();
        let (out, outgoing) = tokio::sync::mpsc::unbounded_channel();
        let (connected, is_connected) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(converse(address, sender, outgoing, connected));
        });
        is_connected.recv_timeout(PATIENCE).unwrap();
        Self {
            out: Some(Outgoing::WebSocket(out)),
            received,
            notifications: VecDeque::new(),
            answers: Vec::new(),
            next: 1,
            child: None,
            cut: None,
        }
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        match self.out.as_mut().unwrap() {
            Outgoing::Line(sink) => {
                sink.write_all(&[bytes, b"\n"].concat()).and_then(|()| sink.flush()).unwrap()
            }
            Outgoing::WebSocket(sender) => {
                let message = match std::str::from_utf8(bytes) {
                    Ok(text) => Message::text(text),
                    Err(_binary) => Message::binary(bytes.to_vec()),
                };
                sender.send(message).unwrap();
            }
        }
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.send_bytes(message.to_string().as_bytes());
    }

    /// Sends a request, and returns its id.
    pub(crate) fn request(&mut self, method: &str, params: &Value) -> i64 {
        let id = self.next;
        self.next += 1;
        self.send(&json!({"id": id, "method": method, "params": params}));
        id
    }

    /// The next message, whatever it is. Nothing at the end.
    pub(crate) fn next(&mut self) -> Option<Value> {
        match self.received.recv_timeout(PATIENCE) {
            Ok(message) => Some(message),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("nothing has come"),
        }
    }

    /// The answer of this id; what comes before is kept.
    pub(crate) fn answer(&mut self, id: i64) -> Value {
        let is_it = |message: &Value| message.get("id") == Some(&json!(id));
        if let Some(index) = self.answers.iter().position(is_it) {
            return self.answers.swap_remove(index);
        }
        loop {
            let message = self.next().expect("an answer before the end");
            match message.get("id") {
                Some(_) if is_it(&message) => return message,
                Some(_) => self.answers.push(message),
                None => self.notifications.push_back(message),
            }
        }
    }

    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Value {
        let id = self.request(method, params);
        self.answer(id)
    }

    /// The result of a call that succeeds.
    pub(crate) fn result(&mut self, method: &str, params: &Value) -> Value {
        let mut answer = self.call(method, params);
        assert!(answer.get("error").is_none(), "{method} {params}: {answer}");
        answer["result"].take()
    }

    /// The code and the message of a call that does not.
    pub(crate) fn error(&mut self, method: &str, params: &Value) -> (i64, String) {
        let answer = self.call(method, params);
        let error = answer.get("error").unwrap_or_else(|| panic!("{method} {params}: {answer}"));
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }

    pub(crate) fn handshake(&mut self, params: &Value) -> Value {
        let result = self.result("initialize", params);
        self.send(&json!({"method": "initialized", "params": {}}));
        result
    }

    /// A handshake with a session that may still have its old connection.
    pub(crate) fn resume(&mut self, session: &Value) {
        let params = json!({"clientName": "test", "resumeSessionId": session});
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.call("initialize", &params);
            match answer["error"]["code"].as_i64() {
                None => return self.send(&json!({"method": "initialized", "params": {}})),
                Some(-32010) if std::time::Instant::now() < deadline => std::thread::yield_now(),
                Some(_) => panic!("{answer}"),
            }
        }
    }

    pub(crate) fn notification(&mut self) -> Value {
        loop {
            if let Some(notification) = self.notifications.pop_front() {
                return notification;
            }
            let message = self.next().expect("a notification before the end");
            let kept = if message.get("id").is_some() { &mut self.answers } else { return message };
            kept.push(message);
        }
    }

    /// What a process says from here to its end.
    pub(crate) fn hear(&mut self, process: &str) -> Heard {
        let mut heard = Heard::default();
        loop {
            let message = self.notification();
            let params = &message["params"];
            if params["processId"] != process {
                continue;
            }
            heard.methods.push(message["method"].as_str().unwrap().to_owned());
            match message["method"].as_str().unwrap() {
                "process/output" => {
                    heard.seqs.push(params["seq"].as_u64().unwrap());
                    let bytes = STANDARD.decode(params["chunk"].as_str().unwrap()).unwrap();
                    assert!(bytes.len() <= 8192);
                    match params["stream"].as_str().unwrap() {
                        "stderr" => heard.stderr.extend(bytes),
                        _ => heard.stdout.extend(bytes),
                    }
                }
                "process/exited" => {
                    heard.seqs.push(params["seq"].as_u64().unwrap());
                    heard.exit_code = params["exitCode"].as_i64();
                    assert_eq!(params["sandboxDenied"], false);
                }
                "process/gap" => {
                    let (from, to) = (params["fromSeq"].as_u64().unwrap(), params["toSeq"].as_u64().unwrap());
                    heard.seqs.extend(from..=to);
                    heard.gaps.push(params.clone());
                }
                "process/closed" => {
                    heard.seqs.push(params["seq"].as_u64().unwrap());
                    heard.closed = params.clone();
                    return heard;
                }
                other => panic!("{other}"),
            }
        }
    }

    /// Starts a process and hears it to its end.
    pub(crate) fn run(&mut self, params: &Value) -> Heard {
        self.result("process/start", params);
        self.hear(params["processId"].as_str().unwrap())
    }
}

impl Drop for Raw {
    /// Cuts the connection without a word.
    fn drop(&mut self) {
        self.out = None;
        if let Some(stream) = &self.cut {
            // The server may have closed it.
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
        if let Some(mut child) = self.child.take() {
            assert_eq!(child.wait().unwrap().code(), Some(0));
        }
    }
}

async fn converse(
    address: SocketAddr,
    sender: Sender<Value>,
    mut outgoing: tokio::sync::mpsc::UnboundedReceiver<Message>,
    connected: Sender<()>,
) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("ws://{address}/").into_client_request().unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    connected.send(()).unwrap();
    loop {
        tokio::select! {
            message = outgoing.recv() => match message {
                Some(message) => socket.send(message).await.unwrap(),
                // Without a closing handshake, as clients go.
                None => return,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    if sender.send(serde_json::from_str(&text).unwrap()).is_err() {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}

/// What was heard of a process.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) methods: Vec<String>,
    pub(crate) seqs: Vec<u64>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) exit_code: Option<i64>,
    pub(crate) gaps: Vec<Value>,
    pub(crate) closed: Value,
}

impl Heard {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Whether every number came once, in order, from 1.
    pub(crate) fn is_whole(&self) -> bool {
        self.seqs.iter().copied().eq(1..=self.seqs.len() as u64)
    }
}

/// Runs a test over every transport.
pub(crate) fn over_all(test: impl Fn(&Server)) {
    for way in WAYS {
        test(&Server::start(way));
    }
}
