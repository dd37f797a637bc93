//! P4 and what codex does after a call, with the user's rights: against commands that work together, and against whatever
//! happens outside meanwhile.

#![expect(clippy::expect_used, reason = "a scene that can't be set fails its test")]

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use codex_tests::cases;
use codex_tests::harness::{Invocation, Policy, Scene, require_tool};

cases!(
    a_root_is_not_followed_elsewhere,
    a_repository_by_its_common_directory_is_one,
    what_lies_in_a_bare_repository_is_searched,
    a_directory_that_was_closed_is_searched,
    a_directory_that_is_closed_makes_no_noise,
    a_hook_written_in_place_is_one_that_was_made,
    what_one_call_may_not_make_no_other_may,
    what_is_replaced_from_outside_is_not_trusted,
    what_the_user_configures_meanwhile_stays,
    a_directory_as_standard_stream_is_no_way_out,
);

/// Long enough for the search after a call to see a small tree, whatever else the machine does.
const LONG_ENOUGH: &str = "sleep 0.5";

fn sandboxed(scene: &Scene, script: &str) -> Invocation {
    let options = ["-c", "sandbox_workspace_write.exclude_slash_tmp=true"];
    scene.under(Policy::WorkspaceWrite).options(options).shell(script)
}

fn text(scene: &Scene, relative: &str) -> Option<String> {
    fs::read_to_string(scene.path(relative)).ok()
}

/// Git on the host, in a directory of the workspace.
fn git(scene: &Scene, directory: &str, arguments: &str) {
    let line =
        format!("cd {} && git -c user.name=n -c user.email=e {arguments}", scene.path(directory).display());
    scene.under(Policy::Bare).shell(&line).run().expect_code(0);
}

/// Whether `git status` on the host runs what the configuration in a directory may name.
fn status_runs_something(scene: &Scene, directory: &str) -> bool {
    let line = format!("cd {} && git status", scene.path(directory).display());
    scene.under(Policy::Bare).shell(&line).run();
    fs::remove_file(scene.path("ran")).is_ok()
}

/// A line of configuration that leaves a mark when git runs what it names.
fn monitor(scene: &Scene) -> String {
    format!("fsmonitor = \"touch {}; false\"", scene.path("ran").display())
}

/// A command whose policy is wider leads a directory above the root elsewhere: what codex does after the call, it does in
/// the root.
fn a_root_is_not_followed_elsewhere(scene: &Scene) {
    scene.directory("workspace/above/root");
    scene.directory("outside/root");
    let mine = scene.file("outside/root/.envrc", "mine");
    let (workspace, outside) = (scene.workspace(), scene.outside());
    let mut running = sandboxed(scene, "echo ready; read go; echo evil > .envrc")
        .directory(workspace.join("above/root"))
        .open_input()
        .start();
    assert_eq!(running.line().as_deref(), Some("ready"));
    let turn = format!("mv above moved && ln -s {} above", outside.display());
    sandboxed(scene, &turn).run().expect_code(0);
    assert!(running.send(b"go\n"));
    let run = running.finish();
    assert_eq!(fs::read_to_string(mine).ok().as_deref(), Some("mine"), "{}", run.describe());
    assert_eq!(text(scene, "workspace/moved/root/.envrc"), None, "{}", run.describe());
}

fn a_repository_by_its_common_directory_is_one(scene: &Scene) {
    if require_tool("git").is_none() {
        return;
    }
    let plant = |scene: &Scene, script: &str| {
        format!(
            "mkdir -p common/objects common/refs && echo 'ref: refs/heads/main' > HEAD && echo common > commondir &&
             printf '%s\\n' '[core]' 'repositoryformatversion = 1' '{}' '[extensions]' 'worktreeConfig = true' \
             > common/config && printf '[core]\\nbare = false\\nworktree = .\\n' > config.worktree && {script}",
            monitor(scene)
        )
    };
    scene.under(Policy::Bare).shell(&plant(scene, "true")).run().expect_code(0);
    assert!(status_runs_something(scene, "workspace"), "git takes it for a repository");
    let scene = &scene.fresh("sandboxed");
    for time in ["made", "made again"] {
        sandboxed(scene, &plant(scene, LONG_ENOUGH)).run();
        assert!(!status_runs_something(scene, "workspace"), "{time}");
    }
}

fn what_lies_in_a_bare_repository_is_searched(scene: &Scene) {
    if require_tool("git").is_none() {
        return;
    }
    let plant = format!(
        "mkdir -p objects refs logs/evil && : > HEAD && cd logs/evil && git init -q && \
         printf '%s\\n' '[core]' '{}' >> .git/config && {LONG_ENOUGH}",
        monitor(scene)
    );
    sandboxed(scene, &plant).run().expect_code(0);
    assert!(!status_runs_something(scene, "workspace/logs/evil"));
}

/// To work in a directory, git need not list it; and what opens it again in a later call changes nothing below it.
fn a_directory_that_was_closed_is_searched(scene: &Scene) {
    if require_tool("git").is_none() {
        return;
    }
    for mode in ["0311", "0000", "0600"] {
        let plant = format!(
            "mkdir -p evil/deep && cd evil/deep && git init -q && printf '%s\\n' '[core]' '{}' >> .git/config && \
             chmod {mode} .. && {LONG_ENOUGH}",
            monitor(scene)
        );
        sandboxed(scene, &plant).run().expect_code(0);
        sandboxed(scene, &format!("chmod 0755 evil; {LONG_ENOUGH}")).run().expect_code(0);
        assert!(!status_runs_something(scene, "workspace/evil/deep"), "{mode}");
        fs::remove_dir_all(scene.path("workspace/evil")).expect("clean up");
    }
}

fn a_directory_that_is_closed_makes_no_noise(scene: &Scene) {
    // The command closes its root: what may stand in it is looked at, and nothing is said of what does not.
    for mode in ["0", "0500"] {
        let run = sandboxed(scene, &format!("echo evil > .envrc; chmod {mode} .")).run();
        assert_eq!(text(scene, "workspace/.envrc"), None, "{}", run.describe());
        assert_eq!(run.error_text().lines().count(), 1, "{}", run.describe());
    }
    // The user has closed it: no command can have put anything there.
    fs::set_permissions(scene.workspace(), fs::Permissions::from_mode(0o000)).expect("close the workspace");
    let run = sandboxed(scene, "true").directory(scene.outside()).run();
    fs::set_permissions(scene.workspace(), fs::Permissions::from_mode(0o755)).expect("open the workspace");
    assert!(run.error_text().lines().count() <= 1, "{}", run.describe());
}

/// The repository is deeper than a call looks and newer than the list of those that are known.
fn a_hook_written_in_place_is_one_that_was_made(scene: &Scene) {
    if require_tool("git").is_none() {
        return;
    }
    sandboxed(scene, "true").run().expect_code(0);
    scene.directory("workspace/a/b/c");
    git(scene, "workspace/a/b/c", "init -q");
    let hook = scene.file_with_mode("workspace/a/b/c/.git/hooks/pre-commit", "#!/bin/sh\n", 0o755);
    // Until it is older than the call, by more than the stamps of files lag behind.
    scene.under(Policy::Bare).shell("sleep 0.1").run().expect_code(0);
    let evil = format!("echo 'touch {}' >> {}; {LONG_ENOUGH}", scene.path("ran").display(), hook.display());
    let run = sandboxed(scene, &evil).run();
    git(scene, "workspace/a/b/c", "commit -q --allow-empty -m x");
    assert!(!scene.path("ran").exists(), "{}", run.describe());
}

/// One call makes a file at a protected name, the next one starts and takes it for the user's; when the first has ended and
/// the file was moved away, the name is free in the second.
fn what_one_call_may_not_make_no_other_may(scene: &Scene) {
    for make in ["echo first > .envrc", "ln -s evil .envrc"] {
        let mut first = sandboxed(scene, &format!("{make}; echo ready; read go")).open_input().start();
        assert_eq!(first.line().as_deref(), Some("ready"));
        let second = "echo ready; read go; echo evil > evil; echo evil > .envrc";
        let mut second = sandboxed(scene, second).open_input().start();
        assert_eq!(second.line().as_deref(), Some("ready"));
        assert!(first.send(b"go\n"));
        first.finish();
        assert!(second.send(b"go\n"));
        let run = second.finish();
        assert!(scene.path("workspace/.envrc").symlink_metadata().is_err(), "{make}\n{}", run.describe());
    }
}

/// Where something outside is renamed over a protected file, the kernel drops the mount that protected it.
fn what_is_replaced_from_outside_is_not_trusted(scene: &Scene) {
    if require_tool("git").is_none() {
        return;
    }
    git(scene, "workspace", "init -q");
    git(scene, "workspace", "config alias.mine '!true'");
    scene.file("workspace/.envrc", "mine");
    let script = format!(
        "echo ready; read go; printf '%s\\n' '[core]' '{}' >> .git/config; echo evil > .envrc",
        monitor(scene)
    );
    let mut running = sandboxed(scene, &script).open_input().start();
    assert_eq!(running.line().as_deref(), Some("ready"));
    git(scene, "workspace", "config remote.origin.url https://example.com/x");
    scene.file("workspace/new", "mine, saved");
    fs::rename(scene.path("workspace/new"), scene.path("workspace/.envrc")).expect("save as editors do");
    assert!(running.send(b"go\n"));
    let run = running.finish();
    assert_ne!(text(scene, "workspace/.envrc").as_deref(), Some("evil\n"), "{}", run.describe());
    assert!(!status_runs_something(scene, "workspace"), "{}", run.describe());
    git(scene, "workspace", "config remote.origin.url");
    git(scene, "workspace", "mine");
}

fn what_the_user_configures_meanwhile_stays(scene: &Scene) {
    if require_tool("git").is_none() {
        return;
    }
    git(scene, "workspace", "init -q");
    let config = text(scene, "workspace/.git/config").unwrap_or_default();
    let config =
        scene.file("workspace/.git/config", format!("# mine\n{config}[alias]\n  mine = !true # this\n"));
    let mut running = sandboxed(scene, "echo ready; read go").open_input().start();
    assert_eq!(running.line().as_deref(), Some("ready"));
    git(scene, "workspace", "config remote.origin.url https://example.com/x");
    let saved = fs::read_to_string(&config).ok();
    assert!(running.send(b"go\n"));
    let run = running.finish();
    assert_eq!(fs::read_to_string(&config).ok(), saved, "{}", run.describe());
    assert_eq!(run.error_text(), "", "{}", run.describe());
}

/// An open directory belongs to the mounts of the host, where nothing is read-only and nothing hidden.
fn a_directory_as_standard_stream_is_no_way_out(scene: &Scene) {
    let victim = scene.file_with_mode("outside/victim", "", 0o644);
    scene.directory("outside/hidden");
    scene.file("outside/hidden/secret", "secret");
    let stream = || File::open(scene.root()).expect("open the scene");
    let script = "cd /proc/self/fd/0/ && cat outside/hidden/secret; chmod 600 outside/victim";
    let control = scene.under(Policy::Bare).shell(script).input_file(stream()).run();
    assert_eq!(control.text(), "secret", "{}", control.describe());
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).expect("set the mode back");

    let rule = format!("sandbox.deny_read=[{:?}]", scene.path("outside/hidden"));
    let run = scene.under(Policy::ReadOnly).options(["-c", &rule]).shell(script).input_file(stream()).run();
    assert_eq!(run.text(), "", "{}", run.describe());
    let mode = victim.metadata().expect("look at the victim").permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "{}", run.describe());
    // It stays a directory that can be listed.
    let run = scene.under(Policy::ReadOnly).shell("ls /proc/self/fd/0/").input_file(stream()).run();
    assert!(run.text().contains("workspace"), "{}", run.describe());
    // What can't be seen inside is no stream there.
    let hidden = File::open(scene.path("outside/hidden")).expect("open the hidden directory");
    let run = scene.under(Policy::ReadOnly).options(["-c", &rule]).shell("true").input_file(hidden).run();
    assert_eq!(run.code(), Some(125), "{}", run.describe());
    // A link on the way was followed when the directory was opened, and is no matter since.
    symlink("outside", scene.path("link")).expect("make a link");
    let linked = File::open(scene.path("link")).expect("open by the link");
    let run = scene.under(Policy::ReadOnly).shell("ls /proc/self/fd/0/").input_file(linked).run();
    assert!(run.text().contains("victim"), "{}", run.describe());
}
