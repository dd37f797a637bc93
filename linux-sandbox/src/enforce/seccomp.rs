//! Closing system calls with seccomp: the denials of [`table`], assembled into one filter and installed; and the last
//! filter, which only the command gets, where the [broker](crate::broker) decides what it connects to. And two that refuse
//! nothing, for a command that is [observed](crate::observe).

mod assemble;
mod conditions;
mod last;
mod observing;
mod program;
mod purpose;
mod table;

use nix::errno::Errno;
use seccompiler::{BpfProgram, apply_filter, sock_filter};

use crate::broker::UnixSockets;
use crate::error::{SetupError, Step};
use crate::plan::{Isolation, Network, Plan};
use assemble::{answered, assemble};
pub(super) use last::finish;
pub(crate) use observing::install_observing;
use program::{Instruction, Program};
use purpose::Purpose;
pub use table::{Answer, Denial, denials, refused_call};
use table::{LANDLOCK_OFF, LANDLOCK_ON, NAMESPACES_BROKER, NAMESPACES_OFF, NAMESPACES_ON, NAMESPACES_UNIX};

/// A filter, made when the program is compiled, and how many calls it answers.
struct Filter {
    instructions: &'static [Instruction],
    answered: u32,
}

macro_rules! filter {
    ($groups:expr) => {{
        const PROGRAM: Program = assemble($groups, Purpose::Refuse);
        static INSTRUCTIONS: [Instruction; PROGRAM.length] = PROGRAM.exact();
        Filter { instructions: &INSTRUCTIONS, answered: const { answered($groups) } }
    }};
}

/// The filter for a plan that restricts something.
const fn filter(isolation: Isolation, network: Network, unix_sockets: UnixSockets) -> Filter {
    match (isolation, network, unix_sockets) {
        (Isolation::Landlock, Network::Off, _) => filter!(LANDLOCK_OFF),
        (Isolation::Landlock, Network::Full, _) => filter!(LANDLOCK_ON),
        (Isolation::Namespaces, _, UnixSockets::Landlock) => filter!(NAMESPACES_UNIX),
        (Isolation::Namespaces, _, UnixSockets::Broker) => filter!(NAMESPACES_BROKER),
        (Isolation::Namespaces, Network::Off, UnixSockets::Refused) => filter!(NAMESPACES_OFF),
        (Isolation::Namespaces, Network::Full, UnixSockets::Refused) => filter!(NAMESPACES_ON),
    }
}

impl Filter {
    fn program(&self) -> BpfProgram {
        compiled(self.instructions)
    }
}

/// A filter as the kernel takes it.
fn compiled(program: &[Instruction]) -> BpfProgram {
    program
        .iter()
        .map(|Instruction { code, jt, jf, k }| sock_filter { code: *code, jt: *jt, jf: *jf, k: *k })
        .collect()
}

/// How many system calls the filters for a plan answer, for some or all arguments.
pub(super) const fn answered_by(plan: &Plan, unix_sockets: UnixSockets) -> u32 {
    filter(plan.isolation, plan.network, unix_sockets).answered
        + match unix_sockets {
            UnixSockets::Broker => last::MORE_ANSWERED,
            UnixSockets::Refused | UnixSockets::Landlock => 0,
        }
}

/// Installs the filter for a plan. Where there is a broker, it becomes the broker's, and [`finish`] makes the command's of it.
pub(super) fn install(plan: &Plan, unix_sockets: UnixSockets) -> Result<(), SetupError> {
    apply(&filter(plan.isolation, plan.network, unix_sockets).program())
}

fn apply(program: &BpfProgram) -> Result<(), SetupError> {
    apply_filter(program).map_err(|error| {
        let errno = match error {
            seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error.raw_os_error(),
            _ => None,
        };
        SetupError::call(Step::Seccomp, "seccomp", errno.map_or(Errno::UnknownErrno, Errno::from_raw))
            .hint("this kernel, or what runs us, refuses seccomp filters")
    })
}
