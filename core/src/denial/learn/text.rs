//! What was learnt, as lines of TOML with their reasons.

use codex_linux_sandbox::shown;

use super::super::grant::{MADE_FIRST, WRITING};
use super::super::record::{Denial, Opens};
use super::{LEARNT, Learner, Line};
use crate::config::{Origin, Sourced, toml_string};
use crate::policy::SandboxMode;

/// How many reasons a line has at most; the others are counted.
const MOST_REASONS: usize = 4;

impl Learner {
    /// The lines. A setting stands there where the user's file does not say just that by itself.
    pub(super) fn toml(&self) -> String {
        let mut text = String::new();
        let mode = &self.said.sandbox_mode;
        if self.mode_is_needed && !is_in_the_file(&mode.origin) {
            let why =
                if self.mode_was_tried { "it fails under read-only" } else { "what the rest belongs to" };
            text.push_str(&format!("# {why}{}\n{WRITING}\n", by(&mode.origin)));
        }
        self.list(
            "sandbox_workspace_write.writable_roots",
            Opens::directory,
            |path| path.to_str().map(str::to_owned),
            &mut text,
        );
        for line in self.lines.iter().filter(|line| line.opens == Opens::Network) {
            if !is_in_the_file(&line.origin) {
                reasons(line, "", &mut text);
                text.push_str("sandbox_workspace_write.network_access = true\n");
            }
        }
        self.list(
            "sandbox.allow_unix_sockets",
            Opens::socket,
            |path| path.to_str().map(str::to_owned),
            &mut text,
        );
        self.list("sandbox.allow_hosts", Opens::host, |host| Some(host.to_string()), &mut text);
        text
    }

    /// A list replaces the one that the file has, and so says all of it.
    fn list<T: std::fmt::Debug>(
        &self,
        key: &str,
        of: fn(&Opens) -> Option<&T>,
        named: fn(&T) -> Option<String>,
        text: &mut String,
    ) {
        let lines: Vec<(&Line, &T)> =
            self.lines.iter().filter_map(|line| Some((line, of(&line.opens)?))).collect();
        if lines.iter().all(|(line, _)| is_in_the_file(&line.origin)) {
            return;
        }
        text.push_str(&format!("{key} = [\n"));
        for (line, item) in lines {
            // A name that is not UTF-8 has no grant and is no word; one that was typed as a root may be.
            let Some(name) = named(item) else {
                text.push_str(&format!(
                    "    # not UTF-8, which TOML can't say: {}\n",
                    shown(format!("{item:?}"))
                ));
                continue;
            };
            reasons(line, "    ", text);
            text.push_str(&format!("    {},\n", toml_string(&name)));
        }
        text.push_str("]\n");
    }
}

/// A profile that was chosen is not there where another one is.
const fn is_in_the_file(origin: &Origin) -> bool {
    matches!(origin, Origin::File { .. })
}

fn by(origin: &Origin) -> String {
    match origin {
        Origin::Flag(LEARNT) => String::new(),
        origin => format!(" ({})", shown(origin.to_string())),
    }
}

fn reasons(line: &Line, margin: &str, text: &mut String) {
    for reason in line.reasons.iter().take(MOST_REASONS) {
        text.push_str(&format!("{margin}# {reason}\n"));
    }
    if let Some(more) = line.reasons.len().checked_sub(MOST_REASONS).filter(|more| *more > 0) {
        text.push_str(&format!("{margin}# and {more} more\n"));
    }
    let said = by(&line.origin);
    if !said.is_empty() || line.reasons.is_empty() {
        let why = if line.tried { "it fails without" } else { "not tried without" };
        text.push_str(&format!("{margin}# {why}{said}\n"));
    }
}

/// Why there is a line.
pub(super) fn reason(denial: &Denial) -> String {
    let times = if denial.count > 1 { format!(", {} times", denial.count) } else { String::new() };
    let risk = denial.risk.as_deref().filter(|_| denial.allow.is_some());
    // By then it is made.
    let risk = risk.map(|risk| risk.split_once(MADE_FIRST).map_or(risk, |(risk, _)| risk));
    let risk = risk.map(|risk| format!("; opens: {}", shown(risk))).unwrap_or_default();
    format!("{} {}{times}{risk}", denial.operation.name(), shown(&denial.target))
}

/// Whether it was refused for the lack of something.
pub(super) fn is_about(denial: &Denial, opens: &Opens) -> bool {
    use super::super::Operation as Op;

    let place = denial.resolved_target.as_ref().unwrap_or(&denial.target);
    match opens {
        Opens::Write(directory) => {
            !matches!(denial.operation, Op::Connect | Op::Unix)
                && std::path::Path::new(place).starts_with(directory)
        }
        Opens::UnixSocket(socket) => denial.operation == Op::Unix && std::path::Path::new(place) == socket,
        Opens::Network => denial.operation == Op::Connect,
        Opens::Host(_) | Opens::Hosts(_) => denial.allow.as_ref().is_some_and(|allow| allow.opens == *opens),
    }
}

/// What is not needed, and who granted it.
pub(super) fn unused(line: &Line) -> String {
    let what = match &line.opens {
        Opens::Write(directory) => format!("writing below {}", shown(directory)),
        Opens::Network => "the network".to_owned(),
        Opens::Host(host) => format!("the host {host}"),
        Opens::Hosts(hosts) => {
            format!("the hosts {}", hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
        Opens::UnixSocket(socket) => format!("the socket {}", shown(socket)),
    };
    match &line.origin {
        Origin::Flag(LEARNT) => format!("{what} was refused, and it passes without"),
        origin => format!("{what} ({})", shown(origin.to_string())),
    }
}

pub(super) fn unused_mode(mode: &Sourced<SandboxMode>) -> String {
    format!("{}: it passes under read-only ({})", mode.value.name(), shown(mode.origin.to_string()))
}
