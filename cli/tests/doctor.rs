//! `docs/cli.md` says what `codex doctor` takes and prints.

#![expect(clippy::expect_used, reason = "a test reports by failing")]

use std::process::{Command, Output};

use serde_json::Value;

const CLI: &str = include_str!("../../docs/cli.md");
const CAUSES: &str = include_str!("../../linux-sandbox/src/support/cause.rs");

fn doctor(option: &str) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_codex"))
        .args(["doctor", option])
        .env_clear()
        .output()
        .expect("run codex");
    assert!(output.status.code().is_some_and(|code| code < 2), "{output:?}");
    output
}

fn in_backquotes(document: &str, word: &str) -> bool {
    let mut quoted = document.split('`').skip(1).step_by(2);
    quoted.any(|words| words.split([' ', '=']).any(|quoted| quoted == word))
}

#[test]
fn every_option_is_in_the_manual() {
    let help = String::from_utf8(doctor("--help").stdout).expect("help is text");
    let options: Vec<&str> =
        help.split([' ', ',', '\n']).filter(|word| word.starts_with("--") && word.len() > 2).collect();
    assert!(options.len() > 5, "the help text was not understood:\n{help}");
    for option in options {
        assert!(in_backquotes(CLI, option), "docs/cli.md does not describe {option}");
    }
}

#[test]
fn every_field_is_in_the_manual() {
    let (_, rest) = CLI.split_once("<!-- doctor -->\n").expect("the section starts");
    let (table, _) = rest.split_once("<!-- /doctor -->").expect("the section ends");
    let report: Value = serde_json::from_slice(&doctor("--json").stdout).expect("the report is JSON");
    let report = report.as_object().expect("an object");
    let mut fields: Vec<&String> = report.keys().collect();
    let objects = ["kernel", "namespaces", "cgroup", "apparmor", "privileges", "policy"];
    fields.extend(objects.iter().flat_map(|part| report[*part].as_object().expect("an object").keys()));
    for field in fields {
        assert!(in_backquotes(table, field), "docs/cli.md does not describe {field}");
    }
}

#[test]
fn every_cause_is_in_the_manual() {
    let (_, names) = CAUSES.split_once("fn name(").expect("the names start");
    let (names, _) = names.split_once("\n    }\n}").expect("the names end");
    let causes: Vec<&str> = names.split('"').skip(1).step_by(2).collect();
    assert!(causes.len() > 10, "the names were not understood: {causes:?}");
    for cause in causes {
        assert!(in_backquotes(CLI, cause), "docs/cli.md does not name {cause}");
    }
}
