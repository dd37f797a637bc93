//! A BPF program that is written when the program is compiled, and the few instructions that it takes.

use super::table::Answer;

/// One instruction: `struct sock_filter` of `linux/filter.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jt: u8,
    pub(super) jf: u8,
    pub(super) k: u32,
}

pub(super) const BPF_LD_W_ABS: u16 = 0x20;
pub(super) const BPF_ALU_AND_K: u16 = 0x54;
pub(super) const BPF_JMP_JA: u16 = 0x05;
pub(super) const BPF_JMP_JEQ_K: u16 = 0x15;
pub(super) const BPF_JMP_JGE_K: u16 = 0x35;
pub(super) const BPF_JMP_JSET_K: u16 = 0x45;
pub(super) const BPF_RET_K: u16 = 0x06;

/// More instructions than any table makes. The kernel takes 4096 (`BPF_MAXINSNS`).
const CAPACITY: usize = 1024;

/// Instructions in order.
pub(super) struct Program {
    instructions: [Instruction; CAPACITY],
    pub(super) length: usize,
}

impl Program {
    pub(super) const fn new() -> Self {
        // What no jump leads to ends the process, should one lead there all the same.
        Self { instructions: [answer(libc::SECCOMP_RET_KILL_PROCESS); CAPACITY], length: 0 }
    }

    pub(super) const fn push(&mut self, instruction: Instruction) {
        self.instructions[self.length] = instruction;
        self.length += 1;
    }

    pub(super) const fn replace(&mut self, place: usize, instruction: Instruction) {
        assert!(place < self.length, "only what was written can be replaced");
        self.instructions[place] = instruction;
    }

    /// The instructions that were written.
    pub(super) fn written(&self) -> &[Instruction] {
        self.instructions.get(..self.length).unwrap_or_default()
    }

    /// The instructions as an array of their own number.
    pub(super) const fn exact<const LENGTH: usize>(&self) -> [Instruction; LENGTH] {
        assert!(LENGTH == self.length, "the array has another length");
        let mut exact = [answer(libc::SECCOMP_RET_KILL_PROCESS); LENGTH];
        let mut next = 0;
        while next < LENGTH {
            exact[next] = self.instructions[next];
            next += 1;
        }
        exact
    }
}

pub(super) const fn load(offset: u32) -> Instruction {
    Instruction { code: BPF_LD_W_ABS, jt: 0, jf: 0, k: offset }
}

pub(super) const fn answer(action: u32) -> Instruction {
    Instruction { code: BPF_RET_K, jt: 0, jf: 0, k: action }
}

/// A jump over so many instructions, by what the comparison yields.
pub(super) const fn jump(code: u16, k: u32, yes: usize, no: usize) -> Instruction {
    assert!(yes <= u8::MAX as usize && no <= u8::MAX as usize, "a jump is too far");
    #[expect(clippy::cast_possible_truncation, reason = "bounded by the line above")]
    Instruction { code, jt: yes as u8, jf: no as u8, k }
}

pub(super) const fn denied(how: Answer) -> u32 {
    libc::SECCOMP_RET_ERRNO | how.errno() as u32
}
