//! Closing system calls with seccomp: the denials of [`table`], assembled into one filter and installed.

mod assemble;
mod conditions;
mod program;
mod table;

use nix::errno::Errno;
use seccompiler::{BpfProgram, apply_filter, sock_filter};

use crate::error::{SetupError, Step};
use crate::plan::{Isolation, Network, Plan};
use assemble::{answered, assemble};
use program::{Instruction, Program};
pub use table::{Answer, Denial, denials};
use table::{LANDLOCK_OFF, LANDLOCK_ON, NAMESPACES_OFF, NAMESPACES_ON};

/// A filter, made when the program is compiled, and how many calls it answers.
struct Filter {
    instructions: &'static [Instruction],
    answered: u32,
}

macro_rules! filter {
    ($groups:expr) => {{
        const PROGRAM: Program = assemble($groups);
        static INSTRUCTIONS: [Instruction; PROGRAM.length] = PROGRAM.exact();
        Filter { instructions: &INSTRUCTIONS, answered: const { answered($groups) } }
    }};
}

/// The filter for a plan that restricts something.
const fn filter(isolation: Isolation, network: Network) -> Filter {
    match (isolation, network) {
        (Isolation::Landlock, Network::Off) => filter!(LANDLOCK_OFF),
        (Isolation::Landlock, Network::Full) => filter!(LANDLOCK_ON),
        (Isolation::Namespaces, Network::Off) => filter!(NAMESPACES_OFF),
        (Isolation::Namespaces, Network::Full) => filter!(NAMESPACES_ON),
    }
}

impl Filter {
    fn program(&self) -> BpfProgram {
        let instruction = |Instruction { code, jt, jf, k }: &Instruction| sock_filter {
            code: *code,
            jt: *jt,
            jf: *jf,
            k: *k,
        };
        self.instructions.iter().map(instruction).collect()
    }
}

/// How many system calls the filter for a plan answers, for some or all arguments.
pub(super) const fn answered_by(plan: &Plan) -> u32 {
    filter(plan.isolation, plan.network).answered
}

/// Installs the filter for a plan. Returns how many system calls it answers.
pub(super) fn install(plan: &Plan) -> Result<u32, SetupError> {
    apply_filter(&filter(plan.isolation, plan.network).program()).map_err(|error| {
        let errno = match error {
            seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error.raw_os_error(),
            _ => None,
        };
        SetupError::call(Step::Seccomp, "seccomp", errno.map_or(Errno::UnknownErrno, Errno::from_raw))
            .hint("this kernel, or what runs us, refuses seccomp filters")
    })?;
    Ok(answered_by(plan))
}
