//! P3: processes outside can't be signalled, read, traced, reprioritised or robbed; a command's own children can.

use codex_tests::cases_by_level;
use codex_tests::harness::{Expect, Failures, Policy, Scene, Victim, landlock_abi, missing};
use nix::errno::Errno;
use nix::sys::signal::Signal;

cases_by_level!(
    signals_do_not_arrive,
    nothing_can_be_read,
    nothing_can_be_taken_or_changed,
    the_caller_is_outside_too,
    own_processes_are_free,
    the_group_that_it_shares,
);

const EPERM: Expect = Expect::Fails(&[Errno::EPERM]);
/// Landlock refuses with EACCES where the file system is asked, with EPERM where the process is.
const REFUSED: Expect = Expect::Fails(&[Errno::EACCES, Errno::EPERM]);

/// At level namespaces, a process outside has no number inside: it is nowhere in `/proc`, and no call knows it.
const ENOENT: Expect = Expect::Fails(&[Errno::ENOENT]);
const ESRCH: Expect = Expect::Fails(&[Errno::ESRCH]);
const REFUSED_OR_EROFS: Expect = Expect::Fails(&[Errno::EACCES, Errno::EPERM, Errno::EROFS]);

fn words(row: &str, pid: i32) -> Vec<String> {
    row.split_whitespace().map(|word| word.replace("{pid}", &pid.to_string())).collect()
}

fn signals_do_not_arrive(scene: &Scene) {
    if landlock_abi(scene) < 6 {
        return missing("Landlock's scope for signals (ABI 6)");
    }
    let mut failures = Failures::new();
    // A siginfo: signal 15, no error, code -1 (queued), the rest empty.
    let siginfo = format!("bytes:0f00000000000000ffffffff{}", "00".repeat(116));
    let refused = scene.level().choose(EPERM, ESRCH);
    let rows = [
        ("kill", format!("syscall {} {{pid}} 15", libc::SYS_kill), Signal::SIGTERM, refused),
        ("kill a group", format!("syscall {} -{{pid}} 15", libc::SYS_kill), Signal::SIGTERM, refused),
        ("tkill", format!("syscall {} {{pid}} 15", libc::SYS_tkill), Signal::SIGTERM, refused),
        ("tgkill", format!("syscall {} {{pid}} {{pid}} 15", libc::SYS_tgkill), Signal::SIGTERM, refused),
        (
            "sigqueue",
            format!("syscall {} {{pid}} 15 {siginfo}", libc::SYS_rt_sigqueueinfo),
            Signal::SIGTERM,
            refused,
        ),
        (
            "sigqueue to a thread",
            format!("syscall {} {{pid}} {{pid}} 15 {siginfo}", libc::SYS_rt_tgsigqueueinfo),
            Signal::SIGTERM,
            refused,
        ),
        ("pidfd_send_signal", "signal-by-pidfd {pid} 9".to_owned(), Signal::SIGKILL, refused),
        // Naming an owner is no act on it; that the signal doesn't arrive is what counts.
        (
            "the owner of a socket",
            "signal-by-owner {pid}".to_owned(),
            Signal::SIGIO,
            Expect::OkOr(&[Errno::EPERM, Errno::ESRCH]),
        ),
        (
            "the owner of a socket, a group",
            "signal-by-owner -{pid}".to_owned(),
            Signal::SIGIO,
            Expect::OkOr(&[Errno::EPERM, Errno::ESRCH]),
        ),
    ];
    for (name, row, signal, expected) in &rows {
        let victim = scene.victim();
        let arguments = words(row, victim.pid().as_raw());
        failures.judge(name, Expect::Ok, &scene.under(Policy::Bare).probe(&arguments).run());
        let ended = victim.ended_by();
        failures.check(ended == Some(*signal), || format!("{name} [Bare]: the victim ended by {ended:?}"));

        for policy in Policy::RESTRICTED {
            let mut victim = scene.victim();
            let arguments = words(row, victim.pid().as_raw());
            failures.judge(name, *expected, &scene.under(policy).probe(&arguments).run());
            failures.check(victim.answers(), || format!("{name} [{policy:?}]: the victim is gone"));
        }
    }
    failures.finish();
}

fn nothing_can_be_read(scene: &Scene) {
    let mut failures = Failures::new();
    let refused = scene.level().choose(REFUSED, ENOENT);
    let victim = scene.victim();
    scene.file("outside/held", "content");
    let rows = [
        ("read", "environ"),
        ("read", "auxv"),
        ("read", "maps"),
        ("read", "smaps"),
        ("read", "io"),
        ("read", "personality"),
        ("read", "stack"),
        ("read", "syscall"),
        ("read", "fdinfo/0"),
        ("read", "cwd/held"),
        ("read", "root/etc/passwd"),
        ("read", "task/{pid}/environ"),
        ("read-link", "cwd"),
        ("read-link", "root"),
        ("read-link", "exe"),
        ("read-link", "fd/0"),
        ("list", "map_files"),
        ("read-link", "ns/mnt"),
    ];
    // For root only, or only in kernels built so.
    let rare = ["stack", "syscall", "io"];
    let pid = victim.pid().to_string();
    for (act, file) in rows {
        let path = format!("/proc/{pid}/{}", file.replace("{pid}", &pid));
        let control = scene.under(Policy::Bare).probe([act, &path]).run();
        if rare.contains(&file) && !control.verdict().is_ok() {
            continue;
        }
        failures.judge(file, Expect::Ok, &control);
        for policy in Policy::RESTRICTED {
            failures.judge(file, refused, &scene.under(policy).probe([act, &path]).run());
        }
    }
    // Memory is opened to write as well, which is how one process changes another.
    let memory = format!("/proc/{}/mem", victim.pid());
    for flags in ["RDONLY", "RDWR"] {
        failures.judge("mem", Expect::Ok, &scene.under(Policy::Bare).probe(["open", &memory, flags]).run());
        for policy in Policy::RESTRICTED {
            failures.judge("mem", refused, &scene.under(policy).probe(["open", &memory, flags]).run());
        }
    }
    let environment =
        scene.under(Policy::Bare).command("cat", [format!("/proc/{}/environ", victim.pid())]).run();
    failures.check(environment.text().contains(Victim::SECRET.1), || "the victim holds no secret".to_owned());
    failures.finish();
}

fn nothing_can_be_taken_or_changed(scene: &Scene) {
    const SEIZE: &str = "0x4206";
    let mut failures = Failures::new();
    // What the filter refuses whoever it is about, what no call knows, and what is nowhere in `/proc`.
    let (always, unknown, nowhere) =
        (REFUSED, scene.level().choose(REFUSED, ESRCH), scene.level().choose(REFUSED, ENOENT));
    let rows = [
        ("ptrace seize", format!("syscall {} {SEIZE} {{pid}} 0 0", libc::SYS_ptrace), always),
        ("process_vm_readv", format!("syscall {} {{pid}} 0 0 0 0 0", libc::SYS_process_vm_readv), always),
        ("process_vm_writev", format!("syscall {} {{pid}} 0 0 0 0 0", libc::SYS_process_vm_writev), always),
        ("pidfd_getfd", "descriptor-by-pidfd {pid} 1".to_owned(), unknown),
        ("kcmp", format!("syscall {} {{pid}} {{pid}} 0 0 0", libc::SYS_kcmp), always),
        ("setpriority", format!("syscall {} 0 {{pid}} 5", libc::SYS_setpriority), unknown),
        ("setpriority of a group", format!("syscall {} 1 {{pid}} 5", libc::SYS_setpriority), unknown),
        ("ioprio_set", format!("syscall {} 1 {{pid}} 0", libc::SYS_ioprio_set), unknown),
        (
            "sched_setaffinity",
            format!("syscall {} {{pid}} 8 bytes:ffffffffffffffff", libc::SYS_sched_setaffinity),
            unknown,
        ),
        (
            "sched_setscheduler",
            format!("syscall {} {{pid}} 0 zeros:4", libc::SYS_sched_setscheduler),
            unknown,
        ),
        ("sched_setparam", format!("syscall {} {{pid}} zeros:4", libc::SYS_sched_setparam), unknown),
        ("sched_setattr", format!("syscall {} {{pid}} zeros:48 0", libc::SYS_sched_setattr), unknown),
        (
            "prlimit64",
            format!("syscall {} {{pid}} 4 zeros:16 0", libc::SYS_prlimit64),
            Expect::Fails(&[Errno::EPERM]),
        ),
        (
            "get_robust_list",
            format!("syscall {} {{pid}} zeros:8 zeros:8", libc::SYS_get_robust_list),
            unknown,
        ),
        ("its pages' marks", "write-decimal /proc/{pid}/clear_refs 1".to_owned(), nowhere),
        ("oom_score_adj", "write-decimal /proc/{pid}/oom_score_adj 500".to_owned(), nowhere),
        ("its core dumps", "write-decimal /proc/{pid}/coredump_filter 0".to_owned(), nowhere),
    ];
    for (name, row, refused) in &rows {
        let victim = scene.victim();
        let control = scene.under(Policy::Bare).probe(words(row, victim.pid().as_raw())).run();
        failures.judge(name, Expect::Ok, &control);
        for policy in Policy::RESTRICTED {
            let mut victim = scene.victim();
            let run = scene.under(policy).probe(words(row, victim.pid().as_raw())).run();
            failures.judge(name, *refused, &run);
            failures.check(victim.answers(), || format!("{name} [{policy:?}]: the victim is gone"));
        }
    }
    failures.finish();
}

/// Whoever started `codex`, the agent above all, is as far outside as any other process.
fn the_caller_is_outside_too(scene: &Scene) {
    let mut failures = Failures::new();
    let probe = scene.probe_program();
    let signal = format!("syscall {} $PPID 0", libc::SYS_kill);
    let taken = format!("syscall {} $PPID 0 0 0 0 0", libc::SYS_process_vm_readv);
    let acts = [
        "open /proc/$PPID/environ RDONLY",
        "open /proc/$PPID/mem RDWR",
        "open /proc/$PPID/maps RDONLY",
        "descriptor-by-pidfd $PPID 0",
        &signal,
        &taken,
    ];
    for act in acts {
        let script = format!("exec '{}' {act}", probe.display());
        // The control has a shell of the same user as its parent, as `codex` is the parent inside.
        let parent = ["-c", "sh -c \"$0\"; exit $?", &script];
        failures.judge(act, Expect::Ok, &scene.under(Policy::Bare).command("sh", parent).run());
        for policy in Policy::RESTRICTED {
            // At level namespaces the parent is the sandbox's own init: no signal from inside ends it, so that asking is
            // free, and nothing in `/proc` can be written.
            let isolated = match act {
                _ if act == signal => Expect::Ok,
                _ if act.ends_with("RDWR") => REFUSED_OR_EROFS,
                _ => REFUSED,
            };
            let expected = scene.level().choose(REFUSED, isolated);
            failures.judge(act, expected, &scene.under(policy).shell(&script).run());
        }
    }
    failures.finish();
}

fn own_processes_are_free(scene: &Scene) {
    let mut failures = Failures::new();
    let script = "sleep 1000 & child=$!; cat /proc/$child/environ /proc/$child/maps > /dev/null && \
                  kill -STOP $child && kill -CONT $child && kill $child; result=$?; wait $child; exit $result";
    for policy in [Policy::Bare].into_iter().chain(Policy::RESTRICTED) {
        failures.judge("its own child", Expect::Ok, &scene.under(policy).probe(["own-child"]).run());
        let run = scene.under(policy).shell(script).run();
        failures.check(run.code() == Some(0), || {
            format!("a child of the shell [{policy:?}]\n{}", run.describe())
        });
        let own = ["environ", "maps", "status", "fd", "cwd", "exe"].map(|file| format!("/proc/self/{file}"));
        for path in own {
            let run = scene.under(policy).probe(["open", &path, "RDONLY"]).run();
            failures.judge(&path, Expect::Ok, &run);
        }
    }
    failures.finish();
}

/// A signal to a command's own group stays within the sandbox, though `codex` and its caller are of that group.
fn the_group_that_it_shares(scene: &Scene) {
    if landlock_abi(scene) < 6 {
        return missing("Landlock's scope for signals (ABI 6)");
    }
    for policy in [Policy::Bare].into_iter().chain(Policy::RESTRICTED) {
        let line = scene.under(policy).shell("kill -TERM 0").shell_line();
        let script = format!("trap 'echo the caller got it' TERM; {line}; echo end");
        let run = scene.under(Policy::Bare).shell(&script).run();
        let got = run.text().contains("the caller got it");
        assert_eq!(got, policy == Policy::Bare, "{policy:?}\n{}", run.describe());
        assert!(run.text().ends_with("end\n"), "{policy:?}\n{}", run.describe());
    }
}
