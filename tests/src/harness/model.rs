//! A server that says what a scenario tells it to, in the place of a model.
//!
//! It speaks the Responses and the Chat Completions API, records every request, and can fail in all the ways that servers do.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use serde_json::{Value, json};

/// Which API a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `POST /v1/responses`.
    Responses,
    /// `POST /v1/chat/completions`.
    Chat,
}

impl Api {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Responses, Self::Chat];

    /// The word of `wire_api`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Responses => "responses",
            Self::Chat => "chat",
        }
    }
}

/// A server. Gone when it is dropped.
///
/// A scenario is a list of answers, one a request; the last one is given again and again. An answer is an object:
///
/// | key | is |
/// |---|---|
/// | `text` | what the model says |
/// | `reasoning` | what it says that it thought |
/// | `calls` | a list of `{"name", "arguments", "id"}`; arguments that are a string are sent as they are |
/// | `usage` | `[input, output]`; `[10, 5]` unless given |
/// | `status`, `headers`, `body` | no stream, but this |
/// | `cut` | the connection ends after so many bytes of the stream |
/// | `garbage` | this in the place of the stream |
/// | `pieces` | the stream goes out in pieces of so many bytes |
/// | `pause_ms` | so long between pieces |
/// | `hang` | nothing is sent any more, and the connection stays open |
#[derive(Debug)]
pub struct Model {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    api: Api,
    answers: Vec<Value>,
    requests: Mutex<Vec<Value>>,
    over: AtomicBool,
}

impl Model {
    /// Starts a server.
    ///
    /// # Panics
    ///
    /// Where this machine has no loopback.
    #[must_use]
    pub fn serve(api: Api, answers: Vec<Value>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen for a client of the model");
        let address = listener.local_addr().expect("the address of the model");
        let shared =
            Arc::new(Shared { api, answers, requests: Mutex::default(), over: AtomicBool::new(false) });
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.over.load(Ordering::SeqCst) {
                    break;
                }
                let (Ok(stream), serving) = (stream, Arc::clone(&serving)) else { continue };
                std::thread::spawn(move || serving.answer(&stream));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// What makes `codex exec` ask this server, and wait for nothing long.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let provider = format!("http://{}/v1", self.address);
        let set = [
            "model=scripted".to_owned(),
            "model_provider=scripted".to_owned(),
            format!("model_providers.scripted.base_url={provider}"),
            format!("model_providers.scripted.wire_api={}", self.shared.api.name()),
            "sandbox_workspace_write.exclude_slash_tmp=true".to_owned(),
        ];
        set.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
    }

    /// The bodies of the requests so far, with the headers under `_headers`.
    #[must_use]
    pub fn requests(&self) -> Vec<Value> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The answers to tool calls that the last request holds, in order.
    ///
    /// # Panics
    ///
    /// Where there was no request.
    #[must_use]
    pub fn outputs(&self) -> Vec<String> {
        let requests = self.requests();
        let last = requests.last().expect("a request to the model");
        let (list, kind, is, text) = match self.shared.api {
            Api::Responses => ("input", "type", "function_call_output", "output"),
            Api::Chat => ("messages", "role", "tool", "content"),
        };
        let items = last[list].as_array().into_iter().flatten();
        items
            .filter(|item| item[kind] == is)
            .map(|item| item[text].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn answer(&self, stream: &TcpStream) {
        let Some(request) = read_request(stream) else { return };
        let index = {
            let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            requests.push(request);
            requests.len() - 1
        };
        let answer = self.answers.get(index).or(self.answers.last()).cloned().unwrap_or_default();
        // A client that has gone has its reasons.
        drop(self.send(stream, &answer, index));
    }

    fn send(&self, mut stream: &TcpStream, answer: &Value, index: usize) -> std::io::Result<()> {
        if let Some(status) = answer["status"].as_u64() {
            let headers: String = answer["headers"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| format!("{name}: {}\r\n", value.as_str().unwrap_or_default()))
                .collect();
            let body = answer["body"].as_str().unwrap_or("{}");
            let length = body.len();
            return write!(
                stream,
                "HTTP/1.1 {status} No\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
            );
        }
        write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n")?;
        let mut bytes = match answer["garbage"].as_str() {
            Some(garbage) => garbage.as_bytes().to_vec(),
            None => match self.api {
                Api::Responses => responses(answer, index),
                Api::Chat => chat(answer, index),
            }
            .into_bytes(),
        };
        if let Some(cut) = answer["cut"].as_u64() {
            bytes.truncate(usize::try_from(cut).unwrap_or(usize::MAX));
        }
        let pieces =
            answer["pieces"].as_u64().and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX);
        for piece in bytes.chunks(pieces) {
            stream.write_all(piece)?;
            stream.flush()?;
            if let Some(pause) = answer["pause_ms"].as_u64() {
                sleep(Duration::from_millis(pause));
            }
        }
        if answer["hang"].as_bool() == Some(true) {
            // Until the client has had enough.
            stream.read_exact(&mut [0])?;
        }
        Ok(())
    }
}

fn read_request(stream: &TcpStream) -> Option<Value> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = serde_json::Map::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().into());
    }
    let length: usize = headers.get("content-length")?.as_str()?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut body: Value = serde_json::from_slice(&body).ok()?;
    body["_path"] = path.into();
    body["_headers"] = headers.into();
    Some(body)
}

/// A call's name, arguments and id.
fn calls(answer: &Value, index: usize) -> Vec<(String, String, String)> {
    let calls = answer["calls"].as_array().into_iter().flatten().enumerate();
    calls
        .map(|(place, call)| {
            let arguments = match &call["arguments"] {
                Value::String(raw) => raw.clone(),
                other => other.to_string(),
            };
            let id = call["id"].as_str().map_or_else(|| format!("call-{index}-{place}"), str::to_owned);
            (call["name"].as_str().unwrap_or_default().to_owned(), arguments, id)
        })
        .collect()
}

fn usage(answer: &Value) -> (u64, u64) {
    let number = |place: usize, default| answer["usage"][place].as_u64().unwrap_or(default);
    (number(0, 10), number(1, 5))
}

fn responses(answer: &Value, index: usize) -> String {
    let mut items = Vec::new();
    if let Some(text) = answer["reasoning"].as_str() {
        items.push(
            json!({ "type": "reasoning", "id": "rs", "summary": [{ "type": "summary_text", "text": text }] }),
        );
    }
    if let Some(text) = answer["text"].as_str() {
        let content = json!([{ "type": "output_text", "text": text }]);
        items.push(json!({ "type": "message", "role": "assistant", "content": content }));
    }
    for (name, arguments, id) in calls(answer, index) {
        items.push(json!({ "type": "function_call", "call_id": id, "name": name, "arguments": arguments }));
    }
    let mut events = vec![json!({ "type": "response.created", "response": { "id": "resp" } })];
    events.extend(items.into_iter().map(|item| json!({ "type": "response.output_item.done", "item": item })));
    let (input, output) = usage(answer);
    let usage = json!({ "input_tokens": input, "output_tokens": output, "total_tokens": input + output });
    events.push(
        json!({ "type": "response.completed", "response": { "id": "resp", "output": [], "usage": usage } }),
    );
    let lines = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()));
    lines.collect()
}

fn chat(answer: &Value, index: usize) -> String {
    let delta = |delta: Value| json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] });
    let mut events = vec![delta(json!({ "role": "assistant", "content": "" }))];
    if let Some(text) = answer["reasoning"].as_str() {
        events.push(delta(json!({ "reasoning_content": text })));
    }
    for word in answer["text"].as_str().unwrap_or_default().split_inclusive(' ') {
        events.push(delta(json!({ "content": word })));
    }
    let calls = calls(answer, index);
    for (place, (name, _, id)) in calls.iter().enumerate() {
        let function = json!({ "name": name, "arguments": "" });
        events.push(delta(
            json!({ "tool_calls": [{ "index": place, "id": id, "type": "function", "function": function }] }),
        ));
    }
    // In pieces of one character, those of several calls mixed.
    let longest = calls.iter().map(|(_, arguments, _)| arguments.chars().count()).max().unwrap_or_default();
    for position in 0..longest {
        for (place, (_, arguments, _)) in calls.iter().enumerate() {
            let Some(character) = arguments.chars().nth(position) else { continue };
            let function = json!({ "arguments": character.to_string() });
            events.push(delta(json!({ "tool_calls": [{ "index": place, "function": function }] })));
        }
    }
    let finish = if calls.is_empty() { "stop" } else { "tool_calls" };
    events.push(json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": finish }] }));
    let (input, output) = usage(answer);
    events.push(json!({ "choices": [], "usage": { "prompt_tokens": input, "completion_tokens": output } }));
    events.iter().map(|event| format!("data: {event}\n\n")).collect::<String>() + "data: [DONE]\n\n"
}
