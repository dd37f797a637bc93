//! The documents say what the program does: options, exit codes, the result's fields, the denied calls, the tests named.

#![expect(clippy::expect_used, reason = "a test reports by failing")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use codex_core::exec::{EXIT_CANCELLED, EXIT_TIMED_OUT};
use codex_linux_sandbox::{
    Denial, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_SETUP_FAILED, Isolation, Network, Plan, UnixSockets,
    Writes, denials,
};

const CLI: &str = include_str!("../../docs/cli.md");
const EXEC: &str = include_str!("../../docs/exec.md");
const SPECIFICATION: &str = include_str!("../../docs/specification.md");
const README: &str = include_str!("../../README.md");
const CI: &str = include_str!("../../.ci/run");

fn codex(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_codex"))
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .expect("run codex");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

/// What a document has between `<!-- name -->` and `<!-- /name -->`.
fn section<'d>(document: &'d str, name: &str) -> &'d str {
    let (_, rest) = document.split_once(&format!("<!-- {name} -->\n")).expect("the section starts");
    rest.split_once(&format!("<!-- /{name} -->")).expect("the section ends").0
}

/// The words of a document that stand in backquotes.
fn quoted(document: &str) -> impl Iterator<Item = &str> {
    document.split('`').skip(1).step_by(2)
}

#[test]
fn every_option_is_in_the_manual() {
    let mut options = 0;
    let verbs = [
        &["--help"][..],
        &["sandbox", "--help"],
        &["debug", "policy", "--help"],
        &["debug", "why", "--help"],
        &["exec", "--help"],
        &["exec", "resume", "--help"],
        &["exec-server", "--help"],
        &["debug", "remote", "--help"],
    ];
    for verb in verbs {
        let help = String::from_utf8(codex(verb).stdout).expect("help is text");
        for line in help.lines().filter(|line| line.trim_start().starts_with('-')) {
            for option in line.split([' ', ',']).filter(|word| word.starts_with("--") && word.len() > 2) {
                let described = quoted(CLI)
                    .chain(quoted(EXEC))
                    .any(|words| words.split([' ', '=']).any(|word| word == option));
                assert!(described, "docs/cli.md does not describe {option} of {verb:?}");
                options += 1;
            }
        }
    }
    assert!(options > 10, "the help text was not understood");
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    let table: Vec<&str> = section(CLI, "exit codes")
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"))
        .map(|(code, _)| code)
        .filter(|code| code.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    let fixed = [EXIT_TIMED_OUT, EXIT_SETUP_FAILED, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_CANCELLED]
        .map(|code| code.to_string());
    let mut expected = vec!["1", "2"];
    expected.extend(fixed[..4].iter().map(String::as_str));
    expected.extend(["128+n", &fixed[4]]);
    assert_eq!(table, expected);
}

#[test]
fn every_field_of_the_result_is_in_the_manual() {
    let output = codex(&["sandbox", "-s", "danger-full-access", "--json", "--", "true"]);
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the result is JSON");
    let manual = section(CLI, "result");
    let mut fields: Vec<&String> = result.as_object().expect("an object").keys().collect();
    for part in ["stdout", "enforcement", "rusage"] {
        fields.extend(result[part].as_object().expect("an object").keys());
    }
    for field in fields {
        assert!(quoted(manual).any(|word| word == field), "docs/cli.md does not describe {field}");
    }
}

/// A table of denials, a line a reason. Nothing for none.
fn table(title: &str, denials: &[&Denial]) -> String {
    let mut rows: Vec<(&Denial, Vec<&str>)> = Vec::new();
    for denial in denials {
        let same =
            |(first, _): &&mut (&Denial, _)| (first.reason, first.answer) == (denial.reason, denial.answer);
        match rows.iter_mut().find(same) {
            Some((_, names)) if names.contains(&denial.name) => {}
            Some((_, names)) => names.push(denial.name),
            None => rows.push((denial, vec![denial.name])),
        }
    }
    let mut text = String::new();
    if !rows.is_empty() {
        write!(text, "\n**{title}**\n\n| call | answer | because |\n|---|---|---|\n")
            .expect("a String takes text");
    }
    for (denial, names) in rows {
        let (names, answer) = (names.join("`, `"), denial.answer.errno());
        writeln!(text, "| `{names}` | `{answer:?}` | {} |", denial.reason).expect("a String takes text");
    }
    text
}

/// The denials as the specification shows them: a table a promise, a line a reason.
fn tables() -> String {
    let with = |isolation, network, unix_sockets| {
        denials(&Plan::new(isolation, Writes::Beneath(Vec::new()), network), unix_sockets)
    };
    // Inside namespaces of its own, a command has unix sockets where something watches over them.
    let of = |isolation, network| match network {
        Network::Off => with(isolation, network, UnixSockets::Landlock),
        Network::Full => with(isolation, network, UnixSockets::Refused),
    };
    let all = [Isolation::Landlock, Isolation::Namespaces]
        .map(|isolation| [Network::Off, Network::Full].map(|network| of(isolation, network)));
    let mut distinct: Vec<&Denial> = Vec::new();
    for denial in all.iter().flatten().flatten() {
        if !distinct.contains(&denial) {
            distinct.push(denial);
        }
    }
    // Where a denial holds: at level landlock with the network off and on, at level namespaces the same.
    let held =
        |denial: &Denial| all.each_ref().map(|level| level.each_ref().map(|table| table.contains(denial)));
    let titles = [
        ([[true, true], [true, true]], ""),
        ([[true, false], [true, false]], ", network off"),
        ([[false, true], [false, true]], ", network on"),
        ([[true, true], [false, false]], ", level landlock"),
        ([[true, false], [false, false]], ", level landlock, network off"),
        ([[false, true], [false, false]], ", level landlock, network on"),
        ([[false, false], [true, true]], ", level namespaces"),
        ([[false, false], [true, false]], ", level namespaces, network off"),
        ([[false, false], [false, true]], ", level namespaces, network on"),
        ([[true, true], [false, true]], ", but for level namespaces with the network off"),
        ([[false, true], [true, true]], ", but for level landlock with the network off"),
    ];
    assert!(distinct.iter().all(|denial| titles.iter().any(|(where_held, _)| *where_held == held(denial))));
    let mut text = String::new();
    for promise in ["P1", "P2", "P3", "P6"] {
        for (where_held, title) in titles {
            let denials: Vec<&Denial> =
                distinct.iter().copied().filter(|denial| held(denial) == where_held).collect();
            let denials: Vec<_> = denials.into_iter().filter(|denial| denial.promise == promise).collect();
            text.push_str(&table(&format!("{promise}{title}"), &denials));
        }
    }
    let elsewhere = with(Isolation::Namespaces, Network::Off, UnixSockets::Refused);
    let more: Vec<_> = elsewhere.iter().filter(|denial| !distinct.contains(denial)).collect();
    text.push_str(&table(
        "P2, level namespaces, network off, where nothing watches over unix sockets",
        &more,
    ));
    text
}

#[test]
fn every_denied_call_is_in_the_specification() {
    let written = section(SPECIFICATION, "denials");
    // The tables show x86-64, which has every call of aarch64 and some of its own.
    if cfg!(target_arch = "x86_64") {
        let expected = tables();
        assert!(written.trim() == expected.trim(), "docs/specification.md should have:\n{expected}");
    }
    for isolation in [Isolation::Landlock, Isolation::Namespaces] {
        for network in [Network::Off, Network::Full] {
            for denial in
                denials(&Plan::new(isolation, Writes::Beneath(Vec::new()), network), UnixSockets::Refused)
            {
                let named = quoted(written).any(|word| word == denial.name);
                assert!(
                    named && written.contains(denial.reason),
                    "docs/specification.md lacks {}",
                    denial.name
                );
            }
        }
    }
}

#[test]
fn every_test_that_the_specification_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut named = [0, 0];
    for (suite, case) in quoted(SPECIFICATION).filter_map(|words| words.rsplit_once("::")) {
        let file = format!("{}.rs", suite.replace("::", "/"));
        let directories = ["tests/tests", "linux-sandbox/tests"];
        let texts = directories.map(|directory| std::fs::read_to_string(root.join(directory).join(&file)));
        let found = texts
            .iter()
            .position(|text| text.as_ref().is_ok_and(|text| text.contains(&format!("fn {case}("))))
            .unwrap_or_else(|| panic!("no {file} in {directories:?} has a test {case}"));
        named[found] += 1;
    }
    assert!(named.iter().all(|count| *count > 10), "the specification was not understood: {named:?}");
}

#[test]
fn the_readme_tests_as_the_checks_do() {
    let line = "cargo test --workspace --no-fail-fast";
    assert!(README.lines().any(|shown| shown == line), "README.md does not show `{line}`");
    assert!(CI.lines().any(|run| run == line), ".ci/run does not run `{line}`");
}
