//! The examination as data. The fields are described in `docs/cli.md`.

use codex_core::enforcement::{Enforcement, Explanation, Guarantee, Hold};
use codex_core::exec::Delegation;
use codex_core::limits::Limit;
use codex_linux_sandbox::{Finding, shown};
use serde::Serialize;

use crate::commands::Examination;

#[derive(Serialize)]
pub(super) struct Report<'a> {
    kernel: Kernel<'a>,
    namespaces: Namespaces<'a>,
    cgroup: Cgroup,
    apparmor: AppArmor<'a>,
    selinux: Option<&'a str>,
    privileges: Privileges,
    ptrace_scope: Option<u64>,
    container: Option<Container>,
    covered_proc: Vec<String>,
    chroot: bool,
    nested: bool,
    policy: Policy,
    enforcement: Option<&'a Enforcement>,
    refused: Option<String>,
    unmet: Vec<Unmet>,
    findings: Vec<Found>,
    explanation: Option<&'a Explanation>,
}

#[derive(Serialize)]
struct Kernel<'a> {
    release: Option<&'a str>,
    security_modules: Option<&'a [String]>,
    landlock_abi: Option<u8>,
    landlock_error: Option<String>,
    seccomp: bool,
    seccomp_error: Option<String>,
    seccomp_user_notification: bool,
}

#[derive(Serialize)]
struct Namespaces<'a> {
    available: bool,
    call: Option<&'a str>,
    target: Option<String>,
    errno: Option<i32>,
    kinds: Vec<&'static str>,
    limits: std::collections::BTreeMap<&'static str, u64>,
    unprivileged_userns_clone: Option<bool>,
}

#[derive(Serialize)]
struct Cgroup {
    unified: bool,
    legacy: bool,
    directory: Option<String>,
    delegated: bool,
    holds: Vec<Limit>,
    holds_in: Option<String>,
    holds_nothing: Option<String>,
}

#[derive(Serialize)]
struct AppArmor<'a> {
    label: Option<&'a str>,
    restricts_user_namespaces: Option<bool>,
}

#[derive(Serialize)]
struct Privileges {
    capabilities: Option<String>,
    no_new_privs: Option<bool>,
    seccomp_filters: Option<u64>,
}

#[derive(Serialize)]
struct Container {
    kind: &'static str,
    mark: &'static str,
}

#[derive(Serialize)]
struct Policy {
    mode: &'static str,
    mode_origin: String,
    isolation: &'static str,
    isolation_origin: String,
}

#[derive(Serialize)]
struct Unmet {
    promise: &'static str,
    guarantee: Guarantee,
    hold: Hold,
    origin: String,
}

#[derive(Serialize)]
struct Found {
    mechanism: &'static str,
    cause: &'static str,
    message: String,
    remedies: Vec<Remedy>,
}

#[derive(Serialize)]
struct Remedy {
    what: String,
    lines: Vec<String>,
}

impl<'a> Report<'a> {
    pub(super) fn of(examination: &'a Examination) -> Self {
        let Examination { facts, sandbox, mode, isolation, delegation, .. } = examination;
        let refused = examination.namespaces.as_ref().err();
        let (namespaces, cgroup, privileges) = (&facts.user_namespaces, &facts.cgroup, &facts.privileges);
        Self {
            explanation: examination.explanation.as_ref(),
            kernel: Kernel {
                release: facts.release.as_deref(),
                security_modules: facts.security_modules.as_deref(),
                landlock_abi: facts.support.landlock.ok(),
                landlock_error: facts.support.landlock.err().map(|errno| errno.to_string()),
                seccomp: facts.support.seccomp.is_ok(),
                seccomp_error: facts.support.seccomp.err().map(|errno| errno.to_string()),
                seccomp_user_notification: facts.seccomp_user_notification,
            },
            namespaces: Namespaces {
                available: refused.is_none(),
                call: refused.map(|error| error.call.as_ref()),
                target: refused.and_then(|error| error.target.as_ref()).map(shown),
                errno: refused.and_then(|error| error.errno).map(|errno| errno as i32),
                kinds: namespaces.kinds.clone(),
                limits: namespaces.limits.iter().copied().collect(),
                unprivileged_userns_clone: namespaces.unprivileged_clone,
            },
            cgroup: Cgroup {
                unified: cgroup.unified,
                legacy: cgroup.legacy,
                directory: cgroup.directory.as_ref().map(shown),
                delegated: cgroup.delegated,
                holds: delegation.as_ref().map(Delegation::holds).unwrap_or_default(),
                holds_in: delegation.as_ref().ok().map(|delegation| shown(delegation.path())),
                holds_nothing: delegation.as_ref().err().map(ToString::to_string),
            },
            apparmor: AppArmor {
                label: facts.apparmor.label.as_deref(),
                restricts_user_namespaces: facts.apparmor.restricts_user_namespaces,
            },
            selinux: facts.selinux.as_deref(),
            privileges: Privileges {
                // JSON's numbers can't hold 64 bits; this is how the kernel writes them.
                capabilities: privileges.capabilities.map(|bits| format!("{bits:016x}")),
                no_new_privs: privileges.no_new_privs,
                seccomp_filters: privileges.seccomp_filters,
            },
            ptrace_scope: facts.ptrace_scope,
            container: facts
                .container
                .as_ref()
                .map(|container| Container { kind: container.kind.name(), mark: container.mark }),
            covered_proc: facts.proc_covers.iter().map(shown).collect(),
            chroot: facts.chroot,
            nested: facts.nested,
            policy: Policy {
                mode: mode.value.name(),
                mode_origin: mode.origin.to_string(),
                isolation: isolation.value.name(),
                isolation_origin: isolation.origin.to_string(),
            },
            enforcement: sandbox.as_ref().ok().map(codex_core::exec::Sandbox::expected),
            refused: sandbox.as_ref().err().map(ToString::to_string),
            unmet: examination
                .unmet
                .iter()
                .map(|unmet| Unmet {
                    promise: unmet.guarantee.promise(),
                    guarantee: unmet.guarantee,
                    hold: unmet.hold,
                    origin: unmet.origin.to_string(),
                })
                .collect(),
            findings: examination.findings.iter().map(Found::of).collect(),
        }
    }
}

impl Found {
    fn of(finding: &Finding) -> Self {
        Self {
            mechanism: finding.mechanism.name(),
            cause: finding.cause.name(),
            message: finding.cause.to_string(),
            remedies: finding
                .remedies
                .iter()
                .map(|remedy| Remedy { what: remedy.what.clone(), lines: remedy.lines.clone() })
                .collect(),
        }
    }
}
