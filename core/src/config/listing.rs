//! Settings as rows of key, value and origin, for people who ask why.

use std::fmt;
use std::path::Path;

use super::escape::{printable, printable_path, toml_key, toml_string};
use super::settings::Settings;
use super::sourced::{Origin, SourcedList};
use crate::limits::{Limit, Unit};

/// One setting as it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingRow {
    /// The dotted key of `config.toml`.
    pub key: String,
    /// The value as TOML, on one line. Bytes of a path that aren't UTF-8 show as U+FFFD.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Every setting as it applies, in the order of the documentation.
///
/// A list whose items came from several places has a row for each place, with the items from there. A setting without a
/// value (`codex_linux_sandbox_exe` or a limit where nobody set it) has no row.
#[must_use]
pub fn rows(settings: &Settings) -> Vec<SettingRow> {
    let mut rows = Rows(Vec::new());
    let mode = &settings.sandbox_mode;
    rows.add("sandbox_mode", toml_string(mode.value.name()), &mode.origin);

    let workspace = &settings.workspace_write;
    rows.list("sandbox_workspace_write.writable_roots", &workspace.writable_roots, |root| path(root));
    for (key, setting) in [
        ("sandbox_workspace_write.network_access", &workspace.network_access),
        ("sandbox_workspace_write.exclude_tmpdir_env_var", &workspace.exclude_tmpdir_env_var),
        ("sandbox_workspace_write.exclude_slash_tmp", &workspace.exclude_slash_tmp),
    ] {
        rows.add(key, setting.value.to_string(), &setting.origin);
    }

    let environment = &settings.shell_environment_policy;
    let inherit = &environment.inherit;
    rows.add("shell_environment_policy.inherit", toml_string(inherit.value.name()), &inherit.origin);
    let ignore = &environment.ignore_default_excludes;
    rows.add("shell_environment_policy.ignore_default_excludes", ignore.value.to_string(), &ignore.origin);
    rows.list("shell_environment_policy.exclude", &environment.exclude, |glob| toml_string(glob));
    for (name, value) in &environment.set {
        let key = toml_key(&["shell_environment_policy", "set", name]);
        rows.add(&key, toml_string(&value.value), &value.origin);
    }
    rows.list("shell_environment_policy.include_only", &environment.include_only, |glob| toml_string(glob));

    let helper = &settings.codex_linux_sandbox_exe;
    if let Some(program) = &helper.value {
        rows.add("codex_linux_sandbox_exe", path(program), &helper.origin);
    }
    let sandbox = &settings.sandbox;
    let isolation = &sandbox.isolation;
    rows.add("sandbox.isolation", toml_string(isolation.value.name()), &isolation.origin);
    rows.list("sandbox.require", &sandbox.require, |guarantee| toml_string(guarantee.name()));
    rows.add("sandbox.git", toml_string(sandbox.git.value.name()), &sandbox.git.origin);
    rows.list("sandbox.protect", &sandbox.protect, |name| path(name));
    rows.list("sandbox.unprotect", &sandbox.unprotect, |name| toml_string(name));
    rows.list("sandbox.deny_read", &sandbox.deny_read, |denied| path(denied));
    rows.list("sandbox.allow_read", &sandbox.allow_read, |allowed| path(allowed));
    rows.add("sandbox.private_tmp", sandbox.private_tmp.value.to_string(), &sandbox.private_tmp.origin);
    rows.list("sandbox.allow_unix_sockets", &sandbox.allow_unix_sockets, |socket| path(socket));
    rows.list("sandbox.allow_hosts", &sandbox.allow_hosts, |host| toml_string(&host.to_string()));
    rows.add("sandbox.explain", toml_string(sandbox.explain.value.name()), &sandbox.explain.origin);
    for (limit, amount) in &sandbox.limits {
        rows.add(limit_key(*limit), limit_value(*limit, amount.value.get()), &amount.origin);
    }
    let server = &settings.exec_server;
    rows.add(
        "exec_server.max_policy",
        toml_string(server.max_policy.value.name()),
        &server.max_policy.origin,
    );
    rows.list("exec_server.writable_roots", &server.writable_roots, |root| path(root));
    let network = &server.network_access;
    rows.add("exec_server.network_access", network.value.to_string(), &network.origin);
    rows.list("exec_server.http_allow", &server.http_allow, |grant| toml_string(&grant.to_string()));
    if let Some(file) = &settings.audit.file.value {
        rows.add("audit.file", path(file), &settings.audit.file.origin);
        let most = &settings.audit.max_bytes;
        rows.add("audit.max_bytes", most.value.to_string(), &most.origin);
    }
    for (key, setting) in [("model", &settings.model), ("model_provider", &settings.model_provider)] {
        if let Some(value) = &setting.value {
            rows.add(key, toml_string(value), &setting.origin);
        }
    }
    if let Some(window) = settings.model_context_window.value {
        rows.add("model_context_window", window.to_string(), &settings.model_context_window.origin);
    }
    for (name, provider) in &settings.model_providers {
        for (key, value, origin) in provider.rows() {
            let mut keys = vec!["model_providers", name];
            keys.extend(key);
            rows.add(&toml_key(&keys), value, origin);
        }
    }
    let approval = &settings.approval_policy;
    rows.add("approval_policy", toml_string(approval.value.name()), &approval.origin);
    let approvals = &settings.approvals;
    for (key, prefixes) in [
        ("approvals.allow", &approvals.allow),
        ("approvals.prompt", &approvals.prompt),
        ("approvals.forbid", &approvals.forbid),
        ("approvals.unsandboxed", &approvals.unsandboxed),
    ] {
        rows.list(key, prefixes, |words| toml_string(&words.join(" ")));
    }
    rows.list("approvals.write", &approvals.write, |directory| path(directory));
    rows.list("approvals.read", &approvals.read, |place| path(place));
    rows.add("approvals.network_access", approvals.network.value.to_string(), &approvals.network.origin);
    rows.list("approvals.hosts", &approvals.hosts, |host| toml_string(&host.to_string()));
    rows.0
}

/// The dotted key of a limit.
pub(crate) const fn limit_key(limit: Limit) -> &'static str {
    match limit {
        Limit::Memory => "sandbox.limits.memory",
        Limit::Processes => "sandbox.limits.processes",
        Limit::CpuTime => "sandbox.limits.cpu_time",
        Limit::OpenFiles => "sandbox.limits.open_files",
        Limit::FileSize => "sandbox.limits.file_size",
        Limit::Shm => "sandbox.limits.shm",
    }
}

/// An amount as TOML.
pub(super) fn limit_value(limit: Limit, amount: u64) -> String {
    let text = limit.shown(amount);
    match limit.unit() {
        Unit::Bytes | Unit::Milliseconds => toml_string(&text),
        Unit::Count => text,
    }
}

struct Rows(Vec<SettingRow>);

impl Rows {
    fn add(&mut self, key: &str, value: String, origin: &Origin) {
        self.0.push(SettingRow { key: key.to_owned(), value, origin: origin.clone() });
    }

    fn list<T>(&mut self, key: &str, list: &SourcedList<T>, render: impl Fn(&T) -> String) {
        if list.is_empty() {
            return self.add(key, "[]".to_owned(), &list.origin);
        }
        for part in list.items.chunk_by(|left, right| left.origin == right.origin) {
            let values: Vec<String> = part.iter().map(|item| render(&item.value)).collect();
            let Some(first) = part.first() else { continue };
            self.add(key, format!("[{}]", values.join(", ")), &first.origin);
        }
    }
}

fn path(path: &Path) -> String {
    toml_string(&path.to_string_lossy())
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { path, line } | Self::Project { path, line } => {
                write!(formatter, "{}:{line}", printable_path(path))
            }
            Self::Profile { name, path, line } => {
                write!(formatter, "profile {} ({}:{line})", printable(name), printable_path(path))
            }
            Self::Override(typed) => write!(formatter, "-c {}", printable(typed)),
            Self::Flag(name) => formatter.write_str(name),
        }
    }
}
