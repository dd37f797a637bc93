//! Single hosts, in a caller that lasts: what a call has reached ends with it, and nothing of it is left.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, and says so")]

#[path = "harness/runs.rs"]
mod runs;

const ISOLATION: codex_core::config::Isolation = codex_core::config::Isolation::Namespaces;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use codex_core::exec::{Outcome, SandboxOptions, process_exec_tool_call};
use codex_mediator::HostProxy;

use runs::{PATIENCE, READ_ONLY, options, prepare, request};

/// A host that greets, and tells of each connection that has ended.
fn host() -> (String, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let name = listener.local_addr().unwrap().to_string();
    let (ended, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut rest) = (stream.unwrap(), Vec::new());
            stream.write_all(b"here\n").unwrap();
            // However it ends.
            drop(stream.read_to_end(&mut rest));
            if ended.send(()).is_err() {
                return;
            }
        }
    });
    (name, told)
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn many_calls_leave_nothing_in_their_caller() {
    let (name, ended) = host();
    let reaching = |standby| {
        let mut options = SandboxOptions { standby, ..options() };
        options.places.allow_hosts = vec![name.parse().unwrap()];
        options.mediator = Some(Arc::new(HostProxy::default()));
        prepare(&READ_ONLY, "/".as_ref(), options).unwrap()
    };
    // A process that has left everything behind but the tunnel.
    let line = format!(
        "exec 3<>/dev/tcp/127.0.0.1/3128; printf 'CONNECT {name} HTTP/1.1\\r\\n\\r\\n' >&3\n\
         while read -r line <&3; do echo \"$line\"; [ \"$line\" != here ] || break; done\n\
         setsid sleep 1000 >/dev/null 2>&1 </dev/null & exit 0"
    );
    let runtime = runs::runtime();
    let mut before = None;
    // In a process that was kept ready, and in one that was begun for the call.
    for sandbox in [reaching(true), reaching(false)] {
        for _ in 0..10 {
            let call = request(["bash", "-c", &line]);
            let result = runtime.block_on(process_exec_tool_call(call, &sandbox)).unwrap();
            let said = String::from_utf8_lossy(&result.stdout.head).into_owned();
            assert_eq!(result.outcome, Outcome::Exited { code: 0 }, "{said}");
            assert!(said.starts_with("HTTP/1.1 200 OK") && said.ends_with("here\n"), "{said}");
            ended.recv_timeout(PATIENCE).unwrap();
            // What is made once and kept, is made.
            before.get_or_insert_with(descriptors);
        }
    }
    let (most, end) = (before.unwrap(), Instant::now() + PATIENCE);
    let is_left = || descriptors() > most || runtime.metrics().num_alive_tasks() > 0;
    runtime.block_on(async {
        while is_left() {
            let (open, tasks) = (descriptors(), runtime.metrics().num_alive_tasks());
            assert!(Instant::now() < end, "{open} descriptors, {most} before; {tasks} tasks");
            tokio::task::yield_now().await;
        }
    });
}
