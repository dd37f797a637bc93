//! One act, one line: `ok DETAIL`, or `errno NUMBER NAME`.
//!
//! The suites run this program without the sandbox and in it, and compare the lines. It exits with 0 after `ok`, with 1
//! after `errno`, and with 2 and a message on stderr where it was called wrongly.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing its line is what a probe is for")]

mod conversation;
mod detours;
mod files;
mod launch;
mod memory;
mod network;
mod processes;
mod raw;
mod resources;
mod state;
mod tree;

use std::ffi::OsString;
use std::process::ExitCode;

use nix::errno::Errno;

/// What an act comes to.
enum Failure {
    /// The kernel refused.
    Errno(Errno),
    /// The probe was called wrongly, or saw something that it can't explain.
    Usage(String),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Self::Errno(Errno::from_raw(number)),
            None => Self::Usage(error.to_string()),
        }
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Usage(why)
    }
}

/// The detail of a success, or the failure.
type Outcome = Result<String, Failure>;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    let outcome = [
        files::act,
        detours::act,
        network::act,
        processes::act,
        memory::act,
        state::act,
        tree::act,
        launch::act,
        resources::act,
    ]
    .iter()
    .find_map(|family| family(&name.to_string_lossy(), &rest))
    .unwrap_or_else(|| Err(Failure::Usage(format!("no act is called {}", name.display()))));
    match outcome {
        Ok(detail) => {
            println!("ok {detail}");
            ExitCode::SUCCESS
        }
        Err(Failure::Errno(errno)) => {
            println!("errno {} {errno:?}", errno as i32);
            ExitCode::FAILURE
        }
        Err(Failure::Usage(why)) => {
            eprintln!("probe: {why}");
            ExitCode::from(2)
        }
    }
}
