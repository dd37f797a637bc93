use proptest::prelude::*;
use seccompiler::{BpfProgram, sock_filter};

use super::super::compiled as last_filter;
use super::super::filter;
use super::super::last::{asking, refusing};
use super::super::purpose::Purpose;
use super::super::table::{
    Answer, Condition, Denial, NAMESPACES_BROKER, NEWEST_REVIEWED, Test, Width, denials, groups, listed,
    observed,
};
use super::{NATIVE, X32, assemble};
use crate::broker::UnixSockets;
use crate::observe::MARK;
use crate::plan::{Isolation, Network, Plan, PlanPath, Writes};

/// What the kernel hands to a filter: `struct seccomp_data`.
#[derive(Clone, Copy, Debug)]
struct Call {
    number: u32,
    architecture: u32,
    arguments: [u64; 6],
}

impl Call {
    fn native(number: u32, arguments: [u64; 6]) -> Self {
        Self { number, architecture: NATIVE, arguments }
    }

    fn word(&self, offset: u32) -> u32 {
        let mut bytes = Vec::new();
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.architecture.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(self.arguments.iter().flat_map(|argument| argument.to_le_bytes()));
        let offset = offset as usize;
        u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
    }
}

/// Runs a filter as the kernel does. Returns its answer and how many instructions it took.
fn run(program: &[sock_filter], call: &Call) -> (u32, usize) {
    let (mut accumulator, mut next, mut steps) = (0_u32, 0_usize, 0_usize);
    loop {
        let sock_filter { code, jt, jf, k } = program[next].clone();
        next += 1;
        steps += 1;
        let mut branch = |taken: bool| next += usize::from(if taken { jt } else { jf });
        match code {
            0x20 => accumulator = call.word(k),
            0x54 | 0x50 => accumulator &= k,
            0x05 => next += k as usize,
            0x15 => branch(accumulator == k),
            0x25 => branch(accumulator > k),
            0x45 => branch(accumulator & k != 0),
            0x35 => branch(accumulator >= k),
            0x06 => return (k, steps),
            _ => panic!("instruction {code:#x} is not known to this interpreter"),
        }
    }
}

/// What the tables say, read without any cleverness.
fn expected(denials: &[Denial], call: &Call) -> u32 {
    match call {
        Call { architecture, .. } if *architecture != NATIVE => return libc::SECCOMP_RET_KILL_PROCESS,
        // What a tracer leaves to skip a call, which the kernel answers by itself.
        Call { number: u32::MAX, .. } => return libc::SECCOMP_RET_ALLOW,
        Call { number: X32.., .. } => return libc::SECCOMP_RET_KILL_PROCESS,
        Call { .. } => {}
    }
    let errno = |answer: Answer| libc::SECCOMP_RET_ERRNO | answer.errno() as u32;
    if call.number > NEWEST_REVIEWED {
        return errno(Answer::NotImplemented);
    }
    let holds = |condition: &Condition| {
        let mask = match condition.width {
            Width::Int => u64::from(u32::MAX),
            Width::Long => u64::MAX,
        };
        let argument = call.arguments[usize::from(condition.argument)] & mask;
        match condition.test {
            Test::Is(value) => argument == value,
            Test::IsNot(value) => argument != value,
            Test::HasBits(bits) => argument & bits == bits,
            Test::Masked { mask, value } => argument & mask == value,
        }
    };
    denials
        .iter()
        .find(|denial| denial.call == call.number && denial.when.iter().all(holds))
        .map_or(libc::SECCOMP_RET_ALLOW, |denial| errno(denial.answer))
}

fn compiled() -> Vec<(Vec<Denial>, BpfProgram)> {
    let levels = [Isolation::Landlock, Isolation::Namespaces].into_iter();
    let all = levels.flat_map(|isolation| [(isolation, Network::Off), (isolation, Network::Full)]);
    let mut compiled: Vec<_> = all
        .flat_map(|(isolation, network)| {
            [UnixSockets::Refused, UnixSockets::Landlock].map(|unix_sockets| {
                let plan = Plan::new(isolation, Writes::Beneath(Vec::new()), network);
                (denials(&plan, unix_sockets), filter(isolation, network, unix_sockets).program())
            })
        })
        .collect();
    let broker = filter(Isolation::Namespaces, Network::Off, UnixSockets::Broker).program();
    compiled.push((listed(NAMESPACES_BROKER), broker));
    compiled
}

/// The values at which a table's conditions change their mind, with garbage above the 32 bits that count.
fn telling_arguments(denials: &[Denial], number: u32) -> Vec<[u64; 6]> {
    let mut cases = vec![[0; 6], [u64::MAX; 6]];
    for denial in denials.iter().filter(|denial| denial.call == number) {
        let mut meeting = [0; 6];
        for condition in denial.when {
            meeting[usize::from(condition.argument)] = match condition.test {
                Test::Is(value) | Test::HasBits(value) | Test::Masked { value, .. } => value,
                Test::IsNot(value) => value + 1,
            };
        }
        for condition in denial.when {
            for change in [0, 1, 0x8_0000, 1 << 32, 0xdead_beef << 32] {
                let mut case = meeting;
                case[usize::from(condition.argument)] ^= change;
                cases.push(case);
            }
        }
        cases.push(meeting);
    }
    cases
}

#[test]
fn the_program_says_what_the_tables_say() {
    for (denials, program) in compiled() {
        let beyond = [NEWEST_REVIEWED + 1, 1000, X32 - 1, X32, X32 | 59, u32::MAX - 1, u32::MAX];
        for number in (0..=NEWEST_REVIEWED).chain(beyond) {
            for arguments in telling_arguments(&denials, number) {
                for architecture in [NATIVE, 0x4000_0003, 0] {
                    let call = Call { number, architecture, arguments };
                    assert_eq!(run(&program, &call).0, expected(&denials, &call), "{call:x?}");
                }
            }
        }
    }
}

#[test]
fn calls_that_are_allowed_are_known_to_be_within_a_few_instructions() {
    for (denials, program) in compiled() {
        eprintln!("LEN {}", program.len());
        assert!(program.len() < 330, "{} instructions", program.len());
        for number in 0..=NEWEST_REVIEWED {
            if denials.iter().all(|denial| denial.call != number) {
                let (answer, steps) = run(&program, &Call::native(number, [7; 6]));
                assert_eq!(answer, libc::SECCOMP_RET_ALLOW);
                assert!(steps <= 14, "call {number} takes {steps} instructions");
            }
        }
    }
}

#[test]
fn the_two_filters_of_a_command_with_a_broker_deny_what_one_would() {
    let broker = filter(Isolation::Namespaces, Network::Off, UnixSockets::Broker).program();
    let asked = [libc::SYS_connect, libc::SYS_listen].map(|call| u32::try_from(call).unwrap());
    let (asking, refusing) = (last_filter(&asking(Network::Off)), last_filter(&refusing()));
    for (last, unix_sockets, asked) in
        [(asking, UnixSockets::Landlock, asked.as_slice()), (refusing, UnixSockets::Refused, &[])]
    {
        let one = filter(Isolation::Namespaces, Network::Off, unix_sockets).program();
        let plan = Plan::new(Isolation::Namespaces, Writes::Beneath(Vec::new()), Network::Off);
        for number in 0..=NEWEST_REVIEWED {
            for arguments in telling_arguments(&denials(&plan, unix_sockets), number) {
                let call = Call::native(number, arguments);
                let answers = [run(&broker, &call).0, run(&last, &call).0];
                // The kernel takes the answer that allows least, which is the lowest number.
                let taken = answers.into_iter().min_by_key(|answer| answer & 0xffff_0000).unwrap();
                let expected =
                    if asked.contains(&number) { libc::SECCOMP_RET_USER_NOTIF } else { run(&one, &call).0 };
                assert_eq!(taken, expected, "{call:x?}");
            }
        }
    }
}

#[test]
fn what_is_refused_stays_refused_to_a_command_that_is_observed() {
    const MARKED: u32 = MARK as u32;
    for isolation in [Isolation::Landlock, Isolation::Namespaces] {
        let mut plan = Plan::new(isolation, Writes::Beneath(Vec::new()), Network::Off);
        if isolation == Isolation::Namespaces {
            plan.places.denied.push(PlanPath::new("/hidden").unwrap());
        }
        let refuses = filter(isolation, Network::Off, UnixSockets::Refused).program();
        let traps = last_filter(assemble(groups(&plan, UnixSockets::Refused), Purpose::Trap).written());
        let traces = last_filter(assemble(&observed(&plan), Purpose::Trace).written());
        let (mut trapped, mut traced) = (0, 0);
        for number in 0..=NEWEST_REVIEWED + 1 {
            let telling = telling_arguments(&denials(&plan, UnixSockets::Refused), number);
            for arguments in telling.into_iter().chain([[0xfff; 6]]) {
                let call = Call::native(number, arguments);
                let [refused, trap, trace] = [&refuses, &traps, &traces].map(|program| run(program, &call).0);
                let not_permitted = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
                let expected = if refused == not_permitted {
                    libc::SECCOMP_RET_TRAP | MARKED
                } else {
                    libc::SECCOMP_RET_ALLOW
                };
                assert_eq!(trap, expected, "{call:x?}");
                assert!([libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_TRACE | MARKED].contains(&trace));
                trapped += u32::from(trap != libc::SECCOMP_RET_ALLOW);
                traced += u32::from(trace != libc::SECCOMP_RET_ALLOW);
            }
        }
        assert!(trapped > 100 && traced > 30, "{trapped} trapped, {traced} traced");
        // A foreign call ends the process, whatever else stands on top.
        let foreign = Call { number: 1, architecture: 0, arguments: [0; 6] };
        assert_eq!(run(&refuses, &foreign).0, libc::SECCOMP_RET_KILL_PROCESS);
    }
}

proptest! {
    #[test]
    fn the_program_says_what_the_tables_say_for_any_call(
        number in prop_oneof![0..=NEWEST_REVIEWED, any::<u32>()],
        arguments in any::<[u64; 6]>(),
    ) {
        for (denials, program) in compiled() {
            let call = Call::native(number, arguments);
            prop_assert_eq!(run(&program, &call).0, expected(&denials, &call));
        }
    }
}
