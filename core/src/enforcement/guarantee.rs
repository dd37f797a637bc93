//! What the sandbox promises, one by one, under the names that a configuration may require.

use serde::Serialize;

/// One thing that the sandbox promises, finer than the numbered promises of `docs/specification.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// P1: content and names outside the writable roots don't change.
    Writes,
    /// P1: mode, owner, times and attributes outside the writable roots don't change.
    Metadata,
    /// P2: with the network off, nothing reaches the outside.
    Network,
    /// P2: inside the sandbox, processes talk to each other over loopback and unix sockets.
    InnerSockets,
    /// P3: processes outside can't be signalled, traced, read or reprioritised.
    Processes,
    /// P4: what the host later trusts or runs can't be planted or changed.
    ProtectedMetadata,
    /// P5: nothing outlives its call.
    Survivors,
    /// P6: no privilege is gained.
    Privilege,
    /// P10: the environment is built, not inherited.
    Secrets,
}

impl Guarantee {
    /// Every guarantee, in the order in which they are reported.
    pub const ALL: [Self; 9] = [
        Self::Writes,
        Self::Metadata,
        Self::Network,
        Self::InnerSockets,
        Self::Processes,
        Self::ProtectedMetadata,
        Self::Survivors,
        Self::Privilege,
        Self::Secrets,
    ];

    /// The number of the promise in `docs/specification.md` that this guarantee is a part of.
    #[must_use]
    pub const fn promise(self) -> &'static str {
        match self {
            Self::Writes | Self::Metadata => "P1",
            Self::Network | Self::InnerSockets => "P2",
            Self::Processes => "P3",
            Self::ProtectedMetadata => "P4",
            Self::Survivors => "P5",
            Self::Privilege => "P6",
            Self::Secrets => "P10",
        }
    }

    /// The name used in `sandbox.require` and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Writes => "writes",
            Self::Metadata => "metadata",
            Self::Network => "network",
            Self::InnerSockets => "inner-sockets",
            Self::Processes => "processes",
            Self::ProtectedMetadata => "protected-metadata",
            Self::Survivors => "survivors",
            Self::Privilege => "privilege",
            Self::Secrets => "secrets",
        }
    }

    /// The guarantees that a word of `sandbox.require` stands for: one by its name, or all of a promise by its number.
    #[must_use]
    pub fn named(word: &str) -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|guarantee| guarantee.name() == word || guarantee.promise().eq_ignore_ascii_case(word))
            .collect()
    }
}
