//! Assembles the tables into one BPF program, when the program is compiled: a search tree over the numbers of the
//! calls, whose leaves answer at once or go to the conditions of their call.
//!
//! Two costs shape it. The kernel runs a filter once for every number when it is installed, to learn which calls are
//! always allowed and need it no more: a chain of comparisons, one a denied call, takes 1.7 ms here, the tree 0.03. And
//! what is built anew in every helper is paid at every start: 0.1 ms of allocations and page faults, against a table
//! that lies ready in the binary.

use super::conditions;
use super::program::{BPF_JMP_JA, BPF_JMP_JEQ_K, BPF_JMP_JGE_K, Instruction, Program, answer, jump, load};
use super::purpose::Purpose;
use super::table::{Answer, Group, NEWEST_REVIEWED};

/// Where `struct seccomp_data` has the number of the call.
const NUMBER: u32 = 0;
/// Where it has the architecture.
const ARCHITECTURE: u32 = 4;

/// `AUDIT_ARCH_X86_64` of `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
pub(super) const NATIVE: u32 = 0xc000_003e;
/// `AUDIT_ARCH_AARCH64` of `linux/audit.h`.
#[cfg(target_arch = "aarch64")]
pub(super) const NATIVE: u32 = 0xc000_00b7;

/// `__X32_SYSCALL_BIT` of `asm/unistd.h`. Other architectures have no call with it, so that the test costs nothing.
pub(super) const X32: u32 = 0x4000_0000;
/// The number -1, which a tracer leaves to skip a call; the kernel answers it by itself.
pub(super) const SKIPPED: u32 = u32::MAX;

/// What a number leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Allow,
    Kill,
    /// What the filter answers: `SECCOMP_RET_*`, and what goes with it.
    Answer(u32),
    /// The conditions of this call.
    Conditions(u32),
}

/// How many numbers were reviewed.
const REVIEWED: usize = NEWEST_REVIEWED as usize + 1;
/// More runs than any table makes: a run ends where what its numbers lead to changes.
const RUNS: usize = 256;

/// Runs of numbers that lead to the same leaf, in order: where each starts, and its leaf.
struct Runs {
    starts: [u32; RUNS],
    leaves: [Leaf; RUNS],
    length: usize,
}

/// The program for a table, and what it is for.
pub(super) const fn assemble(groups: &[Group], purpose: Purpose) -> Program {
    let mut program = Program::new();
    // A 32-bit call carries another architecture. It ends the process: a program of a foreign ABI that only got
    // errors, from `exit` too, could loop for ever.
    program.push(load(ARCHITECTURE));
    program.push(jump(BPF_JMP_JEQ_K, NATIVE, 1, 0));
    program.push(answer(libc::SECCOMP_RET_KILL_PROCESS));
    program.push(load(NUMBER));
    let runs = runs(groups, purpose);
    let mut writer =
        Writer { program, waiting: [None; RUNS], jumps: 0, calls: [(0, 0); RUNS], conditions: 0 };
    writer.tree(&runs, 0, runs.length);
    writer.answers();
    let Writer { mut program, calls, conditions, .. } = writer;
    let mut next = 0;
    while next < conditions {
        let (place, call) = calls[next];
        let distance = program.length - place - 1;
        assert!(distance < u32::MAX as usize, "the conditions stand too far away");
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the line above")]
        program.replace(place, Instruction { code: BPF_JMP_JA, jt: 0, jf: 0, k: distance as u32 });
        conditions::compile(&mut program, groups, purpose, call);
        next += 1;
    }
    program
}

/// How many calls a table answers, for some or all arguments.
pub(super) const fn answered(groups: &[Group]) -> u32 {
    let leaves = leaves(groups, Purpose::Refuse);
    let (mut count, mut number) = (0, 0);
    while number < REVIEWED {
        if !same(leaves[number], Leaf::Allow) {
            count += 1;
        }
        number += 1;
    }
    count
}

/// What each number leads to.
const fn leaves(groups: &[Group], purpose: Purpose) -> [Leaf; REVIEWED] {
    let mut leaves = [Leaf::Allow; REVIEWED];
    let mut group = 0;
    while group < groups.len() {
        let action = purpose.action(groups[group].answer);
        let mut row = 0;
        while row < groups[group].len() {
            let (call, when) = groups[group].row(row);
            let leaf = &mut leaves[call as usize];
            if let (Some(action), true) = (action, when.is_empty()) {
                *leaf = Leaf::Answer(action);
            } else if let (Some(_), Leaf::Allow) = (action, *leaf) {
                *leaf = Leaf::Conditions(call);
            }
            row += 1;
        }
        group += 1;
    }
    leaves
}

/// What each number leads to, neighbours with the same leaf taken together.
const fn runs(groups: &[Group], purpose: Purpose) -> Runs {
    let leaves = leaves(groups, purpose);
    let mut runs = Runs { starts: [0; RUNS], leaves: [leaves[0]; RUNS], length: 1 };
    let mut number = 1;
    while number < REVIEWED {
        if !same(leaves[number], leaves[number - 1]) {
            #[expect(clippy::cast_possible_truncation, reason = "a reviewed number fits")]
            runs.push(number as u32, leaves[number]);
        }
        number += 1;
    }
    // Calls newer than the tables are answered as by a kernel that does not have them.
    let newer = match purpose.action(Answer::NotImplemented) {
        Some(action) if purpose.refuses() => Leaf::Answer(action),
        Some(_) | None => Leaf::Allow,
    };
    runs.push(NEWEST_REVIEWED + 1, newer);
    // An x32 call carries x86-64's architecture and a bit in its number, so that no rule by number would see it.
    runs.push(X32, Leaf::Kill);
    runs.push(SKIPPED, Leaf::Allow);
    runs
}

impl Runs {
    const fn push(&mut self, start: u32, leaf: Leaf) {
        self.starts[self.length] = start;
        self.leaves[self.length] = leaf;
        self.length += 1;
    }
}

const fn same(one: Leaf, other: Leaf) -> bool {
    match (one, other) {
        (Leaf::Allow, Leaf::Allow) | (Leaf::Kill, Leaf::Kill) => true,
        (Leaf::Answer(one), Leaf::Answer(other)) => one == other,
        // Every call has conditions of its own.
        _ => false,
    }
}

/// Where a branch of the tree goes.
#[derive(Clone, Copy)]
enum Way {
    /// Over so many instructions.
    Over(usize),
    /// To the answer that all with this leaf share.
    To(Leaf),
}

/// A branch whose ways are not all known yet.
#[derive(Clone, Copy)]
struct Branch {
    place: usize,
    start: u32,
    high: Way,
    low: Way,
}

/// Writes the search tree. The number is in the accumulator.
struct Writer {
    program: Program,
    waiting: [Option<Branch>; RUNS],
    jumps: usize,
    /// Where the tree goes on with the conditions of a call: a jump that is filled in once it is known where they stand.
    calls: [(usize, u32); RUNS],
    conditions: usize,
}

impl Writer {
    /// The tree over the runs from `low` up to `high`. Answers stand behind it, each once: what every leaf would have for
    /// itself is a third of what the kernel has to translate.
    const fn tree(&mut self, runs: &Runs, low: usize, high: usize) {
        if high - low == 1 {
            if let Leaf::Conditions(call) = runs.leaves[low] {
                self.calls[self.conditions] = (self.program.length, call);
                self.conditions += 1;
            }
            // Filled in later, or never come to: then it ends the process.
            self.program.push(answer(libc::SECCOMP_RET_KILL_PROCESS));
            return;
        }
        let middle = low + (high - low) / 2;
        let place = self.program.length;
        self.program.push(answer(libc::SECCOMP_RET_KILL_PROCESS));
        let below = self.way(runs, low, middle, place);
        let above = self.way(runs, middle, high, place);
        self.waiting[self.jumps] =
            Some(Branch { place, start: runs.starts[middle], high: above, low: below });
        self.jumps += 1;
    }

    /// The way to a part of the tree, which is written where it is more than an answer.
    const fn way(&mut self, runs: &Runs, low: usize, high: usize, from: usize) -> Way {
        match runs.leaves[low] {
            leaf @ (Leaf::Allow | Leaf::Kill | Leaf::Answer(_)) if high - low == 1 => Way::To(leaf),
            _ => {
                let distance = self.program.length - from - 1;
                self.tree(runs, low, high);
                Way::Over(distance)
            }
        }
    }

    /// The answers, and the branches that lead to them.
    const fn answers(&mut self) {
        let mut written: [Option<(Leaf, usize)>; RUNS] = [None; RUNS];
        let mut next = 0;
        while next < self.jumps {
            if let Some(Branch { place, start, high, low }) = self.waiting[next] {
                let yes = self.distance(high, place, &mut written);
                let no = self.distance(low, place, &mut written);
                self.program.replace(place, jump(BPF_JMP_JGE_K, start, yes, no));
            }
            next += 1;
        }
    }

    const fn distance(
        &mut self,
        way: Way,
        from: usize,
        written: &mut [Option<(Leaf, usize)>; RUNS],
    ) -> usize {
        let leaf = match way {
            Way::Over(distance) => return distance,
            Way::To(leaf) => leaf,
        };
        let mut next = 0;
        while let Some((known, place)) = written[next] {
            if same(known, leaf) {
                return place - from - 1;
            }
            next += 1;
        }
        let place = self.program.length;
        written[next] = Some((leaf, place));
        self.program.push(match leaf {
            Leaf::Allow => answer(libc::SECCOMP_RET_ALLOW),
            Leaf::Answer(action) => answer(action),
            Leaf::Kill | Leaf::Conditions(_) => answer(libc::SECCOMP_RET_KILL_PROCESS),
        });
        place - from - 1
    }
}

#[cfg(test)]
mod tests;
