//! `codex exec-server`, by a client on the same machine: start to end, output, what an idle process costs, and how long a small
//! request takes beside many others.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use codex_exec_server::client::{Endpoint, Event, ExecServerClient, RemoteProcess};
use codex_exec_server::protocol::{FileUri, NamedPolicy, StartParams};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::capture::WRITER;
use crate::measure::{Case, Timings, in_turn, rounds};
use crate::programs::{BWRAP_NAMESPACES, Programs, quiet};
use crate::table::Table;

/// How much output is measured.
const BYTES: usize = 64 << 20;
/// How often.
const OUTPUTS: usize = 9;
/// How many processes are idle at a time.
const IDLE: usize = 300;
/// How many clients have how many processes each, beside which a small request is made.
const CLIENTS: usize = 50;
const PROCESSES: usize = 20;

/// A server of its own, killed with this.
struct Server {
    child: Child,
    socket: PathBuf,
    workspace: PathBuf,
}

impl Server {
    fn start(programs: &Programs) -> Outcome<Self> {
        let socket = programs.scratch().join("socket");
        let workspace = programs.workspace();
        let address = format!("unix://{}", socket.display());
        let mut command = programs.codex(["exec-server", "--listen", &address].map(std::ffi::OsStr::new));
        let mut child = command.current_dir(&workspace).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        if line.trim() != address {
            return Err(format!("the server did not start: {line}").into());
        }
        Ok(Self { child, socket, workspace })
    }

    async fn client(&self) -> Outcome<ExecServerClient> {
        Ok(ExecServerClient::connect(Endpoint::Unix(self.socket.clone()), "bench").await?)
    }

    fn params(&self, id: &str, policy: &str, command: &[&str]) -> Outcome<StartParams> {
        let command = command.iter().map(ToString::to_string).collect();
        let cwd = FileUri::of(&self.workspace).ok_or("the workspace has no URI")?;
        let mut params = StartParams::new(id, command, cwd);
        params.policy = Some(NamedPolicy::Name(policy.to_owned()));
        Ok(params)
    }

    fn resident_kib(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        Ok(line.ok_or("/proc/PID/status has another form")?.parse()?)
    }

    fn descriptors(&self) -> Outcome<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended, which a measurement has said before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Hears a process to its end. Says how many bytes it has written.
async fn hear(process: &mut RemoteProcess) -> Outcome<usize> {
    let mut count = 0;
    while let Some(event) = process.next().await {
        match event {
            Event::Output { bytes, .. } => count += bytes.len(),
            Event::Exited { code: 0 } => {}
            Event::Exited { code } => return Err(format!("exit code {code}").into()),
            Event::Gap(gap) => return Err(format!("output is missing: {gap:?}").into()),
            Event::Closed { .. } => return Ok(count),
        }
    }
    Err("the connection was lost".into())
}

pub(crate) fn measure(programs: &Programs) -> Outcome<Table> {
    // For a thousand processes of a server, which inherits it.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(65536), hard)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let note = format!(
        "Start to end: from `process/start` to `process/closed`, of {rounds} rounds in turn. Output: {mib} MiB of short lines, {OUTPUTS} \
         rounds in turn. Idle: {IDLE} processes. Load: {CLIENTS} clients, each with {PROCESSES} commands of a second at once; meanwhile \
         `environment/status` from a connection of its own. Budgets: 0.5 × bwrap, 200 MB/s or half of the pipe, 100 KiB, 20 × idle.",
        rounds = rounds(),
        mib = BYTES >> 20,
    );
    let mut table = Table::new(["", "median", "minimum", "99 %", "× reference"], note);
    starts(programs, &runtime, &mut table)?;
    outputs(programs, &runtime, &mut table)?;
    for policy in ["read-only", "workspace-write"] {
        idle(programs, &runtime, policy, &mut table)?;
    }
    load(programs, &runtime, &mut table)?;
    Ok(table)
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.3} ms", seconds * 1e3)
}

fn starts(programs: &Programs, runtime: &Runtime, table: &mut Table) -> Outcome<()> {
    let server = Server::start(programs)?;
    let client = runtime.block_on(server.client())?;
    let idle = programs.idle.to_string_lossy().into_owned();
    let mut cases = vec![Case::command("bare `true`", programs.bare())];
    for policy in ["read-only", "workspace-write"] {
        let (server, client, idle) = (&server, client.clone(), idle.clone());
        let mut number = 0;
        cases.push(Case::new(format!("`true`, {policy}"), move || {
            number += 1;
            let params = server.params(&format!("{policy}-{number}"), policy, &[&idle])?;
            let start = Instant::now();
            runtime.block_on(async { hear(&mut client.start(&params).await?).await })?;
            Ok(start.elapsed())
        }));
    }
    let request = client.clone();
    cases.push(Case::new("`environment/status`", move || {
        let start = Instant::now();
        runtime.block_on(request.call::<Value>("environment/status", &json!({})))?;
        Ok(start.elapsed())
    }));
    if let Some(bwrap) = &programs.bwrap {
        let mut command = quiet(bwrap, BWRAP_NAMESPACES.iter().map(|option| std::ffi::OsStr::new(*option)));
        command.arg(&programs.idle);
        cases.push(Case::command("`bwrap --unshare-all`", command));
    }
    let timings = in_turn(rounds(), cases)?;
    let reference = programs.bwrap.as_ref().and(timings.last());
    for timing in &timings {
        let ratio =
            reference.map_or_else(|| "–".to_owned(), |bwrap| format!("{:.2} × bwrap", timing.ratio(bwrap)));
        table.row([
            timing.name.clone(),
            milliseconds(timing.median()),
            milliseconds(timing.minimum()),
            milliseconds(timing.percentile(99)),
            ratio,
        ]);
    }
    Ok(())
}

fn outputs(programs: &Programs, runtime: &Runtime, table: &mut Table) -> Outcome<()> {
    let server = Server::start(programs)?;
    let client = runtime.block_on(server.client())?;
    let (own, bytes) = (programs.own.to_string_lossy().into_owned(), BYTES.to_string());
    let bare = Case::new("output through a pipe", || {
        let start = Instant::now();
        let mut child = Command::new(&programs.own).args([WRITER, &bytes]).stdout(Stdio::piped()).spawn()?;
        let mut pipe = child.stdout.take().ok_or("no output")?;
        let (mut buffer, mut count) = (vec![0; 64 * 1024], 0);
        loop {
            match pipe.read(&mut buffer)? {
                0 => break,
                read => count += read,
            }
        }
        child.wait()?;
        complete(count, start)
    });
    let mut number = 0;
    let (server, words) = (&server, [own.as_str(), WRITER, bytes.as_str()]);
    let served = Case::new("output to a client", move || {
        number += 1;
        let params = server.params(&format!("output-{number}"), "read-only", &words)?;
        let start = Instant::now();
        let count = runtime.block_on(async { hear(&mut client.start(&params).await?).await })?;
        complete(count, start)
    });
    let timings = in_turn(OUTPUTS, vec![bare, served])?;
    let speed = |seconds: f64| format!("{:.0} MB/s", BYTES as f64 / seconds / 1e6);
    for timing in &timings {
        table.row([
            timing.name.clone(),
            speed(timing.median()),
            speed(timing.percentile(100)),
            String::new(),
            format!("{:.2} × pipe", 1.0 / timing.ratio(&timings[0])),
        ]);
    }
    Ok(())
}

fn complete(count: usize, start: Instant) -> Outcome<Duration> {
    let taken = start.elapsed();
    if count < BYTES {
        return Err(format!("{count} bytes came of {BYTES}").into());
    }
    Ok(taken)
}

fn idle(programs: &Programs, runtime: &Runtime, policy: &str, table: &mut Table) -> Outcome<()> {
    let server = Server::start(programs)?;
    let client = runtime.block_on(server.client())?;
    let start = async |first: usize, last: usize| -> Outcome<Vec<RemoteProcess>> {
        let mut processes = Vec::new();
        for number in first..last {
            let params = server.params(&number.to_string(), policy, &["sleep", "1000"])?;
            processes.push(client.start(&params).await?);
        }
        Ok(processes)
    };
    // What is looked after beside a command is there after a second, and what is kept ready has gone after a minute.
    let settle = || std::thread::sleep(Duration::from_secs(3));
    let first = runtime.block_on(start(0, 20))?;
    settle();
    let (memory, descriptors) = (server.resident_kib()?, server.descriptors()?);
    let others = runtime.block_on(start(20, 20 + IDLE))?;
    settle();
    let each = |after: f64, before: f64| (after - before) / IDLE as f64;
    let memory = each(server.resident_kib()? as f64, memory as f64);
    let descriptors = each(server.descriptors()? as f64, descriptors as f64);
    drop((first, others));
    table.row([
        format!("an idle process, {policy}"),
        format!("{memory:.0} KiB"),
        String::new(),
        String::new(),
        format!("{descriptors:.1} descriptors"),
    ]);
    Ok(())
}

fn load(programs: &Programs, runtime: &Runtime, table: &mut Table) -> Outcome<()> {
    let server = std::sync::Arc::new(Server::start(programs)?);
    let small = runtime.block_on(server.client())?;
    let ask = async |times: &mut Vec<f64>| -> Outcome<()> {
        let start = Instant::now();
        small.call::<Value>("environment/status", &json!({})).await?;
        times.push(start.elapsed().as_secs_f64());
        Ok(())
    };
    let (quiet, busy) = runtime.block_on(async {
        let mut quiet = Vec::new();
        for _ in 0..2000 {
            ask(&mut quiet).await?;
        }
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let server = std::sync::Arc::clone(&server);
            clients.spawn(async move { many(&server).await.map_err(|error| error.to_string()) });
        }
        let mut busy = Vec::new();
        while !clients.is_empty() {
            ask(&mut busy).await?;
            while let Some(ended) = clients.try_join_next() {
                ended??;
            }
            // Not so often that it is a load of its own.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok::<_, Box<dyn std::error::Error>>((
            Timings::of("small, idle", quiet),
            Timings::of("small, load", busy),
        ))
    })?;
    for timing in [&quiet, &busy] {
        table.row([
            format!("a small request, {}", if std::ptr::eq(timing, &quiet) { "idle" } else { "under load" }),
            milliseconds(timing.median()),
            milliseconds(timing.minimum()),
            milliseconds(timing.percentile(99)),
            format!("{:.0} × idle at 99 %", timing.percentile(99) / quiet.median()),
        ]);
    }
    Ok(())
}

/// A client with its processes.
async fn many(server: &Server) -> Outcome<()> {
    let client = server.client().await?;
    let mut processes = JoinSet::new();
    for number in 0..PROCESSES {
        let params = server.params(&number.to_string(), "workspace-write", &["sleep", "1"])?;
        let client = client.clone();
        processes.spawn(async move {
            let mut process = client.start(&params).await.map_err(|error| error.to_string())?;
            hear(&mut process).await.map_err(|error| error.to_string())
        });
    }
    while let Some(ended) = processes.join_next().await {
        ended??;
    }
    Ok(())
}
