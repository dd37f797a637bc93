//! Several calls at once, long output, and what a patch may read.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use codex_tests::harness::{Api, Model, Scene};
use serde_json::{Value, json};

use super::{call, exec, run_command, say};

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

/// Files that are no plain text of UTF-8: what a patch does not change stays byte by byte, and what it can't say it is told.
pub(super) fn a_patch_keeps_what_is_no_text(scene: &Scene) {
    let name = OsStr::from_bytes(b"n\xe9me");
    let root = scene.workspace().to_owned();
    let put = |name: &OsStr, bytes: &[u8]| {
        fs::write(root.join(name), bytes).expect("write a file");
        scene.give_away(&root.join(name));
    };
    let files: [(&str, &[u8], &str, &[u8]); 4] = [
        ("crlf", b"one\r\ntwo\r\n", " one\n-two\n+zwei\n+drei", b"one\r\nzwei\r\ndrei\r\n"),
        ("unended", b"one\ntwo", "-one\n+eins\n two", b"eins\ntwo"),
        ("marked", b"\xef\xbb\xbfone\r\ntwo", "-one\n+eins\n two", b"\xef\xbb\xbfeins\r\ntwo"),
        ("latin", b"caf\xe9\ntwo\n", " caf\u{fffd}\n-two\n+zwei", b"caf\xe9\nzwei\n"),
    ];
    let change = |file: &str, hunk: &str| format!("*** Update File: {file}\n@@\n{hunk}\n");
    let mut all = String::new();
    for (file, bytes, hunk, _) in files {
        put(OsStr::new(file), bytes);
        all += &change(file, hunk);
    }
    put(name, b"one\n");
    let patch = |body: &str| {
        call("apply_patch", &json!({ "input": format!("*** Begin Patch\n{body}*** End Patch") }))
    };
    let acts = vec![
        patch(&all),
        // As a command shows them, they are seen; what would destroy something, or names nothing, is told.
        run_command("cat latin; ls"),
        patch(&(change("crlf", "-one\n+x") + &change("latin", "-caf\u{fffd}\n+caf\u{fffd}s"))),
        patch(&change("n\u{fffd}me", "-one\n+x")),
        run_command("printf '*** Begin Patch\\n*** Delete File: n\\351me\\n*** End Patch\\n' | apply_patch"),
        say("done"),
    ];
    let model = Model::serve(Api::Responses, acts);
    let run = exec(scene, &model, &["-s", "workspace-write", "x"]).run().expect_code(0);
    for (file, _, _, expected) in files {
        assert_eq!(fs::read(root.join(file)).expect("a file"), expected, "{file}: {}", run.describe());
    }
    assert_eq!(fs::read(root.join(name)).expect("the file"), b"one\n", "{}", run.describe());
    let expected = [
        "Success. Updated the following files:\nM crlf\nM unended\nM marked\nM latin\n",
        "caf\u{fffd}\nzwei\n",
        "hunk 1 of 1 (line 7 of the patch): it would write U+FFFD, which stands for bytes of this file that are not UTF-8",
        "U+FFFD stands for bytes of a name that are not UTF-8, and a patch can't name these: run a command",
        "line 2 of the patch is not UTF-8",
    ];
    for (output, expected) in model.outputs().iter().zip(expected) {
        assert!(output.contains(expected), "{expected}: {output}");
    }
    assert_eq!(model.outputs().len(), expected.len());
}
