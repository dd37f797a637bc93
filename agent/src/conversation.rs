//! What has been said so far, whichever API it goes through.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One thing that somebody said, in the order in which it was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item {
    /// The user, or we in the user's place.
    User {
        /// The text.
        text: String,
        /// Images, as `data:` URLs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<String>,
    },
    /// The model.
    Assistant {
        /// The text.
        text: String,
    },
    /// What the model says that it thought.
    Reasoning {
        /// A summary for people.
        text: String,
        /// The item as the server gave it, where it wants it back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opaque: Option<Value>,
    },
    /// The model asks for a tool.
    Call(Call),
    /// The tool's answer.
    Output {
        /// Of which call.
        call_id: String,
        /// The text.
        text: String,
        /// Whether the call was of the free form.
        #[serde(default)]
        custom: bool,
    },
}

/// A tool call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// By which the answer finds its call. No two calls of a conversation have the same.
    pub call_id: String,
    /// The tool.
    pub name: String,
    /// Its arguments: JSON, but for a call of the free form.
    pub arguments: String,
    /// Whether the arguments are text of a free form.
    #[serde(default)]
    pub custom: bool,
}

/// Tokens that a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// What the model read.
    pub input_tokens: u64,
    /// What of it the server knew already.
    pub cached_input_tokens: u64,
    /// What the model wrote.
    pub output_tokens: u64,
    /// What of it was thinking.
    pub reasoning_output_tokens: u64,
}

impl Usage {
    /// Adds another request's.
    pub fn add(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(other.cached_input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.reasoning_output_tokens =
            self.reasoning_output_tokens.saturating_add(other.reasoning_output_tokens);
    }

    /// Both together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

/// What a model may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// What it does, for the model.
    pub description: &'static str,
    /// A JSON Schema of its arguments.
    pub parameters: Value,
}

/// One question to a model.
#[derive(Clone, Debug)]
pub struct Request<'r> {
    /// The model.
    pub model: &'r str,
    /// What it is told before everything else.
    pub instructions: &'r str,
    /// What was said.
    pub items: &'r [Item],
    /// What it may use.
    pub tools: &'r [Tool],
    /// What its last words have to be like, as a JSON Schema.
    pub output_schema: Option<&'r Value>,
    /// The conversation, for servers that keep what they have read of it.
    pub thread_id: &'r str,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// What the model said and asked for.
    pub items: Vec<Item>,
    /// What it took, where the server says so.
    pub usage: Option<Usage>,
}

impl Answer {
    /// Gives each call a name of its own, among those of `known` as well: servers give the same twice, or none at all.
    pub fn make_calls_distinct(&mut self, known: &[Item]) {
        let mut taken: std::collections::BTreeSet<String> = known
            .iter()
            .filter_map(|item| match item {
                Item::Call(call) => Some(call.call_id.clone()),
                _ => None,
            })
            .collect();
        for item in &mut self.items {
            let Item::Call(call) = item else { continue };
            let base = if call.call_id.is_empty() { "call".to_owned() } else { call.call_id.clone() };
            let mut count = 1_u64;
            while call.call_id.is_empty() || taken.contains(&call.call_id) {
                count += 1;
                call.call_id = format!("{base}_{count}");
            }
            taken.insert(call.call_id.clone());
        }
    }

    /// The calls, in order.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.items.iter().filter_map(|item| match item {
            Item::Call(call) => Some(call),
            _ => None,
        })
    }
}
