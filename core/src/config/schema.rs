//! The keys that configuration knows, as data.

use super::nearest::nearest;
use super::provider::ProviderKey;
use crate::limits::{Limit, expected};

/// One setting with a value of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    SandboxMode,
    WritableRoots,
    NetworkAccess,
    ExcludeTmpdirEnvVar,
    ExcludeSlashTmp,
    Inherit,
    IgnoreDefaultExcludes,
    Exclude,
    IncludeOnly,
    LinuxSandboxExe,
    Isolation,
    Require,
    Git,
    Protect,
    Unprotect,
    DenyRead,
    AllowRead,
    PrivateTmp,
    AllowUnixSockets,
    AllowHosts,
    Explain,
    ServerMaxPolicy,
    ServerWritableRoots,
    ServerNetworkAccess,
    ServerHttpAllow,
    AuditFile,
    AuditMaxBytes,
    Limit(Limit),
    Model,
    ModelProvider,
    ModelContextWindow,
    ApprovalPolicy,
    Allow,
    Prompt,
    Forbid,
    Unsandboxed,
    ApproveWrite,
    ApproveRead,
    ApproveNetwork,
    ApproveHosts,
}

impl Setting {
    /// What a value of this setting has to be, for messages.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::SandboxMode
            | Self::Inherit
            | Self::LinuxSandboxExe
            | Self::Isolation
            | Self::Git
            | Self::Explain
            | Self::ServerMaxPolicy
            | Self::AuditFile
            | Self::Model
            | Self::ModelProvider
            | Self::ApprovalPolicy => "a string",
            Self::WritableRoots
            | Self::Exclude
            | Self::IncludeOnly
            | Self::Require
            | Self::Protect
            | Self::Unprotect
            | Self::DenyRead
            | Self::AllowRead
            | Self::AllowUnixSockets
            | Self::AllowHosts
            | Self::ServerWritableRoots
            | Self::ServerHttpAllow
            | Self::Allow
            | Self::Prompt
            | Self::Forbid
            | Self::Unsandboxed
            | Self::ApproveWrite
            | Self::ApproveRead
            | Self::ApproveHosts => "an array of strings",
            Self::NetworkAccess
            | Self::ExcludeTmpdirEnvVar
            | Self::ExcludeSlashTmp
            | Self::IgnoreDefaultExcludes
            | Self::PrivateTmp
            | Self::ServerNetworkAccess
            | Self::ApproveNetwork => "a boolean (true or false)",
            Self::ModelContextWindow => "an integer that is not negative",
            Self::AuditMaxBytes => "a whole number",
            Self::Limit(limit) => expected(limit.unit()),
        }
    }
}

/// What stands behind a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Node {
    /// A setting.
    Setting(Setting),
    /// A table of known keys.
    Table(&'static [Key]),
    /// A table of the user's own names: environment variables with their values.
    Variables,
    /// The name of the profile that applies.
    ProfileName,
    /// A table of the user's own names: profiles, each a table of [`PROFILE`].
    Profiles,
    /// A table of the user's own names: servers of models, each a table of [`PROVIDER`].
    Providers,
    /// One key of such a server.
    Provider(ProviderKey),
}

impl Node {
    /// Whether every value is text, so that an override needs no quotes.
    pub(super) const fn is_text(self) -> bool {
        match self {
            Self::ProfileName
            | Self::Setting(
                Setting::SandboxMode
                | Setting::Inherit
                | Setting::LinuxSandboxExe
                | Setting::Isolation
                | Setting::Git
                | Setting::Explain
                | Setting::ServerMaxPolicy
                | Setting::AuditFile
                | Setting::Model
                | Setting::ModelProvider
                | Setting::ApprovalPolicy,
            )
            | Self::Provider(
                ProviderKey::Name | ProviderKey::BaseUrl | ProviderKey::EnvKey | ProviderKey::WireApi,
            ) => true,
            Self::Setting(_)
            | Self::Table(_)
            | Self::Variables
            | Self::Profiles
            | Self::Providers
            | Self::Provider(_) => false,
        }
    }

    /// Whether a value may be text that is no TOML without quotes.
    pub(super) const fn may_be_text(self) -> bool {
        matches!(self, Self::Setting(Setting::Limit(_)))
    }

    /// What a value has to be, for messages.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Setting(setting) => setting.expected(),
            Self::Table(_) | Self::Variables | Self::Profiles | Self::Providers => "a table",
            Self::Provider(key) => key.expected(),
            Self::ProfileName => "a string",
        }
    }
}

/// A known key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) node: Node,
    /// Whether a project's own file has any say in it.
    pub(super) project: bool,
}

const fn shared(name: &'static str, node: Node) -> Key {
    Key { name, node, project: true }
}

const fn setting(name: &'static str, setting: Setting) -> Key {
    shared(name, Node::Setting(setting))
}

const fn limit(limit: Limit) -> Key {
    setting(limit.name(), Setting::Limit(limit))
}

const fn user_only(name: &'static str, node: Node) -> Key {
    Key { name, node, project: false }
}

/// The keys at the top of a file, an override or a flag. The two that choose among profiles come first.
pub(super) static ROOT: [Key; 15] = [
    user_only("profile", Node::ProfileName),
    user_only("profiles", Node::Profiles),
    setting("sandbox_mode", Setting::SandboxMode),
    shared("sandbox_workspace_write", Node::Table(&WORKSPACE_WRITE)),
    shared("shell_environment_policy", Node::Table(&ENVIRONMENT)),
    user_only("codex_linux_sandbox_exe", Node::Setting(Setting::LinuxSandboxExe)),
    shared("sandbox", Node::Table(&SANDBOX)),
    user_only("exec_server", Node::Table(&EXEC_SERVER)),
    user_only("audit", Node::Table(&AUDIT)),
    user_only("model", Node::Setting(Setting::Model)),
    user_only("model_provider", Node::Setting(Setting::ModelProvider)),
    user_only("model_providers", Node::Providers),
    user_only("model_context_window", Node::Setting(Setting::ModelContextWindow)),
    user_only("approval_policy", Node::Setting(Setting::ApprovalPolicy)),
    shared("approvals", Node::Table(&APPROVALS)),
];

/// The keys of a profile: all of [`ROOT`] but those that choose among profiles.
pub(super) static PROFILE: &[Key] = ROOT.split_at(2).1;

static WORKSPACE_WRITE: [Key; 4] = [
    setting("writable_roots", Setting::WritableRoots),
    setting("network_access", Setting::NetworkAccess),
    setting("exclude_tmpdir_env_var", Setting::ExcludeTmpdirEnvVar),
    setting("exclude_slash_tmp", Setting::ExcludeSlashTmp),
];

static ENVIRONMENT: [Key; 5] = [
    setting("inherit", Setting::Inherit),
    setting("ignore_default_excludes", Setting::IgnoreDefaultExcludes),
    setting("exclude", Setting::Exclude),
    user_only("set", Node::Variables),
    setting("include_only", Setting::IncludeOnly),
];

static SANDBOX: [Key; 12] = [
    user_only("isolation", Node::Setting(Setting::Isolation)),
    setting("require", Setting::Require),
    setting("git", Setting::Git),
    setting("protect", Setting::Protect),
    user_only("unprotect", Node::Setting(Setting::Unprotect)),
    setting("deny_read", Setting::DenyRead),
    user_only("allow_read", Node::Setting(Setting::AllowRead)),
    setting("private_tmp", Setting::PrivateTmp),
    user_only("allow_unix_sockets", Node::Setting(Setting::AllowUnixSockets)),
    user_only("allow_hosts", Node::Setting(Setting::AllowHosts)),
    user_only("explain", Node::Setting(Setting::Explain)),
    shared("limits", Node::Table(&LIMITS)),
];

static LIMITS: [Key; 6] = [
    limit(Limit::Memory),
    limit(Limit::Processes),
    limit(Limit::CpuTime),
    limit(Limit::OpenFiles),
    limit(Limit::FileSize),
    limit(Limit::Shm),
];

static EXEC_SERVER: [Key; 4] = [
    user_only("max_policy", Node::Setting(Setting::ServerMaxPolicy)),
    user_only("writable_roots", Node::Setting(Setting::ServerWritableRoots)),
    user_only("network_access", Node::Setting(Setting::ServerNetworkAccess)),
    user_only("http_allow", Node::Setting(Setting::ServerHttpAllow)),
];

static AUDIT: [Key; 2] = [
    user_only("file", Node::Setting(Setting::AuditFile)),
    user_only("max_bytes", Node::Setting(Setting::AuditMaxBytes)),
];

static APPROVALS: [Key; 8] = [
    user_only("allow", Node::Setting(Setting::Allow)),
    setting("prompt", Setting::Prompt),
    setting("forbid", Setting::Forbid),
    user_only("unsandboxed", Node::Setting(Setting::Unsandboxed)),
    user_only("write", Node::Setting(Setting::ApproveWrite)),
    user_only("read", Node::Setting(Setting::ApproveRead)),
    user_only("network_access", Node::Setting(Setting::ApproveNetwork)),
    user_only("hosts", Node::Setting(Setting::ApproveHosts)),
];

/// The keys of a server of models.
pub(super) static PROVIDER: [Key; 11] = [
    provider("name", ProviderKey::Name),
    provider("base_url", ProviderKey::BaseUrl),
    provider("env_key", ProviderKey::EnvKey),
    provider("wire_api", ProviderKey::WireApi),
    provider("http_headers", ProviderKey::HttpHeaders),
    provider("env_http_headers", ProviderKey::EnvHttpHeaders),
    provider("query_params", ProviderKey::QueryParams),
    provider("request_max_retries", ProviderKey::RequestMaxRetries),
    provider("stream_max_retries", ProviderKey::StreamMaxRetries),
    provider("stream_idle_timeout_ms", ProviderKey::StreamIdleTimeoutMs),
    provider("model_context_window", ProviderKey::ModelContextWindow),
];

const fn provider(name: &'static str, key: ProviderKey) -> Key {
    user_only(name, Node::Provider(key))
}

/// The key of `keys` called `name`.
pub(super) fn find<'k>(keys: &'k [Key], name: &str) -> Option<&'k Key> {
    keys.iter().find(|key| key.name == name)
}

/// The names of `keys`.
pub(super) fn names(keys: &[Key]) -> Vec<&'static str> {
    keys.iter().map(|key| key.name).collect()
}

/// What somebody who wrote `name` among `keys` may have meant, ready for a message: a key nearly spelled so, or one
/// spelled exactly so that lives in another table.
pub(super) fn suggestion(keys: &[Key], name: &str) -> Option<String> {
    nearest(name, keys.iter().map(|key| key.name)).map(|near| format!("`{near}`")).or_else(|| elsewhere(name))
}

fn elsewhere(name: &str) -> Option<String> {
    if find(&ROOT, name).is_some() {
        return Some(format!("`{name}` at the top level"));
    }
    below(&ROOT, "", name).map(|key| format!("`{key}`"))
}

/// The dotted key of that name in a table below `keys`.
fn below(keys: &[Key], path: &str, name: &str) -> Option<String> {
    keys.iter().find_map(|key| match key.node {
        Node::Table(inner) => {
            let path = format!("{path}{}.", key.name);
            find(inner, name)
                .map(|inner| format!("{path}{}", inner.name))
                .or_else(|| below(inner, &path, name))
        }
        Node::Setting(_)
        | Node::Variables
        | Node::ProfileName
        | Node::Profiles
        | Node::Providers
        | Node::Provider(_) => None,
    })
}
