//! Commands: no script may crash a reader, both readers agree on what the strict one takes, and what is called harmless holds
//! nothing that means something to a shell outside of quotes.

#![cfg_attr(fuzzing, no_main)]

use codex_agent::approval::{Rules, Trust};
use codex_agent::shell::read::{Dialect, Word, commands};
use codex_agent::shell::{known, plain, programs};
use libfuzzer_sys::fuzz_target;

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fuzz_target!(|script: &str| {
    let found = commands(script, Dialect::Plain);
    drop(commands(script, Dialect::WithTests));
    if let Some(strict) = plain::simple_commands(script) {
        let strict: Vec<Vec<Word>> =
            strict.into_iter().map(|words| words.into_iter().map(Word::Known).collect()).collect();
        assert_eq!(found, Some(strict));
    }
    let command = ["sh", "-c", script].map(str::to_owned);
    let rules = Rules {
        allow: vec![words("a")],
        prompt: vec![words("b c")],
        forbid: vec![words("rm"), words("git push")],
        unsandboxed: vec![words("d e")],
    };
    if known::is_harmless(&command) {
        let (mut quote, mut outside) = (None, String::new());
        for character in script.chars() {
            match (quote, character) {
                (None, '\'' | '"') => quote = Some(character),
                (Some(open), close) if open == close => quote = None,
                (None, other) => outside.push(other),
                (Some('"'), inner) => assert!(!"$`\\".contains(inner), "{script}"),
                (Some(_), _) => {}
            }
        }
        assert!(quote.is_none() && !outside.contains(|sign| "$`<>(){}*?~[]\\!#".contains(sign)), "{script}");
        assert_eq!(rules.forbids(&command), None, "{script}");
        assert_ne!(rules.trust(&command), Trust::None, "{script}");
        assert!(programs::simple_commands(&command).is_some());
    }
    drop((rules.prompts(&command), rules.frees(&command)));
    drop(programs::simple_commands(&words(script)));
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
