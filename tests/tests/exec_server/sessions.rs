//! What outlives a connection, and for how long.

use std::os::unix::fs::PermissionsExt as _;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use super::raw::{PATIENCE, Raw, Server, Way};

/// Resumes a session, as often as it takes for the server to see that the old connection is gone.
fn resume(server: &Server, session: &Value) -> (Raw, Value) {
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut raw = server.connect();
    loop {
        let mut answer = raw.call("initialize", &json!({"clientName": "test", "resumeSessionId": session}));
        if answer.get("error").is_none() {
            raw.send(&json!({"method": "initialized"}));
            return (raw, answer["result"].take());
        }
        assert_eq!(answer["error"]["code"], -32010, "{answer}");
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn a_cut_connection_loses_nothing() {
    for way in [Way::WebSocket, Way::Unix] {
        let server = Server::start(way);
        let mut raw = server.connect();
        let session = raw.handshake(&json!({"clientName": "test"}))["sessionId"].clone();
        let mut params = server.start_params("p", &["cat"]);
        params["pipeStdin"] = json!(true);
        raw.result("process/start", &params);
        raw.result("process/write", &json!({"processId": "p", "chunk": "b25lCg==", "writeId": "1"}));
        assert_eq!(raw.notification()["params"]["seq"], 1);
        // A poll under way does not keep the session.
        raw.request("process/read", &json!({"processId": "p", "afterSeq": 1, "waitMs": 600_000}));
        let held =
            server.connect().call("initialize", &json!({"clientName": "x", "resumeSessionId": session}));
        assert_eq!(held["error"]["code"], -32010, "{held}");
        drop(raw);

        let (mut raw, result) = resume(&server, &session);
        assert_eq!(result["sessionId"], session);
        // Written before, and not again.
        for (chunk, id) in [("b25lCg==", "1"), ("dHdvCg==", "2")] {
            raw.result("process/write", &json!({"processId": "p", "chunk": chunk, "writeId": id}));
        }
        let notification = raw.notification();
        assert_eq!(
            (&notification["params"]["seq"], &notification["params"]["chunk"]),
            (&json!(2), &json!("dHdvCg=="))
        );
        let read = raw.result("process/read", &json!({"processId": "p", "afterSeq": 0, "waitMs": 0}));
        let chunks: Vec<&Value> =
            read["chunks"].as_array().unwrap().iter().map(|chunk| &chunk["chunk"]).collect();
        assert_eq!(chunks, [&json!("b25lCg=="), &json!("dHdvCg==")]);
        raw.result("process/terminate", &json!({"processId": "p"}));
        assert_eq!(raw.hear("p").seqs, [3, 4]);
        assert_eq!(server.end(), Some(0));
    }
}

/// A helper whose set-up waits until somebody writes into a pipe.
#[test]
fn a_start_outlives_its_connection_and_not_its_cancellation() {
    let places = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (helper, held, waits) =
        (places.path().join("helper"), places.path().join("held"), places.path().join("waits"));
    for pipe in [&held, &waits] {
        mkfifo(pipe, Mode::S_IRWXU).unwrap();
    }
    let script = format!(
        "#!/bin/bash\nif [[ $1 != --standby ]]; then\n  echo >{waits}\n  read <{held}\nfi\n\
         exec -a codex-linux-sandbox {codex} \"$@\"\n",
        waits = waits.display(),
        held = held.display(),
        codex = env!("CARGO_BIN_EXE_codex-under-test"),
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!("codex_linux_sandbox_exe = \"{}\"\n", helper.display());
    let ran = |server: &Server| std::fs::read_to_string(server.path("ws/ran")).ok();
    let start = |server: &Server| server.start_params("p", &["sh", "-c", "echo ran >>ran; exit 5"]);

    // Given up, it is as if it had never been asked for.
    let server = Server::with(Way::Unix, &config, &[]);
    let mut raw = server.extended();
    let id = raw.request("process/start", &start(&server));
    std::fs::read(&waits).unwrap();
    raw.send(&json!({"method": "request/cancel", "params": {"id": id}}));
    assert_eq!(raw.answer(id)["error"]["code"], -32800);
    wait_for_children(&server, 0);
    assert_eq!(ran(&server), None);

    // Lost, it goes on: whoever comes back finds it, and does not start another one. By another server, for this one has namespaces
    // ready by now that no set-up is needed for.
    let server = Server::with(Way::Unix, &config, &[]);
    let mut raw = server.connect();
    let session = raw.handshake(&json!({"clientName": "test"}))["sessionId"].clone();
    raw.request("process/start", &start(&server));
    std::fs::read(&waits).unwrap();
    drop(raw);
    let (mut raw, _) = resume(&server, &session);
    let again = raw.error("process/start", &start(&server));
    assert_eq!(again, (-32600, "process id p is already in use".to_owned()));
    std::fs::write(&held, "\n").unwrap();
    let read = raw.result("process/read", &json!({"processId": "p", "afterSeq": 0, "waitMs": 60_000}));
    assert_eq!(read["exitCode"], 5, "{read}");
    assert_eq!(ran(&server).as_deref(), Some("ran\n"));
}

#[test]
fn sessions_do_not_see_each_other() {
    let server = Server::start(Way::Unix);
    let (mut one, mut other) = (server.ready(), server.ready());
    let mut params = server.start_params("p", &["cat"]);
    params["pipeStdin"] = json!(true);
    one.result("process/start", &params);
    assert_eq!(other.error("process/read", &json!({"processId": "p"})).0, -32600);
    assert_eq!(other.result("process/terminate", &json!({"processId": "p"})), json!({"running": false}));
    other.result("process/start", &params);
    other.result("process/terminate", &json!({"processId": "p"}));
    assert_eq!(other.hear("p").exit_code, Some(137));
    assert_eq!(one.result("process/read", &json!({"processId": "p"}))["exited"], false);
}

#[test]
fn a_session_that_nobody_resumes_ends_with_its_processes() {
    let server = Server::with(Way::Unix, "", &["--session-timeout", "1ms"]);
    let mut raw = server.connect();
    let session = raw.handshake(&json!({"clientName": "test"}))["sessionId"].clone();
    // Its end is seen from outside: nobody reads the pipe any more.
    let fifo = server.path("ws/fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    raw.result(
        "process/start",
        &server.start_params("p", &["sh", "-c", "exec 3<>fifo; echo x; exec sleep 600 3>fifo"]),
    );
    raw.notification();
    drop(raw);
    wait_for_children(&server, 0);
    let answer =
        server.connect().call("initialize", &json!({"clientName": "test", "resumeSessionId": session}));
    assert_eq!(answer["error"]["code"], -32600, "{answer}");
}

#[test]
fn an_ended_server_leaves_nothing() {
    let server = Server::start(Way::WebSocket);
    let mut raw = server.ready();
    raw.result(
        "process/start",
        &server.start_params("p", &["sh", "-c", "trap '' TERM; echo on; sleep 600 & wait"]),
    );
    raw.notification();
    let poll = raw.request("process/read", &json!({"processId": "p", "afterSeq": 1, "waitMs": 600_000}));
    // The poll has been taken before the server is told.
    raw.result("environment/status", &Value::Null);
    assert_eq!(server.end(), Some(0));
    // What was asked for is answered before the end.
    assert_eq!(raw.answer(poll)["result"]["exited"], false);
}

/// Waits until a server has so many processes, but for those that are kept ready and have nothing to run yet.
pub(crate) fn wait_for_children(server: &Server, count: usize) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while children(server) != count {
        assert!(std::time::Instant::now() < deadline, "{} children", children(server));
        std::thread::yield_now();
    }
}

/// How many processes a server has that were started for somebody.
pub(crate) fn children(server: &Server) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.process())).unwrap();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let all: Vec<String> =
        lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    all.iter().filter(|process| !waits(process)).count()
}

/// Whether a child of a server was started ahead, and its first process of new namespaces has no command to wait for.
fn waits(process: &str) -> bool {
    let of = |process: &str, name: &str| {
        std::fs::read_to_string(format!("/proc/{process}/{name}")).unwrap_or_default()
    };
    let children = |process: &str| of(process, &format!("task/{process}/children"));
    let first = children(process);
    of(process, "cmdline").split('\0').any(|word| word == "--standby")
        && first.split_whitespace().all(|first| children(first).trim().is_empty())
}
