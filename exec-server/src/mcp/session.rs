//! One client's commands.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use codex_core::exec::{ExecError, ExecResult, Labels, NotedCommand, NotedRefusal, Sandbox};
use codex_core::output::FeedReader;
use codex_linux_sandbox::shown;
use codex_mcp::Client;
use codex_mcp::model::{CallToolResult, JsonObject};
use codex_tools::patch::Patch;
use codex_tools::{
    Answer, Arguments, Asks, Call, Engine, ExecCommand, Held, Observer, Running, Shell, Started, WriteStdin,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::outputs::{Outputs, Piece};
use super::progress::waited;
use super::{Desk, permissions, result};
use crate::metrics::Metrics;
use crate::noted;
use crate::protocol::RpcError;
use crate::server::Shared;
use crate::turns::Turns;

/// How long `kill` waits for the end.
const KILLED_IN: Duration = Duration::from_secs(5);

/// The tools of one session, and what they have started.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) server: Arc<Shared>,
    pub(super) desk: Arc<Desk>,
    id: String,
    peer: Arc<str>,
    engine: Engine,
    /// Its turns at setting up processes.
    turns: Turns,
    pub(super) outputs: Outputs,
    /// Ends everything.
    cancellation: CancellationToken,
    _place: Place,
}

/// A place among the sessions that there may be.
#[derive(Debug)]
struct Place(Arc<Metrics>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.sessions.down();
    }
}

/// A place among the processes that may run.
#[derive(Debug)]
struct Runs(Arc<Metrics>);

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.process_is_over();
    }
}

/// Nobody is told of commands but those who have asked for them; what their sandboxes have refused is counted.
#[derive(Debug)]
struct Quiet(Arc<Metrics>);

impl Observer for Quiet {
    fn command_started(&self, _started: &Started) -> String {
        String::new()
    }
    fn command_ended(&self, _running: &Running, result: &Result<ExecResult, ExecError>) {
        self.0.ended(result);
    }
    fn patch_started(&self, _patch: &Patch, _directory: &Path) -> String {
        String::new()
    }
    fn patch_ended(&self, _name: String, _patch: &Patch, _directory: &Path, _applied: bool) {}
}

impl Session {
    /// A session with nothing under way.
    pub(super) fn new(server: Arc<Shared>, desk: Arc<Desk>, peer: Arc<str>) -> Result<Self, RpcError> {
        if !server.metrics.sessions.up_below(server.limits.sessions) {
            server.metrics.limits_hit.add("sessions", 1);
            return Err(RpcError::invalid("there are as many sessions as this server allows"));
        }
        let place = Place(Arc::clone(&server.metrics));
        let id = uuid::Uuid::new_v4().to_string();
        Ok(Self {
            id,
            engine: Engine::new(desk.bench.clone(), Arc::new(Quiet(Arc::clone(&server.metrics)))),
            turns: server.sessions.turns(),
            outputs: Outputs::new(desk.bench.spill.clone()),
            cancellation: server.shutdown.child_token(),
            server,
            desk,
            peer,
            _place: place,
        })
    }

    /// Ends everything that goes on, and waits until it has.
    pub(super) async fn end(&self) {
        self.cancellation.cancel();
        self.engine.end_all().await;
    }

    pub(super) async fn answer(
        &self,
        tool: &str,
        arguments: JsonObject,
        client: &Client,
    ) -> Result<CallToolResult, String> {
        match tool {
            "exec_command" => self.exec_command(arguments, client).await,
            "shell" => self.shell(arguments, client).await,
            "apply_patch" => self.apply_patch(arguments, client).await,
            "write_stdin" => {
                let asked = WriteStdin::read(&Arguments::of("write_stdin", arguments, WriteStdin::KNOWN)?)?;
                // The command goes on, whatever becomes of this call.
                let answer = waited(self.engine.write_stdin(asked), None, None, client).await?;
                Ok(self.told(answer, &self.desk.sandbox))
            }
            "kill" => self.kill(arguments, client).await,
            _ => Err(format!("there is no tool `{}`", shown(tool))),
        }
    }

    async fn exec_command(&self, arguments: JsonObject, client: &Client) -> Result<CallToolResult, String> {
        let arguments = Arguments::of("exec_command", arguments, ExecCommand::KNOWN)?;
        let asked = ExecCommand::read(&arguments, &self.engine)?;
        let command = asked.command.clone();
        let sandbox = self.granted("exec_command", &asked.asks, &command, &asked.directory, client).await?;
        let (call, reader) = self.call_under(&sandbox, client).await?;
        let ends = call.cancellation.clone();
        let answer = waited(self.engine.exec_command(asked, call), Some(ends), reader, client).await?;
        Ok(self.told(answer, &sandbox))
    }

    async fn shell(&self, arguments: JsonObject, client: &Client) -> Result<CallToolResult, String> {
        let arguments = Arguments::of("shell", arguments, Shell::KNOWN)?;
        let asked = Shell::read(&arguments, &self.engine)?;
        let command = asked.command.clone();
        let sandbox = self.granted("shell", &asked.asks, &command, &asked.directory, client).await?;
        let (call, reader) = self.call_under(&sandbox, client).await?;
        let ends = call.cancellation.clone();
        let answer = waited(self.engine.shell(asked, call), Some(ends), reader, client).await?;
        Ok(self.told(answer, &sandbox))
    }

    async fn apply_patch(&self, arguments: JsonObject, client: &Client) -> Result<CallToolResult, String> {
        let patch = Arguments::of("apply_patch", arguments, &["input"])?.needed_text("input")?;
        let directory = self.engine.directory(None);
        let command = ["apply_patch".to_owned()];
        let sandbox = self.granted("apply_patch", &Asks::default(), &command, &directory, client).await?;
        let (call, _nothing) = self.call_under(&sandbox, client).await?;
        let ends = call.cancellation.clone();
        let applied = async { Ok(self.engine.apply_patch(&patch, &directory, &call).await) };
        let answer = waited(applied, Some(ends), None, client).await?;
        Ok(self.told(answer, &sandbox))
    }

    async fn kill(&self, mut arguments: JsonObject, client: &Client) -> Result<CallToolResult, String> {
        // A name or a number.
        let signal = match arguments.remove("signal") {
            None | Some(Value::Null) => None,
            Some(named) => Some(number(&named).ok_or_else(|| {
                format!(
                    "the argument `signal` of kill has to be a signal; there is no {named}. Nothing was sent."
                )
            })?),
        };
        let arguments = Arguments::of("kill", arguments, &["session_id"])?;
        let id = arguments.number("session_id")?.ok_or_else(|| arguments.missing("session_id"))?;
        let answer = waited(self.engine.kill(id, signal, KILLED_IN), None, None, client).await?;
        Ok(self.told(answer, &self.desk.sandbox))
    }

    pub(super) async fn read_output(&self, arguments: JsonObject) -> Result<CallToolResult, String> {
        let known = &["output", "offset", "line", "lines", "max_bytes"];
        let arguments = Arguments::of("read_output", arguments, known)?;
        let output = arguments.needed_text("output")?;
        let most = arguments.number("max_bytes")?;
        let piece = match (arguments.number("offset")?, arguments.number("line")?, arguments.number("lines")?)
        {
            (Some(_), Some(_), _) => return Err("either `offset` or `line`, and not both".to_owned()),
            (Some(_), None, Some(_)) => return Err("`lines` goes with `line`".to_owned()),
            (offset, None, None) => Piece::Bytes { offset: offset.unwrap_or(0), most },
            (None, first, count) => Piece::Lines { first: first.unwrap_or(1), count, most },
        };
        Ok(result::of_page(&self.outputs.read(&output, piece).await?))
    }

    /// The sandbox of a call: the default, or what it asks for where that is granted. It is noted before anything runs.
    async fn granted(
        &self,
        tool: &str,
        asks: &Asks,
        command: &[String],
        directory: &Path,
        client: &Client,
    ) -> Result<Sandbox, String> {
        let default = &self.desk.sandbox;
        let granted = match permissions::wish(asks, self.server.ceiling.settings())? {
            None => Ok(default.clone()),
            Some(wish) => {
                let server = Arc::clone(&self.server);
                let granted =
                    tokio::task::spawn_blocking(move || server.ceiling.grant_mode(wish.mode, wish.network));
                granted.await.map_err(|error| error.to_string())?.map_err(|refusal| refusal.to_string())
            }
        };
        let approved = match granted {
            Ok(sandbox) if permissions::is_wider(sandbox.policy(), default.policy()) => {
                self.approved(tool, &sandbox, asks, command, directory, client).await.map(|()| sandbox)
            }
            Ok(sandbox) => Ok(sandbox),
            Err(refusal) => Err(format!("{refusal}. Nothing was run.")),
        };
        if let Err(refusal) = &approved {
            self.note_refusal(tool, command, directory, client, refusal).await?;
        }
        approved
    }

    /// Says in the audit log what was asked for, and why it is not granted. What is started says so itself.
    async fn note_refusal(
        &self,
        tool: &str,
        command: &[String],
        directory: &Path,
        client: &Client,
        refusal: &str,
    ) -> Result<(), String> {
        self.server.metrics.processes_refused.add(1);
        tracing::info!(peer = &*self.peer, "refused: {refusal}");
        let labels = Labels { process: Some(tool.to_owned()), ..self.labels(client) };
        let cwd = directory.to_string_lossy().into_owned();
        let command = NotedCommand::of(command);
        let refused = NotedRefusal { labels, command, cwd, refused: refusal.to_owned() };
        noted::note_refusal(&self.server.ceiling, refused).await
    }

    /// Who asks for a call, for the audit log.
    pub(super) fn labels(&self, client: &Client) -> Labels {
        Labels {
            by: Some("exec-server"),
            session: Some(self.id.get(..8).unwrap_or_default().to_owned()),
            process: None,
            peer: Some(self.peer.to_string()),
            client: Some(client.name().to_owned()),
        }
    }

    /// A call under a sandbox, with its place among the processes and its turn at being set up, and what follows it where the
    /// client wants to know.
    async fn call_under<'s>(
        &self,
        sandbox: &'s Sandbox,
        client: &Client,
    ) -> Result<(Call<'s>, Option<oneshot::Receiver<FeedReader>>), String> {
        let metrics = &self.server.metrics;
        let most = self.server.limits.processes;
        if !metrics.processes.up_below(most) {
            metrics.processes_refused.add(1);
            metrics.limits_hit.add("processes", 1);
            return Err(format!(
                "{most} processes run already, as many as this server allows. Nothing was run."
            ));
        }
        let mut call = Call::new(sandbox, self.cancellation.child_token(), self.labels(client));
        call.held = Some(Held(Box::new(Runs(Arc::clone(metrics)))));
        call.until_over = Some(Held(Box::new(metrics.begun())));
        call.turn = tokio::select! {
            turn = self.turns.begin() => Some(Held(Box::new(turn))),
            () = client.cancellation().cancelled() => return Err("cancelled. Nothing was run.".to_owned()),
        };
        metrics.processes_started.add(1);
        let (sender, reader) = oneshot::channel();
        let follow = client.wants_progress();
        call.follow = follow.then_some(sender);
        Ok((call, follow.then_some(reader)))
    }

    /// What a client gets of an answer: with what its command runs under or, of a patch, this sandbox.
    fn told(&self, answer: Answer, sandbox: &Sandbox) -> CallToolResult {
        let ended = answer.end.as_deref().and_then(|end| end.as_ref().ok());
        let report = ended.and_then(|end| end.spill.clone());
        let command = answer.of.as_ref().map_or("apply_patch", |of| &of.command);
        let spilled = report.and_then(|report| Some((self.outputs.keep(&report, command)?, report)));
        result::of_command(answer, sandbox.expected().level, spilled)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.cancellation.cancel();
    }
}

/// `SIGTERM`, `TERM`, `term`, `15`.
fn number(named: &Value) -> Option<i32> {
    let Some(name) = named.as_str() else {
        return named.as_i64().and_then(|number| i32::try_from(number).ok());
    };
    let name = name.to_ascii_uppercase();
    let full = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    full.parse::<Signal>().ok().map(|signal| signal as i32)
}
