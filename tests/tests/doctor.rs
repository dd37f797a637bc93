//! `codex doctor`: what it says about this machine, and about one that gives less.

#![expect(clippy::expect_used, clippy::panic, reason = "a suite reports by failing")]

use std::fs;

use codex_tests::cases;
use codex_tests::harness::{Failures, Invocation, Policy, Run, Scene, landlock_abi, missing, require_tool};
use nix::errno::Errno;
use serde_json::Value;

cases!(
    the_machine_is_told_as_it_is,
    the_screen_is_plain_and_fits,
    colours_are_for_terminals,
    a_reader_that_leaves_is_no_failure,
    no_user_namespaces_left,
    no_network_namespaces_left,
    a_filter_that_refuses,
    a_filter_that_kills,
    a_sandbox_of_ours_around_it,
    a_covered_proc,
    a_changed_root,
    landlock_is_off,
    landlock_is_filtered,
    requirements_decide_the_exit_code,
    refused_policies_exit_with_1,
    mistakes_exit_with_2,
);

fn report(run: &Run) -> Value {
    serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|error| run.fail(&format!("no JSON on stdout: {error}")))
}

/// The one finding about a mechanism.
fn finding<'r>(report: &'r Value, mechanism: &str) -> &'r Value {
    let findings = report["findings"].as_array().expect("findings are an array");
    let mut about = findings.iter().filter(|finding| finding["mechanism"] == mechanism);
    let finding = about.next().unwrap_or_else(|| panic!("no finding about {mechanism}: {report}"));
    assert!(about.next().is_none(), "two findings about {mechanism}: {report}");
    finding
}

/// The remedies' lines, one below the other.
fn lines(finding: &Value) -> String {
    let remedies = finding["remedies"].as_array().expect("remedies are an array");
    let lines = remedies.iter().flat_map(|remedy| remedy["lines"].as_array().expect("lines are an array"));
    lines.map(|line| line.as_str().expect("a line is text")).collect::<Vec<_>>().join("\n")
}

/// The doctor as a line of a shell script.
fn doctor(scene: &Scene) -> String {
    format!("'{}' doctor --json", scene.codex_program().display())
}

/// A script in a user namespace of its own, in which it is root, with the further namespaces and options given. `None`
/// where this machine has none to give, with the skip reported.
fn in_namespaces(scene: &Scene, options: &[&str], script: &str) -> Option<Run> {
    let unshare = |script: &str| {
        let words = [&["-Ur"], options, &["sh", "-c", script]].concat();
        scene.under(Policy::Bare).command("unshare", words)
    };
    if unshare("true").run().code() != Some(0) {
        missing("a user namespace to take namespaces away in");
        return None;
    }
    Some(unshare(script).run())
}

/// Installs a seccomp filter that answers one system call so, then becomes the command.
const FILTER: &str = "
import ctypes, os, struct, sys
number, answer = int(sys.argv[1]), int(sys.argv[2], 16)
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, answer), (0x06, 0, 0, 0x7fff0000)]
code = b''.join(struct.pack('HBBI', *step) for step in steps)
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(steps), code)), 0, 0) == 0
os.execv(sys.argv[3], sys.argv[3:])
";

/// Where no other level holds.
const AT_LANDLOCK: [&str; 2] = ["--isolation", "landlock"];

/// The doctor under a filter that refuses a call with an errno, or kills whoever makes it.
fn filtered(scene: &Scene, call: i64, errno: Option<Errno>, options: &[&str]) -> Option<Invocation> {
    let python = require_tool("python3")?;
    let answer = errno.map_or(0x8000_0000, |errno| 0x0005_0000 | (errno as i32).unsigned_abs());
    let words = ["-c".to_owned(), FILTER.to_owned(), call.to_string(), format!("{answer:x}")];
    let doctor = [scene.codex_program().display().to_string(), "doctor".into(), "--json".into()];
    let options = options.iter().map(|option| (*option).to_owned());
    Some(scene.under(Policy::Bare).command(python, words.into_iter().chain(doctor).chain(options)))
}

/// What a filter around us is called: where there are marks of a container, it is taken for the container's.
fn filter_cause(report: &Value) -> &'static str {
    if report["container"].is_null() { "seccomp_filter" } else { "container_seccomp" }
}

fn the_machine_is_told_as_it_is(scene: &Scene) {
    let run = scene.codex(["doctor", "--json"]).run().expect_code(0);
    assert!(run.stderr.is_empty(), "{}", run.describe());
    let report = report(&run);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the release can be read");
    assert_eq!(report["kernel"]["release"], release.trim());
    assert_eq!(report["kernel"]["landlock_abi"], landlock_abi(scene));
    assert_eq!(report["kernel"]["seccomp"], true);
    assert_eq!(report["nested"], false);
    // What can be had is had.
    let observed = scene.codex(["sandbox", "--json", "--explain", "--", "true"]).run();
    let observed: Value = serde_json::from_slice(&observed.stdout).expect("the result is JSON");
    assert_eq!(report["explanation"], observed["enforcement"]["explanation"], "one machine, one answer");

    // What another program gets, at the same calls.
    let kinds = ["-Ur", "-m", "-p", "-f", "-i", "-u", "-C", "-n", "--mount-proc", "true"];
    let given = scene.under(Policy::Bare).command("unshare", kinds).run().code() == Some(0);
    assert_eq!(report["namespaces"]["available"], given, "{report}");
    assert_eq!(report["namespaces"]["call"].is_null(), given, "{report}");

    let expected = scene.codex(["debug", "policy", "--json"]).run().expect_code(0);
    let policy: Value = serde_json::from_slice(&expected.stdout).expect("the policy is JSON");
    assert_eq!(report["enforcement"], policy["policy"]["enforcement"], "one machine, one answer");
}

fn the_screen_is_plain_and_fits(scene: &Scene) {
    for options in [&[][..], &["--full-auto"], &["-s", "danger-full-access"]] {
        let run = scene.codex(["doctor"].iter().chain(options)).run().expect_code(0);
        let text = run.text();
        assert!(run.stderr.is_empty() && !text.contains('\u{1b}'), "{}", run.describe());
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{}", run.describe());
        for word in [
            "kernel",
            "Landlock",
            "seccomp",
            "namespaces",
            "cgroup",
            "limits",
            "AppArmor",
            "denials",
            "level",
            "P10",
        ] {
            let told =
                text.matches(&format!("  {word} ")).count() + text.matches(&format!("at {word} ")).count();
            assert!(told > 0, "{word} is not told\n{}", run.describe());
        }
        let mut lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let all = lines.len();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), all, "nothing is told twice\n{}", run.describe());
    }
}

fn colours_are_for_terminals(scene: &Scene) {
    let Some(script) = require_tool("script") else { return };
    let line = format!("'{}' doctor", scene.codex_program().display());
    let terminal = || scene.under(Policy::Bare).command(&script, ["-qec", &line, "/dev/null"]);
    let run = terminal().run().expect_code(0);
    assert!(run.text().contains('\u{1b}'), "{}", run.describe());
    let run = terminal().env("NO_COLOR", "1").run().expect_code(0);
    assert!(run.text().contains("enforced") && !run.text().contains('\u{1b}'), "{}", run.describe());
}

fn a_reader_that_leaves_is_no_failure(scene: &Scene) {
    let script = format!("{{ {}; echo \"ended: $?\" >&2; }} | true", doctor(scene));
    let run = scene.under(Policy::Bare).shell(&script).run();
    assert_eq!(run.error_text().lines().count(), 1, "{}", run.describe());
}

fn no_user_namespaces_left(scene: &Scene) {
    let script = format!("echo 0 > /proc/sys/user/max_user_namespaces && {}", doctor(scene));
    let Some(run) = in_namespaces(scene, &[], &script) else { return };
    let report = report(&run.expect_code(0));
    assert_eq!(report["namespaces"]["available"], false, "{report}");
    assert_eq!(report["namespaces"]["errno"], Errno::ENOSPC as i32, "{report}");
    assert_eq!(report["namespaces"]["limits"]["user"], 0, "{report}");
    let finding = finding(&report, "namespaces");
    assert_eq!(finding["cause"], "namespace_limit", "{report}");
    assert!(lines(finding).starts_with("sysctl -w user.max_user_namespaces=15000\n"), "{report}");
}

fn no_network_namespaces_left(scene: &Scene) {
    let script = format!("echo 0 > /proc/sys/user/max_net_namespaces && {}", doctor(scene));
    let Some(run) = in_namespaces(scene, &[], &script) else { return };
    let report = report(&run.expect_code(0));
    assert_eq!(finding(&report, "namespaces")["cause"], "namespace_limit", "{report}");
    let lines = lines(finding(&report, "namespaces"));
    assert!(lines.starts_with("sysctl -w user.max_net_namespaces=15000\n"), "{report}");
}

fn a_filter_that_refuses(scene: &Scene) {
    for (call, errno) in [(libc::SYS_unshare, Errno::EPERM), (libc::SYS_mount_setattr, Errno::EPERM)] {
        let Some(invocation) = filtered(scene, call, Some(errno), &[]) else { return };
        let report = report(&invocation.run().expect_code(0));
        if report["namespaces"]["call"] == "unshare" && call != libc::SYS_unshare {
            missing("a user namespace to be refused a mount in");
            return;
        }
        assert_eq!(report["namespaces"]["errno"], errno as i32, "{report}");
        assert_eq!(finding(&report, "namespaces")["cause"], filter_cause(&report), "{report}");
        assert_eq!(report["privileges"]["no_new_privs"], true, "{report}");
    }
}

fn a_filter_that_kills(scene: &Scene) {
    let Some(invocation) = filtered(scene, libc::SYS_unshare, None, &[]) else { return };
    let report = report(&invocation.run().expect_code(0));
    assert_eq!(report["namespaces"]["available"], false, "{report}");
    assert!(report["namespaces"]["errno"].is_null(), "{report}");
    assert_eq!(finding(&report, "namespaces")["cause"], filter_cause(&report), "{report}");
}

fn a_sandbox_of_ours_around_it(scene: &Scene) {
    let codex = scene.codex_program();
    let run = scene.under(Policy::ReadOnly).command(&codex, ["doctor", "--json"]).run().expect_code(0);
    let told = report(&run);
    assert_eq!(told["nested"], true, "{told}");
    assert_eq!(told["cgroup"]["delegated"], false, "{told}");
    assert_eq!(finding(&told, "namespaces")["cause"], "nested", "{told}");
    assert_eq!(told["enforcement"]["level"], "landlock", "{told}");

    // It is known by the variable alone: without that, it is a filter like any other.
    let words = ["-u", "CODEX_SANDBOX", &codex.display().to_string(), "doctor", "--json"];
    let told = report(&scene.under(Policy::ReadOnly).command("env", words).run().expect_code(0));
    assert_eq!(finding(&told, "namespaces")["cause"], filter_cause(&told), "{told}");
}

fn a_covered_proc(scene: &Scene) {
    let script = format!("mount -t tmpfs none /proc/bus && {}", doctor(scene));
    let Some(run) = in_namespaces(scene, &["-m", "-p", "-f", "--mount-proc"], &script) else { return };
    let report = report(&run.expect_code(0));
    assert_eq!(report["namespaces"]["target"], "/proc", "{report}");
    assert_eq!(report["namespaces"]["errno"], Errno::EPERM as i32, "{report}");
    let covered = report["covered_proc"].as_array().expect("an array");
    assert!(covered.contains(&Value::from("/proc/bus")), "{report}");
    assert_eq!(finding(&report, "namespaces")["cause"], "covered_proc", "{report}");
}

fn a_changed_root(scene: &Scene) {
    scene.directory("workspace/root/proc");
    let program = scene.codex_program();
    let script = format!(
        "mount -t proc none root/proc && cp '{}' root/codex && exec chroot root /codex doctor --json",
        program.display()
    );
    let Some(run) = in_namespaces(scene, &["-m", "-p", "-f", "--mount-proc"], &script) else { return };
    let report = report(&run.expect_code(0));
    assert_eq!(report["chroot"], true, "{report}");
    assert_eq!(report["namespaces"]["errno"], Errno::EPERM as i32, "{report}");
    assert_eq!(finding(&report, "namespaces")["cause"], "chroot", "{report}");
}

fn landlock_is_off(scene: &Scene) {
    let call = libc::SYS_landlock_create_ruleset;
    let Some(invocation) = filtered(scene, call, Some(Errno::EOPNOTSUPP), &AT_LANDLOCK) else { return };
    let run = invocation.run().expect_code(1);
    let report = report(&run);
    assert!(run.stderr.is_empty(), "{}", run.describe());
    assert!(report["enforcement"].is_null() && report["refused"].is_string(), "{report}");
    let finding = finding(&report, "landlock");
    assert_eq!(finding["cause"], "landlock_off_at_boot", "{report}");
    assert!(lines(finding).contains("lsm"), "{report}");
}

fn landlock_is_filtered(scene: &Scene) {
    let call = libc::SYS_landlock_create_ruleset;
    let Some(invocation) = filtered(scene, call, Some(Errno::EPERM), &AT_LANDLOCK) else { return };
    let report = report(&invocation.run().expect_code(1));
    assert_eq!(finding(&report, "landlock")["cause"], filter_cause(&report), "{report}");
}

fn requirements_decide_the_exit_code(scene: &Scene) {
    let asking = |guarantee: &str, json: &[&str]| {
        let require = format!("sandbox.require=[\"{guarantee}\"]");
        let words = ["doctor", "--isolation", "landlock", "-c", &require];
        scene.codex(words.iter().chain(json)).run()
    };
    asking("writes", &[]).expect_code(0);
    let run = asking("metadata", &[]).expect_code(1);
    assert!(run.stderr.is_empty() && run.text().contains("sandbox.require"), "{}", run.describe());
    let report = report(&asking("P1", &["--json"]).expect_code(1));
    let unmet = report["unmet"].as_array().expect("an array");
    assert_eq!(unmet.len(), 1, "writes hold: {report}");
    assert_eq!(unmet[0]["guarantee"], "metadata", "{report}");
    assert_eq!(unmet[0]["hold"], "absent", "{report}");
    assert!(unmet[0]["origin"].as_str().is_some_and(|origin| origin.contains("sandbox.require")), "{report}");
    assert!(report["enforcement"].is_object(), "what holds is told all the same: {report}");
}

fn refused_policies_exit_with_1(scene: &Scene) {
    let run = scene.codex(["doctor", "--full-auto", "--add-dir", "/"]).run().expect_code(1);
    assert!(run.text().contains("writable root /") && run.stderr.is_empty(), "{}", run.describe());
}

fn mistakes_exit_with_2(scene: &Scene) {
    let mut failures = Failures::new();
    let rows: [&[&str]; 4] = [
        &["doctor", "--no-such-option"],
        &["doctor", "word"],
        &["doctor", "-c", "no_such_key=1"],
        &["doctor", "-p", "no-such-profile"],
    ];
    for words in rows {
        let run = scene.codex(words).run();
        failures.check(run.code() == Some(2) && run.stdout.is_empty() && !run.stderr.is_empty(), || {
            format!("{words:?}: expected 2, and a message on stderr alone\n{}", run.describe())
        });
    }
    failures.finish();
}
