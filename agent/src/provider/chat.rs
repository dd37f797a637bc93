//! The Chat Completions API: `POST /chat/completions`.

use serde_json::{Value, json};

use super::error::ModelError;
use super::sse::Event;
use crate::conversation::{Answer, Call, Item, Request, Usage};

/// The body of a request.
pub(super) fn body(request: &Request<'_>) -> Value {
    let mut messages = vec![json!({ "role": "system", "content": request.instructions })];
    for item in request.items {
        add(&mut messages, item);
    }
    let tools: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| {
            let function =
                json!({ "name": tool.name, "description": tool.description, "parameters": tool.parameters });
            json!({ "type": "function", "function": function })
        })
        .collect();
    let mut body = json!({
        "model": request.model,
        "messages": messages,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    if !tools.is_empty() {
        body["tools"] = Value::Array(tools);
    }
    if let Some(schema) = request.output_schema {
        body["response_format"] = json!({
            "type": "json_schema",
            "json_schema": { "name": "codex_output_schema", "strict": true, "schema": schema },
        });
    }
    body
}

fn add(messages: &mut Vec<Value>, item: &Item) {
    match item {
        Item::User { text, images } if images.is_empty() => {
            messages.push(json!({ "role": "user", "content": text }));
        }
        Item::User { text, images } => {
            let mut content = vec![json!({ "type": "text", "text": text })];
            content
                .extend(images.iter().map(|url| json!({ "type": "image_url", "image_url": { "url": url } })));
            messages.push(json!({ "role": "user", "content": content }));
        }
        Item::Assistant { text } => messages.push(json!({ "role": "assistant", "content": text })),
        Item::Reasoning { .. } => {}
        Item::Call(Call { call_id, name, arguments, custom }) => {
            let arguments =
                if *custom { json!({ "input": arguments }).to_string() } else { arguments.clone() };
            let call = json!({
                "id": call_id, "type": "function", "function": { "name": name, "arguments": arguments },
            });
            // What the model said and asked for at once is one message.
            match messages.last_mut() {
                Some(last) if last.get("role").and_then(Value::as_str) == Some("assistant") => {
                    match last.get_mut("tool_calls").and_then(Value::as_array_mut) {
                        Some(calls) => calls.push(call),
                        None => last["tool_calls"] = json!([call]),
                    }
                }
                _ => messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] })),
            }
        }
        Item::Output { call_id, text, .. } => {
            messages.push(json!({ "role": "tool", "tool_call_id": call_id, "content": text }));
        }
    }
}

/// Puts an answer together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    text: String,
    reasoning: String,
    /// With the index of each, where the server gives one.
    calls: Vec<(Option<u64>, Call)>,
    usage: Option<Usage>,
    finished: bool,
}

impl Assembly {
    /// Takes an event. Gives the answer when it is whole.
    pub(super) fn take(&mut self, event: &Event) -> Result<Option<Answer>, ModelError> {
        if event.data.trim() == "[DONE]" {
            return Ok(self.end());
        }
        let value: Value = serde_json::from_str(&event.data)
            .map_err(|error| ModelError::Stream(format!("an event is no JSON ({error})")))?;
        if value.get("error").is_some_and(|error| !error.is_null()) {
            return Err(ModelError::of_event(&value));
        }
        if let Some(usage) = value.get("usage").and_then(usage) {
            self.usage = Some(usage);
        }
        let Some(choice) = value.pointer("/choices/0") else { return Ok(None) };
        if let Some(delta) = choice.get("delta") {
            self.delta(delta);
        }
        match choice.get("finish_reason").and_then(Value::as_str) {
            None => {}
            Some("length") => {
                return Err(ModelError::Incomplete("the model reached its limit of tokens".to_owned()));
            }
            Some("content_filter") => {
                return Err(ModelError::Incomplete("a content filter of the server ended it".to_owned()));
            }
            Some(_) => self.finished = true,
        }
        Ok(None)
    }

    fn delta(&mut self, delta: &Value) {
        let text = |key: &str| delta.get(key).and_then(Value::as_str).unwrap_or_default();
        self.text.push_str(text("content"));
        self.text.push_str(text("refusal"));
        self.reasoning.push_str(text("reasoning_content"));
        self.reasoning.push_str(text("reasoning"));
        for call in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            let text = |pointer: &str| call.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let known = self.call(call.get("index").and_then(Value::as_u64), text("/id"));
            // Some servers repeat the name in every piece.
            if known.name.is_empty() {
                text("/function/name").clone_into(&mut known.name);
            }
            known.arguments.push_str(text("/function/arguments"));
        }
    }

    /// The call that a piece belongs to: that of its index; but some servers give none, and some the same to all.
    fn call(&mut self, index: Option<u64>, id: &str) -> &mut Call {
        let same = |(known, call): &(Option<u64>, Call)| match index {
            Some(_) => *known == index && (id.is_empty() || call.call_id.is_empty() || call.call_id == id),
            None => id.is_empty() || call.call_id == id,
        };
        let place = self.calls.iter().rposition(same).unwrap_or(self.calls.len());
        if place == self.calls.len() {
            let (name, arguments) = (String::new(), String::new());
            self.calls.push((index, Call { call_id: id.to_owned(), name, arguments, custom: false }));
        }
        let (_, call) = &mut self.calls[place];
        if call.call_id.is_empty() {
            id.clone_into(&mut call.call_id);
        }
        call
    }

    /// The answer, where the model has said that it is whole: some servers just stop then.
    pub(super) fn end(&mut self) -> Option<Answer> {
        if !self.finished {
            return None;
        }
        let mut items = Vec::new();
        if !self.reasoning.is_empty() {
            items.push(Item::Reasoning { text: std::mem::take(&mut self.reasoning), opaque: None });
        }
        if !self.text.is_empty() {
            items.push(Item::Assistant { text: std::mem::take(&mut self.text) });
        }
        let mut calls = std::mem::take(&mut self.calls);
        calls.sort_by_key(|(index, _)| index.unwrap_or(u64::MAX));
        items.extend(calls.into_iter().map(|(_, call)| Item::Call(call)));
        Some(Answer { items, usage: self.usage })
    }
}

fn usage(value: &Value) -> Option<Usage> {
    let number = |pointer: &str| value.pointer(pointer).and_then(Value::as_u64);
    Some(Usage {
        input_tokens: number("/prompt_tokens")?,
        cached_input_tokens: number("/prompt_tokens_details/cached_tokens").unwrap_or_default(),
        output_tokens: number("/completion_tokens").unwrap_or_default(),
        reasoning_output_tokens: number("/completion_tokens_details/reasoning_tokens").unwrap_or_default(),
    })
}
