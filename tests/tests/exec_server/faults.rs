//! Connections that are cut, readers that do not read, clients that ask for too much.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_tests::harness::require_tool;
use serde_json::{Value, json};

use super::raw::{Server, Way, over_all};
use super::sessions::wait_for_children;

#[test]
fn a_reader_that_does_not_read_holds_up_nobody_and_is_told_what_it_missed() {
    for way in [Way::WebSocket, Way::Unix] {
        let server = Server::start(way);
        // Nothing is read from this one: its thread takes a message only when the test does.
        let mut stuck = server.extended();
        let mut params =
            server.start_params("p", &["sh", "-c", "head -c 200000000 /dev/zero; echo done >&2"]);
        params["limits"] = json!({"deadlineMs": 120_000});
        let start = stuck.request("process/start", &params);
        let mut other = server.ready();
        let heard = other.run(&server.start_params("q", &["echo", "hello"]));
        assert_eq!(heard.text(), "hello\n");
        // The server's memory stays bounded while the flood goes on.
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.process())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib < 200_000, "{kib} KiB");
        stuck.answer(start);
        let heard = stuck.hear("p");
        assert!(heard.is_whole());
        let missed: u64 = heard.gaps.iter().map(|gap| gap["bytes"]["stdout"].as_u64().unwrap()).sum();
        assert_eq!(heard.stdout.len() as u64 + missed, 200_000_000);
        assert_eq!(heard.exit_code, Some(0));
    }
}

#[test]
fn who_reads_gets_all_of_a_flood() {
    over_all(|server| {
        let mut raw = server.extended();
        // Everything is written before the answer to the start has been read.
        let heard = raw.run(&server.start_params("p", &["head", "-c", "20000000", "/dev/zero"]));
        assert_eq!((heard.stdout.len(), heard.gaps.len(), heard.is_whole()), (20_000_000, 0, true));
    });
}

#[test]
fn a_message_that_is_too_long_is_answered() {
    for way in [Way::Stdio, Way::Unix] {
        let server = Server::start(way);
        let mut raw = server.ready();
        raw.send_bytes(&b"x".repeat((64 << 20) + 1));
        let answer = raw.next().unwrap();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(-1), &json!(-32600)));
        assert_eq!(raw.result("environment/status", &Value::Null), json!({"status": "ready"}));
    }
}

#[test]
fn connections_that_are_cut_anywhere_leave_a_healthy_server() {
    let server = Server::with(Way::Unix, "", &["--session-timeout", "1ms"]);
    let start = server.start_params("p", &["sleep", "600"]);
    let handshake = [
        json!({"id": 1, "method": "initialize", "params": {"clientName": "t"}}).to_string(),
        json!({"method": "initialized"}).to_string(),
        json!({"id": 2, "method": "process/start", "params": start}).to_string(),
    ]
    .join("\n");
    for length in (0..=handshake.len()).step_by(97).chain([handshake.len()]) {
        let mut raw = server.connect();
        raw.send_bytes(&handshake.as_bytes()[..length]);
        drop(raw);
    }
    assert_eq!(server.ready().result("environment/status", &Value::Null), json!({"status": "ready"}));
    wait_for_children(&server, 0);
}

/// A helper whose first set-up finds that somebody has moved what was to be protected, as happens beside others that work in the
/// same places.
#[test]
fn a_set_up_that_begins_anew_loses_neither_input_nor_output() {
    let places = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (helper, seen) = (places.path().join("helper"), places.path().join("seen"));
    let script = format!(
        "#!/bin/bash\nif [[ $1 != --standby && ! -e {seen} ]]; then\n  touch {seen}\n  \
         printf 'failed step=places errno=2 call=open message=moved\\n' >&3\n  exit 125\nfi\n\
         exec -a codex-linux-sandbox {codex} \"$@\"\n",
        seen = seen.display(),
        codex = env!("CARGO_BIN_EXE_codex-under-test"),
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!("codex_linux_sandbox_exe = \"{}\"\n", helper.display());
    let server = Server::with(Way::Unix, &config, &[]);
    let mut raw = server.ready();
    let mut params = server.start_params("p", &["sh", "-c", "cat; echo out; echo err >&2"]);
    params["pipeStdin"] = json!(true);
    let start = raw.request("process/start", &params);
    // Before it runs.
    let write = raw.request("process/write", &json!({"processId": "p", "chunk": "aW4K", "writeId": "1"}));
    assert_eq!(raw.answer(write)["result"]["status"], "accepted");
    assert!(raw.answer(start).get("error").is_none());
    assert!(seen.exists(), "it was not asked a second time");
    // The client that we speak for can't close input: the command has to be ended.
    let mut heard = raw.notification();
    assert_eq!(heard["params"]["chunk"], "aW4K", "{heard}");
    raw.result("process/terminate", &json!({"processId": "p"}));
    while heard["method"] != "process/closed" {
        heard = raw.notification();
    }
    // And what such a command writes at once.
    std::fs::remove_file(&seen).unwrap();
    let server = Server::with(Way::Unix, &config, &[]);
    let heard = server.ready().run(&server.start_params("p", &["sh", "-c", "echo out; echo err >&2"]));
    assert!(seen.exists());
    assert_eq!(
        (heard.text(), heard.stderr, heard.exit_code),
        ("out\n".to_owned(), b"err\n".to_vec(), Some(0))
    );
}

/// A helper that never comes to an end with the set-up of what touches files, as where a file system does not answer.
#[test]
fn workers_for_files_that_hang_hold_up_no_process() {
    let places = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (helper, hangs) = (places.path().join("helper"), places.path().join("hangs"));
    nix::unistd::mkfifo(&hangs, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!(
        "#!/bin/bash\nif [[ \" $* \" == *codex-files* ]]; then\n  echo >{hangs}\n  exec sleep 600\nfi\n\
         exec -a codex-linux-sandbox {codex} \"$@\"\n",
        hangs = hangs.display(),
        codex = env!("CARGO_BIN_EXE_codex-under-test"),
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let server =
        Server::with(Way::Unix, &format!("codex_linux_sandbox_exe = \"{}\"\n", helper.display()), &[]);
    // More than there are turns. A client has room for the answers of two.
    let turns = std::thread::available_parallelism().unwrap().get().max(2);
    let mut hung = std::fs::File::options().read(true).write(true).open(&hangs).unwrap();
    let mut clients: Vec<_> = (0..=turns / 2).map(|_| server.ready()).collect();
    for client in &mut clients {
        for _ in 0..2 {
            client.request("fs/readFile", &json!({"path": server.uri("ws/file")}));
        }
    }
    for _ in 0..2 * clients.len() {
        // Each of them has said that it hangs: those behind it were given its turn.
        std::io::Read::read_exact(&mut hung, &mut [0]).unwrap();
    }
    assert_eq!(server.ready().run(&server.start_params("p", &["echo", "hello"])).text(), "hello\n");
    // Who goes leaves none behind.
    drop(clients);
    wait_for_children(&server, 0);
}

#[test]
fn a_server_without_descriptors_says_so_and_goes_on() {
    if codex_tests::harness::require_tool("prlimit").is_none() {
        return;
    }
    let server = Server::start(Way::Unix);
    let mut raw = server.ready();
    assert_eq!(raw.run(&server.start_params("first", &["true"])).exit_code, Some(0));
    let limit = |count: usize| {
        let mut prlimit = std::process::Command::new("prlimit");
        let pid = server.process().to_string();
        assert!(prlimit.args(["--pid", &pid, &format!("--nofile={count}:4096")]).status().unwrap().success());
    };
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.process())).unwrap().count();
    limit(open + 40);
    let mut started = Vec::new();
    let refused = loop {
        let id = started.len().to_string();
        let answer = raw.call("process/start", &server.start_params(&id, &["sleep", "600"]));
        if let Some(error) = answer.get("error") {
            break error.clone();
        }
        started.push(id);
        assert!(started.len() < 100, "there is no end to them");
    };
    assert!(!started.is_empty(), "{refused}");
    assert_eq!(refused["code"], -32603, "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("Too many open files"), "{refused}");
    // What is there goes on.
    assert_eq!(raw.result("environment/status", &Value::Null), json!({"status": "ready"}));
    for id in &started {
        assert_eq!(raw.result("process/terminate", &json!({"processId": id})), json!({"running": true}));
        assert_eq!(raw.hear(id).exit_code, Some(137));
    }
    // Where there are some again, everything is as before, for others too.
    limit(4096);
    assert_eq!(raw.run(&server.start_params("last", &["true"])).exit_code, Some(0));
    assert_eq!(server.ready().run(&server.start_params("p", &["true"])).exit_code, Some(0));
    wait_for_children(&server, 0);
}

#[test]
fn bounds_are_told() {
    let server = Server::with(Way::Unix, "", &["--max-processes", "1", "--max-connections", "2"]);
    let mut raw = server.ready();
    let mut params = server.start_params("p", &["cat"]);
    params["pipeStdin"] = json!(true);
    raw.result("process/start", &params);
    let (code, message) = raw.error("process/start", &server.start_params("q", &["true"]));
    assert_eq!((code, &*message), (-32600, "1 processes run already, as many as this server allows"));
    let _second = server.ready();
    // It is closed before a word.
    assert!(server.connect().next().is_none());
}

#[test]
fn many_clients_with_many_processes_meet_no_error() {
    let server = Server::start(Way::WebSocket);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut raw = server.ready();
                for process in 0..10 {
                    raw.request(
                        "process/start",
                        &server.start_params(&process.to_string(), &["sh", "-c", "echo a; echo b >&2"]),
                    );
                }
                let mut ended = 0;
                while ended < 10 {
                    let message = raw.next().unwrap();
                    assert!(message.get("error").is_none(), "{message}");
                    ended += usize::from(message["method"] == "process/closed");
                }
            });
        }
    });
    wait_for_children(&server, 0);
}

#[test]
fn a_level_that_the_machine_refuses_costs_no_output_and_no_input() {
    let Some(unshare) = require_tool("unshare") else { return };
    let server = Server::start(Way::Stdio);
    let mut raw = server.without_namespaces(&unshare);
    let script = "echo $CODEX_SANDBOX; exec cat";
    let mut params = server.start_params("p", &["sh", "-c", script]);
    params["pipeStdin"] = json!(true);
    let start = raw.request("process/start", &params);
    raw.result("process/write", &json!({"processId": "p", "chunk": "aGVsbG8K", "writeId": "1"}));
    assert!(raw.answer(start).get("error").is_none());
    let mut text = String::new();
    while !text.ends_with("hello\n") {
        let message = raw.notification();
        assert_eq!(message["method"], "process/output", "{message}");
        let bytes = STANDARD.decode(message["params"]["chunk"].as_str().unwrap()).unwrap();
        text += std::str::from_utf8(&bytes).unwrap();
    }
    assert_eq!(text, "landlock\nhello\n");
    raw.result("process/terminate", &json!({"processId": "p"}));
}
