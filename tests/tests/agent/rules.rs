//! What the user's rules and the approval policy decide, and what is noted of it.

use std::fs;
use std::path::Path;

use codex_tests::harness::{Api, Level, Model, Scene};
use serde_json::{Value, json};

use super::approvals::{asks, decisions, escalated, neighbours, noted, to_write, with_a_person};
use super::{call, events, exec, exec_at, run_command, say};

pub(super) fn rules_of_the_users_give_and_the_strictest_counts(scene: &Scene) {
    let (given, neighbour) = neighbours(scene);
    let write = |name: &str| format!("tee {}/{name}", given.display());
    let shell = |command: &[&str], more: &Value| {
        let mut arguments = json!({ "command": command, "justification": "it is needed" });
        for (key, value) in more.as_object().into_iter().flatten() {
            arguments[key] = value.clone();
        }
        call("shell", &arguments)
    };
    let target = |name: &str| given.join(name).display().to_string();
    // A program of the model's, by the name of one that is allowed.
    scene.directory("workspace/bin");
    let planted = scene.path("outside/planted");
    let program =
        format!("#!/bin/sh\necho x 2>/dev/null > {}\nexec /usr/bin/tee \"$@\"\n", planted.display());
    scene.file_with_mode("workspace/bin/tee", &program, 0o755);
    // Where calls are given to write, and behind a link that a command could turn.
    scene.directory("outside/given/bin");
    scene.file_with_mode("outside/given/bin/tee", &program, 0o755);
    scene.directory("outside/turned");
    scene.file_with_mode("outside/turned/tee", &program, 0o755);
    scene.symlink(scene.path("outside/turned"), "workspace/link");
    let acts = vec![
        asks(&write("a"), &to_write(&given)),
        asks(&format!("tee {}/b", neighbour.display()), &to_write(&neighbour)),
        shell(&["tee", &target("c")], &escalated()),
        shell(&["bin/tee", &target("d")], &escalated()),
        shell(&["tee", &target("e")], &to_write(&given)),
        shell(&["touch", &target("f")], &escalated()),
        asks(&format!("tee {}; touch {}", target("g"), target("h")), &escalated()),
        shell(&["rm", "-r", "."], &json!({})),
        shell(&["head", "-n", "1", "/dev/null"], &json!({})),
        say("done"),
    ];
    let model = Model::serve(Api::Responses, acts);
    let write = format!("approvals.write=[\"{}\"]", given.display());
    let words = [
        "--json",
        "-s",
        "workspace-write",
        "-c",
        &write,
        "-c",
        "approvals.unsandboxed=[\"tee\"]",
        "-c",
        "approvals.forbid=[\"rm\"]",
        "-c",
        "approvals.prompt=[\"head\"]",
        "x",
    ];
    let places = ["workspace/bin", "outside/given/bin", "workspace/link"].map(|place| scene.path(place));
    let path = format!("{}:/usr/bin:/bin", places.map(|place| place.display().to_string()).join(":"));
    let run = exec(scene, &model, &words)
        .env("PATH", path)
        .launched_with(["--session", "new"])
        .run()
        .expect_code(0);
    let made: Vec<bool> = ["a", "c", "d", "e", "f", "g", "h"].map(|name| given.join(name).exists()).into();
    assert_eq!(made, [true, true, false, true, false, false, false], "{}", run.describe());
    // The name of an allowed program is looked up where no command could have put one.
    assert!(!planted.exists(), "{}", run.describe());
    assert!(!neighbour.join("b").exists(), "{}", run.describe());
    assert_eq!(decisions(&run), ["approved_by_rule"; 3], "{}", run.describe());
    let outputs = model.outputs();
    assert!(outputs[7].contains("begin with `rm`") && outputs[8].contains("nobody is asked"), "{outputs:?}");
}

pub(super) fn what_is_not_trusted_is_asked_about(scene: &Scene) {
    let patch =
        call("apply_patch", &json!({ "input": "*** Begin Patch\n*** Add File: new\n+x\n*** End Patch" }));
    let acts = vec![
        run_command("cat kept | head -n 1; ls"),
        run_command("cargo --version"),
        run_command("touch a"),
        run_command("touch b; ls"),
        patch.clone(),
        patch,
        run_command("cat > c"),
        say("done"),
    ];
    scene.file("workspace/kept", "kept\n");
    let model = Model::serve(Api::Responses, acts);
    let words = ["-s", "workspace-write", "-a", "untrusted", "-c", "approvals.allow=[\"cargo\"]", "x"];
    let answers = json!(["o", "d not that", "", "o", "d"]);
    let Some((run, shown)) = with_a_person(scene, &model, &words, &answers) else { return };
    let run = run.expect_code(0);
    assert_eq!(decisions(&run), ["approved", "denied", "denied", "approved", "denied"], "{}", run.describe());
    assert!(shown.contains("$ add ") && shown.contains("wants to change files"), "{shown}");
    let exists = |name: &str| scene.path("workspace").join(name).exists();
    assert!(exists("a") && !exists("b") && exists("new") && !exists("c"), "{}", run.describe());
    let outputs = model.outputs();
    assert!(outputs[0].contains("kept") && outputs[3].contains("the user says no: not that"), "{outputs:?}");
    assert!(outputs[4].contains("Nothing was changed"), "{outputs:?}");
}

/// Whatever does not run, and why, is in the audit log, and what does is there as what runs.
pub(super) fn what_is_refused_is_noted(scene: &Scene) {
    let (given, _) = neighbours(scene);
    let hidden = scene.directory("workspace/hidden");
    let log = scene.path("codex-home/audit.jsonl");
    let audit = format!("audit.file={}", log.display());
    let denied = format!("sandbox.deny_read=[{hidden:?}]");
    let level = ["--isolation", scene.level().name()];
    let patch =
        call("apply_patch", &json!({ "input": "*** Begin Patch\n*** Add File: new\n+x\n*** End Patch" }));
    let typed = call("write_stdin", &json!({ "session_id": 1000, "chars": "touch typed\n" }));
    let mut waits = run_command("cat");
    waits["calls"][0]["arguments"]["tty"] = true.into();
    waits["calls"][0]["arguments"]["yield_time_ms"] = 250.into();
    let reads = json!({
        "sandbox_permissions": "with_additional_permissions",
        "additional_permissions": { "file_system": { "read": [hidden] } },
    });
    let there = |directory: &Path| call("exec_command", &json!({ "cmd": "true", "workdir": directory }));
    let cases = [
        ("never", run_command("rm -r ."), "bash -c rm -r .", "begin with `rm`"),
        ("never", asks("true", &escalated()), "bash -c true", "the approval policy is never"),
        ("never", asks("true", &to_write(&given)), "bash -c true", "the approval policy is never"),
        ("never", asks("true", &reads), "bash -c true", "hidden by sandbox.deny_read"),
        ("never", there(&hidden), "bash -c true", "hidden by sandbox.deny_read"),
        ("never", there(&scene.path("workspace/none")), "bash -c true", "No such file"),
        ("on-request", asks("true", &escalated()), "bash -c true", "nobody can be asked"),
        ("untrusted", run_command("touch new"), "bash -c touch new", "nobody can be asked"),
        ("untrusted", patch, "apply_patch WORKSPACE/new", "nobody can be asked"),
    ];
    // The other level hides nothing.
    let hides_here = |why: &str| scene.level() == Level::Namespaces || !why.contains("deny_read");
    for (policy, act, command, why) in cases.into_iter().filter(|(_, _, _, why)| hides_here(why)) {
        drop(fs::remove_file(&log));
        let workdir = &act["calls"][0]["arguments"]["workdir"];
        let directory = if workdir.is_null() { json!(scene.workspace()) } else { workdir.clone() };
        let model = Model::serve(Api::Responses, vec![act, run_command("echo ran"), say("done")]);
        let words = [
            "--json",
            "-s",
            "workspace-write",
            "-a",
            policy,
            "-c",
            "approvals.forbid=[\"rm\"]",
            "-c",
            "approvals.allow=[\"echo\"]",
            "-c",
            &audit,
            "x",
        ];
        // With it, nothing runs without a sandbox.
        let hides: &[&str] = if why.contains("deny_read") { &["-c", &denied] } else { &[] };
        let run = exec_at(scene, &model, &level, &[hides, &words].concat());
        let run = run.launched_with(["--session", "new"]).run().expect_code(0);
        let lines = noted(&log);
        let refused: Vec<&Value> = lines.iter().filter(|line| line["event"] == "refused").collect();
        let [refused] = refused[..] else { run.fail(&format!("not one refusal: {lines:?}")) };
        let words = refused["argv"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let command = command.replace("WORKSPACE", &scene.workspace().display().to_string());
        assert_eq!(words.collect::<Vec<_>>().join(" "), command, "{policy}");
        assert!(refused["refused"].as_str().is_some_and(|it| it.contains(why)), "{why}: {refused}");
        assert_eq!((&refused["by"], &refused["cwd"]), (&json!("exec"), &directory));
        assert_eq!(refused["session"], events(&run)[0]["thread_id"]);
        let started = lines.iter().filter(|line| line["event"] == "start").count();
        assert_eq!(started, 1, "{policy}: {lines:?}");
        let declined = events(&run).iter().filter(|event| event["item"]["status"] == "declined").count();
        assert_eq!(declined, 1, "{}", run.describe());
    }
    // What would have been typed.
    drop(fs::remove_file(&log));
    let model = Model::serve(Api::Responses, vec![waits, typed, say("done")]);
    let words = ["-s", "workspace-write", "-a", "untrusted", "-c", &audit, "x"];
    let Some((run, _)) = with_a_person(scene, &model, &words, &json!(["d"])) else { return };
    let run = run.expect_code(0);
    assert_eq!(decisions(&run), ["denied"], "{}", run.describe());
    let lines = noted(&log);
    let refused = lines.iter().find(|line| line["event"] == "refused");
    let refused = refused.unwrap_or_else(|| run.fail(&format!("no refusal: {lines:?}")));
    assert_eq!(refused["argv"], json!(["write_stdin", "touch typed\n"]));
}
