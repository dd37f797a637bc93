//! A shell script, read as far as nobody can read it otherwise: plain words, quoted or not, in commands that are joined by
//! `&&`, `||`, `;`, `|` and line ends.
//!
//! Whatever is more than that (expansions, substitutions, redirections to or from files, groups, loops, functions) is not read at all.

/// What a command's words may hold besides letters and digits, outside of quotes. Neither `~`, which is expanded, nor globs.
const PLAIN: &str = "-_./:,@%+=^";
/// Words that begin something that is no simple command.
const RESERVED: [&str; 18] = [
    "!", "[[", "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "foreach", "function",
    "if", "select", "then", "until", "while",
];

/// The simple commands of a script, each with its words. Nothing where it holds more than these.
#[must_use]
pub fn simple_commands(script: &str) -> Option<Vec<Vec<String>>> {
    let mut commands = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut characters = script.chars().peekable();
    while let Some(&character) = characters.peek() {
        match character {
            ' ' | '\t' => {
                characters.next();
            }
            '\n' | ';' | '|' | '&' => {
                characters.next();
                let doubled = matches!(character, '|' | '&') && characters.next_if_eq(&character).is_some();
                // A job in the background, `;;`, `|&`: not what is read here. Nor is a join with nothing before it.
                if (character == '&' && !doubled) || matches!(characters.peek(), Some(';' | '|' | '&')) {
                    return None;
                }
                if words.is_empty() && character != '\n' {
                    return None;
                }
                end(&mut commands, &mut words)?;
            }
            _ => words.push(word(&mut characters)?),
        }
    }
    end(&mut commands, &mut words)?;
    Some(commands)
}

/// Takes a command that is whole.
fn end(commands: &mut Vec<Vec<String>>, words: &mut Vec<String>) -> Option<()> {
    if let Some(first) = words.first() {
        // An assignment before a command, or alone, may change what the words after it mean.
        if RESERVED.contains(&first.as_str()) || first.contains('=') {
            return None;
        }
        commands.push(std::mem::take(words));
    }
    Some(())
}

fn word(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let mut word = String::new();
    while let Some(&character) = characters.peek() {
        match character {
            ' ' | '\t' | '\n' | ';' | '|' | '&' => break,
            '\'' => {
                characters.next();
                loop {
                    match characters.next()? {
                        '\'' => break,
                        inner => word.push(inner),
                    }
                }
            }
            '"' => {
                characters.next();
                loop {
                    match characters.next()? {
                        '"' => break,
                        '$' | '`' | '\\' | '!' => return None,
                        inner => word.push(inner),
                    }
                }
            }
            // A sign before the name of a program is its path, to some.
            '=' if word.is_empty() => return None,
            plain if plain.is_alphanumeric() || PLAIN.contains(plain) => {
                characters.next();
                word.push(plain);
            }
            _ => return None,
        }
    }
    Some(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::simple_commands;

    #[test]
    fn plain_commands_are_read_as_a_shell_reads_them() {
        let read = |script: &str| {
            simple_commands(script)
                .map(|commands| commands.iter().map(|words| words.join("|")).collect::<Vec<_>>())
        };
        assert_eq!(read("git  push && ls -la | wc -l; true\n\n'a b' \"c'd\"e"), {
            Some(["git|push", "ls|-la", "wc|-l", "true", "a b|c'de"].map(str::to_owned).to_vec())
        });
        assert_eq!(read(""), Some(Vec::new()));
        for more in [
            "$(git push)",
            "`git push`",
            "a $x",
            "\"$x\"",
            "a > b",
            "a < b",
            "(a)",
            "{ a; }",
            "a &",
            "a & b",
            "if a; then b; fi",
            "x=1 a",
            "a\\ b",
            "a *",
            "a ?",
            "a ~",
            "a =b",
            "a ''=b",
            "a # b",
            "! a",
            "'a",
            "\"a",
            "a ;; b",
            "; a",
            "a |& b",
            "for x in a; do b; done",
            "a <<E\nb\nE",
            "a \"!x\"",
        ] {
            assert_eq!(read(more), None, "{more}");
        }
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(words in prop::collection::vec("[a-z \"$;&|]{1,6}", 1..4)) {
            let script = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(simple_commands(&script), Some(vec![words]));
        }

        #[test]
        fn no_script_crashes_it(script in ".*") {
            drop(simple_commands(&script));
        }
    }
}
