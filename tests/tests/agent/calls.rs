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

/// The program itself is in no sandbox: it looks at nothing hidden to say what is there.
pub(super) fn of_what_is_hidden_nothing_is_told(scene: &Scene) {
    scene.directory("workspace/hidden/there");
    scene.file("workspace/hidden/there/file", "x");
    let denied = format!("sandbox.deny_read=[{:?}]", scene.path("workspace/hidden"));
    let patch = |place: &str| {
        format!(
            "cd hidden/{place} && apply_patch <<'E'\n*** Begin Patch\n*** Add File: f\n+x\n*** End Patch\nE"
        )
    };
    let read = |place: &str| {
        let more = json!({ "file_system": { "read": [format!("hidden/{place}")] } });
        json!({ "cmd": "true", "sandbox_permissions": "with_additional_permissions", "additional_permissions": more })
    };
    let answers = |place: &str, options: &[&str]| {
        let model = Model::serve(
            Api::Responses,
            vec![
                together(&[("exec_command", json!({ "cmd": "true", "workdir": format!("hidden/{place}") }))]),
                together(&[(
                    "shell",
                    json!({ "command": ["true"], "workdir": format!("hidden/{place}/file") }),
                )]),
                run_command(&patch(place)),
                together(&[("exec_command", read(place))]),
                say("done"),
            ],
        );
        let words = [&["-s", "workspace-write"], options, &["x"]].concat();
        exec(scene, &model, &words).run().expect_code(0);
        model.outputs().iter().map(|output| output.replace(place, "PLACE")).collect::<Vec<_>>()
    };
    let hidden = answers("there", &["-c", &denied]);
    assert_eq!(hidden, answers("empty", &["-c", &denied]));
    for output in hidden {
        assert!(output.contains("hidden by sandbox.deny_read"), "{output}");
    }
    // Of what is not, each of them tells.
    let (there, empty) = (answers("there", &[]), answers("empty", &[]));
    for (there, empty) in there.iter().zip(&empty) {
        assert_ne!(there, empty);
    }
}

/// However many a model asks for, so many start, and what has ended makes room.
pub(super) fn no_more_sessions_start_than_there_is_room_for(scene: &Scene) {
    let waits = ("exec_command", json!({ "cmd": "cat", "tty": true, "yield_time_ms": 250 }));
    let many = vec![waits.clone(); 70];
    let end = ("write_stdin", json!({ "session_id": 1000, "chars": "\u{4}", "yield_time_ms": 30_000 }));
    let model = Model::serve(
        Api::Responses,
        vec![together(&many), together(&[end]), together(&[waits]), say("done")],
    );
    let run = exec(scene, &model, &["x"]).run().expect_code(0);
    let outputs = model.outputs();
    let full = outputs.iter().filter(|output| output.contains("64 commands go on already")).count();
    assert_eq!((outputs.len(), full), (72, 6), "{}", run.describe());
    assert!(outputs[71].contains("1064"), "{}", outputs[71]);
}
