//! Several calls at once, long output, and what a patch may read.

use codex_tests::harness::{Api, Model, Scene};
use serde_json::{Value, json};

use super::{exec, run_command, say};

fn together(calls: &[(&str, Value)]) -> Value {
    let calls: Vec<Value> =
        calls.iter().map(|(name, arguments)| json!({ "name": name, "arguments": arguments })).collect();
    json!({ "calls": calls })
}

pub(super) fn calls_run_at_once_but_for_patches(scene: &Scene) {
    for api in Api::ALL {
        let patch = "*** Begin Patch\n*** Update File: f\n@@\n-old\n+new\n*** End Patch";
        let model = Model::serve(
            api,
            vec![
                run_command("rm -f way back; mkfifo way back; echo old > f"),
                // Each waits for the other.
                together(&[
                    ("exec_command", json!({ "cmd": "echo one > way; cat back" })),
                    ("shell", json!({ "command": ["sh", "-c", "cat way; echo two > back"] })),
                ]),
                together(&[
                    ("exec_command", json!({ "cmd": "sleep 0.3; cat f" })),
                    ("apply_patch", json!({ "input": patch })),
                    ("exec_command", json!({ "cmd": "cat f" })),
                ]),
                say("done"),
            ],
        );
        let run = exec(scene, &model, &["-s", "workspace-write", "x"]).run().expect_code(0);
        let outputs = model.outputs();
        let ends: Vec<&str> = outputs.iter().filter_map(|output| output.lines().last()).collect();
        assert_eq!(ends[1..], ["two", "one", "old", "M f", "new"], "{}", run.describe());
    }
}

pub(super) fn long_output_is_kept_and_can_be_looked_up(scene: &Scene) {
    let model = Model::serve(
        Api::Responses,
        vec![
            run_command("seq -f line-%.0f 200000; echo failed >&2; exit 1"),
            run_command(
                "grep -n line-123456 \"$CODEX_HOME\"/tmp/output/*.out; echo x >> \"$CODEX_HOME\"/tmp/output/*.out",
            ),
            json!({ "calls": [{ "name": "exec_command", "arguments": { "cmd": "seq 5000", "max_output_tokens": 100 } }] }),
            say("done"),
        ],
    );
    let run = exec(scene, &model, &["-s", "workspace-write", "x"]).run().expect_code(0);
    let outputs = model.outputs();
    assert!(outputs[0].starts_with("Process exited with code 1\n"), "{}", run.describe());
    for expected in ["all output: ", "line-1\n", "line-200000\n", "failed\n", "bytes omitted"] {
        assert!(outputs[0].contains(expected), "{expected}: {}", outputs[0]);
    }
    assert!(outputs[0].len() < 48 * 1024, "{}", outputs[0].len());
    assert!(outputs[1].contains("123456:line-123456"), "{}", outputs[1]);
    assert!(
        outputs[1].contains("Read-only file system") || outputs[1].contains("Permission denied"),
        "{}",
        outputs[1]
    );
    assert!(outputs[2].len() < 1000 && outputs[2].contains("5000\n"), "{}", outputs[2]);
}

pub(super) fn a_patch_reads_no_more_than_a_command(scene: &Scene) {
    let secret = scene.file("workspace/secret", "nobody may know this line\n").display().to_string();
    let patch = "*** Begin Patch\n*** Update File: secret\n@@\n-nobody may know that line\n+x\n*** End Patch";
    let model = Model::serve(
        Api::Responses,
        vec![together(&[("apply_patch", json!({ "input": patch }))]), run_command("cat secret"), say("done")],
    );
    let denied = format!("sandbox.deny_read=[{secret:?}]");
    let run = exec(scene, &model, &["-s", "workspace-write", "-c", &denied, "x"]).run().expect_code(0);
    let outputs = model.outputs();
    assert!(outputs.iter().all(|output| !output.contains("may know this")), "{}", run.describe());
    assert!(outputs[0].contains("verification failed"), "{outputs:?}");
    // Where it may be read, the answer says what comes nearest.
    let model = Model::serve(
        Api::Responses,
        vec![together(&[("apply_patch", json!({ "input": patch }))]), say("done")],
    );
    exec(scene, &model, &["-s", "workspace-write", "x"]).run().expect_code(0);
    assert!(model.outputs()[0].contains("its lines are not in the file"), "{:?}", model.outputs());
}
