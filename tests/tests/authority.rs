//! P9: what the model controls can only tighten. Not its files, not its environment, not `codex` itself, run from within.

#![expect(clippy::expect_used, reason = "a suite reports by failing")]

use std::fs;
use std::path::Path;

use codex_tests::cases_by_level;
use codex_tests::harness::{Expect, Failures, Invocation, Listener, Policy, Run, Scene};
use nix::errno::Errno;

cases_by_level!(
    project_configuration_only_tightens,
    project_configuration_cannot_choose_the_helper,
    the_configuration_stays_out_of_reach,
    the_environment_changes_nothing,
    the_path_finds_no_other_helper,
    codex_from_within_widens_nothing,
    codex_within_itself_writes_its_own_roots,
    a_root_replaced_by_a_symlink,
    a_configured_root_replaced_for_another_workspace,
    the_helper_s_name_widens_nothing,
);

const EACCES: Expect = Expect::Fails(&[Errno::EACCES]);
const EPERM: Expect = Expect::Fails(&[Errno::EPERM]);
const EROFS: Expect = Expect::Fails(&[Errno::EROFS]);
const ECONNREFUSED: Expect = Expect::Fails(&[Errno::ECONNREFUSED]);

/// What is outside is not writable: Landlock says so, or the mount.
fn refusal(scene: &Scene) -> Expect {
    scene.level().choose(EACCES, EROFS)
}

/// With the network off, nobody on the host's loopback can be reached, at any level.
fn reaches_nobody(scene: &Scene, failures: &mut Failures, name: &str, reach: impl FnOnce([&str; 2]) -> Run) {
    let listener = Listener::tcp("127.0.0.1");
    let expected = scene.level().choose(EPERM, ECONNREFUSED);
    failures.judge(name, expected, &reach([listener.probe, &listener.address]));
    failures.check(!listener.heard(), || format!("{name}: it was heard"));
}

/// Tries to write `path`.
fn write(scene: &Scene, policy: Policy, path: &Path) -> Invocation {
    scene.under(policy).probe(["write".as_ref(), path.as_os_str(), "WRONLY,CREAT".as_ref()])
}

fn project_configuration_only_tightens(scene: &Scene) {
    let mut failures = Failures::new();
    scene.directory("workspace/.codex");
    let (within, outside) = (scene.workspace().join("file"), scene.outside().join("file"));
    let root = format!("[sandbox_workspace_write]\nwritable_roots = [\"{}\"]\n", scene.outside().display());
    let network = "[sandbox_workspace_write]\nnetwork_access = true\n".to_owned();
    let mode = |mode: &str| format!("sandbox_mode = \"{mode}\"\n");
    for content in
        [mode("workspace-write"), mode("danger-full-access"), mode("external-sandbox"), root, network]
    {
        scene.file("workspace/.codex/config.toml", &content);
        failures.judge(&content, refusal(scene), &write(scene, Policy::WorkspaceWrite, &outside).run());
        // With no mode named by the user, it is read-only.
        let run = scene.codex(["sandbox", "--", "sh", "-c", "echo written > file"]).run();
        failures.check(run.code() != Some(0) && !within.exists(), || format!("{content}{}", run.describe()));
        reaches_nobody(scene, &mut failures, &content, |words| {
            scene.under(Policy::WorkspaceWrite).probe(words).run()
        });
    }
    scene.file("workspace/.codex/config.toml", mode("read-only"));
    failures.judge("tightened", refusal(scene), &write(scene, Policy::WorkspaceWrite, &within).run());
    failures.finish();
}

/// The helper is what applies the sandbox: whoever names it has none.
fn project_configuration_cannot_choose_the_helper(scene: &Scene) {
    scene.directory("workspace/.codex");
    let trace = scene.workspace().join("trace");
    let program = format!("#!/bin/sh\necho ran > '{}'\n", trace.display());
    let helper = scene.file_with_mode("workspace/helper", program, 0o755);
    let setting = format!("codex_linux_sandbox_exe = \"{}\"\n", helper.display());

    // The user may, which proves that it would work.
    scene.file("codex-home/config.toml", &setting);
    drop(scene.under(Policy::WorkspaceWrite).shell("true").run());
    assert!(trace.exists(), "the user's own setting names the helper");
    fs::remove_file(&trace).expect("remove the trace");
    fs::remove_file(scene.path("codex-home/config.toml")).expect("remove the configuration");

    scene.file("workspace/.codex/config.toml", &setting);
    drop(scene.under(Policy::WorkspaceWrite).shell("true").run());
    assert!(!trace.exists(), "the workspace named the helper");
}

/// Whoever writes the configuration sets the policy of the next run.
fn the_configuration_stays_out_of_reach(scene: &Scene) {
    let mut failures = Failures::new();
    let in_tmp =
        tempfile::Builder::new().prefix("codex-tests-").tempdir_in("/tmp").expect("make a directory in /tmp");
    scene.give_away(in_tmp.path());
    let in_tmpdir = scene.directory("scratch/codex-home");
    for home in [in_tmp.path(), in_tmpdir.as_path()] {
        let file = home.join("config.toml");
        let attempt = |policy: Policy| {
            write(scene, policy, &file).env("CODEX_HOME", home).env("TMPDIR", scene.path("scratch")).run()
        };
        failures.judge("the configuration", refusal(scene), &attempt(Policy::WorkspaceWrite));
        failures.check(!file.exists(), || format!("{} was written", file.display()));
        failures.judge("the configuration", Expect::Ok, &attempt(Policy::Bare));
    }
    let below = scene.directory("workspace/codex-home");
    let run =
        write(scene, Policy::WorkspaceWrite, &below.join("config.toml")).env("CODEX_HOME", &below).run();
    let refused = run.code() == Some(125) || refusal(scene).admits(&run.verdict());
    failures.check(refused && !below.join("config.toml").exists(), || run.describe());
    failures.finish();
}

fn the_environment_changes_nothing(scene: &Scene) {
    let mut failures = Failures::new();
    let outside = scene.outside().join("file");
    let variables = [
        ("CODEX_SANDBOX", "none"),
        ("CODEX_SANDBOX_NETWORK_DISABLED", "0"),
        ("CODEX_SANDBOX_MODE", "danger-full-access"),
        ("CODEX_LINUX_SANDBOX_EXE", "/bin/true"),
        ("RUST_LOG", "off"),
        ("RUST_BACKTRACE", "1"),
        ("LD_PRELOAD", "/nonexistent.so"),
        ("LD_LIBRARY_PATH", "."),
        ("GLIBC_TUNABLES", "glibc.malloc.check=3"),
    ];
    for (name, value) in variables {
        let run = write(scene, Policy::WorkspaceWrite, &outside).env(name, value).run();
        failures.judge(name, refusal(scene), &run);
        reaches_nobody(scene, &mut failures, name, |words| {
            scene.under(Policy::WorkspaceWrite).probe(words).env(name, value).run()
        });
    }
    failures.finish();
}

fn the_path_finds_no_other_helper(scene: &Scene) {
    let trace = scene.outside().join("trace");
    let program = format!("#!/bin/sh\necho ran > '{}'\n", trace.display());
    for name in ["codex-linux-sandbox", "codex"] {
        scene.file_with_mode(&format!("workspace/{name}"), &program, 0o755);
    }
    let path = format!("{}:/usr/bin:/bin", scene.workspace().display());
    let run = scene.under(Policy::WorkspaceWrite).shell("echo it ran").env("PATH", path).run().expect_code(0);
    assert_eq!(run.text(), "it ran\n");
    assert!(!trace.exists(), "another program took the helper's place");
}

/// A sandbox within a sandbox can ask for anything, and gets no more than the outer one has.
fn codex_from_within_widens_nothing(scene: &Scene) {
    let mut failures = Failures::new();
    let outside = scene.outside().join("file");
    let (codex, probe) = (scene.codex_program(), scene.probe_program());
    let words = |mode: &'static str| {
        let options = ["sandbox", "-s", mode, "--"].map(std::ffi::OsString::from);
        let act = ["write".into(), outside.clone().into(), "WRONLY,CREAT".into()];
        options.into_iter().chain([probe.clone().into_os_string()]).chain(act).collect::<Vec<_>>()
    };
    for mode in ["danger-full-access", "external-sandbox"] {
        failures.judge(mode, Expect::Ok, &scene.under(Policy::Bare).command(&codex, words(mode)).run());
        fs::remove_file(&outside).expect("the control wrote the file");
        let run = scene.under(Policy::WorkspaceWrite).command(&codex, words(mode)).run();
        failures.judge(mode, refusal(scene), &run);
        failures.check(!outside.exists(), || format!("{mode}: the file is there"));
    }
    failures.finish();
}

/// The same program works within itself: the inner policy narrows the outer one, and both hold.
fn codex_within_itself_writes_its_own_roots(scene: &Scene) {
    let mut failures = Failures::new();
    let (codex, probe) = (scene.codex_program(), scene.probe_program());
    let (inner, beside) = (scene.directory("workspace/inner"), scene.workspace().join("beside"));
    for (target, expected) in [(inner.join("file"), Expect::Ok), (beside, EACCES)] {
        let mut words = ["sandbox", "-s", "workspace-write", "-C"].map(std::ffi::OsString::from).to_vec();
        words.push(inner.clone().into_os_string());
        for setting in ["exclude_slash_tmp", "exclude_tmpdir_env_var"] {
            words.extend(["-c".into(), format!("sandbox_workspace_write.{setting}=true").into()]);
        }
        words.extend(["--".into(), probe.clone().into_os_string(), "write".into()]);
        words.extend([target.clone().into_os_string(), "WRONLY,CREAT".into()]);
        let run = scene.under(Policy::WorkspaceWrite).command(&codex, &words).run();
        failures.judge("write", expected, &run);
        failures.check(target.exists() == matches!(expected, Expect::Ok), || run.describe());
    }
    failures.finish();
}

/// A root is what its path led to when the run began. Replacing the name by a link to elsewhere leads nowhere new.
fn a_root_replaced_by_a_symlink(scene: &Scene) {
    let root = scene.directory("workspace/root");
    let script = format!(
        "rmdir '{root}' && ln -s '{outside}' '{root}' && echo x > '{root}/file'",
        root = root.display(),
        outside = scene.outside().display()
    );
    let sandbox = scene.under(Policy::WorkspaceWrite).options(["--add-dir".as_ref(), root.as_os_str()]);
    let run = sandbox.shell(&script).run();
    assert!(run.code() != Some(0) && !scene.outside().join("file").exists(), "{}", run.describe());
    // A second run must not follow the link that the first one left behind.
    let sandbox = scene.under(Policy::WorkspaceWrite).options(["--add-dir".as_ref(), root.as_os_str()]);
    let run = sandbox.shell("echo x > root/file").run();
    assert!(!scene.outside().join("file").exists(), "{}", run.describe());
}

/// A configured root that lies in today's workspace is the command's to replace, and tomorrow's workspace is another one.
fn a_configured_root_replaced_for_another_workspace(scene: &Scene) {
    let root = scene.directory("workspace/cache");
    let other = scene.directory("other");
    let setting = format!("[sandbox_workspace_write]\nwritable_roots = [\"{}\"]\n", root.display());
    scene.file("codex-home/config.toml", setting);
    let replace = format!("rmdir cache && ln -s '{}' cache", scene.outside().display());
    scene.under(Policy::WorkspaceWrite).shell(&replace).run().expect_code(0);
    let target = scene.outside().join("file");
    let run = write(scene, Policy::WorkspaceWrite, &target).directory(&other).run();
    assert!(!target.exists(), "the link that a command left has moved the root\n{}", run.describe());
}

/// The binary under the helper's name, with a plan that allows everything, started from within.
fn the_helper_s_name_widens_nothing(scene: &Scene) {
    let mut failures = Failures::new();
    let outside = scene.outside().join("file");
    let helper = scene.symlink(scene.codex_program(), "workspace/codex-linux-sandbox");
    let words = ["disk-full-read-access", "disk-full-write-access", "network-full-access"]
        .into_iter()
        .flat_map(|permission| ["-s".into(), permission.into()])
        .chain(["--keep-descriptors".into(), "--".into(), scene.probe_program().into_os_string()]);
    let words: Vec<std::ffi::OsString> = words.collect();
    let act = ["write".into(), outside.clone().into_os_string(), "WRONLY,CREAT".into()];
    for (policy, expected) in [
        (Policy::Bare, Expect::Ok),
        (Policy::ReadOnly, refusal(scene)),
        (Policy::WorkspaceWrite, refusal(scene)),
    ] {
        let run = scene.under(policy).command(&helper, words.iter().chain(&act)).run();
        failures.judge("write outside", expected, &run);
        failures.check(outside.exists() == (policy == Policy::Bare), || run.describe());
        if policy == Policy::Bare {
            fs::remove_file(&outside).expect("the control wrote the file");
        }
        if policy != Policy::Bare {
            reaches_nobody(scene, &mut failures, "a listener", |reach| {
                let reach = reach.map(std::ffi::OsString::from);
                scene.under(policy).command(&helper, words.iter().chain(&reach)).run()
            });
        }
    }
    failures.finish();
}
