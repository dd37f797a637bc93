//! Using much of something.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike as _;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, alarm, pause};

use crate::raw::fork;
use crate::{Failure, Outcome};

pub(crate) fn act(name: &str, arguments: &[OsString]) -> Option<Outcome> {
    let number = |at: usize| -> Result<u64, Failure> {
        let word = arguments.get(at).and_then(|word| word.to_str());
        Ok(word.and_then(|word| word.parse().ok()).ok_or_else(|| format!("{name} needs a number"))?)
    };
    // For a minute, where nobody ends it.
    let stays = arguments.get(1).is_some_and(|word| word == "stays");
    Some(match name {
        "crowd" => number(0).and_then(|count| crowd(count, stays)),
        "gather" => number(0).and_then(gather),
        "pour" => number(1).and_then(|bytes| pour(arguments, bytes)),
        "spin" => number(0).and_then(spin),
        "hold-memory" => number(0).and_then(|bytes| hold_memory(bytes, stays)),
        _ => return None,
    })
}

/// `crowd COUNT [stays]`: that many children at a time.
fn crowd(count: u64, stays: bool) -> Outcome {
    let mut children: Vec<Pid> = Vec::new();
    let mut answer = Ok(String::new());
    for _ in 0..count {
        match fork() {
            Ok(ForkResult::Child) => {
                alarm::set(60);
                pause();
                std::process::exit(0);
            }
            Ok(ForkResult::Parent { child }) => children.push(child),
            Err(errno) => {
                answer = Err(Failure::Errno(errno));
                break;
            }
        }
    }
    if stays && answer.is_ok() {
        alarm::set(60);
        pause();
    }
    for child in children {
        kill(child, Signal::SIGKILL)?;
        waitpid(child, None)?;
    }
    answer
}

/// `gather COUNT`: descriptors up to that many, those it was given included.
fn gather(count: u64) -> Outcome {
    let mut held = Vec::new();
    while (held.len() as u64) + 3 < count {
        held.push(File::open("/dev/null")?);
    }
    Ok(String::new())
}

/// `pour PATH BYTES`: a file of that size.
fn pour(arguments: &[OsString], bytes: u64) -> Outcome {
    const CHUNK: [u8; 4096] = [b'x'; 4096];
    let path = arguments.first().ok_or_else(|| "pour needs a path".to_owned())?;
    let mut file = File::create(path)?;
    let mut left = bytes;
    while left > 0 {
        let part =
            CHUNK.get(..usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK.len())).unwrap_or(&CHUNK);
        file.write_all(part)?;
        left -= part.len() as u64;
    }
    Ok(String::new())
}

/// `spin MILLISECONDS`: that much processor time.
fn spin(milliseconds: u64) -> Outcome {
    loop {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let used = usage.user_time() + usage.system_time();
        if used.num_milliseconds().unsigned_abs() >= milliseconds {
            return Ok(String::new());
        }
    }
}

/// `hold-memory BYTES`: touches that much.
fn hold_memory(bytes: u64, stays: bool) -> Outcome {
    let mut held: Vec<u8> = Vec::new();
    let size = usize::try_from(bytes).map_err(|_beyond| "too much".to_owned())?;
    held.try_reserve_exact(size).map_err(|_none| Failure::Errno(nix::errno::Errno::ENOMEM))?;
    held.resize(size, 1);
    if stays {
        alarm::set(60);
        pause();
    }
    Ok(format!("{}", held.iter().step_by(4096).map(|byte| u64::from(*byte)).sum::<u64>()))
}
