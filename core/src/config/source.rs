//! One source of configuration while it is read: what to call it, and where in it something is.

use std::path::Path;

use super::position::LineIndex;
use super::problem::Place;
use super::sourced::Origin;

/// A text of configuration.
pub(super) enum Source<'a> {
    /// The user's own file.
    User { path: &'a Path, lines: LineIndex<'a> },
    /// A project's file.
    Project { path: &'a Path, lines: LineIndex<'a> },
    /// A `-c key=value` override, as typed.
    Override(&'a str),
}

impl<'a> Source<'a> {
    pub(super) fn user(path: &'a Path, text: &'a str) -> Self {
        Self::User { path, lines: LineIndex::new(text) }
    }

    pub(super) fn project(path: &'a Path, text: &'a str) -> Self {
        Self::Project { path, lines: LineIndex::new(text) }
    }

    /// Where the byte at `offset` is.
    pub(super) fn place(&self, offset: usize) -> Place {
        match self {
            Self::User { path, lines } | Self::Project { path, lines } => {
                let position = lines.position(offset);
                Place::Position { path: path.to_path_buf(), line: position.line, column: position.column }
            }
            Self::Override(typed) => Place::Override((*typed).to_owned()),
        }
    }

    /// The line of the byte at `offset`; an override has but one.
    pub(super) fn line(&self, offset: usize) -> usize {
        match self {
            Self::User { lines, .. } | Self::Project { lines, .. } => lines.line(offset),
            Self::Override(_) => 1,
        }
    }

    /// The source as a whole.
    pub(super) fn whole(&self) -> Place {
        match self {
            Self::User { path, .. } | Self::Project { path, .. } => Place::File(path.to_path_buf()),
            Self::Override(typed) => Place::Override((*typed).to_owned()),
        }
    }

    /// The origin of a value at `offset`, in the profile named where there is one.
    pub(super) fn origin(&self, offset: usize, profile: Option<&str>) -> Origin {
        match (self, profile) {
            (Self::User { path, lines }, None) => {
                Origin::File { path: path.to_path_buf(), line: lines.line(offset) }
            }
            (Self::User { path, lines }, Some(name)) => {
                Origin::Profile { name: name.to_owned(), path: path.to_path_buf(), line: lines.line(offset) }
            }
            (Self::Project { path, lines }, _) => {
                Origin::Project { path: path.to_path_buf(), line: lines.line(offset) }
            }
            (Self::Override(typed), _) => Origin::Override((*typed).to_owned()),
        }
    }

    /// Whether keys that only the user may set are refused.
    pub(super) fn is_project(&self) -> bool {
        matches!(self, Self::Project { .. })
    }
}
