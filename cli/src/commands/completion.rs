//! `codex completion`: completions, made from the definitions that parse.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::args::{Cli, CompletionArgs, CompletionShell};
use crate::render;

pub(crate) fn completion(args: &CompletionArgs) -> i32 {
    let shell = match args.shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "codex", &mut script);
    render::bytes(&script)
}
