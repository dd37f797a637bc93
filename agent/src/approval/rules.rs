//! `[approvals]`: what the user has said about commands, by their first words.
//!
//! Of several rules the strictest counts, over every simple command of a pipeline, a list or a script. Rules decide whether
//! a call runs and whether somebody is asked, and never what a command may do: that is the sandbox's matter, and a program
//! can start any other. `unsandboxed` is no exception: it answers a request in the user's place.

use codex_linux_sandbox::shown;

use crate::shell::known::{self, all_surely};
use crate::shell::read::{Simple, Word};
use crate::shell::{base, is_the_systems, programs};

/// What the user has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// What runs without a question.
    pub allow: Vec<Vec<String>>,
    /// What is asked about.
    pub prompt: Vec<Vec<String>>,
    /// What does not run.
    pub forbid: Vec<Vec<String>>,
    /// What may run without a sandbox.
    pub unsandboxed: Vec<Vec<String>>,
}

impl Rules {
    /// Says why a command does not run at all.
    #[must_use]
    pub fn forbids(&self, command: &[String]) -> Option<String> {
        match found(command, &self.forbid)? {
            Found::Rule(rule) => Some(format!("the user forbids commands that begin with `{rule}` (approvals.forbid)")),
            Found::Unclear => Some(
                "the user forbids some commands (approvals.forbid), and nobody can say what this script runs: write the names of \
                 programs, and what comes right after them, in plain words"
                    .to_owned(),
            ),
        }
    }

    /// Says why a command is asked about.
    #[must_use]
    pub fn prompts(&self, command: &[String]) -> Option<String> {
        match found(command, &self.prompt)? {
            Found::Rule(rule) => Some(format!("approvals.prompt names `{rule}`")),
            Found::Unclear => Some(
                "approvals.prompt names some commands, and nobody can say what this script runs".to_owned(),
            ),
        }
    }

    /// Whether a command needs no question under `untrusted`: each simple command of it is allowed, or known to be harmless.
    #[must_use]
    pub fn trust(&self, command: &[String]) -> Trust {
        let mut asks_git = false;
        let trusted = all_surely(command, |words| {
            let named = begins_with_one_of(words, &self.allow);
            asks_git |= !named && known::asks_git(words);
            named || known::reads_only(words)
        });
        match (trusted, asks_git) {
            (false, _) => Trust::None,
            (true, true) => Trust::OfGit,
            (true, false) => Trust::Whole,
        }
    }

    /// Whether a command may run without a sandbox: each simple command of it.
    #[must_use]
    pub fn frees(&self, command: &[String]) -> bool {
        all_surely(command, |words| begins_with_one_of(words, &self.unsandboxed))
    }
}

/// Whether a command needs a question where all do that are not known to be harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It does.
    None,
    /// It needs none for want of harm in it, and `git` is what does none: that holds for a repository whose configuration is the
    /// user's.
    OfGit,
    /// It needs none.
    Whole,
}

/// What was found.
enum Found {
    Rule(String),
    /// Something that may be anything.
    Unclear,
}

/// Looks for a rule that a command may fall under.
fn found(command: &[String], rules: &[Vec<String>]) -> Option<Found> {
    if rules.is_empty() {
        return None;
    }
    let Some(commands) = programs::simple_commands(command) else { return Some(Found::Unclear) };
    let mut unclear = false;
    for command in &commands {
        for rule in rules {
            match begins(command, rule) {
                Some(true) => return Some(Found::Rule(shown(rule.join(" ")))),
                Some(false) => {}
                None => unclear = true,
            }
        }
    }
    unclear.then_some(Found::Unclear)
}

/// Whether a command begins with the words of a rule. Nothing where that can't be said.
fn begins(command: &Simple, rule: &[String]) -> Option<bool> {
    for (place, wanted) in rule.iter().enumerate() {
        match command.get(place) {
            Some(Word::Unknown) => return None,
            // Wherever the program lies, and however the rule names it, it is the same one.
            Some(Word::Known(word)) if word == wanted || (place == 0 && base(word) == base(wanted)) => {}
            Some(Word::Known(_)) | None => return Some(false),
        }
    }
    Some(true)
}

/// Whether words begin with those of a rule, and the program is the one that the user means by its name.
fn begins_with_one_of(words: &[String], rules: &[Vec<String>]) -> bool {
    let Some((program, rest)) = words.split_first() else { return false };
    rules.iter().any(|rule| {
        let Some((wanted, wanted_rest)) = rule.split_first() else { return false };
        let same_program = program == wanted || (is_the_systems(program) && base(program) == wanted);
        same_program && rest.starts_with(wanted_rest)
    })
}

#[cfg(test)]
mod tests;
