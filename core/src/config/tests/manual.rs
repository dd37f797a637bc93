//! The examples of the manual, run.

use super::Fixture;
use crate::config::schema::{Key, Node, PROVIDER, ROOT};
use crate::policy::NAMES;

const MANUAL: &str = include_str!("../../../../docs/configuration.md");

/// A block of TOML, and the block of text after it, if that comes next.
fn examples() -> Vec<(String, Option<String>)> {
    let mut examples: Vec<(String, Option<String>)> = Vec::new();
    let mut block: Option<(String, String)> = None;
    for line in MANUAL.lines() {
        match (line.strip_prefix("```"), block.take()) {
            (Some(language), None) => block = Some((language.to_owned(), String::new())),
            (Some(_), Some((language, text))) => match (language.as_str(), examples.last_mut()) {
                ("toml", _) => examples.push((text, None)),
                ("text", Some((_, answer))) => *answer = Some(text),
                _ => {}
            },
            (None, Some((language, text))) => block = Some((language, format!("{text}{line}\n"))),
            (None, None) => {}
        }
    }
    examples
}

#[test]
fn the_examples_of_the_manual_are_answered_as_it_says() {
    let examples = examples();
    assert!(examples.len() > 4, "{examples:?}");
    for (text, answer) in examples {
        let fixture = Fixture::user(&text);
        let home = format!("{}/", fixture.home().display());
        let told = fixture
            .load()
            .err()
            .map(|error| format!("{}\n", error.to_string().replace(&home, "/home/me/.codex/")));
        assert_eq!(told, answer, "{text}");
    }
}

#[test]
fn the_manual_knows_every_key() {
    knows(&ROOT, "");
}

fn knows(keys: &[Key], path: &str) {
    for key in keys {
        match key.node {
            Node::Table(inner) => knows(inner, &format!("{path}{}.", key.name)),
            Node::Providers => {
                for inner in &PROVIDER {
                    let row = format!("| `model_providers.NAME.{}` |", inner.name);
                    assert!(MANUAL.contains(&row), "{row}");
                }
            }
            Node::Profiles => assert!(MANUAL.contains("| `profiles.NAME` |")),
            Node::Setting(_) | Node::Variables | Node::ProfileName | Node::Provider(_) => {
                let row = format!("| `{path}{}` |", key.name);
                assert!(MANUAL.contains(&row), "{row}");
            }
        }
    }
}

#[test]
fn the_manual_lists_every_protected_name() {
    for name in NAMES {
        let row = format!("| `{}` | {} |", name.path, name.why);
        assert!(MANUAL.contains(&row), "{row}");
    }
}
