//! Whether a call may run, and with what: the way from its arguments to a sandbox.

use std::path::Path;

use codex_core::config::ApprovalPolicy;
use codex_core::exec::{ExecResult, Outcome, Sandbox};

use super::Tools;
use super::asking::Wanted;
use crate::approval::{Act, Decision, Grant, Question, Reason, Remembered, Trust};

/// What the model is told at the end of each refusal.
pub(super) const NOTHING: &str = "Nothing was run";

/// What a call runs with.
#[derive(Clone, Debug)]
pub(super) struct Cleared {
    pub(super) sandbox: Sandbox,
    /// What it has beyond the policy.
    pub(super) grant: Grant,
    /// Whether what is typed into it is asked about.
    pub(super) input_is_asked_about: bool,
    /// Whether nobody was asked since `git` in it only shows something.
    pub(super) careful: bool,
}

/// A command that is to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'c> {
    pub(super) words: &'c [String],
    /// As a shell would take it.
    pub(super) shown: &'c str,
    pub(super) directory: &'c Path,
    pub(super) tty: bool,
}

impl Tools {
    /// What the policy gives, and nothing beside it.
    pub(super) fn as_the_policy_says(&self) -> Cleared {
        Cleared {
            sandbox: self.sandbox.clone(),
            grant: Grant::default(),
            input_is_asked_about: self.approvals.policy == ApprovalPolicy::Untrusted,
            careful: false,
        }
    }

    /// Sees whether a command may run, and asks where somebody has to be asked.
    ///
    /// # Errors
    ///
    /// What the model is told of a command that does not run.
    pub(super) async fn clear(&self, candidate: Candidate<'_>, wanted: Wanted) -> Result<Cleared, String> {
        let approvals = &self.approvals;
        if let Some(why) = approvals.rules.forbids(candidate.words) {
            return Err(format!("{why}. {NOTHING}."));
        }
        let Wanted { grant, justification } = wanted;
        let (grant, risks) = self.beyond_the_policy(grant).await?;
        // Made before anybody is asked: what is shown is what is run in, whatever becomes of a path meanwhile.
        let widened = if grant.is_empty() { None } else { Some(self.widened(&grant)?) };
        let prompted = approvals.rules.prompts(candidate.words);
        let given = grant.is_empty() || approvals.gives(candidate.words, &grant);
        let trust = match approvals.policy {
            ApprovalPolicy::Untrusted => approvals.rules.trust(candidate.words),
            ApprovalPolicy::Never | ApprovalPolicy::OnRequest | ApprovalPolicy::OnFailure => Trust::Whole,
        };
        let trusted = trust != Trust::None || (grant.unsandboxed && given);
        let reason = match prompted {
            Some(_) => Some(Reason::Rule),
            None if !given => Some(Reason::Request),
            None if !trusted => Some(Reason::Untrusted),
            None => None,
        };
        let cleared = |asked: bool| Cleared {
            sandbox: widened.clone().unwrap_or_else(|| self.sandbox.clone()),
            grant: grant.clone(),
            input_is_asked_about: asked || grant.unsandboxed || approvals.policy == ApprovalPolicy::Untrusted,
            careful: !asked && trust == Trust::OfGit,
        };
        let mut question = Question {
            act: Act::Run,
            reason: reason.unwrap_or(Reason::Request),
            because: prompted.into_iter().collect(),
            command: candidate.shown.to_owned(),
            directory: candidate.directory.to_owned(),
            justification,
            grant: grant.clone(),
            risks,
            // Without a sandbox, a file that the command reads decides what it does, and the next call may have written it.
            may_last: !grant.unsandboxed,
        };
        if reason.is_none() {
            if !grant.is_empty() {
                self.tell_decision(self.events.name(), &question, Decision::ApprovedByRule, None).await?;
                approvals.opens(&grant);
            }
            return Ok(cleared(false));
        }
        let key = Remembered {
            command: candidate.words.to_vec(),
            directory: candidate.directory.to_owned(),
            tty: candidate.tty,
            grant: grant.clone(),
        };
        self.settle(&mut question, Some(key)).await?;
        approvals.opens(&grant);
        Ok(cleared(true))
    }

    /// Sees whether files may be changed by a patch.
    pub(super) async fn clear_patch(&self, files: &str, directory: &Path) -> Result<(), String> {
        if self.approvals.policy != ApprovalPolicy::Untrusted {
            return Ok(());
        }
        let mut question = self.plain_question(Act::Patch, Reason::Untrusted, files, directory);
        self.settle(&mut question, None).await.map_err(|why| why.replace(NOTHING, "Nothing was changed"))
    }

    /// Sees whether something may be typed into a command.
    pub(super) async fn clear_input(
        &self,
        chars: &str,
        command: &str,
        directory: &Path,
        grant: &Grant,
    ) -> Result<(), String> {
        let mut question =
            self.plain_question(Act::Type(chars.to_owned()), Reason::Input, command, directory);
        question.grant = grant.clone();
        self.settle(&mut question, None).await.map_err(|why| why.replace(NOTHING, "Nothing was typed"))
    }

    /// After a command has failed: the sandbox in which it is run once more, where the person wants that.
    pub(super) async fn clear_retry(
        &self,
        candidate: Candidate<'_>,
        cleared: &Cleared,
        result: &ExecResult,
    ) -> Option<Cleared> {
        let failed = !matches!(result.outcome, Outcome::Exited { code: 0 });
        if self.approvals.policy != ApprovalPolicy::OnFailure || !cleared.grant.is_empty() || !failed {
            return None;
        }
        let (grant, risks) = Grant::named_by(&result.denials);
        if grant.is_empty() {
            return None;
        }
        let sandbox = self.widened(&grant).ok()?;
        let mut question =
            self.plain_question(Act::Again, Reason::Failure, candidate.shown, candidate.directory);
        question.because = codex_core::denial::lines(&result.denials);
        question.grant = grant.clone();
        question.risks = risks;
        question.risks.push(
            "it ran already, up to where it failed: what it did then, it does a second time".to_owned(),
        );
        // A refusal leaves the first run's result, which says all there is to say.
        self.settle(&mut question, None).await.ok()?;
        self.approvals.opens(&grant);
        Some(Cleared { sandbox, grant, input_is_asked_about: true, careful: false })
    }

    fn plain_question(&self, act: Act, reason: Reason, command: &str, directory: &Path) -> Question {
        Question {
            act,
            reason,
            because: Vec::new(),
            command: command.to_owned(),
            directory: directory.to_owned(),
            justification: None,
            grant: Grant::default(),
            risks: Vec::new(),
            may_last: false,
        }
    }
}
