//! Bad input harms nobody, and there is only so much of everything.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use serde_json::json;

use super::http::Server;
use super::raw::{PATIENCE, Place, Presence};

#[test]
fn what_is_no_message_gets_its_error_and_the_session_goes_on() {
    let place = Place::new("");
    let mut mcp = place.connect(&[]);
    // Even before there is a session.
    mcp.notify("notifications/initialized", &json!({}));
    mcp.send(&json!({"jsonrpc": "2.0", "id": 99, "result": {}}));
    let deep = [
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":".as_slice(),
        &b"[".repeat(200),
        &b"]".repeat(200),
        b"}",
    ]
    .concat();
    let many = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":[{}0]}}",
        "0,".repeat(300_000)
    );
    let long = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{}\"}}", "x".repeat(9 << 20));
    for begun in [false, true] {
        for (bytes, code) in [
            (b"nonsense".as_slice(), -32700),
            (b"{\"jsonrpc\":\"2.0\",\"id\":1", -32700),
            (b"\xff\xfe", -32700),
            (b"[]", -32600),
            (b"7", -32600),
            (b"{}", -32600),
            (b"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}", -32600),
            (b"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}", -32600),
            (&deep, -32600),
            (many.as_bytes(), -32600),
            (long.as_bytes(), -32600),
        ] {
            mcp.send_bytes(bytes);
            let answer = mcp.next().unwrap();
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
            assert_eq!(answer["error"]["code"], code, "{shown}: {answer}");
        }
        if begun {
            break;
        }
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}});
        assert_eq!(mcp.result("initialize", &hello)["serverInfo"]["name"], "codex");
        mcp.notify("notifications/initialized", &json!({}));
    }
    // Answers to nothing, and notifications that mean nothing, are nobody's matter.
    mcp.send(&json!({"jsonrpc": "2.0", "id": 99, "result": {}}));
    mcp.send(&json!({"jsonrpc": "2.0", "id": "x", "error": {"code": 1, "message": "x"}}));
    mcp.notify("notifications/nothing", &json!({"a": [1]}));
    mcp.notify("notifications/cancelled", &json!({"requestId": 4711}));
    mcp.send_bytes(b"{\"jsonrpc\":\"2.0\",\"method\":7}");
    assert_eq!(mcp.error("no/such", &json!({})).0, -32601);
    assert_eq!(mcp.error("tools/call", &json!({"name": 7})).0, -32602);
    assert_eq!(mcp.error("tools/call", &json!({"name": "no_such"})).0, -32602);
    assert_eq!(mcp.error("resources/read", &json!({})).0, -32602);
    for wrong in [
        json!({}),
        json!({"command": "ls"}),
        json!({"command": [1]}),
        json!({"command": ["true"], "timeout_ms": -1}),
        json!({"command": ["true"], "no_such": 1}),
        json!({"command": ["true"], "workdir": "/no/such"}),
    ] {
        let refused = mcp.call("shell", &wrong);
        assert_eq!(refused["outcome"], "refused", "{wrong}");
        assert!(refused["message"].as_str().unwrap().contains("othing was run"), "{refused}");
    }
    assert_eq!(mcp.call("shell", &json!({"command": ["true"]}))["exit_code"], 0);
    assert!(!mcp.has_others());
}

#[test]
fn a_version_without_sessions_is_not_spoken() {
    let place = Place::new("");
    let mut mcp = place.connect(&[]);
    let modern = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
                        "io.modelcontextprotocol/clientInfo": {"name": "x", "version": "1"}});
    let id = mcp.request("tools/list", &json!({"_meta": modern}));
    let answer = mcp.answer(id);
    assert_eq!(answer["error"]["data"]["supported"][0], "2024-11-05", "{answer}");
    // A client that only offers the newest one is answered with one that there is.
    let hello = json!({"protocolVersion": "2026-07-28", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}});
    assert_eq!(mcp.result("initialize", &hello)["protocolVersion"], "2025-11-25");
}

/// A helper that never comes to an end with the set-up of one command, as where a file system does not answer.
#[test]
fn set_ups_that_hang_hold_up_no_other_call() {
    let helpers = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (helper, hangs) = (helpers.path().join("helper"), helpers.path().join("hangs"));
    nix::unistd::mkfifo(&hangs, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!(
        "#!/bin/bash\nif [[ \" $* \" == *\" hang-here \"* ]]; then\n  echo >{hangs}\n  exec sleep 600\nfi\n\
         exec -a codex-linux-sandbox {codex} \"$@\"\n",
        hangs = hangs.display(),
        codex = env!("CARGO_BIN_EXE_codex-under-test"),
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let place = Place::new(&format!("codex_linux_sandbox_exe = \"{}\"\n", helper.display()));
    let mut hung = std::fs::File::options().read(true).write(true).open(&hangs).unwrap();
    let mut mcp = place.session(&["-s", "workspace-write"], &json!({}));
    // More than there are turns: those behind the first ones were given theirs.
    let calls = std::thread::available_parallelism().unwrap().get().max(2) + 1;
    for _ in 0..calls {
        let call = json!({"name": "shell", "arguments": {"command": ["hang-here"]}});
        mcp.request("tools/call", &call);
    }
    for _ in 0..calls {
        hung.read_exact(&mut [0]).unwrap();
    }
    assert_eq!(mcp.call("shell", &json!({"command": ["true"]}))["exit_code"], 0);
    mcp.kill();
}

#[test]
fn only_so_many_processes_run() {
    let place = Place::new("");
    let mut mcp = place.session(&["-s", "workspace-write", "--max-processes", "1"], &json!({}));
    let begun = mcp.call("exec_command", &json!({"cmd": "sleep 1000", "yield_time_ms": 250}));
    let second = mcp.call("shell", &json!({"command": ["true"]}));
    assert!(second["message"].as_str().unwrap().contains("1 processes run already"), "{second}");
    let killed = mcp.call("kill", &json!({"session_id": begun["session_id"]}));
    assert_eq!(mcp.over(&begun["session_id"], killed)["outcome"], "cancelled");
    assert_eq!(mcp.call("shell", &json!({"command": ["true"]}))["exit_code"], 0);
}

#[test]
fn a_session_has_no_more_requests_under_way_than_is_said() {
    let place = Place::new("");
    let mut mcp = place.session(&["-s", "workspace-write"], &json!({}));
    let begun = mcp.call("exec_command", &json!({"cmd": "sleep 1000", "yield_time_ms": 250}));
    let wait = json!({"session_id": begun["session_id"], "yield_time_ms": 300_000});
    for _ in 0..128 {
        mcp.request("tools/call", &json!({"name": "write_stdin", "arguments": wait}));
    }
    let (code, words) = mcp.error("tools/list", &json!({}));
    assert_eq!((code, words.as_str()), (-32603, "as many requests are under way as this server allows"));
}

#[test]
fn only_so_many_requests_are_under_way() {
    let place = Place::new("");
    let mut mcp = place.session(&["-s", "workspace-write", "--concurrent-requests", "2"], &json!({}));
    let mut under_way = Vec::new();
    for name in ["one", "two"] {
        let held = Presence::new(&place.path(&format!("ws/{name}")));
        let waits = format!("echo here >{name}; until test -e go; do sleep 0.1; done");
        let call = json!({"name": "shell", "arguments": {"command": ["sh", "-c", waits]}});
        let id = mcp.request("tools/call", &call);
        held.began();
        under_way.push(id);
        // The same id again.
        mcp.send(&json!({"jsonrpc": "2.0", "id": id, "method": "ping"}));
        let twice = mcp.answer(id);
        let words = json!("a request of this id is under way");
        assert_eq!((&twice["error"]["code"], &twice["error"]["message"]), (&json!(-32600), &words));
    }
    let (code, words) = mcp.error("tools/list", &json!({}));
    assert_eq!((code, words.as_str()), (-32603, "as many requests are under way as this server allows"));
    std::fs::write(place.path("ws/go"), "").unwrap();
    for id in under_way {
        let answer = mcp.answer(id);
        assert_eq!(answer["result"]["structuredContent"]["exit_code"], 0, "{answer}");
    }
    // Places come back.
    assert_eq!(mcp.call("shell", &json!({"command": ["true"]}))["exit_code"], 0);
}

#[test]
fn bounds_that_are_met_over_http_are_counted() {
    /// The longest message.
    const LONGEST: usize = 8 << 20;
    let server = Server::start("", &[]);
    let hits = |bound: &str| server.number(&format!("limits_hit_total{{limit=\"{bound}\"}}"));
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for (headers, body, expected, bound, count) in [
        // What is no message meets no bound.
        (&[][..], "nonsense", 400..=499, "message_bytes", None),
        (&[], &deep, 400..=400, "message_structure", Some(1)),
        // As it says itself, and as it turns out to be.
        (&[("Content-Length", "9000000")], "", 413..=413, "message_bytes", Some(1)),
        (
            &[("Transfer-Encoding", "chunked")],
            &format!("{:x}\r\n{}", LONGEST + 1, " ".repeat(LONGEST + 1)),
            413..=413,
            "message_bytes",
            Some(2),
        ),
    ] {
        let status = server.status("POST", "/mcp", headers, body);
        assert!(expected.contains(&status), "{headers:?}: {status}");
        assert_eq!(hits(bound), count, "{headers:?}");
    }
    assert_eq!((hits("message_structure"), hits("concurrent_requests")), (Some(1), None));

    // All but their ends fill the room, whichever of them finds it full.
    let (begin, length) = (" ".repeat(LONGEST - 1), [("Content-Length", &*LONGEST.to_string())]);
    let (mut halves, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while server.status("POST", "/mcp", &[], "{}") != 503 {
        assert!(Instant::now() < deadline, "there is room for {}", halves.len());
        let mut half = server.send("POST", "/mcp", &length, "");
        let is_sent = half.get_mut().write_all(begin.as_bytes()).is_ok();
        halves.push((half, is_sent));
    }
    // Who had room for all of it is answered: it is no message.
    let is_answered = |(mut half, is_sent): (BufReader<TcpStream>, bool)| {
        let mut line = String::new();
        let is_whole = is_sent && half.get_mut().write_all(b" ").is_ok();
        is_whole && half.read_line(&mut line).is_ok() && line.starts_with("HTTP/1.1 4")
    };
    let all = halves.len();
    let answered = halves.into_iter().map(is_answered).filter(|is_answered| *is_answered).count();
    assert!(answered > 0);
    let refused = u64::try_from(all - answered).unwrap() + 1;
    assert_eq!((hits("message_bytes"), hits("concurrent_requests")), (Some(2), Some(refused)));
}
