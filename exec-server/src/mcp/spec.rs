//! The tools as a client is told of them.

use std::sync::Arc;

use codex_core::exec::Sandbox;
use codex_core::policy::{NetworkAccess, ResolvedPolicy, ResolvedWrites};
use codex_mcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::permissions::is_wider;

/// Every tool, with hints about what the policies make of it: the default, and the widest that a call may ask for.
pub(super) fn tools(default: &Sandbox, widest: &Sandbox) -> Vec<Tool> {
    let mut tools = Vec::new();
    for spec in codex_tools::specs() {
        let mut parameters = object(spec.parameters);
        let runs =
            parameters.get("properties").is_some_and(|known| known.get("sandbox_permissions").is_some());
        if let Some(properties) = parameters.get_mut("properties").and_then(Value::as_object_mut)
            && runs
        {
            properties
                .insert("sandbox_permissions".to_owned(), permissions(default.policy(), widest.policy()));
            let text = "Why it needs more than the default. Shown to the user who is asked.";
            properties.insert("justification".to_owned(), json!({ "type": "string", "description": text }));
        }
        let reach = if spec.name == "apply_patch" { default } else { widest };
        let title = match spec.name {
            "exec_command" => "Run a shell command",
            "write_stdin" => "Write to a running command",
            "shell" => "Run a program",
            _ => "Apply a patch",
        };
        tools.push(tool(spec.name, title, spec.description, parameters, of_calls(), hints(reach)));
    }
    let text = |description: &str| json!({ "type": "string", "description": description });
    let number = |description: &str| json!({ "type": "number", "description": description });
    let kill = json!({
        "type": "object",
        "properties": {
            "session_id": number("The session."),
            "signal": { "type": ["string", "number"], "description": "A signal for the command alone, by its name or number. \
                        Without one, the command is asked to end and then killed, with all that it has started." },
        },
        "required": ["session_id"],
        "additionalProperties": false,
    });
    tools.push(tool(
        "kill",
        "End a running command",
        "Ends a command that exec_command left running, and returns what it wrote since.",
        object(kill),
        of_calls(),
        // Its own commands, and nothing else.
        ToolAnnotations::new().read_only(false).destructive(true).idempotent(true).open_world(false),
    ));
    let read = json!({
        "type": "object",
        "properties": {
            "output": text("Its address (codex://output/…), or what comes after that."),
            "offset": number("The first byte of the piece. Default 0."),
            "line": number("The first line of the piece, counted from 1, in place of an offset."),
            "lines": number("How many lines at most."),
            "max_bytes": number("How many bytes at most: default 32768, at most 262144."),
        },
        "required": ["output"],
        "additionalProperties": false,
    });
    tools.push(tool(
        "read_output",
        "Read kept output",
        "Reads a piece of output that was too long for an answer.",
        object(read),
        of_pages(),
        ToolAnnotations::new().read_only(true).idempotent(true).open_world(false),
    ));
    tools
}

fn tool(
    name: &'static str,
    title: &str,
    description: &'static str,
    parameters: JsonObject,
    output: Value,
    hints: ToolAnnotations,
) -> Tool {
    Tool::new(name, description, parameters)
        .with_title(title)
        .with_raw_output_schema(Arc::new(object(output)))
        .with_annotations(hints)
}

/// What a call can do at worst, under a policy.
fn hints(sandbox: &Sandbox) -> ToolAnnotations {
    let policy = sandbox.policy();
    let reaches_others = policy.network == NetworkAccess::Enabled || !sandbox.places().hosts.is_empty();
    let reads_only =
        matches!(&policy.writes, ResolvedWrites::Beneath(roots) if roots.is_empty()) && !reaches_others;
    let hints = ToolAnnotations::new().read_only(reads_only).open_world(reaches_others);
    // Only of what is not read-only, it means something.
    if reads_only { hints } else { hints.destructive(true).idempotent(false) }
}

fn permissions(default: &ResolvedPolicy, widest: &ResolvedPolicy) -> Value {
    let more = if is_wider(widest, default) {
        "More than the default is asked of the user, up to the server's bound: require_escalated is that bound, network the \
         default with the network."
    } else {
        "More than the default is not to be had; less is (read-only)."
    };
    json!({ "type": "string", "description": format!("`use_default`, or the name of a policy. {more}") })
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}

/// The form of what calls of commands and patches give.
fn of_calls() -> Value {
    let or_null = |kind: &str| json!({ "type": [kind, "null"] });
    json!({
        "type": "object",
        "properties": {
            "outcome": { "type": "string", "enum": [
                "exited", "signalled", "timed_out", "idle_timed_out", "output_exceeded", "limit_exceeded", "cancelled",
                "observer_ended", "setup_failed", "not_executed", "running", "refused", "applied", "not_applied",
            ] },
            "exit_code": or_null("integer"),
            "signal": or_null("integer"),
            "timed_out": { "type": "boolean" },
            "duration_ms": or_null("number"),
            "session_id": or_null("integer"),
            "output": { "type": ["object", "null"], "properties": {
                "text": { "type": "string" },
                "bytes_total": { "type": "integer" },
                "bytes_omitted": { "type": "integer" },
                "lines_total": { "type": "integer" },
                "lines_omitted": { "type": "integer" },
                "lossy_utf8": { "type": "boolean" },
            } },
            "truncated": { "type": "boolean" },
            "spill": { "type": ["object", "null"], "properties": {
                "uri": { "type": "string" },
                "bytes": { "type": "integer" },
                "complete": { "type": "boolean" },
                "error": { "type": ["string", "null"] },
            } },
            "denials": { "type": "array", "items": { "type": "object" } },
            "quarantined": { "type": "array", "items": { "type": "string" } },
            "enforcement": { "type": ["object", "null"], "properties": {
                "level": { "type": "string" },
                "expected": { "type": "boolean" },
                "partial": { "type": "array", "items": { "type": "string" } },
                "absent": { "type": "array", "items": { "type": "string" } },
            } },
            "message": or_null("string"),
        },
        "required": ["outcome", "timed_out", "truncated", "denials", "enforcement"],
    })
}

/// The form of what `read_output` gives.
fn of_pages() -> Value {
    let or_null = |kind: &str| json!({ "type": [kind, "null"] });
    json!({
        "type": "object",
        "properties": {
            "text": { "type": "string" },
            "start": { "type": "integer" },
            "end": { "type": "integer" },
            "next": or_null("integer"),
            "first_line": or_null("integer"),
            "file_bytes": { "type": "integer" },
            "file_lines": or_null("integer"),
            "lossy_utf8": { "type": "boolean" },
        },
        "required": ["text", "start", "end", "file_bytes"],
    })
}
