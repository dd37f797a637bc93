//! Whether a call may run, and with what: the way from its arguments to a sandbox.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use codex_core::audit::AuditError;
use codex_core::config::ApprovalPolicy;
use codex_core::denial::{Operation, Verdict};
use codex_core::enforcement::Level;
use codex_core::exec::{ExecResult, Outcome, Sandbox};
use codex_core::policy::{NetworkAccess, ResolvedWrites, Way, way};
use codex_linux_sandbox::shown;
use serde::Serialize;

use super::asking::Wanted;
use super::{Tools, shown_directory};
use crate::approval::{Act, Answer, Approval, Decision, Grant, Question, Reason, Remembered};
use crate::event::Details;

/// More than this nobody reads before they answer.
const LONGEST_COMMAND: usize = 8000;
/// How much of a command, or of words, the audit log has. In bytes.
const MOST_NOTED: usize = 16 << 10;
const NOTHING: &str = "Nothing was run";

/// A line of the audit log.
#[derive(Serialize)]
struct Noted<'n> {
    /// The same for a question and for what comes of it.
    approval_id: &'n str,
    /// Who decided: the user, a rule of the user's, or nobody. Nothing while it is asked.
    decided_by: Option<&'static str>,
    #[serde(flatten)]
    approval: &'n Approval,
}

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
        let trusted = approvals.policy != ApprovalPolicy::Untrusted
            || approvals.rules.allows(candidate.words)
            || (grant.unsandboxed && given);
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
            careful: !asked
                && approvals.policy == ApprovalPolicy::Untrusted
                && approvals.rules.allows_for_git(candidate.words),
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
                self.tell_decision(self.events.name(), &question, Decision::ApprovedByRule, None)?;
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

    /// The `PATH` of a command without a sandbox: no program is looked up where a command could have put one, in a writable
    /// root or a directory that was given, nor somewhere that depends on where it runs, or on a link that a command could turn.
    pub(super) fn path_of_the_users(&self) -> Option<OsString> {
        let bench = self.engine.bench();
        let (_, path) = bench.environment.iter().find(|(name, _)| name == "PATH")?;
        let mut writable = roots(&self.sandbox.policy().writes)?;
        // Under another policy, an earlier run may have written there.
        writable.push(bench.workspace.clone());
        writable.extend(self.approvals.opened());
        let kept = std::env::split_paths(path).filter_map(|directory| {
            let Way { end, mut links } = way(&directory).ok().filter(|_| directory.is_absolute())?;
            links.push(end.clone());
            let reached = links.iter().any(|place| writable.iter().any(|root| place.starts_with(root)));
            (!reached && end.is_dir()).then_some(end)
        });
        // Joining fails for what splitting does not give, but for a link's target: then nothing is looked up.
        Some(std::env::join_paths(kept).unwrap_or_default())
    }

    /// What is set for a command beside its environment. A command that nobody was asked about, since it asks `git` only to show
    /// something, takes no directory for a repository that could be part of the project: its configuration names programs.
    pub(super) fn careful_environment(&self) -> Vec<(OsString, OsString)> {
        let set = |name: &str| {
            let of = &self.engine.bench().environment;
            of.iter().find(|(set, _)| name == set.as_os_str()).and_then(|(_, value)| value.to_str())
        };
        let count: usize = set("GIT_CONFIG_COUNT").and_then(|count| count.parse().ok()).unwrap_or_default();
        [
            ("GIT_CONFIG_COUNT".to_owned(), (count + 1).to_string()),
            (format!("GIT_CONFIG_KEY_{count}"), "safe.bareRepository".to_owned()),
            (format!("GIT_CONFIG_VALUE_{count}"), "explicit".to_owned()),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec()
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

    /// Asks, one question at a time, and tells how it went.
    async fn settle(&self, question: &mut Question, key: Option<Remembered>) -> Result<(), String> {
        let approvals = &self.approvals;
        if let Some(key) = &key
            && approvals.remembers(key)
        {
            return self.tell_decision(self.events.name(), question, Decision::ApprovedForRun, None);
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
            return self.tell_decision(self.events.name(), question, Decision::ApprovedForRun, None);
        }
        let under_way = self.telling.under_way();
        if under_way > 0 && !question.grant.is_empty() {
            question.risks.push(format!(
                "commands that go on ({under_way}) may change what it reads or runs while you decide"
            ));
        }
        let id = self.events.name();
        let asked = approval(question, None, None);
        self.note(&id, &asked).map_err(|error| format!("{error}. {NOTHING}."))?;
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
        self.tell_decision(id, question, decision, words.clone())?;
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
    fn tell_decision(
        &self,
        id: String,
        question: &Question,
        decision: Decision,
        words: Option<String>,
    ) -> Result<(), String> {
        let approval = approval(question, Some(decision), words);
        let noted = self.journal.note(&approval).map_err(|error| error.to_string());
        let noted = noted.and_then(|()| self.note(&id, &approval).map_err(|error| error.to_string()));
        self.events.completed(id, Details::Approval(Box::new(approval)));
        noted.map_err(|error| format!("what was decided can't be written down ({error}). {NOTHING}."))
    }

    /// Writes a question, or what was decided, into the audit log.
    fn note(&self, id: &str, approval: &Approval) -> Result<(), AuditError> {
        let by = match approval.decision {
            None => None,
            Some(Decision::ApprovedByRule) => Some("rule"),
            Some(Decision::NoTerminal | Decision::Withdrawn) => Some("nobody"),
            Some(Decision::Approved | Decision::ApprovedForRun | Decision::Denied | Decision::Aborted) => {
                Some("user")
            }
        };
        let cut =
            |text: &str| text.get(..text.floor_char_boundary(MOST_NOTED)).unwrap_or_default().to_owned();
        let approval = Approval {
            command: cut(&approval.command),
            words: approval.words.as_deref().map(cut),
            ..approval.clone()
        };
        self.sandbox.note(
            "approval",
            &self.labels,
            &Noted { approval_id: id, decided_by: by, approval: &approval },
        )
    }

    /// The sandbox with a grant, checked: it opens what was asked for, and nothing else.
    fn widened(&self, grant: &Grant) -> Result<Sandbox, String> {
        let refused = |why: String| format!("this can't be given: {why}. {NOTHING}.");
        let sandbox = self.approvals.widen.widen(grant).map_err(refused)?;
        let (before, after) = (self.sandbox.policy(), sandbox.policy());
        let as_asked = grant.unsandboxed
            || (roots(&after.writes) == with(roots(&before.writes), &grant.write)
                && after.network == if grant.network { NetworkAccess::Enabled } else { before.network });
        if as_asked {
            Ok(sandbox)
        } else {
            Err(refused("with it the sandbox would not be the policy's and just that; something on the way to a root has changed".to_owned()))
        }
    }

    /// Of what is asked for, what the policy does not give anyway, and what that could lead to.
    async fn beyond_the_policy(&self, mut grant: Grant) -> Result<(Grant, Vec<String>), String> {
        let sandbox = &self.sandbox;
        if grant.is_empty() || sandbox.expected().level == Level::None {
            return Ok((Grant::default(), Vec::new()));
        }
        if grant.unsandboxed {
            let risk = "it can change and read everything of yours, keys too, and what it runs in the workspace the model may have written";
            return Ok((grant, vec![risk.to_owned()]));
        }
        if sandbox.policy().network == NetworkAccess::Enabled {
            grant.network = false;
        }
        if let Some(roots) = roots(&sandbox.policy().writes) {
            grant.write.retain(|path| !roots.iter().any(|root| path.starts_with(root)));
        } else {
            grant.write.clear();
        }
        let (sandbox, asked, home) = (sandbox.clone(), grant, self.home.clone());
        let looked_up = tokio::task::spawn_blocking(move || judged(&sandbox, asked, home.as_deref())).await;
        looked_up.map_err(|_| format!("the request can't be looked at. {NOTHING}."))?
    }
}

/// What is asked for, compared with what a call may be given at all.
fn judged(sandbox: &Sandbox, mut grant: Grant, home: Option<&Path>) -> Result<(Grant, Vec<String>), String> {
    let protection = sandbox.protection();
    let judge = sandbox.judge(protection.as_ref(), home);
    let mut risks = Vec::new();
    for path in &grant.write {
        match judge.file(Operation::Write, path) {
            Ok(Verdict::Denied(refusal)) if refusal.allow.is_some() => {
                risks.push(format!("{}: {}", shown(path), refusal.risk.clone().unwrap_or_default()));
            }
            Ok(Verdict::Denied(refusal)) => {
                let why = refusal.risk.clone().unwrap_or_else(|| "no grant opens it".to_owned());
                return Err(format!(
                    "writing below {} can't be given to a call: {why}. {NOTHING}.",
                    shown(path)
                ));
            }
            Ok(Verdict::Allowed { .. }) => {
                return Err(format!(
                    "{} can't be given as it is: name the directory itself. {NOTHING}.",
                    shown(path)
                ));
            }
            Err(errno) => return Err(format!("{}: {errno}. {NOTHING}.", shown(path))),
        }
    }
    let mut hidden = Vec::new();
    for path in grant.read {
        match judge.file(Operation::Read, &path) {
            Ok(Verdict::Allowed { .. }) => {}
            _ => {
                risks.push(format!("{} is hidden by sandbox.deny_read", shown(&path)));
                hidden.push(path);
            }
        }
    }
    grant.read = hidden;
    if grant.network {
        risks.push(
            "what it reads, it can send anywhere; this machine's own services are reached, too".to_owned(),
        );
    }
    Ok((grant, risks))
}

/// The writable roots, in order. Nothing where everything is writable.
fn roots(writes: &ResolvedWrites) -> Option<Vec<PathBuf>> {
    match writes {
        ResolvedWrites::Everywhere => None,
        ResolvedWrites::Beneath(roots) => {
            let mut roots: Vec<PathBuf> = roots.iter().map(|root| root.path.clone()).collect();
            roots.sort();
            Some(roots)
        }
    }
}

/// Roots with others, none below another.
fn with(roots: Option<Vec<PathBuf>>, more: &[PathBuf]) -> Option<Vec<PathBuf>> {
    let mut all = roots?;
    all.extend(more.iter().cloned());
    all.sort();
    all.dedup();
    let mut kept: Vec<PathBuf> = Vec::new();
    for root in all {
        if !kept.last().is_some_and(|above| root.starts_with(above)) {
            kept.push(root);
        }
    }
    Some(kept)
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
