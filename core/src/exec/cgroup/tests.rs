use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Pid;

use super::{Cgroup, CgroupUsage, DIRECTORY, Delegation, open_directory};
use crate::limits::{Limit, ResourceLimits};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A writable hierarchy of this machine, whatever it passes on. Says so loudly where there is none.
fn real() -> Option<(PathBuf, Delegation)> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let groups = fs::read("/proc/self/cgroup").unwrap();
    let own = super::delegation::own_directory(&groups, mounts.as_bytes())
        .filter(|path| nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok());
    let Some(path) = own else {
        assert!(std::env::var_os("CI").is_none(), "no writable cgroup of version 2");
        eprintln!("SKIP: no writable cgroup of version 2");
        return None;
    };
    // Apart from what other processes of these tests make and sweep.
    let below = path.join(format!("tests-{}-{:?}", std::process::id(), std::thread::current().id()));
    fs::create_dir(&below).unwrap();
    let delegation = Delegation::without_controllers(&below).unwrap();
    Some((below, delegation))
}

fn sleeper() -> Child {
    Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap()
}

fn members(group: &Path) -> Vec<String> {
    fs::read_to_string(group.join("cgroup.procs")).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn what_is_in_a_group_ends_with_it() {
    let Some((below, delegation)) = real() else { return };
    let group = delegation.create(&ResourceLimits::NONE, 0).unwrap();
    let path = group.path.clone();
    let mut child = sleeper();
    group.add(Pid::from_raw(i32::try_from(child.id()).unwrap())).unwrap();
    assert_eq!(members(&path), [child.id().to_string()]);
    assert!(group.is_populated());
    assert!(group.cpu_time().is_some());
    group.kill().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
    assert_eq!(group.usage().memory_peak, None);
    runtime().block_on(group.remove()).unwrap();
    assert!(!path.exists());
    fs::remove_dir(below).unwrap();
}

#[test]
fn a_process_enters_by_the_descriptor_and_takes_its_children_along() {
    let Some((below, delegation)) = real() else { return };
    let group = delegation.create(&ResourceLimits::NONE, 0).unwrap();
    let (descriptor, path) = (group.members().unwrap(), group.path.clone());
    let mut child = Command::new("sh")
        .args(["-c", "echo 0 >&0; sleep 1000 & echo in; wait"])
        .stdin(Stdio::from(descriptor))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    assert_eq!(members(&path).len(), 2);
    // Removing kills first.
    runtime().block_on(group.remove()).unwrap();
    child.wait().unwrap();
    assert!(!path.exists());
    fs::remove_dir(below).unwrap();
}

#[test]
fn what_a_killed_agent_left_is_swept_and_what_is_used_is_not() {
    let Some((below, delegation)) = real() else { return };
    let used = delegation.create(&ResourceLimits::NONE, 0).unwrap();
    // Without its lock, as after the end of the process that had it; with a process, and a group below it.
    let left = below.join("codex-1-0");
    fs::create_dir(&left).unwrap();
    fs::create_dir(left.join("inner")).unwrap();
    let mut child = sleeper();
    fs::write(left.join("cgroup.procs"), child.id().to_string()).unwrap();
    fs::create_dir(below.join("another")).unwrap();
    let other = Delegation::without_controllers(&below).unwrap();
    // The first kills, and may come too early to remove.
    let first = other.sweep();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
    assert_eq!(first + other.sweep(), 1);
    assert!(!left.exists() && used.path.exists() && below.join("another").exists());
    drop(used);
    fs::remove_dir(below.join("another")).unwrap();
    // Dropped, the other one is gone as well.
    fs::remove_dir(below).unwrap();
}

/// A group that looks like one with controllers.
fn fake(directory: &Path) -> Cgroup {
    let parent = nix::fcntl::open(directory, DIRECTORY, nix::sys::stat::Mode::empty()).unwrap();
    let path = directory.join("codex-1-1");
    fs::create_dir(&path).unwrap();
    for file in ["memory.max", "memory.oom.group", "pids.max", "cgroup.procs", "cgroup.kill"] {
        fs::write(path.join(file), "").unwrap();
    }
    let opened = open_directory(parent.as_fd(), "codex-1-1").unwrap();
    let directory = Flock::lock(opened, FlockArg::LockExclusiveNonblock).unwrap();
    Cgroup { parent, name: "codex-1-1".to_owned(), path, directory, holds: Vec::new(), removed: true }
}

fn limits() -> ResourceLimits {
    let amount = |number| std::num::NonZeroU64::new(number).unwrap();
    ResourceLimits::NONE
        .with(Limit::Memory, amount(4096))
        .with(Limit::Processes, amount(10))
        .with(Limit::CpuTime, amount(1))
}

#[test]
fn limits_are_written_where_the_kernel_reads_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut group = fake(directory.path());
    group.limit(&limits(), &[Limit::Memory, Limit::Processes], 2).unwrap();
    let said = |file| fs::read_to_string(group.path.join(file)).unwrap();
    // No swap: its file is not there, which is no failure.
    assert_eq!(
        (said("memory.max"), said("memory.oom.group"), said("pids.max")),
        ("4096".into(), "1".into(), "12".into())
    );
    assert_eq!(group.holds(), [Limit::Memory, Limit::Processes]);
}

#[test]
fn a_limit_that_can_not_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut group = fake(directory.path());
    fs::remove_file(group.path.join("pids.max")).unwrap();
    let error = group.limit(&limits(), &[Limit::Memory, Limit::Processes], 2).unwrap_err();
    assert_eq!((error.call, error.errno), ("write", Errno::ENOENT));
    assert!(error.to_string().contains("codex-1-1/pids.max: "), "{error}");
}

#[test]
fn what_the_kernel_counts_is_read_and_what_it_does_not_is_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let group = fake(directory.path());
    assert_eq!(group.usage(), CgroupUsage::default());
    for (file, text) in [
        ("memory.peak", "8192\n"),
        ("memory.events", "low 0\nhigh 0\nmax 12\noom 1\noom_kill 3\noom_group_kill 1\n"),
        ("pids.peak", "11\n"),
        ("pids.events", "max 7\n"),
        ("cpu.stat", "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n"),
    ] {
        fs::write(group.path.join(file), text).unwrap();
    }
    let expected = CgroupUsage {
        memory_peak: Some(8192),
        out_of_memory_kills: Some(3),
        processes_peak: Some(11),
        processes_refused: Some(7),
        cpu_time: Some(std::time::Duration::from_micros(1500)),
    };
    assert_eq!(group.usage(), expected);
}
