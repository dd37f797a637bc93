//! Limits: each act succeeds without the limit, outside and in the sandbox, and is refused or ended at it, exactly.

#![expect(clippy::expect_used, reason = "a test reports by failing")]

use codex_tests::cases_by_level;
use codex_tests::harness::{Expect, Failures, Identity, Level, Policy, Run, Scene};
use nix::errno::Errno;
use nix::sys::signal::Signal;

cases_by_level!(
    each_is_held_exactly,
    a_limit_is_never_loosened,
    the_report_says_by_what,
    a_limit_of_memory_leaves_room_to_reserve,
    limits_hold_without_any_restriction,
    a_fork_bomb_comes_to_an_end,
    all_processes_count_together,
);

/// The last argument is the amount that still fits; one more does not.
struct Row {
    name: &'static str,
    limit: &'static str,
    fits: &'static str,
    exceeds: &'static str,
    refused: Expect,
    held: fn(&Scene) -> bool,
}

const fn always(_: &Scene) -> bool {
    true
}

fn by_user_namespace(scene: &Scene) -> bool {
    scene.level() == Level::Namespaces && scene.identity() == Identity::User
}

fn in_memory_of_its_own(scene: &Scene) -> bool {
    scene.level() == Level::Namespaces
}

const ROWS: [Row; 6] = [
    Row {
        name: "processes",
        limit: "processes=12",
        // The probe is the twelfth.
        fits: "crowd 11",
        exceeds: "crowd 12",
        refused: Expect::Fails(&[Errno::EAGAIN]),
        held: by_user_namespace,
    },
    Row {
        name: "memory",
        limit: "memory=64MiB",
        fits: "hold-memory 33554432",
        exceeds: "hold-memory 67108864",
        refused: Expect::Fails(&[Errno::ENOMEM]),
        held: always,
    },
    Row {
        name: "file_size",
        limit: "file_size=1MiB",
        fits: "pour {workspace}/file 1048576",
        exceeds: "pour {workspace}/file 1048577",
        refused: Expect::Dies(Signal::SIGXFSZ),
        held: always,
    },
    Row {
        name: "open_files",
        limit: "open_files=40",
        fits: "gather 40",
        exceeds: "gather 41",
        refused: Expect::Fails(&[Errno::EMFILE]),
        held: always,
    },
    Row {
        name: "cpu_time",
        limit: "cpu_time=1s",
        fits: "spin 500",
        exceeds: "spin 1500",
        refused: Expect::Dies(Signal::SIGXCPU),
        held: always,
    },
    Row {
        name: "shm",
        limit: "shm=1MiB",
        fits: "pour /dev/shm/codex-{pid} 524288",
        exceeds: "pour /dev/shm/codex-{pid} 1052672",
        refused: Expect::Fails(&[Errno::ENOSPC]),
        held: in_memory_of_its_own,
    },
];

fn words(scene: &Scene, act: &str) -> Vec<String> {
    let workspace = scene.workspace().display().to_string();
    // A name that no other test has, where /dev/shm is the host's.
    let own = scene.root().file_name().unwrap_or_default().to_string_lossy().into_owned();
    act.split(' ').map(|word| word.replace("{workspace}", &workspace).replace("{pid}", &own)).collect()
}

/// What is sampled as well may be ended by whoever comes first: the kernel counts processor time by its clock's ticks, and a
/// sample takes what a process has really had.
fn judge_or_metered(failures: &mut Failures, row: &Row, expected: Expect, run: &Run) {
    let metered = ["processes", "cpu_time"].contains(&row.name)
        && run.code() == Some(124)
        && run.error_text().contains(&format!("more than its limit: {}", row.name));
    if !metered {
        failures.judge(row.name, expected, run);
    }
}

fn each_is_held_exactly(scene: &Scene) {
    let mut failures = Failures::new();
    for row in ROWS {
        let exceeds = words(scene, row.exceeds);
        let shm = exceeds.iter().find(|word| word.starts_with("/dev/shm/")).cloned();
        // The act is possible: for this user, and in the sandbox.
        failures.judge(row.name, Expect::Ok, &scene.under(Policy::Bare).probe(&exceeds).run());
        let sandbox = || scene.under(Policy::WorkspaceWrite).with_slash_tmp();
        failures.judge(row.name, Expect::Ok, &sandbox().probe(&exceeds).run());
        let limited = || sandbox().options(["--limit", row.limit]);
        failures.judge(row.name, Expect::Ok, &limited().probe(words(scene, row.fits)).run());
        let expected = if (row.held)(scene) { row.refused } else { Expect::Ok };
        judge_or_metered(&mut failures, &row, expected, &limited().probe(&exceeds).run());
        if let Some(path) = shm {
            // The host's, by the control.
            std::fs::remove_file(path).expect("remove what the control has made");
        }
    }
    failures.finish();
}

/// A caller's own limit stands where it is the tighter one, and its soft limit is no lower bound either.
fn a_limit_is_never_loosened(scene: &Scene) {
    let line = |limit: &str, before: &str| {
        let plan = scene.under(Policy::ReadOnly).options(["--limit", limit]);
        let codex = plan.command("sh", ["-c", "ulimit -Sn; ulimit -Hn"]).shell_line();
        let run = scene.under(Policy::Bare).shell(&format!("{before}; exec {codex}")).run();
        run.expect_code(0).text().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("open_files=1000", "ulimit -n 100"), ["100", "100"]);
    assert_eq!(line("open_files=1000", "ulimit -Sn 100"), ["100", "1000"]);
    assert_eq!(line("open_files=64", "ulimit -n 100"), ["64", "64"]);
}

fn the_report_says_by_what(scene: &Scene) {
    let mut options = vec!["--json".to_owned()];
    for row in ROWS {
        options.extend(["--limit".to_owned(), row.limit.to_owned()]);
    }
    let run = scene.under(Policy::WorkspaceWrite).options(&options).command("true", [""; 0]).run();
    let result: serde_json::Value = serde_json::from_str(&run.expect_code(0).text()).expect("JSON");
    let limits = result["enforcement"]["limits"].as_array().expect("a list").clone();
    let holds = |name: &str| {
        let line = limits.iter().find(|line| line["limit"] == name);
        line.map(|line| line["hold"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(limits.len(), ROWS.len(), "{limits:?}");
    for name in ["open_files", "file_size"] {
        assert_eq!(holds(name).as_deref(), Some("enforced"), "{limits:?}");
    }
    for name in ["memory", "cpu_time"] {
        assert_eq!(holds(name).as_deref(), Some("partial"), "{limits:?}");
    }
    let shm = if in_memory_of_its_own(scene) { "enforced" } else { "absent" };
    assert_eq!(holds("shm").as_deref(), Some(shm), "{limits:?}");
    let processes = if by_user_namespace(scene) { "enforced" } else { "partial" };
    assert_eq!(holds("processes").as_deref(), Some(processes), "{limits:?}");
    let amounts: Vec<_> = limits.iter().map(|line| line["amount"].as_u64()).collect();
    assert_eq!(amounts, [64 << 20, 12, 1000, 40, 1 << 20, 1 << 20].map(Some));
}

/// Node and the JVM reserve gigabytes that they never use.
fn a_limit_of_memory_leaves_room_to_reserve(scene: &Scene) {
    // mmap(0, 64 GiB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE).
    let reserve = format!("syscall {} 0 0x1000000000 0 0x4022 -1 0", libc::SYS_mmap);
    let run = scene
        .under(Policy::WorkspaceWrite)
        .options(["--limit", "memory=64MiB"])
        .probe(reserve.split(' '))
        .run();
    assert!(run.verdict().is_ok(), "{}", run.verdict());
}

/// Who is allowed everything is not allowed to use everything.
fn limits_hold_without_any_restriction(scene: &Scene) {
    let mut failures = Failures::new();
    let sandbox = || scene.under(Policy::DangerFullAccess);
    for row in ROWS.iter().filter(|row| ["cpu_time", "file_size"].contains(&row.name)) {
        let limited = || sandbox().options(["--limit", row.limit]);
        failures.judge(row.name, Expect::Ok, &sandbox().probe(words(scene, row.exceeds)).run());
        failures.judge(row.name, Expect::Ok, &limited().probe(words(scene, row.fits)).run());
        let run = limited().probe(words(scene, row.exceeds)).run();
        judge_or_metered(&mut failures, row, row.refused, &run);
    }
    failures.finish();
}

/// `kernel.pid_max` belongs to a PID namespace (Linux 6.14).
fn numbers_can_be_bounded() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("read the release");
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (6, 14))
}

/// A command that makes processes without end gets `EAGAIN`, or is ended, and the host keeps its numbers. For root, the
/// kernel's bound is loose by the 299 numbers that it reserves, until all have been given once.
fn a_fork_bomb_comes_to_an_end(scene: &Scene) {
    let of_the_host = || std::fs::read_to_string("/proc/sys/kernel/pid_max").expect("read the host's limit");
    let before = of_the_host();
    let limited = || scene.under(Policy::WorkspaceWrite).options(["--limit", "processes=20"]);
    let mut failures = Failures::new();
    let refused = |failures: &mut Failures, name, run: Run| {
        if by_user_namespace(scene) {
            failures.judge(name, Expect::Fails(&[Errno::EAGAIN]), &run);
        } else {
            // Whoever comes first: the kernel, where it has a bound, or the meter.
            let refused = numbers_can_be_bounded()
                && scene.level() == Level::Namespaces
                && Expect::Fails(&[Errno::EAGAIN]).admits(&run.verdict());
            failures.check(refused || run.code() == Some(124), || run.describe());
        }
    };
    failures.judge("a crowd outside", Expect::Ok, &scene.under(Policy::Bare).probe(["crowd", "400"]).run());
    refused(&mut failures, "a crowd", limited().probe(["crowd", "400", "stays"]).run());
    // As many as are allowed, also after all numbers have been given once.
    let script = |crowd: &str| {
        format!(
            "i=0; while [ $i -lt 400 ]; do /bin/true || exit 9; i=$((i+1)); done; exec {} crowd {crowd}",
            scene.probe_program().display()
        )
    };
    failures.judge("as many as are allowed", Expect::Ok, &limited().shell(&script("19")).run());
    refused(&mut failures, "one more", limited().shell(&script("21 stays")).run());
    failures.check(of_the_host() == before, || format!("the host's pid_max was {before}"));
    failures.finish();
}

/// What each process may do alone, all together may not.
fn all_processes_count_together(scene: &Scene) {
    let mut failures = Failures::new();
    for policy in [Policy::WorkspaceWrite, Policy::DangerFullAccess] {
        for (limit, name, each) in [
            ("cpu_time=1s", "cpu_time", "while :; do :; done"),
            ("memory=100MiB", "memory", "exec \"$0\" hold-memory 62914560 stays"),
        ] {
            let script = format!("for i in 1 2 3; do sh -c '{each}' \"$0\" & done; wait");
            let probe = scene.probe_program();
            let arguments = ["-c".as_ref(), script.as_ref(), probe.as_os_str()];
            let run =
                scene.under(policy).options(["--json", "--limit", limit]).command("sh", arguments).run();
            let result: serde_json::Value = serde_json::from_str(&run.text()).expect("JSON");
            failures.check(result["outcome"] == "limit_exceeded" && result["limit"]["limit"] == name, || {
                format!("{policy:?} {limit}\n{}", run.describe())
            });
            failures.check(run.code() == Some(124), || run.describe());
        }
    }
    failures.finish();
}
