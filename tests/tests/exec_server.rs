//! `codex exec-server` over every transport, as its clients find it.
//!
//! A raw client sends bytes and takes what comes, so that what is on the wire is tested and not a library of ours.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test reports by failing")]

#[path = "exec_server/deploy.rs"]
mod deploy;
#[path = "exec_server/python_client.rs"]
mod python_client;
#[path = "exec_server/raw.rs"]
mod raw;

#[path = "exec_server/ceiling.rs"]
mod ceiling;
#[path = "exec_server/client.rs"]
mod client;
#[path = "exec_server/conformance.rs"]
mod conformance;
#[path = "exec_server/cuts.rs"]
mod cuts;
#[path = "exec_server/extensions.rs"]
mod extensions;
#[path = "exec_server/faults.rs"]
mod faults;
#[path = "exec_server/file_bounds.rs"]
mod file_bounds;
#[path = "exec_server/files.rs"]
mod files;
#[path = "exec_server/front.rs"]
mod front;
#[path = "exec_server/hostile_files.rs"]
mod hostile_files;
#[path = "exec_server/http.rs"]
mod http;
#[path = "exec_server/http_bounds.rs"]
mod http_bounds;
#[path = "exec_server/passed.rs"]
mod passed;
#[path = "exec_server/real_client.rs"]
mod real_client;
#[path = "exec_server/sessions.rs"]
mod sessions;
#[path = "exec_server/soak.rs"]
mod soak;
#[path = "exec_server/spill.rs"]
mod spill;
#[path = "exec_server/telemetry.rs"]
mod telemetry;
#[path = "exec_server/watches.rs"]
mod watches;
