//! Questions to the user: asked one at a time, told, and written down with what was decided.

use std::path::Path;

use codex_core::config::ApprovalPolicy;
use codex_core::exec::{NotedCommand, NotedRefusal};
use codex_linux_sandbox::shown;
use serde::Serialize;

use super::clearance::NOTHING;
use super::{Tools, shown_directory};
use crate::approval::{Act, Answer, Approval, Decision, Question, Remembered};
use crate::event::Details;

/// More than this nobody reads before they answer.
const LONGEST_COMMAND: usize = 8000;
/// How much of a command, or of words, the audit log has. In bytes.
const MOST_NOTED: usize = 16 << 10;

/// A line of the audit log.
#[derive(Serialize)]
struct Noted {
    /// The same for a question and for what comes of it.
    approval_id: String,
    /// Who decided: the user, a rule of the user's, or nobody. Nothing while it is asked.
    decided_by: Option<&'static str>,
    #[serde(flatten)]
    approval: Approval,
}

impl Tools {
    /// Asks, one question at a time, and tells how it went.
    pub(super) async fn settle(
        &self,
        question: &mut Question,
        key: Option<Remembered>,
    ) -> Result<(), String> {
        let approvals = &self.approvals;
        if let Some(key) = &key
            && approvals.remembers(key)
        {
            return self.tell_decision(self.events.name(), question, Decision::ApprovedForRun, None).await;
        }
        if approvals.policy == ApprovalPolicy::Never {
            return Err(format!(
                "the approval policy is never: nobody is asked, and only the user's own rules give a command more, or let it run. \
                 {NOTHING}; do what is possible inside the sandbox, and say in your last message what the user would have to allow."
            ));
        }
        if question.command.len() > LONGEST_COMMAND
            || matches!(&question.act, Act::Type(chars) if chars.len() > LONGEST_COMMAND)
        {
            return Err(format!(
                "it is longer than {LONGEST_COMMAND} bytes, and nobody reads that before they answer: put what is long into a file first. \
                 {NOTHING}."
            ));
        }
        let stop = self.cancellation.clone();
        let turn = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(format!("the run ends. {NOTHING}.")),
            turn = approvals.turn.lock() => turn,
        };
        // The question before this one may have been the same.
        if let Some(key) = &key
            && approvals.remembers(key)
        {
            return self.tell_decision(self.events.name(), question, Decision::ApprovedForRun, None).await;
        }
        let under_way = self.telling.under_way();
        if under_way > 0 && !question.grant.is_empty() {
            question.risks.push(format!(
                "commands that go on ({under_way}) may change what it reads or runs while you decide"
            ));
        }
        let id = self.events.name();
        let asked = approval(question, None, None);
        self.note(&id, &asked).await.map_err(|error| format!("{error}. {NOTHING}."))?;
        self.events.started(id.clone(), Details::Approval(Box::new(asked)));
        let answer = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            answer = approvals.person.ask(question) => Some(answer),
        };
        drop(turn);
        let (decision, words) = match answer {
            None => (Decision::Withdrawn, None),
            Some(Answer::Once) => (Decision::Approved, None),
            // Nobody was offered more than once there.
            Some(Answer::ForThisRun) if !question.may_last || key.is_none() => (Decision::Approved, None),
            Some(Answer::ForThisRun) => {
                key.into_iter().for_each(|key| approvals.remember(key));
                (Decision::ApprovedForRun, None)
            }
            Some(Answer::No(words)) => (Decision::Denied, Some(words).filter(|words| !words.is_empty())),
            Some(Answer::Abort) => (Decision::Aborted, None),
            Some(Answer::Nobody(why)) => (Decision::NoTerminal, Some(why)),
        };
        self.tell_decision(id, question, decision, words.clone()).await?;
        match decision {
            Decision::Approved | Decision::ApprovedForRun | Decision::ApprovedByRule => Ok(()),
            Decision::Denied => Err(match words {
                Some(words) => format!("the user says no: {words}. {NOTHING}."),
                None => format!("the user says no. {NOTHING}."),
            }),
            Decision::Aborted => {
                self.abort.cancel();
                Err(format!("the user ends the run. {NOTHING}."))
            }
            Decision::NoTerminal => Err(format!(
                "nobody can be asked: {}. {NOTHING}; do what is possible inside the sandbox, and say in your last message what the \
                 user would have to allow.",
                words.unwrap_or_default()
            )),
            Decision::Withdrawn => Err(format!("the run ends. {NOTHING}.")),
        }
    }

    /// Tells a decision, and writes it down: it is on the disk before anything runs by it.
    pub(super) async fn tell_decision(
        &self,
        id: String,
        question: &Question,
        decision: Decision,
        words: Option<String>,
    ) -> Result<(), String> {
        let approval = approval(question, Some(decision), words);
        let noted = match self.journal.note(&approval) {
            Ok(()) => self.note(&id, &approval).await,
            Err(error) => Err(error.to_string()),
        };
        self.events.completed(id, Details::Approval(Box::new(approval)));
        noted.map_err(|error| format!("what was decided can't be written down ({error}). {NOTHING}."))
    }

    /// Writes a question, or what was decided, into the audit log.
    async fn note(&self, id: &str, approval: &Approval) -> Result<(), String> {
        let by = match approval.decision {
            None => None,
            Some(Decision::ApprovedByRule) => Some("rule"),
            Some(Decision::NoTerminal | Decision::Withdrawn) => Some("nobody"),
            Some(Decision::Approved | Decision::ApprovedForRun | Decision::Denied | Decision::Aborted) => {
                Some("user")
            }
        };
        let approval = Approval {
            command: cut(&approval.command),
            words: approval.words.as_deref().map(cut),
            ..approval.clone()
        };
        let noted = Noted { approval_id: id.to_owned(), decided_by: by, approval };
        let (sandbox, labels) = (self.sandbox.clone(), self.labels.clone());
        // Whoever holds the log's lock keeps nobody else waiting.
        let noted = tokio::task::spawn_blocking(move || sandbox.note("approval", &labels, &noted)).await;
        noted.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Writes into the audit log that something is not done, and why. Where that fails, it is told: nothing is done either way.
    pub(super) async fn note_refusal(&self, words: &[String], directory: &Path, why: &str) {
        let refusal = NotedRefusal {
            labels: self.labels.clone(),
            command: NotedCommand::of(words),
            cwd: shown_directory(directory),
            refused: cut(why),
        };
        let sandbox = self.sandbox.clone();
        let noted = tokio::task::spawn_blocking(move || sandbox.note_refusal(&refusal)).await;
        let noted = noted.map_err(|error| error.to_string());
        if let Err(error) = noted.and_then(|noted| noted.map_err(|error| error.to_string())) {
            self.events.item(Details::Error { message: format!("a refusal can't be noted: {error}") });
        }
    }
}

/// As much of a text as the audit log has.
fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(MOST_NOTED)).unwrap_or_default().to_owned()
}

fn approval(question: &Question, decision: Option<Decision>, words: Option<String>) -> Approval {
    Approval {
        reason: question.reason,
        command: match &question.act {
            Act::Type(chars) => format!("{} ← {}", question.command, shown(chars)),
            Act::Run | Act::Patch | Act::Again => question.command.clone(),
        },
        cwd: shown_directory(&question.directory),
        justification: question.justification.clone(),
        opens: question.grant.lines(),
        decision,
        words,
    }
}
