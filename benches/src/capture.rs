//! How fast output is read, and how much memory that takes.

use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use codex_core::exec::{ExecRequest, Outcome as RunOutcome, process_exec_tool_call};
use codex_core::output::OutputBudget;

use crate::Outcome;
use crate::measure::{Case, in_turn};
use crate::programs::Programs;
use crate::startup::{read_only, runtime};
use crate::table::Table;

/// Makes this program a fresh process that captures once and prints by how much its memory rose.
pub(crate) const READER: &str = "capture-once";
/// Makes this program a command that writes short lines as fast as it can.
pub(crate) const WRITER: &str = "write-lines";

/// What is read in one timing.
const BYTES: u64 = 1 << 28;
/// What is read to see how much memory that takes.
const MANY_BYTES: u64 = 1 << 30;
/// Many and short: which processors reader and writer get decides more than what they do.
const ROUNDS: usize = 15;
/// What a pipe holds, and what both readers read at once.
const CHUNK: usize = 64 * 1024;

/// What a command writes.
#[derive(Clone, Copy)]
enum Kind {
    Zeros,
    Lines,
}

impl Kind {
    fn command(self, programs: &Programs, bytes: u64) -> Vec<OsString> {
        let bytes = bytes.to_string();
        match self {
            Self::Zeros => ["head", "-c", &bytes, "/dev/zero"].map(OsString::from).into(),
            Self::Lines => vec![programs.own.clone().into(), WRITER.into(), bytes.into()],
        }
    }
}

/// Writes lines of one letter: the most lines that a stream can have, but for empty ones.
pub(crate) fn write_lines(bytes: u64) -> Outcome<()> {
    let chunk = b"y\n".repeat(CHUNK / 2);
    let mut output = std::io::stdout().lock();
    for _ in 0..bytes / CHUNK as u64 {
        output.write_all(&chunk)?;
    }
    Ok(())
}

pub(crate) fn measure(programs: &Programs) -> Outcome<Table> {
    let budget = OutputBudget::default();
    let note = format!(
        "The shortest of {ROUNDS} rounds of 256 MiB. Memory: what the peak of a process rose by that read 1 GiB; a stream \
         is kept to {} KiB. Budgets: 0.7 of the bare reader, and 1 MiB beside what is kept.",
        budget.bytes / 1024
    );
    let mut table = Table::new(["", "bare MB/s", "capture MB/s", "ratio", "memory KiB"], note);
    let (codex, workspace) = (programs.codex.as_path(), programs.workspace());
    for (name, kind) in [("zeros", Kind::Zeros), ("short lines", Kind::Lines)] {
        let mut reader = Command::new(&programs.own);
        reader.arg(READER).args([codex, &workspace]).arg(MANY_BYTES.to_string());
        reader.args(kind.command(programs, MANY_BYTES));
        let (command, bytes) = (kind.command(programs, BYTES), BYTES);
        let cases = vec![
            Case::new("bare", || bare(&command, bytes)),
            Case::new("capture", || captured(codex, &workspace, &command, bytes)),
        ];
        let timings = in_turn(ROUNDS, cases)?;
        let speed = |seconds: f64| Duration::from_secs(bytes).as_secs_f64() / 1e6 / seconds;
        let (bare, capture) = (timings[0].minimum(), timings[1].minimum());
        table.row([
            name.to_owned(),
            format!("{:.0}", speed(bare)),
            format!("{:.0}", speed(capture)),
            format!("{:.2}", bare / capture),
            memory(&mut reader)?,
        ]);
    }
    Ok(table)
}

/// A reader that does nothing but read.
fn bare(command: &[OsString], bytes: u64) -> Outcome<Duration> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let start = Instant::now();
    let mut child =
        Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut pipe = child.stdout.take().ok_or("no pipe")?;
    let mut chunk = vec![0; CHUNK];
    let mut total = 0;
    loop {
        match pipe.read(&mut chunk)? {
            0 => break,
            count => total += count as u64,
        }
    }
    let status = child.wait()?;
    let taken = start.elapsed();
    if total == bytes && status.success() {
        Ok(taken)
    } else {
        Err(format!("{total} bytes, {status}").into())
    }
}

fn captured(codex: &Path, workspace: &Path, command: &[OsString], bytes: u64) -> Outcome<Duration> {
    let sandbox = read_only(codex, workspace, codex_core::config::Isolation::Auto, false)?;
    let runtime = runtime()?;
    let mut request = ExecRequest::new(command.to_vec(), "/".into(), std::env::vars_os().collect());
    request.limits.deadline = None;
    let start = Instant::now();
    let result = runtime.block_on(process_exec_tool_call(request, &sandbox))?;
    let taken = start.elapsed();
    match result.outcome {
        RunOutcome::Exited { code: 0 } if result.stdout.bytes_total == bytes => Ok(taken),
        other => Err(format!("{} bytes, {}", result.stdout.bytes_total, other.sentence()).into()),
    }
}

fn memory(reader: &mut Command) -> Outcome<String> {
    let output = reader.output()?;
    if !output.status.success() {
        return Err(format!("{reader:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Captures one command, and prints by how many KiB the peak of this process's resident memory rose.
pub(crate) fn read_once(codex: &str, workspace: &str, bytes: &str, command: &[&str]) -> Outcome<()> {
    let line = |name: &str| -> Outcome<u64> {
        let status = fs::read_to_string("/proc/self/status")?;
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
        Ok(value.ok_or("/proc/self/status has another form")?.parse()?)
    };
    let command: Vec<OsString> = command.iter().map(OsString::from).collect();
    let before = line("VmHWM:")?;
    captured(Path::new(codex), Path::new(workspace), &command, bytes.parse()?)?;
    writeln!(std::io::stdout(), "{}", line("VmHWM:")?.saturating_sub(before))?;
    Ok(())
}
