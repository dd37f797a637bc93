//! A process that is kept ready between calls: what a call in it is like, when it is not used, and what is left of it.
//!
//! These tests look at the children of the whole process, so that they are in a program of their own and take turns.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by a panic, and says so")]

#[path = "harness/groups.rs"]
mod groups;
#[path = "harness/runs.rs"]
mod runs;

const ISOLATION: codex_core::config::Isolation = codex_core::config::Isolation::Namespaces;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use codex_core::enforcement::Level;
use codex_core::exec::{Outcome, Sandbox, SandboxOptions};
use codex_core::policy::SandboxPolicy;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::unistd::{geteuid, pipe2};

use groups::{Group, TO_THE_TOPS};
use runs::{HELPER, PATIENCE, READ_ONLY, options, prepare, request, run, shell, succeed, workspace_write};

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ready(policy: &SandboxPolicy, workspace: &Path, options: SandboxOptions) -> Sandbox {
    prepare(policy, workspace, SandboxOptions { standby: true, ..options }).unwrap()
}

fn children(process: &str) -> BTreeSet<String> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).map(|threads| {
        let lists =
            threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
    });
    threads.unwrap_or_default()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

/// Waits until there is a process that waits, and returns its number. There was none before.
fn waiting() -> String {
    let mut found = None;
    until("nothing was made ready", || {
        // Outside stands the one that waits for the first process inside.
        found = children("self").into_iter().find(|child| !children(child).is_empty());
        found.is_some()
    });
    found.unwrap()
}

fn nothing_is_left() {
    until("something is left", || children("self").is_empty());
}

#[test]
fn a_call_in_it_is_like_any_other() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let sandbox = ready(&workspace_write(), directory.path(), options());
    let lines = [
        "id -u; umask; pwd; echo err >&2; cat; ls /proc/self/fd | wc -l; cat /proc/self/cgroup; exit 3",
        "grep -E 'Sig|Cap|NoNew|Seccomp' /proc/self/status",
        "echo x > inside && cat inside; echo x 2>/dev/null > /outside || echo held",
        "ps -o pid=,args= -e | wc -l; env | sort; test $(ps -o sid= -p $$) = $$; echo $?",
        "(sleep 0.01; echo late) & exit 0",
        "no-such-program; kill -TERM $$",
    ];
    let fresh = prepare(&workspace_write(), directory.path(), options()).unwrap();
    for line in lines {
        sandbox.stand_by();
        let made = waiting();
        let at = |sandbox: &Sandbox| {
            let mut request = shell(line);
            request.cwd = Some(directory.path().to_owned());
            run(request, sandbox)
        };
        let (kept, other) = (at(&sandbox), at(&fresh));
        assert_eq!(kept.outcome, other.outcome, "{line}");
        let texts = |result: &codex_core::exec::ExecResult| {
            [&result.stdout.head, &result.stderr.head].map(|text| String::from_utf8_lossy(text).into_owned())
        };
        assert_eq!(texts(&kept), texts(&other), "{line}");
        assert_eq!(kept.enforcement, other.enforcement);
        assert_eq!(kept.enforcement.level, Level::Namespaces);
        assert!(!children("self").contains(&made), "the call was not made in what was ready");
    }
    drop(sandbox);
    nothing_is_left();
}

/// Where a waiting process was put, there the command is at the top: the namespace is made when it knows what to run.
#[test]
fn the_group_that_it_was_put_into_is_the_top_one() {
    let _turn = turn();
    let Some(group) = Group::make("standby") else { return };
    let sandbox = ready(&READ_ONLY, "/".as_ref(), options());
    sandbox.stand_by();
    let made = waiting();
    let inside = children(&made).into_iter().next().unwrap();
    let move_it = TO_THE_TOPS.replace("self", &inside).replace("$$", &inside);
    let script = format!("{move_it} echo {inside} > \"$1\"/cgroup.procs");
    let moved = Command::new("sh").args(["-c", &script, "sh"]).arg(&group.path).status();
    assert!(moved.unwrap().success());
    let result =
        run(shell(&format!("grep ^0:: /proc/self/cgroup; ls -d '{}'/*/", group.top.display())), &sandbox);
    let seen = String::from_utf8_lossy(&result.stdout.head);
    assert_eq!(seen, "0::/\n", "the call was made in what was ready, and no group is below its own");
    drop(sandbox);
    nothing_is_left();
}

#[test]
fn how_it_failed_is_told_to_the_call() {
    let _turn = turn();
    let sandbox = ready(&READ_ONLY, "/".as_ref(), options());
    for (program, code) in [("no-such-program", 127), ("/etc/passwd", 126)] {
        sandbox.stand_by();
        waiting();
        let result = run(request([program]), &sandbox);
        assert!(
            matches!(result.outcome, Outcome::NotExecuted { exit_code, .. } if exit_code == code),
            "{:?}",
            result.outcome
        );
    }
    drop(sandbox);
    nothing_is_left();
}

#[test]
fn each_call_makes_the_next_ready_and_there_is_never_more_than_one() {
    let _turn = turn();
    // What is made once and kept, is made.
    run(shell("exit 0"), &ready(&READ_ONLY, "/".as_ref(), options()));
    nothing_is_left();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let sandbox = ready(&READ_ONLY, "/".as_ref(), options());
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        assert_eq!(run(shell("exit 0"), &sandbox).outcome, Outcome::Exited { code: 0 });
        sandbox.stand_by();
        seen.insert(waiting());
        assert_eq!(children("self").len(), 1);
    }
    assert!(seen.len() > 10, "{seen:?}");
    drop(sandbox);
    nothing_is_left();
    // Let go of by another thread, a moment later.
    until("a descriptor is left", || descriptors() <= before);
}

#[test]
fn a_helper_that_knows_nothing_of_it_serves_as_before() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let helper = directory.path().join("older");
    let script = format!("#!/bin/sh\n[ \"$1\" != --standby ] || exit 125\nexec {HELPER} \"$@\"\n");
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let older = SandboxOptions { helper: helper.into(), ..options() };
    let sandbox = ready(&READ_ONLY, "/".as_ref(), older);
    for _ in 0..3 {
        sandbox.stand_by();
        assert_eq!(succeed(shell("echo out"), &sandbox), "out\n");
    }
    drop(sandbox);
    nothing_is_left();
}

#[test]
fn it_holds_no_descriptor_and_no_directory_of_its_makers() {
    let _turn = turn();
    let (reading, writing) = pipe2(OFlag::O_CLOEXEC).unwrap();
    // What another thread may have open at that moment.
    fcntl(&writing, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let sandbox = ready(&READ_ONLY, "/".as_ref(), options());
    sandbox.stand_by();
    let made = waiting();
    drop::<OwnedFd>(writing);
    let mut rest = Vec::new();
    // Waits for ever where somebody holds the other end.
    fs::File::from(reading).read_to_end(&mut rest).unwrap();
    let Some(inside) = children(&made).into_iter().next() else {
        panic!("the end came with the end of what waits");
    };
    for process in [&made, &inside] {
        assert_eq!(fs::read_link(format!("/proc/{process}/cwd")).unwrap(), Path::new("/"));
    }
    drop(sandbox);
    nothing_is_left();
}

/// A mount that is undone when the test ends.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(&self.0).status().unwrap().success());
    }
}

#[test]
fn it_ends_when_something_is_mounted() {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: only root can mount");
        return;
    }
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let sandbox = ready(&workspace_write(), directory.path(), options());
    sandbox.stand_by();
    let made = waiting();
    let place = directory.path().join("mounted");
    fs::create_dir(&place).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&place).status().unwrap();
    if !mounted.success() {
        eprintln!("SKIPPED: this root may not mount");
        return;
    }
    let mounted = Mounted(place);
    fs::write(mounted.0.join("new"), "seen\n").unwrap();
    until("it holds on to an old tree", || children(&made).is_empty());
    let mut request = request(["cat", "mounted/new"]);
    request.cwd = Some(directory.path().to_owned());
    assert_eq!(succeed(request, &sandbox), "seen\n");
    drop(mounted);
    drop(sandbox);
    nothing_is_left();
}

/// Names the program's own test that plays the agent.
const AGENT: &str = "CODEX_TEST_AGENT";

#[test]
fn it_ends_with_an_agent_that_is_killed() {
    let _turn = turn();
    let mut agent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_agent", "--nocapture"])
        .env(AGENT, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("waiting: ")).unwrap();
    let made = line.rsplit(' ').next().unwrap().to_owned();
    let process = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie is somebody else's to collect.
        !matches!(stat.rsplit(") ").next().and_then(|rest| rest.chars().next()), None | Some('Z' | 'X'))
    };
    let inside = children(&made);
    assert!(process(&made) && !inside.is_empty());
    agent.kill().unwrap();
    agent.wait().unwrap();
    until("it outlives the agent", || !process(&made) && !inside.iter().any(|pid| process(pid)));
}

/// Only to be killed by the test above.
#[test]
fn an_agent() {
    if std::env::var_os(AGENT).is_none() {
        return;
    }
    let sandbox = ready(&READ_ONLY, "/".as_ref(), options());
    sandbox.stand_by();
    println!("waiting: {}", waiting());
    loop {
        std::thread::park();
    }
}
