//! The last filter, which the command has and the broker has not: it asks the broker, and takes from the command what
//! only the broker needs.
//!
//! It stands on top of the other one, which ends a process that makes calls of another architecture, so that a number
//! means one call here.

use std::os::fd::OwnedFd;

use super::compiled;
use super::program::{BPF_JMP_JEQ_K, Instruction, answer, denied, jump, load};
use super::table::Answer;
use crate::broker::UnixSockets;
use crate::error::SetupError;
use crate::plan::Network;
use crate::sys;

/// Where `struct seccomp_data` has the number of the call, and its first argument.
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;
const AF_UNIX: u32 = 1;

/// How many calls the last filter answers that the one below it does not: those that the broker is asked about, and those
/// that it alone may make.
pub(super) const MORE_ANSWERED: u32 = ASKED + SERVED;
const ASKED: u32 = 2;
const SERVED: u32 = 2;

/// Installs the last filter in the command's process. Returns how unix sockets are closed by it, and what the broker
/// listens to.
///
/// There may be one listener only for a process (`EBUSY`), and what runs us may have it. Unix sockets are refused then, as
/// by a kernel without notifications.
pub(in crate::enforce) fn finish(network: Network) -> Result<(UnixSockets, Option<OwnedFd>), SetupError> {
    match sys::install_listening_filter(&compiled(&asking(network))) {
        Ok(listener) => Ok((UnixSockets::Broker, Some(listener))),
        Err(_none) => {
            let program = compiled(&refusing());
            super::apply(&program)?;
            Ok((UnixSockets::Refused, None))
        }
    }
}

/// What asks the broker: about `connect`, and about the call by which a socket becomes one that can be connected to.
///
/// In a network namespace of our own that is `listen`, by which the broker learns of it. Elsewhere it is `bind`: a name
/// without a file would be one on the host.
pub(super) fn asking(network: Network) -> Vec<Instruction> {
    let second = match network {
        Network::Off => libc::SYS_listen,
        Network::Full => libc::SYS_bind,
    };
    let mut program = vec![load(NUMBER)];
    for call in [libc::SYS_connect, second] {
        program.extend(on(call, libc::SECCOMP_RET_USER_NOTIF));
    }
    program.extend(served());
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

/// What closes unix sockets where nobody can be asked.
pub(super) fn refusing() -> Vec<Instruction> {
    let mut program = vec![load(NUMBER)];
    program.extend(served());
    program.extend([
        jump(BPF_JMP_JEQ_K, number(libc::SYS_socket), 0, 2),
        load(FIRST_ARGUMENT),
        jump(BPF_JMP_JEQ_K, AF_UNIX, 1, 0),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(denied(Answer::NotPermitted)),
    ]);
    program
}

fn served() -> impl Iterator<Item = Instruction> {
    [libc::SYS_process_vm_readv, libc::SYS_pidfd_getfd]
        .into_iter()
        .flat_map(|call| on(call, denied(Answer::NotPermitted)))
}

fn on(call: i64, action: u32) -> [Instruction; 2] {
    [jump(BPF_JMP_JEQ_K, number(call), 0, 1), answer(action)]
}

/// The number of a call as the filter sees it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers of calls are small")]
const fn number(call: i64) -> u32 {
    call as u32
}
