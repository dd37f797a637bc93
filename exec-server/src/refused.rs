//! What was asked for and not granted, in the audit log.

use codex_core::exec::{Labels, NotedCommand};
use serde::Serialize;

use crate::ceiling::Ceiling;

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
    /// Notes it, where there is a log. The error is a sentence.
    pub(crate) async fn note(self, ceiling: &Ceiling) -> Result<(), String> {
        let Some(log) = ceiling.audit().cloned() else { return Ok(()) };
        let noted = tokio::task::spawn_blocking(move || log.append("refused", &self)).await;
        let noted = noted.map_err(|error| error.to_string())?;
        noted.map_err(|error| format!("nothing is started: {error}"))
    }
}
