//! The last command that failed.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use codex_tests::harness::{Policy, Scene};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{furnish, json};

pub(super) fn the_last_command_that_failed_is_remembered(scene: &Scene) {
    furnish(scene);
    let explain = |options: &[&str]| scene.codex(["debug", "explain", "--json"].iter().chain(options)).run();
    let run = explain(&[]);
    assert_eq!(run.code(), Some(125), "{}", run.describe());
    assert!(run.error_text().contains("there is no command to explain"), "{}", run.describe());

    let file = scene.path("outside/new").display().to_string();
    let script = format!("echo x > {file}; echo \"$NOTE_OF_MINE\"; pwd; exit 3");
    let failing = scene.under(Policy::WorkspaceWrite).shell(&script).directory(scene.path("workspace/tree"));
    failing.env("NOTE_OF_MINE", "not to be kept").run().expect_code(3);
    let record = scene.path("codex-home/last-failed.json");
    let status = record.metadata().expect("it is remembered");
    assert_eq!(
        (status.permissions().mode() & 0o7777, status.uid()),
        (0o600, scene.identity().uid().as_raw())
    );
    assert!(!fs::read_to_string(&record).expect("read it").contains("not to be kept"));
    // What succeeds afterwards, or can't be set up, is not what is asked about.
    scene.under(Policy::WorkspaceWrite).shell("exit 0").run().expect_code(0);

    let run = explain(&[]);
    let whole = json(&run);
    assert_eq!((run.code(), &whole["exit_code"]), (Some(1), &3.into()), "{}", run.describe());
    assert_eq!(whole["denials"][0]["target"], file.as_str(), "{}", run.describe());
    assert_eq!(whole["command"][2], script.as_str(), "{}", run.describe());
    assert_eq!(whole["remembered"]["ended"], "exited with code 3", "{}", run.describe());
    let place = scene.path("workspace/tree").display().to_string();
    assert_eq!(whole["stdout"]["text"], format!("\n{place}\n"), "{}", run.describe());
    // A grant on top of what was typed then.
    let outside = scene.outside().display().to_string();
    let run = explain(&["--add-dir", &outside]);
    assert_eq!(
        (run.code(), &json(&run)["denials"]),
        (Some(0), &Value::Array(Vec::new())),
        "{}",
        run.describe()
    );
    assert!(!scene.path("outside/new").exists());
    // Under `never` nothing is kept, and what restricts nothing has nothing to explain.
    fs::remove_file(&record).expect("remove it");
    for sandbox in [
        scene.under(Policy::WorkspaceWrite).options(["-c", "sandbox.explain=\"never\""]),
        scene.under(Policy::DangerFullAccess),
    ] {
        sandbox.shell("exit 3").run().expect_code(3);
        assert!(!record.exists());
    }
    // Nor is what somebody ended. What ended by itself in the same way is.
    let mut running = scene.under(Policy::WorkspaceWrite).shell("echo ready; exec sleep 1000").start();
    assert_eq!(running.line().as_deref(), Some("ready"), "the command started");
    running.signal(Signal::SIGTERM);
    running.finish().expect_code(128 + Signal::SIGTERM as i32);
    assert!(!record.exists());
    scene
        .under(Policy::WorkspaceWrite)
        .shell("kill -TERM $$")
        .run()
        .expect_code(128 + Signal::SIGTERM as i32);
    assert!(record.exists());
}
