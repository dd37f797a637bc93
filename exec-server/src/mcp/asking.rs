//! A question to a person, and what comes of it, each on the disk before anything follows from it.

use std::path::Path;

use codex_core::exec::{Labels, Sandbox};
use codex_mcp::{Approval, Client};
use codex_tools::{Asks, quoted};
use serde::Serialize;

use super::permissions;
use super::session::Session;
use crate::noted::note;

/// How much of a command, or of a text of the model's, the audit log has. In bytes.
const MOST_NOTED: usize = 16 << 10;

/// A question, or what was decided, as the audit log has those of `codex exec`.
#[derive(Clone, Debug, Serialize)]
struct Asked {
    /// The same for both.
    approval_id: String,
    #[serde(flatten)]
    labels: Labels,
    /// Who decided. Nothing while it is asked.
    decided_by: Option<&'static str>,
    reason: &'static str,
    command: String,
    cwd: String,
    justification: Option<String>,
    opens: Vec<String>,
    decision: Option<&'static str>,
    /// Why nobody could be asked.
    words: Option<String>,
}

impl Asked {
    fn decided(self, approval: &Approval) -> Self {
        let (decision, by, words) = match approval {
            Approval::Given => ("approved", "user", None),
            Approval::Declined => ("denied", "user", None),
            Approval::Unanswered => ("withdrawn", "nobody", None),
            Approval::NobodyToAsk(why) => ("nobody_to_ask", "nobody", Some(why.clone())),
        };
        Self { decision: Some(decision), decided_by: Some(by), words, ..self }
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(MOST_NOTED)).unwrap_or_default().to_owned()
}

impl Session {
    /// Has a person asked for a sandbox that is wider than the default. Says, for a model, why it is not given. A question that can't be
    /// noted is not asked, and by an answer that can't be noted nothing runs.
    pub(super) async fn approved(
        &self,
        tool: &str,
        sandbox: &Sandbox,
        asks: &Asks,
        command: &[String],
        directory: &Path,
        client: &Client,
    ) -> Result<(), String> {
        let (policy, default) = (sandbox.policy(), self.desk.sandbox.policy());
        let (command, cwd) = (quoted(command), directory.to_string_lossy().into_owned());
        let asked = Asked {
            approval_id: uuid::Uuid::new_v4().to_string(),
            labels: Labels { process: Some(tool.to_owned()), ..self.labels(client) },
            decided_by: None,
            reason: "request",
            command: cut(&command),
            cwd: cwd.clone(),
            justification: asks.justification.as_deref().map(cut),
            opens: permissions::opens(policy),
            decision: None,
            words: None,
        };
        note(&self.server.ceiling, "approval", asked.clone()).await?;
        let approval = client.ask(permissions::question(policy, default, asks, &command, &cwd)).await;
        note(&self.server.ceiling, "approval", asked.decided(&approval)).await?;
        permissions::refusal(policy, default, &approval).map_or(Ok(()), Err)
    }
}
