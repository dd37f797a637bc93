//! What `codex sandbox --learn` goes by.

use std::ffi::OsString;

use clap::Args;

use super::limit;

/// What was typed of learning.
#[derive(Args, Debug, Default)]
pub(crate) struct LearnOptions {
    /// Run the command observed, again and again, each time with one more thing that it was refused, until it passes; and print
    /// the least that config.toml has to say for that. It runs in views of what it may write: nothing is changed.
    #[arg(long, conflicts_with_all = ["pty", "print_plan"])]
    pub(crate) learn: bool,
    /// With --learn: grant this as well where it is refused: a directory, a unix socket, or the word `network`. Repeatable.
    #[arg(long, value_name = "WHAT", requires = "learn")]
    pub(crate) learn_also: Vec<OsString>,
    /// With --learn: run the command on the directories themselves, where views can't be had. What it does is done, each time.
    #[arg(long, requires = "learn", conflicts_with = "view_size")]
    pub(crate) in_place: bool,
    /// With --learn: how much each run may write: 1GiB unless given. It is kept in memory.
    #[arg(long, value_name = "SIZE", value_parser = limit::parse_size, requires = "learn")]
    pub(crate) view_size: Option<u64>,
    /// With --learn: write what was learnt into config.toml, as a profile for -p NAME.
    #[arg(long, value_name = "NAME", requires = "learn")]
    pub(crate) write_profile: Option<String>,
    /// With --write-profile: in the place of the profile that has this name.
    #[arg(long, requires = "write_profile")]
    pub(crate) replace_profile: bool,
}
