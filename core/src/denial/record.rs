//! One denial, as data and as a line.

use std::path::PathBuf;

use codex_linux_sandbox::shown;
use nix::errno::Errno;
use serde::{Serialize, Serializer};

use super::judge::{Operation, Refusal};
use crate::config::Origin;
use crate::policy::HostGrant;

/// How sure it is that the sandbox refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// Our own code decided it, or saw it.
    Exact,
    /// The command said that something failed, and the policy refuses just that with just that error. Nobody saw the call.
    Likely,
}

/// The rule of the configuration behind a denial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The dotted key of `config.toml`.
    pub setting: &'static str,
    /// The file that sets it. `None` where none does. As data it is text: a name that is none is no reason to tell nothing.
    #[serde(serialize_with = "text")]
    pub file: Option<PathBuf>,
    /// The line of the value, counted from 1.
    pub line: Option<usize>,
    /// The same in words, or the flag, or `default`.
    pub origin: String,
}

impl Rule {
    pub(crate) fn new(setting: &'static str, origin: &Origin) -> Self {
        let (file, line) = match origin {
            Origin::File { path, line }
            | Origin::Profile { path, line, .. }
            | Origin::Project { path, line } => (Some(path.clone()), Some(*line)),
            Origin::Default | Origin::Override(_) | Origin::Flag(_) => (None, None),
        };
        Self { setting, file, line, origin: origin.to_string() }
    }
}

/// What a grant would open, as data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Opens {
    /// Writing below a directory.
    Write(PathBuf),
    /// The network.
    Network,
    /// A host, at one port or at all.
    Host(HostGrant),
    /// Several hosts, of which one is of no use without the others: where a tool fetches packages.
    Hosts(Vec<HostGrant>),
    /// A unix socket of the host.
    UnixSocket(PathBuf),
}

impl Opens {
    pub(super) fn directory(&self) -> Option<&PathBuf> {
        match self {
            Self::Write(directory) => Some(directory),
            Self::Network | Self::Host(_) | Self::Hosts(_) | Self::UnixSocket(_) => None,
        }
    }

    pub(super) fn socket(&self) -> Option<&PathBuf> {
        match self {
            Self::UnixSocket(socket) => Some(socket),
            Self::Network | Self::Host(_) | Self::Hosts(_) | Self::Write(_) => None,
        }
    }

    pub(super) fn host(&self) -> Option<&HostGrant> {
        match self {
            Self::Host(host) => Some(host),
            Self::Network | Self::Hosts(_) | Self::Write(_) | Self::UnixSocket(_) => None,
        }
    }
}

/// What would allow it: the narrowest grant that makes sense.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Allow {
    /// The dotted key of `config.toml`. `None` where only a flag says so.
    pub setting: Option<&'static str>,
    /// Lines for the top of `config.toml`.
    pub toml: Option<String>,
    /// The same as options of `codex sandbox`.
    pub flag: Option<String>,
    /// The same as data. Not a part of reports, which have it in words.
    #[serde(skip)]
    pub opens: Opens,
}

/// Something that the sandbox refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Denial {
    /// What was tried.
    pub operation: Operation,
    /// On what, as the command named it.
    pub target: String,
    /// Where that is, links followed.
    pub resolved_target: Option<String>,
    /// The promise that stands against it, by its number in the specification.
    pub promise: Option<&'static str>,
    /// The rule behind it.
    pub rule: Option<Rule>,
    /// The error that it was answered with, by its number.
    #[serde(serialize_with = "number")]
    pub errno: Option<Errno>,
    /// How sure it is.
    pub certainty: Certainty,
    /// Which process tried it, by its number outside.
    pub pid: Option<i32>,
    /// The program that said so.
    pub program: Option<String>,
    /// How often it was seen.
    pub count: u64,
    /// When it was first seen, in milliseconds since the call began.
    pub first_ms: Option<f64>,
    /// What would allow it. `None` where nothing sane does.
    pub allow: Option<Allow>,
    /// What the grant would open, or why there is none.
    pub risk: Option<String>,
}

impl Denial {
    /// A denial that the judge confirmed.
    pub(super) fn likely(
        operation: Operation,
        target: String,
        refusal: Refusal,
        program: Option<String>,
    ) -> Self {
        Self {
            operation,
            target,
            resolved_target: refusal.resolved.as_ref().map(|path| path.to_string_lossy().into_owned()),
            promise: refusal.promise,
            rule: refusal.rule,
            errno: refusal.errno,
            certainty: Certainty::Likely,
            pid: None,
            program,
            count: 1,
            first_ms: None,
            allow: refusal.allow,
            risk: refusal.risk,
        }
    }

    /// A denial that was seen, and that the judge confirmed.
    pub(crate) fn exact(operation: Operation, target: String, refusal: Refusal) -> Self {
        Self { certainty: Certainty::Exact, ..Self::likely(operation, target, refusal, None) }
    }

    /// Whether what would allow this would allow the other as well: it is the same, or it and more.
    fn allows_too(&self, other: &Self) -> bool {
        let flag = |denial: &Self| denial.allow.as_ref().and_then(|allow| allow.flag.clone());
        let is_longer = |(more, less): (String, String)| more.starts_with(&format!("{less} "));
        self.allow.is_some()
            && (self.allow == other.allow || flag(self).zip(flag(other)).is_some_and(is_longer))
    }

    /// In one line: what, on what, why, and what would allow it.
    #[must_use]
    pub fn line(&self) -> String {
        self.line_after(None)
    }

    /// The same behind another one, whose grant is not told twice.
    fn line_after(&self, before: Option<&Self>) -> String {
        let mut line = format!("{} {}", self.operation.name(), shown(&self.target));
        let facts: Vec<String> = [
            self.errno.map(|errno| format!("{errno:?}")),
            self.promise.map(str::to_owned),
            matches!(self.certainty, Certainty::Likely).then(|| "likely".to_owned()),
            (self.count > 1).then(|| format!("{} times", self.count)),
        ]
        .into_iter()
        .flatten()
        .collect();
        line.push_str(&format!(" ({})", facts.join(", ")));
        if let Some(rule) = &self.rule {
            line.push_str(&format!(": by {} ({})", rule.setting, rule.origin));
        }
        if before.is_some_and(|before| before.allows_too(self)) {
            line.push_str("; the same would allow it");
            return line;
        }
        match &self.allow {
            Some(Allow { flag: Some(flag), .. }) => line.push_str(&format!("; {flag} would allow it")),
            Some(Allow { toml: Some(toml), .. }) => {
                line.push_str(&format!("; {} would allow it", toml.replace('\n', "; ")));
            }
            Some(_) | None => {}
        }
        if let Some(risk) = &self.risk {
            line.push_str(&format!(" [{risk}]"));
        }
        line
    }
}

/// Denials as lines for [`CallReport::denials`](crate::output::CallReport::denials), the most telling first: what is sure before
/// what is likely, what can be allowed before what can't. What the line above would allow as well says no more than that.
#[must_use]
pub fn lines(denials: &[Denial]) -> Vec<String> {
    let mut sorted: Vec<&Denial> = denials.iter().collect();
    sorted.sort_by_key(|denial| (denial.certainty == Certainty::Likely, denial.allow.is_none()));
    // What one grant would allow stands together. A wider one does not go first: what it is for may be no more than a probe.
    let mut told: Vec<&Denial> = Vec::with_capacity(sorted.len());
    for denial in sorted {
        let the_same = told.iter().rposition(|other| denial.allow.is_some() && other.allow == denial.allow);
        let last = the_same.or_else(|| told.iter().rposition(|other| other.allows_too(denial)));
        told.insert(last.map_or(told.len(), |index| index + 1), denial);
    }
    let before = std::iter::once(None).chain(told.iter().copied().map(Some));
    told.iter().zip(before).map(|(denial, before)| denial.line_after(before)).collect()
}

fn text<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

fn number<S: Serializer>(errno: &Option<Errno>, serializer: S) -> Result<S::Ok, S::Error> {
    errno.map(|errno| errno as i32).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn a_file_whose_name_is_no_text_is_told_all_the_same() {
        let path = PathBuf::from(std::ffi::OsString::from_vec(b"/home/\xff/config.toml".to_vec()));
        let rule = Rule::new("sandbox_mode", &Origin::File { path, line: 3 });
        let told = serde_json::to_value(&rule).unwrap();
        assert_eq!(told["file"], "/home/\u{fffd}/config.toml");
        assert_eq!(told["line"], 3);
    }
}
