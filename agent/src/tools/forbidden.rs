//! What the user does not want to be run at all: `approvals.forbid`.
//!
//! It decides whether a call runs, and never what a command may do: that is the sandbox's matter, and a program can start
//! any other.

use codex_linux_sandbox::shown;

use super::script::simple_commands;

/// Programs that only start another one with the words after them, options left out.
const WRAPPERS: [&str; 7] = ["command", "env", "exec", "nice", "nohup", "sudo", "time"];
const SHELLS: [&str; 5] = ["bash", "dash", "ksh", "sh", "zsh"];

/// Says why a command is not to be run.
pub(super) fn why_not(command: &[String], forbidden: &[Vec<String>]) -> Option<String> {
    if forbidden.is_empty() {
        return None;
    }
    let name = command.first().map(|program| base(program));
    if let [_, option, script, ..] = command
        && name.is_some_and(|name| SHELLS.contains(&name))
        && matches!(option.as_str(), "-c" | "-lc")
    {
        return match simple_commands(script) {
            Some(commands) => commands.iter().find_map(|command| why_not(command, forbidden)),
            None => Some(
                "the user forbids some commands (approvals.forbid), and nobody can say what this script runs: write it as plain \
                 commands joined by `&&`, `||`, `;` or `|`, without redirections to files, substitutions, variables and loops"
                    .to_owned(),
            ),
        };
    }
    if name.is_some_and(|name| WRAPPERS.contains(&name)) {
        let rest = command.iter().skip(1).skip_while(|word| word.starts_with('-') || word.contains('='));
        return why_not(&rest.cloned().collect::<Vec<_>>(), forbidden);
    }
    let begins = |prefix: &&Vec<String>| {
        prefix.len() <= command.len()
            && prefix.iter().zip(command).enumerate().all(|(place, (wanted, word))| {
                // Wherever the program lies, it is the same one.
                wanted == word || (place == 0 && wanted == base(word))
            })
    };
    let rule = forbidden.iter().find(begins)?;
    Some(format!("the user forbids commands that begin with `{}` (approvals.forbid)", shown(rule.join(" "))))
}

fn base(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::why_not;

    #[test]
    fn a_rule_holds_in_every_part_of_a_command() {
        let forbidden = [vec!["git".to_owned(), "push".to_owned()], vec!["rm".to_owned()]];
        let refused = |words: &[&str]| {
            why_not(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), &forbidden).is_some()
        };
        for words in [
            &["git", "push", "origin"][..],
            &["/usr/bin/git", "push"],
            &["bash", "-c", "cd x && git push"],
            &["/bin/sh", "-lc", "ls | rm x"],
            &["env", "-i", "A=1", "rm", "x"],
            &["bash", "-c", "sudo nice 'rm' x"],
            &["bash", "-c", "bash -c 'git push'"],
            &["bash", "-c", "$(echo git) push"],
        ] {
            assert!(refused(words), "{words:?}");
        }
        for words in [
            &["git", "pull"][..],
            &["git"],
            &["echo", "git", "push"],
            &["bash", "-c", "echo rm; git status"],
            &["pushgit", "rm"],
        ] {
            assert!(!refused(words), "{words:?}");
        }
        assert_eq!(why_not(&["rm".to_owned()], &[]), None);
    }
}
