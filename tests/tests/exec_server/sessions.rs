//! What outlives a connection, and for how long.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use super::front::said_at_once;
use super::raw::{PATIENCE, Raw, Server, Way};

/// Resumes a session, as often as it takes for the server to see that the old connection is gone.
pub(crate) fn resume(server: &Server, session: &Value) -> (Raw, Value) {
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

/// As where a machine has lost its network: it says nothing any more, and nobody has told the server.
#[test]
fn a_connection_without_anybody_gives_its_session_to_who_resumes_it() {
    let server = Server::start(Way::WebSocket);
    let mut silent = TcpStream::connect(server.address()).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    silent.write_all(&said_at_once(&server, &["sleep", "600"])).unwrap();
    let (mut heard, mut piece) = (String::new(), [0; 4096]);
    while !heard.contains("\"sandboxType\"") {
        let count = silent.read(&mut piece).unwrap();
        assert!(count > 0, "{heard}");
        heard += &String::from_utf8_lossy(&piece[..count]);
    }
    let (_, session) = heard.split_once("\"sessionId\":\"").unwrap();
    let session = json!(session.split('"').next().unwrap());
    // The connection is there, and answers no ping.
    let (mut raw, _) = resume(&server, &session);
    assert_eq!(raw.result("process/read", &json!({"processId": "p"}))["exited"], false);
    // The server has let go of the other one.
    loop {
        match silent.read(&mut piece) {
            Ok(0) => break,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            // The pings.
            Ok(_) => {}
            Err(error) => panic!("it is still there: {error}"),
        }
    }
}

/// Commands that hold a fifo open, each in a way of its own to outlive whoever has started it.
fn start_what_stays(server: &Server, raw: &mut Raw) -> File {
    let path = server.path("ws/held");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let held = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
    for (id, tty, detach, script) in [
        ("plain", false, false, "exec 3>held; echo on; sleep 600"),
        ("terminal", true, false, "trap '' HUP TERM INT; exec 3>held; echo on; sleep 600 & sleep 600"),
        ("session", false, false, "exec 3>held; trap '' TERM; setsid sleep 600 & echo on; sleep 600"),
        ("left", false, true, "exec 3>held; (setsid nohup sleep 600 >/dev/null 2>&1 &) ; echo on"),
    ] {
        let mut params = server.start_params(id, &["bash", "-c", script]);
        (params["tty"], params["detach"]) = (json!(tty), json!(detach));
        raw.result("process/start", &params);
        let on = loop {
            let told = raw.notification();
            if told["method"] == "process/output" {
                break told;
            }
        };
        assert_eq!(on["params"]["processId"], id, "{on}");
    }
    held
}

/// Waits until nobody holds a fifo any more whose reading end this is.
fn wait_for_the_last(held: &File) {
    let mut waiting = [PollFd::new(held.as_fd(), PollFlags::empty())];
    let ready = poll(&mut waiting, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
    assert!(ready > 0, "somebody is still there");
}

#[test]
fn nothing_is_left_of_a_server_however_it_ends() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let server = Server::start(Way::Unix);
        let mut raw = server.extended();
        let held = start_what_stays(&server, &mut raw);
        // In the middle of everything else as well.
        for id in ["a", "b", "c"] {
            raw.request("process/start", &server.start_params(id, &["sleep", "600"]));
        }
        raw.request("process/read", &json!({"processId": "plain", "afterSeq": 1, "waitMs": 600_000}));
        let open = json!({"handleId": "f", "path": server.uri("home/config.toml")});
        raw.result("fs/open", &open);
        raw.request(
            "fs/walk",
            &json!({"path": "file:///usr", "options": {
            "maxDepth": 64, "maxDirectories": 10000, "maxEntries": 50000, "followDirectorySymlinks": false}}),
        );
        // They are there: the fifo has writers.
        let mut now = [PollFd::new(held.as_fd(), PollFlags::empty())];
        assert_eq!(poll(&mut now, PollTimeout::ZERO).unwrap(), 0);
        let status = server.end_by(signal);
        match signal {
            Signal::SIGTERM => assert_eq!(status.code(), Some(0)),
            _ => assert_eq!(status.signal(), Some(signal as i32)),
        }
        wait_for_the_last(&held);
    }
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
