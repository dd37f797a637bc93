//! `codex exec-server`.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use codex_core::config::Isolation;
use codex_core::limits::Limit;
use codex_core::policy::SandboxMode;
use codex_exec_server::ListenAddress;

use super::{duration, isolations, limit, modes};

pub(super) const EXAMPLES: &str = "\
Examples:
  For a client that starts the server itself:
      codex exec-server --listen stdio
  On a port of this machine; the first line of output has the URL:
      codex exec-server --listen ws://127.0.0.1:0
  For other machines, which have to show a token:
      openssl rand -hex 32 > token; chmod 600 token
      codex exec-server --listen ws://0.0.0.0:8722 --ws-token-file token

Exit codes:
      0 told to end, or standard input has ended; 2 usage or configuration; 125 can't listen";

/// An address, or what listens already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    At(ListenAddress),
    /// The sockets that a service manager has passed.
    Passed,
}

impl std::str::FromStr for Listen {
    type Err = codex_exec_server::AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "systemd" { Ok(Self::Passed) } else { text.parse().map(Self::At) }
    }
}

/// `codex exec-server`.
#[derive(Args, Debug)]
pub(crate) struct ExecServerArgs {
    /// Speak MCP over standard streams: tools and resources, for agents that know that protocol.
    #[arg(long)]
    pub(crate) mcp: bool,
    /// Where to listen: stdio, ws://IP:PORT, http://IP:PORT (MCP), unix:///PATH, or systemd for the sockets that it passes. Repeatable.
    /// Without it, at a port of this machine.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Vec<Listen>,
    /// How clients show who they are, over WebSocket and HTTP: capability-token or signed-bearer-token, as the options below
    /// imply.
    #[arg(long, value_name = "KIND", value_parser = ["capability-token", "signed-bearer-token"], requires = "token")]
    pub(crate) ws_auth: Option<String>,
    /// The file with the token that clients have to show.
    #[arg(long, value_name = "FILE", group = "token")]
    pub(crate) ws_token_file: Option<PathBuf>,
    /// The SHA-256 digest of the token that clients have to show, in hexadecimal digits.
    #[arg(long, value_name = "DIGEST", group = "token")]
    pub(crate) ws_token_sha256: Option<String>,
    /// The file with the secret that clients' tokens have to be signed with: JSON Web Tokens, HS256.
    #[arg(long, value_name = "FILE", group = "token", group = "signed")]
    pub(crate) ws_shared_secret_file: Option<PathBuf>,
    /// The file with the public key of who signs clients' tokens: JSON Web Tokens, Ed25519.
    #[arg(long, value_name = "FILE", group = "token", group = "signed")]
    pub(crate) ws_public_key_file: Option<PathBuf>,
    /// Who has to have issued signed tokens (`iss`).
    #[arg(long, value_name = "NAME", requires = "signed")]
    pub(crate) ws_issuer: Option<String>,
    /// Whom signed tokens have to be meant for (`aud`). Without it, those that name somebody are refused.
    #[arg(long, value_name = "NAME", requires = "signed")]
    pub(crate) ws_audience: Option<String>,
    /// How far the clocks of who signs and of this machine may be apart: 30 unless given, 300 at most.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=300), requires = "signed")]
    pub(crate) ws_max_clock_skew_seconds: Option<u64>,
    /// How many requests of one connection are handled at the same time.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrent_requests: Option<u32>,
    /// How many connections there may be.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: Option<u32>,
    /// How many processes may run.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_processes: Option<u32>,
    /// How long a session is kept without a connection: 80s unless given.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) session_timeout: Option<Duration>,
    /// The policy of calls over MCP that ask for nothing else: read-only, workspace-write, external-sandbox or
    /// danger-full-access.
    #[arg(short, long, value_name = "MODE", value_parser = modes())]
    pub(crate) sandbox: Option<SandboxMode>,
    /// The workspace: below it, clients may ask to write.
    #[arg(short = 'C', long, value_name = "DIR")]
    pub(crate) cd: Option<PathBuf>,
    /// How the level of isolation is chosen: auto, namespaces or landlock.
    #[arg(long, value_name = "LEVEL", value_parser = isolations())]
    pub(crate) isolation: Option<Isolation>,
    /// Limit what the command may use: memory, processes, cpu_time, open_files, file_size or shm. Repeatable.
    #[arg(long = "limit", value_name = "NAME=AMOUNT", value_parser = limit::parse)]
    pub(crate) limits: Vec<(Limit, NonZeroU64)>,
    /// Override a setting of config.toml; the value is TOML, else taken literally. Repeatable.
    #[arg(short = 'c', value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Use a [profiles.NAME] table of config.toml.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
}
