//! What was typed, and nothing more: no file is read here, and no path looked up.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, FromArgMatches as _, Parser, Subcommand};
use codex_core::config::Isolation;
use codex_core::exec::CallLimits;
use codex_core::limits::Limit;
use codex_core::policy::{HostGrant, HostGrantError, SandboxMode};
use codex_exec_server::client::Endpoint;

mod audit;
mod duration;
mod exec;
mod exec_server;
mod explain;
mod learn;
mod limit;
mod plain;
mod why;

pub(crate) use audit::{Audit, AuditVerifyArgs};
pub(crate) use exec::{ColorChoice, ExecArgs, ExecVerb, ResumeArgs};
pub(crate) use exec_server::{ExecServerArgs, Listen};
pub(crate) use explain::{ExplainArgs, policy_typed};
pub(crate) use learn::LearnOptions;
pub(crate) use why::{WhyArgs, WhyOperation};

/// Runs commands under a policy that you set, and tells the truth about what happened.
#[derive(Debug, Parser)]
#[command(name = "codex", version, max_term_width = 100, after_long_help = EXAMPLES)]
#[command(disable_help_subcommand = true, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  Look around without being able to change anything (the default, read-only):
      codex sandbox -- ls -la
  Build in this directory, without network:
      codex sandbox --full-auto -- make
  Let a command write to a second directory as well:
      codex sandbox --full-auto --add-dir ~/.cargo -- cargo build
  See what would hold here, and where each setting came from:
      codex debug policy
  See what this machine gives, and what would lift each limit:
      codex doctor
  Look at an interactive program's screen without trusting what it writes:
      codex sandbox --pty -- vim README.md
  Get the outcome as data, after at most ten seconds:
      codex sandbox --json --timeout 10s -- ./run-tests

Exit codes:
      the command's own; 128+n where signal n ended it; 124 a limit; 126 not executable;
      127 not found; 130 interrupted; 125 the sandbox could not be set up, or the policy is
      refused; 2 usage or configuration";

const DOCTOR_CODES: &str = "\
Exit codes:
      0 commands would run; 1 they would be refused: a guarantee in sandbox.require can't be kept,
      or the policy can't be enforced; 2 usage or configuration";

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Give a task to a model, whose commands and changes run in the sandbox.
    Exec(ExecArgs),
    /// Run a command in the sandbox.
    Sandbox(SandboxArgs),
    /// Look at the sandbox from outside, or run a command in it.
    #[command(subcommand, arg_required_else_help = true)]
    Debug(Debug),
    /// Show what this machine gives, what holds here, and what would lift each limit.
    #[command(after_long_help = DOCTOR_CODES)]
    Doctor(DoctorArgs),
    /// Serve the sandbox to agents elsewhere: JSON-RPC over standard streams, WebSocket or unix sockets.
    #[command(after_long_help = exec_server::EXAMPLES)]
    ExecServer(ExecServerArgs),
    /// Print completions for a shell.
    Completion(CompletionArgs),
}

/// Verbs for people who want to know.
#[derive(Debug, Subcommand)]
pub(crate) enum Debug {
    /// Run a command in the sandbox.
    #[command(aliases = ["landlock", "seatbelt"])]
    Sandbox(SandboxArgs),
    /// Run a command on a server (codex exec-server) elsewhere, with live streams.
    Remote(RemoteArgs),
    /// Show the policy in effect: each setting and its origin, the writable roots, what holds on this machine.
    Policy(PolicyArgs),
    /// Say whether something is allowed, by which rule, and what would change it. Nothing is run.
    #[command(after_long_help = why::EXAMPLES)]
    Why(WhyArgs),
    /// Run a command once more, or the last that failed, so that nothing changes, and tell all that it is refused.
    #[command(after_long_help = explain::EXAMPLES)]
    Explain(ExplainArgs),
    /// Look into the audit log.
    #[command(subcommand, arg_required_else_help = true)]
    Audit(Audit),
}

/// The words that lead to the verb by which commands are started.
const SANDBOX_VERBS: [&[&str]; 4] =
    [&["sandbox"], &["debug", "sandbox"], &["debug", "landlock"], &["debug", "seatbelt"]];

/// What was typed behind the verb by which commands are started. Nothing where it is another verb.
pub(crate) fn behind_the_sandbox_verb(arguments: &[OsString]) -> Option<&[OsString]> {
    let typed = arguments.get(1..)?;
    SANDBOX_VERBS.iter().find_map(|verb| {
        let (words, rest) = typed.split_at_checked(verb.len())?;
        words.iter().eq(verb.iter()).then_some(rest)
    })
}

impl SandboxArgs {
    /// When the call is ended. A person who waits can stop waiting: there is no deadline unless one was asked for.
    pub(crate) fn limits(&self) -> CallLimits {
        let usual = CallLimits::default();
        let grace = self.grace.unwrap_or(usual.grace);
        CallLimits {
            deadline: self.timeout,
            idle: self.idle_timeout,
            output: self.max_output,
            grace,
            ..usual
        }
    }
}

impl Cli {
    /// Reads what was typed.
    ///
    /// The verb by which commands are started is read without any definitions where it is typed [plainly](plain), else by its
    /// own alone: building those of all verbs takes a tenth of a millisecond, which every command would wait for. Where they
    /// find a mistake, or a question, all of them are asked: what is printed then is the same for every verb.
    pub(crate) fn read(arguments: &[OsString]) -> Result<Self, clap::Error> {
        if let Some(rest) = behind_the_sandbox_verb(arguments) {
            if let Some(args) = plain::read(rest) {
                return Ok(Self { verb: Verb::Sandbox(args) });
            }
            let command = SandboxArgs::augment_args(clap::Command::new("sandbox").no_binary_name(true));
            let matches = command.try_get_matches_from(rest);
            if let Ok(args) = matches.and_then(|matches| SandboxArgs::from_arg_matches(&matches)) {
                return Ok(Self { verb: Verb::Sandbox(args) });
            }
        }
        Self::try_parse_from(arguments)
    }
}

/// What the policy is made of.
#[derive(Args, Debug)]
pub(crate) struct PolicyOptions {
    /// Which policy applies: read-only, workspace-write, external-sandbox or danger-full-access.
    #[arg(short, long, global = true, value_name = "MODE", value_parser = modes(), conflicts_with = "full_auto")]
    pub(crate) sandbox: Option<SandboxMode>,
    /// Short for --sandbox workspace-write.
    #[arg(long, global = true)]
    pub(crate) full_auto: bool,
    /// The workspace: where the command runs, and what it may write under workspace-write.
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    pub(crate) cd: Option<PathBuf>,
    /// One more directory that the command may write under workspace-write. Repeatable.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) add_dir: Vec<PathBuf>,
    /// Let the command reach the network.
    #[arg(long, global = true)]
    pub(crate) network: bool,
    /// Let the command reach this host by a proxy, the network being off otherwise: NAME, *.NAME or an address, with :PORT or at
    /// all ports. Repeatable.
    #[arg(long, global = true, value_name = "HOST[:PORT]", value_parser = host)]
    pub(crate) allow_host: Vec<HostGrant>,
    /// How the level of isolation is chosen: auto, namespaces or landlock.
    #[arg(long, global = true, value_name = "LEVEL", value_parser = isolations())]
    pub(crate) isolation: Option<Isolation>,
    /// Observe the command, and tell what it was refused: sandbox.explain = "always" for this one.
    #[arg(long, global = true)]
    pub(crate) explain: bool,
    /// Limit what the command may use: memory, processes, cpu_time, open_files, file_size or shm. Repeatable.
    #[arg(long = "limit", value_name = "NAME=AMOUNT", value_parser = limit::parse)]
    pub(crate) limits: Vec<(Limit, NonZeroU64)>,
    /// Override a setting of config.toml; the value is TOML, else taken literally. Repeatable.
    #[arg(short = 'c', global = true, value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Use a [profiles.NAME] table of config.toml.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
}

fn host(text: &str) -> Result<HostGrant, String> {
    text.parse().map_err(|error: HostGrantError| format!("it is {error}"))
}

/// `codex sandbox`.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct SandboxArgs {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// End the command after this long: 300ms, 10s, 2m, 1h. Without it, it may run for ever.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// End the command when it has written nothing for this long. With --json.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, requires = "json")]
    pub(crate) idle_timeout: Option<Duration>,
    /// End the command when it has written more than this: 4096, 64KiB, 10MiB. With --json.
    #[arg(long, value_name = "SIZE", value_parser = limit::parse_size, requires = "json")]
    pub(crate) max_output: Option<u64>,
    /// How long everything has to end after it was asked to, before it is killed: 500ms unless given, 0s to ask nobody.
    #[arg(long, value_name = "TIME", value_parser = duration::parse_or_none)]
    pub(crate) grace: Option<Duration>,
    /// Capture the output, and print the outcome as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Run the command in a terminal of its own, and display here what it writes there, but for what would make this
    /// terminal do more than display.
    #[arg(long, visible_alias = "tty")]
    pub(crate) pty: bool,
    /// With --pty: hand on all that the command writes, as it is.
    #[arg(long, requires = "pty", conflicts_with = "json")]
    pub(crate) passthrough: bool,
    /// Say nothing about what was denied after a command that failed.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) learn: LearnOptions,
    /// Print the helper's command line instead of running it; pasted into a shell, it does the same.
    #[arg(long, conflicts_with_all = ["json", "timeout", "grace", "pty", "learn"])]
    pub(crate) print_plan: bool,
    /// The command and its arguments.
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
}

/// `codex debug policy`.
#[derive(Args, Debug)]
pub(crate) struct PolicyArgs {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// Print it as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `codex debug remote`.
#[derive(Args, Debug)]
pub(crate) struct RemoteArgs {
    /// The policy on the server, by the name of its mode.
    #[arg(short, long, value_name = "MODE", value_parser = modes(), default_value = "read-only")]
    pub(crate) sandbox: SandboxMode,
    /// Where the command runs on the server, if not in the server's workspace.
    #[arg(short = 'C', long, value_name = "DIR")]
    pub(crate) cd: Option<PathBuf>,
    /// Give the command a terminal.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// The file with the token that the server asks for.
    #[arg(long, value_name = "FILE")]
    pub(crate) ws_token_file: Option<PathBuf>,
    /// The server: ws://HOST:PORT or unix:///PATH.
    #[arg(value_name = "URL")]
    pub(crate) server: Endpoint,
    /// The command and its arguments.
    #[arg(value_name = "COMMAND", required = true, last = true)]
    pub(crate) command: Vec<String>,
}

/// `codex doctor`.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// Print it as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `codex completion`.
#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub(crate) shell: CompletionShell,
}

/// Shells that completions are made for.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum CompletionShell {
    /// GNU Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

fn modes() -> impl clap::builder::TypedValueParser<Value = SandboxMode> {
    PossibleValuesParser::new(SandboxMode::ALL.map(SandboxMode::name))
        .try_map(|name| SandboxMode::ALL.into_iter().find(|mode| mode.name() == name).ok_or("no such mode"))
}

fn isolations() -> impl clap::builder::TypedValueParser<Value = Isolation> {
    PossibleValuesParser::new(Isolation::ALL.map(Isolation::name)).try_map(|name| {
        Isolation::ALL.into_iter().find(|isolation| isolation.name() == name).ok_or("no such level")
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use clap::CommandFactory as _;

    use super::{Cli, Debug, OsString, SandboxArgs, SandboxMode, Verb};

    fn sandbox(arguments: &[&OsStr]) -> SandboxArgs {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        match Cli::read(&arguments).unwrap().verb {
            Verb::Sandbox(args) | Verb::Debug(Debug::Sandbox(args)) => args,
            Verb::Debug(
                Debug::Policy(_) | Debug::Remote(_) | Debug::Why(_) | Debug::Explain(_) | Debug::Audit(_),
            )
            | Verb::Doctor(_)
            | Verb::Exec(_)
            | Verb::ExecServer(_)
            | Verb::Completion(_) => {
                panic!("another verb")
            }
        }
    }

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_verb_has_its_older_names() {
        for verb in [&["sandbox"][..], &["debug", "sandbox"], &["debug", "landlock"], &["debug", "seatbelt"]]
        {
            let words = ["codex"].iter().chain(verb).chain(&["-s", "workspace-write", "--", "ls"]);
            let args = sandbox(&words.map(OsStr::new).collect::<Vec<_>>());
            assert_eq!(args.policy.sandbox, Some(SandboxMode::WorkspaceWrite));
            assert_eq!(args.command, ["ls"]);
        }
    }

    #[test]
    fn the_command_keeps_its_bytes_and_its_own_options() {
        let odd = OsStr::from_bytes(b"\xff\n");
        let words = ["codex", "sandbox", "--", "ls", "--json", "-s"].map(OsStr::new);
        let args = sandbox(&words.into_iter().chain([odd]).collect::<Vec<_>>());
        assert!(!args.json);
        assert_eq!(args.command, [OsStr::new("ls"), OsStr::new("--json"), OsStr::new("-s"), odd]);
        let args = sandbox(&["codex", "sandbox", "ls", "-la", "--json"].map(OsStr::new));
        assert_eq!(args.command, ["ls", "-la", "--json"]);
    }
}
