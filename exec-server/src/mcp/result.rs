//! What came of a call, as a client gets it: text for a model, and the same as data.

use codex_core::enforcement::{Hold, Level};
use codex_core::exec::{ExecError, ExecResult, Outcome};
use codex_core::output::{Page, SpillReport, StreamText};
use codex_mcp::model::{CallToolResult, ContentBlock, JsonObject, Resource};
use codex_tools::Answer;
use serde_json::{Value, json};

/// A call of a command, with the level that is expected of a patch; what a command runs at is known of it.
pub(super) fn of_command(
    answer: Answer,
    expected: Level,
    spilled: Option<(String, SpillReport)>,
) -> CallToolResult {
    let Answer { mut text, end, output, session_id, applied, of } = answer;
    let mut data = match (&end, applied) {
        (Some(end), _) => of_end(end),
        (None, Some(true)) => empty("applied"),
        (None, Some(false)) => {
            let mut data = empty("not_applied");
            data.insert("message".to_owned(), json!(text));
            data
        }
        (None, None) => empty("running"),
    };
    let failed = match &end {
        Some(end) => end.as_ref().as_ref().map_or(true, |result| !result.has_run()),
        None => applied == Some(false),
    };
    let mut put = |key: &str, value: Value| {
        data.insert(key.to_owned(), value);
    };
    put("session_id", json!(session_id));
    if end.is_none() {
        // It is known for certain at the end.
        let level = of.map_or(expected, |of| of.level).name();
        put("enforcement", json!({ "level": level, "expected": true, "partial": [], "absent": [] }));
    }
    if let Some(output) = &output {
        put("truncated", json!(output.bytes_omitted > 0));
        put("output", stream(output));
    }
    let mut content = Vec::new();
    if let Some((uri, report)) = spilled {
        let error = report.error.map(|error| error.to_string());
        let (bytes, complete) = (report.bytes, report.complete);
        put("spill", json!({ "uri": uri, "bytes": bytes, "complete": complete, "error": error }));
        text.push_str(&match error {
            None => format!("all output: the resource {uri}, or read_output\n"),
            Some(error) => {
                format!(
                    "the first {bytes} bytes of the output: the resource {uri}, or read_output ({error})\n"
                )
            }
        });
        content.push(ContentBlock::text(text));
        let link = Resource::new(uri, "output").with_mime_type("text/plain").with_size(report.bytes);
        content.push(ContentBlock::resource_link(link));
    } else {
        content.push(ContentBlock::text(text));
    }
    finished(content, data, failed)
}

/// Nothing was run, and why.
pub(super) fn refused(message: String) -> CallToolResult {
    let mut data = empty("refused");
    data.insert("message".to_owned(), json!(message));
    finished(vec![ContentBlock::text(message)], data, true)
}

/// A page of an output.
pub(super) fn of_page(page: &Page) -> CallToolResult {
    let mut text = page.text.text.clone();
    match page.next {
        Some(next) => {
            text.push_str(&format!("\n[… it goes on at offset {next} of {} bytes …]\n", page.file_bytes))
        }
        None => text.push_str("\n[… the end …]\n"),
    }
    let mut data = JsonObject::new();
    for (key, value) in [
        ("text", json!(page.text.text)),
        ("start", json!(page.start)),
        ("end", json!(page.end)),
        ("next", json!(page.next)),
        ("first_line", json!(page.first_line)),
        ("file_bytes", json!(page.file_bytes)),
        ("file_lines", json!(page.file_lines)),
        ("lossy_utf8", json!(page.text.lossy_utf8)),
    ] {
        data.insert(key.to_owned(), value);
    }
    finished(vec![ContentBlock::text(text)], data, false)
}

/// A page that there is not.
pub(super) fn no_page(message: String) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(message)])
}

fn finished(content: Vec<ContentBlock>, data: JsonObject, failed: bool) -> CallToolResult {
    let mut result = if failed { CallToolResult::error(content) } else { CallToolResult::success(content) };
    result.structured_content = Some(Value::Object(data));
    result
}

/// All that a result has, unknown.
fn empty(outcome: &str) -> JsonObject {
    let mut data = JsonObject::new();
    for (key, value) in [
        ("outcome", json!(outcome)),
        ("exit_code", Value::Null),
        ("signal", Value::Null),
        ("timed_out", json!(false)),
        ("duration_ms", Value::Null),
        ("session_id", Value::Null),
        ("output", Value::Null),
        ("truncated", json!(false)),
        ("spill", Value::Null),
        ("denials", json!([])),
        ("quarantined", json!([])),
        ("enforcement", Value::Null),
        ("message", Value::Null),
    ] {
        data.insert(key.to_owned(), value);
    }
    data
}

fn of_end(end: &Result<ExecResult, ExecError>) -> JsonObject {
    let result = match end {
        Ok(result) => result,
        Err(error) => {
            let mut data = empty("setup_failed");
            data.insert("message".to_owned(), json!(error.to_string()));
            return data;
        }
    };
    let mut data = empty(result.outcome.name());
    let lines = &result.enforcement.promises;
    let holding = |hold: Hold| {
        let lines = lines.iter().filter(|line| line.hold == hold);
        lines.map(|line| line.guarantee.name()).collect::<Vec<_>>()
    };
    let enforcement = json!({
        "level": result.enforcement.level.name(),
        "expected": false,
        "partial": holding(Hold::Partial),
        "absent": holding(Hold::Absent),
    });
    for (key, value) in [
        (
            "exit_code",
            match result.outcome {
                Outcome::Exited { code } => json!(code),
                _ => Value::Null,
            },
        ),
        (
            "signal",
            match result.outcome {
                Outcome::Signalled { signal, .. } => json!(signal),
                _ => Value::Null,
            },
        ),
        ("timed_out", json!(matches!(result.outcome, Outcome::TimedOut { .. }))),
        ("duration_ms", json!((result.duration.as_secs_f64() * 1e6).round() / 1e3)),
        ("denials", json!(result.denials)),
        ("quarantined", json!(result.quarantined.iter().map(ToString::to_string).collect::<Vec<_>>())),
        ("enforcement", enforcement),
        (
            "message",
            match result.outcome {
                Outcome::Exited { .. } => Value::Null,
                ref other => json!(other.sentence()),
            },
        ),
    ] {
        data.insert(key.to_owned(), value);
    }
    data
}

fn stream(output: &StreamText) -> Value {
    json!({
        "text": output.text,
        "bytes_total": output.bytes_total,
        "bytes_omitted": output.bytes_omitted,
        "lines_total": output.lines_total,
        "lines_omitted": output.lines_omitted,
        "lossy_utf8": output.lossy_utf8,
    })
}
