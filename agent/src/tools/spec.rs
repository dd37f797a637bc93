//! The tools as a model is told of them.

use serde_json::json;

use crate::conversation::Tool;

/// Every tool.
#[must_use]
pub fn specs() -> Vec<Tool> {
    let tools = codex_tools::specs().into_iter();
    let mut tools: Vec<Tool> = tools
        .map(|spec| Tool { name: spec.name, description: spec.description, parameters: spec.parameters })
        .collect();
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
