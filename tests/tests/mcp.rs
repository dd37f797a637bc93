//! `codex exec-server` as its MCP clients find it: raw messages first, then the clients that people use.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test reports by failing")]

#[path = "mcp/raw.rs"]
mod raw;

#[path = "mcp/approvals.rs"]
mod approvals;
#[path = "mcp/bounds.rs"]
mod bounds;
#[path = "mcp/clients.rs"]
mod clients;
#[path = "mcp/ends.rs"]
mod ends;
#[path = "mcp/http.rs"]
mod http;
#[path = "mcp/resume.rs"]
mod resume;
#[path = "mcp/tools.rs"]
mod tools;
