//! Policies in our own words: by the name of the mode, or by value.

use codex_core::config::{Origin, Sourced};
use codex_core::policy::{HostGrant, HostGrantError, NetworkAccess, SandboxMode, SandboxPolicy};
use codex_linux_sandbox::shown;

use super::{CeilingOptions, Refusal, Wanted};
use crate::protocol::{FileUri, NamedPolicy, PolicyValue};

/// What a policy asks for.
pub(super) fn read(named: &NamedPolicy, options: &CeilingOptions) -> Result<Wanted, Refusal> {
    match named {
        NamedPolicy::Name(name) => Ok(of_mode(mode(name)?, false, options)),
        NamedPolicy::Value(value) => by_value(value, options),
    }
}

/// A mode with what the configuration says of it, and the network where it is asked for.
pub(super) fn of_mode(mode: SandboxMode, network: bool, options: &CeilingOptions) -> Wanted {
    let mut settings = options.settings.clone();
    settings.sandbox_mode = Sourced { value: mode, origin: Origin::Default };
    settings.network.value |= network;
    Wanted::of(settings.policy(), options.workspace.clone(), options.tmpdir.clone())
}

fn mode(name: &str) -> Result<SandboxMode, Refusal> {
    SandboxMode::ALL.into_iter().find(|mode| mode.name() == name).ok_or_else(|| {
        let known = SandboxMode::ALL.map(SandboxMode::name).join(", ");
        Refusal::Unenforceable(format!("there is no policy of that name; there are {known}"))
    })
}

fn by_value(value: &PolicyValue, options: &CeilingOptions) -> Result<Wanted, Refusal> {
    let network = if value.network { NetworkAccess::Enabled } else { NetworkAccess::Restricted };
    let mut roots = value.writable_roots.iter().cloned().map(FileUri::into_path);
    let (policy, cwd) = match mode(&value.mode)? {
        SandboxMode::WorkspaceWrite => {
            let cwd = roots.next().unwrap_or_else(|| options.workspace.clone());
            let policy = SandboxPolicy::WorkspaceWrite {
                writable_roots: roots.collect(),
                network,
                exclude_tmpdir_env_var: value.exclude_tmp,
                exclude_slash_tmp: value.exclude_tmp,
            };
            (policy, cwd)
        }
        _ if !value.writable_roots.is_empty() => {
            let text = format!("a policy {} has no writable roots", value.mode);
            return Err(Refusal::Unenforceable(text));
        }
        SandboxMode::ReadOnly => (SandboxPolicy::ReadOnly { network }, options.workspace.clone()),
        SandboxMode::ExternalSandbox => {
            (SandboxPolicy::ExternalSandbox { network }, options.workspace.clone())
        }
        SandboxMode::DangerFullAccess => (SandboxPolicy::DangerFullAccess, options.workspace.clone()),
    };
    let hosts = value.hosts.as_ref().map(|hosts| {
        let read = |text: &String| {
            text.parse().map_err(|error: HostGrantError| {
                Refusal::Unenforceable(format!("the host `{}` is {error}", shown(text)))
            })
        };
        hosts.iter().map(read).collect::<Result<Vec<HostGrant>, _>>()
    });
    let hosts = hosts.transpose()?;
    Ok(Wanted { hosts, ..Wanted::of(policy, cwd, options.tmpdir.clone()) })
}
