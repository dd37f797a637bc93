//! What many calls leave behind: `benches/run soak`, for `SOAK_SECONDS` (60 unless set).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use codex_core::config::Isolation;
use codex_core::exec::{
    ExecRequest, Outcome as RunOutcome, Process, Sandbox, SandboxOptions, Stdio, TerminalSize,
    process_exec_tool_call,
};
use codex_core::output::{OutputBudget, SpillDirectory, SpillOptions};
use codex_core::policy::{NetworkAccess, SandboxPolicy, Surroundings};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::programs::Programs;
use crate::startup::runtime;
use crate::table::Table;

/// How many calls run at a time.
const AT_ONCE: usize = 200;

/// What a call is, and how it has to end.
const CALLS: [(&str, &str, &str); 9] = [
    ("exits", "exit 3", "exited"),
    ("writes a megabyte", "head -c 1048576 /dev/zero | tr '\\0' y", "exited"),
    ("writes what is spilled", "yes | head -c 300000", "exited"),
    ("leaves a session behind", "(setsid sleep 500 > /dev/null 2>&1 &); echo left", "exited"),
    ("outlives its deadline", "trap '' TERM; sleep 500; sleep 500", "timed_out"),
    ("writes without end", "yes", "output_exceeded"),
    ("is not found", "", "not_executed"),
    ("has a terminal", "test -t 0 && stty size && sleep 0.01", "exited"),
    ("is dropped", "sleep 500 & wait", "dropped"),
];

/// What this process has at a time.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    children: usize,
    resident_kib: u64,
    files: usize,
}

impl Held {
    fn now(places: &[PathBuf]) -> Outcome<Self> {
        let entries = |path: &Path| Ok::<_, std::io::Error>(fs::read_dir(path)?.count());
        let mut children = 0;
        for thread in fs::read_dir("/proc/self/task")? {
            // A thread may have ended meanwhile.
            let list = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
            children += list.split_whitespace().count();
        }
        let status = fs::read_to_string("/proc/self/status")?;
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        let mut files = 0;
        for place in places {
            files += entries(place)?;
        }
        Ok(Self {
            // The directory that is being read is one.
            descriptors: entries(Path::new("/proc/self/fd"))? - 1,
            threads: entries(Path::new("/proc/self/task"))?,
            children,
            resident_kib: resident.ok_or("/proc/self/status has another form")?.parse()?,
            files,
        })
    }
}

pub(crate) fn measure(programs: &Programs) -> Outcome<Table> {
    let seconds = std::env::var("SOAK_SECONDS").ok().map_or(Ok(60), |text| text.parse())?;
    let note = format!(
        "{seconds} s for each row, {AT_ONCE} calls at a time on one thread. Before: after the first {AT_ONCE} calls. Files: in the \
         workspace and where output is spilled, which is swept at the end."
    );
    let head = ["", "calls", "a second", "descriptors", "threads", "children", "resident KiB", "files"];
    let mut table = Table::new(head, note);
    for (name, isolation, policy) in [
        ("level namespaces", Isolation::Namespaces, workspace_write()),
        ("level landlock", Isolation::Landlock, workspace_write()),
        ("danger-full-access", Isolation::Auto, SandboxPolicy::DangerFullAccess),
    ] {
        let home = tempfile::tempdir()?;
        let workspace = tempfile::tempdir_in("/var/tmp")?;
        let spills = home.path().join("spills");
        let directory = std::sync::Arc::new(SpillDirectory::open(&spills)?);
        let surroundings = Surroundings {
            policy_cwd: workspace.path(),
            tmpdir: None,
            codex_home: Some(home.path()),
            named_in_files: &[],
        };
        let mut options = SandboxOptions::new(programs.codex.clone());
        options.isolation = isolation;
        let sandbox = Sandbox::prepare(&policy, surroundings, options)?;
        let places = [workspace.path().to_owned(), spills];
        let runtime = runtime()?;
        runtime.block_on(calls(&sandbox, &directory, AT_ONCE, Duration::ZERO))?;
        settle(&places)?;
        let before = Held::now(&places[..1])?;
        let started = Instant::now();
        let count = runtime.block_on(calls(&sandbox, &directory, AT_ONCE, Duration::from_secs(seconds)))?;
        let taken = started.elapsed().as_secs_f64();
        settle(&places)?;
        let after = Held::now(&places[..1])?;
        let change = |before: u64, after: u64| format!("{before} → {after}");
        let count_of = |before: usize, after: usize| format!("{before} → {after}");
        table.row([
            name.to_owned(),
            count.to_string(),
            format!("{:.0}", count as f64 / taken),
            count_of(before.descriptors, after.descriptors),
            count_of(before.threads, after.threads),
            count_of(before.children, after.children),
            change(before.resident_kib, after.resident_kib),
            count_of(before.files, after.files),
        ]);
    }
    Ok(table)
}

fn workspace_write() -> SandboxPolicy {
    SandboxPolicy::WorkspaceWrite {
        writable_roots: Vec::new(),
        network: NetworkAccess::Restricted,
        exclude_tmpdir_env_var: true,
        exclude_slash_tmp: true,
    }
}

/// Waits until what calls have left to others to collect is collected, for two seconds at most.
fn settle(places: &[PathBuf]) -> Outcome<()> {
    let end = Instant::now() + Duration::from_secs(2);
    while Held::now(places)?.children > 0 && Instant::now() < end {
        std::thread::yield_now();
    }
    Ok(())
}

/// Makes calls for so long, and as many as may run at a time at least. Says how many.
async fn calls(
    sandbox: &Sandbox,
    spills: &std::sync::Arc<SpillDirectory>,
    at_once: usize,
    time: Duration,
) -> Outcome<u64> {
    let end = Instant::now() + time;
    let mut running = JoinSet::new();
    let mut endings: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut begun, mut count) = (0_usize, 0);
    loop {
        while running.len() < at_once && (begun < at_once || Instant::now() < end) {
            let (name, line, wanted) = CALLS[begun % CALLS.len()];
            begun += 1;
            let (sandbox, spills) = (sandbox.clone(), std::sync::Arc::clone(spills));
            running.spawn(async move { (name, wanted, one(name, line, &sandbox, spills).await) });
        }
        let Some(ended) = running.join_next().await else { break };
        let (name, wanted, ending) = ended?;
        let ending = ending?;
        if ending != wanted {
            return Err(format!("a call that {name} was {ending} and not {wanted}").into());
        }
        *endings.entry(name).or_default() += 1;
        count += 1;
    }
    Ok(count)
}

/// One call, and how it ended.
async fn one(
    name: &str,
    line: &str,
    sandbox: &Sandbox,
    spills: std::sync::Arc<SpillDirectory>,
) -> Result<&'static str, String> {
    let command = if line.is_empty() { vec!["/nowhere"] } else { vec!["sh", "-c", line] };
    let environment = vec![("PATH".into(), "/usr/bin:/bin".into())];
    let mut request =
        ExecRequest::new(command.into_iter().map(Into::into).collect(), "/".into(), environment);
    request.budget = OutputBudget::default();
    request.view = Some(OutputBudget::default());
    request.spill = Some((spills, SpillOptions::default()));
    request.limits.deadline = Some(Duration::from_secs(60));
    request.limits.drain = Duration::from_millis(50);
    match name {
        "outlives its deadline" => {
            request.limits.deadline = Some(Duration::from_millis(500));
            request.limits.grace = Duration::from_millis(50);
        }
        "writes without end" => request.limits.output = Some(100_000),
        "has a terminal" => request.stdio = Stdio::Terminal(TerminalSize::default()),
        "is dropped" => {
            let process = Process::start(request, sandbox);
            if process.started().await {
                drop(process);
                return Ok("dropped");
            }
            return Err("it was not started".to_owned());
        }
        _ => {}
    }
    let result = process_exec_tool_call(request, sandbox).await.map_err(|error| error.to_string())?;
    match &result.outcome {
        RunOutcome::SetupFailed { message, .. } => Err(message.clone()),
        outcome => Ok(outcome.name()),
    }
}
