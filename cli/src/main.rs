//! The program `codex`.

#![no_main]

#[cfg(begins_before_libc)]
mod entry;

/// The C entry point.
///
/// The standard library's own would ignore SIGPIPE, and by then nobody could tell what the caller's disposition was;
/// commands have to find it as it was, and a reader that goes away should end us as it ends any other program, but for
/// `codex exec`, which blocks the signal and goes on.
#[expect(unsafe_code, reason = "an entry point of this name can only be exported by an unsafe attribute")]
// SAFETY: the C runtime calls `main` once, on the only thread, and no other symbol of this name is linked.
#[unsafe(no_mangle)]
extern "C" fn main() -> std::ffi::c_int {
    codex_cli::run_main()
}
