//! `codex debug remote`: a command on a server, with live streams.

use std::io::Read as _;
use std::path::Path;

use codex_exec_server::client::{ClientError, Endpoint, Event, ExecServerClient};
use codex_exec_server::protocol::{FileUri, NamedPolicy, StartParams, Stream};
use codex_exec_server::{AuthError, token_of_file};
use codex_linux_sandbox::shown;
use tokio::sync::mpsc::{Receiver, channel};

use crate::args::RemoteArgs;
use crate::exit_code;
use crate::render;

/// How much is read from standard input at once, and how many such pieces may wait.
const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 4;

/// Why there is nothing to tell of a command.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Token(#[from] AuthError),
    #[error("{0} is no absolute path")]
    Relative(String),
    #[error("the run can't be prepared: {0}")]
    Prepare(std::io::Error),
    #[error("the session is lost; what became of the command is not known")]
    Lost,
}

pub(crate) fn remote(args: RemoteArgs) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let run = match runtime {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => Err(Failure::Prepare(error)),
    };
    run.unwrap_or_else(|failure| render::refusal(&failure.to_string(), exit_code::REFUSED))
}

async fn run(args: RemoteArgs) -> Result<i32, Failure> {
    let endpoint = with_token(args.server, args.ws_token_file.as_deref())?;
    let client = ExecServerClient::connect(endpoint, "codex-debug-remote").await?;
    let directory = match &args.cd {
        Some(path) => Some(FileUri::of(path).ok_or_else(|| Failure::Relative(shown(path)))?),
        None => client.environment().and_then(|info| info.cwd.clone()),
    };
    let root = || FileUri::of(Path::new("/")).ok_or_else(|| Failure::Relative("/".to_owned()));
    let params = StartParams {
        policy: Some(NamedPolicy::Name(args.sandbox.name().to_owned())),
        tty: args.tty,
        pipe_stdin: Some(!args.tty),
        ..StartParams::new("remote", args.command, directory.map_or_else(root, Ok)?)
    };
    let mut process = client.start(&params).await?;
    let mut typed = standard_input().map_err(Failure::Prepare)?;
    let mut code = None;
    let (input, mut events) = process.split();
    let writing = async {
        while let Some(bytes) = typed.recv().await {
            input.write(bytes).await?;
        }
        input.close().await
    };
    tokio::pin!(writing);
    let mut is_written = false;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            written = &mut writing, if !is_written => {
                is_written = true;
                if let Err(error) = written {
                    tracing::debug!("standard input is not passed on: {error}");
                }
                continue;
            }
        };
        match event {
            Some(Event::Output { stream: Stream::Stderr, bytes }) => render::error_bytes(&bytes),
            Some(Event::Output { bytes, .. }) => {
                let printed = render::bytes(&bytes);
                if printed != exit_code::SUCCESS {
                    return Ok(printed);
                }
            }
            Some(Event::Gap(gap)) => {
                let bytes = gap.bytes.map_or(0, |bytes| bytes.stdout + bytes.stderr + bytes.pty);
                render::complaint(&format!(
                    "{bytes} bytes of output are lost: they came faster than they were taken"
                ));
            }
            Some(Event::Exited { code: exit }) => code = Some(exit),
            Some(Event::Closed { .. }) => return code.ok_or(Failure::Lost),
            None => return Err(Failure::Lost),
        }
    }
}

fn with_token(server: Endpoint, file: Option<&Path>) -> Result<Endpoint, Failure> {
    let Some(path) = file else { return Ok(server) };
    let token = Some(token_of_file(path)?);
    Ok(match server {
        Endpoint::WebSocket { host, .. } => Endpoint::WebSocket { host, token },
        other => other,
    })
}

/// What comes in on standard input. A thread waits for it: nothing else can, for files and terminals alike.
fn standard_input() -> std::io::Result<Receiver<Vec<u8>>> {
    let (sender, receiver) = channel(CHUNKS);
    std::thread::Builder::new().name("codex-stdin".to_owned()).spawn(move || {
        let mut chunk = vec![0; CHUNK];
        loop {
            match std::io::stdin().read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    if sender.blocking_send(chunk.get(..count).unwrap_or_default().to_vec()).is_err() {
                        return;
                    }
                }
            }
        }
    })?;
    Ok(receiver)
}
