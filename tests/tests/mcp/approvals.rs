//! Calls that ask for more than the default, and what stands above them.

use std::time::Instant;

use serde_json::{Value, json};

use super::raw::{Mcp, PATIENCE, Place};

fn forms() -> Value {
    json!({"elicitation": {}})
}

fn ask(word: &str) -> Value {
    json!({"name": "shell", "arguments": {"command": ["touch", "made"], "sandbox_permissions": word, "justification": "I \u{1b}[1mmust"}})
}

/// Answers a question, and returns what was asked.
fn answered(mcp: &mut Mcp, id: i64, action: &str) -> (String, Value) {
    let question = mcp.other();
    assert_eq!(question["method"], "elicitation/create", "{question}");
    assert_eq!(question["params"]["requestedSchema"]["type"], "object");
    let content = if action == "accept" { json!({}) } else { Value::Null };
    let answer = json!({"action": action, "content": content});
    mcp.send(&json!({"jsonrpc": "2.0", "id": question["id"], "result": answer}));
    let result = mcp.answer(id)["result"]["structuredContent"].take();
    (question["params"]["message"].as_str().unwrap().to_owned(), result)
}

#[test]
fn a_person_says_yes_or_no() {
    let place = Place::new("");
    let mut mcp = place.session(&[], &forms());
    // The default is read-only, and nobody is asked for it.
    let plain = mcp.call("shell", &json!({"command": ["touch", "made"]}));
    assert_eq!(plain["exit_code"], 1, "{plain}");
    for action in ["decline", "cancel"] {
        let id = mcp.request("tools/call", &ask("workspace-write"));
        let (_, refused) = answered(&mut mcp, id, action);
        assert_eq!(refused["outcome"], "refused", "{refused}");
        assert!(refused["message"].as_str().unwrap().contains("the user did not approve of it"), "{refused}");
        assert!(!place.path("ws/made").exists());
    }
    let id = mcp.request("tools/call", &ask("workspace-write"));
    let (question, done) = answered(&mut mcp, id, "accept");
    assert!(
        question.starts_with(
            "Run one command under the policy workspace-write without network, which is more than read-only"
        ),
        "{question}"
    );
    assert!(
        question.contains("\ntouch made\n") && question.ends_with(r"The model says why: I \u{1b}[1mmust"),
        "{question}"
    );
    assert_eq!(done["exit_code"], 0, "{done}");
    assert!(place.path("ws/made").exists());
    // It was for that one call.
    let plain = mcp.call("shell", &json!({"command": ["touch", "more"]}));
    assert_eq!(plain["exit_code"], 1);
    assert!(!mcp.has_others());
}

#[test]
fn what_goes_on_is_told_of_with_what_it_runs_under() {
    let place = Place::new("exec_server.max_policy = \"danger-full-access\"\n");
    let mut mcp = place.session(&[], &forms());
    let level = |answer: &Value| answer["enforcement"]["level"].as_str().unwrap().to_owned();
    let plain = mcp.call("exec_command", &json!({"cmd": "sleep 1000", "yield_time_ms": 250}));
    let cmd = "seq 20000; exec sleep 1000";
    let arguments = json!({"cmd": cmd, "yield_time_ms": 250, "sandbox_permissions": "danger-full-access"});
    let id = mcp.request("tools/call", &json!({"name": "exec_command", "arguments": arguments}));
    let (_, wide) = answered(&mut mcp, id, "accept");
    assert_eq!((wide["outcome"].as_str(), level(&wide).as_str()), (Some("running"), "none"), "{wide}");
    assert_ne!(level(&plain), "none");
    for (begun, expected) in [(&plain, level(&plain)), (&wide, "none".to_owned())] {
        let id = &begun["session_id"];
        let told = mcp.call("write_stdin", &json!({"session_id": id, "yield_time_ms": 250}));
        assert_eq!((told["outcome"].as_str(), level(&told)), (Some("running"), expected.clone()), "{told}");
        // A signal that changes nothing.
        let told = mcp.call("kill", &json!({"session_id": id, "signal": "SIGCONT"}));
        assert_eq!((told["outcome"].as_str(), level(&told)), (Some("running"), expected), "{told}");
    }
    // What it wrote is known by its command, whichever call saw its end.
    let ended = mcp.call("kill", &json!({"session_id": wide["session_id"]}));
    mcp.over(&wide["session_id"], ended);
    let listed = mcp.result("resources/list", &json!({}))["resources"].take();
    let described = listed[0]["description"].as_str().unwrap();
    assert!(described.contains(cmd), "{listed}");
}

#[test]
fn where_nobody_can_be_asked_it_is_refused() {
    let place = Place::new("");
    for capabilities in [json!({}), json!({"elicitation": {"url": {}}})] {
        let mut mcp = place.session(&[], &capabilities);
        let result = mcp.result("tools/call", &ask("require_escalated"));
        assert_eq!(result["isError"], true);
        let why = result["structuredContent"]["message"].as_str().unwrap();
        assert!(why.contains("declares no `elicitation`"), "{why}");
        assert!(!place.path("ws/made").exists());
        assert!(!mcp.has_others());
    }
    let mut mcp = place.session(&[], &json!({"elicitation": {"form": {}}}));
    let id = mcp.request("tools/call", &ask("require_escalated"));
    assert_eq!(answered(&mut mcp, id, "accept").1["exit_code"], 0);
}

#[test]
fn nothing_passes_the_ceiling() {
    let place = Place::new("");
    let mut mcp = place.session(&[], &forms());
    for (word, reason) in [
        ("danger-full-access", "this server allows at most workspace-write; `exec_server.max_policy`"),
        ("external-sandbox", "this server allows at most workspace-write; `exec_server.max_policy`"),
        ("network", "the network, which this server does not allow; `exec_server.network_access`"),
        ("everything", "sandbox_permissions has no `everything`"),
    ] {
        let refused = mcp.result("tools/call", &ask(word))["structuredContent"].take();
        assert_eq!(refused["outcome"], "refused");
        assert!(refused["message"].as_str().unwrap().contains(reason), "{refused}");
    }
    // Nobody was even asked.
    assert!(!mcp.has_others() && !place.path("ws/made").exists());
    // What a person would be asked for is the bound, and no more.
    let id = mcp.request("tools/call", &ask("require_escalated"));
    let (question, _) = answered(&mut mcp, id, "decline");
    assert!(question.contains("workspace-write without network"), "{question}");

    // Where the bound is higher, the same words lead further.
    let place = Place::new("exec_server.network_access = true\n");
    let mut mcp = place.session(&["-s", "workspace-write"], &forms());
    let id = mcp.request("tools/call", &ask("network"));
    let (question, done) = answered(&mut mcp, id, "accept");
    assert!(question.contains("workspace-write with the network"), "{question}");
    assert_eq!(done["exit_code"], 0);
    // Less than the default is nobody's matter.
    let less = mcp.result("tools/call", &ask("read-only"))["structuredContent"].take();
    assert_eq!(less["exit_code"], 1, "{less}");
    assert!(!mcp.has_others());
}

#[test]
fn a_default_above_the_ceiling_serves_nobody() {
    let place = Place::new("");
    let output = place.command(&["--mcp", "-s", "danger-full-access"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        words.contains("`sandbox_mode` is the policy of calls over MCP") && words.lines().count() == 1,
        "{words}"
    );
}

#[test]
fn who_ran_what_is_written_down() {
    let place = Place::new("");
    let log = place.path("home/audit");
    std::fs::write(place.path("home/config.toml"), format!("audit.file = {log:?}\n")).unwrap();
    let mut mcp = place.session(&[], &json!({}));
    mcp.call("shell", &json!({"command": ["true"]}));
    mcp.result("tools/call", &ask("danger-full-access"));
    let lines = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&Value> = lines.iter().map(|line| &line["event"]).collect();
    assert_eq!(events, ["start", "end", "refused"]);
    assert_eq!(
        (&lines[0]["client"], &lines[0]["mode"], &lines[0]["refused"]),
        (&json!("test 1"), &json!("read-only"), &Value::Null)
    );
    assert_eq!((&lines[2]["argv"], &lines[2]["mode"]), (&json!(["touch", "made"]), &Value::Null));
    assert!(lines[2]["refused"].as_str().unwrap().contains("danger-full-access"));
}

#[test]
fn who_was_asked_and_what_was_decided_is_written_down() {
    let place = Place::new("");
    let log = place.path("home/audit");
    std::fs::write(place.path("home/config.toml"), format!("audit.file = {log:?}\n")).unwrap();
    let events = || -> Vec<Value> {
        let written = std::fs::read_to_string(&log).unwrap();
        // What has no end yet is being written.
        let lines = written.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let mut mcp = place.session(&[], &forms());
    for (action, decision) in [("accept", "approved"), ("decline", "denied"), ("cancel", "denied")] {
        let before = if log.exists() { events().len() } else { 0 };
        let id = mcp.request("tools/call", &ask("workspace-write"));
        answered(&mut mcp, id, action);
        let events = events().split_off(before);
        let (question, answer) = (&events[0], &events[1]);
        for line in [question, answer] {
            assert_eq!(line["event"], "approval", "{line}");
            assert_eq!((&line["client"], &line["process"]), (&json!("test 1"), &json!("shell")));
            assert_eq!((&line["command"], &line["reason"]), (&json!("touch made"), &json!("request")));
            assert_eq!(line["opens"], json!(["the policy workspace-write", "without network"]));
            assert_eq!(line["justification"], "I \u{1b}[1mmust");
        }
        assert_eq!(question["approval_id"], answer["approval_id"]);
        assert_eq!((&question["decision"], &question["decided_by"]), (&Value::Null, &Value::Null));
        assert_eq!((&answer["decision"], &answer["decided_by"]), (&json!(decision), &json!("user")));
        // Before what follows from it.
        assert_eq!(events[2]["event"], if action == "accept" { "start" } else { "refused" });
    }
    // One that is given up meanwhile.
    let before = events().len();
    let id = mcp.request("tools/call", &ask("workspace-write"));
    assert_eq!(mcp.other()["method"], "elicitation/create");
    mcp.notify("notifications/cancelled", &json!({"requestId": id}));
    // With its refusal, which nobody is told.
    let deadline = Instant::now() + PATIENCE;
    while events().len() < before + 3 {
        assert!(Instant::now() < deadline, "{:?}", events());
        std::thread::yield_now();
    }
    let answer = events().remove(before + 1);
    assert_eq!((&answer["decision"], &answer["decided_by"]), (&json!("withdrawn"), &json!("nobody")));
    // One that nobody could be asked.
    let before = events().len();
    let mut nobody = place.session(&[], &json!({}));
    nobody.call("shell", &json!({"command": ["touch", "made"], "sandbox_permissions": "workspace-write"}));
    let answer = events().remove(before + 1);
    assert_eq!((&answer["decision"], &answer["decided_by"]), (&json!("nobody_to_ask"), &json!("nobody")));
    assert!(answer["words"].as_str().unwrap().contains("declares no `elicitation`"), "{answer}");
    drop(nobody);

    // What can't be noted is not asked.
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    let refused = mcp.result("tools/call", &ask("workspace-write"))["structuredContent"].take();
    assert_eq!(refused["outcome"], "refused");
    assert!(refused["message"].as_str().unwrap().contains("the audit log"), "{refused}");
    assert!(!mcp.has_others());
}
