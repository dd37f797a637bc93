//! The answer of `codex debug why`.

use std::ffi::OsStr;

use codex_core::denial::{Allow, Operation, Refusal, Rule, Verdict};
use codex_core::enforcement::Level;
use codex_linux_sandbox::shown;
use serde::Serialize;

/// Whether it is allowed, and all that is known of it.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    allowed: bool,
    operation: Operation,
    target: String,
    resolved_target: Option<String>,
    level: &'static str,
    promise: Option<&'static str>,
    rule: Option<Rule>,
    errno: Option<i32>,
    allow: Option<Allow>,
    risk: Option<String>,
    note: Option<&'static str>,
    #[serde(skip)]
    error: Option<String>,
}

impl Answer {
    pub(crate) fn new(operation: Operation, target: &OsStr, level: Level, verdict: Verdict) -> Self {
        let target = target.to_string_lossy().into_owned();
        let (allowed, note, refusal) = match verdict {
            Verdict::Allowed { note } => (true, note, None),
            Verdict::Denied(refusal) => (false, None, Some(*refusal)),
        };
        let Refusal { promise, rule, errno, resolved, allow, risk } = refusal.unwrap_or(Refusal {
            promise: None,
            rule: None,
            errno: None,
            resolved: None,
            allow: None,
            risk: None,
        });
        Self {
            allowed,
            operation,
            target,
            resolved_target: resolved.map(|path| path.to_string_lossy().into_owned()),
            level: level.name(),
            promise,
            rule,
            errno: errno.map(|errno| errno as i32),
            allow,
            risk,
            note,
            error: errno.map(|errno| format!("{} ({errno:?})", errno.desc())),
        }
    }

    pub(crate) const fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// The same for a person.
    pub(crate) fn text(&self) -> String {
        let word = if self.allowed { "allowed" } else { "denied" };
        let mut text = format!("{word}: {} {}\n", self.operation.name(), shown(&self.target));
        let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<9}{value}\n"));
        line("level", self.level);
        if let Some(resolved) = self.resolved_target.as_ref().filter(|resolved| **resolved != self.target) {
            line("is", &shown(resolved));
        }
        if let Some(promise) = self.promise {
            line("promise", promise);
        }
        if let Some(error) = &self.error {
            line("error", error);
        }
        if let Some(rule) = &self.rule {
            line("rule", &format!("{} ({})", rule.setting, rule.origin));
        }
        if let Some(note) = self.note {
            line("note", note);
        }
        grant(self.allow.as_ref(), self.risk.as_deref(), line);
        text
    }
}

/// What would allow it and what that opens, or why nothing does.
pub(super) fn grant(allow: Option<&Allow>, risk: Option<&str>, mut line: impl FnMut(&str, &str)) {
    if let Some(allow) = allow {
        if let Some(flag) = &allow.flag {
            line("allow", flag);
        }
        for toml in allow.toml.iter().flat_map(|toml| toml.lines()) {
            line("or", toml);
        }
    }
    if let Some(risk) = risk {
        line(if allow.is_some() { "opens" } else { "because" }, risk);
    }
}
