//! The kernel without a library between: the only `unsafe` of the probes.
//!
//! Justification: the sandbox filters system calls by number and raw argument. To prove that a call is refused, whatever
//! a library would do before it, a probe must make that very call, with arguments that no safe wrapper would pass.

#![expect(unsafe_code, reason = "raw system calls are what this file is for")]

use std::ffi::CString;
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, fork as nix_fork};

/// One argument of a system call.
pub(crate) enum Word {
    /// A number as it is.
    Number(u64),
    /// A pointer to these bytes, which the kernel may overwrite.
    Buffer(Vec<u8>),
}

/// Makes a system call.
///
/// A table of a suite chooses number and arguments. None of its rows hands the kernel memory of this process other than
/// the buffers built here: other pointers in it are null or unmapped, and give `EFAULT`.
pub(crate) fn syscall(number: i64, words: &mut [Word]) -> Result<i64, Errno> {
    let mut arguments = [0u64; 6];
    for (argument, word) in arguments.iter_mut().zip(words) {
        *argument = match word {
            Word::Number(number) => *number,
            Word::Buffer(bytes) => bytes.as_mut_ptr() as u64,
        };
    }
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the buffers are alive and writable for the call's whole duration; everything else is a plain number, or a
    // pointer that the kernel checks and refuses. The process does nothing afterwards but print the result.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

/// Makes a system call by the 32-bit gate of x86-64.
#[cfg(target_arch = "x86_64")]
pub(crate) fn int80(number: u32) -> i32 {
    let result: i64;
    // SAFETY: the gate takes the number in eax and answers in rax. Calls without arguments, the only ones made here, touch
    // no memory of ours; the kernel may clear r8 to r11 on this path, so they are declared as lost.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("rax") i64::from(number) => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    #[expect(clippy::cast_possible_truncation, reason = "the gate answers in 32 bits")]
    let result = result as i32;
    result
}

/// Forks. The probes have one thread, so the child may do what it likes.
pub(crate) fn fork() -> Result<ForkResult, Errno> {
    // SAFETY: no other thread exists whose locks or half-written data the child could inherit.
    unsafe { nix_fork() }
}

/// Sets a signal to be ignored, or back to its default.
pub(crate) fn dispose(signal: Signal, ignore: bool) -> Result<(), Errno> {
    let handler = if ignore { SigHandler::SigIgn } else { SigHandler::SigDfl };
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: neither disposition runs code of ours.
    unsafe { sigaction(signal, &action) }.map(drop)
}

/// Makes `to` a copy of the descriptor `from` that survives exec.
pub(crate) fn duplicate_to(from: RawFd, to: RawFd) -> Result<(), Errno> {
    // SAFETY: the caller owns `from`; `to` is a number that nothing else in this process uses.
    Errno::result(unsafe { libc::dup2(from, to) }).map(drop)
}

/// Replaces this process by a program, with the argv and environment given.
pub(crate) fn exec(program: &CString, arguments: &[CString]) -> Errno {
    match nix::unistd::execvp(program, arguments) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}
