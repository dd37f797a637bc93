//! By what it is known what was refused to a command.

use std::borrow::Cow;

use codex_linux_sandbox::Observation;
use serde::Serialize;

use super::Level;
use crate::config::Explain;

/// How sure what is told of denials is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExplanationKind {
    /// Each call that the policy can refuse is seen.
    Exact,
    /// What a failed command says is compared with the policy. What our own code decides is exact all the same, and what
    /// Landlock refuses where the kernel's log is read.
    Likely,
    /// Only what our own code decides is told.
    None,
}

/// What is known of denials, and why no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// How sure it is.
    pub kind: ExplanationKind,
    /// By what, or why not.
    pub why: Cow<'static, str>,
}

impl Explanation {
    /// What there is at a level, by what was asked for and what came of it, and whether Landlock's refusals are read in the
    /// kernel's log. Before a command has run, what is to be expected.
    #[must_use]
    pub fn of(asked: Explain, level: Level, observation: Option<Observation>, logged: bool) -> Self {
        let likely = if logged { LIKELY_AND_LOGGED } else { LIKELY };
        let (kind, why): (_, Cow<'static, str>) = match (asked, level, observation) {
            (_, Level::None, _) => (ExplanationKind::None, "the policy restricts nothing".into()),
            (Explain::Never, ..) => (ExplanationKind::None, "sandbox.explain is \"never\"".into()),
            (Explain::OnFailure, ..) => (ExplanationKind::Likely, likely.into()),
            (Explain::Always, _, Some(Observation::Exact) | None) => {
                (ExplanationKind::Exact, "the command is observed: calls that can be refused are seen".into())
            }
            (Explain::Always, _, Some(Observation::Refused(errno))) => {
                let why =
                    format!("the command can't be observed here ({}, {errno:?}); {likely}", errno.desc());
                (ExplanationKind::Likely, why.into())
            }
            (Explain::Always, _, Some(Observation::NotAsked)) => {
                (ExplanationKind::Likely, format!("nobody was there to observe the command; {likely}").into())
            }
        };
        Self { kind, why }
    }
}

const LIKELY: &str = "what a failed command says is compared with the policy";
const LIKELY_AND_LOGGED: &str = "what a failed command says is compared with the policy; what Landlock refuses is read in the \
                                 kernel's audit log, and is exact";
