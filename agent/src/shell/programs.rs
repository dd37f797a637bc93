//! What an argument list runs: the commands of `sh -c`, and those that a program starts with the words after its own.

use super::read::{Simple, Word, commands};
use super::{SHELLS, base};

/// Programs that start another one, named by the words after them.
const WRAPPERS: [&str; 26] = [
    "builtin",
    "busybox",
    "catchsegv",
    "chroot",
    "chrt",
    "command",
    "doas",
    "env",
    "eval",
    "exec",
    "find",
    "flock",
    "ionice",
    "nice",
    "nohup",
    "parallel",
    "setsid",
    "stdbuf",
    "strace",
    "sudo",
    "taskset",
    "time",
    "timeout",
    "unshare",
    "watch",
    "xargs",
];
/// How deep commands may name others.
const DEEPEST: usize = 8;

/// The simple commands that an argument list runs, as far as anybody sees: itself first, then those of a script or of a
/// program that starts others. `None` where it runs something that is not understood.
#[must_use]
pub fn simple_commands(command: &[String]) -> Option<Vec<Simple>> {
    let mut found = Vec::new();
    add(command.iter().map(|word| Word::Known(word.clone())).collect(), 0, &mut found)?;
    Some(found)
}

fn add(command: Simple, depth: usize, found: &mut Vec<Simple>) -> Option<()> {
    if depth > DEEPEST {
        return None;
    }
    // A name that nobody knows may be that of a shell.
    let name = command.first().and_then(Word::known).map(base).map(str::to_owned);
    if let Some(name) = name.as_deref() {
        if SHELLS.contains(&name) {
            scripts(&command, depth, found)?;
        } else if name == "eval" {
            let words: Option<Vec<&str>> = command.iter().skip(1).map(Word::known).collect();
            script(&words?.join(" "), depth, found)?;
        } else if WRAPPERS.contains(&name) {
            // Which of the words is the program depends on the options before it: each of them may be.
            for start in 1..command.len() {
                let rest = command.get(start..).unwrap_or_default();
                let starts_others = rest.first().is_some_and(|word| match word.known().map(base) {
                    Some(name) => SHELLS.contains(&name) || name == "eval",
                    None => false,
                });
                if starts_others {
                    add(rest.to_vec(), depth + 1, found)?;
                } else {
                    found.push(rest.to_vec());
                }
            }
        }
    }
    found.push(command);
    Some(())
}

/// The scripts among a shell's arguments: where an option holds `c`, each word after it may be the one.
fn scripts(command: &Simple, depth: usize, found: &mut Vec<Simple>) -> Option<()> {
    let mut words = command.iter().skip(1);
    let mut reads_input = true;
    while let Some(word) = words.next() {
        let word = word.known()?;
        let option = word.strip_prefix(['-', '+']);
        match option {
            Some(letters) if !letters.starts_with('-') && letters.contains('c') => {
                for text in words.by_ref() {
                    script(text.known()?, depth, found)?;
                }
                return Some(());
            }
            Some(letters) if letters.contains('s') && !letters.starts_with('-') => return None,
            Some(_) => {}
            // The value of an option, or a file of commands: a program like any other.
            None => reads_input = false,
        }
    }
    // What a shell reads from its input, nobody sees.
    (!reads_input).then_some(())
}

fn script(text: &str, depth: usize, found: &mut Vec<Simple>) -> Option<()> {
    for command in commands(text)? {
        add(command, depth + 1, found)?;
    }
    Some(())
}
