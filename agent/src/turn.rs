//! The loop: the model is asked, its calls are answered, until it asks for nothing more.

use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::{self, Window};
use crate::conversation::{Answer, Call, Item, Request, Usage};
use crate::event::{Details, Event, Events, Failure};
use crate::provider::{Client, ModelError, Notice};
use crate::rollout::{Journal, RolloutError};
use crate::tools::{Tools, specs};

/// How often a model is asked where nobody says otherwise: a loop without an end has to end.
pub const DEFAULT_MAX_TURNS: u64 = 250;

/// When a run is ended, whatever the model wants.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How often the model is asked.
    pub turns: u64,
    /// How many tokens it reads and writes, all in all.
    pub tokens: Option<u64>,
    /// Until when.
    pub deadline: Option<Instant>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { turns: DEFAULT_MAX_TURNS, tokens: None, deadline: None }
    }
}

/// What ends a run from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody ends it.
    Cancelled,
    /// Its time is up.
    Time,
}

impl Limits {
    /// Waits for what ends a run from outside.
    pub async fn until_over(&self, cancellation: &CancellationToken) -> Stop {
        let time = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = cancellation.cancelled() => Stop::Cancelled,
            () = time => Stop::Time,
        }
    }
}

/// What a run works with.
#[derive(Debug)]
pub struct Run {
    /// The server.
    pub client: Client,
    /// The model.
    pub model: String,
    /// What it is told first.
    pub instructions: String,
    /// The name of the conversation.
    pub thread_id: String,
    /// What was said before.
    pub items: Vec<Item>,
    /// How much of it the model can read at once.
    pub window: Window,
    /// What the last words have to be like.
    pub schema: Option<Value>,
    /// When it is ended.
    pub limits: Limits,
    /// Where it is written down.
    pub journal: Journal,
    /// Where it is told.
    pub events: Arc<Events>,
    /// What the model may use.
    pub tools: Tools,
    /// Ends it.
    pub cancellation: CancellationToken,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The model said its last word.
    Done {
        /// The word.
        message: String,
        /// Whether it is like the schema says. True where there is none.
        fits: bool,
        /// How the last command ended. Nothing where there was none.
        last_command_went_well: Option<bool>,
    },
    /// It did not come so far.
    Failed(String),
    /// Somebody ended it.
    Cancelled,
}

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    #[error("the output schema is none: {0}")]
    Schema(String),
    #[error("the budget of {0} requests to the model is used up (--max-turns)")]
    Turns(u64),
    #[error("the budget of {0} tokens is used up (--max-tokens)")]
    Tokens(u64),
    #[error("the time is up (--timeout)")]
    Time,
    #[error("cancelled")]
    Cancelled,
    #[error("the model said nothing and asked for nothing")]
    Nothing,
}

impl From<Stop> for TurnError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Cancelled => Self::Cancelled,
            Stop::Time => Self::Time,
        }
    }
}

impl Run {
    /// Says something to the model, and goes on until it has said its last word. Whatever it had started has ended then.
    pub async fn say(&mut self, words: Vec<Item>) -> Ending {
        let events = Arc::clone(&self.events);
        events.tell(Event::TurnStarted {});
        let mut usage = Usage::default();
        let outcome = self.talk(words, &mut usage).await;
        // Nothing outlives the run, and everything is told of before its end is.
        self.tools.finish().await;
        match outcome {
            Ok((message, fits)) => {
                events.tell(Event::TurnCompleted { usage });
                let last_command_went_well = self.tools.last_command_went_well();
                Ending::Done { message, fits, last_command_went_well }
            }
            Err(error) => {
                let message = error.to_string();
                events.tell(Event::TurnFailed { error: Failure { message: message.clone() } });
                if matches!(error, TurnError::Cancelled) {
                    Ending::Cancelled
                } else {
                    Ending::Failed(message)
                }
            }
        }
    }

    async fn talk(&mut self, words: Vec<Item>, usage: &mut Usage) -> Result<(String, bool), TurnError> {
        let validator = match &self.schema {
            Some(schema) => Some(
                jsonschema::validator_for(schema).map_err(|error| TurnError::Schema(error.to_string()))?,
            ),
            None => None,
        };
        for item in words {
            self.keep(item)?;
        }
        let mut turns = 0;
        let mut repaired = false;
        loop {
            if turns >= self.limits.turns {
                return Err(TurnError::Turns(self.limits.turns));
            }
            turns += 1;
            let (limits, cancellation) = (self.limits, self.cancellation.clone());
            let answer = tokio::select! {
                biased;
                stop = limits.until_over(&cancellation) => return Err(stop.into()),
                answer = self.ask() => answer?,
            };
            if let Some(took) = answer.usage {
                usage.add(took);
            }
            let mut last = None;
            for item in &answer.items {
                self.tell(item);
                if let Item::Assistant { text } = item {
                    last = Some(text.clone());
                }
                self.keep(item.clone())?;
            }
            let calls: Vec<_> = answer.calls().cloned().collect();
            if calls.is_empty() {
                let message = last.ok_or(TurnError::Nothing)?;
                let Some(validator) = &validator else { return Ok((message, true)) };
                let Err(why) = fits(validator, &message) else { return Ok((message, true)) };
                if std::mem::replace(&mut repaired, true) {
                    self.events.item(Details::Error {
                        message: format!("the last message does not fit the output schema: {why}"),
                    });
                    return Ok((message, false));
                }
                let text = format!(
                    "Your last message does not fit the output schema: {why}. Answer with JSON that does, and nothing else."
                );
                self.keep(Item::User { text, images: Vec::new() })?;
                continue;
            }
            // What is over the budget asks for nothing more; what was asked for is not run.
            if let Some(most) = self.limits.tokens.filter(|most| usage.total() >= *most) {
                return Err(TurnError::Tokens(most));
            }
            let (answers, stopped) = self.answer(&calls).await;
            for (call, text) in calls.into_iter().zip(answers) {
                self.keep(Item::Output { call_id: call.call_id, text, custom: call.custom })?;
            }
            if let Some(stopped) = stopped {
                return Err(stopped);
            }
        }
    }

    /// Answers calls. Where the run is to end, they are ended, and waited for: nobody goes while something runs.
    async fn answer(&self, calls: &[Call]) -> (Vec<String>, Option<TurnError>) {
        let answers = self.tools.answer(calls);
        tokio::pin!(answers);
        let stopped = tokio::select! {
            biased;
            answers = &mut answers => return (answers, None),
            stop = self.limits.until_over(&self.cancellation) => stop,
        };
        self.tools.stop();
        (answers.await, Some(stopped.into()))
    }

    /// Asks the model, with less of the past where all of it is too much.
    async fn ask(&mut self) -> Result<Answer, TurnError> {
        let tools = specs();
        let fixed = context::fixed(&self.instructions, &tools);
        if let Some((took, count)) = self.window.make_room(fixed, &mut self.items) {
            self.events.item(Details::Error {
                message: format!(
                    "the conversation would take about {took} tokens, which is more than the model's window has room for; the {count} \
                     oldest tool outputs are left out"
                ),
            });
        }
        loop {
            let estimated = fixed.saturating_add(context::estimate(&self.items));
            let request = Request {
                model: &self.model,
                instructions: &self.instructions,
                items: &self.items,
                tools: &tools,
                output_schema: self.schema.as_ref(),
                thread_id: &self.thread_id,
            };
            let events = &self.events;
            let mut tell = |Notice::Retry { why, after, attempt: (attempt, most) }: Notice| {
                let after = after.as_secs_f64();
                let message = format!("{why}; asking again in {after:.1} s ({attempt} of {most})");
                events.item(Details::Error { message });
            };
            match self.client.ask(&request, &mut tell).await {
                Ok(mut answer) => {
                    answer.make_calls_distinct(&self.items);
                    if let Some(usage) = answer.usage {
                        self.window.hear(estimated, usage.input_tokens);
                    }
                    return Ok(answer);
                }
                Err(error @ ModelError::ContextOverflow { .. }) => match context::halve(&mut self.items) {
                    0 => return Err(error.into()),
                    count => self.events.item(Details::Error {
                        message: format!(
                            "{error}; the {count} oldest tool outputs are left out, and it is asked again"
                        ),
                    }),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn keep(&mut self, item: Item) -> Result<(), TurnError> {
        self.journal.add(&item)?;
        self.items.push(item);
        Ok(())
    }

    fn tell(&self, item: &Item) {
        match item {
            Item::Assistant { text } => self.events.item(Details::AgentMessage { text: text.clone() }),
            Item::Reasoning { text, .. } if !text.trim().is_empty() => {
                self.events.item(Details::Reasoning { text: text.clone() });
            }
            Item::Reasoning { .. } | Item::User { .. } | Item::Call(_) | Item::Output { .. } => {}
        }
    }
}

/// Says why a schema is none.
///
/// # Errors
///
/// The reason.
pub fn check_schema(schema: &Value) -> Result<(), String> {
    jsonschema::validator_for(schema).map(|_| ()).map_err(|error| error.to_string())
}

/// Says why a message is not like the schema says.
fn fits(validator: &Validator, message: &str) -> Result<(), String> {
    let value: Value =
        serde_json::from_str(message.trim()).map_err(|error| format!("it is no JSON ({error})"))?;
    let errors: Vec<String> = validator
        .iter_errors(&value)
        .take(5)
        .map(|error| format!("{error} at `{}`", error.instance_path()))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
}
