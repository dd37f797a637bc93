//! Bounds, each with what happens at it.

use std::num::NonZeroUsize;
use std::time::Duration;

use codex_mcp::EventBounds;

/// The bounds of a server. `docs/exec-server.md` has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// The longest message that is taken, in bytes. A longer line is answered as malformed; a longer WebSocket message
    /// ends the connection with code 1009, since nobody knows where the next one begins.
    pub message_bytes: usize,
    /// How many bytes wait for a connection to take them. Who has more to send waits.
    pub outgoing_bytes: usize,
    /// How many bytes of requests a connection may have under way. At the bound, its next message waits.
    pub in_flight_bytes: usize,
    /// The longest message over MCP, in bytes. A longer one is answered as malformed.
    pub mcp_message_bytes: usize,
    /// How many requests an MCP session over standard streams may have under way, where
    /// [`concurrent_requests`](Self::concurrent_requests) is not less. Beyond it, a request is refused.
    pub mcp_requests: usize,
    /// How many bytes of requests an MCP session may have under way. Beyond it, a request is refused.
    pub mcp_in_flight_bytes: usize,
    /// How many requests a connection may have under way. At the bound, its next message waits.
    pub concurrent_requests: usize,
    /// How many connections there may be. At the bound, the next one is refused.
    pub connections: usize,
    /// How many sessions there may be, detached ones included. At the bound, `initialize` is refused.
    pub sessions: usize,
    /// How many processes may run. At the bound, `process/start` is refused.
    pub processes: usize,
    /// How many processes are set up at the same time. The next one waits for its turn, sessions one after
    /// the other; a set-up that hangs gives its turn up. As many as there are processors: more of them only take these from one another, and from small requests.
    pub starts: usize,
    /// How many processes a session keeps that have ended. The oldest goes first.
    pub ended_kept: usize,
    /// How long a process is kept after its end.
    pub ended_for: Duration,
    /// How long a session is kept without a connection. Then its processes are ended.
    pub session_for: Duration,
    /// How long an MCP session over HTTP is kept without a message, in addition to the hour that its longest call may take.
    pub mcp_session_for: Duration,
    /// How much an MCP session over HTTP keeps of what its client was told, or could not be told. Answers that go are told as lost.
    pub mcp_events: EventBounds,
    /// How long the peer of a connection may take for a sign that it is there, where somebody wants to resume the session. Then the
    /// connection is given up.
    pub sign: Duration,
    /// The longest time that a command may be given to end after it was asked to. A request for more is refused.
    pub grace: Duration,
    /// How many bytes of each process's output are kept. The oldest go first, and are told as a gap.
    pub retained_bytes: usize,
    /// How many processes may have all of their output in a file, those included that have ended and are kept. At the bound,
    /// `process/start` with `spill` is refused.
    pub spills: usize,
    /// How many bytes such a file has at most. What comes then is not in it, and it says so.
    pub spill_bytes: u64,
    /// For how long, in the whole life of a process, its output waits for slow readers before they miss some of it.
    pub stall: Duration,
    /// How many bytes wait for a process to read them. Beyond it, `process/write` is answered when they are written; and where
    /// [`in_flight_bytes`](Self::in_flight_bytes) wait on top, from connections that were lost, it is refused.
    pub input_bytes: usize,
    /// The longest time that `process/read` waits.
    pub longest_wait: Duration,
    /// The largest file that is read or written as a whole, and the longest list of names, in bytes. What is larger is an error.
    pub file_bytes: usize,
    /// How many bytes of answers about files a connection may have under way, as base64, and an eighth of it in answers of 1 MiB at most.
    /// At the bound, the next one waits.
    pub file_answers: usize,
    /// How many requests for files a connection may have at work. At the bound, the next one waits.
    pub file_requests: usize,
    /// How many workers for files there may be. At the bound, a request waits, and is refused after 10 s. Open files have three quarters
    /// of them, and a connection's as many as it leaves; beyond that `fs/open` is refused.
    pub file_workers: usize,
    /// How many of them wait for the next request. The oldest ends first.
    pub file_workers_idle: usize,
    /// How long one waits.
    pub file_worker_idle_for: Duration,
    /// How old one may be and still wait.
    pub file_worker_for: Duration,
    /// How long one request for a file may take. Then its worker is killed, and the request answered with an error.
    pub file_deadline: Duration,
    /// How many files a connection may have open. At the bound, `fs/open` is refused.
    pub file_handles: usize,
    /// How many of them to be written.
    pub file_writers: usize,
    /// How long an open file is kept that nobody uses. Then it is closed, and its id unknown.
    pub file_idle: Duration,
    /// How many HTTP requests a connection may have under way, streamed ones included. At the bound, the next one is refused.
    pub http_requests: usize,
    /// How many bytes of bodies that come whole a connection may have under way, as base64, and an eighth of it in those of 1 MiB at most.
    /// At the bound, the next one waits, as long as its own time allows.
    pub http_answers: usize,
    /// How long pending answers may take when a connection or the server ends.
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            message_bytes: 64 << 20,
            outgoing_bytes: 4 << 20,
            in_flight_bytes: 128 << 20,
            mcp_message_bytes: 8 << 20,
            mcp_requests: 128,
            mcp_in_flight_bytes: 32 << 20,
            concurrent_requests: 1024,
            connections: 256,
            sessions: 1024,
            processes: 4096,
            starts: std::thread::available_parallelism().map_or(2, NonZeroUsize::get).max(2),
            ended_kept: 256,
            ended_for: Duration::from_secs(80),
            session_for: Duration::from_secs(80),
            mcp_session_for: Duration::from_secs(900),
            mcp_events: EventBounds {
                session_bytes: 4 << 20,
                bytes: 64 << 20,
                ended: 256,
                kept_for: Duration::from_secs(300),
            },
            sign: Duration::from_secs(5),
            grace: Duration::from_secs(60),
            retained_bytes: 1 << 20,
            spills: 32,
            spill_bytes: 128 << 20,
            stall: Duration::from_secs(10),
            input_bytes: 8 << 20,
            longest_wait: Duration::from_secs(600),
            file_bytes: 47 << 20,
            file_answers: 128 << 20,
            file_requests: 8,
            file_workers: 64,
            file_workers_idle: 4,
            file_worker_idle_for: Duration::from_secs(10),
            file_worker_for: Duration::from_secs(60),
            file_deadline: Duration::from_secs(60),
            file_handles: 128,
            file_writers: 16,
            file_idle: Duration::from_secs(600),
            http_requests: 64,
            http_answers: 128 << 20,
            drain: Duration::from_secs(2),
        }
    }
}
