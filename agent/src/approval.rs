//! Who may give a call more than the policy does, and who is asked before a call runs.
//!
//! ```text
//! call ▶ forbidden? ▶ asks for more? ─▶ given by a rule of the user's? ─▶ asked already? ─▶ the person ▶ a sandbox of its own
//!                   └▶ has to be asked about (prompt, untrusted)? ───────┘
//! ```
//!
//! Only the user gives: by flags, by `[approvals]` in the user's own configuration, or at a terminal. Nothing that the model
//! says, that a command prints or that a project holds is an answer. What is given belongs to one call, or to calls that are the
//! very same; it is never written where another run would find it.

pub mod grant;
pub mod rules;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use codex_core::config::ApprovalPolicy;
use codex_core::exec::Sandbox;
use codex_core::policy::HostGrant;
use serde::{Deserialize, Serialize};

pub use grant::Grant;
pub use rules::{Rules, Trust};

/// Makes sandboxes that are the policy's, widened by a grant.
pub trait Widen: std::fmt::Debug + Send + Sync {
    /// The sandbox of the policy, with exactly this beside it.
    ///
    /// # Errors
    ///
    /// Why it can't be had, in one line.
    fn widen(&self, grant: &Grant) -> Result<Sandbox, String>;
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A command is run.
    Run,
    /// Files are changed.
    Patch,
    /// Something is typed into a command that goes on.
    Type(String),
    /// A command is run once more, with more.
    Again,
}

/// Why somebody is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The model asks for more than the policy gives.
    Request,
    /// A rule of the user's says so.
    Rule,
    /// Nobody knows that it is harmless.
    Untrusted,
    /// It failed, and the sandbox refused it something.
    Failure,
    /// It goes to a command that has more than the policy gives, or that was asked about.
    Input,
}

/// A question to the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is to be done.
    pub act: Act,
    /// Why that is asked.
    pub reason: Reason,
    /// The same in words, where there is more to say.
    pub because: Vec<String>,
    /// The command as a shell would take it, or the files that change.
    pub command: String,
    /// Where it runs.
    pub directory: PathBuf,
    /// What the model says about it.
    pub justification: Option<String>,
    /// What it is given beyond the policy.
    pub grant: Grant,
    /// What that could lead to.
    pub risks: Vec<String>,
    /// Whether the answer may hold for the same call again.
    pub may_last: bool,
}

/// The person's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes, this once.
    Once,
    /// Yes, and whenever the very same is asked in this run.
    ForThisRun,
    /// No, with words for the model.
    No(String),
    /// No, and the run ends.
    Abort,
    /// There was nobody to ask, and why.
    Nobody(String),
}

/// The future of an answer.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// Whoever is asked. One question at a time.
pub trait Person: std::fmt::Debug + Send + Sync {
    /// Asks. Dropping the future withdraws the question.
    fn ask<'a>(&'a self, question: &'a Question) -> Asking<'a>;
}

/// How it was decided, for those who are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The person says yes, once.
    Approved,
    /// The person says yes, for the run.
    ApprovedForRun,
    /// A rule of the user's gives it.
    ApprovedByRule,
    /// The person says no.
    Denied,
    /// The person ends the run.
    Aborted,
    /// There is nobody to ask.
    NoTerminal,
    /// The run ended first.
    Withdrawn,
}

/// A decision, as it is told and written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Why it was to be decided.
    pub reason: Reason,
    /// The command, or the files.
    pub command: String,
    /// Where it runs.
    pub cwd: String,
    /// What the model says about it.
    pub justification: Option<String>,
    /// What it opens, a line each. Empty where the sandbox stays as it is.
    pub opens: Vec<String>,
    /// How it was decided. Nothing while it is asked.
    pub decision: Option<Decision>,
    /// What the person says to the model.
    pub words: Option<String>,
}

/// What the user gives to calls that ask for it, without a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Directories.
    pub write: Vec<PathBuf>,
    /// Places.
    pub read: Vec<PathBuf>,
    /// The network.
    pub network: bool,
    /// Single hosts.
    pub hosts: Vec<HostGrant>,
}

/// Who is asked, and what was answered.
#[derive(Debug)]
pub struct Approvals {
    /// When.
    pub policy: ApprovalPolicy,
    /// What the user has said about commands.
    pub rules: Rules,
    /// What the user gives.
    pub standing: Standing,
    /// Makes sandboxes.
    pub widen: Arc<dyn Widen>,
    /// Who.
    pub person: Arc<dyn Person>,
    /// One question at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
    remembered: Mutex<Vec<Remembered>>,
    /// Directories below which a call of this run may have written.
    written: Mutex<Vec<PathBuf>>,
}

/// What an answer for the run holds for: the very same, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) command: Vec<String>,
    pub(crate) directory: PathBuf,
    pub(crate) tty: bool,
    pub(crate) grant: Grant,
}

impl Approvals {
    /// Nothing answered yet.
    #[must_use]
    pub fn new(
        policy: ApprovalPolicy,
        rules: Rules,
        standing: Standing,
        widen: Arc<dyn Widen>,
        person: Arc<dyn Person>,
    ) -> Self {
        Self {
            policy,
            rules,
            standing,
            widen,
            person,
            turn: tokio::sync::Mutex::new(()),
            remembered: Mutex::default(),
            written: Mutex::default(),
        }
    }

    pub(crate) fn remembers(&self, asked: &Remembered) -> bool {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).contains(asked)
    }

    pub(crate) fn remember(&self, asked: Remembered) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    }

    /// Keeps in mind where a call may write beyond the policy.
    pub(crate) fn opens(&self, grant: &Grant) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for directory in &grant.write {
            if !written.contains(directory) {
                written.push(directory.clone());
            }
        }
    }

    /// Where calls can write beyond the policy, or have been able to: what the user's rules give, and what was given in this run.
    pub(crate) fn opened(&self) -> Vec<PathBuf> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        self.standing.write.iter().chain(&*written).cloned().collect()
    }

    /// Whether the user gives this to a command that asks, without a question.
    pub(crate) fn gives(&self, command: &[String], grant: &Grant) -> bool {
        if grant.unsandboxed {
            return self.rules.frees(command);
        }
        let below = |places: &[PathBuf], path: &PathBuf| places.iter().any(|place| path.starts_with(place));
        grant.write.iter().all(|path| below(&self.standing.write, path))
            && grant.read.iter().all(|path| below(&self.standing.read, path))
            && (!grant.network || self.standing.network)
            && (self.standing.network
                || grant.hosts.iter().all(|host| self.standing.hosts.iter().any(|given| given.covers(host))))
    }
}
