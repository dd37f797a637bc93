//! The examination of the machine, as a screen and as JSON.

mod report;

use codex_core::config::Origin;
use codex_core::enforcement::ExplanationKind;
use codex_core::exec::{Delegation, NoCgroup};
use codex_core::limits::Limit;
use codex_linux_sandbox::{AppArmor, Cgroup, Facts, Finding, Privileges, SetupError, Support, shown};

use super::table::{coloured, fitted, limit_rows, word};
use crate::commands::Examination;

pub(crate) fn json(examination: &Examination) -> i32 {
    super::json(&report::Report::of(examination))
}

pub(crate) fn screen(examination: &Examination) -> i32 {
    let mut text = String::from("Machine\n");
    text.push_str(&fitted(&machine(examination)));
    match &examination.sandbox {
        Ok(sandbox) => {
            let enforcement = sandbox.expected();
            let (level, mode) = (enforcement.level.name(), examination.mode.value.name());
            let isolation = match &examination.isolation.origin {
                Origin::Default => examination.isolation.value.name().to_owned(),
                origin => format!("{} by {origin}", examination.isolation.value.name()),
            };
            text.push_str(&format!("\nWhat holds at level {level} ({mode}, isolation {isolation})\n"));
            let rows = enforcement.promises.iter().map(|holding| {
                let (promise, name) = (holding.guarantee.promise(), holding.guarantee.name());
                [promise, name, word(holding.hold), &holding.why].map(str::to_owned).to_vec()
            });
            text.push_str(&coloured(fitted(&rows.collect::<Vec<_>>())));
            if !enforcement.limits.is_empty() {
                text.push_str("\nLimits on what a command may use\n");
                text.push_str(&coloured(fitted(&limit_rows(enforcement))));
            }
        }
        Err(error) => {
            text.push_str("\nNo command would run\n");
            text.push_str(&fitted(&[vec![error.to_string()]]));
        }
    }
    if !examination.unmet.is_empty() {
        text.push_str("\nNo command would run: sandbox.require names\n");
        let rows = examination.unmet.iter().map(|unmet| {
            let (name, hold) = (unmet.guarantee.name().to_owned(), word(unmet.hold).to_owned());
            vec![name, hold, unmet.origin.to_string()]
        });
        text.push_str(&fitted(&rows.collect::<Vec<_>>()));
    }
    if !examination.findings.is_empty() {
        text.push_str("\nLimits, and what lifts them\n");
        text.push_str(&limits(&examination.findings));
    }
    super::bytes(text.as_bytes())
}

/// As wide as the longest name of a mechanism.
const NAME: usize = "namespaces".len();

fn machine(examination: &Examination) -> Vec<Vec<String>> {
    let Examination { facts, namespaces, delegation, .. } = examination;
    let mut kernel = facts.release.clone().unwrap_or_else(|| "of an unknown release".to_owned());
    if let Some(modules) = &facts.security_modules {
        kernel.push_str(&format!(", with {}", modules.join(" ")));
    }
    let mut rows = vec![
        ("kernel", kernel),
        ("Landlock", landlock(&facts.support)),
        ("seccomp", seccomp(facts)),
        ("namespaces", attempt(facts, namespaces)),
        ("cgroup", cgroup(&facts.cgroup)),
        ("limits", held_by_cgroup(delegation)),
        ("AppArmor", apparmor(&facts.apparmor)),
    ];
    rows.push(("denials", explanation(examination)));
    rows.extend(facts.selinux.clone().map(|context| ("SELinux", context)));
    rows.push(("privileges", privileges(&facts.privileges)));
    if let Some(container) = &facts.container {
        rows.push(("container", format!("{}, by {}", container.kind.name(), container.mark)));
    }
    if facts.nested {
        rows.push(("sandbox", "within one of codex".to_owned()));
    }
    rows.into_iter().map(|(name, value)| vec![name.to_owned(), shown(value)]).collect()
}

fn landlock(support: &Support) -> String {
    match support.landlock {
        Ok(abi) => format!("ABI {abi}"),
        Err(errno) => format!("none: {errno}"),
    }
}

fn seccomp(facts: &Facts) -> String {
    match facts.support.seccomp {
        Ok(()) if facts.seccomp_user_notification => "filters, user notification".to_owned(),
        Ok(()) => "filters".to_owned(),
        Err(errno) => format!("none: {errno}"),
    }
}

fn attempt(facts: &Facts, namespaces: &Result<(), SetupError>) -> String {
    match namespaces {
        Ok(()) => facts.user_namespaces.kinds.join(" "),
        Err(error) => format!("refused: {}", error.refusal()),
    }
}

fn cgroup(cgroup: &Cgroup) -> String {
    let version = match (cgroup.unified, cgroup.legacy) {
        (true, false) => "version 2",
        (true, true) => "versions 1 and 2",
        (false, true) => "version 1",
        (false, false) => return "none".to_owned(),
    };
    match &cgroup.directory {
        Some(directory) if cgroup.delegated => format!("{version}, {} is ours", directory.display()),
        Some(directory) => format!("{version}, {} is not delegated", directory.display()),
        None => version.to_owned(),
    }
}

/// Which limits a cgroup could hold for all processes of a call together.
fn held_by_cgroup(delegation: &Result<Delegation, NoCgroup>) -> String {
    match delegation {
        Ok(delegation) => {
            let names: Vec<&str> = delegation.holds().into_iter().map(Limit::name).collect();
            format!("a cgroup in {} could hold {}", delegation.path().display(), names.join(" and "))
        }
        Err(why) => format!("none by a cgroup: {why}"),
    }
}

fn apparmor(apparmor: &AppArmor) -> String {
    let label = apparmor.label.as_deref().unwrap_or("not in use");
    match apparmor.restricts_user_namespaces {
        Some(true) => format!("{label}; user namespaces only by profile"),
        Some(false) | None => label.to_owned(),
    }
}

/// What can be known here of what is refused.
fn explanation(examination: &Examination) -> String {
    match &examination.explanation {
        None => "not known: nothing could be run".to_owned(),
        Some(found) => match found.kind {
            ExplanationKind::Exact => "exact with --explain, else likely".to_owned(),
            ExplanationKind::Likely => format!("likely only: {}", found.why),
            ExplanationKind::None => format!("none: {}", found.why),
        },
    }
}

fn privileges(privileges: &Privileges) -> String {
    let mut parts = vec![match privileges.capabilities {
        None => "unknown capabilities".to_owned(),
        Some(0) => "no capabilities".to_owned(),
        Some(_) if privileges.administrator() => "capabilities with sys_admin".to_owned(),
        Some(_) => "capabilities without sys_admin".to_owned(),
    }];
    if privileges.no_new_privs == Some(true) {
        parts.push("no_new_privs".to_owned());
    }
    match privileges.seccomp_filters {
        None | Some(0) => {}
        Some(1) => parts.push("under a seccomp filter".to_owned()),
        Some(count) => parts.push(format!("under {count} seccomp filters")),
    }
    parts.join(", ")
}

/// Causes and remedies. What can be typed stands at the margin, ready to be pasted.
fn limits(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        // Lines that can be typed stand between the rows: the column is kept by its width.
        let name = format!("{:<NAME$}", finding.mechanism.name());
        let mut rows = vec![vec![name, finding.cause.to_string()]];
        for remedy in &finding.remedies {
            let colon = if remedy.lines.is_empty() { "" } else { ":" };
            rows.push(vec![" ".repeat(NAME), format!("→ {}{colon}", remedy.what)]);
            if !remedy.lines.is_empty() {
                text.push_str(&fitted(&std::mem::take(&mut rows)));
                text.push_str(&remedy.lines.join("\n"));
                text.push('\n');
            }
        }
        text.push_str(&fitted(&rows));
    }
    text
}
