//! `codex exec-server`: the sandbox for agents elsewhere.

use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use codex_arg0::{SELF_EXE, self_exe};
use codex_core::exec::{Helper, watch};
use codex_core::output::SpillDirectory;
use codex_exec_server::{
    AuthError, Bound, CeilingOptions, Credential, DEFAULT_SKEW, ListenAddress, ListenError, MCP, McpOptions,
    PrepareError, SECRET_VARIABLES, Server, ServerLimits, ServerOptions, SignedTokens, TelemetryError,
    TelemetryOptions, TokenDigest,
};
use codex_linux_sandbox::share_arenas;
use nix::sys::signal::Signal;

use super::sandbox::{aliases, put_first};
use super::spill::spill_directory;
use crate::args::{ExecServerArgs, Listen, PolicyOptions};
use crate::exit_code;
use crate::meaning::{Meaning, MeaningError};
use crate::passed::{PassedError, passed_sockets};
use crate::render;
use crate::signals::{Shares, Signals};
use crate::world::{PASSED, variable};

/// The kinds of `--ws-auth`.
const TOKEN: &str = "capability-token";
const SIGNED: &str = "signed-bearer-token";

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Meaning(#[from] MeaningError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Server(#[from] PrepareError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Passed(#[from] PassedError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Two options say different things about who may connect.
    #[error("--ws-auth {kind} does not go with --{option}")]
    Kind { kind: String, option: &'static str },
    #[error("the server can't be prepared: {0}")]
    Prepare(std::io::Error),
}

impl Failure {
    const fn exit_code(&self) -> i32 {
        match self {
            Self::Meaning(error) => error.exit_code(),
            Self::Auth(_)
            | Self::Server(_)
            | Self::Kind { .. }
            | Self::Passed(_)
            | Self::Telemetry(_)
            | Self::Listen(ListenError::OffLoopback(_) | ListenError::StdioTwice) => exit_code::USAGE,
            Self::Listen(_) | Self::Prepare(_) => exit_code::REFUSED,
        }
    }
}

pub(crate) fn exec_server(args: &ExecServerArgs) -> i32 {
    match serve(args) {
        Ok(code) => code,
        Err(failure) => render::refusal(&failure.to_string(), failure.exit_code()),
    }
}

fn serve(args: &ExecServerArgs) -> Result<i32, Failure> {
    // Before anything is opened.
    let mut passed = match args.listen.contains(&Listen::Passed) {
        true => passed_sockets()?,
        false => Vec::new(),
    };
    // Before there is a second thread: all of them have to have them blocked.
    let signals = Signals::block(Shares::Nothing).map_err(|errno| Failure::Prepare(errno.into()))?;
    let has_mcp = passed.iter().any(|(name, _)| name == MCP);
    let options = options(args, has_mcp)?;
    // One for each thread that computes. Those that wait for disks and set-ups come and go.
    if !share_arenas(std::thread::available_parallelism().map_or(1, Into::into)) {
        tracing::debug!("the arenas of the heap are left to the C library");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(Failure::Prepare)?;
    let code = runtime.block_on(async {
        let mut server = Server::new(options)?;
        let default = match args.mcp {
            true => [Listen::At(ListenAddress::Stdio)],
            false => [Listen::At(ListenAddress::WebSocket(([127, 0, 0, 1], 0).into()))],
        };
        let addresses = if args.listen.is_empty() { &default[..] } else { &args.listen };
        let has_stdio = addresses.contains(&Listen::At(ListenAddress::Stdio));
        for address in addresses {
            let bound = match address {
                Listen::At(address) => vec![server.listen(address).await?],
                Listen::Passed => {
                    let adopted = passed.drain(..).map(|(name, socket)| server.adopt(&name, socket));
                    adopted.collect::<Result<_, _>>()?
                }
            };
            // Standard output belongs to the protocol where that is spoken there.
            for bound in bound.iter().filter(|bound| **bound != Bound::Stdio && !has_stdio) {
                let printed = render::line(&bound.to_string());
                if printed != exit_code::SUCCESS {
                    return Ok(printed);
                }
            }
        }
        let shutdown = server.shutdown();
        let running = server.run();
        tokio::pin!(running);
        tokio::select! {
            () = &mut running => {}
            () = told_to_end(&signals) => {
                shutdown.cancel();
                running.await;
            }
        }
        Ok::<_, Failure>(exit_code::SUCCESS)
    });
    // A thread that waits for standard input can't be told to stop.
    runtime.shutdown_background();
    code
}

/// Waits for a signal that asks a server to end. The others mean nothing to it.
async fn told_to_end(signals: &Signals) {
    let Ok(watched) = signals.descriptor().as_fd().try_clone_to_owned().and_then(watch) else {
        return std::future::pending().await;
    };
    loop {
        let Ok(mut ready) = watched.readable().await else { return std::future::pending().await };
        while let Some(received) = signals.take() {
            if matches!(received.signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGHUP)
            {
                return;
            }
        }
        ready.clear_ready();
    }
}

/// What clients over WebSocket have to show. One of the options at most is there.
fn credential(args: &ExecServerArgs) -> Result<Option<Credential>, Failure> {
    let signed = |mut tokens: SignedTokens| {
        tokens.skew = args.ws_max_clock_skew_seconds.map_or(DEFAULT_SKEW, Duration::from_secs);
        tokens.issuer.clone_from(&args.ws_issuer);
        tokens.audience.clone_from(&args.ws_audience);
        Credential::Signed(Box::new(tokens))
    };
    let (credential, kind, option) = if let Some(file) = &args.ws_token_file {
        (Credential::Token(TokenDigest::of_file(file)?), TOKEN, "ws-token-file")
    } else if let Some(digest) = &args.ws_token_sha256 {
        (Credential::Token(TokenDigest::of_hex(digest)?), TOKEN, "ws-token-sha256")
    } else if let Some(file) = &args.ws_shared_secret_file {
        (signed(SignedTokens::with_secret_file(file)?), SIGNED, "ws-shared-secret-file")
    } else if let Some(file) = &args.ws_public_key_file {
        (signed(SignedTokens::with_public_key_file(file)?), SIGNED, "ws-public-key-file")
    } else {
        return Ok(None);
    };
    match &args.ws_auth {
        Some(said) if said != kind => Err(Failure::Kind { kind: said.clone(), option }),
        _ => Ok(Some(credential)),
    }
}

fn options(args: &ExecServerArgs, passed_for_mcp: bool) -> Result<ServerOptions, Failure> {
    let meaning = Meaning::of(&PolicyOptions {
        sandbox: args.sandbox,
        full_auto: false,
        cd: args.cd.clone(),
        add_dir: Vec::new(),
        network: false,
        allow_host: Vec::new(),
        isolation: args.isolation,
        explain: false,
        limits: args.limits.clone(),
        overrides: args.overrides.clone(),
        profile: args.profile.clone(),
    })?;
    let token = credential(args)?;
    let mut limits = ServerLimits::default();
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    limits.concurrent_requests = args.concurrent_requests.map_or(limits.concurrent_requests, count);
    limits.connections = args.max_connections.map_or(limits.connections, count);
    limits.processes = args.max_processes.map_or(limits.processes, count);
    limits.session_for = args.session_timeout.unwrap_or(limits.session_for);
    limits.mcp_session_for = args.session_timeout.unwrap_or(limits.mcp_session_for);
    let mut variables = meaning.environment()?;
    // They are the server's, and so are the sockets.
    variables.retain(|(name, _)| PASSED.iter().chain(&SECRET_VARIABLES).all(|ours| name != ours));
    let telemetry = TelemetryOptions::of(|name| Some(variable(name)?.to_string_lossy().into_owned()))?;
    let workspace = meaning.workspace.clone().ok_or(MeaningError::NoWorkspace)?;
    let over_http = passed_for_mcp
        || args.listen.iter().any(|address| matches!(address, Listen::At(ListenAddress::Http(_))));
    let spill = meaning.world.codex_home.as_deref().and_then(spill_directory);
    let mcp = (args.mcp || over_http).then(|| mcp(args, &meaning, &variables, spill.clone())).transpose()?;
    let sandbox = meaning.running_options()?;
    let program = match &sandbox.helper {
        // The file itself, which the helper is as well, whatever has become of the path.
        Helper::ThisProgram => SELF_EXE.into(),
        Helper::Program(_) => {
            self_exe().map_err(|error| Failure::Prepare(std::io::Error::other(error.to_string())))?
        }
    };
    let ceiling = CeilingOptions {
        sandbox,
        workspace,
        tmpdir: meaning.world.tmpdir.clone(),
        codex_home: meaning.world.codex_home.clone(),
        named_in_files: meaning.roots_named_in_files(),
        settings: meaning.config.settings,
    };
    Ok(ServerOptions { ceiling, variables, token, program, limits, spill, mcp, telemetry })
}

fn mcp(
    args: &ExecServerArgs,
    meaning: &Meaning,
    variables: &[(OsString, OsString)],
    spill: Option<Arc<SpillDirectory>>,
) -> Result<McpOptions, Failure> {
    let mut environment = variables.to_vec();
    if let Some(aliases) = aliases(meaning) {
        put_first(&aliases, &mut environment);
    }
    Ok(McpOptions {
        program: codex_arg0::self_exe().map_err(|error| Failure::Prepare(std::io::Error::other(error)))?,
        spill,
        environment,
        stdio: args.mcp,
    })
}
