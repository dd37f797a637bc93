//! How questions stand at the terminal.

use std::fs;
use std::time::Duration;

use codex_tests::harness::{Api, Model, Scene, with_longer_limits};
use serde_json::json;

use super::approvals::{asks, at_a_terminal, decisions, neighbours, to_write, typing};
use super::{exec, exec_at, run_command, say};

/// Where a run is shown at the terminal at which it asks, what the model says is told apart from a question, and nothing comes
/// between a question and its answer.
pub(super) fn a_question_is_nothing_that_a_model_says(scene: &Scene) {
    let (given, _) = neighbours(scene);
    let question = "codex: the model asks for more than the policy gives.";
    let forged = [question, "  $ ls", "[o]nce, [d]eny, [a]bort the run"];
    let mut said = asks(&format!("echo x > {}/one", given.display()), &to_write(&given));
    said["text"] = json!(forged.join("\n"));
    // It has something to show when the question is there, and not before.
    let seen = scene.path("tmp/seen");
    let beside =
        format!("until test -e {}; do sleep 0.02; done; echo told-of-beside; touch beside", seen.display());
    let beside = json!({ "name": "exec_command", "arguments": { "cmd": beside, "yield_time_ms": 30_000 } });
    said["calls"].as_array_mut().expect("calls").push(beside);
    let model = Model::serve(Api::Responses, vec![said, say("done")]);
    let level = ["--isolation", scene.level().name()];
    let line =
        exec_at(scene, &model, &level, &["-s", "workspace-write", "-a", "on-request", "x"]).shell_line();
    let answer = json!([{ "asked": seen, "until": scene.path("workspace/beside"), "text": "o" }]);
    let Some((run, shown)) = at_a_terminal(scene, &format!("{line} 2>/dev/tty"), &answer, None) else {
        return;
    };
    let run = run.expect_code(0);
    assert_eq!(run.text(), "done\n", "{}", run.describe());
    assert_eq!(fs::read_to_string(given.join("one")).unwrap_or_default(), "x\n");
    let words = format!("> {}\n", forged.join("\n> "));
    let (before, asked) = shown.split_once(&format!("\n{question}\n")).unwrap_or_else(|| run.fail(&shown));
    assert!(before.contains(&words) && !asked.contains(forged[2]), "{shown}");
    let (asked, after) = asked.split_once("Enter denies: ").unwrap_or_else(|| run.fail(&shown));
    assert!(asked.contains("  opens: writing below ") && !asked.contains("beside"), "{shown}");
    assert!(after.starts_with("o\n") && after.contains("  | told-of-beside"), "{shown}");
}

/// A terminal that stands still (Ctrl-S) holds up the question, and not what ends the run.
pub(super) fn a_terminal_that_stands_still_keeps_nobody(scene: &Scene) {
    let (given, _) = neighbours(scene);
    let act = asks(&format!("echo x > {}/one", given.display()), &to_write(&given));
    with_longer_limits(Duration::from_secs(1), |limit| {
        let model = Model::serve(Api::Responses, vec![act.clone(), say("never said")]);
        let limit = format!("{}s", limit.as_secs());
        let words = ["-s", "workspace-write", "-a", "on-request", "--timeout", &limit, "x"];
        let Some((run, shown)) = typing(scene, &model, &words, &json!([]), Some("\u{13}")) else {
            return Some(());
        };
        let run = run.expect_code(1);
        assert!(!shown.contains("Enter denies"), "{shown}");
        // It may have been over before there was a question.
        decisions(&run).contains(&"withdrawn".to_owned()).then_some(())
    });
    assert!(!given.join("one").exists());
}

/// Nor does it hold up what comes before the first request: the first lines, or why nothing is begun.
pub(super) fn a_terminal_that_stood_still_before_keeps_nobody(scene: &Scene) {
    scene.file("codex-home/config.toml", "[approvals]\nwrite = ['/nowhere']\n");
    let stopped = |model: &Model, words: &[&str], until: &str, signal: &str| {
        let line = exec(scene, model, words).shell_line();
        let script = format!("-c 'exec \"$@\" 2>/dev/tty' sh {line}");
        let script = format!("{script} & until {until}; do sleep 0.02; done; kill -{signal} $!; wait $!");
        at_a_terminal(scene, &format!("sh {script}"), &json!([]), Some("\u{13}"))
    };
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let silent = json!({ "cut": 0, "hang": true });
        let model = Model::serve(Api::Responses, vec![run_command("touch started"), silent]);
        let words = ["-s", "workspace-write", "x"];
        let Some((run, shown)) = stopped(&model, &words, "test -e started", signal) else { return };
        assert_eq!((run.code(), shown.as_str()), (Some(code), ""), "{}", run.describe());
        std::fs::remove_file(scene.path("workspace/started")).expect("it had begun");
    }
    // It is known to wait for the terminal when that call is under way.
    let model = Model::serve(Api::Responses, vec![say("never said")]);
    let words = ["-c", "model_providers.scripted.base_url=nonsense", "x"];
    let Some((run, shown)) = stopped(&model, &words, "grep -q '^1 0x2 ' /proc/$!/syscall", "TERM") else {
        return;
    };
    assert_eq!((run.code(), shown.as_str()), (Some(143), ""), "{}", run.describe());
    assert!(model.requests().is_empty());
}
