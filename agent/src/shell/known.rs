//! Commands that are known to be harmless: they read, and write nothing but their output.
//!
//! The list decides whether somebody is asked. A command on it runs in the sandbox as any other does.

use super::plain::simple_commands;
use super::{SHELLS, base, is_misleading, is_the_systems};

/// Programs that have no option by which they would do more than read.
const READERS: [&str; 34] = [
    "basename", "cat", "cd", "cmp", "cut", "df", "dirname", "du", "echo", "expr", "false", "grep", "head",
    "id", "ls", "nl", "numfmt", "paste", "pwd", "readlink", "realpath", "rev", "seq", "sleep", "stat", "tac",
    "tail", "tr", "true", "uname", "wc", "which", "whoami", "base64",
];

/// What `find` is asked for without running, writing or deleting anything.
const FIND: [&str; 31] = [
    "!",
    "(",
    ")",
    "-L",
    "-H",
    "-P",
    "-a",
    "-and",
    "-empty",
    "-group",
    "-iname",
    "-ipath",
    "-iregex",
    "-links",
    "-maxdepth",
    "-mindepth",
    "-mtime",
    "-name",
    "-newer",
    "-not",
    "-o",
    "-or",
    "-path",
    "-perm",
    "-print",
    "-print0",
    "-prune",
    "-regex",
    "-size",
    "-type",
    "-user",
];

/// What `git` only shows, and by which options.
const GIT: [(&str, &[&str]); 9] = [
    ("blame", &["-L", "-s", "-w"]),
    ("branch", &["--all", "--list", "--remotes", "--show-current", "--verbose", "-a", "-r", "-v", "-vv"]),
    (
        "diff",
        &[
            "--cached",
            "--check",
            "--name-only",
            "--name-status",
            "--no-color",
            "--no-ext-diff",
            "--numstat",
            "--shortstat",
            "--staged",
            "--stat",
            "-w",
        ],
    ),
    (
        "log",
        &[
            "--all",
            "--decorate",
            "--first-parent",
            "--graph",
            "--merges",
            "--name-only",
            "--name-status",
            "--no-color",
            "--no-decorate",
            "--no-merges",
            "--oneline",
            "--reverse",
            "--stat",
            "-n",
            "-p",
            "--patch",
        ],
    ),
    (
        "ls-files",
        &[
            "--cached",
            "--deleted",
            "--exclude-standard",
            "--modified",
            "--others",
            "-c",
            "-d",
            "-m",
            "-o",
            "-s",
            "-z",
        ],
    ),
    ("remote", &["-v"]),
    (
        "rev-parse",
        &[
            "--abbrev-ref",
            "--git-dir",
            "--is-inside-work-tree",
            "--short",
            "--show-prefix",
            "--show-toplevel",
            "--verify",
        ],
    ),
    ("show", &["--name-only", "--name-status", "--no-color", "--oneline", "--stat"]),
    ("status", &["--branch", "--ignored", "--long", "--porcelain", "--short", "-b", "-s", "-sb"]),
];

/// Whether a command is surely harmless: every simple command of it is, and nothing else is in it.
#[must_use]
pub fn is_harmless(command: &[String]) -> bool {
    all_surely(command, reads_only)
}

/// Whether a command is read in one way only, and this holds for each simple command of it.
pub(crate) fn all_surely(command: &[String], mut holds: impl FnMut(&[String]) -> bool) -> bool {
    if command.iter().any(|word| word.chars().any(is_misleading)) {
        return false;
    }
    match command {
        [shell, option, script] if is_plain_shell(shell, option) => simple_commands(script)
            .is_some_and(|commands| !commands.is_empty() && commands.iter().all(|words| holds(words))),
        words => holds(words),
    }
}

/// Whether a simple command asks `git` for something: it reads the configuration of whatever repository it finds.
pub(crate) fn asks_git(words: &[String]) -> bool {
    words.first().is_some_and(|program| base(program) == "git")
}

/// Whether these words start one of the system's shells with a script, without its login files.
fn is_plain_shell(shell: &str, option: &str) -> bool {
    is_the_systems(shell) && SHELLS.contains(&base(shell)) && option == "-c"
}

/// Whether a simple command is surely harmless.
pub(crate) fn reads_only(words: &[String]) -> bool {
    let Some((program, arguments)) = words.split_first() else { return false };
    if !is_the_systems(program) {
        return false;
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let options = || arguments.iter().filter(|word| word.starts_with('-') && word.len() > 1);
    match base(program) {
        "base64" => {
            arguments.iter().all(|word| matches!(*word, "-d" | "--decode" | "-w0") || !word.starts_with('-'))
        }
        // Its second name is a file that it writes. A sign alone is a name: the input's.
        "uniq" => {
            arguments.iter().filter(|word| !word.starts_with('-') || **word == "-").count() < 2
                && options().all(|option| matches!(*option, "-c" | "-d" | "-u" | "-i" | "--count"))
        }
        "find" => options().all(|option| FIND.contains(option)),
        // It can be told to start other programs on what it reads.
        "rg" => options().all(|option| {
            let cluster = !option.starts_with("--")
                && option.bytes().skip(1).all(|letter| b"nilwcvFSsoHNuxU0123456789ABC".contains(&letter));
            cluster
                || matches!(
                    *option,
                    "--files"
                        | "--hidden"
                        | "--no-heading"
                        | "--line-number"
                        | "--ignore-case"
                        | "--fixed-strings"
                        | "--no-ignore"
                        | "-e"
                        | "-g"
                        | "-t"
                )
        }),
        "sed" => {
            matches!(arguments.as_slice(), ["-n", script, files @ ..] if prints_lines(script) && files.len() < 2 && files.iter().all(|file| !file.starts_with('-')))
        }
        "git" => shows_only(&arguments),
        name => READERS.contains(&name),
    }
}

/// `3p` or `3,5p`.
fn prints_lines(script: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    script.strip_suffix('p').is_some_and(|lines| match lines.split_once(',') {
        Some((first, last)) => is_number(first) && (is_number(last) || last == "$"),
        None => is_number(lines),
    })
}

fn shows_only(arguments: &[&str]) -> bool {
    let Some((verb, rest)) = arguments.split_first() else { return false };
    let Some((_, options)) = GIT.iter().find(|(name, _)| name == verb) else { return false };
    let is_count = |word: &str| {
        word.strip_prefix('-')
            .is_some_and(|count| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()))
    };
    rest.iter().all(|word| {
        if *word == "--" {
            *verb != "branch" && *verb != "remote"
        } else if word.starts_with('-') {
            options.contains(word) || (*verb == "log" && is_count(word))
        } else {
            // A name makes a branch, or does something with a remote.
            !matches!(*verb, "branch" | "remote")
        }
    })
}

#[cfg(test)]
mod tests;
