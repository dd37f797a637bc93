//! The text that a model gets for a tool call.

use std::time::Duration;

use super::{StreamText, counted};

/// What a model is told about a call that has ended.
#[derive(Clone, Copy, Debug)]
pub struct CallReport<'a> {
    /// How the call ended, as one sentence: exit code, signal, deadline, cancellation, or why nothing ran.
    pub ending: &'a str,
    /// How long it took.
    pub duration: Duration,
    /// What the command wrote.
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

/// Writes a report as text.
///
/// What we know comes before what the command wrote, since the command can print anything, headings like ours too:
///
/// ```text
/// exited with code 1
/// duration: 0.012 s
/// stdout: empty
/// stderr (31 bytes, 1 line):
/// cat: nowhere: No such file or …
/// ```
#[must_use]
pub fn model_text(report: &CallReport<'_>) -> String {
    let streams = match report.streams {
        CallStreams::Separate { stdout, stderr } => [Some(("stdout", stdout)), Some(("stderr", stderr))],
        CallStreams::Combined(output) => [Some(("output", output)), None],
    };
    let mut text = format!("{}\nduration: {:.3} s\n", report.ending, report.duration.as_secs_f64());
    for (name, stream) in streams.into_iter().flatten() {
        push_stream(&mut text, name, stream);
    }
    text
}

fn push_stream(text: &mut String, name: &str, stream: &StreamText) {
    if stream.bytes_total == 0 {
        text.push_str(&format!("{name}: empty\n"));
        return;
    }
    let (bytes, lines) = (counted(stream.bytes_total, "byte"), counted(stream.lines_total, "line"));
    text.push_str(&format!("{name} ({bytes}, {lines}"));
    if stream.bytes_omitted > 0 {
        text.push_str(&format!(", {} omitted", counted(stream.bytes_omitted, "byte")));
    }
    if stream.lossy_utf8 {
        text.push_str(", not all of it UTF-8");
    }
    text.push_str("):\n");
    text.push_str(&stream.text);
    if !text.ends_with('\n') {
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Capture, OutputBudget};

    fn text_of(bytes: &[u8], budget: OutputBudget) -> StreamText {
        let mut capture = Capture::new(budget);
        capture.push(bytes);
        capture.finish().text()
    }

    #[test]
    fn names_ending_duration_and_both_streams() {
        let stdout = text_of(b"", OutputBudget::default());
        let stderr = text_of(b"no such file", OutputBudget::default());
        let report = CallReport {
            ending: "exited with code 1",
            duration: Duration::from_micros(12_345),
            streams: CallStreams::Separate { stdout: &stdout, stderr: &stderr },
        };
        assert_eq!(
            model_text(&report),
            "exited with code 1\nduration: 0.012 s\nstdout: empty\nstderr (12 bytes, 1 line):\nno such file\n"
        );
    }

    #[test]
    fn says_what_is_missing_and_what_was_not_text() {
        let output = text_of(b"a\xff\nb\nc\nd\n", OutputBudget { bytes: 100, lines: 2 });
        let report = CallReport {
            ending: "timed out after 10 s",
            duration: Duration::from_secs(10),
            streams: CallStreams::Combined(&output),
        };
        assert_eq!(
            model_text(&report),
            "timed out after 10 s\nduration: 10.000 s\noutput (9 bytes, 4 lines, 4 bytes omitted, not all of it UTF-8):\n\
             a\u{fffd}\n[… 4 bytes and 2 lines omitted …]\nd\n"
        );
    }
}
