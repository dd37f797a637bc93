//! What the server says in the audit log by itself. What is started says so where it is.

use codex_core::exec::NotedRefusal;
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

/// Notes a request that comes to nothing.
pub(crate) async fn note_refusal(ceiling: &Ceiling, refusal: NotedRefusal) -> Result<(), String> {
    note(ceiling, NotedRefusal::EVENT, refusal).await
}
