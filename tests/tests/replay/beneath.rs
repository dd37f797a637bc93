//! What a view is laid over can't be reached by those that see the view.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use codex_tests::harness::{Failures, Identity, Policy, Scene, require_tool};
use nix::errno::Errno;

use super::{NO_SLASH_TMP, explain, furnish, json, trees};

/// Ways to what a view is laid over. `@` is the scene's directory.
const DETOURS: [(&str, &[&str]); 9] = [
    ("the root of the first process", &["write", "/proc/1/root@/workspace/file", "WRONLY"]),
    ("the root of whoever asks", &["write", "/proc/self/root@/workspace/file", "WRONLY"]),
    ("its working directory", &["write", "/proc/self/cwd/file", "WRONLY"]),
    ("a handle", &["by-handle", "@/workspace/file"]),
    ("the layers, by the name of their place", &["write", "/proc/view/0/upper/file", "WRONLY"]),
    ("the place of the layers, uncovered", &["syscall", "umount2", "text:/proc", "2"]),
    ("the tree, uncovered", &["syscall", "umount2", "text:@/workspace", "2"]),
    ("a second link from outside", &["write", "@/outside/twin", "WRONLY"]),
    ("the layers, by what is open", &["write", "/proc/1/fd/3/file", "WRONLY"]),
];

pub(super) fn nobody_reaches_what_lies_beneath(scene: &Scene) {
    let numbers = [("umount2", libc::SYS_umount2.to_string())];
    let mut failures = Failures::new();
    for (index, (way, act)) in DETOURS.into_iter().enumerate() {
        let scene = scene.fresh(&index.to_string());
        furnish(&scene);
        fs::hard_link(scene.path("workspace/file"), scene.path("outside/twin")).expect("link a file");
        let root = scene.root().display().to_string();
        let words: Vec<String> = act
            .iter()
            .map(|word| {
                let number = numbers.iter().find(|(name, _)| name == word);
                number.map_or_else(|| word.replace('@', &root), |(_, number)| number.clone())
            })
            .collect();
        let probe = scene.probe_program().display().to_string();
        let all: Vec<&str> =
            std::iter::once(probe.as_str()).chain(words.iter().map(String::as_str)).collect();
        let file = scene.path("workspace/file");
        let state = || {
            let status = file.metadata().expect("the file is there");
            (fs::read(&file).expect("read it"), status.mtime_nsec(), status.ctime_nsec(), status.ino())
        };
        let before = state();
        // What is done by the way of `write` is seen by its content.
        let run = explain(&scene, &[], &all).run();
        failures.check(run.code().is_some_and(|code| code < 2), || format!("{way}: {}", run.describe()));
        failures.check(state() == before, || format!("{way} leads to the tree:\n{}", run.describe()));
    }
    if scene.identity() == Identity::Root && require_tool("unshare").is_some() {
        // Another mount of the same file system, in which the tree has a second name.
        let scene = scene.fresh("bound");
        furnish(&scene);
        scene.directory("bound");
        let (root, codex) = (scene.root().display().to_string(), scene.codex_program().display().to_string());
        let probe = scene.probe_program().display().to_string();
        let script = format!(
            "mount --bind {root}/workspace {root}/bound && cd {root}/workspace && \"$@\" {probe} write {root}/bound/file WRONLY"
        );
        let before = trees(&scene);
        let all = ["-m", "sh", "-c", &script, "sh"];
        let verb = [&codex, "debug", "explain", "--json", "--full-auto", "-c", NO_SLASH_TMP, "--"];
        let run = scene.under(Policy::Bare).command("unshare", all.iter().chain(&verb)).run();
        failures.check(json(&run)["denials"][0]["errno"] == Errno::EROFS as i32, || run.describe());
        failures.check(trees(&scene) == before, || run.describe());
        let all = ["-m", "sh", "-c", &script, "sh", "env"];
        let run = scene.under(Policy::Bare).command("unshare", all).run();
        failures
            .check(trees(&scene) != before, || format!("the control changes nothing: {}", run.describe()));
    }
    // The control: the way by which the view itself is written leads to the file without one.
    let control = scene.fresh("control");
    furnish(&control);
    let file = control.path("workspace/file");
    let run = control
        .under(Policy::WorkspaceWrite)
        .probe(["write", &format!("/proc/self/root{}", file.display()), "WRONLY"])
        .run();
    failures
        .check(run.verdict().is_ok() && fs::read(&file).is_ok_and(|text| text != b"x\n"), || run.describe());
    failures.finish();
}
