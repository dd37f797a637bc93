//! Limits on what a command may use: the words for them, and what is the tighter of two.

mod text;

use std::num::NonZeroU64;
use std::time::Duration;

use serde::Serialize;

pub(crate) use text::expected;
pub use text::{AmountError, parse_amount};

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Memory of the command and all that it starts, in bytes.
    Memory,
    /// Processes and threads.
    Processes,
    /// Processor time of the command and all that it starts, in milliseconds.
    CpuTime,
    /// Open descriptors of one process.
    OpenFiles,
    /// The size of a file that is written, in bytes.
    FileSize,
    /// What `/dev/shm` and a private `/tmp` hold together, in bytes.
    Shm,
}

/// What an amount of a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Pieces.
    Count,
}

impl Limit {
    /// Every limit, in the order in which they are reported.
    pub const ALL: [Self; 6] =
        [Self::Memory, Self::Processes, Self::CpuTime, Self::OpenFiles, Self::FileSize, Self::Shm];

    /// The name used in `[sandbox.limits]`, flags and results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "processes",
            Self::CpuTime => "cpu_time",
            Self::OpenFiles => "open_files",
            Self::FileSize => "file_size",
            Self::Shm => "shm",
        }
    }

    /// What its amounts count.
    #[must_use]
    pub const fn unit(self) -> Unit {
        match self {
            Self::Memory | Self::FileSize | Self::Shm => Unit::Bytes,
            Self::CpuTime => Unit::Milliseconds,
            Self::Processes | Self::OpenFiles => Unit::Count,
        }
    }

    /// The limit of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|limit| limit.name() == name)
    }

    /// An amount as it would be configured: `512MiB`, `30s`, `64`.
    #[must_use]
    pub fn shown(self, amount: u64) -> String {
        text::shown(self.unit(), amount)
    }
}

/// Limits of which any may be absent. An amount is never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceLimits([Option<NonZeroU64>; Limit::ALL.len()]);

impl ResourceLimits {
    /// No limit.
    pub const NONE: Self = Self([None; Limit::ALL.len()]);

    /// What is allowed of something, in its [unit](Limit::unit).
    #[must_use]
    pub fn get(&self, limit: Limit) -> Option<NonZeroU64> {
        Limit::ALL.into_iter().zip(self.0).find_map(|(known, amount)| amount.filter(|_| known == limit))
    }

    /// The processor time that is allowed.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        self.get(Limit::CpuTime).map(|time| Duration::from_millis(time.get()))
    }

    /// Allows an amount of something, whatever was allowed before.
    pub fn set(&mut self, limit: Limit, amount: NonZeroU64) {
        for (known, slot) in Limit::ALL.into_iter().zip(&mut self.0) {
            if known == limit {
                *slot = Some(amount);
            }
        }
    }

    /// These limits, and one more.
    #[must_use]
    pub fn with(mut self, limit: Limit, amount: NonZeroU64) -> Self {
        self.set(limit, amount);
        self
    }

    /// The tighter of each two: no limit is loosened by adding another.
    #[must_use]
    pub fn tightest(mut self, other: Self) -> Self {
        for (ours, theirs) in self.0.iter_mut().zip(other.0) {
            *ours = match (*ours, theirs) {
                (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
                (ours, theirs) => ours.or(theirs),
            };
        }
        self
    }

    /// The limits that there are.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, NonZeroU64)> + use<> {
        Limit::ALL.into_iter().zip(self.0).filter_map(|(limit, amount)| Some((limit, amount?)))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

#[cfg(test)]
mod tests;
