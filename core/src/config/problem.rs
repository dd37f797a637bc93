//! What can be wrong with configuration, and how it is said: one line a problem.

use std::fmt;
use std::path::PathBuf;

use super::escape::{printable, printable_path};
use crate::limits::AmountError;
use crate::policy::HostGrantError;

/// More problems of one source than this help nobody.
const MOST_PROBLEMS: usize = 20;

/// Where in the configuration something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file as a whole.
    File(PathBuf),
    /// A position in a file.
    Position {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1 in characters.
        column: usize,
    },
    /// A `-c key=value` override, as typed.
    Override(String),
    /// A flag of the command line, by its name.
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => formatter.write_str(&printable_path(path)),
            Self::Position { path, line, column } => {
                write!(formatter, "{}:{line}:{column}", printable_path(path))
            }
            Self::Override(typed) => write!(formatter, "-c {}", printable(typed)),
            Self::Flag(name) => formatter.write_str(name),
        }
    }
}

/// What is wrong.
///
/// Keys are dotted and complete, quoted where TOML asks for it. Text that was found is kept as it is, and made printable
/// when it is displayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The file can't be opened or read.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// What the system said.
        reason: String,
    },
    /// The path leads to something that is no regular file.
    #[error("is {found}, not a regular file")]
    NotAFile {
        /// What it is.
        found: &'static str,
    },
    /// The file is larger than any configuration is.
    #[error("is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The file isn't UTF-8.
    #[error("is not UTF-8 text from here on")]
    NotUtf8,
    /// The file isn't TOML.
    #[error("{message}")]
    Syntax {
        /// What the parser said.
        message: String,
    },
    /// There is no such key.
    #[error("unknown key `{}`{}", printable(.key), hint(.suggestion.as_deref(), .known))]
    UnknownKey {
        /// The key.
        key: String,
        /// What may have been meant.
        suggestion: Option<String>,
        /// The keys that would be known there.
        known: Vec<&'static str>,
    },
    /// The value is of another type.
    #[error("`{}`: expected {expected}, found {found}", printable(.key))]
    WrongType {
        /// The key.
        key: String,
        /// What it takes.
        expected: &'static str,
        /// What was there.
        found: &'static str,
    },
    /// The value of an override has to be TOML, and isn't.
    #[error("`{}`: expected {expected} in TOML: {message}", printable(.key))]
    ValueSyntax {
        /// The key.
        key: String,
        /// What it takes.
        expected: &'static str,
        /// What the parser said.
        message: String,
    },
    /// The value is none of the words that the key takes.
    #[error(
        "`{}`: expected {}, found `{}`{}",
        printable(.key), choice(.known), printable(.found), did_you_mean(.suggestion.as_deref())
    )]
    UnknownWord {
        /// The key.
        key: String,
        /// The word that was there.
        found: String,
        /// The words that it takes.
        known: Vec<&'static str>,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// A path has to be absolute, and isn't.
    #[error("`{}`: expected an absolute path{}, found `{}`", printable(.key), home_too(*.home), printable(.found))]
    NotAbsolute {
        /// The key.
        key: String,
        /// The path that was there.
        found: String,
        /// Whether a path below `~/` would do as well.
        home: bool,
    },
    /// A path has to be relative and to stay below what it is relative to, and isn't or doesn't.
    #[error("`{}`: expected a name or a relative path without `.` and `..`, found `{}`", printable(.key), printable(.found))]
    NotRelative {
        /// The key.
        key: String,
        /// The path that was there.
        found: String,
    },
    /// The first words of a command are plain words, and these are none.
    #[error(
        "`{}`: expected the first words of a command, without quotes and signs of the shell, found `{}`",
        printable(.key), printable(.found)
    )]
    NotPlainWords {
        /// The key.
        key: String,
        /// What was there.
        found: String,
    },
    /// What names no server.
    #[error("`{}`: `{}` is {error}", printable(.key), printable(.found))]
    NotAServer {
        /// The key.
        key: String,
        /// What was there.
        found: String,
        /// What it should be.
        error: HostGrantError,
    },
    /// There is no such built-in protected name.
    #[error(
        "`{}`: `{}` is none of the built-in protected names{}",
        printable(.key), printable(.found), did_you_mean(.suggestion.as_deref())
    )]
    NotBuiltIn {
        /// The key.
        key: String,
        /// The name that was there.
        found: String,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// A path starts with `~/`, and nobody knows the home directory.
    #[error("`{}`: cannot expand `{}`: the home directory is not known", printable(.key), printable(.found))]
    NoHome {
        /// The key.
        key: String,
        /// The path that was there.
        found: String,
    },
    /// The value is no amount of what is limited.
    #[error("`{}`: {}, found `{}`", printable(.key), amount(*.error), printable(.found))]
    Amount {
        /// The key.
        key: String,
        /// What was there.
        found: String,
        /// What is wrong with it.
        error: AmountError,
    },
    /// A NUL byte, which neither a path nor a variable can hold.
    #[error("`{}`: the value holds a NUL character", printable(.key))]
    Nul {
        /// The key.
        key: String,
    },
    /// No environment can hold a variable of this name.
    #[error("`{}`: a variable's name is not empty and holds no `=` and no NUL character", printable(.key))]
    VariableName {
        /// The key.
        key: String,
    },
    /// The profile asked for isn't defined.
    #[error(
        "no profile is called `{}`{}",
        printable(.name), profiles_hint(.suggestion.as_deref(), .known)
    )]
    UnknownProfile {
        /// The profile asked for.
        name: String,
        /// The profiles that are defined.
        known: Vec<String>,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// An override isn't of the form `key=value`.
    #[error("expected `key=value`: {reason}")]
    OverrideForm {
        /// What is wrong with it.
        reason: String,
    },
    /// A project's own file has no say in this.
    #[error("`{}` is for the user to set, not for a project", printable(.key))]
    NotForProjects {
        /// The key.
        key: String,
    },
    /// There are more problems than are worth listing.
    #[error("{count} more problems")]
    More {
        /// How many.
        count: usize,
    },
}

/// One thing wrong with the configuration. Displays as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.kind)
    }
}

/// Everything wrong with the configuration: at least one problem, in the order in which the sources were read. Displays
/// as one line a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The problems.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                formatter.write_str("\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The problems of one source, no more of them than somebody would read.
///
/// Counting the rest instead of describing it keeps the work linear: a position costs a walk along its line, and a file
/// may be one long line of mistakes.
#[derive(Debug, Default)]
pub(super) struct Problems {
    listed: Vec<Problem>,
    beyond: usize,
}

impl Problems {
    /// Adds a problem, described only if it will be listed.
    pub(super) fn report(&mut self, describe: impl FnOnce() -> Problem) {
        if self.listed.len() < MOST_PROBLEMS {
            self.listed.push(describe());
        } else {
            self.beyond += 1;
        }
    }

    /// The problems in the order of their positions, and one that counts those left out.
    pub(super) fn into_list(self, source: Place) -> Vec<Problem> {
        let mut list = self.listed;
        list.sort_by_key(|problem| match problem.place {
            Place::Position { line, column, .. } => (line, column),
            Place::File(_) | Place::Override(_) | Place::Flag(_) => (0, 0),
        });
        if self.beyond > 0 {
            list.push(Problem { place: source, kind: ProblemKind::More { count: self.beyond } });
        }
        list
    }
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |suggestion| format!("; did you mean {suggestion}?"))
}

fn hint(suggestion: Option<&str>, known: &[&str]) -> String {
    if suggestion.is_some() { did_you_mean(suggestion) } else { format!("; known here: {}", quoted(known)) }
}

fn profiles_hint(suggestion: Option<&str>, known: &[String]) -> String {
    if known.is_empty() {
        return "; none is defined".to_owned();
    }
    let names: Vec<String> = known.iter().map(|name| printable(name)).collect();
    format!("{}; defined: {}", did_you_mean(suggestion), quoted(&names))
}

fn amount(error: AmountError) -> String {
    match error {
        AmountError::Form(_) => format!("expected {error}"),
        AmountError::Zero | AmountError::TooLarge => error.to_string(),
    }
}

fn home_too(home: bool) -> &'static str {
    if home { " or one below `~/`" } else { "" }
}

fn quoted<S: AsRef<str>>(words: &[S]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    words.join(", ")
}

fn choice(words: &[&str]) -> String {
    match words {
        [one] => format!("`{one}`"),
        [first @ .., last] => format!("{} or `{last}`", quoted(first)),
        [] => "nothing".to_owned(),
    }
}
