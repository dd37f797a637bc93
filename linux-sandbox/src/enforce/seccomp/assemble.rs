//! Assembles denials into one BPF program: a search tree over the numbers of the calls, whose leaves answer at once or
//! go to the conditions of their call.
//!
//! The kernel runs a filter once for every number when it is installed, to learn which calls are always allowed and
//! need it no more. A chain of comparisons, one a denied call, makes that 800 instructions times 450 numbers, 0.4 ms;
//! a tree makes it ten times 450.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use super::table::{Answer, Condition, Denial, NEWEST_REVIEWED, Test, Width};

/// Why denials can't be encoded: a mistake in the tables, which their tests find.
#[derive(Debug, thiserror::Error)]
pub(super) enum AssembleError {
    #[error("a condition can't be encoded: {0}")]
    Condition(#[from] BackendError),
    #[error("call {0} is answered in two ways")]
    TwoAnswers(i64),
    #[error("call {0} has no place among the reviewed ones")]
    Number(i64),
    #[error("the program is too large for its jumps")]
    TooLarge,
}

/// What a number leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Allow,
    Deny(Answer),
    /// The program with this index, which looks at the arguments.
    Conditions(usize),
}

/// A run of numbers that lead to the same leaf: the first of them, up to the next run's.
type Run = (u32, Leaf);

const BPF_LD_W_ABS: u16 = 0x20;
const BPF_JMP_JA: u16 = 0x05;
const BPF_JMP_JEQ_K: u16 = 0x15;
const BPF_JMP_JGT_K: u16 = 0x25;
const BPF_JMP_JGE_K: u16 = 0x35;
const BPF_RET_K: u16 = 0x06;

/// Where `struct seccomp_data` has the number of the call.
const NUMBER: u32 = 0;
/// Where it has the architecture.
const ARCHITECTURE: u32 = 4;

#[cfg(target_arch = "x86_64")]
const NATIVE: (TargetArch, u32) = (TargetArch::x86_64, 0xc000_003e);
#[cfg(target_arch = "aarch64")]
const NATIVE: (TargetArch, u32) = (TargetArch::aarch64, 0xc000_00b7);

/// `__X32_SYSCALL_BIT` of `asm/unistd.h`. Other architectures have no call with it, so that the test costs nothing.
const X32: u32 = 0x4000_0000;
/// The number -1, which a tracer leaves to skip a call; the kernel answers it by itself.
const SKIPPED: u32 = u32::MAX;

pub(super) fn assemble(denials: &[Denial]) -> Result<BpfProgram, AssembleError> {
    let (leaves, chains) = leaves(denials)?;
    let mut program = prologue();
    let tree = tree(&runs(&leaves))?;
    let mut starts = Vec::with_capacity(chains.len());
    let mut start = program.len() + tree.len();
    for chain in &chains {
        starts.push(start);
        start += chain.len();
    }
    for instruction in tree {
        let here = program.len();
        program.push(match instruction {
            Instruction::Ready(instruction) => instruction,
            Instruction::GoTo(chain) => {
                let start = starts.get(chain).ok_or(AssembleError::TooLarge)?;
                let distance = u32::try_from(start - here - 1).map_err(|_far| AssembleError::TooLarge)?;
                sock_filter { code: BPF_JMP_JA, jt: 0, jf: 0, k: distance }
            }
        });
    }
    program.extend(chains.into_iter().flatten());
    Ok(program)
}

/// Ends the process on a call of another ABI, and answers calls newer than the tables as a kernel without them does.
///
/// A 32-bit call carries another architecture. An x32 call carries x86-64's, with a bit set in its number, so that no
/// rule by number would see it. Both end the process: a program of a foreign ABI that only got errors, from `exit` too,
/// could loop for ever.
fn prologue() -> BpfProgram {
    let skip = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    vec![
        load(ARCHITECTURE),
        skip(BPF_JMP_JEQ_K, NATIVE.1, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
        skip(BPF_JMP_JGE_K, X32, 0, 2),
        skip(BPF_JMP_JEQ_K, SKIPPED, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        skip(BPF_JMP_JGT_K, NEWEST_REVIEWED, 0, 1),
        answer(denied(Answer::NotImplemented)),
    ]
}

/// What each denied number leads to, and the programs that look at arguments.
fn leaves(denials: &[Denial]) -> Result<(BTreeMap<u32, Leaf>, Vec<BpfProgram>), AssembleError> {
    let mut by_call: BTreeMap<i64, Vec<&Denial>> = BTreeMap::new();
    for denial in denials {
        by_call.entry(denial.call).or_default().push(denial);
    }
    let mut leaves = BTreeMap::new();
    let mut chains = Vec::new();
    for (call, denials) in by_call {
        let number = u32::try_from(call)
            .ok()
            .filter(|number| *number <= NEWEST_REVIEWED)
            .ok_or(AssembleError::Number(call))?;
        let answers: Vec<Answer> = denials.iter().map(|denial| denial.answer).collect();
        let [answer, rest @ ..] = answers.as_slice() else { continue };
        if rest.iter().any(|other| other != answer) {
            return Err(AssembleError::TwoAnswers(call));
        }
        let leaf = if denials.iter().any(|denial| denial.when.is_empty()) {
            Leaf::Deny(*answer)
        } else {
            chains.push(chain(call, &denials, *answer)?);
            Leaf::Conditions(chains.len() - 1)
        };
        leaves.insert(number, leaf);
    }
    Ok((leaves, chains))
}

/// The program that answers one call by its arguments.
fn chain(call: i64, denials: &[&Denial], answer: Answer) -> Result<BpfProgram, AssembleError> {
    let rules = denials
        .iter()
        .map(|denial| SeccompRule::new(denial.when.iter().map(condition).collect::<Result<_, _>>()?))
        .collect::<Result<Vec<_>, _>>()?;
    let denied = SeccompAction::Errno(answer.errno() as u32);
    let filter = SeccompFilter::new(BTreeMap::from([(call, rules)]), SeccompAction::Allow, denied, NATIVE.0)?;
    Ok(filter.try_into()?)
}

fn condition(condition: &Condition) -> Result<SeccompCondition, BackendError> {
    let width = match condition.width {
        Width::Int => SeccompCmpArgLen::Dword,
        Width::Long => SeccompCmpArgLen::Qword,
    };
    let (operator, value) = match condition.test {
        Test::Is(value) => (SeccompCmpOp::Eq, value),
        Test::IsNot(value) => (SeccompCmpOp::Ne, value),
        Test::HasBits(bits) => (SeccompCmpOp::MaskedEq(bits), bits),
        Test::Masked { mask, value } => (SeccompCmpOp::MaskedEq(mask), value),
    };
    SeccompCondition::new(condition.argument, width, operator, value)
}

/// All numbers from 0 on, as runs: neighbours with the same leaf are one.
fn runs(leaves: &BTreeMap<u32, Leaf>) -> Vec<Run> {
    let mut runs: Vec<Run> = vec![(0, Leaf::Allow)];
    let mut push = |start: u32, leaf: Leaf| match runs.last_mut() {
        Some((last, previous)) if *last == start => *previous = leaf,
        Some((_, previous)) if *previous == leaf => {}
        _ => runs.push((start, leaf)),
    };
    for (number, leaf) in leaves {
        push(*number, *leaf);
        if !leaves.contains_key(&(number + 1)) {
            push(number + 1, Leaf::Allow);
        }
    }
    runs
}

enum Instruction {
    Ready(sock_filter),
    GoTo(usize),
}

/// A search tree over the runs: the number is in the accumulator.
fn tree(runs: &[Run]) -> Result<Vec<Instruction>, AssembleError> {
    if let [(_, leaf)] = runs {
        return Ok(vec![match leaf {
            Leaf::Allow => Instruction::Ready(answer(libc::SECCOMP_RET_ALLOW)),
            Leaf::Deny(how) => Instruction::Ready(answer(denied(*how))),
            Leaf::Conditions(chain) => Instruction::GoTo(*chain),
        }]);
    }
    let (low, high) = runs.split_at(runs.len() / 2);
    let Some((first_high, _)) = high.first() else { return Err(AssembleError::TooLarge) };
    let mut program = tree(low)?;
    let distance = u8::try_from(program.len()).map_err(|_far| AssembleError::TooLarge)?;
    program.insert(
        0,
        Instruction::Ready(sock_filter { code: BPF_JMP_JGE_K, jt: distance, jf: 0, k: *first_high }),
    );
    program.extend(tree(high)?);
    Ok(program)
}

const fn load(offset: u32) -> sock_filter {
    sock_filter { code: BPF_LD_W_ABS, jt: 0, jf: 0, k: offset }
}

const fn answer(action: u32) -> sock_filter {
    sock_filter { code: BPF_RET_K, jt: 0, jf: 0, k: action }
}

const fn denied(how: Answer) -> u32 {
    libc::SECCOMP_RET_ERRNO | how.errno() as u32
}

#[cfg(test)]
mod tests;
