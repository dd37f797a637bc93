//! What a command leaves behind, by what `/proc` says of it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use codex_linux_sandbox::shown;
use nix::unistd::Pid;
use serde::Serialize;

/// How many processes that a command has left behind a result names.
pub const MOST_LEFT_BEHIND: usize = 32;

/// A process that the command left behind: it was still running when the command had ended and its streams were drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftBehind {
    /// Its number outside.
    pub pid: i32,
    /// What it runs: its arguments or, where it has none, its name. Cut after 200 characters; control characters as escapes.
    pub command: String,
}

impl LeftBehind {
    /// What `/proc` says of a process. Nothing of one that has ended meanwhile.
    pub(super) fn of(pid: Pid) -> Option<Self> {
        const LONGEST: usize = 200;
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = match arguments.strip_suffix(&[0]).unwrap_or(&arguments) {
            // It has ended and not been collected, or belongs to the kernel, or has overwritten them.
            [] => std::fs::read(format!("/proc/{pid}/comm")).ok()?.trim_ascii_end().to_vec(),
            arguments => arguments.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect(),
        };
        let command = shown(OsStr::from_bytes(&command)).to_string().chars().take(LONGEST).collect();
        Some(Self { pid: pid.as_raw(), command })
    }
}
