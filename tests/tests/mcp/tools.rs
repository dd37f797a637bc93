//! The tools, and what they give.

use codex_tests::harness::require_tool;
use serde_json::{Value, json};

use super::raw::{Mcp, Place};

const WRITES: [&str; 2] = ["-s", "workspace-write"];

fn session(place: &Place) -> Mcp {
    place.session(&WRITES, &json!({}))
}

#[test]
fn tools_are_listed_with_what_the_policy_makes_of_them() {
    let hints = |config: &str, arguments: &[&str]| {
        let place = Place::new(config);
        let mut mcp = place.session(arguments, &json!({}));
        let tools = mcp.result("tools/list", &json!({}))["tools"].take();
        let names: Vec<&str> =
            tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["exec_command", "write_stdin", "shell", "apply_patch", "kill", "read_output"]);
        for tool in tools.as_array().unwrap() {
            assert_eq!(
                (&tool["inputSchema"]["type"], &tool["outputSchema"]["type"]),
                (&json!("object"), &json!("object"))
            );
        }
        let hint = |name: usize, hint: &str| tools[name]["annotations"][format!("{hint}Hint")].clone();
        assert_eq!(hint(5, "readOnly"), true);
        (hint(0, "readOnly"), hint(0, "destructive"), hint(0, "openWorld"))
    };
    let read_only = "exec_server.max_policy = \"read-only\"\n";
    assert_eq!(hints(read_only, &[]), (json!(true), Value::Null, json!(false)));
    assert_eq!(hints("", &WRITES), (json!(false), json!(true), json!(false)));
    // With more to be had for the asking.
    assert_eq!(hints("", &[]), (json!(false), json!(true), json!(false)));
    for reaches_others in ["exec_server.network_access = true\n", "sandbox.allow_hosts = [\"a.example\"]\n"] {
        assert_eq!(hints(reaches_others, &WRITES), (json!(false), json!(true), json!(true)));
    }
}

#[test]
fn a_program_runs_to_its_end_whatever_that_is() {
    let place = Place::new("");
    let mut mcp = session(&place);
    let done = mcp.call("shell", &json!({"command": ["sh", "-c", "echo out; pwd; touch made; exit 3"]}));
    let workspace = place.path("ws").canonicalize().unwrap();
    assert_eq!(
        (&done["outcome"], &done["exit_code"], &done["timed_out"]),
        (&json!("exited"), &json!(3), &json!(false))
    );
    assert_eq!(done["output"]["text"], format!("out\n{}\n", workspace.display()));
    assert!(done["denials"] == json!([]) && done["duration_ms"].as_f64().unwrap() > 0.0, "{done}");
    assert!(place.path("ws/made").exists());
    let late =
        mcp.call("shell", &json!({"command": ["sh", "-c", "echo so far; sleep 1000"], "timeout_ms": 300}));
    assert_eq!((&late["outcome"], &late["timed_out"]), (&json!("timed_out"), &json!(true)), "{late}");
    // On a busy machine it may have come to nothing.
    assert!("so far\n".starts_with(late["output"]["text"].as_str().unwrap()), "{late}");
    let killed = mcp.call("shell", &json!({"command": ["sh", "-c", "kill -9 $$"]}));
    assert_eq!((&killed["outcome"], &killed["signal"]), (&json!("signalled"), &json!(9)), "{killed}");
    let none =
        mcp.result("tools/call", &json!({"name": "shell", "arguments": {"command": ["no-such-program"]}}));
    assert_eq!(
        (&none["isError"], &none["structuredContent"]["outcome"]),
        (&json!(true), &json!("not_executed"))
    );
    // What the server has in its environment and the policy keeps back.
    let environment = mcp.call("shell", &json!({"command": ["env"]}));
    assert!(!environment["output"]["text"].as_str().unwrap().contains("API_TOKEN"), "{environment}");
    assert_eq!(mcp.end(), Some(0));
}

#[test]
fn what_is_refused_is_told_as_data() {
    let place = Place::new("");
    let outside = place.path("outside/file");
    // It can be done here, by whoever may.
    std::fs::write(&outside, "").unwrap();
    std::fs::remove_file(&outside).unwrap();
    let mut mcp = session(&place);
    let done = mcp.call(
        "shell",
        &json!({"command": ["touch", outside.to_str().unwrap()], "workdir": place.path("outside")}),
    );
    assert_eq!((&done["outcome"], &done["exit_code"]), (&json!("exited"), &json!(1)));
    assert!(!outside.exists());
    let denial = &done["denials"][0];
    assert_eq!((&denial["operation"], &denial["promise"]), (&json!("create"), &json!("P1")), "{done}");
    assert_eq!(denial["target"], outside.to_str().unwrap());
    assert!(["namespaces", "landlock"].contains(&done["enforcement"]["level"].as_str().unwrap()), "{done}");
    assert_eq!(done["enforcement"]["expected"], false);
}

#[test]
fn a_command_goes_on_and_is_talked_to() {
    let place = Place::new("");
    let mut mcp = session(&place);
    let command = "test -t 0 && echo terminal; while read -r line; do echo \"got $line\"; done";
    let begun = mcp.call("exec_command", &json!({"cmd": command, "tty": true, "yield_time_ms": 250}));
    assert_eq!((&begun["outcome"], &begun["exit_code"]), (&json!("running"), &Value::Null));
    assert_eq!(begun["enforcement"]["expected"], true);
    let id = &begun["session_id"];
    let before = mcp.hears(&begun, "terminal");
    assert!(!before.contains("got"), "{before}");
    let said = mcp.call("write_stdin", &json!({"session_id": id, "chars": "one\n"}));
    mcp.hears(&said, "got one");
    let said = mcp.call("write_stdin", &json!({"session_id": id, "chars": "\u{3}"}));
    let over = mcp.over(id, said);
    assert_eq!((&over["outcome"], &over["signal"]), (&json!("signalled"), &json!(2)), "{over}");
    let gone = mcp.call("write_stdin", &json!({"session_id": id}));
    assert_eq!(gone["outcome"], "refused", "{gone}");

    // Without a terminal: ended by a signal of its own choice, and by force.
    let trap = "trap 'echo caught; exit 7' USR1; echo ready; while :; do sleep 0.1; done";
    let begun = mcp.call("exec_command", &json!({"cmd": trap, "yield_time_ms": 250}));
    mcp.hears(&begun, "ready");
    let id = &begun["session_id"];
    let caught = mcp.call("kill", &json!({"session_id": id, "signal": "SIGUSR1"}));
    let caught = mcp.over(id, caught);
    assert_eq!(caught["exit_code"], 7, "{caught}");
    let stubborn = "trap '' TERM INT; echo ready; while :; do sleep 0.1; done";
    let begun = mcp.call("exec_command", &json!({"cmd": stubborn, "yield_time_ms": 250}));
    mcp.hears(&begun, "ready");
    let id = &begun["session_id"];
    let killed = mcp.call("kill", &json!({"session_id": id}));
    assert_eq!(mcp.over(id, killed)["outcome"], "cancelled");
    for wrong in [json!({"session_id": 1}), json!({"session_id": 1, "signal": "SIGNOTHING"}), json!({})] {
        assert_eq!(mcp.call("kill", &wrong)["outcome"], "refused", "{wrong}");
    }
}

#[test]
fn output_that_is_too_long_can_be_read_piece_by_piece() {
    let place = Place::new("");
    let mut mcp = session(&place);
    assert_eq!(mcp.result("resources/list", &json!({}))["resources"], json!([]));
    let done = mcp.call("exec_command", &json!({"cmd": "seq 100000", "max_output_tokens": 100}));
    assert_eq!((&done["truncated"], &done["spill"]["complete"]), (&json!(true), &json!(true)), "{done}");
    assert!(done["output"]["bytes_omitted"].as_u64().unwrap() > 500_000);
    let uri = done["spill"]["uri"].as_str().unwrap();
    let listed = mcp.result("resources/list", &json!({}))["resources"].take();
    assert_eq!((&listed[0]["uri"], &listed[0]["size"]), (&json!(uri), &done["spill"]["bytes"]));
    let templates = mcp.result("resources/templates/list", &json!({}));
    assert_eq!(templates["resourceTemplates"].as_array().unwrap().len(), 2);
    let read =
        |mcp: &mut Mcp, uri: &str| mcp.result("resources/read", &json!({"uri": uri}))["contents"][0].take();
    let lines = read(&mut mcp, &format!("{uri}?line=50000&lines=2"));
    assert_eq!(lines["text"], "50000\n50001\n");
    // Page by page, it is whole.
    let (mut whole, mut next) = (String::new(), json!(0));
    while let Some(offset) = next.as_u64() {
        let page = read(&mut mcp, &format!("{uri}?offset={offset}&bytes=200000"));
        whole += page["text"].as_str().unwrap();
        next = page["_meta"]["codex/next"].clone();
    }
    assert_eq!(whole, (1..=100_000).map(|number| format!("{number}\n")).collect::<String>());
    let page = mcp.call("read_output", &json!({"output": uri, "line": 7, "lines": 1}));
    assert_eq!((&page["text"], &page["file_lines"]), (&json!("7\n"), &json!(100_000)));
    let page = mcp.call("read_output", &json!({"output": uri, "max_bytes": 4}));
    assert_eq!((&page["text"], &page["next"]), (&json!("1\n2\n"), &json!(4)));

    // It is this session's alone, and nothing else can be read by such an address.
    let mut other = session(&place);
    assert_eq!(other.error("resources/read", &json!({"uri": uri})).0, -32002);
    for wrong in
        ["codex://output/../config.toml", "codex://output/", "file:///etc/passwd", "codex://output/x?y=1"]
    {
        let (code, _) = mcp.error("resources/read", &json!({"uri": wrong}));
        assert!([-32002, -32602].contains(&code), "{wrong}: {code}");
    }
    let none =
        mcp.result("tools/call", &json!({"name": "read_output", "arguments": {"output": "../config.toml"}}));
    assert_eq!(none["isError"], true);
}

#[test]
fn patches_are_applied_wholly_or_not_at_all() {
    let place = Place::new("");
    let mut mcp = session(&place);
    let patch = "*** Begin Patch\n*** Add File: new\n+text\n*** End Patch\n";
    let applied = mcp.call("apply_patch", &json!({"input": patch}));
    assert_eq!(applied["outcome"], "applied", "{applied}");
    assert_eq!(std::fs::read_to_string(place.path("ws/new")).unwrap(), "text\n");
    let outside = patch.replace("new", "../outside/new");
    assert_eq!(mcp.call("apply_patch", &json!({"input": outside}))["outcome"], "not_applied");
    assert!(!place.path("outside/new").exists());
    // A command that is one is one.
    let command = format!("apply_patch <<'EOF'\n{}EOF", patch.replace("new", "newer"));
    let applied = mcp.call("exec_command", &json!({"cmd": command}));
    assert_eq!(applied["outcome"], "applied", "{applied}");
    // And one that runs it finds it.
    let script = format!("true; apply_patch <<'EOF'\n{}EOF", patch.replace("new", "newest"));
    let run = mcp.call("exec_command", &json!({"cmd": script}));
    assert_eq!(run["exit_code"], 0, "{run}");
    assert!(place.path("ws/newer").exists() && place.path("ws/newest").exists());
}

#[test]
fn whoever_wants_to_know_is_told_how_far_a_call_is() {
    let place = Place::new("");
    let mut mcp = session(&place);
    let command = "echo first; read -r line; echo \"$line\"";
    let begun = mcp.call("exec_command", &json!({"cmd": command, "tty": true, "yield_time_ms": 250}));
    let params = json!({"name": "shell", "arguments": {"command": ["sh", "-c", "echo busy; until test -e go; do sleep 0.1; done"]},
                        "_meta": {"progressToken": "t"}});
    let id = mcp.request("tools/call", &params);
    let mut last = 0.0;
    for _ in 0..2 {
        let told = mcp.other();
        assert_eq!(
            (&told["method"], &told["params"]["progressToken"]),
            (&json!("notifications/progress"), &json!("t"))
        );
        let progress = told["params"]["progress"].as_f64().unwrap();
        assert!(progress > last, "{told}");
        last = progress;
    }
    let mut told = mcp.other();
    while told["params"]["message"] != "5 bytes of output: busy" {
        told = mcp.other();
        assert!(told["params"]["progress"].as_f64().unwrap() < 60.0, "{told}");
    }
    std::fs::write(place.path("ws/go"), "").unwrap();
    assert_eq!(mcp.answer(id)["result"]["structuredContent"]["exit_code"], 0);
    // Without a token, nobody is.
    while mcp.has_others() {
        assert_eq!(mcp.other()["params"]["progressToken"], "t");
    }
    let done = mcp.call("write_stdin", &json!({"session_id": begun["session_id"], "chars": "x\n"}));
    assert_eq!(mcp.over(&begun["session_id"], done)["exit_code"], 0);
    assert!(!mcp.has_others());
}

#[test]
fn a_set_up_that_begins_anew_loses_nothing() {
    let Some(unshare) = require_tool("unshare") else { return };
    let place = Place::new("");
    // Input that was there before the sandbox stands.
    let mut mcp = place.session_without_namespaces(&unshare);
    let patch = "*** Begin Patch\n*** Add File: new\n+text\n*** End Patch\n";
    let applied = mcp.call("apply_patch", &json!({"input": patch}));
    assert_eq!(applied["outcome"], "applied", "{applied}");
    // What reads the output as it comes.
    let mut mcp = place.session_without_namespaces(&unshare);
    let begun =
        mcp.call("exec_command", &json!({"cmd": "echo ready; exec cat", "tty": true, "yield_time_ms": 250}));
    mcp.hears(&begun, "ready");
    let said = mcp.call("write_stdin", &json!({"session_id": begun["session_id"], "chars": "x\n\u{4}"}));
    let over = mcp.over(&begun["session_id"], said);
    assert_eq!(
        (&over["exit_code"], &over["enforcement"]["level"]),
        (&json!(0), &json!("landlock")),
        "{over}"
    );
}

#[test]
fn a_full_disk_stops_what_is_kept_and_nothing_else() {
    let Some(unshare) = require_tool("unshare") else { return };
    let place = Place::new("");
    let disk = "mkdir -p -m 700 \"$CODEX_HOME/tmp/output\" && \
                mount -t tmpfs -o size=128k,mode=700 none \"$CODEX_HOME/tmp/output\"";
    let mut mcp = place.session_beneath(&unshare, &["-Urm"], disk);
    let done = mcp.call("shell", &json!({"command": ["sh", "-c", "seq 100000; exit 3"]}));
    assert_eq!((&done["exit_code"], &done["output"]["bytes_total"]), (&json!(3), &json!(588_895)), "{done}");
    let spill = &done["spill"];
    assert_eq!(spill["complete"], false);
    assert_eq!(spill["error"], "write: No space left on device (ENOSPC)");
    // What it says that it has can be read, and ends there.
    let bytes = spill["bytes"].as_u64().unwrap();
    let page = mcp.call("read_output", &json!({"output": spill["uri"], "offset": bytes - 1}));
    assert_eq!((&page["file_bytes"], &page["end"]), (&json!(bytes), &json!(bytes)), "{page}");
    assert_eq!(mcp.call("shell", &json!({"command": ["echo", "on"]}))["output"]["text"], "on\n");
}
