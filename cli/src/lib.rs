//! The command line.
//!
//! Words travel in one direction: what was typed (`args`) becomes, with the configuration and the process's own
//! surroundings (`world`), what is meant (`meaning`); a verb (`commands`) does it; `render` prints, and nothing
//! else does.

mod args;
mod commands;
mod exit_code;
mod last_failed;
mod logging;
mod meaning;
mod passed;
mod person;
mod render;
mod signals;
mod terminal;
mod widening;
mod world;

use std::ffi::OsString;

use args::{Audit, Cli, Debug, Verb};
use commands::Begun;

/// Runs the program: the helper, `apply_patch` or `codex-files`, where it was started under one of these names, else the command
/// line. Never returns.
pub fn run_main() -> ! {
    codex_arg0::run_main(main, commands::apply_patch, |_arguments| codex_exec_server::files::run())
}

/// Whether whoever started the program reads events, and has to learn from one that there will be none.
fn asks_for_events(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|verb| verb == "exec") && arguments.iter().any(|word| word == "--json")
}

fn main(arguments: Vec<OsString>) -> i32 {
    std::panic::set_hook(Box::new(|panic| {
        terminal::give_back_in_panic();
        // One line, and no trace: what a person can do with it is report it.
        let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
        render::complaint(&format!("internal error{}: this is a bug", place.unwrap_or_default()));
        std::process::exit(exit_code::INTERNAL);
    }));
    world::keep_standard_streams_apart();
    let begun = Begun::early(&arguments);
    let cli = match Cli::read(&arguments) {
        Ok(cli) => cli,
        // Help and version are errors to clap; it knows which stream each belongs to, and its exit code.
        Err(error) => {
            if error.use_stderr() && asks_for_events(&arguments) {
                render::exec::usage(&error);
            }
            return render::usage(&error);
        }
    };
    logging::start();
    match cli.verb {
        Verb::Exec(args) => commands::exec(&args),
        Verb::Sandbox(args) | Verb::Debug(Debug::Sandbox(args)) => {
            commands::sandbox(&args, begun, &arguments)
        }
        Verb::Debug(Debug::Remote(args)) => commands::remote(args),
        Verb::Debug(Debug::Policy(args)) => commands::policy(&args),
        Verb::Debug(Debug::Why(args)) => commands::why(&args),
        Verb::Debug(Debug::Explain(args)) => commands::explain(args),
        Verb::Debug(Debug::Audit(Audit::Verify(args))) => commands::verify_audit(&args),
        Verb::Doctor(args) => commands::doctor(&args),
        Verb::ExecServer(args) => commands::exec_server(&args),
        Verb::Completion(args) => commands::completion(&args),
    }
}
