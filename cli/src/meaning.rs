//! What was typed and what was configured, put together: built once, and not looked up again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use codex_core::audit::{AuditError, AuditLog};
use codex_core::config::{ConfigError, ConfigSources, Explain, FlagLayer, Loaded, Origin, Sourced, load};
use codex_core::environment::{self, EnvironmentError};
use codex_core::exec::{Helper, Sandbox, SandboxError, SandboxOptions};
use codex_core::policy::{PlaceRules, SandboxMode, Surroundings};
use codex_linux_sandbox::shown;
use codex_mediator::HostProxy;

use crate::args::PolicyOptions;
use crate::exit_code;
use crate::world::{World, WorldError};

/// Why what was typed means nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeaningError {
    #[error(transparent)]
    World(#[from] WorldError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error("the working directory is gone, and {path} is relative to it; use an absolute path", path = shown(.0))]
    NoWorkingDirectory(PathBuf),
    #[error("the working directory is gone; name the workspace with -C DIR")]
    NoWorkspace,
    #[error("the policy is refused: {0}")]
    Refused(#[from] SandboxError),
    #[error("nothing is run: {0}")]
    Audit(#[from] AuditError),
}

impl MeaningError {
    pub(crate) const fn exit_code(&self) -> i32 {
        match self {
            Self::World(_) | Self::Config(_) | Self::Environment(_) | Self::NoWorkingDirectory(_) => {
                exit_code::USAGE
            }
            Self::NoWorkspace | Self::Refused(_) | Self::Audit(_) => exit_code::REFUSED,
        }
    }
}

/// The policy in effect, and all that a run needs.
#[derive(Debug)]
pub(crate) struct Meaning {
    pub(crate) world: World,
    pub(crate) config: Loaded,
    /// The workspace, where one is known.
    pub(crate) workspace: Option<PathBuf>,
    /// Where commands run, where it is not here.
    pub(crate) directory: Option<PathBuf>,
}

impl Meaning {
    pub(crate) fn of(options: &PolicyOptions) -> Result<Self, MeaningError> {
        let world = World::read()?;
        let absolute = |path: &Path| {
            world.absolute(path).ok_or_else(|| MeaningError::NoWorkingDirectory(path.to_owned()))
        };
        let directory = options.cd.as_deref().map(absolute).transpose()?;
        let workspace = directory.clone().or_else(|| world.current_directory.clone());
        let mut writable_roots = Vec::new();
        for path in &options.add_dir {
            writable_roots.push(Sourced::from_flag(absolute(path)?, "--add-dir"));
        }
        let mode = if options.full_auto {
            Some(Sourced::from_flag(SandboxMode::WorkspaceWrite, "--full-auto"))
        } else {
            options.sandbox.map(|mode| Sourced::from_flag(mode, "--sandbox"))
        };
        let config = load(&ConfigSources {
            codex_home: world.codex_home.as_deref(),
            home: world.home.as_deref(),
            overrides: &options.overrides,
            profile: options.profile.as_deref(),
            project_root: workspace.as_deref(),
            flags: FlagLayer {
                sandbox_mode: mode,
                network: options.network.then(|| Sourced::from_flag(true, "--network")),
                writable_roots,
                allow_hosts: options
                    .allow_host
                    .iter()
                    .map(|host| Sourced::from_flag(host.clone(), "--allow-host"))
                    .collect(),
                isolation: options.isolation.map(|level| Sourced::from_flag(level, "--isolation")),
                explain: options.explain.then(|| Sourced::from_flag(Explain::Always, "--explain")),
                limits: options
                    .limits
                    .iter()
                    .map(|(limit, amount)| (*limit, Sourced::from_flag(*amount, "--limit")))
                    .collect(),
            },
        })?;
        for notice in &config.notices {
            tracing::warn!("{notice}");
        }
        Ok(Self { world, config, workspace, directory })
    }

    /// The policy made ready.
    pub(crate) fn sandbox(&self) -> Result<Sandbox, MeaningError> {
        self.sandbox_with(self.sandbox_options())
    }

    /// The same, built otherwise.
    pub(crate) fn sandbox_with(&self, options: SandboxOptions) -> Result<Sandbox, MeaningError> {
        let settings = &self.config.settings;
        let policy = settings.policy();
        let workspace = match &self.workspace {
            Some(workspace) => workspace.as_path(),
            // Only roots are relative to the workspace: without any, none is needed.
            None if policy.mode() != SandboxMode::WorkspaceWrite => Path::new("/"),
            None => return Err(MeaningError::NoWorkspace),
        };
        let surroundings = Surroundings {
            policy_cwd: workspace,
            tmpdir: self.world.tmpdir.as_deref(),
            codex_home: self.world.codex_home.as_deref(),
            named_in_files: &self.roots_named_in_files(),
        };
        Ok(Sandbox::prepare(&policy, surroundings, options)?)
    }

    /// How sandboxes are built in which something is run, whatever the policy: with the audit log, where there is one.
    pub(crate) fn running_options(&self) -> Result<SandboxOptions, MeaningError> {
        self.noting_in(|log| log)
    }

    /// The same, where others who hold the audit log are waited for no longer than this.
    pub(crate) fn running_options_within(&self, patience: Duration) -> Result<SandboxOptions, MeaningError> {
        self.noting_in(|log| log.with_patience(patience))
    }

    fn noting_in(&self, opened: impl FnOnce(AuditLog) -> AuditLog) -> Result<SandboxOptions, MeaningError> {
        let audit = &self.config.settings.audit;
        let log = audit.file.value.as_deref().map(|file| AuditLog::open(file, audit.max_bytes.value));
        let log = log.transpose()?.map(|log| Arc::new(opened(log)));
        Ok(SandboxOptions { audit: log, ..self.sandbox_options() })
    }

    /// How sandboxes are built, whatever the policy.
    pub(crate) fn sandbox_options(&self) -> SandboxOptions {
        let settings = &self.config.settings;
        let helper = settings.codex_linux_sandbox_exe.value.clone();
        let mut options = SandboxOptions::new(helper.map_or(Helper::ThisProgram, Helper::Program));
        options.isolation = settings.sandbox.isolation.value;
        options.explain = settings.sandbox.explain.value;
        options.places = PlaceRules {
            deny_read: settings.sandbox.deny_read.values().cloned().collect(),
            allow_read: settings.sandbox.allow_read.values().cloned().collect(),
            private_tmp: settings.sandbox.private_tmp.value,
            allow_unix_sockets: settings.sandbox.allow_unix_sockets.values().cloned().collect(),
            allow_hosts: settings.sandbox.allow_hosts.values().cloned().collect(),
        };
        options.mediator = Some(Arc::new(HostProxy::default()));
        options.protection = settings.sandbox.protection();
        options.limits = settings.sandbox.limits();
        options.require = settings.sandbox.require.values().copied().collect();
        options.settings = Arc::new(settings.clone());
        options.secrets_filtered = !settings.shell_environment_policy.ignore_default_excludes.value;
        options
    }

    /// The writable roots that a file names, and when it was last written.
    pub(crate) fn roots_named_in_files(&self) -> Vec<(PathBuf, SystemTime)> {
        let settings = &self.config.settings;
        let roots = settings.workspace_write.writable_roots.iter();
        roots
            .chain(&settings.exec_server.writable_roots)
            .filter_map(|root| match &root.origin {
                Origin::File { path, .. } | Origin::Profile { path, .. } | Origin::Project { path, .. } => {
                    // A file whose time is unknown counts as older than every link.
                    let written = path.metadata().and_then(|status| status.modified());
                    Some((root.value.clone(), written.unwrap_or(SystemTime::UNIX_EPOCH)))
                }
                Origin::Default | Origin::Override(_) | Origin::Flag(_) => None,
            })
            .collect()
    }

    /// A command's environment, without the variables that name the sandbox.
    pub(crate) fn environment(&self) -> Result<Vec<(OsString, OsString)>, MeaningError> {
        let mut variables =
            environment::build(&self.config.settings.shell_environment_policy, std::env::vars_os())?;
        if let Some(directory) = &self.directory
            && let Some((_, value)) = variables.iter_mut().find(|(name, _)| name == "PWD")
        {
            // What `cd DIR` would leave.
            *value = directory.clone().into_os_string();
        }
        Ok(variables)
    }
}
