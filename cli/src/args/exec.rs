//! `codex exec`, as it is typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};
use codex_core::config::ApprovalPolicy;

use super::{PolicyOptions, duration};

const EXAMPLES: &str = "\
Examples:
  Have a failing test fixed:
      codex exec -s workspace-write -m MODEL 'make the tests pass'
  Ask a local server (Ollama, llama.cpp, vLLM, LM Studio):
      codex exec --oss -m MODEL 'what does this repository do?'
  Ask any compatible server:
      codex exec -c model_provider=mine -c model_providers.mine.base_url=http://host/v1 -m MODEL '…'
  Give it a file, get data back:
      git diff | codex exec --output-schema review.json -m MODEL 'review this'
  Go on:
      codex exec resume --last 'now the documentation'

Exit codes:
      0 done; 1 the turn failed (model, network, budget); 2 usage or configuration; 3 done, but the last
      message does not fit the schema; 4 the last command failed, with --fail-on-command-error;
      130 interrupted";

/// `codex exec`.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES, subcommand_negates_reqs = true)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    #[command(flatten)]
    pub(crate) options: ExecOptions,
    /// The task; - or nothing reads it from standard input. What is piped in beside a task is appended to it.
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Option<String>,
    #[command(subcommand)]
    pub(crate) verb: Option<ExecVerb>,
}

/// What a run is made of, beside the policy.
#[derive(Args, Debug)]
pub(crate) struct ExecOptions {
    /// The model to ask.
    #[arg(short, long, global = true, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Ask the provider `oss`: a local server at http://localhost:11434/v1, unless config.toml says otherwise.
    #[arg(long, global = true)]
    pub(crate) oss: bool,
    /// When a person is asked: never, on-request, on-failure or untrusted.
    #[arg(short, long, global = true, value_name = "WHEN", value_parser = policies())]
    pub(crate) ask_for_approval: Option<ApprovalPolicy>,
    /// An image for the model. Repeatable.
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) image: Vec<PathBuf>,
    /// Print one JSON event a line to standard output, and nothing else.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Write the last message to a file as well.
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) output_last_message: Option<PathBuf>,
    /// A JSON Schema that the last message has to fit.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) output_schema: Option<PathBuf>,
    /// Let the model write where no git repository could undo it.
    #[arg(long, global = true)]
    pub(crate) skip_git_repo_check: bool,
    /// Keep nothing that could be resumed.
    #[arg(long, global = true)]
    pub(crate) ephemeral: bool,
    /// Ask the model at most so often: 250 unless given.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_turns: Option<u64>,
    /// Stop when the model has read and written so many tokens.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_tokens: Option<u64>,
    /// Stop after this long: 300ms, 10s, 2m, 1h.
    #[arg(long, global = true, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Exit with 4 when the last command of the run failed.
    #[arg(long, global = true)]
    pub(crate) fail_on_command_error: bool,
    /// When to use colours.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
}

fn policies() -> impl clap::builder::TypedValueParser<Value = ApprovalPolicy> {
    let names = ApprovalPolicy::ALL.map(ApprovalPolicy::name);
    PossibleValuesParser::new(names).try_map(|name: String| {
        ApprovalPolicy::ALL.into_iter().find(|policy| policy.name() == name).ok_or("no approval policy")
    })
}

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Verbs of `codex exec`.
#[derive(Debug, Subcommand)]
pub(crate) enum ExecVerb {
    /// Go on with a session.
    Resume(ResumeArgs),
}

/// `codex exec resume`.
#[derive(Args, Debug)]
pub(crate) struct ResumeArgs {
    /// The session; with --last, the task.
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
    /// The newest session of this workspace.
    #[arg(long)]
    pub(crate) last: bool,
    /// The task; - or nothing reads it from standard input.
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Option<String>,
}
