//! What a call is given beyond the policy: whether it can be given at all, and the sandbox that has it.

use std::path::PathBuf;

use codex_core::denial::{Dwelling, Operation, Verdict, is_kept_from_grants};
use codex_core::enforcement::Level;
use codex_core::exec::Sandbox;
use codex_core::policy::{Host, NetworkAccess, ResolvedWrites, is_public};
use codex_linux_sandbox::shown;

use super::Tools;
use super::clearance::NOTHING;
use crate::approval::Grant;

impl Tools {
    /// The sandbox with a grant, checked: it opens what was asked for, and nothing else.
    pub(super) fn widened(&self, grant: &Grant) -> Result<Sandbox, String> {
        let refused = |why: String| format!("this can't be given: {why}. {NOTHING}.");
        let sandbox = self.approvals.widen.widen(grant).map_err(refused)?;
        let (before, after) = (self.sandbox.policy(), sandbox.policy());
        let as_asked = grant.unsandboxed
            || (roots(&after.writes) == with(roots(&before.writes), &grant.write)
                && after.network == if grant.network { NetworkAccess::Enabled } else { before.network }
                && sandbox.places().hosts == [&*self.sandbox.places().hosts, &grant.hosts].concat());
        if as_asked {
            Ok(sandbox)
        } else {
            Err(refused("with it the sandbox would not be the policy's and just that; something on the way to a root has changed".to_owned()))
        }
    }

    /// Of what is asked for, what the policy does not give anyway, and what that could lead to.
    pub(super) async fn beyond_the_policy(&self, mut grant: Grant) -> Result<(Grant, Vec<String>), String> {
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
            grant.hosts.clear();
        }
        let given = &sandbox.places().hosts;
        grant.hosts.retain(|host| !given.iter().any(|given| given.covers(host)));
        if !grant.hosts.is_empty() && sandbox.expected().level != Level::Namespaces {
            return Err(format!(
                "single hosts take namespaces, which this machine does not give. {NOTHING}."
            ));
        }
        if let Some(roots) = roots(&sandbox.policy().writes) {
            grant.write.retain(|path| !roots.iter().any(|root| path.starts_with(root)));
        } else {
            grant.write.clear();
        }
        let (sandbox, asked, dwelling) = (sandbox.clone(), grant, self.dwelling.clone());
        let looked_up = tokio::task::spawn_blocking(move || judged(&sandbox, asked, &dwelling)).await;
        looked_up.map_err(|_| format!("the request can't be looked at. {NOTHING}."))?
    }
}

/// What is asked for, compared with what a call may be given at all.
fn judged(sandbox: &Sandbox, mut grant: Grant, dwelling: &Dwelling) -> Result<(Grant, Vec<String>), String> {
    let protection = sandbox.protection();
    let judge = sandbox.judge(protection.as_ref(), dwelling);
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
    if let Some(host) = grant.hosts.iter().find(|grant| is_kept_from_grants(&grant.host)) {
        return Err(format!(
            "{host} can't be given to a call: clouds give out credentials there, or nobody is. {NOTHING}."
        ));
    }
    for host in &grant.hosts {
        let whose = match &host.host {
            host if host.is_loopback() => "; it is this machine",
            Host::Address(address) if !is_public(*address) => "; it is of a network of its own",
            Host::Address(_) | Host::Name(_) | Host::Below(_) => "",
        };
        risks.push(format!("what it reads, it can send to {host}{whose}"));
    }
    if grant.network {
        risks.push(
            "what it reads, it can send anywhere; this machine's own services are reached, too".to_owned(),
        );
    }
    Ok((grant, risks))
}

/// The writable roots, in order. Nothing where everything is writable.
pub(super) fn roots(writes: &ResolvedWrites) -> Option<Vec<PathBuf>> {
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
