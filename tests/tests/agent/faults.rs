//! Servers that fail, and models that call wrongly.

use std::fs;

use codex_tests::harness::{Api, Model, Scene};
use serde_json::{Value, json};

use super::{events, exec, kinds, run_command, say};

/// What fails, whole, in any way that passes.
fn passing_faults() -> Vec<Value> {
    let works = "echo x >> ran";
    let mut cut = run_command(works);
    cut["cut"] = json!(150);
    vec![
        cut,
        json!({ "garbage": "data: {\"type\": \"response.outp\n\n" }),
        json!({ "garbage": "<html>\u{0}\u{1b}[2J" }),
        json!({ "garbage": "" }),
        json!({ "garbage": "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\",\"message\":\"oh\"}}}\n\ndata: {\"error\":{\"code\":\"server_error\",\"message\":\"oh\"}}\n\n" }),
        json!({ "status": 429, "headers": { "retry-after": "0" }, "body": "{\"error\":{\"message\":\"slow down\"}}" }),
        json!({ "status": 500, "headers": { "retry-after-ms": "1" }, "body": "oops" }),
        json!({ "status": 503, "headers": { "retry-after-ms": "1" }, "body": "" }),
    ]
}

pub(super) fn a_server_that_recovers_is_asked_again(scene: &Scene) {
    for api in Api::ALL {
        for fault in passing_faults() {
            let model = Model::serve(api, vec![fault.clone(), say("well again")]);
            let run = exec(scene, &model, &["--json", "x"]).run().expect_code(0);
            let events = events(&run);
            assert_eq!(
                kinds(&events),
                [
                    "thread.started",
                    "turn.started",
                    "item.completed error",
                    "item.completed agent_message",
                    "turn.completed"
                ],
                "{fault}: {}",
                run.describe()
            );
            assert_eq!(model.requests().len(), 2, "{fault}");
        }
        // Slowly, in pieces of any size, is no fault.
        let model = Model::serve(api, vec![json!({ "text": "sl\u{f6}w", "pieces": 1, "pause_ms": 1 })]);
        assert_eq!(exec(scene, &model, &["x"]).run().expect_code(0).text(), "sl\u{f6}w\n");
    }
}

pub(super) fn an_answer_that_breaks_off_runs_nothing_twice(scene: &Scene) {
    for api in Api::ALL {
        let ran = scene.path("workspace/ran");
        // The whole call has been heard by then, and the end of the answer has not.
        let whole = json!({ "calls": [{ "name": "exec_command", "arguments": { "cmd": "echo x >> ran" } }], "text": "now" });
        let length = if api == Api::Responses { 600 } else { 3300 };
        for cut in (100..length).step_by(if api == Api::Responses { 50 } else { 400 }) {
            let mut broken = whole.clone();
            broken["cut"] = json!(cut);
            let model = Model::serve(api, vec![broken, whole.clone(), say("done")]);
            let run = exec(scene, &model, &["-s", "workspace-write", "x"]).run().expect_code(0);
            assert_eq!(fs::read_to_string(&ran).unwrap_or_default(), "x\n", "{cut}: {}", run.describe());
            fs::remove_file(&ran).unwrap_or_default();
        }
    }
}

pub(super) fn a_server_that_stays_broken_fails_the_turn(scene: &Scene) {
    let retries = [
        "-c",
        "model_providers.scripted.request_max_retries=2",
        "-c",
        "model_providers.scripted.stream_max_retries=1",
    ];
    let cases = [
        (
            json!({ "status": 500, "headers": { "retry-after-ms": "1" }, "body": "oops" }),
            "answered 500: oops",
            3,
        ),
        (json!({ "status": 429, "headers": { "retry-after": "86400" } }), "rate limit", 1),
        (
            json!({ "status": 401, "body": "{\"error\":{\"message\":\"who are you\"}}" }),
            "401: who are you",
            1,
        ),
        (json!({ "garbage": "" }), "broke off", 2),
        (json!({ "status": 302, "headers": { "location": "http://127.0.0.1:1/" } }), "answered 302", 1),
        (json!({ "text": "x", "cut": 40, "hang": true }), "sent nothing for 0.2 s", 2),
    ];
    for (fault, expected, requests) in cases {
        let model = Model::serve(Api::Responses, vec![fault.clone()]);
        // What hangs is given up soon, and all else has the time that it takes.
        let patience = if fault["hang"] == true { 200 } else { 60_000 };
        let patience = format!("model_providers.scripted.stream_idle_timeout_ms={patience}");
        let words = ["-c", &patience, "--json", "x"];
        let run = exec(scene, &model, &[&retries[..], &words].concat()).run().expect_code(1);
        let events = events(&run);
        let last = events.last().unwrap_or_else(|| run.fail("no event"));
        assert_eq!(last["type"], "turn.failed", "{}", run.describe());
        let message = last["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(expected), "{fault}: {message}");
        assert_eq!(model.requests().len(), requests, "{fault}: {}", run.describe());
    }
    // Nobody there.
    let model = Model::serve(Api::Responses, vec![say("x")]);
    let words = ["-c", "model_providers.scripted.base_url=http://127.0.0.1:1/v1", "x"];
    let run = exec(scene, &model, &[&retries[..], &words].concat()).run().expect_code(1);
    assert!(
        run.error_text().contains("http://127.0.0.1:1/v1/responses can't be reached"),
        "{}",
        run.describe()
    );
}

pub(super) fn wrong_calls_are_answered_in_words(scene: &Scene) {
    let raw = |name: &str, arguments: &str| json!({ "calls": [{ "name": name, "arguments": arguments }] });
    let cases = [
        (raw("exec_command", "{\"cmd\": \"ech"), "no valid JSON"),
        (raw("exec_command", "[]"), "have to be a JSON object"),
        (raw("exec_command", "{}"), "`cmd` of exec_command is missing"),
        (raw("exec_command", "{\"cmd\": 1}"), "has to be a string"),
        (raw("exec_command", "{\"cmd\": \"true\", \"timeout\": 1}"), "has no argument `timeout`"),
        (raw("exec_command", "{\"cmd\": \"true\", \"workdir\": \"nowhere\"}"), "nowhere: No such file"),
        (raw("exec_command", "{\"cmd\": \" \"}"), "the command is empty"),
        (raw("shell", "{\"command\": \"ls\"}"), "has to be an array"),
        (raw("shell", "{\"command\": []}"), "the command is empty"),
        (raw("shell", "{\"command\": [\"no-such-program\"]}"), "no-such-program"),
        (raw("write_stdin", "{\"session_id\": 7}"), "there is no session 7"),
        (raw("apply_patch", "{\"input\": \"nonsense\"}"), "has to be `*** Begin Patch`"),
        (raw("update_plan", "{\"plan\": [{\"step\": 1}]}"), "each entry of `plan`"),
        (raw("frobnicate", "{}"), "there is no tool `frobnicate`; there are `exec_command`"),
        (raw("shell", "{\"command\": [\"sleep\", \"60\"], \"timeout_ms\": 50}"), "deadline of 50 ms"),
    ];
    for api in Api::ALL {
        let (answers, expected): (Vec<_>, Vec<_>) = cases.clone().into_iter().unzip();
        let model = Model::serve(api, [answers, vec![say("all wrong")]].concat());
        let run = exec(scene, &model, &["-s", "workspace-write", "x"]).run().expect_code(0);
        let outputs = model.outputs();
        assert_eq!(outputs.len(), expected.len(), "{}", run.describe());
        for (output, expected) in outputs.iter().zip(expected) {
            assert!(output.contains(expected), "{expected}: {output}");
        }
    }
    // Calls that have the same id, or none, have an answer each; huge arguments are no matter.
    let huge = format!("printf %s {} | wc -c", "x".repeat(1_000_000));
    let same = json!({ "calls": [
        { "id": "same", "name": "exec_command", "arguments": { "cmd": "echo one" } },
        { "id": "same", "name": "exec_command", "arguments": { "cmd": "echo two" } },
        { "id": "", "name": "exec_command", "arguments": { "cmd": "cat > in; wc -c < in" } },
        { "id": "huge", "name": "exec_command", "arguments": { "cmd": huge } },
    ] });
    let model = Model::serve(Api::Responses, vec![same, say("done")]);
    exec(scene, &model, &["-s", "workspace-write", "x"]).run().expect_code(0);
    let outputs = model.outputs();
    assert!(
        outputs[0].ends_with("one\n") && outputs[1].ends_with("two\n") && outputs[2].ends_with("0\n"),
        "{outputs:?}"
    );
    // More than the kernel lets one argument be.
    assert!(
        outputs[3].contains("too long") || outputs[3].contains("too large") || outputs[3].contains("E2BIG"),
        "{}",
        outputs[3]
    );
}

pub(super) fn a_window_is_kept_before_the_server_says_so(scene: &Scene) {
    // Each output takes some 2000 tokens, and what is fixed some more.
    let long = || run_command("seq -w 100000 101400");
    for (setting, usage, left_out) in [
        ("model_context_window=1000000", json!([10, 5]), false),
        ("model_context_window=8000", json!([10, 5]), true),
        ("model_providers.scripted.model_context_window=8000", json!([10, 5]), true),
        // The server counts a hundred times as much as anybody would think.
        ("model_context_window=200000", json!([300_000, 5]), true),
    ] {
        let mut acts = vec![long(), long(), long(), long(), say("done")];
        acts.iter_mut().for_each(|act| act["usage"] = usage.clone());
        let model = Model::serve(Api::Responses, acts);
        let run = exec(scene, &model, &["--json", "-c", setting, "x"]).run().expect_code(0);
        let outputs = model.outputs();
        let is_left_out = |output: &String| output.contains("left out to make room");
        assert_eq!(outputs.iter().any(is_left_out), left_out, "{setting}: {}", run.describe());
        // The oldest first, and never what the model has not seen.
        assert!(outputs.is_sorted_by_key(|output| !is_left_out(output)), "{outputs:?}");
        for request in model.requests() {
            let last =
                request["input"].as_array().and_then(|items| items.last()).cloned().unwrap_or_default();
            assert!(!last.to_string().contains("left out to make room"), "{last}");
        }
        let told = events(&run).iter().any(|event| {
            let message = event["item"]["message"].as_str().unwrap_or_default();
            message.contains("oldest tool outputs are left out")
        });
        assert_eq!(told, left_out, "{}", run.describe());
    }
}

pub(super) fn a_conversation_that_is_too_long_loses_its_oldest_outputs(scene: &Scene) {
    let overflow = json!({ "status": 400, "body": "{\"error\":{\"code\":\"context_length_exceeded\",\"message\":\"too long\"}}" });
    let print = |mark: &str| run_command(&format!("seq -f {mark}%g 500"));
    let model = Model::serve(Api::Responses, vec![print("old"), print("new"), overflow.clone(), say("fits")]);
    let run = exec(scene, &model, &["--json", "x"]).run().expect_code(0);
    let told = events(&run).iter().any(|event| {
        event["item"]["message"]
            .as_str()
            .is_some_and(|message| message.contains("1 oldest tool outputs are left out"))
    });
    assert!(told, "{}", run.describe());
    let outputs = model.outputs();
    assert!(outputs[0].contains("left out") && outputs[1].contains("new1\nnew2\n"), "{outputs:?}");
    // Where nothing can go, it fails in clear words.
    let model = Model::serve(Api::Responses, vec![overflow]);
    let run = exec(scene, &model, &["x"]).run().expect_code(1);
    assert!(
        run.error_text().contains("longer than what the model can read at once: too long"),
        "{}",
        run.describe()
    );
}
