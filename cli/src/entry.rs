//! Where the program begins: before the C library, to have the pages of its tables of addresses ready.
//!
//! The program can stand anywhere in memory, so that the C library's first act is to correct every address in its tables
//! (`.data.rel.ro` and what follows): each of a hundred pages is written, and each one is a page fault. One call has the
//! kernel make all of them at once, in half the time, a tenth of what executing the program takes. A kernel older than
//! 5.14 does not know it; then they are made one by one, as they are without it.
//!
//! Only where the C library is in the program, and the linker is the one that is known: build.rs says so. Else the program
//! begins as any other.
//!
//! In assembly language, since nothing else can run here: no address is right yet, and there is no thread-local memory.

#![expect(unsafe_code, reason = "what comes before the C library can be written in assembly language only")]

// JUSTIFICATION: see above.
// SAFETY: a kernel enters a program with everything that it hands over on the stack, which is not touched, and with zero in
// `rdx`, as the last but one instruction leaves it; the other registers hold nothing (ABI of x86-64, 3.4.1). The call
// changes no byte of the memory that it names, which the linker gives the start and the end of: it only makes pages that
// would be made on the first write (madvise(2), MADV_POPULATE_WRITE). Whatever it answers, `_start` of the C library follows.
core::arch::global_asm!(
    ".pushsection .text.codex_start, \"ax\", @progbits",
    ".globl codex_start",
    ".hidden codex_start",
    ".type codex_start, @function",
    "codex_start:",
    ".cfi_startproc",
    ".cfi_undefined rip",
    "endbr64",
    "lea rdi, [rip + __init_array_start]",
    "and rdi, -4096",
    "lea rsi, [rip + _end]",
    "sub rsi, rdi",
    "mov edx, {populate_write}",
    "mov eax, {madvise}",
    "syscall",
    "xor edx, edx",
    "jmp _start",
    ".cfi_endproc",
    ".size codex_start, . - codex_start",
    ".popsection",
    populate_write = const MADV_POPULATE_WRITE,
    madvise = const SYS_MADVISE,
);

/// `madvise(2)` has this number.
const SYS_MADVISE: i32 = 28;
/// `MADV_POPULATE_WRITE` of `asm-generic/mman-common.h`.
const MADV_POPULATE_WRITE: i32 = 23;
