//! Entering a cgroup: all of a run is in it from the first instruction on, and ends with it.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by a panic, and says so")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const HELPER: &str = env!("CARGO_BIN_EXE_codex-linux-sandbox");

/// A group of the test's own, removed with it.
struct Group(PathBuf);

impl Group {
    /// Below ours, where that can be written. Says so loudly where it can't.
    fn make(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
        let ours = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let top =
            mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
        let made = ours.zip(top).and_then(|(ours, top)| {
            let path = PathBuf::from(top).join(ours).join(format!("test-{name}-{}", std::process::id()));
            fs::create_dir(&path).ok().map(|()| Self(path))
        });
        if made.is_none() {
            assert!(std::env::var_os("CI").is_none(), "no writable cgroup of version 2");
            eprintln!("SKIP: no writable cgroup of version 2");
        }
        made
    }

    fn members(&self) -> usize {
        fs::read_to_string(self.0.join("cgroup.procs")).unwrap().lines().count()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).unwrap();
    }
}

/// The helper with descriptor 5 open for writing on a file.
fn start(file: &str, options: &[&str], script: &str) -> Child {
    Command::new("sh")
        .args(["-c", "exec 5>\"$1\"; shift; exec \"$@\"", "sh", file, HELPER, "-s", "disk-full-read-access"])
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
    let file = group.0.join("cgroup.procs");
    let mut child = start(file.to_str().unwrap(), options, "sleep 1000 & echo ready; wait");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    assert_eq!(group.members(), expected);
    fs::write(group.0.join("cgroup.kill"), "1").unwrap();
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
