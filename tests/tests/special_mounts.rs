//! P1, P3: the kernel's own file systems below a writable root, as in a tree that a container is built from.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, and says so")]

use codex_tests::cases_by_level;
use codex_tests::harness::{Identity, Level, Policy, Scene, require_tool};

cases_by_level!(a_proc_in_the_workspace_is_out_of_reach);

/// Mounts a /proc in the workspace, in a mount namespace of its own, and goes on as the rest of the words say.
const MOUNTED: &str = "mount -t proc proc \"$1/tree/proc\" && shift && exec \"$@\"";

fn a_proc_in_the_workspace_is_out_of_reach(scene: &Scene) {
    // Only root can mount what root could harm by.
    if scene.identity() != Identity::Root {
        return;
    }
    let Some(unshare) = require_tool("unshare") else { return };
    scene.directory("workspace/tree/proc");
    let workspace = scene.workspace().display().to_string();
    let setting = "tree/proc/sys/kernel/core_pattern";
    let mounted = |words: &[String]| {
        let words = words.iter().map(String::as_str);
        let all = ["--mount", "sh", "-c", MOUNTED, "sh", &workspace].into_iter().chain(words);
        scene.under(Policy::Bare).command(&unshare, all).directory(scene.workspace()).run()
    };
    // What is written is what stands there, so that the control harms nobody.
    let act = format!("kept=$(cat {setting}) && echo \"$kept\" > {setting}");
    mounted(&["sh", "-c", &act].map(str::to_owned)).expect_code(0);

    let codex = scene.codex_program().display().to_string();
    let level = scene.level().name();
    let words = [&codex, "sandbox", "-s", "workspace-write", "--isolation", level, "--", "sh", "-c"];
    let tried = format!("ls tree/proc; echo x > {setting}");
    let run = mounted(&words.iter().map(|word| (*word).to_owned()).chain([tried]).collect::<Vec<_>>());
    if scene.level() == Level::Landlock {
        // A rule can't be taken back for what lies below it.
        let run = run.expect_code(125);
        assert!(String::from_utf8(run.stderr.clone()).unwrap().contains("tree/proc"), "{}", run.describe());
    } else {
        assert_ne!(run.code(), Some(0), "{}", run.describe());
        assert_eq!(run.text(), "", "nothing of it is seen\n{}", run.describe());
    }
}
