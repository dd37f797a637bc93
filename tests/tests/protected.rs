//! P4 in time: what comes to be at a protected name, what a second call finds, and what can't be read at all.
//!
//! The single acts against what is there already stand in the suite `hostile`.

#![expect(clippy::expect_used, reason = "a suite reports by failing")]

#[path = "protected/calls.rs"]
mod calls;

use std::fs::{self, File};
use std::path::Path;

use codex_tests::cases_at;
use codex_tests::harness::{Expect, Failures, Identity, Policy, Run, Scene, Snapshot, Verdict, require_tool};
use nix::errno::Errno;
use nix::sys::signal::Signal;

cases_at!(Namespaces;
    what_appears_is_not_left_on_the_host,
    a_root_in_another_root_has_all_that_a_root_has,
    what_appears_is_not_left_by_a_killed_call,
    what_a_refused_attempt_moved_is_told,
    a_new_repository_is_harmless,
    a_second_call_finds_nothing_moved,
    two_calls_leave_nothing_that_git_runs,
    standard_input_is_no_way_round,
    git_settings,
    names_of_ones_own,
    what_is_denied_cannot_be_read,
    what_is_denied_keeps_its_place,
);

const EBUSY: Expect = Expect::Fails(&[Errno::EBUSY]);
const EROFS: Expect = Expect::Fails(&[Errno::EROFS]);

/// Names at the top of a workspace with a repository that are protected though nothing is there.
const ABSENT: [&str; 12] = [
    ".vscode/tasks.json",
    ".idea/workspace.xml",
    ".cursor/mcp.json",
    ".claude/settings.json",
    ".agents/skills",
    ".codex/config.toml",
    ".husky/pre-commit",
    ".mcp.json",
    ".envrc",
    ".git/commondir",
    ".git/config.worktree",
    ".git/info/attributes",
];

/// A repository of git's own making, without anything that is optional.
fn repository(scene: &Scene) -> bool {
    let Some(git) = require_tool("git") else { return false };
    let init = "-c init.defaultBranch=main init -q --template= .".split(' ');
    scene.under(Policy::Bare).command(git, init).run().expect_code(0);
    true
}

fn sh(scene: &Scene, script: &str) -> Run {
    scene.under(Policy::WorkspaceWrite).shell(script).run()
}

fn top(name: &str) -> &str {
    if name.starts_with(".git/") { name } else { name.split('/').next().unwrap_or(name) }
}

/// Whether any of the names is there.
fn found(scene: &Scene) -> Vec<&'static str> {
    ABSENT.into_iter().filter(|name| scene.workspace().join(top(name)).symlink_metadata().is_ok()).collect()
}

/// The command has what it made; the host never gets it where it would trust it, and it is kept aside.
fn what_appears_is_not_left_on_the_host(scene: &Scene) {
    if !repository(scene) {
        return;
    }
    for name in ABSENT {
        let script = format!("mkdir -p $(dirname {name}) && echo planted > {name} && cat {name}");
        let run = sh(scene, &script).expect_code(0);
        assert_eq!(run.text(), "planted\n", "{}", run.describe());
        assert_eq!(found(scene), [""; 0], "{name}\n{}", run.describe());
    }
    let kept = Snapshot::of(&scene.path("codex-home/quarantine")).to_string();
    assert_eq!(kept.matches("planted").count(), ABSENT.len(), "{kept}");
    // The same without the sandbox, which shows that nothing else takes it away.
    let control = scene.under(Policy::Bare).shell("mkdir .vscode && echo planted > .vscode/tasks.json").run();
    control.expect_code(0);
    assert_eq!(found(scene), [".vscode/tasks.json"]);
}

/// A workspace below a directory for temporary files, which is writable as a whole: no repository, and no mount of its own by being
/// a root.
fn a_root_in_another_root_has_all_that_a_root_has(scene: &Scene) {
    scene.directory("tmp/inner/below");
    let inner = scene.path("tmp/inner");
    scene.file("tmp/inner/.mcp.json", "{}");
    let at = |root: &Path, script: &str| {
        let options = ["-C".as_ref(), root.as_os_str()];
        scene.under(Policy::WorkspaceWrite).options(options).shell(script).run()
    };
    let within = |script: &str| at(&inner, script);
    // One that is nobody's root is as it was.
    let script = "mkdir .vscode && echo planted > .vscode/tasks.json && mkdir below/.vscode && ls -A";
    let run = within(script).expect_code(0);
    assert!(run.text().contains(".vscode"), "{}", run.describe());
    assert!(inner.join(".vscode").symlink_metadata().is_err(), "{}", run.describe());
    assert!(inner.join("below/.vscode").exists(), "{}", run.describe());
    // What is there stays, by itself and by what holds it.
    for (script, why) in [
        ("echo planted > .mcp.json", "Read-only file system"),
        ("rm .mcp.json", "busy"),
        ("cd .. && mv inner other", "busy"),
        ("cd .. && rm -rf inner/below && mv inner other; mkdir -p inner/.claude && test -e other", "busy"),
    ] {
        let run = within(script);
        assert!(run.code() != Some(0) && run.error_text().contains(why), "{script}: {}", run.describe());
        assert!(
            inner.join(".mcp.json").exists() && !inner.join(".claude").exists(),
            "{script}: {}",
            run.describe()
        );
        scene.directory("tmp/inner/below");
    }
    // Whether there is anything in it or not.
    scene.directory("tmp/empty");
    let run = at(&scene.path("tmp/empty"), "cd .. && mv empty elsewhere");
    assert!(run.code() != Some(0) && run.error_text().contains("busy"), "{}", run.describe());
    // Outside, each of them is possible.
    scene
        .under(Policy::Bare)
        .shell("cd ../tmp && mv empty elsewhere && mv inner other && mkdir -p inner/.claude")
        .run()
        .expect_code(0);
}

/// A call that plants things and is killed, with all that would look after it.
fn killed_after_planting(scene: &Scene) {
    let script =
        "mkdir .vscode && echo planted > .vscode/tasks.json; echo planted > .envrc; echo ready; sleep 1000";
    let mut running = scene.under(Policy::WorkspaceWrite).shell(script).start();
    assert_eq!(running.line().as_deref(), Some("ready"), "it was planted");
    running.signal(Signal::SIGKILL);
    drop(running.finish());
}

/// Nobody was left to clean up; the next call that may write does.
fn what_appears_is_not_left_by_a_killed_call(scene: &Scene) {
    if !repository(scene) {
        return;
    }
    killed_after_planting(scene);
    sh(scene, "true").expect_code(0);
    assert_eq!(found(scene), [""; 0]);
}

/// The first attempt at the next call cleans up, and the machine refuses it; the report of the second has it all.
fn what_a_refused_attempt_moved_is_told(scene: &Scene) {
    let Some(unshare) = require_tool("unshare") else { return };
    killed_after_planting(scene);
    let script = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces && exec '{}' sandbox --json --full-auto -- sh -c 'echo $CODEX_SANDBOX'",
        scene.codex_program().display()
    );
    let run = scene.under(Policy::Bare).command(&unshare, ["-Ur", "sh", "-c", &script]).run().expect_code(0);
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).expect("a JSON object");
    assert_eq!(report["stdout"]["text"], "landlock\n", "{report}");
    let mut moved: Vec<_> = report["quarantined"].as_array().expect("what was moved").iter().collect();
    moved.sort_by_key(|one| one["path"].to_string());
    let paths: Vec<_> = moved.iter().map(|one| one["path"].as_str().map(Path::new)).collect();
    let planted = [".envrc", ".vscode"].map(|name| scene.workspace().join(name));
    assert_eq!(paths, [Some(planted[0].as_path()), Some(planted[1].as_path())], "{report}");
    assert_eq!(found(scene), [""; 0]);
}

/// `git init` and `git clone` work; what a command puts into a repository of its own runs nothing for the host.
fn a_new_repository_is_harmless(scene: &Scene) {
    let Some(git) = require_tool("git") else { return };
    let trace = scene.outside().join("trace");
    let plant = format!(
        "set -e; git -c init.defaultBranch=main init -q sub; cd sub
        printf '#!/bin/sh\\necho ran >> {trace}\\n' > .git/hooks/post-checkout; chmod +x .git/hooks/post-checkout
        git config core.fsmonitor 'echo ran >> {trace}; false'
        git config user.name Test; git config user.email test@example.org
        git commit -q --allow-empty -m First",
        trace = trace.display()
    );
    for (place, policy) in [("bare", Policy::Bare), ("inside", Policy::WorkspaceWrite)] {
        let directory = scene.directory(&format!("workspace/{place}"));
        scene.under(policy).shell(&plant).directory(&directory).run().expect_code(0);
        drop(fs::remove_file(&trace));
        let used =
            format!("'{}' -C sub status && '{}' -C sub checkout -q -b other", git.display(), git.display());
        let run = scene.under(Policy::Bare).shell(&used).directory(&directory).run().expect_code(0);
        assert_eq!(
            trace.exists(),
            policy == Policy::Bare,
            "{place}: what was planted ran\n{}",
            run.describe()
        );
        drop(fs::remove_file(&trace));
    }
}

/// What one call can't do, two can't either.
fn a_second_call_finds_nothing_moved(scene: &Scene) {
    if !repository(scene) {
        return;
    }
    scene.directory("workspace/.git/hooks");
    let hook = scene.file_with_mode("workspace/.git/hooks/post-commit", "#!/bin/sh\n", 0o755);
    let steps = [
        "mv .git away; mkdir -p .git/hooks; echo planted > .git/hooks/post-commit; cp -r away/. .git",
        "mv .git/hooks .git/old; mkdir .git/hooks; echo planted > .git/hooks/post-commit",
        "ln -s . again; mv again/.git again/away; rm -rf .git",
        "rm -rf .git",
        "mkdir -p planted/hooks; echo planted > planted/hooks/post-commit; mv -T planted .git; mv -T planted/hooks .git/hooks",
        "git config core.hooksPath /tmp; git config --file .git/config core.fsmonitor true",
        "echo 'gitdir: planted' > .git; ln -sfn planted .git",
    ];
    for step in steps {
        drop(sh(scene, step));
        let kept = fs::read_to_string(&hook).ok();
        assert_eq!(kept.as_deref(), Some("#!/bin/sh\n"), "{step}: the hook is another one");
        let config = fs::read_to_string(scene.workspace().join(".git/config")).unwrap_or_default();
        assert!(!config.contains("hooksPath") && !config.contains("fsmonitor"), "{step}: {config}");
    }
}

fn two_calls_leave_nothing_that_git_runs(scene: &Scene) {
    calls::judge(scene);
}

/// What comes as standard input belongs to the host's view of the files: neither content nor metadata nor a protected name
/// can be changed through it.
fn standard_input_is_no_way_round(scene: &Scene) {
    let mut failures = Failures::new();
    let chmod = libc::SYS_fchmodat.to_string();
    let fchmod = libc::SYS_fchmod.to_string();
    let utimens = libc::SYS_utimensat.to_string();
    // What is handed over, and the act on it.
    let rows: [(&str, Vec<&str>); 11] = [
        ("outside", vec!["syscall", &fchmod, "0", "448"]),
        ("outside", vec!["syscall", &chmod, "0", "text:file", "448"]),
        ("outside", vec!["syscall", &chmod, "-100", "text:/proc/self/fd/0/file", "448"]),
        ("outside", vec!["syscall", &chmod, "-100", "text:/proc/self/fd/0/../outside/file", "448"]),
        ("outside", vec!["syscall", &utimens, "0", "text:file", "zeros:32", "0"]),
        ("outside/file", vec!["syscall", &fchmod, "0", "448"]),
        ("outside/file", vec!["syscall", &utimens, "0", "0", "zeros:32", "0"]),
        ("outside/file", vec!["syscall", &chmod, "-100", "text:/proc/self/fd/0", "448"]),
        ("workspace", vec!["write", "/proc/self/fd/0/.git/hooks/post-commit", "WRONLY"]),
        ("workspace", vec!["rename", "/proc/self/fd/0/.git", "/proc/self/fd/0/away"]),
        ("workspace/.git/hooks/post-commit", vec!["reopen-descriptor", "0"]),
    ];
    for (number, (handed, act)) in rows.iter().enumerate() {
        for policy in [Policy::Bare, Policy::ReadOnly, Policy::WorkspaceWrite] {
            let stage = scene.fresh(&format!("{number}-{policy:?}"));
            stage.file("outside/file", "as it was\n");
            for directory in ["hooks", "objects", "refs"] {
                stage.directory(&format!("workspace/.git/{directory}"));
            }
            stage.file("workspace/.git/HEAD", "ref: refs/heads/main\n");
            stage.file("workspace/.git/config", "[core]\n\trepositoryformatversion = 0\n");
            stage.file_with_mode("workspace/.git/hooks/post-commit", "#!/bin/sh\n", 0o755);
            let trees = [stage.outside(), stage.workspace()];
            let before = trees.clone().map(|tree| Snapshot::with_metadata(&tree));
            let input = File::open(stage.path(handed)).expect("open what is handed over");
            let run = stage.under(policy).probe(act).input_file(input).run();
            let after = trees.map(|tree| Snapshot::with_metadata(&tree));
            let changes: String =
                before.iter().zip(&after).map(|(one, other)| one.difference(other)).collect();
            failures.check(changes.is_empty() == (policy != Policy::Bare), || {
                format!("{handed}: {act:?} [{policy:?}]: changes {changes:?}\n{}", run.describe())
            });
        }
    }
    failures.finish();
}

/// `commit` lets git work, `read-only` lets it look, `open` leaves everything to the command.
fn git_settings(scene: &Scene) {
    let mut failures = Failures::new();
    let identity = "git -c user.name=Test -c user.email=test@example.org";
    let rows = [
        ("git status", [true, true, true]),
        (&format!("{identity} commit -q --allow-empty -m Another"), [true, false, true]),
        ("git config core.hooksPath /tmp", [false, false, true]),
        ("echo x > .git/hooks/post-commit", [false, false, true]),
    ];
    for (step, allowed) in rows {
        for (git, allowed) in ["commit", "read-only", "open"].into_iter().zip(allowed) {
            let stage = scene.fresh(&format!("{git}-{}", step.len()));
            if !repository(&stage) {
                return;
            }
            stage.directory("workspace/.git/hooks");
            let setting = format!("sandbox.git=\"{git}\"");
            let run = stage.under(Policy::WorkspaceWrite).options(["-c", &setting]).shell(step).run();
            failures.check((run.code() == Some(0)) == allowed, || {
                format!("{step} with {setting}: expected {allowed}\n{}", run.describe())
            });
        }
    }
    failures.finish();
}

/// `protect` adds names, `unprotect` takes names of the table out.
fn names_of_ones_own(scene: &Scene) {
    let mut failures = Failures::new();
    scene.file("workspace/deploy.sh", "#!/bin/sh\n");
    scene.file("workspace/.envrc", "export A=1\n");
    let write = |file: &str, setting: &str| {
        let sandbox = scene.under(Policy::WorkspaceWrite).options(["-c", setting]);
        sandbox.probe(["write", file, "WRONLY"]).run()
    };
    let nothing = "sandbox.protect=[]";
    failures.judge("not protected", Expect::Ok, &write("deploy.sh", nothing));
    failures.judge("protected", EROFS, &write("deploy.sh", "sandbox.protect=[\"deploy.sh\"]"));
    failures.judge("in the table", EROFS, &write(".envrc", nothing));
    failures.judge("taken out", Expect::Ok, &write(".envrc", "sandbox.unprotect=[\".envrc\"]"));
    failures.finish();
}

/// A file and a directory, outside and in a writable root, by every name that leads there.
fn what_is_denied_cannot_be_read(scene: &Scene) {
    let mut failures = Failures::new();
    for place in ["outside", "workspace"] {
        scene.directory(&format!("{place}/secrets/below"));
        scene.directory(&format!("{place}/secrets/open"));
        for file in ["secrets/file", "secrets/below/file", "secrets/open/file", "secret", "beside"] {
            scene.file(&format!("{place}/{file}"), "for nobody else\n");
        }
        scene.symlink("secret", &format!("{place}/link"));
        scene.symlink("secrets", &format!("{place}/link-to-directory"));
    }
    for place in [scene.outside(), scene.workspace()] {
        let place = place.to_string_lossy();
        let settings = [
            format!("sandbox.deny_read=[\"{place}/secrets\", \"{place}/secret\"]"),
            format!("sandbox.allow_read=[\"{place}/secrets/open\"]"),
        ];
        let options = settings.iter().flat_map(|setting| ["-c", setting]);
        let closed = [
            "read {}/secret",
            "read {}/link",
            "read /proc/self/root{}/secret",
            "open {}/secret RDWR",
            "read {}/secrets/file",
            "read {}/secrets/below/file",
            "read {}/link-to-directory/file",
            "list {}/secrets",
            "list {}/secrets/below",
        ];
        for act in closed {
            let words: Vec<String> = act.split(' ').map(|word| word.replace("{}", &place)).collect();
            failures.judge(act, Expect::Ok, &scene.under(Policy::Bare).probe(&words).run());
            for policy in Policy::RESTRICTED {
                let run = scene.under(policy).options(options.clone()).probe(&words).run();
                failures.check(shows_nothing(scene, &run), || {
                    format!("{act} [{policy:?}]: {}\n{}", run.verdict(), run.describe())
                });
            }
        }
        for act in ["read {}/beside", "read {}/secrets/open/file"] {
            let words: Vec<String> = act.split(' ').map(|word| word.replace("{}", &place)).collect();
            let run = scene.under(Policy::WorkspaceWrite).options(options.clone()).probe(&words).run();
            failures.judge(act, Expect::Ok, &run);
        }
        let kept = fs::read_to_string(Path::new(place.as_ref()).join("secret")).ok();
        failures.check(kept.as_deref() == Some("for nobody else\n"), || format!("{place}: {kept:?}"));
    }
    failures.finish();
}

const UNREADABLE: Expect = Expect::Fails(&[Errno::EACCES, Errno::ENOENT, Errno::EROFS]);

/// What covers it has no permissions, or lets nothing be found in it. Root, whom permissions don't stop, finds it empty
/// but for what is shown again.
fn shows_nothing(scene: &Scene, run: &Run) -> bool {
    let empty = ["0", "1"].map(|count| Verdict::Ok(count.to_owned()));
    UNREADABLE.admits(&run.verdict()) || scene.identity() == Identity::Root && empty.contains(&run.verdict())
}

/// A place that is moved would be open at its new name, for this call or for the next.
fn what_is_denied_keeps_its_place(scene: &Scene) {
    let mut failures = Failures::new();
    scene.directory("workspace/above/between/secrets");
    scene.file("workspace/above/between/secrets/file", "for nobody else\n");
    let denied = scene.workspace().join("above/between/secrets");
    let setting = format!("sandbox.deny_read=[\"{}\"]", denied.display());
    let run =
        |words: &[&str]| scene.under(Policy::WorkspaceWrite).options(["-c", &setting]).probe(words).run();
    for (from, to) in
        [("above", "away"), ("above/between", "above/away"), ("above/between/secrets", "above/between/away")]
    {
        failures.judge(from, EBUSY, &run(&["rename", from, to]));
    }
    failures.judge("rmdir", EBUSY, &run(&["rmdir", "above/between/secrets"]));
    for (act, path) in [("read", "above/between/secrets/file"), ("list", "above/between/secrets")] {
        let run = run(&[act, path]);
        failures.check(shows_nothing(scene, &run), || run.describe());
    }
    failures.check(denied.join("file").exists(), || "the file is gone".to_owned());
    failures.finish();
}
