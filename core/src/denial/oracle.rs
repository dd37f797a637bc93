//! What a failed command said, compared with the policy: likely denials, and none that the policy does not refuse.
//!
//! A message alone proves nothing. It becomes a denial where, at the level that the command ran at, the policy refuses that
//! operation on that object with that very error, and the user's own permissions would have let it happen.

pub mod message;

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;

use super::fold::Fold;
use super::judge::{Judge, Operation, Verdict};
use super::record::Denial;
use crate::exec::Outcome;
use crate::policy::NetworkAccess;
use message::{Said, Target};

/// How much of the end of a text is read.
const TAIL: usize = 64 * 1024;
/// How many things that a command said are looked up.
const MOST_SAID: usize = 512;

/// A command that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// How.
    pub outcome: &'a Outcome,
    /// What it wrote, as far as it is kept.
    pub text: &'a [u8],
    /// The program and its arguments.
    pub argv: &'a [std::ffi::OsString],
    /// Where it ran. Absolute.
    pub cwd: &'a Path,
}

/// The denials that a command likely met. None for one that succeeded, and none that it did not speak of.
#[must_use]
pub fn explain(ended: &Ended<'_>, judge: &Judge<'_>) -> Vec<Denial> {
    if !ended_badly(ended.outcome) {
        return Vec::new();
    }
    let (_, tail) = ended.text.split_at(ended.text.len().saturating_sub(TAIL));
    let mut fold = Fold::default();
    for said in message::read(&String::from_utf8_lossy(tail)).into_iter().take(MOST_SAID) {
        if let Some(denial) = confirm(&said, ended, judge) {
            fold.push(denial);
        }
    }
    fold.finish()
}

/// Whether anything is to be explained. An ending by somebody's hand, or one before anything ran, is not.
const fn ended_badly(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Exited { code } => *code != 0,
        Outcome::Signalled { .. } | Outcome::TimedOut { .. } | Outcome::IdleTimedOut { .. } => true,
        Outcome::NotExecuted { .. }
        | Outcome::OutputExceeded { .. }
        | Outcome::LimitExceeded { .. }
        | Outcome::Cancelled
        | Outcome::SetupFailed { .. } => false,
    }
}

fn confirm(said: &Said, ended: &Ended<'_>, judge: &Judge<'_>) -> Option<Denial> {
    match &said.target {
        Target::Path(path) => confirm_path(said, path, ended, judge),
        Target::Host { host, port } => confirm_host(said, host, *port, judge),
        Target::Unnamed => confirm_unnamed(said, ended, judge),
    }
}

fn confirm_path(said: &Said, path: &str, ended: &Ended<'_>, judge: &Judge<'_>) -> Option<Denial> {
    directories(ended).into_iter().find_map(|directory| {
        let absolute = plainly(&directory.join(path));
        said.operations().iter().find_map(|operation| {
            let verdict = match operation {
                Operation::Unix => judge.unix(&absolute),
                operation => judge.file(*operation, &absolute),
            };
            let Ok(Verdict::Denied(refusal)) = verdict else { return None };
            (refusal.errno == Some(said.errno?)
                && fits(*operation, &absolute)
                && judge.possible_outside(*operation, &absolute))
            .then(|| Denial::likely(*operation, path.to_owned(), *refusal, said.program.clone()))
        })
    })
}

/// Whether there is something to do this to.
fn fits(operation: Operation, path: &Path) -> bool {
    match operation {
        Operation::Create => path.symlink_metadata().is_err(),
        Operation::Unix => {
            use std::os::unix::fs::FileTypeExt as _;
            path.metadata().is_ok_and(|status| status.file_type().is_socket())
        }
        _ => path.symlink_metadata().is_ok(),
    }
}

fn confirm_host(said: &Said, host: &str, port: Option<u16>, judge: &Judge<'_>) -> Option<Denial> {
    let Verdict::Denied(refusal) = judge.connect(host, port) else { return None };
    let agrees = match (refusal.errno, said.errno) {
        // On loopback of its own, nobody listening is an answer like any other, unless somebody does outside.
        (Some(Errno::ECONNREFUSED), Some(Errno::ECONNREFUSED)) => port.is_some_and(listens_outside),
        (Some(refused), Some(errno)) => refused == errno,
        // A name: it could not be looked up, whatever it was told. At level landlock nobody can be asked.
        (_, None) => said.lookup,
        (None, Some(_)) => false,
    };
    let target = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    agrees.then(|| Denial::likely(Operation::Connect, target, *refusal, said.program.clone()))
}

/// A socket that could not even be made, by a program that does not say for whom.
fn confirm_unnamed(said: &Said, ended: &Ended<'_>, judge: &Judge<'_>) -> Option<Denial> {
    if said.errno != Some(Errno::EPERM) || judge.policy.network == NetworkAccess::Enabled {
        return None;
    }
    let host = ended.argv.iter().filter_map(|word| message::host_of(word.to_str()?)).next();
    let (host, port) = host.unwrap_or_else(|| ("the network".to_owned(), None));
    let Verdict::Denied(refusal) = judge.connect(&host, port) else { return None };
    let target = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
    (refusal.errno == Some(Errno::EPERM))
        .then(|| Denial::likely(Operation::Connect, target, *refusal, said.program.clone()))
}

/// Where relative paths may start: the command's directory, and what its arguments lead it into (`-C DIR`, `cd DIR`).
fn directories(ended: &Ended<'_>) -> Vec<PathBuf> {
    let mut found = vec![ended.cwd.to_owned()];
    let words: Vec<&str> =
        ended.argv.iter().filter_map(|word| word.to_str()).flat_map(str::split_whitespace).collect();
    for pair in words.windows(2) {
        if let [option, directory] = pair
            && matches!(*option, "-C" | "cd" | "--directory" | "--prefix")
            && found.len() < 8
        {
            let trimmed = directory.trim_matches(|mark| matches!(mark, '\'' | '"' | ';'));
            found.push(plainly(&ended.cwd.join(trimmed)));
        }
    }
    found
}

/// A path without `.`; what `..` means is left to whoever follows links.
fn plainly(path: &Path) -> PathBuf {
    path.components()
        .filter(|component| !matches!(component, Component::CurDir))
        .map(Component::as_os_str)
        .collect::<Vec<&OsStr>>()
        .iter()
        .collect()
}

/// Whether a TCP socket listens at this port outside of the sandbox, as far as we can see.
fn listens_outside(port: u16) -> bool {
    const LISTENING: &str = "0A";
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        let table = std::fs::read_to_string(table).unwrap_or_default();
        table.lines().skip(1).any(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            let local = words.next().and_then(|address| address.rsplit(':').next());
            local.and_then(|hex| u16::from_str_radix(hex, 16).ok()) == Some(port)
                && words.nth(1) == Some(LISTENING)
        })
    })
}
