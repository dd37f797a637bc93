//! The tools as a model is told of them.

use serde_json::{Value, json};

/// A tool, as a model is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// A JSON Schema of its arguments.
    pub parameters: Value,
}

/// `exec_command`, `write_stdin`, `shell` and `apply_patch`.
#[must_use]
pub fn specs() -> Vec<Spec> {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let number = |description: &str| json!({ "type": "number", "description": description });
    let flag = |description: &str| json!({ "type": "boolean", "description": description });
    let object = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    vec![
        Spec {
            name: "exec_command",
            description: "Runs a shell command in the sandbox. Returns its output and exit code, or, if it still runs after \
                          yield_time_ms, what it wrote so far and a session id for write_stdin.",
            parameters: object(
                json!({
                    "cmd": text("The command, for the shell."),
                    "workdir": text("Where it runs; the workspace if not given. Widens nothing that may be written."),
                    "shell": text("The shell, by name or path; bash if not given."),
                    "login": flag("Whether the shell reads its login files. Default false."),
                    "tty": flag("Gives the command a terminal, so that it can be written to. Default false."),
                    "yield_time_ms": number("How long to wait for output before returning: 250 to 30000, default 10000."),
                    "max_output_tokens": number("How much output to return at most. Default 10000."),
                    "sandbox_permissions": text("`use_default`. Nothing else is to be had."),
                    "justification": text("Ignored."),
                }),
                &["cmd"],
            ),
        },
        Spec {
            name: "write_stdin",
            description: "Writes to a command that exec_command left running, and returns what it wrote since. With empty chars, \
                          only waits. \\u0003 interrupts it.",
            parameters: object(
                json!({
                    "session_id": number("The session."),
                    "chars": text("What to write. Default empty."),
                    "yield_time_ms": number("How long to wait for output: default 250 after writing, 5000 without."),
                    "max_output_tokens": number("How much output to return at most. Default 10000."),
                }),
                &["session_id"],
            ),
        },
        Spec {
            name: "shell",
            description: "Runs a program with arguments in the sandbox, to its end.",
            parameters: object(
                json!({
                    "command": { "type": "array", "items": { "type": "string" }, "description": "The program and its arguments." },
                    "workdir": text("Where it runs; the workspace if not given."),
                    "timeout_ms": number("When it is ended: default 120000, at most 3600000."),
                    "sandbox_permissions": text("`use_default`. Nothing else is to be had."),
                    "justification": text("Ignored."),
                }),
                &["command"],
            ),
        },
        Spec {
            name: "apply_patch",
            description: "Changes files: all of the patch is applied, or nothing. The form: `*** Begin Patch`, then any number of \
                          `*** Add File: PATH` (lines begin with +), `*** Delete File: PATH`, `*** Update File: PATH` (optionally \
                          followed by `*** Move to: PATH`) with hunks that begin with `@@` (optionally followed by a line that \
                          comes before the place, such as a function's first) and whose lines begin with a space, - or +; then \
                          `*** End Patch`. Give three lines around each change. Paths are relative to the workspace.",
            parameters: object(json!({ "input": text("The whole patch.") }), &["input"]),
        },
    ]
}
