//! The only code that prints.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use codex_core::denial::{Denial, lines};
use codex_core::enforcement::{Enforcement, ExplanationKind, Level};

use crate::exit_code;

pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod learn;
pub(crate) mod policy;
pub(crate) mod question;
mod quote;
pub(crate) mod screen;
mod table;
pub(crate) mod why;

/// One line to standard error, from us. There is nobody left to tell where that fails.
pub(crate) fn complaint(message: &str) {
    if let Err(_unwritable) = writeln!(std::io::stderr(), "codex: {message}") {}
}

/// Says why nothing was done.
pub(crate) fn refusal(message: &str, code: i32) -> i32 {
    // Several problems of one file are several lines.
    message.lines().for_each(complaint);
    code
}

/// What another program that this binary is says, under its own name.
pub(crate) fn message(message: &str, code: i32) -> i32 {
    if let Err(_unwritable) = std::io::stderr().write_all(message.as_bytes()) {}
    code
}

/// Help, version, or a mistake in what was typed.
pub(crate) fn usage(error: &clap::Error) -> i32 {
    match error.print() {
        Ok(()) => error.exit_code(),
        Err(_unwritable) => exit_code::OUTPUT,
    }
}

/// Bytes to standard output, as they are.
pub(crate) fn bytes(bytes: &[u8]) -> i32 {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => exit_code::SUCCESS,
        // A reader that has seen enough is no failure; where SIGPIPE is neither ignored nor blocked we do
        // not even get here.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => exit_code::SUCCESS,
        Err(error) => refusal(&format!("standard output: {error}"), exit_code::OUTPUT),
    }
}

/// What puts back a terminal's modes, from a program that is broken. Nobody is told where that fails.
pub(crate) fn put_back(restoration: &[u8]) {
    // Not by the standard library's own handle, which the broken part may hold.
    if let Err(_unwritable) = nix::unistd::write(std::io::stdout(), restoration) {}
}

/// One line to standard output.
pub(crate) fn line(text: &str) -> i32 {
    bytes(format!("{text}\n").as_bytes())
}

/// Bytes that came from elsewhere to standard error, as they are.
pub(crate) fn error_bytes(bytes: &[u8]) {
    // There is nobody left to tell.
    if let Err(_unwritable) = std::io::stderr().write_all(bytes) {}
}

/// A value as one line of JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> i32 {
    match serde_json::to_vec(value) {
        Ok(mut line) => {
            line.push(b'\n');
            bytes(&line)
        }
        Err(error) => refusal(&format!("the result can't be written as JSON: {error}"), exit_code::OUTPUT),
    }
}

/// How many denials are told after a command; all of them are in the JSON.
const MOST_DENIALS: usize = 8;

/// What was refused, in a few lines on standard error. `untold`: how often there was more than is known.
pub(crate) fn denials(denials: &[Denial], untold: u64) {
    for line in lines(denials).iter().take(MOST_DENIALS) {
        complaint(&format!("denied: {line}"));
    }
    if let Some(more) = denials.len().checked_sub(MOST_DENIALS).filter(|more| *more > 0) {
        complaint(&format!("denied: {more} more"));
    }
    if untold > 0 {
        complaint(&format!("{untold} more may have been denied, of which no more is known"));
    }
}

/// What a command was refused that was run once more in views, and without what else the policy opens.
pub(crate) fn replayed(refused: &[Denial], untold: u64, without: Option<&str>) {
    let without = without.map(|what| format!(", without {what}")).unwrap_or_default();
    if refused.is_empty() && untold == 0 {
        // The first run may have left what the second one found.
        complaint(&format!(
            "replayed in views, which are gone{without}: nothing was seen to be refused (--explain sees a run itself)"
        ));
    } else {
        complaint(&format!("replayed in views, which are gone{without}:"));
        denials(refused, untold);
    }
}

/// How to learn what was refused, after a command that failed and that nobody has observed. `undone`: whether all that it does can
/// be undone.
pub(crate) fn explainable(enforcement: &Enforcement, undone: bool) {
    match (enforcement.explanation.kind, enforcement.level) {
        (ExplanationKind::Exact, _) => {}
        (_, Level::Namespaces) if undone => complaint(
            "`codex debug explain` replays the command, and tells what the sandbox refused, if anything",
        ),
        _ => complaint("with --explain before the command, what the sandbox refuses is told, if anything"),
    }
}

/// A command line, ready to be pasted into a shell.
pub(crate) fn command_line(arguments: &[OsString]) -> i32 {
    let mut line = Vec::new();
    for (index, argument) in arguments.iter().enumerate() {
        if index > 0 {
            line.push(b' ');
        }
        line.extend(quote::quote(OsStr::as_bytes(argument)));
    }
    line.push(b'\n');
    bytes(&line)
}
