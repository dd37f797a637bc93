//! `update_plan`.

use std::sync::PoisonError;

use codex_tools::Arguments;
use serde_json::Value;

use super::Tools;
use crate::event::{Details, Event, Item, Todo};

impl Tools {
    pub(super) fn update_plan(&self, text: &str) -> Result<String, String> {
        let arguments = Arguments::read("update_plan", text, &["explanation", "plan"])?;
        let Some(steps) = arguments.list("plan")? else { return Err(arguments.missing("plan")) };
        let items: Option<Vec<Todo>> = steps
            .iter()
            .map(|step| {
                let text = step.get("step").and_then(Value::as_str)?.to_owned();
                let completed = match step.get("status").and_then(Value::as_str)? {
                    "pending" | "in_progress" => false,
                    "completed" => true,
                    _ => return None,
                };
                Some(Todo { text, completed })
            })
            .collect();
        let items = items.ok_or_else(|| {
            "each entry of `plan` has a `step` and a `status`, which is pending, in_progress or completed"
                .to_owned()
        })?;
        let mut todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner);
        let (id, known) = match todo.take() {
            Some((id, _)) => (id, true),
            None => (self.events.name(), false),
        };
        let item = Item { id: id.clone(), details: Details::TodoList { items: items.clone() } };
        self.events.tell(if known { Event::ItemUpdated { item } } else { Event::ItemStarted { item } });
        *todo = Some((id, items));
        Ok("Plan updated".to_owned())
    }

    /// Tells that the plan is over.
    pub(super) fn finish_plan(&self) {
        if let Some((id, items)) = self.todo.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.events.completed(id, Details::TodoList { items });
        }
    }
}
