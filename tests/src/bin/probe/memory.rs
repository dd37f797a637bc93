//! System calls as raw numbers: whatever has no act of its own.

use std::ffi::OsString;
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::raw::{Word, syscall};
use crate::{Failure, Outcome};

pub(crate) fn act(name: &str, arguments: &[OsString]) -> Option<Outcome> {
    Some(match name {
        "syscall" => call(arguments),
        #[cfg(target_arch = "x86_64")]
        "int80" => int80(arguments),
        _ => return None,
    })
}

/// `syscall NUMBER WORD…`: a word is one of
///
/// | word | is |
/// |---|---|
/// | `-1`, `0x10` | a number |
/// | `text:STRING`, `zeros:COUNT`, `bytes:HEX` | a pointer to these bytes |
/// | `read:PATH`, `hold:PATH` | a descriptor of what is there, opened for reading or as a place only |
/// | `link:PATH` | a pointer to the name in `/proc/self/fd` of such a place |
/// | `pidfd:PID` | a descriptor of that process |
fn call(arguments: &[OsString]) -> Outcome {
    let mut words = arguments.iter().map(word);
    let Some(Word::Number(number)) = words.next().transpose()? else {
        return Err(Failure::Usage("syscall needs a number".into()));
    };
    let mut words: Vec<Word> = words.collect::<Result<_, _>>()?;
    let result = syscall(number.cast_signed(), &mut words)?;
    Ok(result.to_string())
}

/// `int80 NUMBER`, a call without arguments.
#[cfg(target_arch = "x86_64")]
fn int80(arguments: &[OsString]) -> Outcome {
    let [number] = arguments else { return Err(Failure::Usage("int80 needs a number".into())) };
    let number =
        number.to_string_lossy().parse().map_err(|_| format!("not a number: {}", number.display()))?;
    let result = crate::raw::int80(number);
    if result < 0 {
        return Err(Errno::from_raw(-result).into());
    }
    Ok(result.to_string())
}

fn word(argument: &OsString) -> Result<Word, Failure> {
    let bytes = argument.as_bytes();
    let number_of = |descriptor: OwnedFd| u64::from(descriptor.into_raw_fd().unsigned_abs());
    if let Some(path) = bytes.strip_prefix(b"read:") {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        return Ok(Word::Number(number_of(open(path, flags, Mode::empty())?)));
    }
    if let Some(path) = bytes.strip_prefix(b"hold:") {
        return Ok(Word::Number(number_of(hold(path)?)));
    }
    if let Some(path) = bytes.strip_prefix(b"link:") {
        return Ok(Word::Buffer(format!("/proc/self/fd/{}\0", number_of(hold(path)?)).into_bytes()));
    }
    if let Some(pid) = bytes.strip_prefix(b"pidfd:") {
        let pid = number(&String::from_utf8_lossy(pid)).ok_or_else(|| "not a pid".to_owned())?;
        let held = syscall(libc::SYS_pidfd_open, &mut [Word::Number(pid), Word::Number(0)])?;
        return Ok(Word::Number(held.cast_unsigned()));
    }
    if let Some(text) = bytes.strip_prefix(b"text:") {
        return Ok(Word::Buffer([text, b"\0"].concat()));
    }
    let text = argument.to_string_lossy();
    let broken = || format!("not a word: {text}");
    if let Some(count) = text.strip_prefix("zeros:") {
        return Ok(Word::Buffer(vec![0; count.parse().map_err(|_| broken())?]));
    }
    if let Some(hex) = text.strip_prefix("bytes:") {
        let pairs = hex.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|_| broken())?;
            u8::from_str_radix(pair, 16).map_err(|_| broken())
        });
        return Ok(Word::Buffer(pairs.collect::<Result<_, _>>()?));
    }
    number(&text).map(Word::Number).ok_or_else(|| broken().into())
}

/// Takes hold of a place without opening it, the last symlink itself included.
fn hold(path: &[u8]) -> Result<OwnedFd, Errno> {
    open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// A number in decimal or hexadecimal, negative ones as the kernel sees them.
fn number(text: &str) -> Option<u64> {
    match (text.strip_prefix("0x"), text.strip_prefix('-')) {
        (Some(hex), _) => u64::from_str_radix(hex, 16).ok(),
        (None, Some(magnitude)) => magnitude.parse::<u64>().ok().map(u64::wrapping_neg),
        (None, None) => text.parse().ok(),
    }
}
