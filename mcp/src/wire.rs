//! A connection of whole messages, in bounds.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ErrorCode, ErrorData, JsonRpcMessage, RequestId,
    ServerJsonRpcMessage,
};
use rmcp::service::{RoleServer, serve_server_with_ct};
use rmcp::transport::Transport;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::adapter::Adapter;
use crate::face::Face;

/// What came.
#[derive(Debug)]
pub enum Incoming {
    /// A message, whose size and structure are in bounds.
    Message(Vec<u8>),
    /// Something that is none, and why.
    Malformed(String),
}

/// The connection has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection has gone")]
pub struct Closed;

/// How much a session may have under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Requests.
    pub requests: usize,
    /// Bytes of requests, to the next KiB.
    pub bytes: usize,
}

/// A request's place among those under way. Given back when its handler is done and its answer is on its way.
type Place = Arc<(OwnedSemaphorePermit, OwnedSemaphorePermit)>;

/// What bytes are counted in.
const KIB: usize = 1024;

/// The two ends of a connection.
#[derive(Debug)]
pub struct Wire {
    incoming: mpsc::Receiver<Incoming>,
    out: mpsc::Sender<String>,
    /// How many requests may be under way, and how many KiB of them.
    room: (Arc<Semaphore>, Arc<Semaphore>),
    under_way: Arc<Mutex<HashMap<RequestId, Place>>>,
    /// What is answered without anybody being asked.
    replies: VecDeque<String>,
    /// Whether a request has come: what comes before the first one means nothing.
    begun: bool,
    ended: CancellationToken,
}

/// Serves a connection to its end: until `incoming` ends, nobody takes `out` any more, or it is told to stop.
pub async fn serve(
    face: Arc<dyn Face>,
    incoming: mpsc::Receiver<Incoming>,
    out: mpsc::Sender<String>,
    bounds: Bounds,
    stop: CancellationToken,
) {
    let ended = stop.child_token();
    let wire = Wire {
        incoming,
        out,
        room: (
            Arc::new(Semaphore::new(bounds.requests.max(1))),
            Arc::new(Semaphore::new(bounds.bytes.div_ceil(KIB).max(1))),
        ),
        under_way: Arc::default(),
        replies: VecDeque::new(),
        begun: false,
        ended: ended.clone(),
    };
    let adapter = Adapter { face, ended: ended.clone() };
    match serve_server_with_ct(adapter, wire, stop).await {
        Ok(running) => {
            if let Err(error) = running.waiting().await {
                tracing::error!("an MCP session has failed: {error}");
            }
        }
        Err(error) => tracing::debug!("no MCP session came to be: {error}"),
    }
    // Whatever has ended it.
    ended.cancel();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under this lock can leave half of it done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// A message that the crate shall see, with its place.
    fn take(&mut self, incoming: Incoming) -> Option<ClientJsonRpcMessage> {
        let bytes = match incoming {
            Incoming::Message(bytes) => bytes,
            Incoming::Malformed(why) => {
                self.refuse(ErrorCode::INVALID_REQUEST, why, None);
                return None;
            }
        };
        let mut message: ClientJsonRpcMessage = match serde_json::from_slice(&bytes) {
            Ok(message) => message,
            Err(error) => {
                match serde_json::from_slice::<Value>(&bytes) {
                    // Answers and notifications are never answered.
                    Ok(Value::Object(map)) if map.contains_key("id") || !map.contains_key("method") => {
                        let id = map.get("id").and_then(|id| serde_json::from_value(id.clone()).ok());
                        let why = "this is no JSON-RPC request, notification or answer".to_owned();
                        self.refuse(ErrorCode::INVALID_REQUEST, why, id);
                    }
                    Ok(Value::Object(_)) => tracing::debug!("a notification that means nothing: {error}"),
                    Ok(_) => {
                        self.refuse(ErrorCode::INVALID_REQUEST, "a message is an object".to_owned(), None)
                    }
                    Err(error) => self.refuse(ErrorCode::PARSE_ERROR, error.to_string(), None),
                }
                return None;
            }
        };
        match &message {
            JsonRpcMessage::Request(request) => {
                let id = request.id.clone();
                let mut under_way = lock(&self.under_way);
                if under_way.contains_key(&id) {
                    drop(under_way);
                    let why = "a request of this id is under way".to_owned();
                    self.refuse(ErrorCode::INVALID_REQUEST, why, Some(id));
                    return None;
                }
                let size = u32::try_from(bytes.len().div_ceil(KIB)).unwrap_or(u32::MAX);
                let (requests, kibibytes) = (Arc::clone(&self.room.0), Arc::clone(&self.room.1));
                let place = requests
                    .try_acquire_owned()
                    .and_then(|request| Ok(Arc::new((request, kibibytes.try_acquire_many_owned(size)?))));
                let Ok(place) = place else {
                    drop(under_way);
                    let why = "as many requests are under way as this server allows".to_owned();
                    self.refuse(ErrorCode::INTERNAL_ERROR, why, Some(id));
                    return None;
                };
                under_way.insert(id, Arc::clone(&place));
                drop(under_way);
                // Held by the handler as well: one that was cancelled is not done yet.
                message.insert_extension(place);
                self.begun = true;
            }
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) = &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    // It gets no answer any more.
                    lock(&self.under_way).remove(id);
                }
                if !self.begun {
                    return None;
                }
            }
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) if !self.begun => return None,
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
        }
        Some(message)
    }

    fn refuse(&mut self, code: ErrorCode, why: String, id: Option<RequestId>) {
        let reply = ServerJsonRpcMessage::error(ErrorData::new(code, why, None), id);
        match serde_json::to_string(&reply) {
            Ok(bytes) => self.replies.push_back(bytes),
            Err(error) => tracing::error!("an answer has no form in JSON: {error}"),
        }
    }
}

impl Transport<RoleServer> for Wire {
    type Error = Closed;

    fn send(
        &mut self,
        item: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Closed>> + Send + 'static {
        let (out, under_way) = (self.out.clone(), Arc::clone(&self.under_way));
        async move {
            let id = match &item {
                JsonRpcMessage::Response(response) => Some(response.id.clone()),
                JsonRpcMessage::Error(error) => error.id.clone(),
                JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
            };
            let bytes = serde_json::to_string(&item).map_err(|error| {
                tracing::error!("a message has no form in JSON: {error}");
                Closed
            });
            let sent = match bytes {
                Ok(bytes) => out.send(bytes).await.map_err(|_gone| Closed),
                Err(error) => Err(error),
            };
            if let Some(id) = id {
                lock(&under_way).remove(&id);
            }
            sent
        }
    }

    /// May be dropped halfway: what was taken is kept.
    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            while !self.replies.is_empty() {
                let Ok(room) = self.out.reserve().await else {
                    self.ended.cancel();
                    return None;
                };
                if let Some(reply) = self.replies.pop_front() {
                    room.send(reply);
                }
            }
            let Some(incoming) = self.incoming.recv().await else {
                // What still runs is nobody's any more.
                self.ended.cancel();
                return None;
            };
            if let Some(message) = self.take(incoming) {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), Closed> {
        self.incoming.close();
        Ok(())
    }
}
