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
    /// What a failed command says is compared with the policy. What our own code decides is exact all the same.
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
    /// What there is at a level, by what was asked for and what came of it. Before a command has run, what is to be expected.
    #[must_use]
    pub fn of(asked: Explain, level: Level, observation: Option<Observation>) -> Self {
        let (kind, why): (_, Cow<'static, str>) = match (asked, level, observation) {
            (_, Level::None, _) => (ExplanationKind::None, "the policy restricts nothing".into()),
            (Explain::Never, ..) => (ExplanationKind::None, "sandbox.explain is \"never\"".into()),
            (Explain::OnFailure, ..) => (ExplanationKind::Likely, LIKELY.into()),
            (Explain::Always, _, Some(Observation::Exact) | None) => {
                (ExplanationKind::Exact, "the command is observed: calls that can be refused are seen".into())
            }
            (Explain::Always, _, Some(Observation::Refused(errno))) => {
                let why =
                    format!("the command can't be observed here ({}, {errno:?}); {LIKELY}", errno.desc());
                (ExplanationKind::Likely, why.into())
            }
            (Explain::Always, _, Some(Observation::NotAsked)) => {
                (ExplanationKind::Likely, format!("nobody was there to observe the command; {LIKELY}").into())
            }
        };
        Self { kind, why }
    }
}

const LIKELY: &str = "what a failed command says is compared with the policy";
