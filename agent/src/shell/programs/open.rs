//! What a command leaves to those who put words in: `xargs`, and `find`.

use std::collections::BTreeSet;

use super::names::Starts;
use super::{MOST_WORDS, Word, has_option, kind, name};

/// Whether the program that a command comes to may be a word that is put in later, or, where more words follow, one of these:
/// those that start others are gone through, with each word that may be the one that they start.
pub(super) fn is_left_open(command: &[Word], put_in: impl Fn(&Word) -> bool, more_follow: bool) -> bool {
    let mut places = BTreeSet::from([0]);
    while let Some(place) = places.pop_first() {
        let rest = command.get(place..).unwrap_or_default();
        // It has come to the end. `xargs` alone starts `echo`.
        let Some((program, after)) = rest.split_first() else { return more_follow && !command.is_empty() };
        if put_in(program) {
            return true;
        }
        match kind(rest) {
            Starts::Words
            | Starts::WordsOrShell
            | Starts::Env
            | Starts::Sudo
            | Starts::Option { .. }
            | Starts::Watch
            | Starts::Xargs => {}
            // What follows may be one more `-exec`.
            Starts::Find if more_follow => return true,
            _ => continue,
        }
        // More than anybody looks through, or a script that comes later.
        let waits =
            matches!(kind(rest), Starts::Option { .. }) && more_follow && after.last().is_some_and(ends_in_c);
        if after.len() >= MOST_WORDS || waits {
            return true;
        }
        let started = may_be_started(name(rest).unwrap_or_default(), after, &put_in);
        places.extend(started.into_iter().map(|offset| place + 1 + offset));
    }
    false
}

/// Which of the words after a program that starts another one may be that one, where nobody knows which options take the next
/// word. The place behind the last of them stands for a word that comes later.
fn may_be_started(program: &str, words: &[Word], put_in: impl Fn(&Word) -> bool) -> Vec<usize> {
    let mut places = Vec::new();
    let (mut own, mut values) = (own_words(program), 0);
    for (place, word) in words.iter().enumerate() {
        let text = word.known().filter(|_| !put_in(word)).unwrap_or_default();
        if text.starts_with('-') {
            // `-`, `--`, `--name=value` and `-n5` have what they take.
            let is_whole = matches!(text, "-" | "--")
                || text.contains('=')
                || text.ends_with(|last: char| last.is_ascii_digit());
            values = if is_whole { 0 } else { values_of_options(program) };
            continue;
        }
        let is_none = text.starts_with(|first: char| first.is_ascii_digit()) || text.contains('=');
        if !is_none {
            places.push(place);
        }
        match (values, own) {
            (1.., _) => values -= 1,
            (0, 1..) => own -= 1,
            (0, 0) if is_none => {}
            // If none before it is, it is the one.
            (0, 0) => return places,
        }
    }
    places.push(words.len());
    places
}

/// Whether a word is an option whose value, a script, comes next.
fn ends_in_c(word: &Word) -> bool {
    word.known().is_some_and(|word| {
        (has_option(word, 'c') && word.ends_with('c')) || (word.starts_with("--c") && !word.contains('='))
    })
}

/// Whether a shell in a command takes a word that is put in as its script.
pub(super) fn is_script(command: &[Word], put_in: impl Fn(&Word) -> bool) -> bool {
    let is_shell = |word: &Word| matches!(kind(std::slice::from_ref(word)), Starts::Shell(_));
    let is_option = |word: &Word| word.known().is_some_and(|word| word.starts_with(['-', '+']));
    let takes_script = |word: &Word| word.known().is_some_and(|word| has_option(word, 'c'));
    let mut after = command.iter().skip_while(|word| !is_shell(word)).skip_while(|word| !takes_script(word));
    after.find(|word| !is_option(word)).is_some_and(put_in)
}

/// How many words of its own a program may have before the command that it starts, besides options: a user, a file, a time.
fn own_words(name: &str) -> usize {
    usize::from(matches!(
        name,
        "chroot"
            | "chrt"
            | "envdir"
            | "faketime"
            | "flock"
            | "gosu"
            | "perf"
            | "repeat"
            | "runcon"
            | "setarch"
            | "setuidgid"
            | "sg"
            | "su-exec"
            | "taskset"
            | "timeout"
    ))
}

/// How many words an option of a program takes at most.
fn values_of_options(name: &str) -> usize {
    if name == "bwrap" { 2 } else { 1 }
}
