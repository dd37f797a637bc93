//! What a project's file tried and did not get, or got at the cost of what the user typed.

use std::fmt;
use std::path::PathBuf;

use super::escape::{printable, printable_path};
use super::problem::{Place, Problem, ProblemKind};
use super::sourced::Origin;

/// Why a notice was given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoticeKind {
    /// A part of the file, or all of it, is wrong or not for a project to say. It had no effect.
    Ignored(ProblemKind),
    /// The value would have allowed more than the user does. It had no effect.
    Loosens {
        /// The key.
        key: &'static str,
        /// What the file asked for.
        asked: String,
    },
    /// The value narrowed what a flag or an override of this very run had set. It took effect.
    Narrowed {
        /// The key.
        key: &'static str,
        /// The flag or the override.
        over: Origin,
    },
    /// The list is longer than a project may make it. What is beyond had no effect.
    TooMany {
        /// The key.
        key: &'static str,
        /// How many items a project may add.
        at_most: usize,
    },
    /// There is more to say than is worth listing.
    More {
        /// How many notices were left out.
        count: usize,
    },
}

/// Something about a project's file that the user should see. Displays as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The project's file.
    pub path: PathBuf,
    /// The line, counted from 1, unless the file as a whole is meant.
    pub line: Option<usize>,
    /// What happened.
    pub kind: NoticeKind,
}

impl Notice {
    /// What a problem is in a project's file: something to tell, never a reason to fail.
    pub(super) fn ignored(problem: Problem) -> Self {
        let (path, line) = match problem.place {
            Place::Position { path, line, .. } => (path, Some(line)),
            Place::File(path) => (path, None),
            Place::Override(_) | Place::Flag(_) => (PathBuf::new(), None),
        };
        Self { path, line, kind: NoticeKind::Ignored(problem.kind) }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&printable_path(&self.path))?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        match &self.kind {
            NoticeKind::Ignored(problem) => write!(formatter, ": ignored: {problem}"),
            NoticeKind::Loosens { key, asked } => write!(
                formatter,
                ": ignored: `{key} = {}` would allow more than your own settings do",
                printable(asked)
            ),
            NoticeKind::TooMany { key, at_most } => {
                write!(formatter, ": ignored: a project may add no more than {at_most} items to `{key}`")
            }
            NoticeKind::More { count } => write!(formatter, ": {count} more notices"),
            NoticeKind::Narrowed { key, over } => {
                write!(formatter, ": `{key}` is narrower here than {over} asks for, and holds")
            }
        }
    }
}
