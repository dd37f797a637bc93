//! What a call may do that asks for something else than the default.
//!
//! Three stand in a row: the ceiling, which nothing passes; the default, up to which nobody is asked; and a person, for what is
//! between them.

use codex_core::config::Settings;
use codex_core::policy::{NetworkAccess, ResolvedPolicy, ResolvedWrites, SandboxMode};
use codex_linux_sandbox::shown;
use codex_mcp::Approval;
use codex_tools::Asks;

/// The longest command that a person is shown.
const LONGEST: usize = 2_000;

/// What is asked for, in the ceiling's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) mode: SandboxMode,
    pub(super) network: bool,
}

/// Reads what a call asks for. Nothing where it is the default.
pub(super) fn wish(asks: &Asks, settings: &Settings) -> Result<Option<Wish>, String> {
    let server = &settings.exec_server;
    let most = server.max_policy.value;
    let widest =
        Wish { mode: most, network: server.network_access.value || most == SandboxMode::DangerFullAccess };
    let word = match asks.permissions.as_deref() {
        None if asks.escalated => return Ok(Some(widest)),
        None => return Ok(None),
        Some(word) => word,
    };
    match word {
        "require_escalated" => Ok(Some(widest)),
        "network" => Ok(Some(Wish { mode: settings.sandbox_mode.value, network: true })),
        word => {
            let mode = SandboxMode::ALL.into_iter().find(|mode| mode.name() == word).ok_or_else(|| {
                format!(
                    "sandbox_permissions has no `{}`; there are use_default, {}, network and require_escalated. Nothing was run.",
                    shown(word),
                    SandboxMode::ALL.map(SandboxMode::name).join(", ")
                )
            })?;
            Ok(Some(Wish { mode, network: false }))
        }
    }
}

/// Whether a policy allows anything that another one does not.
pub(super) fn is_wider(policy: &ResolvedPolicy, than: &ResolvedPolicy) -> bool {
    let writes_more = match (&policy.writes, &than.writes) {
        (_, ResolvedWrites::Everywhere) => false,
        (ResolvedWrites::Everywhere, ResolvedWrites::Beneath(_)) => true,
        (ResolvedWrites::Beneath(roots), ResolvedWrites::Beneath(known)) => {
            roots.iter().any(|root| !known.iter().any(|above| root.path.starts_with(&above.path)))
        }
    };
    policy.mode > than.mode || policy.network > than.network || writes_more
}

/// Says, for a model, why it does not get what the default does not give, where it does not.
pub(super) fn refusal(
    policy: &ResolvedPolicy,
    default: &ResolvedPolicy,
    approval: &Approval,
) -> Option<String> {
    let why = match approval {
        Approval::Given => return None,
        Approval::Declined | Approval::Unanswered => "the user did not approve of it".to_owned(),
        Approval::NobodyToAsk(why) => format!("somebody has to approve of it, and {why}"),
    };
    let (mode, network) = (policy.mode, said(policy.network));
    Some(format!(
        "the call asks for {mode} {network}, which is more than {} {}: {why}. Nothing was run; run it without asking for more, or do \
         what is possible inside the sandbox.",
        default.mode,
        said(default.network)
    ))
}

/// What a person reads. What is asked for comes first, in our words; what the model says comes last, and is marked as that.
pub(super) fn question(
    policy: &ResolvedPolicy,
    default: &ResolvedPolicy,
    asks: &Asks,
    command: &str,
    directory: &str,
) -> String {
    let mut text = format!(
        "Run one command under the policy {} {}, which is more than {} {}?\nIt runs in {}:\n{}",
        policy.mode,
        said(policy.network),
        default.mode,
        said(default.network),
        shown(directory),
        cut(&shown(command)),
    );
    if let Some(justification) = &asks.justification {
        text.push_str(&format!("\nThe model says why: {}", cut(&shown(justification))));
    }
    text
}

/// What a yes opens, a line each, for the audit log.
pub(super) fn opens(policy: &ResolvedPolicy) -> Vec<String> {
    vec![format!("the policy {}", policy.mode), said(policy.network).to_owned()]
}

const fn said(network: NetworkAccess) -> &'static str {
    match network {
        NetworkAccess::Restricted => "without network",
        NetworkAccess::Enabled => "with the network",
    }
}

fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST);
    let (begin, rest) = text.split_at(end);
    if rest.is_empty() { begin.to_owned() } else { format!("{begin}… ({} bytes more)", rest.len()) }
}
