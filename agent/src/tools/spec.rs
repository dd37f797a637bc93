//! The tools as a model is told of them.

use serde_json::{Map, Value, json};

use crate::conversation::Tool;

/// Every tool.
#[must_use]
pub fn specs() -> Vec<Tool> {
    let tools = codex_tools::specs().into_iter();
    let mut tools: Vec<Tool> = tools
        .map(|spec| Tool { name: spec.name, description: spec.description, parameters: spec.parameters })
        .collect();
    for tool in tools.iter_mut().filter(|tool| matches!(tool.name, "exec_command" | "shell")) {
        let properties = tool.parameters.get_mut("properties").and_then(Value::as_object_mut);
        properties.into_iter().for_each(|properties| properties.extend(more()));
    }
    let text = |description: &str| json!({ "type": "string", "description": description });
    tools.push(Tool {
        name: "update_plan",
        description: "Tells the user what you mean to do and how far you are. At most one step is in_progress.",
        parameters: json!({
            "type": "object",
            "properties": {
                "explanation": text("Why the plan changed."),
                "plan": { "type": "array", "items": {
                    "type": "object",
                    "properties": {
                        "step": text("The step."),
                        "status": { "type": "string", "enum": ["pending", "in_progress", "completed"] },
                    },
                    "required": ["step", "status"],
                    "additionalProperties": false,
                } },
            },
            "required": ["plan"],
            "additionalProperties": false,
        }),
    });
    tools
}

/// The arguments by which a command asks the user for more.
fn more() -> Map<String, Value> {
    let object = |properties: Value| json!({ "type": "object", "properties": properties, "additionalProperties": false });
    let paths = |description: &str| json!({ "type": "array", "items": { "type": "string" }, "description": description });
    let files = object(json!({
        "write": paths("Directories to write below."),
        "read": paths("Places to read that the policy hides."),
    }));
    let enabled = json!({ "type": "boolean", "description": "The network as a whole." });
    let hosts = paths("Single hosts, as HOST:PORT: by the proxy in HTTPS_PROXY, for what speaks HTTP.");
    let permissions = json!({
        "type": "string",
        "enum": ["use_default", "with_additional_permissions", "require_escalated"],
        "description": "Default use_default. The others ask the user for more: for what additional_permissions name, or for no \
                        sandbox at all. Ask for the least, and only where the task can't be done without.",
    });
    let justification =
        json!({ "type": "string", "description": "For the user: what more is needed for, in one sentence." });
    Map::from_iter([
        ("sandbox_permissions".to_owned(), permissions),
        (
            "additional_permissions".to_owned(),
            object(
                json!({ "file_system": files, "network": object(json!({ "hosts": hosts, "enabled": enabled })) }),
            ),
        ),
        ("justification".to_owned(), justification),
    ])
}
