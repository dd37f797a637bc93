//! Closing system calls with seccomp: the denials of [`table`], assembled into one filter and installed.

mod assemble;
mod conditions;
mod program;
mod table;

use nix::errno::Errno;
use seccompiler::{BpfProgram, apply_filter, sock_filter};

use crate::error::{SetupError, Step};
use crate::plan::{Network, Plan};
use assemble::{answered, assemble};
use program::{Instruction, Program};
pub use table::{Answer, Denial, denials};
use table::{NETWORK_OFF, NETWORK_ON};

/// The filters, made when the program is compiled.
const WITH_NETWORK_OFF: Program = assemble(NETWORK_OFF);
const WITH_NETWORK_ON: Program = assemble(NETWORK_ON);
static FILTER_NETWORK_OFF: [Instruction; WITH_NETWORK_OFF.length] = WITH_NETWORK_OFF.exact();
static FILTER_NETWORK_ON: [Instruction; WITH_NETWORK_ON.length] = WITH_NETWORK_ON.exact();
const ANSWERED_NETWORK_OFF: u32 = answered(NETWORK_OFF);
const ANSWERED_NETWORK_ON: u32 = answered(NETWORK_ON);

/// The filter for a plan that restricts something.
fn filter(network: Network) -> BpfProgram {
    let instructions: &[Instruction] = match network {
        Network::Off => &FILTER_NETWORK_OFF,
        Network::Full => &FILTER_NETWORK_ON,
    };
    let instruction =
        |Instruction { code, jt, jf, k }: &Instruction| sock_filter { code: *code, jt: *jt, jf: *jf, k: *k };
    instructions.iter().map(instruction).collect()
}

/// How many system calls the filter for a plan answers, for some or all arguments.
pub(super) const fn answered_by(plan: &Plan) -> u32 {
    match plan.network {
        Network::Off => ANSWERED_NETWORK_OFF,
        Network::Full => ANSWERED_NETWORK_ON,
    }
}

/// Installs the filter for a plan. Returns how many system calls it answers.
pub(super) fn install(plan: &Plan) -> Result<u32, SetupError> {
    apply_filter(&filter(plan.network)).map_err(|error| {
        let errno = match error {
            seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error.raw_os_error(),
            _ => None,
        };
        SetupError::call(Step::Seccomp, "seccomp", errno.map_or(Errno::UnknownErrno, Errno::from_raw))
            .hint("this kernel, or what runs us, refuses seccomp filters")
    })?;
    Ok(answered_by(plan))
}
