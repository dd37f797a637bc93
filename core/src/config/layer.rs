//! What one source of configuration says, and how it is laid over what is there already.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;

use super::problem::Place;
use super::provider::ProviderSettings;
use super::settings::{ApprovalPolicy, EnvironmentInherit, Explain, Isolation, Settings};
use super::sourced::{Sourced, SourcedList};
use crate::enforcement::Guarantee;
use crate::limits::Limit;
use crate::policy::{GitProtection, HostGrant, SandboxMode};

/// Settings of which any may be left unsaid.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Layer {
    pub(super) sandbox_mode: Option<Sourced<SandboxMode>>,
    pub(super) writable_roots: Option<SourcedList<PathBuf>>,
    pub(super) network_access: Option<Sourced<bool>>,
    pub(super) exclude_tmpdir_env_var: Option<Sourced<bool>>,
    pub(super) exclude_slash_tmp: Option<Sourced<bool>>,
    pub(super) inherit: Option<Sourced<EnvironmentInherit>>,
    pub(super) ignore_default_excludes: Option<Sourced<bool>>,
    pub(super) exclude: Option<SourcedList<String>>,
    pub(super) set: BTreeMap<String, Sourced<String>>,
    pub(super) include_only: Option<SourcedList<String>>,
    pub(super) codex_linux_sandbox_exe: Option<Sourced<PathBuf>>,
    pub(super) isolation: Option<Sourced<Isolation>>,
    pub(super) require: Option<SourcedList<Guarantee>>,
    pub(super) git: Option<Sourced<GitProtection>>,
    pub(super) protect: Option<SourcedList<PathBuf>>,
    pub(super) unprotect: Option<SourcedList<String>>,
    pub(super) deny_read: Option<SourcedList<PathBuf>>,
    pub(super) allow_read: Option<SourcedList<PathBuf>>,
    pub(super) private_tmp: Option<Sourced<bool>>,
    pub(super) allow_unix_sockets: Option<SourcedList<PathBuf>>,
    pub(super) allow_hosts: Option<SourcedList<HostGrant>>,
    pub(super) explain: Option<Sourced<Explain>>,
    pub(super) limits: BTreeMap<Limit, Sourced<NonZeroU64>>,
    pub(super) server_max_policy: Option<Sourced<SandboxMode>>,
    pub(super) server_writable_roots: Option<SourcedList<PathBuf>>,
    pub(super) server_http_allow: Option<SourcedList<HostGrant>>,
    pub(super) server_network_access: Option<Sourced<bool>>,
    pub(super) audit_file: Option<Sourced<PathBuf>>,
    pub(super) audit_max_bytes: Option<Sourced<u64>>,
    pub(super) model: Option<Sourced<String>>,
    pub(super) model_provider: Option<Sourced<String>>,
    pub(super) model_providers: BTreeMap<String, ProviderSettings>,
    pub(super) approval_policy: Option<Sourced<ApprovalPolicy>>,
    pub(super) allow: Option<SourcedList<Vec<String>>>,
    pub(super) prompt: Option<SourcedList<Vec<String>>>,
    pub(super) forbid: Option<SourcedList<Vec<String>>>,
    pub(super) unsandboxed: Option<SourcedList<Vec<String>>>,
    pub(super) approve_write: Option<SourcedList<PathBuf>>,
    pub(super) approve_read: Option<SourcedList<PathBuf>>,
    pub(super) approve_network: Option<Sourced<bool>>,
    pub(super) approve_hosts: Option<SourcedList<HostGrant>>,
    pub(super) model_context_window: Option<Sourced<u64>>,
}

/// A whole file or override: a layer, and layers that apply only when they are chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Document {
    pub(super) layer: Layer,
    pub(super) profile: Option<ProfileChoice>,
    pub(super) profiles: BTreeMap<String, Layer>,
}

/// The name of a profile, and where it was chosen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProfileChoice {
    pub(super) name: Sourced<String>,
    pub(super) place: Place,
}

impl Layer {
    /// Lays this layer over `settings`: single values and lists replace, tables merge key by key.
    pub(super) fn lay_over(self, settings: &mut Settings) {
        let Self {
            sandbox_mode,
            writable_roots,
            network_access,
            exclude_tmpdir_env_var,
            exclude_slash_tmp,
            inherit,
            ignore_default_excludes,
            exclude,
            set,
            include_only,
            codex_linux_sandbox_exe,
            isolation,
            require,
            git,
            protect,
            unprotect,
            deny_read,
            allow_read,
            private_tmp,
            allow_unix_sockets,
            allow_hosts,
            explain,
            limits,
            server_max_policy,
            server_writable_roots,
            server_http_allow,
            server_network_access,
            audit_file,
            audit_max_bytes,
            model,
            model_provider,
            model_providers,
            approval_policy,
            allow,
            prompt,
            forbid,
            unsandboxed,
            approve_write,
            approve_read,
            approve_network,
            approve_hosts,
            model_context_window,
        } = self;
        let workspace_write = &mut settings.workspace_write;
        let environment = &mut settings.shell_environment_policy;
        replace(&mut settings.sandbox_mode, sandbox_mode);
        replace(&mut workspace_write.writable_roots, writable_roots);
        replace(&mut workspace_write.network_access, network_access);
        replace(&mut workspace_write.exclude_tmpdir_env_var, exclude_tmpdir_env_var);
        replace(&mut workspace_write.exclude_slash_tmp, exclude_slash_tmp);
        replace(&mut environment.inherit, inherit);
        replace(&mut environment.ignore_default_excludes, ignore_default_excludes);
        replace(&mut environment.exclude, exclude);
        environment.set.extend(set);
        replace(&mut environment.include_only, include_only);
        let helper =
            codex_linux_sandbox_exe.map(|Sourced { value, origin }| Sourced { value: Some(value), origin });
        replace(&mut settings.codex_linux_sandbox_exe, helper);
        let sandbox = &mut settings.sandbox;
        replace(&mut sandbox.isolation, isolation);
        replace(&mut sandbox.require, require);
        replace(&mut sandbox.git, git);
        replace(&mut sandbox.protect, protect);
        replace(&mut sandbox.unprotect, unprotect);
        replace(&mut sandbox.deny_read, deny_read);
        replace(&mut sandbox.allow_read, allow_read);
        replace(&mut sandbox.private_tmp, private_tmp);
        replace(&mut sandbox.allow_unix_sockets, allow_unix_sockets);
        replace(&mut sandbox.allow_hosts, allow_hosts);
        replace(&mut sandbox.explain, explain);
        sandbox.limits.extend(limits);
        let server = &mut settings.exec_server;
        replace(&mut server.max_policy, server_max_policy);
        replace(&mut server.writable_roots, server_writable_roots);
        replace(&mut server.http_allow, server_http_allow);
        replace(&mut server.network_access, server_network_access);
        fn some<T>(Sourced { value, origin }: Sourced<T>) -> Sourced<Option<T>> {
            Sourced { value: Some(value), origin }
        }
        replace(&mut settings.audit.file, audit_file.map(some));
        replace(&mut settings.audit.max_bytes, audit_max_bytes);
        replace(&mut settings.model, model.map(some));
        replace(&mut settings.model_provider, model_provider.map(some));
        for (name, provider) in model_providers {
            provider.lay_over(settings.model_providers.entry(name).or_default());
        }
        replace(&mut settings.approval_policy, approval_policy);
        let approvals = &mut settings.approvals;
        replace(&mut approvals.allow, allow);
        replace(&mut approvals.prompt, prompt);
        replace(&mut approvals.forbid, forbid);
        replace(&mut approvals.unsandboxed, unsandboxed);
        replace(&mut approvals.write, approve_write);
        replace(&mut approvals.read, approve_read);
        replace(&mut approvals.network, approve_network);
        replace(&mut approvals.hosts, approve_hosts);
        replace(&mut settings.model_context_window, model_context_window.map(some));
    }
}

fn replace<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}
