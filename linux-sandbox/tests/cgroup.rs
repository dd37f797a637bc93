//! Entering a cgroup: all of a run is in it from the first instruction on, and ends with it.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by a panic, and says so")]

#[path = "harness/groups.rs"]
mod groups;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

use groups::{Group, TO_THE_TOPS};

const HELPER: &str = env!("CARGO_BIN_EXE_codex-linux-sandbox");

/// The helper with descriptor 5 open for writing on a file.
fn start(file: &str, options: &[&str], script: &str) -> Child {
    start_after("", file, options, script)
}

/// The same, after something that a shell does first.
fn start_after(first: &str, file: &str, options: &[&str], script: &str) -> Child {
    Command::new("sh")
        .args(["-c", &format!("{first}exec 5>\"$1\"; shift; exec \"$@\"")])
        .args(["sh", file, HELPER, "-s", "disk-full-read-access"])
        .args(options)
        .args(["--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// How many processes there are: the command's two, and those of ours.
fn all_are_in_it(name: &str, options: &[&str], expected: usize) {
    let Some(group) = Group::make(name) else { return };
    let file = group.path.join("cgroup.procs");
    let mut child = start(file.to_str().unwrap(), options, "sleep 1000 & echo ready; wait");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    assert_eq!(group.members(), expected);
    fs::write(group.path.join("cgroup.kill"), "1").unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    // The last of them is gone when the pipe that all hold is closed.
    assert_eq!(BufReader::new(child.stdout.take().unwrap()).lines().count(), 0);
    while group.members() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn all_of_a_run_is_in_the_group_at_level_landlock() {
    all_are_in_it("landlock", &["--cgroup-fd", "5"], 2);
}

#[test]
fn all_of_a_run_is_in_the_group_at_level_namespaces() {
    // Who stands for the command outside, and PID 1.
    all_are_in_it("namespaces", &["--isolation", "namespaces", "--cgroup-fd", "5"], 4);
}

/// The namespace is made when the run is in its group already.
#[test]
fn a_run_finds_its_group_at_the_top() {
    let Some(group) = Group::make("seen") else { return };
    let file = group.path.join("cgroup.procs");
    let script = format!("grep ^0:: /proc/self/cgroup; ls -d '{}'/*/", group.top.display());
    let options = ["--isolation", "namespaces", "--cgroup-fd", "5"];
    fs::create_dir(group.path.join("below")).unwrap();
    let output = start_after(TO_THE_TOPS, file.to_str().unwrap(), &options, &script).wait_with_output();
    let seen = String::from_utf8(output.unwrap().stdout).unwrap();
    assert_eq!(seen, format!("0::/\n{}/below/\n", group.top.display()));
    fs::remove_dir(group.path.join("below")).unwrap();
}

#[test]
fn without_restrictions_too() {
    all_are_in_it(
        "unrestricted",
        &["-s", "disk-full-write-access", "-s", "network-full-access", "--cgroup-fd", "5"],
        2,
    );
}

#[test]
fn p7_what_is_no_group_runs_nothing() {
    for (file, options, says) in [
        ("/dev/null", ["--cgroup-fd", "5"], "names no file of a cgroup"),
        ("/dev/null", ["--cgroup-fd", "77"], "names no open descriptor"),
    ] {
        for level in [&[][..], &["--isolation", "namespaces"]] {
            let output = start(file, &[level, &options].concat(), "echo ran").wait_with_output().unwrap();
            let complaint = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{complaint}");
            assert!(
                complaint.starts_with("codex-linux-sandbox: cgroup: ") && complaint.contains(says),
                "{complaint}"
            );
            assert_eq!(complaint.lines().count(), 1, "{complaint}");
        }
    }
}
