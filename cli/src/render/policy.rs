//! The policy in effect, as a table and as JSON.

use codex_core::config::{SettingRow, rows};
use codex_core::enforcement::{Enforcement, ExplanationKind, Level};
use codex_core::exec::Sandbox;
use codex_core::policy::{AbsentNames, NetworkAccess, Protection, ResolvedWrites, RootOrigin, SandboxMode};
use codex_linux_sandbox::{Support, shown};
use serde::Serialize;

use super::table::{aligned, coloured, limit_rows, word};
use crate::meaning::{Meaning, MeaningError};

#[derive(Serialize)]
struct Setting {
    key: String,
    value: String,
    origin: String,
}

#[derive(Serialize)]
struct Root {
    path: String,
    asked: String,
    origin: String,
}

#[derive(Serialize)]
struct LeftOut {
    asked: String,
    origin: String,
    why: String,
}

#[derive(Serialize)]
struct Kernel {
    landlock_abi: Option<u8>,
    landlock_error: Option<String>,
    seccomp: bool,
    seccomp_error: Option<String>,
}

#[derive(Serialize)]
struct Resolved<'a> {
    mode: SandboxMode,
    network: NetworkAccess,
    writes_everywhere: bool,
    writable_roots: Vec<Root>,
    left_out: Vec<LeftOut>,
    protected: Option<Protected>,
    enforcement: &'a Enforcement,
}

/// What is protected in the writable roots.
#[derive(Serialize)]
struct Protected {
    git: &'static str,
    read_only: Vec<String>,
    pinned: Vec<String>,
    absent: Vec<String>,
    notes: Vec<String>,
}

impl Protected {
    fn of(protection: &Protection) -> Self {
        let shown_all = |paths: &[std::path::PathBuf]| paths.iter().map(shown).collect();
        Self {
            git: protection.git.name(),
            read_only: shown_all(&protection.read_only),
            pinned: shown_all(&protection.pinned),
            absent: protection.absent.iter().flat_map(AbsentNames::paths).map(shown).collect(),
            notes: protection.notes.iter().map(ToString::to_string).collect(),
        }
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    workspace: Option<String>,
    codex_home: Option<String>,
    profile: Option<String>,
    settings: Vec<Setting>,
    notices: Vec<String>,
    policy: Option<Resolved<'a>>,
    refused: Option<String>,
    kernel: Kernel,
}

impl<'a> Shown<'a> {
    fn of(meaning: &Meaning, sandbox: &'a Result<Sandbox, MeaningError>) -> Self {
        let text = |path: &std::path::PathBuf| shown(path);
        let settings = rows(&meaning.config.settings)
            .into_iter()
            .map(|SettingRow { key, value, origin }| Setting { key, value, origin: origin.to_string() });
        let support = Support::probe();
        Self {
            workspace: meaning.workspace.as_ref().map(text),
            codex_home: meaning.world.codex_home.as_ref().map(text),
            profile: meaning.config.profile.as_ref().map(|profile| profile.value.clone()),
            settings: settings.collect(),
            notices: meaning.config.notices.iter().map(ToString::to_string).collect(),
            policy: sandbox.as_ref().ok().map(Resolved::of),
            refused: sandbox.as_ref().err().map(ToString::to_string),
            kernel: Kernel {
                landlock_abi: support.landlock.ok(),
                landlock_error: support.landlock.err().map(|errno| errno.to_string()),
                seccomp: support.seccomp.is_ok(),
                seccomp_error: support.seccomp.err().map(|errno| errno.to_string()),
            },
        }
    }
}

impl<'a> Resolved<'a> {
    fn of(sandbox: &'a Sandbox) -> Self {
        let policy = sandbox.policy();
        let roots = match &policy.writes {
            ResolvedWrites::Everywhere => &[][..],
            ResolvedWrites::Beneath(roots) => roots,
        };
        Self {
            mode: policy.mode,
            network: policy.network,
            writes_everywhere: matches!(policy.writes, ResolvedWrites::Everywhere),
            writable_roots: roots
                .iter()
                // At this level the call has one of its own.
                .filter(|root| {
                    !(root.origin == RootOrigin::DevShm && sandbox.expected().level == Level::Namespaces)
                })
                .map(|root| Root {
                    path: shown(&root.path),
                    asked: shown(&root.asked),
                    origin: root.origin.to_string(),
                })
                .collect(),
            left_out: policy
                .notes
                .iter()
                .map(|note| LeftOut {
                    asked: shown(&note.asked),
                    origin: note.origin.to_string(),
                    why: note.why.clone(),
                })
                .collect(),
            protected: sandbox.protection().as_ref().map(Protected::of),
            enforcement: sandbox.expected(),
        }
    }
}

pub(crate) fn json(meaning: &Meaning, sandbox: &Result<Sandbox, MeaningError>) -> i32 {
    super::json(&Shown::of(meaning, sandbox))
}

pub(crate) fn table(meaning: &Meaning, sandbox: &Result<Sandbox, MeaningError>) -> i32 {
    let shown = Shown::of(meaning, sandbox);
    let unknown = || "unknown".to_owned();
    let mut text = String::from("Settings\n");
    let rows = shown.settings.into_iter().map(|row| vec![row.key, row.value, row.origin]);
    text.push_str(&aligned(&rows.collect::<Vec<_>>()));

    text.push_str("\nPlaces\n");
    let mut places = vec![
        vec!["workspace".to_owned(), shown.workspace.unwrap_or_else(unknown)],
        vec!["configuration".to_owned(), shown.codex_home.unwrap_or_else(unknown)],
    ];
    places.extend(shown.profile.map(|profile| vec!["profile".to_owned(), profile]));
    text.push_str(&aligned(&places));

    if !shown.notices.is_empty() {
        text.push_str("\nIgnored or narrowed by the workspace's own configuration\n");
        text.push_str(&aligned(&shown.notices.into_iter().map(|notice| vec![notice]).collect::<Vec<_>>()));
    }
    if let Some(policy) = shown.policy {
        text.push_str("\nWritable\n");
        let mut roots: Vec<_> =
            policy.writable_roots.into_iter().map(|root| vec![root.path, root.origin]).collect();
        if policy.writes_everywhere {
            roots.push(vec!["everything".to_owned(), policy.mode.name().to_owned()]);
        } else if roots.is_empty() {
            roots.push(vec!["nothing but the usual devices".to_owned(), policy.mode.name().to_owned()]);
        }
        text.push_str(&aligned(&roots));
        if !policy.left_out.is_empty() {
            text.push_str("\nNot writable, though asked for or usual\n");
            let rows = policy.left_out.into_iter().map(|note| vec![note.asked, note.origin, note.why]);
            text.push_str(&aligned(&rows.collect::<Vec<_>>()));
        }
        if let Some(protected) = &policy.protected {
            text.push_str(&protected_table(protected));
        }
        text.push_str(&format!("\nWhat holds here, at level {}\n", policy.enforcement.level.name()));
        let rows = policy.enforcement.promises.iter().map(|holding| {
            let (promise, name) = (holding.guarantee.promise(), holding.guarantee.name());
            vec![
                promise.to_owned(),
                name.to_owned(),
                word(holding.hold).to_owned(),
                holding.why.clone().into_owned(),
            ]
        });
        text.push_str(&coloured(aligned(&rows.collect::<Vec<_>>())));
        if !policy.enforcement.limits.is_empty() {
            text.push_str("\nLimits\n");
            text.push_str(&coloured(aligned(&limit_rows(policy.enforcement))));
        }
        let explanation = &policy.enforcement.explanation;
        let kind = match explanation.kind {
            ExplanationKind::Exact => "exact",
            ExplanationKind::Likely => "likely",
            ExplanationKind::None => "none",
        };
        text.push_str("\nWhat is told of denials\n");
        text.push_str(&aligned(&[vec![kind.to_owned(), explanation.why.clone().into_owned()]]));
        let mechanisms = &policy.enforcement.mechanisms;
        let refused = [&mechanisms.landlock_fs, &mechanisms.landlock_net, &mechanisms.landlock_scopes];
        if refused.iter().any(|rights| !rights.is_empty()) {
            text.push_str("\nRefused outside of it by Landlock\n");
            let rows = refused
                .into_iter()
                .zip(["files", "network", "scopes"])
                .filter(|(rights, _)| !rights.is_empty());
            let rows = rows.map(|(rights, name)| vec![name.to_owned(), rights.join(" ")]);
            text.push_str(&aligned(&rows.collect::<Vec<_>>()));
        }
    }
    text.push_str("\nKernel\n");
    let landlock = match (shown.kernel.landlock_abi, shown.kernel.landlock_error) {
        (Some(abi), _) => format!("ABI {abi}"),
        (None, error) => format!("none ({})", error.unwrap_or_else(unknown)),
    };
    let seccomp =
        shown.kernel.seccomp_error.map_or_else(|| "filters".to_owned(), |error| format!("none ({error})"));
    text.push_str(&aligned(&[vec!["Landlock".to_owned(), landlock], vec!["seccomp".to_owned(), seccomp]]));
    super::bytes(text.as_bytes())
}

/// As many places as a person reads; all of them are in the JSON.
const SHOWN: usize = 20;

fn protected_table(protected: &Protected) -> String {
    let mut text = format!("\nProtected in the writable roots (sandbox.git = \"{}\")\n", protected.git);
    let kinds = [
        ("read-only", &protected.read_only),
        ("pinned", &protected.pinned),
        ("may not appear", &protected.absent),
    ];
    let places = kinds.into_iter().flat_map(|(kind, paths)| {
        let more = paths.len().saturating_sub(SHOWN);
        let rest = (more > 0).then(|| vec![kind.to_owned(), format!("… and {more} more (--json has all)")]);
        paths.iter().take(SHOWN).map(move |path| vec![kind.to_owned(), path.clone()]).chain(rest)
    });
    let notes = protected.notes.iter().map(|note| vec!["note".to_owned(), note.clone()]);
    let rows: Vec<_> = places.chain(notes).collect();
    if rows.is_empty() {
        return String::new();
    }
    text.push_str(&aligned(&rows));
    text
}
