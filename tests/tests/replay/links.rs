//! Links that the command itself makes in a view, which are gone with it.

use std::fs;

use codex_tests::harness::{Failures, Identity, Scene};
use nix::errno::Errno;
use serde_json::Value;

use super::{explain, furnish, json, text};

const ROOTS: &str = "sandbox_workspace_write.writable_roots";

/// What the script does, by which name it is refused, where that leads, the error, and the rule.
type Case = (&'static str, &'static str, &'static str, Errno, &'static str);

pub(super) fn what_a_link_of_the_commands_own_leads_to_is_denied(scene: &Scene) {
    furnish(scene);
    fs::create_dir(scene.path("workspace/hidden")).expect("make a directory");
    scene.file("workspace/hidden/entry", "x");
    // Root finds what is hidden empty.
    let hidden = if scene.identity() == Identity::Root { Errno::ENOENT } else { Errno::EACCES };
    let rule = format!("sandbox.deny_read=['{}']", scene.path("workspace/hidden").display());
    let probe = scene.probe_program().display().to_string();
    let cases: [Case; 10] = [
        ("ln -s ../outside way; echo x > way/new", "way/new", "outside/new", Errno::EROFS, ROOTS),
        ("ln -s ../outside/file way; echo x > way", "way", "outside/file", Errno::EROFS, ROOTS),
        ("ln -s ../outside/new way; echo x > way", "way", "outside/new", Errno::EROFS, ROOTS),
        ("rm file; ln -s ../outside/file file; echo x > file", "file", "outside/file", Errno::EROFS, ROOTS),
        ("rm -r tree; ln -s ../outside tree; rm tree/file", "tree/file", "outside/file", Errno::EROFS, ROOTS),
        (
            "ln -s made way; ln -s ../outside made; mkdir way/new",
            "way/new",
            "outside/new",
            Errno::EROFS,
            ROOTS,
        ),
        // It is gone before the command ends.
        ("ln -s ../outside way; echo x > way/new; rm way", "way/new", "outside/new", Errno::EROFS, ROOTS),
        (
            "ln -s .git way; echo x > way/config",
            "way/config",
            "workspace/.git/config",
            Errno::EROFS,
            "sandbox.git",
        ),
        (
            "ln -s . way; \"$1\" rename way/.git way/git",
            "way/.git",
            "workspace/.git",
            Errno::EBUSY,
            "sandbox.git",
        ),
        (
            "ln -s hidden way; cat way/entry",
            "way/entry",
            "workspace/hidden/entry",
            hidden,
            "sandbox.deny_read",
        ),
    ];
    let mut failures = Failures::new();
    for (script, target, resolved, errno, setting) in cases {
        let run = explain(scene, &["-c", &rule], &["sh", "-c", script, "sh", &probe]).run();
        let denials = &json(&run)["denials"];
        let denial = &denials[0];
        let told = (denial["errno"].clone(), text(&denial["certainty"]), text(&denial["target"]));
        let target = scene.path("workspace").join(target).display().to_string();
        let expected = (Value::from(errno as i32), "exact", target.as_str());
        let why = (text(&denial["resolved_target"]), text(&denial["rule"]["setting"]));
        let resolved = scene.path(resolved).display().to_string();
        let is_it = run.code() == Some(1) && told == expected && why == (resolved.as_str(), setting);
        failures.check(is_it && denials[1].is_null(), || format!("{script}: {denials}\n{}", run.describe()));
    }
    // What the command may write is none, whatever way it takes.
    let script =
        "mkdir made; ln -s made way; echo x > way/new; ln -s ../workspace/file there; echo x > there";
    let run = explain(scene, &[], &["sh", "-c", script]).run();
    failures.check(run.code() == Some(0) && json(&run)["exit_code"] == 0, || run.describe());
    failures.finish();
}
