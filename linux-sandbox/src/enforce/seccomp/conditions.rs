//! Compiles the conditions of one call: a few instructions that look at its arguments.
//!
//! The seccompiler crate could do this, at five times the length: each of its rules loads its arguments anew. The
//! kernel translates a filter when it is installed, so that every instruction costs every start.

use super::program::{
    BPF_ALU_AND_K, BPF_JMP_JEQ_K, BPF_JMP_JSET_K, Instruction, Program, answer, jump, load,
};
use super::purpose::Purpose;
use super::table::{Condition, Group, Test, Width};

/// Where `struct seccomp_data` has the first argument, and how far apart they are. Little-endian, as both
/// architectures are: the lower half comes first.
const FIRST_ARGUMENT: u32 = 16;
const ARGUMENT_SIZE: u32 = 8;
const UPPER_HALF: u32 = 4;

/// Where a jump goes.
#[derive(Clone, Copy)]
enum Target {
    Next,
    /// To the next denial of the call. After the last one, the call is allowed.
    NextDenial,
    Deny,
}

/// A jump whose distance is not known yet.
#[derive(Clone, Copy)]
struct Waiting {
    place: usize,
    code: u16,
    k: u32,
    yes: Target,
    no: Target,
    denial: usize,
}

/// More jumps, and more denials, than any call has.
const LIMIT: usize = 128;

struct Writer<'a> {
    program: &'a mut Program,
    /// The offset of the word in the accumulator, where it is known.
    loaded: Option<u32>,
    waiting: [Option<Waiting>; LIMIT],
    jumps: usize,
    starts: [usize; LIMIT],
    denials: usize,
}

/// Writes the program for one call: it denies where all conditions of one of the denials are met.
pub(super) const fn compile(program: &mut Program, groups: &[Group], purpose: Purpose, call: u32) {
    let mut writer =
        Writer { program, loaded: None, waiting: [None; LIMIT], jumps: 0, starts: [0; LIMIT], denials: 0 };
    let mut how: Option<u32> = None;
    let mut group = 0;
    while group < groups.len() {
        let mut row = 0;
        while row < groups[group].len() {
            let (number, when) = groups[group].row(row);
            if let (Some(action), true) = (purpose.action(groups[group].answer), number == call) {
                if let Some(how) = how {
                    assert!(how == action, "a call is answered in two ways");
                }
                how = Some(action);
                writer.denial(when);
            }
            row += 1;
        }
        group += 1;
    }
    assert!(how.is_some(), "a call without denials has no conditions");
    if let Some(how) = how {
        writer.finish(how);
    }
}

impl Writer<'_> {
    const fn denial(&mut self, when: &[Condition]) {
        self.starts[self.denials] = self.program.length;
        let mut next = 0;
        while next < when.len() {
            let yes = if next + 1 == when.len() { Target::Deny } else { Target::Next };
            self.condition(&when[next], yes, Target::NextDenial);
            if when.len() > 1 || matches!(when[next].width, Width::Long) {
                // What follows is reached from several places, with different words at hand.
                self.loaded = None;
            }
            next += 1;
        }
        self.denials += 1;
    }

    const fn finish(&mut self, how: u32) {
        self.starts[self.denials] = self.program.length;
        self.program.push(answer(libc::SECCOMP_RET_ALLOW));
        let deny = self.program.length;
        self.program.push(answer(how));
        let mut next = 0;
        while next < self.jumps {
            if let Some(Waiting { place, code, k, yes, no, denial }) = self.waiting[next] {
                let after = self.starts[denial + 1];
                let yes = distance(place, yes, after, deny);
                let no = distance(place, no, after, deny);
                self.program.replace(place, jump(code, k, yes, no));
            }
            next += 1;
        }
    }

    const fn condition(&mut self, condition: &Condition, yes: Target, no: Target) {
        let offset = FIRST_ARGUMENT + ARGUMENT_SIZE * condition.argument as u32;
        let wide = matches!(condition.width, Width::Long);
        match condition.test {
            Test::Is(value) => {
                if wide {
                    self.test(offset + UPPER_HALF, BPF_JMP_JEQ_K, upper(value), Target::Next, no);
                }
                self.test(offset, BPF_JMP_JEQ_K, lower(value), yes, no);
            }
            Test::IsNot(value) => {
                if wide {
                    self.test(offset + UPPER_HALF, BPF_JMP_JEQ_K, upper(value), Target::Next, yes);
                }
                self.test(offset, BPF_JMP_JEQ_K, lower(value), no, yes);
            }
            Test::HasBits(bits) => self.masked(offset, wide, bits, bits, yes, no),
            Test::Masked { mask, value } => self.masked(offset, wide, mask, value, yes, no),
        }
    }

    const fn masked(&mut self, offset: u32, wide: bool, mask: u64, value: u64, yes: Target, no: Target) {
        if wide && upper(mask) != 0 {
            self.and(offset + UPPER_HALF, upper(mask));
            self.jump(BPF_JMP_JEQ_K, upper(value), Target::Next, no);
        }
        if mask == value && lower(mask).is_power_of_two() {
            // One bit needs no comparison, and leaves the word as it is.
            self.test(offset, BPF_JMP_JSET_K, lower(mask), yes, no);
        } else {
            self.and(offset, lower(mask));
            self.jump(BPF_JMP_JEQ_K, lower(value), yes, no);
        }
    }

    const fn test(&mut self, offset: u32, code: u16, k: u32, yes: Target, no: Target) {
        let at_hand = matches!(self.loaded, Some(loaded) if loaded == offset);
        if !at_hand {
            self.program.push(load(offset));
            self.loaded = Some(offset);
        }
        self.jump(code, k, yes, no);
    }

    const fn and(&mut self, offset: u32, mask: u32) {
        self.program.push(load(offset));
        self.program.push(Instruction { code: BPF_ALU_AND_K, jt: 0, jf: 0, k: mask });
        self.loaded = None;
    }

    const fn jump(&mut self, code: u16, k: u32, yes: Target, no: Target) {
        let place = self.program.length;
        self.waiting[self.jumps] = Some(Waiting { place, code, k, yes, no, denial: self.denials });
        self.jumps += 1;
        self.program.push(answer(libc::SECCOMP_RET_KILL_PROCESS));
    }
}

const fn distance(place: usize, target: Target, next_denial: usize, deny: usize) -> usize {
    match target {
        Target::Next => 0,
        Target::NextDenial => next_denial - place - 1,
        Target::Deny => deny - place - 1,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the half is what is asked for")]
const fn lower(value: u64) -> u32 {
    value as u32
}

const fn upper(value: u64) -> u32 {
    (value >> 32) as u32
}
