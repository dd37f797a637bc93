//! P5 and the endings: deadlines, signals, and processes that want to stay.
//!
//! A process that lives holds the stdout it was given. So the end of that stream, which the harness awaits, is the end of
//! every descendant; nothing here looks for processes or waits a while.

use std::time::{Duration, Instant};

use codex_tests::cases_by_level;
use codex_tests::harness::{
    Failures, Identity, Policy, Presence, Run, Scene, require_tool, with_longer_limits,
};
use nix::sys::signal::Signal;

cases_by_level!(
    a_deadline_ends_the_whole_group,
    a_deadline_ends_the_whole_group_of_a_captured_run,
    a_deadline_in_time_changes_nothing,
    a_grandchild_with_the_pipe_does_not_hang_a_captured_run,
    killing_codex_ends_the_command,
    killing_codex_at_any_instant_leaves_nothing,
    too_few_processes_are_said_to_be,
    signals_are_passed_on,
    an_interrupt_ends_it,
    the_command_decides_about_the_interrupt,
    what_is_left_ends_with_the_call,
    a_deadline_ends_what_left_the_group,
    an_orphan_ended_by_a_real_time_signal_hides_nobody,
    an_orphan_that_writes_on_cannot_outlast_the_deadline,
    who_was_there_before_is_left_alone,
    an_orphan_that_has_ended_is_gone,
    an_interrupt_ends_a_command_in_a_group_of_its_own,
);

const SANDBOXED: [Policy; 3] = [Policy::ReadOnly, Policy::WorkspaceWrite, Policy::DangerFullAccess];

/// Reads the one JSON value that a captured run prints.
fn report(run: &Run) -> serde_json::Value {
    serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|error| run.fail(&format!("no JSON on stdout: {error}")))
}

fn a_deadline_ends_the_whole_group(scene: &Scene) {
    for policy in SANDBOXED {
        let run = scene.under(policy).options(["--timeout", "300ms"]).probe(["stubborn", "3"]).run();
        assert_eq!(run.code(), Some(124), "{}", run.describe());
        assert!(!run.stderr.is_empty(), "a deadline is our doing, so we say so\n{}", run.describe());
    }
}

fn a_deadline_ends_the_whole_group_of_a_captured_run(scene: &Scene) {
    for policy in SANDBOXED {
        let (run, report, limit) = with_longer_limits(Duration::from_millis(300), |limit| {
            let limit_text = format!("{}ms", limit.as_millis());
            let options = ["--json", "--timeout", &limit_text];
            let run = scene.under(policy).options(options).probe(["stubborn", "3"]).run();
            let report = report(&run);
            let was_ready = report["stdout"]["text"] != "";
            was_ready.then_some((run, report, limit.as_secs_f64() * 1000.0))
        });
        assert_eq!(run.code(), Some(124), "{}", run.describe());
        assert_eq!(report["timed_out"], true, "{report}");
        assert_eq!(report["outcome"], "timed_out", "{report}");
        assert_eq!(report["stdout"]["text"], "ready\n", "what came before the deadline is kept: {report}");
        assert!(report["duration_ms"].as_f64().is_some_and(|duration| duration >= limit), "{report}");
    }
}

fn a_deadline_in_time_changes_nothing(scene: &Scene) {
    for policy in SANDBOXED {
        let run = scene.under(policy).options(["--timeout", "2m"]).shell("echo done; exit 3").run();
        assert_eq!((run.code(), run.text().as_str()), (Some(3), "done\n"), "{}", run.describe());
        assert!(run.stderr.is_empty(), "{}", run.describe());
    }
}

/// The command ends, its child holds the pipe: the result comes without waiting for the deadline, and keeps the output.
fn a_grandchild_with_the_pipe_does_not_hang_a_captured_run(scene: &Scene) {
    for act in ["leave-behind", "leave-session-behind"] {
        let started = Instant::now();
        let mut running =
            scene.under(Policy::WorkspaceWrite).options(["--json", "--timeout", "50s"]).probe([act]).start();
        running.wait_for_exit();
        assert!(started.elapsed() < Duration::from_secs(30), "{act}: the call waited for the grandchild");
        let run = running.finish();
        let report = report(&run);
        assert_eq!(run.code(), Some(0), "{}", run.describe());
        assert_eq!(report["outcome"], "exited", "{report}");
        assert_eq!(report["stdout"]["text"], "left\n", "{report}");
    }
}

/// Even where `codex` has no chance to clean up.
fn killing_codex_ends_the_command(scene: &Scene) {
    for policy in [Policy::ReadOnly, Policy::WorkspaceWrite] {
        let mut running = scene.under(policy).probe(["stubborn", "0"]).start();
        assert_eq!(running.line().as_deref(), Some("ready"), "the command started");
        running.signal(Signal::SIGKILL);
        let run = running.finish();
        assert_eq!(run.signal(), Some(Signal::SIGKILL), "{}", run.describe());
    }
}

/// Whatever it is about when it is killed, and wherever what the command has started went.
fn killing_codex_at_any_instant_leaves_nothing(scene: &Scene) {
    let script = "exec 9<>\"$0\"; trap '' TERM; (setsid sleep 300 &); sleep 300 & \
                  (setsid sh -c 'trap \"\" HUP; sleep 300; true' &); kill -STOP $$; wait";
    for policy in [Policy::WorkspaceWrite, Policy::DangerFullAccess] {
        for options in [&[][..], &["--json"]] {
            for instant in 0..10_u32 {
                let name = format!("held-{policy:?}-{}-{instant}", options.len());
                let presence = Presence::new(scene, &name);
                let held = presence.path().as_os_str();
                let started = Instant::now();
                let arguments = ["-c".as_ref(), script.as_ref(), held];
                let running = scene.under(policy).options(options).command("sh", arguments).start();
                // Most of it happens within some milliseconds; the last ones find the command at work.
                while started.elapsed() < Duration::from_micros(700) * instant * instant {
                    std::thread::yield_now();
                }
                running.signal(Signal::SIGKILL);
                // Without --json, this waits for everybody who has its stdout.
                let run = running.finish();
                assert_eq!(run.signal(), Some(Signal::SIGKILL), "{}", run.describe());
                while presence.is_held() {
                    let waited = started.elapsed();
                    assert!(
                        waited < Duration::from_secs(60),
                        "{policy:?} {options:?} {instant}: one lives on"
                    );
                    std::thread::yield_now();
                }
            }
        }
    }
}

/// Threads and processes that can't be had are a reason in one line, wherever they are missing.
fn too_few_processes_are_said_to_be(scene: &Scene) {
    // Root is not held by the limit.
    let (Identity::User, Some(prlimit)) = (scene.identity(), require_tool("prlimit")) else { return };
    for options in [&[][..], &["--json"]] {
        let line = scene.under(Policy::WorkspaceWrite).options(options).shell("echo done").shell_line();
        let script = format!("exec {line}");
        // Others that run as the same user count as well, so that how many are too few is not known.
        for limit in (1..12).chain([1000]) {
            let limit = format!("--nproc={limit}");
            let arguments = [limit.as_str(), "sh", "-c", &script];
            let run = scene.under(Policy::Bare).command(&prlimit, arguments).run();
            let told = run.code() == Some(125)
                && (run.stderr.iter().filter(|byte| **byte == b'\n').count() == 1 || !options.is_empty());
            assert!(run.code() == Some(0) || told, "{limit}\n{}", run.describe());
            let stderr = String::from_utf8_lossy(&run.stderr).into_owned();
            assert!(!stderr.contains("bug"), "{limit}\n{}", run.describe());
        }
    }
}

/// A signal to `codex` alone, as a supervisor sends it, reaches the command.
fn signals_are_passed_on(scene: &Scene) {
    let mut failures = Failures::new();
    for policy in SANDBOXED {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            let mut running = scene.under(policy).probe(["await-signal"]).start();
            assert_eq!(running.line().as_deref(), Some("ready"), "the command started");
            running.signal(signal);
            let run = running.finish();
            let told = run.text().lines().any(|line| line == signal.as_str());
            failures.check(told && run.code() == Some(7), || {
                format!(
                    "{signal} [{policy:?}]: the command should have got it, and exited with 7\n{}",
                    run.describe()
                )
            });
        }
    }
    failures.finish();
}

/// Ctrl-C: the terminal signals the whole group.
fn an_interrupt_ends_it(scene: &Scene) {
    for policy in SANDBOXED {
        let mut running = scene.under(policy).shell("echo ready; exec sleep 1000").start();
        assert_eq!(running.line().as_deref(), Some("ready"), "the command started");
        running.signal_group(Signal::SIGINT);
        let run = running.finish();
        let interrupted = run.code() == Some(130) || run.signal() == Some(Signal::SIGINT);
        assert!(interrupted, "a shell expects 130, or the signal itself\n{}", run.describe());
    }
}

/// A command that handles Ctrl-C ends as it likes, and exits with its own code.
fn the_command_decides_about_the_interrupt(scene: &Scene) {
    for policy in [Policy::Bare].into_iter().chain(SANDBOXED) {
        let mut running = scene.under(policy).probe(["await-signal"]).start();
        assert_eq!(running.line().as_deref(), Some("ready"), "the command started");
        running.signal_group(Signal::SIGINT);
        let run = running.finish();
        assert_eq!((run.code(), run.text().as_str()), (Some(7), "ready\nSIGINT\n"), "{}", run.describe());
    }
}

/// What the command leaves behind ends with the call, wherever it went.
fn what_is_left_ends_with_the_call(scene: &Scene) {
    let mut failures = Failures::new();
    for policy in [Policy::WorkspaceWrite, Policy::DangerFullAccess] {
        for options in [&[][..], &["--json"]] {
            for act in ["leave-behind", "leave-session-behind"] {
                let presence = Presence::new(scene, &format!("held-{policy:?}-{act}-{}", options.len()));
                let arguments = [act.as_ref(), presence.path().as_os_str()];
                let run = scene.under(policy).options(options).probe(arguments).run();
                failures.check(run.code() == Some(0), || format!("{act} {options:?}\n{}", run.describe()));
                failures.check(presence.ended(), || {
                    format!("{act} {options:?}: it lives on\n{}", run.describe())
                });
            }
        }
    }
    failures.finish();
}

/// A deadline finds descendants in sessions of their own as well.
fn a_deadline_ends_what_left_the_group(scene: &Scene) {
    for (number, policy) in [Policy::WorkspaceWrite, Policy::DangerFullAccess].into_iter().enumerate() {
        for more in [&[][..], &["--json"]] {
            let (run, presence) = with_longer_limits(Duration::from_millis(300), |limit| {
                let limit = format!("{}ms", limit.as_millis());
                let presence = Presence::new(scene, &format!("held-{number}-{}-{limit}", more.len()));
                let arguments = ["scattered".as_ref(), "3".as_ref(), presence.path().as_os_str()];
                let options = ["--timeout", &limit].into_iter().chain(more.iter().copied());
                let run = scene.under(policy).options(options).probe(arguments).run().expect_code(124);
                presence.was_held().then_some((run, presence))
            });
            assert!(presence.ended(), "{policy:?} {more:?}: one lives on\n{}", run.describe());
        }
    }
}

/// Whatever an orphan died of, the search for the others goes on.
fn an_orphan_ended_by_a_real_time_signal_hides_nobody(scene: &Scene) {
    let mut failures = Failures::new();
    let probe = scene.probe_program();
    for policy in [Policy::WorkspaceWrite, Policy::DangerFullAccess] {
        for options in [&[][..], &["--json"]] {
            let presence = Presence::new(scene, &format!("held-{policy:?}-{}", options.len()));
            // The pipe ends with the orphan, which is `codex`'s to collect from then on.
            let script = format!(
                "(sh -c 'kill -40 $$' &) | cat; exec '{}' leave-session-behind '{}'",
                probe.display(),
                presence.path().display()
            );
            let run = scene.under(policy).options(options).shell(&script).run();
            failures.check(run.code() == Some(0), || run.describe());
            failures.check(presence.ended(), || format!("{options:?}: it lives on\n{}", run.describe()));
        }
    }
    failures.finish();
}

/// An orphan in a session of its own is not below the command any more; its writing must not put off the end for ever.
fn an_orphan_that_writes_on_cannot_outlast_the_deadline(scene: &Scene) {
    // By itself it writes for 15 s at least, and it ends as soon as nobody reads.
    let writer = "i=0; while [ $i -lt 1500 ]; do echo x || exit; sleep 0.01; i=$((i + 1)); done";
    for policy in SANDBOXED {
        for (end, code, outcome) in [("exec sleep 300", 124, "timed_out"), ("exit 0", 0, "exited")] {
            let script = format!("(setsid sh -c '{writer}' &); {end}");
            let run = scene.under(policy).options(["--json", "--timeout", "1s"]).shell(&script).run();
            let report = report(&run);
            assert_eq!((run.code(), &report["outcome"]), (Some(code), &outcome.into()), "{}", run.describe());
            let bytes = report["stdout"]["bytes_total"].as_u64();
            assert!(bytes.is_some_and(|bytes| bytes < 2 * 1000), "it wrote to its own end: {report}");
        }
    }
}

/// A shell that becomes `codex` leaves it children that no command of ours has started.
fn who_was_there_before_is_left_alone(scene: &Scene) {
    for policy in [Policy::Bare].into_iter().chain(SANDBOXED) {
        let line = scene.under(policy).command("echo", ["first"]).shell_line();
        let script = format!("exec 3<&0; sh -c 'read -r line <&3; echo still $line' & exec {line}");
        let mut running = scene.under(Policy::Bare).shell(&script).open_input().start();
        assert_eq!(running.line().as_deref(), Some("first"), "the command ran");
        running.wait_for_exit();
        running.send(b"here\n");
        let run = running.finish();
        assert!(run.text().ends_with("still here\n"), "{policy:?}: it was killed\n{}", run.describe());
    }
}

/// Outside, init collects orphans at once: whoever asks whether one is still there is told so in time.
fn an_orphan_that_has_ended_is_gone(scene: &Scene) {
    let script = "orphan=$(sh -c 'true > /dev/null & echo $!'); i=0; \
                  while kill -0 $orphan 2> /dev/null; do i=$((i + 1)); [ $i -gt 500 ] && exit 1; sleep 0.01; done";
    for policy in [Policy::Bare].into_iter().chain(SANDBOXED) {
        let run = scene.under(policy).shell(script).run();
        assert_eq!(run.code(), Some(0), "{policy:?}: it stays\n{}", run.describe());
    }
}

/// A command that left the terminal's group does not get the terminal's signal; Ctrl-C must end the call all the same.
fn an_interrupt_ends_a_command_in_a_group_of_its_own(scene: &Scene) {
    let Some(script) = require_tool("script") else { return };
    for policy in SANDBOXED {
        // As itself, `setsid` starts a process and ends where it leads a group, as a shell's job does.
        let line =
            scene.under(policy).command("setsid", ["sh", "-c", "echo ready; exec sleep 300"]).shell_line();
        let mut running =
            scene.under(Policy::Bare).command(&script, ["-qec", &line, "/dev/null"]).open_input().start();
        assert_eq!(running.line().as_deref(), Some("ready\r"), "the command started");
        running.send(b"\x03");
        let run = running.finish();
        // The harness waits for the end of the terminal, and so of the command, and not for as long as that would sleep.
        assert!(run.code() != Some(0), "{policy:?}: it was not interrupted\n{}", run.describe());
    }
}
