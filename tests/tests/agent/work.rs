//! Real work.

use codex_tests::harness::{Api, Model, Presence, Scene, own_rust, require_tool};
use serde_json::json;

use super::{call, events, exec, exec_at, run_command, say};

const TEST: &str = "import unittest\nfrom calc import mean\n\n\nclass Mean(unittest.TestCase):\n    def test_mean(self):\n        \
                    self.assertEqual(mean([1, 2, 6]), 3)\n\n    def test_none(self):\n        self.assertEqual(mean([]), 0)\n";

pub(super) fn a_failing_test_is_fixed_in_a_python_project(scene: &Scene) {
    if require_tool("python3").is_none() {
        return;
    }
    scene.file(
        "workspace/calc.py",
        "def mean(values):\n    total = sum(values)\n    return total / len(values) + 1\n",
    );
    scene.file("workspace/test_calc.py", TEST);
    let patch = "*** Begin Patch\n*** Update File: calc.py\n@@ def mean(values):\n-    total = sum(values)\n-    return total / \
                 len(values) + 1\n+    if not values:\n+        return 0\n+    return sum(values) / len(values)\n*** End Patch";
    let test = "python3 -B -m unittest 2>&1 | tail -n 3";
    let model = Model::serve(
        Api::Chat,
        vec![
            run_command(test),
            call("shell", &json!({ "command": ["cat", "calc.py", "test_calc.py"] })),
            call("apply_patch", &json!({ "input": patch })),
            run_command(test),
            say("The tests pass."),
        ],
    );
    let level = ["--isolation", scene.level().name()];
    let run =
        exec_at(scene, &model, &level, &["--json", "-s", "workspace-write", "fix it"]).run().expect_code(0);
    let outputs = model.outputs();
    assert!(outputs[0].contains("FAILED (failures=1, errors=1)"), "{outputs:?}");
    assert!(outputs[1].contains("def test_none"), "{outputs:?}");
    assert_eq!(outputs[2], "Success. Updated the following files:\nM calc.py\n");
    assert!(outputs[3].contains("\nOK\n"), "{outputs:?}");
    let change = events(&run)
        .into_iter()
        .find(|event| event["type"] == "item.completed" && event["item"]["type"] == "file_change");
    let change = change.unwrap_or_else(|| run.fail("no change of a file was told"));
    assert_eq!(change["item"]["status"], "completed");
    assert_eq!(
        change["item"]["changes"],
        json!([{ "path": scene.workspace().join("calc.py"), "kind": "update" }])
    );
}

pub(super) fn a_failing_test_is_fixed_in_a_crate(scene: &Scene) {
    let Some(path) = own_rust(scene) else { return };
    scene.file("workspace/Cargo.toml", "[package]\nname = 'small'\nversion = '0.1.0'\nedition = '2021'\n");
    scene.directory("workspace/src");
    let source = "pub fn add(a: u8, b: u8) -> u8 {\n    a - b\n}\n\n#[test]\nfn adds() {\n    assert_eq!(add(2, 1), 3);\n}\n";
    scene.file("workspace/src/lib.rs", source);
    let heredoc = "apply_patch <<'EOF'\n*** Begin Patch\n*** Update File: src/lib.rs\n@@\n-    a - b\n+    a + b\n*** End Patch\nEOF";
    let test = |name: &str| {
        call("shell", &json!({ "command": ["cargo", name, "--offline", "-q"], "timeout_ms": 300_000 }))
    };
    let model =
        Model::serve(Api::Responses, vec![test("test"), run_command(heredoc), test("test"), say("done")]);
    let run = exec(scene, &model, &["-s", "workspace-write", "fix it"]).env("PATH", &path);
    run.env("CARGO_HOME", scene.directory("workspace/cargo")).run().expect_code(0);
    let outputs = model.outputs();
    assert!(outputs[0].starts_with("Process exited with code 101"), "{outputs:?}");
    assert!(outputs[1].starts_with("Success."), "{outputs:?}");
    assert!(outputs[2].starts_with("Process exited with code 0"), "{outputs:?}");
}

pub(super) fn a_server_in_a_session_is_talked_to(scene: &Scene) {
    if require_tool("python3").is_none() || require_tool("curl").is_none() {
        return;
    }
    scene.file("workspace/page", "the page\n");
    let write = |chars: &str, wait: u64| {
        call("write_stdin", &json!({ "session_id": 1000, "chars": chars, "yield_time_ms": wait }))
    };
    let fetch = "until curl -sf http://127.0.0.1:8123/page; do sleep 0.1; done; echo fetched\n";
    let model = Model::serve(
        Api::Responses,
        vec![
            call("exec_command", &json!({ "cmd": "sh", "tty": true, "yield_time_ms": 250 })),
            write("python3 -m http.server 8123 >/dev/null 2>&1 &\n", 250),
            write(fetch, 5_000),
            write("exit 5\n", 10_000),
            call("write_stdin", &json!({ "session_id": 1000 })),
            say("served"),
        ],
    );
    let run = exec(scene, &model, &["--json", "serve"]).run().expect_code(0);
    let outputs = model.outputs();
    assert!(outputs[0].starts_with("Process running with session ID 1000\n"), "{outputs:?}");
    assert!(outputs[2].contains("the page\n") && outputs[2].contains("\nfetched"), "{outputs:?}");
    assert!(outputs[3].starts_with("Process exited with code 5"), "{outputs:?}");
    assert!(outputs[3].contains("http.server"), "{outputs:?}");
    assert!(outputs[4].contains("there is no session 1000"), "{outputs:?}");
    let ends = events(&run);
    let mut ends = ends
        .iter()
        .filter(|event| event["type"] == "item.completed" && event["item"]["type"] == "command_execution");
    let end = ends.next().unwrap_or_else(|| run.fail("the session's end was not told"));
    assert_eq!((&end["item"]["exit_code"], &end["item"]["session_id"]), (&json!(5), &json!(1000)));
    assert!(ends.next().is_none(), "told twice: {}", run.describe());
}

/// What still goes on when the model has said its last word ends with it, and is told of.
pub(super) fn a_sessions_end_is_the_runs_end(scene: &Scene) {
    let presence = Presence::new(scene, "held");
    let held = presence.path().display();
    let command = format!("exec 9>{held}; trap 'echo asked; exit 7' TERM; while :; do sleep 0.05; done");
    let model = Model::serve(
        Api::Responses,
        vec![call("exec_command", &json!({ "cmd": command, "yield_time_ms": 1000 })), say("left it running")],
    );
    let run = exec(scene, &model, &["--json", "-s", "danger-full-access", "x"]).run().expect_code(0);
    assert!(presence.ended(), "{}", run.describe());
    let told = events(&run);
    let end = told
        .iter()
        .find(|event| event["type"] == "item.completed" && event["item"]["type"] == "command_execution");
    let end = end.unwrap_or_else(|| run.fail("the end of the session was not told"));
    assert!(
        end["item"]["aggregated_output"].as_str().is_some_and(|text| text.contains("asked")),
        "{}",
        run.describe()
    );
}
