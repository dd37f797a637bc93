//! P1: outside the writable roots, content and names don't change, by whatever way; inside them, work goes on.

#![expect(clippy::expect_used, reason = "a suite reports by failing")]

#[path = "writes/table.rs"]
mod table;

use std::fs::{self, File};
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use codex_tests::cases_by_level;
use codex_tests::harness::{
    Expect, Failures, Identity, Level, Policy, Run, Scene, Snapshot, missing, require_tool,
};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use table::{Row, Words};

cases_by_level!(
    every_way_out,
    every_way_within,
    inherited_descriptors,
    devices_stay_usable,
    device_nodes_and_kernel_files,
    slash_tmp_follows_the_configuration,
    tmpdir_follows_the_configuration,
    added_directories,
    a_command_cannot_widen_by_moving,
    external_sandbox_leaves_files_alone,
    a_directory_as_stdin,
    a_core_dump_stays_within,
    a_descriptor_that_is_received,
);

const EACCES: Expect = Expect::Fails(&[Errno::EACCES]);
const ENOENT: Expect = Expect::Fails(&[Errno::ENOENT]);
const EROFS: Expect = Expect::Fails(&[Errno::EROFS]);

/// What is outside is not writable: Landlock says so, or the mount.
fn refusal(scene: &Scene) -> Expect {
    scene.level().choose(EACCES, EROFS)
}

/// The files that the rows are about.
fn furnish(scene: &Scene) {
    for place in ["outside", "workspace"] {
        scene.directory(&format!("{place}/directory"));
        scene.directory(&format!("{place}/full"));
        scene.file(&format!("{place}/file"), "as it was\n");
        scene.file(&format!("{place}/other"), "the other\n");
        scene.file(&format!("{place}/full/file"), "in a directory\n");
    }
    scene.symlink(scene.outside().join("file"), "workspace/link-to-file");
    scene.symlink(scene.outside(), "workspace/link-to-directory");
    scene.symlink(scene.outside().join("new"), "workspace/link-to-nothing");
}

/// Runs one row in a scene of its own, and tells whether anything outside changed.
fn act(scene: &Scene, row: &Row, policy: Policy, which: &str) -> (Run, bool) {
    let stage = scene.fresh(which);
    furnish(&stage);
    let victim = stage.victim();
    let words = Words { scene: &stage, pid: victim.pid().as_raw() };
    let arguments = words.fill(row.words);
    let before = Snapshot::of(&stage.path(row.place));
    let run = stage.under(policy).probe(arguments).run();
    let changed = Snapshot::of(&stage.path(row.place)) != before;
    (run, changed)
}

fn judge(scene: &Scene, rows: &[Row], refusing: &[Policy], permitting: &[Policy]) {
    let mut failures = Failures::new();
    for (number, row) in rows.iter().enumerate() {
        if row.root_only && scene.identity() != Identity::Root {
            continue;
        }
        for policy in [Policy::Bare].iter().chain(permitting) {
            let (run, changed) = act(scene, row, *policy, &format!("{number}-{policy:?}"));
            failures.judge(row.name, Expect::Ok, &run);
            failures.check(changed, || {
                format!("{} [{policy:?}]: it changed nothing, so it proves nothing", row.name)
            });
        }
        for policy in refusing {
            let (run, changed) = act(scene, row, *policy, &format!("{number}-{policy:?}"));
            failures.judge(row.name, row.at(scene.level(), *policy), &run);
            failures.check(!changed, || {
                format!("{} [{policy:?}]: {} changed\n{}", row.name, row.place, run.describe())
            });
        }
    }
    failures.finish();
}

fn every_way_out(scene: &Scene) {
    judge(
        scene,
        &table::ways_out(),
        &[Policy::ReadOnly, Policy::WorkspaceWrite],
        &[Policy::DangerFullAccess],
    );
}

/// The same acts within the workspace: refused where it is read-only, as good as outside where it is writable.
fn every_way_within(scene: &Scene) {
    judge(scene, &table::ways_within(), &[Policy::ReadOnly], &[Policy::WorkspaceWrite]);
}

/// A descriptor that `codex` happened to have open must not reach the command; what is handed over as stdin must not
/// become writable by being opened again.
fn inherited_descriptors(scene: &Scene) {
    let mut failures = Failures::new();
    let path = scene.file("outside/file", "as it was\n");
    let inherited = format!("9={}", path.display());
    for (policy, expected) in [
        (Policy::Bare, Expect::Ok),
        (Policy::ReadOnly, Expect::Fails(&[Errno::EBADF])),
        (Policy::WorkspaceWrite, Expect::Fails(&[Errno::EBADF])),
    ] {
        scene.file("outside/file", "as it was\n");
        let run = scene
            .under(policy)
            .probe(["write-descriptor", "9"])
            .launched_with(["--open-write", &inherited])
            .run();
        failures.judge("write to an inherited descriptor", expected, &run);
        let kept = fs::read_to_string(&path).expect("read the file back") == "as it was\n";
        failures.check(kept == (policy != Policy::Bare), || {
            format!("inherited descriptor [{policy:?}]: kept is {kept}")
        });
    }
    let refused = scene.level().choose(EACCES, Expect::Fails(&[Errno::EROFS]));
    for (policy, expected) in
        [(Policy::Bare, Expect::Ok), (Policy::ReadOnly, refused), (Policy::WorkspaceWrite, refused)]
    {
        scene.file("outside/file", "as it was\n");
        let stdin = File::open(&path).expect("open the file for reading");
        let run = scene.under(policy).probe(["reopen-descriptor", "0"]).input_file(stdin).run();
        failures.judge("open stdin again, to write", expected, &run);
        let kept = fs::read_to_string(&path).expect("read the file back") == "as it was\n";
        failures.check(kept == (policy != Policy::Bare), || format!("stdin [{policy:?}]: kept is {kept}"));
    }
    // What the caller hands over as stdout is for the command to write.
    let run = scene.under(Policy::ReadOnly).shell("echo handed over").run().expect_code(0);
    assert_eq!(run.text(), "handed over\n");
    failures.finish();
}

fn devices_stay_usable(scene: &Scene) {
    let mut failures = Failures::new();
    for policy in [Policy::Bare, Policy::ReadOnly, Policy::WorkspaceWrite] {
        for device in ["/dev/null", "/dev/zero"] {
            for flags in ["WRONLY", "WRONLY,TRUNC", "RDWR", "WRONLY,CREAT,TRUNC", "WRONLY,APPEND"] {
                failures.judge(
                    device,
                    Expect::Ok,
                    &scene.under(policy).probe(["write", device, flags]).run(),
                );
            }
        }
        let full = scene.under(policy).probe(["write", "/dev/full", "WRONLY"]).run();
        failures.judge("/dev/full", Expect::Fails(&[Errno::ENOSPC]), &full);
        for device in ["/dev/random", "/dev/urandom"] {
            failures.judge(device, Expect::Ok, &scene.under(policy).probe(["open", device, "RDONLY"]).run());
        }
    }
    failures.finish();
}

/// Root may open what the kernel offers to whoever owns the machine; opening alone changes nothing.
fn device_nodes_and_kernel_files(scene: &Scene) {
    if scene.identity() != Identity::Root {
        return;
    }
    let mut failures = Failures::new();
    let block = fs::read_to_string("/proc/partitions")
        .ok()
        .and_then(|table| table.split_whitespace().last().map(|name| format!("/dev/{name}")));
    let mut paths: Vec<String> =
        ["/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/self/oom_score_adj"]
            .map(str::to_owned)
            .to_vec();
    paths.extend(["/dev/kmsg", "/proc/sysrq-trigger"].map(str::to_owned));
    paths.extend(block);
    let mut proved = 0;
    for path in &paths {
        let control = scene.under(Policy::Bare).probe(["open", path, "WRONLY"]).run();
        if !control.verdict().is_ok() {
            continue;
        }
        proved += 1;
        for policy in [Policy::ReadOnly, Policy::WorkspaceWrite] {
            let run = scene.under(policy).probe(["open", path, "WRONLY"]).run();
            // Of the host's devices, level namespaces shows only the usual ones.
            let hidden = if path.starts_with("/dev/") { ENOENT } else { EROFS };
            failures.judge(path, scene.level().choose(EACCES, hidden), &run);
        }
    }
    failures.check(proved > 0, || format!("none of {paths:?} could be opened without the sandbox"));
    failures.finish();
}

fn slash_tmp_follows_the_configuration(scene: &Scene) {
    let mut failures = Failures::new();
    let unique = scene.root().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let refused = refusal(scene);
    for directory in ["/tmp", "/dev/shm"] {
        let path = format!("{directory}/{unique}-{:?}", scene.identity());
        let rows = [
            (Policy::Bare, None, Expect::Ok),
            (Policy::ReadOnly, None, refused),
            (Policy::WorkspaceWrite, None, Expect::Ok),
            (Policy::WorkspaceWrite, Some("sandbox_workspace_write.exclude_slash_tmp=true"), refused),
            (Policy::WorkspaceWrite, Some("sandbox_workspace_write.exclude_slash_tmp=false"), Expect::Ok),
        ];
        for (policy, setting, expected) in rows {
            // Shared memory of the sandbox's own is nobody else's to protect, and none of it is there outside.
            let private =
                directory == "/dev/shm" && policy != Policy::Bare && scene.level() == Level::Namespaces;
            let expected = if private { Expect::Ok } else { expected };
            let options = setting.map(|setting| ["-c", setting]).into_iter().flatten();
            let sandbox = scene.under(policy).with_slash_tmp().options(options);
            let run = sandbox.probe(["write", &path, "WRONLY,CREAT,EXCL"]).run();
            failures.judge(&format!("{directory} with {setting:?}"), expected, &run);
            let made = fs::remove_file(&path).is_ok();
            failures.check(made == (run.verdict().is_ok() && !private), || {
                format!("{path}: the file is there: {made}\n{}", run.describe())
            });
        }
    }
    failures.finish();
}

fn tmpdir_follows_the_configuration(scene: &Scene) {
    let mut failures = Failures::new();
    let tmpdir = scene.directory("scratch");
    let path = tmpdir.join("file");
    let rows = [
        (Policy::Bare, None, Expect::Ok),
        (Policy::ReadOnly, None, refusal(scene)),
        (Policy::WorkspaceWrite, None, Expect::Ok),
        (Policy::WorkspaceWrite, Some("sandbox_workspace_write.exclude_tmpdir_env_var=true"), refusal(scene)),
    ];
    for (policy, setting, expected) in rows {
        let options = setting.map(|setting| ["-c", setting]).into_iter().flatten();
        let arguments = ["write".as_ref(), path.as_os_str(), "WRONLY,CREAT,EXCL".as_ref()];
        let run = scene.under(policy).options(options).probe(arguments).env("TMPDIR", &tmpdir).run();
        failures.judge(&format!("$TMPDIR with {setting:?}"), expected, &run);
        let made = fs::remove_file(&path).is_ok();
        failures.check(made == run.verdict().is_ok(), || format!("{}: {made}", path.display()));
    }
    failures.finish();
}

fn added_directories(scene: &Scene) {
    let mut failures = Failures::new();
    let (added, sibling) = (scene.directory("added"), scene.directory("added-not"));
    scene.symlink(&added, "workspace/link-to-added");
    for (path, expected) in [
        (added.join("file"), Expect::Ok),
        (scene.workspace().join("link-to-added/second"), Expect::Ok),
        // A root's name is no prefix of its neighbour's.
        (sibling.join("file"), refusal(scene)),
    ] {
        let arguments = ["write".as_ref(), path.as_os_str(), "WRONLY,CREAT,EXCL".as_ref()];
        let sandbox = scene.under(Policy::WorkspaceWrite).options(["--add-dir".as_ref(), added.as_os_str()]);
        failures.judge(&path.to_string_lossy(), expected, &sandbox.probe(arguments).run());
        failures.check(path.exists() == matches!(expected, Expect::Ok), || format!("{}", path.display()));
    }
    failures.finish();
}

/// The policy cwd is what the user chose; where the command goes afterwards widens nothing.
fn a_command_cannot_widen_by_moving(scene: &Scene) {
    let target = scene.outside().join("file");
    let script = format!("cd '{}' && echo changed > file", scene.outside().display());
    scene.under(Policy::Bare).shell(&script).run().expect_code(0);
    fs::remove_file(&target).expect("the control wrote the file");

    let run = scene.under(Policy::WorkspaceWrite).shell(&script).run();
    assert!(run.code() != Some(0) && !target.exists(), "{}", run.describe());

    // Started elsewhere, with the policy cwd named: the place of the start is no root.
    let workspace = scene.workspace();
    let chosen = || scene.under(Policy::WorkspaceWrite).options(["-C".as_ref(), workspace.as_os_str()]);
    let outside = ["write".as_ref(), target.as_os_str(), "WRONLY,CREAT".as_ref()];
    let run = chosen().probe(outside).directory(scene.outside()).run();
    assert!(refusal(scene).admits(&run.verdict()) && !target.exists(), "{}", run.describe());
    chosen().shell("echo fine > file").directory(scene.outside()).run().expect_code(0);
    assert_eq!(fs::read_to_string(workspace.join("file")).ok().as_deref(), Some("fine\n"));
}

/// With `external-sandbox`, somebody else confines the files.
fn external_sandbox_leaves_files_alone(scene: &Scene) {
    let target = scene.outside().join("file");
    let arguments = ["write".as_ref(), target.as_os_str(), "WRONLY,CREAT".as_ref()];
    let run = scene.under(Policy::ExternalSandbox).probe(arguments).run();
    assert!(run.verdict().is_ok() && target.exists(), "{}", run.describe());
}

/// A directory handed over as stdin is a way to name what is in it, and no more.
fn a_directory_as_stdin(scene: &Scene) {
    let mut failures = Failures::new();
    let acts = [
        "write /proc/self/fd/0/new WRONLY,CREAT",
        "write /dev/stdin/file WRONLY,TRUNC",
        "write-from /proc/self/fd/0 new",
        "unlink /proc/self/fd/0/file",
        "rename /proc/self/fd/0/file /proc/self/fd/0/new",
        "link-unnamed /proc/self/fd/0 /proc/self/fd/0/new",
    ];
    for (number, act) in acts.into_iter().enumerate() {
        for policy in [Policy::Bare, Policy::ReadOnly, Policy::WorkspaceWrite] {
            let stage = scene.fresh(&format!("{number}-{policy:?}"));
            stage.file("outside/file", "as it was\n");
            let before = Snapshot::of(&stage.outside());
            let directory = File::open(stage.outside()).expect("open the directory");
            let run = stage.under(policy).probe(act.split(' ')).input_file(directory).run();
            // At level namespaces, it is the read-only mount of the same directory.
            let refused = scene.level().choose(EACCES, Expect::Fails(&[Errno::EROFS]));
            failures.judge(act, if policy == Policy::Bare { Expect::Ok } else { refused }, &run);
            let changed = Snapshot::of(&stage.outside()) != before;
            failures.check(changed == (policy == Policy::Bare), || format!("{act} [{policy:?}]: {changed}"));
        }
    }
    failures.finish();
}

/// The kernel writes a core dump for the command, where the command stands: not outside.
fn a_core_dump_stays_within(scene: &Scene) {
    let script = format!("ulimit -c unlimited; cd '{}'; kill -SEGV $$", scene.outside().display());
    let dumped = |policy: Policy| {
        drop(scene.under(policy).shell(&script).run());
        fs::read_dir(scene.outside()).expect("list the directory").count() > 0
    };
    for policy in [Policy::ReadOnly, Policy::WorkspaceWrite] {
        assert!(!dumped(policy), "{policy:?}: a core dump lies outside");
    }
    if !dumped(Policy::Bare) {
        missing("core dumps into the working directory (kernel.core_pattern, ulimit -Hc)");
    }
}

/// Somebody outside sends a descriptor opened for reading: it can't be opened again to write, nor can what lies beside it.
fn a_descriptor_that_is_received(scene: &Scene) {
    const RECEIVE: &str = "
import os, socket, sys
_, (file, directory), *_ = socket.recv_fds(socket.socket(fileno=0), 1, 2)
for path in ['/proc/self/fd/%d' % file, '/proc/self/fd/%d/file' % directory, '/proc/self/fd/%d/new' % directory]:
    try: os.write(os.open(path, os.O_WRONLY | os.O_CREAT), b'changed'); print('written')
    except OSError as error: print(error.errno)
";
    let Some(python) = require_tool("python3") else { return };
    for policy in [Policy::Bare, Policy::ReadOnly, Policy::WorkspaceWrite] {
        let stage = scene.fresh(&format!("{policy:?}"));
        let file = stage.file("outside/file", "as it was\n");
        let before = Snapshot::of(&stage.outside());
        let held = [&file, &stage.outside()].map(|path| File::open(path).expect("open what is sent"));
        let (theirs, ours) = UnixStream::pair().expect("a pair of sockets");
        let sent = held.each_ref().map(AsRawFd::as_raw_fd);
        let rights = [ControlMessage::ScmRights(&sent)];
        sendmsg::<()>(ours.as_raw_fd(), &[IoSlice::new(b"x")], &rights, MsgFlags::empty(), None)
            .expect("send the descriptors");
        let input = File::from(OwnedFd::from(theirs));
        let run = stage.under(policy).command(&python, ["-c", RECEIVE]).input_file(input).run();
        let changed = Snapshot::of(&stage.outside()) != before;
        let bare = policy == Policy::Bare;
        let expected = if bare { "written\n" } else { "13\n" }.repeat(3);
        assert!(run.text() == expected && changed == bare, "{policy:?}: {changed}\n{}", run.describe());
    }
}
