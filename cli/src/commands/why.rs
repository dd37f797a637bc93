//! `codex debug why`: what the policy in effect says about one operation, without trying it.

use std::ffi::OsStr;
use std::path::Path;

use codex_core::denial::{Operation, Verdict};
use codex_core::exec::try_namespaces;
use codex_linux_sandbox::shown;

use crate::args::{WhyArgs, WhyOperation};
use crate::exit_code;
use crate::meaning::{Meaning, MeaningError};
use crate::render;
use crate::render::why::Answer;

pub(crate) fn why(args: &WhyArgs) -> i32 {
    match answer(args) {
        Ok(answer) => {
            let printed =
                if args.json { render::json(&answer) } else { render::bytes(answer.text().as_bytes()) };
            match (printed, answer.is_allowed()) {
                (exit_code::SUCCESS, true) => exit_code::SUCCESS,
                (exit_code::SUCCESS, false) => exit_code::DENIED,
                (failed, _) => failed,
            }
        }
        Err(WhyError::Meaning(error)) => render::refusal(&error.to_string(), error.exit_code()),
        Err(error) => render::refusal(&error.to_string(), exit_code::USAGE),
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum WhyError {
    #[error(transparent)]
    Meaning(#[from] MeaningError),
    #[error("{path}: {why}", path = shown(.0), why = .1.desc())]
    Path(std::ffi::OsString, nix::errno::Errno),
    #[error("{host} is no HOST:PORT", host = shown(.0))]
    Host(std::ffi::OsString),
    #[error("{pid} is no number of a process", pid = shown(.0))]
    Process(std::ffi::OsString),
}

fn answer(args: &WhyArgs) -> Result<Answer, WhyError> {
    let meaning = Meaning::of(&args.policy)?;
    // The answer depends on the level, and only making namespaces tells whether there are any.
    drop(try_namespaces());
    let sandbox = meaning.sandbox()?;
    let protection = sandbox.protection();
    let dwelling = sandbox.dwelling(meaning.world.home.as_deref(), &meaning.environment()?);
    let judge = sandbox.judge(protection.as_ref(), &dwelling);
    let object = args.object.as_os_str();
    let path = || {
        // As a command would take it: from where it runs.
        let base = meaning.directory.as_deref().unwrap_or(Path::new(""));
        let path = base.join(object);
        meaning.world.absolute(&path).ok_or_else(|| MeaningError::NoWorkingDirectory(path.clone()))
    };
    let file = |operation: Operation| -> Result<(Operation, Verdict), WhyError> {
        let path = path()?;
        let operation = match operation {
            Operation::Write if path.symlink_metadata().is_err() => Operation::Create,
            operation => operation,
        };
        let verdict = match operation {
            Operation::Unix => judge.unix(&path),
            operation => judge.file(operation, &path),
        };
        Ok((operation, verdict.map_err(|errno| WhyError::Path(object.to_owned(), errno))?))
    };
    let (operation, verdict) = match args.operation {
        WhyOperation::Write => file(Operation::Write)?,
        WhyOperation::Create => file(Operation::Create)?,
        WhyOperation::Remove => file(Operation::Remove)?,
        WhyOperation::Rename => file(Operation::Rename)?,
        WhyOperation::Metadata => file(Operation::Metadata)?,
        WhyOperation::Read => file(Operation::Read)?,
        WhyOperation::Unix => file(Operation::Unix)?,
        WhyOperation::Connect => {
            let (host, port) = host_and_port(object).ok_or_else(|| WhyError::Host(object.to_owned()))?;
            (Operation::Connect, judge.connect(&host, Some(port)))
        }
        WhyOperation::Signal => {
            let number = object.to_str().and_then(|text| text.parse::<u32>().ok());
            number.ok_or_else(|| WhyError::Process(object.to_owned()))?;
            (Operation::Signal, judge.signal())
        }
    };
    Ok(Answer::new(operation, object, judge.level, verdict))
}

fn host_and_port(object: &OsStr) -> Option<(String, u16)> {
    let (host, port) = object.to_str()?.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_host = !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
    Some((bare.to_owned(), port.parse().ok()?)).filter(|_| is_host)
}
