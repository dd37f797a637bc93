//! The last command of `codex sandbox` that failed, remembered for whoever asks why: `$CODEX_HOME/last-failed.json`.
//!
//! Kept are the words that were typed, and where. The environment is not, nor what the command wrote. A policy keeps commands away
//! from the directory, so that what is read here was written here; all the same it is only ever run where nothing changes.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use codex_core::denial::LastFailed;
use codex_core::enforcement::ExplanationKind;
use codex_core::exec::{ExecResult, Outcome};
use codex_linux_sandbox::shown;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;

use crate::args::behind_the_sandbox_verb;
use crate::world::World;

const NAME: &str = "last-failed.json";
/// Longer command lines are not kept.
const LONGEST: u64 = 1024 * 1024;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LastFailedError {
    #[error(
        "there is no command to explain: none of `codex sandbox` that failed is remembered; name one after `--`"
    )]
    None,
    #[error("{path} can't be read: {why}; name a command after `--`", path = shown(.0), why = .1)]
    Unreadable(PathBuf, io::Error),
    #[error(
        "{path} is not what was written there: it belongs to somebody else, others can write it, or it has another form; name a \
         command after `--`", path = shown(.0)
    )]
    Foreign(PathBuf),
}

/// Remembers a call of `codex sandbox` that failed, and says whether it did. `signal` is one that came to us meanwhile. Where it
/// can't be kept, none is: an earlier one would be taken for it.
pub(crate) fn note(
    typed: &[OsString],
    command: &[OsString],
    result: &ExecResult,
    signal: Option<Signal>,
) -> bool {
    if !is_failure(&result.outcome, signal) || result.enforcement.explanation.kind == ExplanationKind::None {
        return false;
    }
    let Ok(World { codex_home: Some(home), current_directory, .. }) = World::read() else { return false };
    if !home.is_dir() {
        return false;
    }
    let failed = (|| {
        Some(LastFailed {
            directory: current_directory?,
            options: options(typed, command)?.to_vec(),
            command: command.to_vec(),
            ended: result.outcome.sentence(),
            time_ms: now(),
        })
    })();
    let kept = failed.map_or_else(|| Err(io::ErrorKind::InvalidInput.into()), |failed| write(&failed, &home));
    if let Err(error) = &kept {
        tracing::debug!("the command that failed is not remembered: {error}");
        // What is not there is no wrong one either.
        drop(fs::remove_file(home.join(NAME)));
    }
    kept.is_ok()
}

/// Whether a call failed by itself, or by a limit. What a person ended (`sent`) did not.
pub(crate) fn is_failure(outcome: &Outcome, sent: Option<Signal>) -> bool {
    match outcome {
        Outcome::Exited { code } => *code != 0,
        Outcome::Signalled { signal, .. } => {
            [Some(Signal::SIGINT), sent].into_iter().flatten().all(|sent| *signal != sent as i32)
        }
        Outcome::TimedOut { .. }
        | Outcome::IdleTimedOut { .. }
        | Outcome::OutputExceeded { .. }
        | Outcome::LimitExceeded { .. }
        | Outcome::NotExecuted { .. } => true,
        Outcome::Cancelled | Outcome::ObserverEnded | Outcome::SetupFailed { .. } => false,
    }
}

/// What was typed between the verb and the command.
fn options<'w>(typed: &'w [OsString], command: &[OsString]) -> Option<&'w [OsString]> {
    let options = behind_the_sandbox_verb(typed)?.strip_suffix(command)?;
    Some(options.strip_suffix(&[OsString::from("--")]).unwrap_or(options))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn write(failed: &LastFailed, home: &Path) -> io::Result<()> {
    let text = failed.to_json()?;
    if text.len() as u64 > LONGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    // Nobody sees half of it, and of two that fail at a time one is kept.
    let beside = home.join(format!(".{NAME}-{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(&text))
        .and_then(|()| fs::rename(&beside, home.join(NAME)));
    if written.is_err() {
        drop(fs::remove_file(&beside));
    }
    written
}

/// Reads what was remembered last.
pub(crate) fn read(codex_home: Option<&Path>) -> Result<LastFailed, LastFailedError> {
    let Some(path) = codex_home.map(|home| home.join(NAME)) else { return Err(LastFailedError::None) };
    let unreadable = |error| LastFailedError::Unreadable(path.clone(), error);
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LastFailedError::None),
        Err(error) => return Err(unreadable(error)),
    };
    if !is_ours(&file).map_err(unreadable)? {
        return Err(LastFailedError::Foreign(path));
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).map_err(unreadable)?;
    LastFailed::parse(&text).ok_or(LastFailedError::Foreign(path))
}

fn is_ours(file: &File) -> io::Result<bool> {
    const OTHERS_WRITE: u32 = 0o022;
    let status = file.metadata()?;
    Ok(status.is_file()
        && status.uid() == nix::unistd::geteuid().as_raw()
        && status.mode() & OTHERS_WRITE == 0)
}

#[cfg(test)]
mod tests;
