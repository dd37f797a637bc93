//! One binary, many names.
//!
//! `codex` is its own helper: started under the name `codex-linux-sandbox`, it applies a plan to itself and becomes a
//! command. Started as `apply_patch`, it applies a patch; as `codex-files`, it
//! touches files for a server. Which it is, is decided from the arguments alone, before any thread exists: the helper has to be
//! single-threaded from its first instruction to the command's.
//!
//! - [`Route`] decides, and does nothing else.
//! - [`run_main`] goes where the route leads.
//! - [`AliasDirectory`] gives commands the other names on their `PATH`.
//! - [`self_exe()`] is this binary, also after it was moved or replaced.

mod alias_directory;
mod route;
mod self_exe;

use std::ffi::OsString;

pub use alias_directory::{AliasDirectory, AliasError};
pub use route::{ALIASES, FILES, Route};
pub use self_exe::{SELF_EXE, SelfExeError, self_exe};

/// Goes where the name of the program leads, and never comes back.
///
/// To be called first in `main`, before any thread exists. `main`, `apply_patch` and `files` get the arguments, the program's
/// name first, and their answer is the exit code.
pub fn run_main(
    main: impl FnOnce(Vec<OsString>) -> i32,
    apply_patch: impl FnOnce(Vec<OsString>) -> i32,
    files: impl FnOnce(Vec<OsString>) -> i32,
) -> ! {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match Route::of(arguments.first().map(OsString::as_os_str)) {
        Route::LinuxSandbox => codex_linux_sandbox::run_main(),
        Route::ApplyPatch => std::process::exit(apply_patch(arguments)),
        Route::Files => std::process::exit(files(arguments)),
        Route::Main => std::process::exit(main(arguments)),
    }
}
