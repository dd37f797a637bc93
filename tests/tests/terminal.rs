//! `codex sandbox --pty`: a command in a terminal of its own, displayed in that of a person.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, and says so")]

use std::path::Path;

use codex_tests::cases_by_level;
use codex_tests::harness::{Policy, Run, Scene, require_tool};

cases_by_level!(
    attacks_reach_no_terminal,
    keys_go_in_and_sizes_with_them,
    the_terminal_is_put_back_whatever_the_way_out,
    a_terminal_that_takes_nothing_holds_up_no_end,
    it_is_a_job_of_its_shell,
    it_works_without_a_terminal,
    a_reader_who_leaves_ends_it,
    a_slow_reader_loses_nothing,
    it_can_be_captured,
);

const SANDBOXED: [Policy; 2] = [Policy::ReadOnly, Policy::DangerFullAccess];

/// What a terminal would do more than display for, and what is seen of it otherwise.
const ATTACKS: [(&str, &str); 12] = [
    ("a title", r"\033]0;title\007"),
    ("a title to be typed", r"\033[21t"),
    ("the clipboard", r"\033]52;c;cm0gLXJm\007"),
    ("a question where the cursor is", r"\033[6n"),
    ("a question what it is", r"\033[c"),
    ("DECRQSS", r"\033P$qm\033\\"),
    ("keys", r"\033P0;1|17/6869\033\\"),
    ("a link", r"\033]8;;http://localhost\033\\"),
    ("a picture that is a file", r"\033_Gt=f;L2V0Yw==\033\\"),
    ("a reset", r"\033c"),
    ("what has scrolled away", r"\033[3J"),
    ("a control character of C1", r"\302\2335n"),
];

/// A person who runs these lines.
fn person(scene: &Scene, act: &str, lines: &[String]) -> Option<Run> {
    let python = require_tool("python3")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terminal/person.py");
    let arguments = [script.display().to_string(), act.to_owned()].into_iter().chain(lines.iter().cloned());
    Some(scene.under(Policy::Bare).command(&python, arguments).env("TERM", "xterm").run())
}

/// The line that runs a script in a terminal of its own.
fn line(scene: &Scene, policy: Policy, options: &[&str], script: &str) -> String {
    scene.under(policy).options(["--pty"].iter().chain(options)).shell(script).shell_line()
}

/// A person who sees as much as this.
fn sees(scene: &Scene, policy: Policy, act: &str, lines: &[String], count: usize) {
    let Some(run) = person(scene, act, lines) else { return };
    assert_eq!(run.code(), Some(0), "{policy:?}\n{}", run.describe());
    let seen = run.text().lines().filter(|line| line.ends_with(": yes")).count();
    assert_eq!(seen, count, "{policy:?}\n{}", run.describe());
}

fn attacks_reach_no_terminal(scene: &Scene) {
    let script: String = ATTACKS.iter().map(|(_, bytes)| format!("printf '<{bytes}>'; ")).collect();
    let bytes = |octal: &str| {
        let text = octal.replace(r"\033", "\x1b").replace(r"\007", "\x07").replace(r"\302\233", "\u{9b}");
        text.replace(r"\\", r"\").into_bytes()
    };
    let holds = |run: &Run, octal: &str| {
        let bytes = bytes(octal);
        run.stdout.windows(bytes.len()).any(|window| window == bytes)
    };
    let bare = scene.under(Policy::Bare).shell(&script).shell_line();
    let Some(control) = person(scene, "show", &[bare]) else { return };
    for policy in SANDBOXED {
        let filtered = person(scene, "show", &[line(scene, policy, &[], &script)]).unwrap();
        let passed = person(scene, "show", &[line(scene, policy, &["--passthrough"], &script)]).unwrap();
        for (name, octal) in ATTACKS {
            assert!(holds(&control, octal), "{name}: it reaches a terminal\n{}", control.describe());
            assert!(holds(&passed, octal), "{name}: it is passed on purpose\n{}", passed.describe());
            assert!(!holds(&filtered, octal), "{name}\n{}", filtered.describe());
        }
        // What is left is text.
        assert_eq!(
            filtered.text(),
            format!("{}<5n>", "<>".repeat(ATTACKS.len() - 1)),
            "{}",
            filtered.describe()
        );
    }
}

/// The line that runs a command which says what its terminal tells it.
fn telling(scene: &Scene, policy: Policy) -> Option<String> {
    let python = require_tool("python3")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terminal/command.py");
    Some(scene.under(policy).options(["--pty"]).command(python, [script]).shell_line())
}

fn keys_go_in_and_sizes_with_them(scene: &Scene) {
    for policy in SANDBOXED {
        let Some(run) = telling(scene, policy) else { return };
        sees(scene, policy, "keys", &[run], 8);
    }
}

fn the_terminal_is_put_back_whatever_the_way_out(scene: &Scene) {
    const SCREEN: &str = r"printf '\033[?1049h\033[?25l\033[?2004h\033[31mready'; read -r word; ";
    for policy in SANDBOXED {
        let run = |options: &[&str], end: &str| line(scene, policy, options, &format!("{SCREEN}{end}"));
        let lines = [
            // SIGTERM, SIGHUP and SIGINT to codex.
            run(&[], ""),
            run(&[], ""),
            run(&["--grace", "0s"], ""),
            // By the command.
            run(&[], "exit 3"),
            run(&[], "kill -KILL $$"),
            run(&["--timeout", "500ms"], "sleep 1000"),
        ];
        let Some(run) = person(scene, "restored", &lines) else { return };
        assert_eq!(run.code(), Some(0), "{policy:?}\n{}", run.describe());
        let text = run.text();
        let codes: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("code ")).collect();
        assert_eq!(codes, ["143", "129", "130", "3", "137", "124"], "{policy:?}\n{}", run.describe());
        assert_eq!(text.matches(": yes").count(), 5 * lines.len(), "{policy:?}\n{}", run.describe());
    }
}

fn a_terminal_that_takes_nothing_holds_up_no_end(scene: &Scene) {
    for policy in SANDBOXED {
        let yes = scene.under(policy).options(["--pty", "--timeout", "300ms"]).command("yes", [""; 0]);
        let Some(run) = person(scene, "deaf", &[yes.shell_line()]) else { return };
        let expected = "it ends: yes\ncode 124\nthe modes are put back: yes\n";
        assert_eq!(run.text(), expected, "{policy:?}\n{}", run.describe());
    }
}

fn it_is_a_job_of_its_shell(scene: &Scene) {
    let Some(_) = require_tool("bash") else { return };
    for policy in SANDBOXED {
        let Some(telling) = telling(scene, policy) else { return };
        let lines =
            [line(scene, policy, &[], r"printf '\033[?1049hready'; kill -STOP $$; echo resumed"), telling];
        sees(scene, policy, "jobs", &lines, 10);
    }
}

fn it_works_without_a_terminal(scene: &Scene) {
    for policy in SANDBOXED {
        let pty = || scene.under(policy).options(["--pty"]);
        // The second Ctrl-D ends what the first has handed over.
        let run = pty().command("cat", [""; 0]).input(b"one\ntwo".to_vec()).run();
        assert_eq!(
            (run.code(), run.text().as_str()),
            (Some(0), "one\r\ntwoone\r\ntwo"),
            "{}",
            run.describe()
        );
        let script = "stty size; echo $TERM; test -t 0 && test -t 2 && echo terminal; exit 5";
        let run = pty().shell(script).run();
        let expected = "24 80\r\nxterm-256color\r\nterminal\r\n";
        assert_eq!((run.code(), run.text().as_str()), (Some(5), expected), "{}", run.describe());
        let run = pty().shell(script).env("TERM", "vt100").env("LINES", "40").env("COLUMNS", "132").run();
        assert_eq!(run.text(), "40 132\r\nvt100\r\nterminal\r\n", "{}", run.describe());
        let run = pty().command("/nowhere", [""; 0]).run();
        assert_eq!(run.code(), Some(127), "{}", run.describe());
        assert!(run.error_text().starts_with("codex: "), "{}", run.describe());
    }
}

fn a_reader_who_leaves_ends_it(scene: &Scene) {
    let Some(bash) = require_tool("bash") else { return };
    for policy in SANDBOXED {
        let yes = scene.under(policy).options(["--pty"]).command("yes", [""; 0]).shell_line();
        let script = format!("{yes} | head -n 1; echo ${{PIPESTATUS[0]}}");
        let run = scene.under(Policy::Bare).command(&bash, ["-c", &script]).run();
        assert_eq!(run.text(), "y\r\n141\n", "{}", run.describe());
    }
}

/// More than all that waits on the way can hold.
fn a_slow_reader_loses_nothing(scene: &Scene) {
    let Some(bash) = require_tool("bash") else { return };
    for policy in SANDBOXED {
        let numbers = line(scene, policy, &[], "stty -onlcr; seq 1 150000");
        // A pipe holds 64 KiB; a line at a time is slower than any command.
        let script =
            format!("{numbers} | while read -r line; do echo $line; done | cksum; seq 1 150000 | cksum");
        let run = scene.under(Policy::Bare).command(&bash, ["-c", &script]).run();
        let text = run.text();
        let sums: Vec<_> = text.lines().collect();
        assert!(matches!(sums.as_slice(), [one, other] if one == other), "{}", run.describe());
    }
}

fn it_can_be_captured(scene: &Scene) {
    for policy in SANDBOXED {
        let run = scene
            .under(policy)
            .options(["--json", "--pty"])
            .shell("test -t 1 && echo terminal; read -r word; kill -9 $$")
            .run();
        let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        assert_eq!(report["stdout"]["text"], "terminal\r\n", "{}", run.describe());
        assert_eq!((run.code(), &report["signal"]), (Some(137), &serde_json::json!(9)), "{}", run.describe());
    }
}
