//! Signals at times when nothing runs, and threads that can't be had.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};

use codex_tests::harness::{Api, Identity, Model, Policy, Running, Scene, require_tool};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, connect, listen, socket};
use serde_json::{Value, json};

use super::endings::sessions;
use super::{events, exec, say};

/// Ends a run by each signal that people and supervisors send, once `is_there` says that it has come so far. Nothing waits for what
/// the run waited for, and the session goes on.
fn ends(scene: &Scene, model: &Model, words: &[&str], mut is_there: impl FnMut(&mut Running)) {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut running = exec(scene, model, &[words, &["--json", "the task"]].concat()).start();
        is_there(&mut running);
        running.signal(signal);
        let run = running.finish().expect_code(code);
        let told = events(&run);
        let last = told.last().unwrap_or_else(|| run.fail("no event"));
        let failed = json!({ "type": "turn.failed", "error": { "message": "cancelled" } });
        assert_eq!(*last, failed, "{}", run.describe());
        let session = sessions(scene).pop().unwrap_or_else(|| run.fail("no session"));
        let text = fs::read_to_string(&session).expect("the session");
        let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        let lines = lines.unwrap_or_else(|error| run.fail(&format!("{error}: {text}")));
        assert!(text.ends_with('\n') && lines.len() == 2, "{text}");
        let next = Model::serve(Api::Responses, vec![say("went on")]);
        let run = exec(scene, &next, &["resume", "--last", "more"]).run().expect_code(0);
        assert_eq!(run.text(), "went on\n");
        let said = next.requests()[0]["input"].to_string();
        assert!(said.contains("the task") && said.contains("more"), "{said}");
        fs::remove_file(session).expect("make room");
    }
}

fn at(address: SocketAddr, scheme: &str) -> String {
    format!("model_providers.scripted.base_url={scheme}://{address}/v1")
}

/// A port that takes no more connections: the next one is under way until it is given up.
fn full() -> (TcpListener, Vec<OwnedFd>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
    listen(&listener, Backlog::new(1).expect("a backlog")).expect("listen for few");
    let port = listener.local_addr().expect("an address").port();
    let waiting = (0..8).map(|_| {
        let waiting = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK, None);
        let waiting = waiting.expect("a socket");
        let address = SockaddrIn::new(127, 0, 0, 1, port);
        // Those for whom there is no room are under way themselves.
        let begun = connect(waiting.as_raw_fd(), &address);
        assert_eq!(begun, Err(Errno::EINPROGRESS), "a connection that takes its time");
        waiting
    });
    let waiting = waiting.collect();
    (listener, waiting)
}

/// How many connections to a port are under way, as `/proc/net/tcp` has it.
fn under_way(port: u16) -> usize {
    const SYN_SENT: &str = "02";
    let table = fs::read_to_string("/proc/net/tcp").expect("the table of connections");
    let peer = format!(":{port:04X}");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(2).is_some_and(|it| it.ends_with(&peer)) && row.get(3) == Some(&SYN_SENT))
        .count()
}

pub(super) fn a_signal_ends_a_run_that_waits_for_its_server(scene: &Scene) {
    // The server takes nobody.
    let unasked = Model::serve(Api::Responses, vec![say("never said")]);
    let (listener, waiting) = full();
    let address = listener.local_addr().expect("an address");
    let before = under_way(address.port());
    ends(scene, &unasked, &["-c", &at(address, "http")], |_running| {
        while under_way(address.port()) <= before {
            std::thread::yield_now();
        }
    });
    drop((listener, waiting));
    // It takes us, and says nothing: neither of TLS nor of HTTP.
    for scheme in ["https", "http"] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
        let address = listener.local_addr().expect("an address");
        let mut taken: Vec<TcpStream> = Vec::new();
        ends(scene, &unasked, &["-c", &at(address, scheme)], |_running| {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.read_exact(&mut [0; 5]).expect("the first of what it says");
            taken.push(stream);
        });
    }
    // It wants to be asked later.
    let busy = json!({ "status": 429, "headers": { "retry-after": "60" } });
    let model = Model::serve(Api::Responses, vec![busy]);
    ends(scene, &model, &[], |running| {
        while !running.line().expect("it ended early").contains("asking again in 60.0 s (1 of") {}
    });
    assert!(unasked.requests().is_empty() && model.requests().len() == 2);
}

/// A thread that can't be had is a reason in one line, and nothing is begun.
pub(super) fn a_display_that_can_not_start_begins_nothing(scene: &Scene) {
    // Root is not held by the limit.
    let (Identity::User, Some(prlimit)) = (scene.identity(), require_tool("prlimit")) else { return };
    for options in [&[][..], &["--json"]] {
        let model = Model::serve(Api::Responses, vec![say("done")]);
        let line = exec(scene, &model, &[options, &["x"]].concat()).shell_line();
        for (limit, code) in [("--nproc=1", 2), ("--nproc=4096", 0)] {
            let script = format!("exec {line}");
            let run = scene.under(Policy::Bare).command(&prlimit, [limit, "sh", "-c", &script]).run();
            let run = run.expect_code(code);
            let begun = usize::from(code == 0);
            assert_eq!((model.requests().len(), sessions(scene).len()), (begun, begun), "{}", run.describe());
            if code == 0 {
                continue;
            }
            let told = run.error_text();
            let expected = "codex: nothing can be shown: no thread can be started for it (Resource temporarily unavailable";
            assert!(told.starts_with(expected) && told.lines().count() == 1, "{}", run.describe());
            assert_eq!(run.text().lines().count(), options.len(), "{}", run.describe());
        }
        fs::remove_dir_all(scene.path("codex-home/sessions")).expect("make room");
    }
}
