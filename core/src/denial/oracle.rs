//! What a failed command said, compared with the policy: likely denials, and none that the policy does not refuse.
//!
//! A message alone proves nothing. It becomes a denial where, at the level that the command ran at, the policy refuses that
//! operation on that object with that very error, and the user's own permissions would have let it happen.

mod calls;
mod hosts;
pub mod message;
mod words;

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;

use super::across;
use super::fold::Fold;
use super::grant::on_the_way;
use super::judge::{Judge, Operation, Verdict, locate};
use super::record::Denial;
use super::seen::device;
use super::tools::is_without_proxy;
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
    let text = String::from_utf8_lossy(tail);
    let said = message::read(&text);
    // What only the arguments can name is asked where nothing was named.
    let (typed, named): (Vec<Said>, Vec<Said>) =
        said.into_iter().take(MOST_SAID).partition(|said| matches!(said.target, Target::Typed(_)));
    for said in &named {
        if let Some(denial) = confirm(said, ended, judge) {
            fold.push(denial);
        }
    }
    for denial in calls::refused(&text, ended, judge).into_iter().take(MOST_SAID) {
        fold.push(denial);
    }
    let found = told_once(fold.finish());
    if !found.is_empty() {
        return found;
    }
    typed.iter().find_map(|said| confirm(said, ended, judge)).into_iter().collect()
}

/// Without what says less than another: the network beside a host, a host beside its port, the way beside what it leads to.
fn told_once(denials: Vec<Denial>) -> Vec<Denial> {
    let says_more = |denial: &Denial| {
        denials.iter().any(|other| match (denial.operation, other.operation) {
            (Operation::Connect, Operation::Connect | Operation::Unix) if denial.target == THE_NETWORK => {
                other.target != THE_NETWORK
            }
            (Operation::Connect, Operation::Connect) => {
                other.target.strip_prefix(&denial.target).is_some_and(|rest| rest.starts_with(':'))
            }
            (Operation::Create, Operation::Create)
                if denial.allow.is_some() && denial.allow == other.allow =>
            {
                let place = |denial: &Denial| denial.resolved_target.clone().map(PathBuf::from);
                place(denial).zip(place(other)).is_some_and(|(way, end)| end != way && end.starts_with(way))
            }
            _ => false,
        })
    };
    let less: Vec<bool> = denials.iter().map(says_more).collect();
    denials.into_iter().zip(less).filter(|(_, less)| !less).map(|(denial, _)| denial).collect()
}

/// What is said for a host that nobody names.
pub const THE_NETWORK: &str = "the network";

/// Whether anything is to be explained. An ending by somebody's hand, or one before anything ran, is not.
const fn ended_badly(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Exited { code } => *code != 0,
        Outcome::Signalled { .. } | Outcome::TimedOut { .. } | Outcome::IdleTimedOut { .. } => true,
        Outcome::NotExecuted { .. }
        | Outcome::OutputExceeded { .. }
        | Outcome::LimitExceeded { .. }
        | Outcome::Cancelled
        | Outcome::ObserverEnded
        | Outcome::SetupFailed { .. } => false,
    }
}

fn confirm(said: &Said, ended: &Ended<'_>, judge: &Judge<'_>) -> Option<Denial> {
    match &said.target {
        Target::Path(path) => confirm_path(said, path, ended, judge),
        Target::Two(from, to) => confirm_two(said, from, to, ended, judge),
        Target::Typed(options) => confirm_typed(said, options, ended, judge),
        Target::Host { host, port } => match socket_named(ended) {
            // The host is only what is told to whoever listens there.
            Some(path) => confirm_socket(said, path, ended, judge),
            None => confirm_host(said, host, port.or_else(|| port_typed(host, ended)), judge),
        },
        Target::Unnamed => confirm_unnamed(said, ended, judge),
    }
}

fn confirm_path(said: &Said, path: &str, ended: &Ended<'_>, judge: &Judge<'_>) -> Option<Denial> {
    directories(ended).into_iter().find_map(|directory| {
        let absolute = plainly(&directory.join(path));
        said.operations().iter().find_map(|operation| {
            // A directory is not written: something was to be made in it.
            let in_it = *operation == Operation::Write && absolute.is_dir();
            let operation = if in_it { Operation::Create } else { *operation };
            let object = if in_it { absolute.join("…") } else { absolute.clone() };
            let verdict = match operation {
                Operation::Unix => judge.unix(&object),
                operation => judge.file(operation, &object),
            };
            let Ok(Verdict::Denied(mut refusal)) = verdict else { return None };
            if in_it {
                refusal.resolved = refusal.resolved.and_then(|place| place.parent().map(Path::to_owned));
            }
            (agrees(said, refusal.errno, &object, judge)
                && fits(operation, &object)
                && judge.possible_outside(operation, &object))
            .then(|| {
                // What is named from elsewhere would be taken for something here.
                let named = if directory == ended.cwd { Path::new(path) } else { &absolute };
                let named = if in_it { named.join("…") } else { named.to_owned() };
                let named = named.to_string_lossy().into_owned();
                let denial = Denial::likely(operation, named, *refusal, said.program.clone());
                on_the_way(judge, denial, ended.argv)
            })
        })
    })
}

/// A name that could not lead elsewhere, where both lie on one file system and the sandbox keeps them apart.
fn confirm_two(said: &Said, from: &str, to: &str, ended: &Ended<'_>, judge: &Judge<'_>) -> Option<Denial> {
    directories(ended).into_iter().find_map(|directory| {
        let place = |path: &str| locate(&plainly(&directory.join(path)), false).ok();
        let (from_place, to_place) = (place(from)?, place(to)?);
        let parent = to_place.parent()?;
        let lies_on = device(judge, &from_place)?;
        let would_be = across::lie_apart(judge, &from_place, &to_place)
            && device(judge, parent) == Some(lies_on)
            && judge.possible_outside(Operation::Create, &to_place);
        let is_a_link = said.operation == Some(Operation::Create);
        let verdict = |operation, (_, place): (&str, &Path)| match judge.file_at(operation, place.to_owned())
        {
            Verdict::Denied(refusal) => Some(*refusal),
            Verdict::Allowed { .. } => None,
        };
        let (operation, (name, _), refusal) = across::refused(
            judge,
            is_a_link,
            [(Operation::Rename, (from, &*from_place)), (Operation::Create, (to, &*to_place))],
            [Some(&*from_place), Some(&*to_place)],
            verdict,
        )?;
        would_be.then(|| Denial::likely(operation, name.to_owned(), refusal, said.program.clone()))
    })
}

/// Whether what was said is what the sandbox would have answered.
fn agrees(said: &Said, refused: Option<Errno>, path: &Path, judge: &Judge<'_>) -> bool {
    let parent_is_there = || path.parent().is_some_and(Path::is_dir);
    match said.errno {
        // What node says of any error but a few. With the parent there, nothing is missing.
        Some(Errno::ENOENT) => refused == Some(Errno::EROFS) && parent_is_there(),
        Some(errno) => refused == Some(errno),
        // What a way lacks is no denial, but for a tool that makes the way to its own place.
        None => parent_is_there() || judge.dwelling.tools().any(|(place, _)| path.starts_with(place)),
    }
}

/// The one file of the arguments that it can be about: refused, and with a grant. Of several, nobody knows which.
fn confirm_typed(said: &Said, options: &[&str], ended: &Ended<'_>, judge: &Judge<'_>) -> Option<Denial> {
    let words = words_of(ended);
    let mut found: Vec<Denial> = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|index| words.get(index)).copied().unwrap_or_default();
        if !word.starts_with('/') || !(options.is_empty() || options.contains(&before)) {
            continue;
        }
        let denial = confirm_path(said, word, ended, judge).filter(|denial| denial.allow.is_some());
        found.extend(denial.filter(|denial| found.iter().all(|known| known.target != denial.target)));
    }
    found.pop().filter(|_| found.is_empty())
}

/// Whether there is something to do this to.
fn fits(operation: Operation, path: &Path) -> bool {
    match operation {
        Operation::Create => leads_to_nothing(path),
        Operation::Unix => {
            use std::os::unix::fs::FileTypeExt as _;
            path.metadata().is_ok_and(|status| status.file_type().is_socket())
        }
        _ => path.symlink_metadata().is_ok(),
    }
}

/// Whether a path, links followed, leads to nothing that is there, or to a place that can't be looked at.
pub(super) fn leads_to_nothing(path: &Path) -> bool {
    match path.metadata() {
        Ok(_) => false,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(_) => path.symlink_metadata().is_err(),
    }
}

/// The unix socket that the arguments name in place of a host: curl's option.
fn socket_named<'a>(ended: &Ended<'a>) -> Option<&'a Path> {
    let mut words = ended.argv.iter().skip_while(|word| *word != "--unix-socket").skip(1);
    words.next().map(Path::new)
}

fn confirm_socket(said: &Said, path: &Path, ended: &Ended<'_>, judge: &Judge<'_>) -> Option<Denial> {
    let absolute = plainly(&ended.cwd.join(path));
    let Ok(Verdict::Denied(refusal)) = judge.unix(&absolute) else { return None };
    let target = path.to_string_lossy().into_owned();
    (fits(Operation::Unix, &absolute) && judge.possible_outside(Operation::Unix, &absolute))
        .then(|| Denial::likely(Operation::Unix, target, *refusal, said.program.clone()))
}

/// The port at which the arguments name a host that is said without one.
fn port_typed(host: &str, ended: &Ended<'_>) -> Option<u16> {
    let mut named = urls(ended).filter_map(hosts::host_of);
    named.find(|(named, _)| named.eq_ignore_ascii_case(host)).and_then(|(_, port)| port)
}

/// What looks like URLs in the arguments.
fn urls<'a>(ended: &Ended<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    words_of(ended).into_iter().filter(|part| part.contains("://"))
}

/// The words of the arguments, and of scripts in them.
fn words_of<'a>(ended: &Ended<'a>) -> Vec<&'a str> {
    let words = ended.argv.iter().filter_map(|word| word.to_str());
    let parts = words.flat_map(|word| word.split(|c: char| c.is_whitespace() || "'\"()<>;,".contains(c)));
    parts.filter(|part| !part.is_empty()).collect()
}

fn confirm_host(said: &Said, host: &str, port: Option<u16>, judge: &Judge<'_>) -> Option<Denial> {
    let verdict = match &said.program {
        Some(program) if is_without_proxy(program) => judge.connect_directly(host, port),
        _ => judge.connect(host, port),
    };
    let Verdict::Denied(refusal) = verdict else { return None };
    let agrees = match (refusal.errno, said.errno) {
        // On a loopback of its own, nobody listening is an answer like any other, unless somebody does outside.
        (Some(Errno::ECONNREFUSED), Some(Errno::ECONNREFUSED) | None) => port.is_some_and(listens_outside),
        (Some(refused), Some(errno)) => refused == errno,
        // A name that could not be looked up, or a failure without a reason.
        (_, None) => true,
        (None, Some(_)) => false,
    };
    let target = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    agrees.then(|| Denial::likely(Operation::Connect, target, *refusal, said.program.clone()))
}

/// Somebody could not be reached, and the program does not say whom. Its arguments may.
fn confirm_unnamed(said: &Said, ended: &Ended<'_>, judge: &Judge<'_>) -> Option<Denial> {
    if judge.policy.network == NetworkAccess::Enabled {
        return None;
    }
    if let Some((host, port)) = urls(ended).next().and_then(hosts::host_of) {
        return confirm_host(said, &host, port, judge);
    }
    let Verdict::Denied(refusal) = judge.network() else { return None };
    let agrees = said.lookup || (said.errno.is_some() && refusal.errno == said.errno);
    agrees.then(|| Denial::likely(Operation::Connect, THE_NETWORK.to_owned(), *refusal, said.program.clone()))
}

/// Where relative paths may start: what the arguments lead the command into (`-C DIR`, `cd DIR`), and its own directory.
fn directories(ended: &Ended<'_>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let words: Vec<&str> = typed_words(ended.argv).collect();
    for pair in words.windows(2) {
        if let [option, directory] = pair
            && matches!(*option, "-C" | "cd" | "--directory" | "--prefix")
            && found.len() < 7
        {
            let trimmed = directory.trim_matches(|mark| matches!(mark, '\'' | '"' | ';'));
            found.push(plainly(&ended.cwd.join(trimmed)));
        }
    }
    found.push(ended.cwd.to_owned());
    found
}

/// The words of the arguments, and of scripts in them, with their marks.
pub(super) fn typed_words(argv: &[OsString]) -> impl Iterator<Item = &str> {
    argv.iter().filter_map(|word| word.to_str()).flat_map(str::split_whitespace)
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
pub(super) fn listens_outside(port: u16) -> bool {
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
