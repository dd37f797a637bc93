//! A value together with the place it came from.

use std::path::PathBuf;

/// Where a setting's value came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    #[default]
    Default,
    /// The user's `config.toml`.
    File {
        /// The file.
        path: PathBuf,
        /// The line of the value, counted from 1.
        line: usize,
    },
    /// A `[profiles.NAME]` table of the user's `config.toml`.
    Profile {
        /// The profile.
        name: String,
        /// The file.
        path: PathBuf,
        /// The line of the value, counted from 1.
        line: usize,
    },
    /// The workspace's own `.codex/config.toml`, which may only tighten.
    Project {
        /// The file.
        path: PathBuf,
        /// The line of the value, counted from 1.
        line: usize,
    },
    /// A `-c key=value` override, as typed.
    Override(String),
    /// A flag of the command line, by its name.
    Flag(&'static str),
}

/// A value and where it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

impl<T> Sourced<T> {
    /// A value that a flag of the command line set.
    pub const fn from_flag(value: T, flag: &'static str) -> Self {
        Self { value, origin: Origin::Flag(flag) }
    }
}

/// A list whose items may come from different places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcedList<T> {
    /// The items, each with its own origin.
    pub items: Vec<Sourced<T>>,
    /// Where the list as a whole was last replaced; what an empty list has to show.
    pub origin: Origin,
}

impl<T> SourcedList<T> {
    /// The items with their origins.
    pub fn iter(&self) -> std::slice::Iter<'_, Sourced<T>> {
        self.items.iter()
    }

    /// The items without their origins.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|item| &item.value)
    }

    /// What made the list as a whole what it is: where it was last replaced, or the first flag that added to it where nobody
    /// set it. What is refused because it is in no item is refused by this.
    #[must_use]
    pub fn origin_of_all(&self) -> &Origin {
        match (&self.origin, self.items.first()) {
            (Origin::Default, Some(first)) => &first.origin,
            (origin, _) => origin,
        }
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl<T> Default for SourcedList<T> {
    fn default() -> Self {
        Self { items: Vec::new(), origin: Origin::Default }
    }
}

impl<'a, T> IntoIterator for &'a SourcedList<T> {
    type Item = &'a Sourced<T>;
    type IntoIter = std::slice::Iter<'a, Sourced<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}
