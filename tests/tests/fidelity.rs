//! Apart from what the policy takes away, a command finds the world that it would find without `codex`.
//!
//! Each case runs the same thing with and without, and compares.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use codex_tests::cases_by_level;
use codex_tests::harness::{Failures, Level, Policy, Run, Scene, require_tool};
use nix::sys::signal::Signal;

cases_by_level!(
    arguments_arrive_as_bytes,
    megabytes_of_arguments_arrive,
    the_program_s_own_name_arrives,
    the_environment_arrives_as_bytes,
    secrets_stay_out_of_the_environment,
    the_state_of_the_process_arrives,
    signals_arrive_as_they_were,
    standard_streams_pass_through,
    closed_streams_stay_closed,
    exit_codes_pass_through,
    signals_pass_through,
    the_directory_arrives,
    the_locale_arrives,
    a_terminal_stays_a_terminal,
    a_terminal_is_not_opened_to_others,
    a_person_is_told_how_to_learn_what_was_refused,
);

/// Every policy, the one without restrictions included: what is handed on doesn't depend on it.
const SANDBOXED: [Policy; 4] =
    [Policy::ReadOnly, Policy::WorkspaceWrite, Policy::WorkspaceWriteNetwork, Policy::DangerFullAccess];

/// Words that are awkward somewhere: for a shell, for UTF-8, for a line reader, for an option parser.
fn awkward_words() -> Vec<OsString> {
    let bytes: [&[u8]; 14] = [
        b"plain",
        b"",
        b" ",
        b"two words",
        b"line\nbreak\n",
        b"\xff\xfe not UTF-8 \x80",
        b"tab\tand\x01\x7fcontrol",
        b"-s",
        b"--",
        b"--json",
        b"'\"$(exit 1)`exit 2`\\*?[a]{b,c}~#;&|<>",
        b"disk-full-write-access",
        b"key=value",
        "Grüße, 世界".as_bytes(),
    ];
    bytes.into_iter().map(|word| OsString::from_vec(word.to_vec())).collect()
}

/// Runs `arrange`'s invocation everywhere, and fails where a sandboxed run gives other output than the control.
fn compare(scene: &Scene, arrange: impl Fn(Policy) -> Run) {
    let mut failures = Failures::new();
    let control = arrange(Policy::Bare);
    failures
        .check(!control.stdout.is_empty(), || format!("the control says nothing\n{}", control.describe()));
    for policy in SANDBOXED {
        let run = arrange(policy);
        let same = run.stdout == control.stdout && run.code() == control.code();
        failures.check(same, || {
            format!("{policy:?} as {:?} differs:\n{}{}", scene.identity(), run.describe(), control.describe())
        });
    }
    failures.finish();
}

fn arguments_arrive_as_bytes(scene: &Scene) {
    compare(scene, |policy| {
        scene.under(policy).probe([OsString::from("argv")].into_iter().chain(awkward_words())).run()
    });
}

/// More than one page, more than one argument may hold, and near to what the kernel takes.
fn megabytes_of_arguments_arrive(scene: &Scene) {
    const LONGEST: usize = 128 * 1024 - 1;
    let long = "x".repeat(LONGEST);
    let words: Vec<&str> = std::iter::repeat_n(long.as_str(), 12).collect();
    compare(scene, |policy| scene.under(policy).probe(["argv"].iter().chain(&words)).run());
    let many: Vec<String> = (0..60_000).map(|number| format!("{number:06}")).collect();
    compare(scene, |policy| {
        scene.under(policy).probe(["argv"].into_iter().chain(many.iter().map(String::as_str))).run()
    });
}

/// argv[0] is what was typed, not what it resolved to.
fn the_program_s_own_name_arrives(scene: &Scene) {
    scene.symlink(scene.probe_program(), "workspace/a-name");
    for program in ["./a-name", "../workspace/a-name"] {
        compare(scene, |policy| scene.under(policy).command(program, ["name"]).run());
    }
    // Found by PATH, it keeps the name that it was called by.
    let path = scene.workspace();
    compare(scene, |policy| scene.under(policy).command("a-name", ["name"]).env("PATH", &path).run());
}

/// The variables that `codex` sets for the command.
const OURS: [&str; 2] = ["CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED"];

fn variables(run: &Run) -> BTreeMap<String, String> {
    let equals = "3d";
    run.text()
        .lines()
        .filter(|line| !line.starts_with("ok"))
        .filter_map(|line| {
            // In pairs of digits, so that half a byte is never mistaken for the sign.
            let digits: Vec<&str> =
                line.as_bytes().chunks(2).filter_map(|pair| str::from_utf8(pair).ok()).collect();
            let sign = digits.iter().position(|pair| *pair == equals)?;
            Some((digits.get(..sign)?.concat(), digits.get(sign + 1..)?.concat()))
        })
        .collect()
}

fn hexadecimal(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn the_environment_arrives_as_bytes(scene: &Scene) {
    let awkward: [(&[u8], &[u8]); 7] = [
        (b"EMPTY", b""),
        (b"LINES", b"one\ntwo\n"),
        (b"NOT_UTF_8", b"\xff\xfe\x80"),
        (b"\xffNAME\xfe", b"value"),
        (b"lower.case-and signs", b"value"),
        (b"EQUALS", b"a=b=c"),
        (b"BASH_FUNC_f%%", b"() { echo; }"),
    ];
    let long = "y".repeat(100_000);
    let run = |policy: Policy| {
        let mut invocation = scene.under(policy).probe(["environment"]).env("LONG", &long);
        for (name, value) in awkward {
            invocation = invocation.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
        }
        invocation.run()
    };
    let mut expected = variables(&run(Policy::Bare));
    assert!(expected.len() > awkward.len(), "the control shows its environment");
    let path = expected.remove(&hexadecimal("PATH")).unwrap_or_default();
    let mut failures = Failures::new();
    for policy in SANDBOXED {
        let ended = run(policy);
        let mut seen = variables(&ended);
        for name in OURS {
            seen.remove(&hexadecimal(name));
        }
        // A directory with the aliases of codex may stand before the caller's own.
        let own = seen.remove(&hexadecimal("PATH")).unwrap_or_default();
        failures.check(own.ends_with(&path), || format!("PATH [{policy:?}]: {own} instead of {path}"));
        failures.check(seen == expected, || {
            let differs = |name: &&String| seen.get(*name) != expected.get(*name);
            let names: Vec<_> = seen.keys().chain(expected.keys()).filter(differs).collect();
            format!("{policy:?}: these variables differ (in hexadecimal): {names:?}")
        });
    }
    failures.finish();
}

fn secrets_stay_out_of_the_environment(scene: &Scene) {
    let secrets = ["API_KEY", "MY_SECRET_THING", "github_token", "DB_PASSWORD", "AWS_CREDENTIALS"];
    let run = |options: &[&str]| {
        let mut invocation = scene.under(Policy::ReadOnly).options(options).command("env", [""; 0]);
        for name in secrets {
            invocation = invocation.env(name, "for-nobody-else");
        }
        invocation.env("HARMLESS", "seen").run().expect_code(0).text()
    };
    let seen = run(&[]);
    assert!(seen.contains("HARMLESS=seen") && !seen.contains("for-nobody-else"), "{seen}");
    let seen = run(&["-c", "shell_environment_policy.ignore_default_excludes=true"]);
    assert_eq!(seen.matches("for-nobody-else").count(), secrets.len(), "{seen}");
    let seen = run(&["-c", "shell_environment_policy.inherit=\"none\""]);
    assert!(!seen.contains("HARMLESS") && !seen.contains("HOME="), "{seen}");
}

fn the_state_of_the_process_arrives(scene: &Scene) {
    let setups: [&[&str]; 4] = [
        &[],
        &["--umask", "027"],
        &["--nice", "7", "--umask", "077"],
        &["--limit", "nofile=200", "--limit", "core=0", "--limit", "stack=4194304", "--limit", "cpu=1000"],
    ];
    // Numbers of groups and sessions differ from run to run; whether it leads one does not, and is compared.
    let mut own = vec!["group ", "session "];
    if scene.level() == Level::Namespaces {
        // Seen from the sandbox's own namespace of control groups, it stands at their root.
        own.push("cgroup ");
    }
    let mut failures = Failures::new();
    for setup in setups {
        let state = |policy: Policy| {
            let started = scene.under(policy).probe(["state"]).launched_with(setup).start();
            // The caller's group has no number in a namespace that the caller is not in.
            let isolated = scene.level() == Level::Namespaces && policy.is_restricted();
            let group = if isolated { "group 0".to_owned() } else { format!("group {}", started.pid()) };
            let run = started.finish();
            let in_group = run.text().lines().any(|line| line == group);
            let lines: Vec<String> = run
                .text()
                .lines()
                .filter(|line| !own.iter().any(|prefix| line.starts_with(prefix)))
                .filter(|line| !line.starts_with("group-of-its-own"))
                .map(str::to_owned)
                .collect();
            (lines, in_group, run.describe())
        };
        let (control, ..) = state(Policy::Bare);
        failures.check(control.len() > 20, || format!("the control says too little: {control:?}"));
        for policy in SANDBOXED {
            let (seen, in_group, description) = state(policy);
            let differs: Vec<_> = seen.iter().filter(|line| !control.contains(line)).collect();
            failures
                .check(seen == control, || format!("{policy:?} with {setup:?}: {differs:?}\n{description}"));
            failures
                .check(in_group, || format!("{policy:?}: not in the caller's process group\n{description}"));
        }
    }
    failures.finish();
}

/// The signal masks that a command finds, without the two signals that the C library keeps for itself: where a process
/// with threads starts another, it leaves these ignored, here as in any other program's child.
fn signal_masks(run: &Run) -> BTreeMap<String, u64> {
    const INTERNAL: u64 = 0b11 << 31;
    let text = run.text();
    let fields = text.lines().filter_map(|line| line.split_once(":\t"));
    fields
        .filter(|(name, _)| ["SigBlk", "SigIgn", "SigPnd", "ShdPnd"].contains(name))
        .map(|(name, mask)| {
            (name.to_owned(), u64::from_str_radix(mask, 16).map_or(u64::MAX, |it| it & !INTERNAL))
        })
        .collect()
}

/// Ignored and blocked signals are handed on by exec; the Rust runtime's own setting for SIGPIPE must not be.
fn signals_arrive_as_they_were(scene: &Scene) {
    let setups: [&[&str]; 6] = [
        &["--umask", "022"],
        &["--ignore", "SIGPIPE"],
        &["--ignore", "SIGHUP", "--ignore", "SIGCHLD"],
        &["--ignore", "SIGINT", "--ignore", "SIGQUIT", "--ignore", "SIGTERM"],
        &["--block", "SIGUSR1", "--block", "SIGCHLD"],
        &["--block", "SIGTERM", "--block", "SIGINT", "--ignore", "SIGUSR2"],
    ];
    let mut failures = Failures::new();
    for setup in setups {
        // Without a shell between: some shells change signals at their start.
        let run = |policy: Policy| {
            let run = scene.under(policy).command("cat", ["/proc/self/status"]).launched_with(setup).run();
            (signal_masks(&run), run)
        };
        let (expected, control) = run(Policy::Bare);
        failures.check(expected.len() == 4, || control.describe());
        for policy in SANDBOXED {
            let (seen, run) = run(policy);
            // The exit code too: with SIGCHLD ignored, a careless supervisor can't learn it.
            failures.check(seen == expected && run.code() == control.code(), || {
                format!("{policy:?} with {setup:?}: {seen:x?} instead of {expected:x?}\n{}", run.describe())
            });
        }
    }
    failures.finish();
    // What it means: a writer whose reader is gone ends by SIGPIPE, and the pipe is quiet.
    let run = scene.under(Policy::ReadOnly).shell("yes | head -n 1; echo done").run().expect_code(0);
    assert_eq!((run.text().as_str(), run.error_text().as_str()), ("y\ndone\n", ""), "{}", run.describe());
}

fn standard_streams_pass_through(scene: &Scene) {
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    for policy in SANDBOXED {
        let run = scene.under(policy).probe(["echo-input"]).input(bytes.clone()).run().expect_code(0);
        assert!(
            run.stdout == bytes && run.stderr.is_empty(),
            "{policy:?}: {} bytes came back",
            run.stdout.len()
        );
        let run = scene.under(policy).shell("echo one; echo two >&2").run().expect_code(0);
        assert_eq!((run.text().as_str(), run.error_text().as_str()), ("one\n", "two\n"), "{policy:?}");
    }
    // Captured, a command has no input: it must not read what was meant for somebody else.
    let captured = scene.under(Policy::ReadOnly).options(["--json"]).probe(["echo-input"]);
    let run = captured.input("not for the command").run().expect_code(0);
    assert!(!run.text().contains("not for the command"), "{}", run.describe());
}

/// A descriptor below 3 that was closed is not filled with something of ours that the command could use.
fn closed_streams_stay_closed(scene: &Scene) {
    let script = "if cat < /dev/stdin; then echo read; fi 2> /dev/null; echo end";
    for policy in [Policy::Bare, Policy::ReadOnly, Policy::WorkspaceWrite] {
        let run = scene.under(policy).shell(script).launched_with(["--close", "0"]).run().expect_code(0);
        assert!(run.text().ends_with("end\n"), "{}", run.describe());
        // Python, for one, does not start where its input is a directory.
        for number in ["0", "2"] {
            let script = format!("if [ -e /proc/$$/fd/{number} ]; then echo open; else echo closed; fi");
            let shell = || scene.under(policy).shell(&script);
            let closed = shell().launched_with(["--close", number]).run();
            assert_eq!(closed.text(), "closed\n", "{}", closed.describe());
            assert_eq!(shell().run().text(), "open\n");
        }
        let run =
            scene.under(policy).shell("echo to stderr >&2; exit 6").launched_with(["--close", "1"]).run();
        assert_eq!((run.code(), run.error_text().as_str()), (Some(6), "to stderr\n"), "{}", run.describe());
    }
}

fn exit_codes_pass_through(scene: &Scene) {
    let mut failures = Failures::new();
    for code in 0..=255 {
        let run = scene.under(Policy::WorkspaceWrite).probe(["exit", &code.to_string()]).run();
        failures.check(run.code() == Some(code), || format!("expected {code}\n{}", run.describe()));
        failures.check(run.stderr.is_empty(), || format!("{code}: something was said\n{}", run.describe()));
    }
    failures.finish();
}

fn signals_pass_through(scene: &Scene) {
    let mut failures = Failures::new();
    // Those whose default is to end the process.
    let harmless = [
        Signal::SIGCHLD,
        Signal::SIGCONT,
        Signal::SIGSTOP,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGURG,
        Signal::SIGWINCH,
    ];
    for signal in Signal::iterator().filter(|signal| !harmless.contains(signal)) {
        let number = signal as i32;
        let control = scene.under(Policy::Bare).probe(["raise", &number.to_string()]).run();
        failures.check(control.signal() == Some(signal), || format!("{signal}\n{}", control.describe()));
        for policy in [Policy::WorkspaceWrite, Policy::DangerFullAccess] {
            let run = scene.under(policy).probe(["raise", &number.to_string()]).run();
            failures.check(run.code() == Some(128 + number), || {
                format!("{signal} [{policy:?}]\n{}", run.describe())
            });
        }
    }
    failures.finish();
}

fn the_directory_arrives(scene: &Scene) {
    let odd = scene.directory("workspace/a directory\nof two lines");
    compare(scene, |policy| scene.under(policy).command("pwd", ["-P"]).directory(&odd).run());
    // By -C, the directory is the policy's and the command's.
    for policy in SANDBOXED {
        let chosen = scene.under(policy).options([OsStr::new("-C"), odd.as_os_str()]);
        let run = chosen.command("pwd", ["-P"]).directory(scene.path("home")).run().expect_code(0);
        assert_eq!(run.stdout, [odd.as_os_str().as_bytes(), b"\n"].concat(), "{}", run.describe());
    }
}

fn the_locale_arrives(scene: &Scene) {
    let script = "echo $LANG $LC_ALL $LC_MESSAGES $TZ; date -d @0 +%c";
    compare(scene, |policy| {
        let run = scene.under(policy).shell(script).env("LC_MESSAGES", "C").env("TZ", "Asia/Tokyo");
        run.without_env("LANG").env("LC_ALL", "C").run()
    });
}

/// What a program asks a terminal.
const QUESTIONS: &str =
    "stty size; test -t 0 && test -t 1 && test -t 2 && echo terminal; tty > /dev/null && echo named";

/// A program on a terminal finds the terminal, its size and its foreground.
fn a_terminal_stays_a_terminal(scene: &Scene) {
    let Some(script) = require_tool("script") else { return };
    let command = |policy: Policy| {
        let line = scene.under(policy).shell(QUESTIONS).shell_line();
        scene.under(Policy::Bare).command(&script, ["-qec", &line, "/dev/null"]).run()
    };
    let control = command(Policy::Bare);
    assert!(
        control.text().contains("terminal") && control.text().contains("named"),
        "{}",
        control.describe()
    );
    for policy in SANDBOXED {
        let run = command(policy);
        assert_eq!(run.text(), control.text(), "{}", run.describe());
    }
}

/// The caller's own terminal, by its descriptor: whose it is and who may open it is metadata outside.
fn a_terminal_is_not_opened_to_others(scene: &Scene) {
    let Some(script) = require_tool("script") else { return };
    for policy in SANDBOXED {
        let line = "for name in /dev/stdin /proc/self/fd/1 /dev/stderr; do chmod 666 $name; done 2>&1; tty";
        let line = scene.under(policy).shell(line).shell_line();
        let run = scene.under(Policy::Bare).command(&script, ["-qec", &line, "/dev/null"]).run();
        let refused = run.text().matches("Read-only file system").count();
        let held = scene.level() == Level::Namespaces && policy.is_restricted();
        assert_eq!(refused, if held { 3 } else { 0 }, "{}", run.describe());
    }
}

/// A command that writes to a terminal is read by nobody. A person is told who can tell; a script, and one who asked for quiet, is not.
fn a_person_is_told_how_to_learn_what_was_refused(scene: &Scene) {
    let Some(script) = require_tool("script") else { return };
    let hint = match scene.level() {
        Level::Namespaces => {
            "codex: `codex debug explain` replays the command, and tells what the sandbox refused, if anything"
        }
        _ => "codex: with --explain before the command, what the sandbox refuses is told, if anything",
    };
    let on_a_terminal = |options: &[&str], words: &str| {
        let line = scene.under(Policy::WorkspaceWrite).options(options).shell(words).shell_line();
        scene.under(Policy::Bare).command(&script, ["-qec", &line, "/dev/null"]).run()
    };
    let refused = format!("echo x > {}", scene.path("outside/new").display());
    let run = on_a_terminal(&[], &refused);
    assert_ne!(run.code(), Some(0), "{}", run.describe());
    assert_eq!(run.text().lines().filter(|line| line.trim_end() == hint).count(), 1, "{}", run.describe());
    for (options, words) in [(&["--quiet"][..], refused.as_str()), (&["--explain"], &refused), (&[], "true")]
    {
        let run = on_a_terminal(options, words);
        assert!(!run.text().contains("explain"), "{}", run.describe());
    }
    let run = scene.under(Policy::WorkspaceWrite).shell(&refused).run();
    assert!(!run.error_text().contains("explain"), "{}", run.describe());
}
