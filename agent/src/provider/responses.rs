//! The Responses API: `POST /responses`.

use serde_json::{Value, json};

use super::error::ModelError;
use super::sse::Event;
use crate::conversation::{Answer, Call, Item, Request, Usage};

/// The body of a request.
pub(super) fn body(request: &Request<'_>, of_openai: bool) -> Value {
    let tools: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| {
            json!({
                "type": "function", "name": tool.name, "description": tool.description,
                "parameters": tool.parameters, "strict": false,
            })
        })
        .collect();
    let mut body = json!({
        "model": request.model,
        "instructions": request.instructions,
        "input": request.items.iter().filter_map(input).collect::<Vec<_>>(),
        "tools": tools,
        "tool_choice": "auto",
        "parallel_tool_calls": true,
        "store": false,
        "stream": true,
    });
    if let Some(schema) = request.output_schema {
        body["text"] = json!({
            "format": { "type": "json_schema", "name": "codex_output_schema", "strict": true, "schema": schema },
        });
    }
    if of_openai {
        // Words that other servers may not know.
        body["include"] = json!(["reasoning.encrypted_content"]);
        body["prompt_cache_key"] = json!(request.thread_id);
    }
    body
}

fn input(item: &Item) -> Option<Value> {
    Some(match item {
        Item::User { text, images } => {
            let mut content = vec![json!({ "type": "input_text", "text": text })];
            content.extend(images.iter().map(|url| json!({ "type": "input_image", "image_url": url })));
            json!({ "type": "message", "role": "user", "content": content })
        }
        Item::Assistant { text } => json!({
            "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": text }],
        }),
        // Without what is sealed in it, a server that stores nothing does not know it.
        Item::Reasoning { opaque, .. } => return opaque.clone(),
        Item::Call(Call { call_id, name, arguments, custom: false }) => json!({
            "type": "function_call", "call_id": call_id, "name": name, "arguments": arguments,
        }),
        Item::Call(Call { call_id, name, arguments, custom: true }) => json!({
            "type": "custom_tool_call", "call_id": call_id, "name": name, "input": arguments,
        }),
        Item::Output { call_id, text, custom } => json!({
            "type": if *custom { "custom_tool_call_output" } else { "function_call_output" },
            "call_id": call_id, "output": text,
        }),
    })
}

/// Puts an answer together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    items: Vec<Item>,
}

impl Assembly {
    /// Takes an event. Gives the answer when it is whole.
    pub(super) fn take(&mut self, event: &Event) -> Result<Option<Answer>, ModelError> {
        if event.data == "[DONE]" {
            return Ok(None);
        }
        let value: Value = serde_json::from_str(&event.data)
            .map_err(|error| ModelError::Stream(format!("an event is no JSON ({error})")))?;
        let kind = value.get("type").and_then(Value::as_str).unwrap_or(&event.event);
        let response = value.get("response").unwrap_or(&Value::Null);
        match kind {
            "response.output_item.done" => {
                self.items.extend(value.get("item").and_then(output));
                Ok(None)
            }
            "response.completed" | "response.done" => {
                let mut items = std::mem::take(&mut self.items);
                if items.is_empty() {
                    // Some servers name the items only here.
                    let listed = response.get("output").and_then(Value::as_array);
                    items = listed.into_iter().flatten().filter_map(output).collect();
                }
                Ok(Some(Answer { items, usage: response.get("usage").and_then(usage) }))
            }
            "response.incomplete" => {
                let reason = response.pointer("/incomplete_details/reason").and_then(Value::as_str);
                Err(ModelError::Incomplete(match reason {
                    Some("max_output_tokens") => "the model reached its limit of tokens".to_owned(),
                    Some("content_filter") => "a content filter of the server ended it".to_owned(),
                    other => super::error::words(other.unwrap_or("the server gives no reason")),
                }))
            }
            "response.failed" => Err(ModelError::of_event(response)),
            "error" => Err(ModelError::of_event(&value)),
            _ => Ok(None),
        }
    }
}

fn output(item: &Value) -> Option<Item> {
    let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let parts = |key: &str, kinds: &[&str]| -> String {
        let parts = item.get(key).and_then(Value::as_array).into_iter().flatten();
        let texts = parts.filter_map(|part| {
            let kind = part.get("type").and_then(Value::as_str)?;
            let key = if kind == "refusal" { "refusal" } else { "text" };
            kinds.contains(&kind).then(|| part.get(key).and_then(Value::as_str)).flatten()
        });
        texts.collect::<Vec<_>>().join("\n")
    };
    match item.get("type").and_then(Value::as_str)? {
        "message" => Some(Item::Assistant { text: parts("content", &["output_text", "text", "refusal"]) }),
        "reasoning" => {
            let sealed = item.get("encrypted_content").is_some_and(Value::is_string);
            Some(Item::Reasoning {
                text: parts("summary", &["summary_text"]),
                opaque: sealed.then(|| item.clone()),
            })
        }
        "function_call" => Some(Item::Call(Call {
            call_id: text("call_id"),
            name: text("name"),
            arguments: text("arguments"),
            custom: false,
        })),
        "custom_tool_call" => Some(Item::Call(Call {
            call_id: text("call_id"),
            name: text("name"),
            arguments: text("input"),
            custom: true,
        })),
        _ => None,
    }
}

fn usage(value: &Value) -> Option<Usage> {
    let number = |pointer: &str| value.pointer(pointer).and_then(Value::as_u64);
    Some(Usage {
        input_tokens: number("/input_tokens")?,
        cached_input_tokens: number("/input_tokens_details/cached_tokens").unwrap_or_default(),
        output_tokens: number("/output_tokens")?,
        reasoning_output_tokens: number("/output_tokens_details/reasoning_tokens").unwrap_or_default(),
    })
}
