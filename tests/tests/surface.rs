//! P6: no privilege is gained, and the kernel's sharper calls are closed. P2 and P3 share the mechanism.

#[path = "surface/table.rs"]
mod table;

use std::collections::BTreeMap;

use codex_tests::cases_by_level;
use codex_tests::harness::{
    Expect, Failures, Identity, Level, Policy, Scene, Verdict, announce, landlock_abi, missing, require_tool,
};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use table::{Blind, Row};

cases_by_level!(
    landlock_is_recent,
    refused_calls,
    set_id_bits,
    danger_full_access_refuses_nothing,
    foreign_call_tables,
    privileges_are_gone,
    setuid_programs_gain_nothing,
    descriptors_are_closed,
    nothing_is_typed_into_the_terminal,
);

/// The suites below prove what Landlock's sixth version can do; a machine with less would prove less in silence.
fn landlock_is_recent(scene: &Scene) {
    let version = landlock_abi(scene);
    if version < 6 {
        missing(&format!("Landlock ABI 6 (this kernel has {version})"));
    }
}

fn refused_calls(scene: &Scene) {
    judge(scene, &table::calls());
}

fn set_id_bits(scene: &Scene) {
    judge(scene, &table::set_id_calls());
}

fn judge(scene: &Scene, rows: &[Row]) {
    let mut failures = Failures::new();
    let mut blind = Vec::new();
    for row in rows {
        if row.identity.is_some_and(|identity| identity != scene.identity()) {
            continue;
        }
        match row.outside {
            None => {}
            Some(outside) => {
                let control = scene.under(Policy::Bare).probe(row.arguments()).run();
                if control.verdict() == Verdict::Errno(row.inside) && row.blind == Blind::MayBe {
                    blind.push(row.name);
                } else {
                    assert!(
                        !outside.admits(&Verdict::Errno(row.inside)),
                        "{}: the control could not tell the sandbox's refusal from its own",
                        row.name
                    );
                    failures.judge(row.name, outside, &control);
                }
            }
        }
        let refused = Verdict::Errno(row.inside);
        for policy in Policy::RESTRICTED {
            let run = scene.under(policy).probe(row.arguments()).run();
            let verdict = run.verdict();
            // What a namespace of its own confines gives inside what it gives outside, where that has no such thing.
            let holds = if row.confined && scene.level() == Level::Namespaces {
                row.outside.unwrap_or(Expect::OkOr(&[Errno::EPERM])).admits(&verdict)
            } else {
                verdict == refused
            };
            failures.check(holds, || {
                format!("{} [{policy:?}]: expected {refused}, got {verdict}\n{}", row.name, run.describe())
            });
        }
        for arguments in row.twins() {
            judge_twin(scene, row.name, &arguments, &mut failures);
        }
    }
    if !blind.is_empty() {
        let who = scene.identity();
        announce(&format!(
            "NOTE: as {who:?} the machine itself refuses these, so they prove nothing here: {blind:?}"
        ));
    }
    failures.finish();
}

/// The harmless twin of a refused call gives the same inside as outside.
fn judge_twin(scene: &Scene, name: &str, arguments: &[String], failures: &mut Failures) {
    let control = scene.under(Policy::Bare).probe(arguments).run();
    let run = scene.under(Policy::WorkspaceWrite).probe(arguments).run();
    let (outside, inside) = (control.verdict(), run.verdict());
    let same = match (&outside, &inside) {
        (Verdict::Ok(_), Verdict::Ok(_)) => true,
        (Verdict::Silent(_), _) => false,
        _ => outside == inside,
    };
    failures.check(same, || {
        format!("the twin of {name}: {outside} outside, but {inside} inside\n{}", run.describe())
    });
}

fn danger_full_access_refuses_nothing(scene: &Scene) {
    let mut failures = Failures::new();
    for row in table::calls().iter().chain(&table::set_id_calls()) {
        let Some(outside) = row.outside else { continue };
        let run = scene.under(Policy::DangerFullAccess).probe(row.arguments()).run();
        if row.blind == Blind::No {
            failures.judge(row.name, outside, &run);
        }
    }
    failures.finish();
}

/// Calls by the tables of other architectures would pass a filter that only knows the numbers of its own.
#[cfg(target_arch = "x86_64")]
fn foreign_call_tables(scene: &Scene) {
    const X32: i64 = 0x4000_0000;
    const I386_GETPID: &str = "20";
    let x32 = (X32 + libc::SYS_getpid).to_string();
    let mut failures = Failures::new();
    for (name, arguments, outside) in [
        ("x32 getpid", ["syscall", &x32], Expect::OkOr(&[Errno::ENOSYS])),
        ("i386 getpid", ["int80", I386_GETPID], Expect::Ok),
    ] {
        let control = scene.under(Policy::Bare).probe(arguments).run();
        let emulated = control.verdict() != Verdict::Signal(Signal::SIGSEGV);
        if emulated {
            failures.judge(name, outside, &control);
        } else {
            missing(&format!("the kernel's {name}"));
        }
        for policy in Policy::RESTRICTED.into_iter().filter(|_| emulated) {
            let run = scene.under(policy).probe(arguments).run();
            failures.judge(name, Expect::Dies(Signal::SIGSYS), &run);
        }
    }
    failures.finish();
}

#[cfg(not(target_arch = "x86_64"))]
fn foreign_call_tables(_: &Scene) {}

fn privileges_are_gone(scene: &Scene) {
    // chown, dac_override, fowner, fsetid: numbers 0, 1, 3 and 4.
    const OVER_FILES: u64 = 0b1_1011;
    for policy in Policy::RESTRICTED {
        let run = scene.under(policy).command("cat", ["/proc/self/status"]).run().expect_code(0);
        let text = run.text();
        let status: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name, value.trim()))
            .collect();
        let field = |name: &str| {
            status.get(name).copied().unwrap_or_else(|| run.fail(&format!("{name} is not there")))
        };
        let capabilities = |name| {
            u64::from_str_radix(field(name), 16)
                .unwrap_or_else(|_| run.fail(&format!("{name} is not a number")))
        };
        assert_eq!(field("NoNewPrivs"), "1", "{}", run.describe());
        assert_eq!(field("Seccomp"), "2", "{}", run.describe());
        let allowed = if scene.identity() == Identity::Root { OVER_FILES } else { 0 };
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let held = capabilities(set);
            assert_eq!(held & !allowed, 0, "{set} holds {held:#x}\n{}", run.describe());
        }
        if scene.identity() == Identity::Root {
            let bound = capabilities("CapBnd");
            assert_eq!(bound & !OVER_FILES, 0, "CapBnd holds {bound:#x}\n{}", run.describe());
        }
    }
}

fn setuid_programs_gain_nothing(scene: &Scene) {
    if scene.identity() == Identity::Root || !Identity::Root.available() {
        // Root has nothing to gain, and nobody else can make the program of this case.
        return;
    }
    let program = scene.probe_copy("setuid-probe", 0o4755);
    let uid = scene.identity().uid();

    let control = scene.under(Policy::Bare).command(&program, ["ids"]).run();
    let Verdict::Ok(ids) = control.verdict() else { control.fail("the control did not run") };
    assert!(ids.starts_with(&format!("{uid} 0 ")), "the file system honours no setuid bits: {ids}");

    for policy in Policy::RESTRICTED {
        let run = scene.under(policy).command(&program, ["ids"]).run();
        let Verdict::Ok(ids) = run.verdict() else { run.fail("the program did not run") };
        assert!(ids.starts_with(&format!("{uid} {uid} ")), "{ids}\n{}", run.describe());
    }
}

/// A descriptor that `codex` was started with, by mistake or not, is none of the command's.
fn descriptors_are_closed(scene: &Scene) {
    let held = scene.file("outside/held", "by the caller");
    let inherited = format!("9={}", held.display());
    let open = |policy: Policy| {
        let run = scene.under(policy).probe(["descriptors"]).launched_with(["--open-read", &inherited]).run();
        let Verdict::Ok(open) = run.verdict() else { run.fail("the probe did not answer") };
        open
    };
    // The tests may have been started with others; what counts is that this one comes across.
    let control = open(Policy::Bare);
    assert!(control.split(' ').any(|number| number == "9"), "the control holds {control}");
    for policy in Policy::RESTRICTED {
        assert_eq!(open(policy), "0 1 2", "{policy:?}");
    }
}

/// What is typed into the terminal is a command for the shell that waits there, outside.
fn nothing_is_typed_into_the_terminal(scene: &Scene) {
    const TYPE: &str = "
import fcntl, termios, sys
for name, request, argument in [('TIOCSTI', termios.TIOCSTI, b'x'), ('TIOCLINUX', 0x541C, b'\\x03')]:
    try: fcntl.ioctl(0, request, argument); print(name, 'done')
    except OSError as error: print(name, error.errno)
";
    let (Some(script), Some(python)) = (require_tool("script"), require_tool("python3")) else { return };
    let typed = |policy: Policy| {
        let line = scene.under(policy).command(&python, ["-c", TYPE]).shell_line();
        let run = scene.under(Policy::Bare).command(&script, ["-qec", &line, "/dev/null"]).run();
        // The terminal shows what is typed into it, before the line or in it.
        let answers = |line: &str| line.find("TIOC").and_then(|start| line.get(start..)).map(str::to_owned);
        run.text().lines().map(str::trim_end).filter_map(answers).collect()
    };
    let eperm = Errno::EPERM as i32;
    let control: Vec<String> = typed(Policy::Bare);
    if control.first().map(String::as_str) != Some("TIOCSTI done") {
        // A kernel may refuse it to everybody (`dev.tty.legacy_tiocsti`): the rows of the table count all the same.
        announce(&format!("NOTE: this machine refuses TIOCSTI by itself: {control:?}"));
    }
    assert_ne!(
        control.get(1),
        Some(&format!("TIOCLINUX {eperm}")),
        "the control can't be told from a refusal"
    );
    for policy in Policy::RESTRICTED {
        let seen: Vec<String> = typed(policy);
        assert_eq!(seen, [format!("TIOCSTI {eperm}"), format!("TIOCLINUX {eperm}")], "{policy:?}");
    }
}
