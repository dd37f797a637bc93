//! The denials of a call that has ended: what our own code decided, and what the command spoke of.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use codex_linux_sandbox::{Attempt, Observation, Record};
use nix::errno::Errno;
use tokio::time::Instant;

use super::level::Rung;
use super::mediation::{HostRefused, Mediation, RefusedHost};
use super::observer::Observer;
use super::offload::off_the_runtime;
use super::outcome::{ExecResult, Outcome};
use super::overheard::Hearing;
use super::quarantine::{Quarantined, Why};
use super::request::{ExecRequest, Stdio};
use super::sandbox::Sandbox;
use crate::config::{Explain, Origin, Settings, limit_key};
use crate::denial::{
    Certainty, Denial, Ended, Fold, Judge, Operation, Rule, Seen, THE_NETWORK, Verdict, at_a_registry,
    confirm, explain, is_of_a_name_server,
};
use crate::enforcement::Level;
use crate::limits::Limit;
use crate::policy::{Protection, host_and_port};

/// What the C library says of it.
const NO_NAME_SERVER: &[u8] = b"Temporary failure in name resolution";

/// What was seen of a call, by whoever saw it.
#[derive(Debug, Default)]
pub(super) struct Tried {
    seen: Vec<Seen>,
    /// Hosts that were asked for at the proxy, and when.
    hosts: Vec<(f64, RefusedHost)>,
    /// How often there was something more that nobody had room for.
    untold: u64,
    /// Whether all of it was seen.
    whole: bool,
}

impl Tried {
    pub(super) fn of(records: &[Record], observer: Option<&Observer>, started: Instant) -> Self {
        let whole = records.iter().any(
            |record| matches!(record, Record::Enforced(enforced) if enforced.observation == Observation::Exact),
        );
        // When they began to count is not exactly told, but shortly before the command ran.
        let since = |began: Duration| {
            move |first: u64| super::outcome::milliseconds(began + Duration::from_nanos(first))
        };
        let began = observer.map_or(Duration::ZERO, |observer| observer.started() - started);
        let mut seen: Vec<Seen> = Vec::new();
        let (attempts, mut untold) = observer.map(Observer::attempts).unwrap_or_default();
        for record in records {
            match record {
                Record::Refused(attempt) => {
                    seen.push(Seen { first_ms: since(began)(attempt.first), attempt: attempt.clone() });
                }
                Record::Untold { count } => untold = untold.saturating_add(*count),
                _ => {}
            }
        }
        for attempt in attempts {
            seen.push(Seen { first_ms: since(began)(attempt.first), attempt });
        }
        Self { seen, hosts: Vec::new(), untold, whole }
    }

    /// Takes what was refused at the proxy.
    pub(super) fn add(&mut self, mediation: &Mediation, started: Instant) {
        let (hosts, untold) = mediation.refused();
        let since =
            |host: &RefusedHost| super::outcome::milliseconds(host.first.saturating_duration_since(started));
        self.hosts = hosts.into_iter().map(|host| (since(&host), host)).collect();
        self.untold = self.untold.saturating_add(untold);
    }

    /// Whether it is to be told what was refused to a call that ended so, and not all of that was seen.
    pub(super) const fn lacks(&self, explain: Explain, outcome: &Outcome) -> bool {
        !self.whole && is_asked(explain, outcome)
    }

    /// Takes what the kernel's log has told, with times since the call began. Not where all was seen by somebody who tells
    /// it better.
    pub(super) fn add_logged(&mut self, (attempts, untold): (Vec<Attempt>, u64)) {
        if !self.whole {
            let since = |first: u64| super::outcome::milliseconds(Duration::from_nanos(first));
            self.seen
                .extend(attempts.into_iter().map(|attempt| Seen { first_ms: since(attempt.first), attempt }));
            self.untold = self.untold.saturating_add(untold);
        }
    }

    /// All that was seen.
    pub(super) fn seen(&self) -> &[Seen] {
        &self.seen
    }
}

/// Everything that is known to have been refused, and how often there was more than is kept. A call that succeeded, that nobody
/// observed and of which nothing was moved away costs nothing.
pub(super) async fn denials(
    result: &ExecResult,
    request: &ExecRequest,
    sandbox: &Sandbox,
    rung: &Rung,
    protection: Option<Protection>,
    tried: Tried,
    hearing: Option<&Hearing>,
) -> (Vec<Denial>, u64) {
    let succeeded = matches!(result.outcome, Outcome::Exited { code: 0 });
    let explain = sandbox.explain();
    let tried = if is_asked(explain, &result.outcome) { tried } else { Tried::default() };
    if succeeded
        && tried.seen.is_empty()
        && tried.hosts.is_empty()
        && result.quarantined.is_empty()
        && result.limit.is_none()
    {
        return (Vec::new(), tried.untold);
    }
    let settings = sandbox.settings();
    let (mut fold, mut untold) = (Fold::default(), tried.untold);
    for moved in &result.quarantined {
        fold.push(of_quarantined(moved, settings));
    }
    if let Some(hit) = result.limit {
        fold.push(of_limit(hit.limit, hit.allowed, settings));
    }
    let is_heard = request.stdio != Stdio::Inherit || hearing.is_some();
    let speaks = !succeeded && is_heard && explain != Explain::Never;
    if (speaks || !tried.seen.is_empty() || !tried.hosts.is_empty()) && rung.expected.level != Level::None {
        // Places are looked up that the command named, and the disk may let wait.
        let said = Said::of(result, request, sandbox, rung, protection, hearing);
        let attempts = tried.seen.iter().map(|seen| seen.attempt.count);
        let attempts =
            attempts.chain(tried.hosts.iter().map(|(_, host)| host.count)).fold(0, u64::saturating_add);
        match off_the_runtime(request.stdio, move || said.explain(&tried, speaks)).await {
            Ok(found) => found.into_iter().for_each(|denial| fold.push(denial)),
            // What can't be looked up may have been refused.
            Err(_no_thread) => untold = untold.saturating_add(attempts),
        }
    }
    let untold = untold.saturating_add(fold.dropped());
    (fold.finish(), untold)
}

/// Whether it is to be told what was refused to a call that ended so.
const fn is_asked(explain: Explain, outcome: &Outcome) -> bool {
    match explain {
        Explain::Never => false,
        Explain::OnFailure => !matches!(outcome, Outcome::Exited { code: 0 }),
        Explain::Always => true,
    }
}

/// What a failed command said, and all that it is judged by.
struct Said {
    outcome: Outcome,
    text: Vec<u8>,
    argv: Vec<OsString>,
    cwd: PathBuf,
    env: Vec<(OsString, OsString)>,
    sandbox: Sandbox,
    rung: Rung,
    protection: Option<Protection>,
}

impl Said {
    fn of(
        result: &ExecResult,
        request: &ExecRequest,
        sandbox: &Sandbox,
        rung: &Rung,
        protection: Option<Protection>,
        hearing: Option<&Hearing>,
    ) -> Self {
        // Without a directory of its own, the command ran where we are.
        let here = || std::env::current_dir().unwrap_or_else(|_gone| PathBuf::from("/"));
        let mut text = result.output.both_ends();
        if let Some(hearing) = hearing {
            text.extend_from_slice(&hearing.said());
        }
        Self {
            outcome: result.outcome.clone(),
            text,
            argv: request.command.clone(),
            cwd: request.cwd.clone().unwrap_or_else(here),
            env: request.env.clone(),
            sandbox: sandbox.clone(),
            rung: rung.clone(),
            protection,
        }
    }

    /// What was seen, and then what was said of anything else.
    fn explain(&self, tried: &Tried, speaks: bool) -> Vec<Denial> {
        // As places are named: with links followed.
        let home = self.env.iter().find(|(name, _)| name == "HOME").map(|(_, value)| Path::new(value));
        let home = home.map(|home| home.canonicalize().unwrap_or_else(|_gone| home.to_owned()));
        let dwelling = self.sandbox.dwelling(home.as_deref(), &self.env);
        let judge = self.sandbox.judge_at(&self.rung, self.protection.as_ref(), &dwelling);
        let confirmed =
            tried.seen.iter().filter_map(|seen| confirm(seen, &judge, &self.rung.plan, &self.argv));
        let mut denials: Vec<Denial> = confirmed.collect();
        denials.extend(tried.hosts.iter().map(|(first_ms, host)| of_host(host, *first_ms, &judge)));
        // Where nobody hears the command, it was seen that a name could not be looked up, and its arguments may say which.
        let looked_up = denials.iter().any(is_of_a_name_server);
        let text: Option<&[u8]> = match (speaks, looked_up) {
            (true, _) => Some(&self.text),
            (false, true) => Some(NO_NAME_SERVER),
            (false, false) => None,
        };
        if let Some(text) = text {
            let ended = Ended { outcome: &self.outcome, text, argv: &self.argv, cwd: &self.cwd };
            let says_more = |likely: &Denial| {
                let same = |exact: &Denial| {
                    exact.operation == likely.operation
                        && (exact.target == likely.target
                            || (likely.resolved_target.is_some()
                                && exact.resolved_target == likely.resolved_target))
                };
                // Somebody may be named whose name could not even be looked up. All else would have been seen.
                let is_a_name = likely.operation == Operation::Connect && likely.target != THE_NETWORK;
                (is_a_name || (speaks && !tried.whole)) && !denials.iter().any(same)
            };
            let mut found = explain(&ended, &judge);
            // Who is told to be quiet says nothing of a name.
            if looked_up && !found.iter().any(|denial| denial.operation == Operation::Connect) {
                found.extend(explain(&Ended { text: NO_NAME_SERVER, ..ended }, &judge));
                found.retain(|denial| denial.target != THE_NETWORK);
            }
            let likely: Vec<Denial> = found.into_iter().filter(says_more).collect();
            // Whom a name server was asked for in vain is told by name, and opening the network is no answer to it.
            if !tried.whole && likely.iter().any(|denial| denial.operation == Operation::Connect) {
                denials.retain(|denial| !is_of_a_name_server(denial));
            }
            denials.extend(likely);
        }
        denials.into_iter().map(|denial| at_a_registry(&judge, denial, &self.argv)).collect()
    }
}

/// What was asked for at the proxy, and refused.
fn of_host(refused: &RefusedHost, first_ms: f64, judge: &Judge<'_>) -> Denial {
    let RefusedHost { host, port, why, count, .. } = refused;
    let target = host_and_port(host, *port);
    let allowed = judge.settings.sandbox.allow_hosts.origin_of_all();
    let hosts = || Some(Rule::new("sandbox.allow_hosts", allowed));
    let unnamed = |why: &str| Denial {
        risk: Some(why.to_owned()),
        first_ms: Some(first_ms),
        count: *count,
        ..exact(Operation::Connect, target.clone(), Some("P2"), hosts())
    };
    let refusal = match (why, judge.connect_by_proxy(host, *port)) {
        (HostRefused::NotGranted, Verdict::Denied(refusal)) => *refusal,
        (HostRefused::NotGranted, Verdict::Allowed { .. }) => {
            return unnamed("named by no rule");
        }
        (HostRefused::Address(address), _) => {
            return unnamed(&format!(
                "its name leads to {address}, which is granted by no name; the address itself would have to be"
            ));
        }
        (HostRefused::Credentials, _) => {
            return unnamed("clouds give out credentials there: no grant is proposed");
        }
    };
    Denial {
        // The proxy's answer is none of the kernel's.
        errno: None,
        count: *count,
        first_ms: Some(first_ms),
        rule: hosts(),
        ..Denial::exact(Operation::Connect, target, refusal)
    }
}

/// What was made at a protected name, and moved away.
fn of_quarantined(moved: &Quarantined, settings: &Settings) -> Denial {
    let protect = &settings.sandbox.protect;
    let named = protect.iter().find(|name| moved.path.ends_with(&name.value));
    let rule = match (&moved.why, named) {
        (Why::Appeared | Why::Replaced | Why::LinkReplaced, Some(name)) => {
            Rule::new("sandbox.protect", &name.origin)
        }
        (Why::Appeared | Why::Replaced | Why::LinkReplaced, None) => {
            Rule::new("sandbox.protect", &Origin::Default)
        }
        _ => Rule::new("sandbox.git", &settings.sandbox.git.origin),
    };
    let target = moved.path.to_string_lossy().into_owned();
    Denial {
        risk: Some(format!("moved away: {}", moved.why)),
        resolved_target: Some(target.clone()),
        ..exact(Operation::Create, target, Some("P4"), Some(rule))
    }
}

fn of_limit(limit: Limit, allowed: u64, settings: &Settings) -> Denial {
    let rule = settings.sandbox.limits.get(&limit).map(|set| Rule::new(limit_key(limit), &set.origin));
    Denial {
        risk: Some(format!("ended above {}; a higher limit would let it go on", limit.shown(allowed))),
        ..exact(Operation::Use, limit.name().to_owned(), None, rule)
    }
}

fn exact(operation: Operation, target: String, promise: Option<&'static str>, rule: Option<Rule>) -> Denial {
    Denial {
        operation,
        target,
        resolved_target: None,
        promise,
        rule,
        errno: None::<Errno>,
        certainty: Certainty::Exact,
        pid: None,
        program: None,
        count: 1,
        first_ms: None,
        allow: None,
        risk: None,
    }
}
