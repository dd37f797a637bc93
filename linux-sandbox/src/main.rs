//! The helper as a program of its own. `codex` is the same helper when it is started under this name.

#![no_main]

/// The C entry point.
///
/// The standard library's own would ignore SIGPIPE, and by then nobody could tell what the caller's disposition was;
/// the command has to find it as it was.
#[expect(unsafe_code, reason = "an entry point of this name can only be exported by an unsafe attribute")]
// SAFETY: the C runtime calls `main` once, on the only thread, and no other symbol of this name is linked.
#[unsafe(no_mangle)]
extern "C" fn main() -> libc::c_int {
    codex_linux_sandbox::run_main()
}
