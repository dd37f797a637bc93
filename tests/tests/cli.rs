//! The command line as a person types it: options, exit codes, what is printed, and what is not.

#![expect(clippy::expect_used, reason = "a suite reports by failing")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;

use codex_tests::harness::{Failures, Policy, Run, Scene, require_tool};
use codex_tests::{cases, cases_by_level};

cases!(
    every_spelling_runs_the_command,
    exit_codes_are_the_command_s,
    commands_that_cannot_run,
    usage_errors_exit_with_2,
    configuration_errors_name_the_place,
    the_mode_comes_from_where_it_should,
    full_auto_is_workspace_write,
    nothing_is_added_to_a_success,
    the_result_as_json_when_it_cannot_run,
    output_beyond_the_limit_is_counted,
    a_broken_pipe_is_quiet,
    help_and_version,
    completions,
    the_policy_is_told,
    a_deadline_is_told_where_stderr_takes_nothing,
);

cases_by_level!(refused_policies_exit_with_125, the_result_as_json, a_printed_plan_does_the_same,);

/// Reads the one JSON value on stdout.
fn json(run: &Run) -> serde_json::Value {
    serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|error| run.fail(&format!("no JSON on stdout: {error}")))
}

fn every_spelling_runs_the_command(scene: &Scene) {
    let spellings: [&[&str]; 6] = [
        &["debug", "sandbox", "--"],
        &["sandbox", "--"],
        &["debug", "landlock", "--"],
        &["sandbox", "-s", "read-only", "--"],
        &["sandbox", "--sandbox", "workspace-write", "--"],
        &["sandbox", "--sandbox=danger-full-access", "--"],
    ];
    for spelling in spellings {
        let run = scene.codex(spelling.iter().chain(&["echo", "it ran"])).run().expect_code(0);
        assert_eq!(run.text(), "it ran\n", "{}", run.describe());
    }
    // Options of the command are the command's.
    let run = scene.codex(["sandbox", "--", "echo", "-s", "--json", "--"]).run().expect_code(0);
    assert_eq!(run.text(), "-s --json --\n");
}

fn exit_codes_are_the_command_s(scene: &Scene) {
    for code in [0, 1, 2, 42, 124, 125, 126, 127, 128, 130, 255] {
        let script = format!("exit {code}");
        for options in [&["sandbox"][..], &["sandbox", "--json"]] {
            let words = options.iter().copied().chain(["--", "sh", "-c", &script]);
            scene.codex(words).run().expect_code(code);
        }
    }
}

fn commands_that_cannot_run(scene: &Scene) {
    let mut failures = Failures::new();
    scene.file_with_mode("workspace/no-program", "text\n", 0o644);
    scene.file_with_mode("workspace/no-interpreter", "#!/nonexistent/interpreter\n", 0o755);
    scene.directory("workspace/directory");
    let rows = [
        ("nonexistent-command-of-a-test", 127),
        ("/nonexistent/command", 127),
        ("./nonexistent", 127),
        ("./no-interpreter", 126),
        ("./no-program", 126),
        ("./no-program/below", 126),
        ("./directory", 126),
    ];
    for (program, code) in rows {
        for policy in [Policy::ReadOnly, Policy::WorkspaceWrite, Policy::DangerFullAccess] {
            let run = scene.under(policy).command(program, [""; 0]).run();
            failures.check(run.code() == Some(code), || {
                format!("{program:?}: expected {code}\n{}", run.describe())
            });
            let lines = run.error_text().lines().count();
            failures.check(lines == 1 && run.error_text().contains(program), || {
                format!("{program:?}: one line that names it was expected\n{}", run.describe())
            });
        }
    }
    failures.finish();
}

fn usage_errors_exit_with_2(scene: &Scene) {
    let mut failures = Failures::new();
    let rows: [&[&str]; 13] = [
        &["sandbox"],
        &["sandbox", "--"],
        &["sandbox", "--", ""],
        &["sandbox", "--no-such-option", "--", "true"],
        &["sandbox", "-s", "no-such-mode", "--", "true"],
        &["sandbox", "--timeout", "soon", "--", "true"],
        &["sandbox", "--timeout", "5", "--", "true"],
        &["sandbox", "--timeout", "-1s", "--", "true"],
        &["sandbox", "-c", "no-equals-sign", "--", "true"],
        &["sandbox", "-c", "sandbox_mode=no-such-mode", "--", "true"],
        &["sandbox", "-c", "no_such_key=1", "--", "true"],
        &["sandbox", "-p", "no-such-profile", "--", "true"],
        &["no-such-command"],
    ];
    for words in rows {
        let run = scene.codex(words).run();
        failures.check(run.code() == Some(2), || format!("{words:?}: expected 2\n{}", run.describe()));
        failures.check(run.stdout.is_empty() && !run.stderr.is_empty(), || {
            format!("{words:?}: a message on stderr was expected, and nothing else\n{}", run.describe())
        });
    }
    failures.finish();
}

fn configuration_errors_name_the_place(scene: &Scene) {
    let mut failures = Failures::new();
    let rows = [
        ("sandbox_mod = \"read-only\"\n", "config.toml:1:1", "sandbox_mode"),
        ("\n  sandbox_mode = 7\n", "config.toml:2:", "sandbox_mode"),
        ("sandbox_mode = \"read-onyl\"\n", "config.toml:1:", "read-only"),
        ("[sandbox_workspace_write]\nwritable_root = []\n", "config.toml:2:1", "writable_roots"),
        ("[sandbox_workspace_write]\nwritable_roots = [\"relative\"]\n", "config.toml:2:", "relative"),
        ("sandbox_mode = \n", "config.toml:1:", ""),
        ("[shell_environment_policy]\ninherit = \"everything\"\n", "config.toml:2:", "all"),
    ];
    for (content, place, hint) in rows {
        scene.file("codex-home/config.toml", content);
        let run = scene.codex(["sandbox", "--", "true"]).run();
        failures.check(run.code() == Some(2), || format!("{content:?}: expected 2\n{}", run.describe()));
        for expected in [place, hint] {
            failures.check(run.error_text().contains(expected), || {
                format!("{content:?}: the message should hold {expected:?}\n{}", run.describe())
            });
        }
    }
    failures.finish();
}

/// Flags go before `-c`, `-c` before the profile, the profile before the file, the file before the default.
fn the_mode_comes_from_where_it_should(scene: &Scene) {
    let write = ["sh", "-c", "echo written > file && rm file"];
    let allowed = |options: &[&str]| {
        let run = scene.codex(["sandbox"].iter().chain(options).chain(&["--"]).chain(&write)).run();
        run.code() == Some(0)
    };
    assert!(!allowed(&[]), "with no setting anywhere, nothing is writable");

    scene.file(
        "codex-home/config.toml",
        "sandbox_mode = \"workspace-write\"\n[profiles.careful]\nsandbox_mode = \"read-only\"\n",
    );
    assert!(allowed(&[]), "the file");
    assert!(!allowed(&["-p", "careful"]), "the profile goes before the file");
    assert!(allowed(&["-p", "careful", "-c", "sandbox_mode=workspace-write"]), "-c goes before the profile");
    assert!(allowed(&["-c", "sandbox_mode=\"workspace-write\""]), "a TOML string is one as well");
    assert!(!allowed(&["-c", "sandbox_mode=workspace-write", "-s", "read-only"]), "a flag goes before -c");
}

fn full_auto_is_workspace_write(scene: &Scene) {
    scene.codex(["sandbox", "--full-auto", "--", "sh", "-c", "echo written > file"]).run().expect_code(0);
    assert!(scene.workspace().join("file").exists());
}

fn refused_policies_exit_with_125(scene: &Scene) {
    let mut failures = Failures::new();
    let home = scene.path("codex-home");
    let home = home.to_string_lossy();
    let (missing, file) = (scene.workspace().join("missing"), scene.file("workspace/file", ""));
    let rows = [
        "/".to_owned(),
        "/proc".to_owned(),
        "/sys".to_owned(),
        "/dev".to_owned(),
        missing.to_string_lossy().into_owned(),
        file.to_string_lossy().into_owned(),
        // At this level a directory within a root can't be taken out of it again.
        home.into_owned(),
        scene.root().to_string_lossy().into_owned(),
    ];
    for root in rows {
        let sandbox = scene.under(Policy::WorkspaceWrite).options(["--add-dir", &root]);
        let run = sandbox.shell("echo it ran").run();
        failures.check(run.code() == Some(125) && run.stdout.is_empty(), || {
            format!("{root}: nothing may run, expected 125\n{}", run.describe())
        });
        failures.check(run.error_text().contains(&root), || {
            format!("{root} should be named\n{}", run.describe())
        });
    }
    let run = scene
        .under(Policy::WorkspaceWrite)
        .options(["-c", "sandbox.require=[\"metadata\"]"])
        .shell("echo it ran")
        .run();
    let (code, output) = scene.level().choose((125, ""), (0, "it ran\n"));
    failures.check(run.code() == Some(code) && run.text() == output, || {
        format!("a promise that not every level can keep: expected {code}\n{}", run.describe())
    });
    failures.finish();
}

fn nothing_is_added_to_a_success(scene: &Scene) {
    for policy in
        [Policy::ReadOnly, Policy::WorkspaceWrite, Policy::ExternalSandbox, Policy::DangerFullAccess]
    {
        for script in ["true", "exit 3", "kill -9 $$"] {
            let run = scene.under(policy).shell(script).run();
            assert!(run.stdout.is_empty() && run.stderr.is_empty(), "{}", run.describe());
        }
    }
    let left: Vec<_> = fs::read_dir(scene.workspace()).expect("list the workspace").collect();
    assert!(left.is_empty(), "something was left in the workspace: {left:?}");
}

fn the_result_as_json(scene: &Scene) {
    let script = "printf out; printf err >&2; exit 4";
    let run = scene.under(Policy::WorkspaceWrite).options(["--json"]).shell(script).run().expect_code(4);
    let report = json(&run);
    assert!(run.stderr.is_empty(), "{}", run.describe());
    assert_eq!(report["outcome"], "exited", "{report}");
    assert_eq!(report["exit_code"], 4, "{report}");
    assert!(report["signal"].is_null(), "{report}");
    assert_eq!(report["timed_out"], false, "{report}");
    assert!(report["duration_ms"].is_number(), "{report}");
    for (stream, text) in [("stdout", "out"), ("stderr", "err")] {
        assert_eq!(report[stream]["text"], text, "{report}");
        assert_eq!(report[stream]["bytes_total"], 3, "{report}");
        assert_eq!(report[stream]["bytes_omitted"], 0, "{report}");
        assert_eq!(report[stream]["lossy_utf8"], false, "{report}");
        for field in ["lines_total", "spill_path"] {
            assert!(report[stream].get(field).is_some(), "{stream}.{field} is not there: {report}");
        }
    }
    assert_eq!(report["output"]["bytes_total"], 6, "{report}");
    assert_eq!(report["enforcement"]["level"], scene.level().name(), "{report}");
    assert!(
        report["enforcement"]["promises"].as_array().is_some_and(|promises| !promises.is_empty()),
        "{report}"
    );
    assert!(report["denials"].is_array(), "{report}");

    let run =
        scene.under(Policy::WorkspaceWrite).options(["--json"]).shell("kill -TERM $$").run().expect_code(143);
    let report = json(&run);
    assert_eq!(report["outcome"], "signalled", "{report}");
    assert!(report["exit_code"].is_null() && !report["signal"].is_null(), "{report}");

    let bytes = ["-c", "printf '\\377\\376ok'"];
    let run =
        scene.under(Policy::WorkspaceWrite).options(["--json"]).command("sh", bytes).run().expect_code(0);
    let report = json(&run);
    assert_eq!(report["stdout"]["lossy_utf8"], true, "{report}");
    assert_eq!(report["stdout"]["bytes_total"], 4, "{report}");
}

fn the_result_as_json_when_it_cannot_run(scene: &Scene) {
    let run =
        scene.codex(["sandbox", "--json", "--", "nonexistent-command-of-a-test"]).run().expect_code(127);
    let report = json(&run);
    assert!(report["exit_code"].is_null(), "nothing exited: {report}");
    assert_ne!(report["outcome"], "exited", "{report}");
}

fn output_beyond_the_limit_is_counted(scene: &Scene) {
    const COUNT: usize = 64 * 100_000;
    let arguments = ["fill".to_owned(), COUNT.to_string()];
    let run = scene.under(Policy::WorkspaceWrite).options(["--json"]).probe(arguments).run().expect_code(0);
    let report = json(&run);
    assert_eq!(report["stdout"]["bytes_total"], COUNT, "{}", report["stdout"]["bytes_total"]);
    assert_eq!(report["stdout"]["lines_total"], COUNT / 64);
    let omitted = report["stdout"]["bytes_omitted"].as_u64().unwrap_or_default();
    assert!(omitted > 0, "the output is longer than the limit");
    assert!(report["stdout"]["text"].as_str().is_some_and(|text| text.len() < 1_000_000));
}

/// Pasted into a shell, the printed line does what the run would have done.
fn a_printed_plan_does_the_same(scene: &Scene) {
    // As an installation has it: the helper's name on the path.
    scene.symlink(scene.codex_program(), "home/codex-linux-sandbox");
    let paste = |line: &str| {
        let script = format!("PATH=\"$HOME:$PATH\"\n{line}");
        scene.under(Policy::Bare).shell(&script).run()
    };
    let outside = scene.outside().join("new file");
    let script = format!("echo within > within; echo outside > '{}'", outside.display());
    let sandbox = || scene.under(Policy::WorkspaceWrite).options(["--print-plan"]);
    let printed = sandbox().shell(&script).run().expect_code(0);
    assert!(!scene.workspace().join("within").exists(), "printing runs nothing");
    let line = printed.text();
    assert_eq!(line.lines().count(), 1, "{}", printed.describe());

    let run = paste(&line);
    assert!(scene.workspace().join("within").exists(), "{}", run.describe());
    let refusal = scene.level().choose("Permission denied", "Read-only file system");
    assert!(run.error_text().contains(refusal) && !outside.exists(), "{}", run.describe());

    let printed = |words: &[OsString]| {
        let words = [OsString::from("argv")].into_iter().chain(words.iter().cloned());
        let direct = scene.under(Policy::WorkspaceWrite).probe(words.clone()).run();
        (sandbox().probe(words).run().expect_code(0).text(), direct.text())
    };
    let plain = ["a b", "it's", "\"$HOME\"", "", "*", "\\", "-s", "`x`", "Grüße", "!"].map(OsString::from);
    let (line, direct) = printed(&plain);
    let pasted = paste(&line);
    assert_eq!(pasted.text(), direct, "{}", pasted.describe());

    // What a terminal doesn't show takes a form that older shells lack.
    let Some(bash) = require_tool("bash") else { return };
    let unseen =
        [b"line\nbreak".to_vec(), b"\xff\xfe".to_vec(), b"\x01'1\\".to_vec()].map(OsString::from_vec);
    let (line, direct) = printed(&unseen);
    let pasted =
        scene.under(Policy::Bare).command(bash, ["-c", &format!("PATH=\"$HOME:$PATH\"\n{line}")]).run();
    assert_eq!(pasted.text(), direct, "{}", pasted.describe());
}

fn a_broken_pipe_is_quiet(scene: &Scene) {
    let codex = scene.codex_program();
    let codex = codex.display();
    for command in
        ["--help", "debug policy", "debug policy --json", "sandbox --json -- echo x", "completion bash"]
    {
        let script = format!("{{ '{codex}' {command}; echo \"ended: $?\" >&2; }} | true");
        let run = scene.under(Policy::Bare).shell(&script).run();
        let told = run.error_text();
        assert!(!told.contains("panic") && told.lines().count() == 1, "{command}: {}", run.describe());
    }
}

fn help_and_version(scene: &Scene) {
    for words in [
        &["--help"][..],
        &["sandbox", "--help"],
        &["debug", "sandbox", "--help"],
        &["debug", "policy", "--help"],
    ] {
        let run = scene.codex(words).run().expect_code(0);
        assert!(run.text().contains("Usage") && run.stderr.is_empty(), "{}", run.describe());
    }
    let help = scene.codex(["debug", "sandbox", "--help"]).run().text();
    for option in
        ["--sandbox", "--full-auto", "--cd", "--add-dir", "--network", "--timeout", "--json", "--print-plan"]
    {
        assert!(help.contains(option), "{option} is not in the help:\n{help}");
    }
    let version = scene.codex(["--version"]).run().expect_code(0);
    assert!(version.text().starts_with("codex"), "{}", version.describe());
}

fn completions(scene: &Scene) {
    for shell in ["bash", "zsh", "fish"] {
        let run = scene.codex(["completion", shell]).run().expect_code(0);
        assert!(run.text().contains("sandbox"), "{}", run.describe());
    }
}

fn the_policy_is_told(scene: &Scene) {
    scene.file("codex-home/config.toml", "sandbox_mode = \"workspace-write\"\n");
    let run = scene.codex(["debug", "policy"]).run().expect_code(0);
    for word in ["workspace-write", "config.toml", &scene.workspace().to_string_lossy(), "P1"] {
        assert!(run.text().contains(word), "{word} is not told\n{}", run.describe());
    }
    let run = scene.codex(["debug", "policy", "--json"]).run().expect_code(0);
    assert!(json(&run).is_object(), "{}", run.describe());
}

fn a_deadline_is_told_where_stderr_takes_nothing(scene: &Scene) {
    let line =
        scene.under(Policy::ReadOnly).options(["--timeout", "200ms"]).command("sleep", ["300"]).shell_line();
    for stream in ["2> /dev/full", "2>&-"] {
        scene.under(Policy::Bare).shell(&format!("{line} {stream}")).run().expect_code(124);
    }
}
