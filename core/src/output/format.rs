//! What is told about a call that has ended: as text for a model, and as JSON.

use std::time::Duration;

use serde::Serialize;
use serde::ser::SerializeMap as _;

use super::budget::Cost;
use super::{SpillReport, StreamText, TextBudget, counted};

#[cfg(test)]
mod tests;

/// How many lines of a kind are told: a command that is refused everything is refused the same again and again.
const MOST: usize = 20;
/// How many bytes of each of them.
const LONGEST: usize = 400;

/// What is known about a call that has ended. One value gives both the text and the JSON.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CallReport<'a> {
    /// How the call ended, as one sentence: exit code, signal, deadline, cancellation, or why nothing ran.
    pub ending: &'a str,
    /// The command's exit code, where it exited by itself.
    pub exit_code: Option<i32>,
    /// The limit that ended it, as one sentence.
    pub limit: Option<&'a str>,
    /// How long it took.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: Duration,
    /// What the sandbox refused, a line each.
    pub denials: &'a [String],
    /// What still runs, a line each.
    pub still_running: &'a [String],
    /// Whether a process still held a stream open when the call returned, so that more could have come.
    pub streams_left_open: bool,
    /// The file that has all of the output.
    pub spill: Option<&'a SpillReport>,
    /// What the command wrote: collapsed, where it is for a model.
    #[serde(flatten)]
    pub streams: CallStreams<'a>,
}

/// The streams of a call, as they were captured.
#[derive(Clone, Copy, Debug)]
pub enum CallStreams<'a> {
    /// Each on its own.
    Separate {
        /// Standard output.
        stdout: &'a StreamText,
        /// Standard error.
        stderr: &'a StreamText,
    },
    /// Both in one, in the order in which they were read.
    Combined(&'a StreamText),
}

impl<'a> CallStreams<'a> {
    fn named(&self) -> Vec<(&'static str, &'a StreamText)> {
        match *self {
            Self::Separate { stdout, stderr } => vec![("stdout", stdout), ("stderr", stderr)],
            Self::Combined(output) => vec![("output", output)],
        }
    }
}

impl Serialize for CallStreams<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let streams = self.named();
        let mut map = serializer.serialize_map(Some(streams.len()))?;
        for (name, stream) in streams {
            map.serialize_entry(name, stream)?;
        }
        map.end()
    }
}

/// To the microsecond: more digits would be noise.
fn milliseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}

/// Writes a report as text within a budget.
///
/// What we know comes before what the command wrote, since the command can print anything, headings like ours too. Each
/// line is there only where it has something to say, but for the first two and those of the streams:
///
/// ```text
/// ended after 10 s
/// duration: 10.012 s
/// limit: the deadline of 10 s
/// denied by the sandbox:
/// - write to /etc/hosts: …
/// still running:
/// - 4711 python3 -m http.server
/// a process still holds the output open: more can have come
/// all output: /run/user/1000/codex/1.out (1048576 bytes)
/// stdout: empty
/// stderr (1048576 bytes, 31 lines, 1038336 bytes omitted):
/// …
/// ```
///
/// Streams are cut to what is left of the budget, half of it each, and what one has no use for goes to the other. What
/// we know is bounded, and never cut for the budget: one that has no room for it is exceeded.
#[must_use]
pub fn model_text(report: &CallReport<'_>, budget: &TextBudget) -> String {
    let mut text = facts(report);
    let streams = report.streams.named();
    // The longest that headings can be, and a newline at the end of a text that has none.
    let headings: String =
        streams.iter().map(|(name, stream)| heading(name, stream, stream.bytes_total) + " ").collect();
    let taken = Cost::of(format!("{text}{headings}").as_bytes());
    let room = taken.saturating_left_of(Cost::limit(*budget));
    let shown: Vec<StreamText> = match streams.as_slice() {
        [(_, one), (_, other)] => {
            let for_one = Cost::of(one.text.as_bytes()).min(room.half());
            let other = other.within(&for_one.saturating_left_of(room).budget());
            let one = one.within(&Cost::of(other.text.as_bytes()).saturating_left_of(room).budget());
            vec![one, other]
        }
        streams => streams.iter().map(|(_, stream)| stream.within(&room.budget())).collect(),
    };
    for ((name, _), stream) in streams.iter().zip(&shown) {
        text.push_str(&heading(name, stream, stream.bytes_omitted));
        text.push_str(&stream.text);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}

fn facts(report: &CallReport<'_>) -> String {
    let mut text = format!("{}\nduration: {:.3} s\n", report.ending, report.duration.as_secs_f64());
    if let Some(limit) = report.limit {
        text.push_str(&format!("limit: {limit}\n"));
    }
    push_list(&mut text, "denied by the sandbox", report.denials);
    push_list(&mut text, "still running", report.still_running);
    if report.streams_left_open {
        text.push_str("a process still holds the output open: more can have come\n");
    }
    if let Some(spill) = report.spill {
        push_spill(&mut text, spill);
    }
    text
}

fn push_list(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    text.push_str(&format!("{title}:\n"));
    for line in lines.iter().take(MOST) {
        // A line is one, whatever stands in it.
        let line = line.lines().next().unwrap_or_default();
        let end = line.floor_char_boundary(LONGEST);
        let (shown, more) = line.split_at(end);
        text.push_str(&format!("- {shown}{}\n", if more.is_empty() { "" } else { "…" }));
    }
    if let Some(more) = lines.len().checked_sub(MOST).filter(|more| *more > 0) {
        text.push_str(&format!("- and {more} more\n"));
    }
}

fn push_spill(text: &mut String, spill: &SpillReport) {
    let bytes = counted(spill.bytes, "byte");
    match (&spill.path, &spill.error) {
        (Some(path), None) => {
            text.push_str(&format!("all output: {} ({bytes})\n", codex_linux_sandbox::shown(path)));
        }
        (Some(path), Some(error)) => {
            let path = codex_linux_sandbox::shown(path);
            text.push_str(&format!("the first {bytes} of the output: {path} ({error})\n"));
        }
        (None, Some(error)) => text.push_str(&format!("the output could not be kept in a file: {error}\n")),
        (None, None) => {}
    }
}

fn heading(name: &str, stream: &StreamText, omitted: u64) -> String {
    if stream.bytes_total == 0 {
        return format!("{name}: empty\n");
    }
    let (bytes, lines) = (counted(stream.bytes_total, "byte"), counted(stream.lines_total, "line"));
    let mut text = format!("{name} ({bytes}, {lines}");
    if let Some(collapsed) = stream.collapsed.filter(|collapsed| collapsed.bytes != stream.bytes_total) {
        let (bytes, lines) = (counted(collapsed.bytes, "byte"), counted(collapsed.lines, "line"));
        text.push_str(&format!(", collapsed to {bytes}, {lines}"));
    }
    if omitted > 0 {
        text.push_str(&format!(", {} omitted", counted(omitted, "byte")));
    }
    if stream.lossy_utf8 {
        text.push_str(", not all of it UTF-8");
    }
    text.push_str("):\n");
    text
}
