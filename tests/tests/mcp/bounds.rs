//! Bad input harms nobody, and there is only so much of everything.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::raw::{Place, Presence};

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
