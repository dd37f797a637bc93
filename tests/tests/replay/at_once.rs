//! What failed at once, typed by a person: nobody has to ask.

use std::fs;

use codex_tests::harness::{Policy, Run, Scene, require_tool};

const REPLAYED: &str = "codex: replayed in views, which are gone:";
const NOTHING: &str =
    "codex: replayed in views, which are gone: nothing was seen to be refused (--explain sees a run itself)";
const HINT: &str =
    "codex: `codex debug explain` replays the command, and tells what the sandbox refused, if anything";
const HINT_TO_OBSERVE: &str =
    "codex: with --explain before the command, what the sandbox refuses is told, if anything";

/// The words of a run at a terminal that are `codex`'s own. As a job of an interactive shell's, or as a script's command.
fn told(scene: &Scene, script: &str, options: &[&str], job: bool, words: &str) -> (Run, Vec<String>) {
    let sandbox = scene.under(Policy::WorkspaceWrite).options(options);
    let line = sandbox.shell(words).shell_line();
    // A shell that has one thing to do may become it.
    let line = format!("{line}; echo code=$?");
    let shell = scene.under(Policy::Bare).command("bash", [if job { "-mc" } else { "-c" }, &line]);
    let run = scene.under(Policy::Bare).command(script, ["-qec", &shell.shell_line(), "/dev/null"]).run();
    let text = run.text();
    let told = text.lines().map(str::trim_end).filter(|line| line.starts_with("codex: "));
    let told = told.map(str::to_owned).collect();
    (run, told)
}

/// What a command is told that writes to `log`. On a machine that has much else to do, any command can take long once.
fn at_once(scene: &Scene, script: &str, words: &str) -> (Run, Vec<String>) {
    let mut attempts = (0..20).map(|_| {
        drop(fs::remove_file(scene.path("workspace/log")));
        told(scene, script, &[], true, words)
    });
    attempts.find(|(_, lines)| *lines != [HINT]).expect("it is told at once")
}

pub(super) fn a_person_who_typed_it_is_told_at_once(scene: &Scene) {
    let (Some(script), Some(_)) = (require_tool("script"), require_tool("bash")) else { return };
    let script = script.to_string_lossy();
    let log = scene.path("workspace/log");
    let outside = scene.path("outside/new");
    let refused = format!("echo x >> log; echo x > {}", outside.display());

    let (run, lines) = at_once(scene, &script, &refused);
    assert_eq!(lines.first().map(String::as_str), Some(REPLAYED), "{}", run.describe());
    let denied = format!("codex: denied: create {} (EROFS, P1): by ", outside.display());
    assert!(lines.len() == 2 && lines[1].starts_with(&denied), "{}", run.describe());
    assert!(run.text().contains("code=2"), "{}", run.describe());
    // What it did was done once, and what it would have done again is nowhere.
    assert_eq!(fs::read(&log).expect("it ran"), b"x\n", "{}", run.describe());
    assert!(!outside.exists());

    let (run, lines) = at_once(scene, &script, "echo x >> log; exit 3");
    assert_eq!(lines, [NOTHING], "{}", run.describe());
    assert!(run.text().contains("code=3"), "{}", run.describe());
    assert_eq!(fs::read(&log).expect("it ran"), b"x\n", "{}", run.describe());

    // Nothing is said of what succeeds, nor to who does not want to know.
    for (options, words) in [
        (&[][..], "true"),
        (&["--quiet"], refused.as_str()),
        (&["-c", "sandbox.explain=\"never\""], refused.as_str()),
    ] {
        let (run, lines) = told(scene, &script, options, true, words);
        assert_eq!(lines, [""; 0], "{}", run.describe());
    }
    // What the policy opens that is no file is closed to the second run, which tells of files alone.
    for (options, without) in [
        (&["--network"][..], "the network"),
        (&["--allow-host", "host.example"], "hosts on the network"),
        (&["-c", "sandbox.allow_unix_sockets=[\"/run/some.sock\"]"], "sockets of the host"),
    ] {
        let attempts = (0..20).map(|_| told(scene, &script, options, true, &refused));
        let (run, lines) =
            attempts.into_iter().find(|(_, lines)| *lines != [HINT_TO_OBSERVE]).expect("it is told");
        assert_eq!(lines.len(), 2, "{}", run.describe());
        assert_eq!(lines[0], format!("codex: replayed in views, which are gone, without {without}:"));
        assert!(lines[1].starts_with(&denied), "{}", run.describe());
        let (run, lines) = told(scene, &script, options, true, "exit 3");
        assert_eq!(lines, [HINT_TO_OBSERVE], "{}", run.describe());
    }
    // Whoever reads is no person, the first run took long, or the second run does not end as the first did, or at all: who can tell
    // is named.
    let waits = "test -e mark && exec sleep 1000; touch mark; exit 3";
    let differs = "test -e other && exit 4; touch other; exit 3";
    for (options, job, words) in [
        (&[][..], false, refused.as_str()),
        (&[], true, "sleep 1.1; exit 3"),
        (&[], true, waits),
        (&[], true, differs),
    ] {
        let (run, lines) = told(scene, &script, options, job, words);
        assert_eq!(lines, [HINT], "{}", run.describe());
    }
}
