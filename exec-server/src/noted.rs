//! What the server says in the audit log by itself. What is started says so where it is.

use codex_core::exec::{Labels, NotedCommand};
use serde::Serialize;

use crate::ceiling::Ceiling;

/// Notes something, where there is a log. The error is a sentence, and a reason to go no further.
pub(crate) async fn note(
    ceiling: &Ceiling,
    event: &'static str,
    record: impl Serialize + Send + 'static,
) -> Result<(), String> {
    let Some(log) = ceiling.audit().cloned() else { return Ok(()) };
    let noted = tokio::task::spawn_blocking(move || log.append(event, &record)).await;
    let noted = noted.map_err(|error| error.to_string())?;
    noted.map_err(|error| format!("nothing is done: {error}"))
}

/// A request that comes to nothing.
#[derive(Debug, Serialize)]
pub(crate) struct Refused {
    #[serde(flatten)]
    pub(crate) labels: Labels,
    #[serde(flatten)]
    pub(crate) command: NotedCommand,
    pub(crate) cwd: String,
    /// Why.
    pub(crate) refused: String,
}

impl Refused {
    /// Notes it.
    pub(crate) async fn note(self, ceiling: &Ceiling) -> Result<(), String> {
        note(ceiling, "refused", self).await
    }
}
