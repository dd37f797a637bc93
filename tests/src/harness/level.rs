//! How much of the sandbox a case is about.

use std::sync::Mutex;

use super::{Identity, Scene, missing};

/// A level of isolation, asked for by name, so that a machine with more doesn't hide what less would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Landlock and seccomp.
    Landlock,
    /// Namespaces and mounts, with Landlock and seccomp inside.
    Namespaces,
}

impl Level {
    /// The level's name, as options and reports have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Landlock => "landlock",
            Self::Namespaces => "namespaces",
        }
    }

    /// What belongs to this level.
    pub fn choose<T>(self, landlock: T, namespaces: T) -> T {
        match self {
            Self::Landlock => landlock,
            Self::Namespaces => namespaces,
        }
    }

    /// Whether this machine has the level for whoever runs the scene; where it doesn't, says so.
    ///
    /// # Panics
    ///
    /// In CI, where the level is missing.
    pub(super) fn available(self, scene: &Scene) -> bool {
        static KNOWN: Mutex<Vec<(Level, Identity, bool)>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let cached =
            known.iter().find(|(level, identity, _)| (*level, *identity) == (self, scene.identity()));
        let available = if let Some((_, _, available)) = cached {
            *available
        } else {
            let words = ["sandbox", "-s", "read-only", "--isolation", self.name(), "--", "true"];
            let available = scene.codex(words).run().code() == Some(0);
            known.push((self, scene.identity(), available));
            available
        };
        // Not while the lock is held: in CI it panics.
        drop(known);
        if !available {
            missing(&format!("the level {} for {:?}", self.name(), scene.identity()));
        }
        available
    }
}
