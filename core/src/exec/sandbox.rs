//! A policy made ready to run commands under: the plan, the helper that enforces it, what it will hold.

mod error;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use codex_linux_sandbox::{
    Command, Descriptors, Enforced, Footing, Invocation, PROGRAM, Plan, Stay, Terminal, wire,
};
use serde::Serialize;

use super::bounds::Bounds;
use super::level::{PlanFailure, Rung, ladder, namespaces_refused};
use super::mediation::Reach;
use super::noted::{Labels, NotedRefusal};
use super::options::{Helper, SandboxOptions, SandboxType};
use super::request::{ExecRequest, Stdio};
use super::standby::Standby;
use super::warden::Post;
use crate::audit::{AuditError, AuditLog};
use crate::config::{Explain, Settings};
use crate::denial::{Dwelling, Judge, NOWHERE, Operation, Verdict};
use crate::enforcement::{Enforcement, Level, Means};
use crate::limits::ResourceLimits;
use crate::lower::lower_limits;
use crate::policy::{
    Protection, ResolvedPlaces, ResolvedPolicy, SandboxPolicy, Surroundings, resolve, special_mounts,
};

pub use error::SandboxError;

/// A policy made ready: commands run under it as often as wanted. A clone is another name for the same.
#[derive(Clone, Debug)]
pub struct Sandbox(Arc<Prepared>);

#[derive(Debug)]
struct Prepared {
    policy: ResolvedPolicy,
    places: ResolvedPlaces,
    policy_cwd: PathBuf,
    tmpdir: Option<PathBuf>,
    codex_home: Option<PathBuf>,
    named_in_files: Vec<(PathBuf, SystemTime)>,
    /// The levels at which commands may run, the best first. Never empty.
    rungs: Vec<Rung>,
    options: SandboxOptions,
    /// Where the options ask for it.
    standby: Option<Arc<Standby>>,
}

impl Sandbox {
    /// Resolves a policy, asks the kernel what it offers, and refuses what can't be kept.
    ///
    /// # Errors
    ///
    /// [`SandboxError`] names the root, the kernel feature or the required guarantee.
    pub fn prepare(
        policy: &SandboxPolicy,
        surroundings: Surroundings<'_>,
        options: SandboxOptions,
    ) -> Result<Self, SandboxError> {
        match SandboxType::select(policy) {
            Some(SandboxType::None | SandboxType::LinuxSandbox) => {}
            Some(SandboxType::MacosSeatbelt) | None => {
                return Err(SandboxError::Platform { mode: policy.mode(), platform: std::env::consts::OS });
            }
        }
        let policy = resolve(policy, surroundings)?;
        let places = options.places.resolve()?;
        let rungs = ladder(&policy, &places, surroundings.codex_home, &options)?;
        let Surroundings { policy_cwd, tmpdir, codex_home, named_in_files } = surroundings;
        let sandbox = Self(Arc::new(Prepared {
            policy,
            places,
            policy_cwd: policy_cwd.to_owned(),
            tmpdir: tmpdir.map(Path::to_owned),
            codex_home: codex_home.map(Path::to_owned),
            named_in_files: named_in_files.to_vec(),
            rungs,
            standby: options.standby.then(Arc::default),
            options,
        }));
        sandbox.keep_audit_log_out_of_reach()?;
        Ok(sandbox)
    }

    /// Refuses a policy under which a command could change the audit log. Without restrictions, every command can.
    fn keep_audit_log_out_of_reach(&self) -> Result<(), SandboxError> {
        let Some(log) = self.audit().filter(|_| self.is_restricted()) else { return Ok(()) };
        let can = |protection: Option<&Protection>| -> Result<bool, SandboxError> {
            let judge = self.judge(protection, &NOWHERE);
            // What is put aside is as good as the log, and what is planted in its place would be read as its end.
            for path in log.paths() {
                for operation in [Operation::Write, Operation::Create, Operation::Rename, Operation::Remove] {
                    let verdict = judge.file(operation, &path);
                    let verdict =
                        verdict.map_err(|errno| SandboxError::AuditLog { path: path.clone(), errno })?;
                    if matches!(verdict, Verdict::Allowed { .. }) {
                        return Ok(true);
                    }
                }
            }
            Ok(false)
        };
        // What is protected takes a search, which only a log in a writable root is worth.
        if can(None)? && can(self.protection().as_ref())? {
            return Err(SandboxError::AuditLogWritable(log.path().to_owned()));
        }
        Ok(())
    }

    /// Appends a record to the audit log, where there is one, with who it is about. Waits for the disk, as
    /// [`AuditLog::append`] does.
    ///
    /// # Errors
    ///
    /// [`AuditError`]: nothing was appended.
    pub fn note(&self, event: &str, labels: &Labels, body: &impl Serialize) -> Result<(), AuditError> {
        #[derive(Serialize)]
        struct Noted<'n, B> {
            #[serde(flatten)]
            labels: &'n Labels,
            #[serde(flatten)]
            body: &'n B,
        }
        match self.audit() {
            Some(log) => log.append(event, &Noted { labels, body }),
            None => Ok(()),
        }
    }

    /// Appends a call that is refused to the audit log, where there is one. Waits for the disk, as [`AuditLog::append`] does.
    ///
    /// # Errors
    ///
    /// [`AuditError`]: nothing was appended.
    pub fn note_refusal(&self, refusal: &NotedRefusal) -> Result<(), AuditError> {
        match self.audit() {
            Some(log) => log.append(NotedRefusal::EVENT, refusal),
            None => Ok(()),
        }
    }

    /// Where calls are noted.
    pub(super) fn audit(&self) -> Option<&Arc<AuditLog>> {
        self.0.options.audit.as_ref()
    }

    /// Whether preparing a sandbox now, with the same options, would come to this one: the policy's paths are looked up again,
    /// links followed, and nothing that is remembered of them is used. For who keeps sandboxes by what was asked for.
    #[must_use]
    pub fn is_as_prepared(&self, policy: &SandboxPolicy, surroundings: Surroundings<'_>) -> bool {
        let Prepared { policy: resolved, places, codex_home, options, .. } = &*self.0;
        surroundings.codex_home == codex_home.as_deref()
            && resolve(policy, surroundings).is_ok_and(|found| found == *resolved)
            && options.places.resolve().is_ok_and(|found| found == *places)
    }

    /// Begins to make namespaces ready for the next call, where [`SandboxOptions::standby`] asks for it and none are.
    /// Waits for nothing. Each call does so at its end; this is for the first one.
    pub fn stand_by(&self) {
        let plan = &self.rung().plan;
        if let Some(standby) = &self.0.standby
            && plan.uses_namespaces()
            && namespaces_refused().is_none()
        {
            standby.replenish(self.helper(), Footing::of(plan));
        }
    }

    /// What is kept ready for the next call.
    pub(super) fn standby(&self) -> Option<&Arc<Standby>> {
        self.0.standby.as_ref()
    }

    /// What the policy says about single operations, at the level at which the next command runs as far as is known.
    #[must_use]
    pub fn judge<'a>(&'a self, protection: Option<&'a Protection>, dwelling: &'a Dwelling) -> Judge<'a> {
        self.judge_at(self.rung(), protection, dwelling)
    }

    pub(super) fn judge_at<'a>(
        &'a self,
        rung: &Rung,
        protection: Option<&'a Protection>,
        dwelling: &'a Dwelling,
    ) -> Judge<'a> {
        let roots = rung.post.iter().flat_map(|post| &post.roots).map(|root| root.path.as_path());
        // Without the list nothing would have run.
        let special = special_mounts(roots).unwrap_or_default();
        Judge {
            policy: &self.0.policy,
            places: &self.0.places,
            protection,
            special: special.into_iter().map(|mount| mount.place).collect(),
            level: rung.expected.level,
            unix_sockets: rung.unix_sockets,
            settings: &self.0.options.settings,
            dwelling,
            surroundings: self.surroundings(),
            root: nix::unistd::geteuid().is_root(),
            viewed: rung.plan.view.is_some(),
        }
    }

    /// Where a user's things are, for a command with these variables.
    #[must_use]
    pub fn dwelling(&self, home: Option<&Path>, environment: &[(OsString, OsString)]) -> Dwelling {
        Dwelling::of(home, environment, self.0.policy_cwd.as_path())
    }

    /// What the policy was resolved against.
    fn surroundings(&self) -> Surroundings<'_> {
        let Prepared { policy_cwd, tmpdir, codex_home, named_in_files, .. } = &*self.0;
        Surroundings {
            policy_cwd,
            tmpdir: tmpdir.as_deref(),
            codex_home: codex_home.as_deref(),
            named_in_files,
        }
    }

    /// Who connects commands with hosts at a level, and with which.
    pub(super) fn reach(&self, rung: &Rung) -> Option<Reach> {
        let mediator = self.0.options.mediator.as_ref().filter(|_| rung.mediated)?;
        Some(Reach { mediator: Arc::clone(mediator), hosts: self.0.places.hosts.as_slice().into() })
    }

    /// The level at which the next command runs, as far as is known.
    pub(super) fn rung(&self) -> &Rung {
        let refused = namespaces_refused().is_some();
        let possible = |rung: &&Rung| !(refused && rung.plan.uses_namespaces());
        // A ladder has at least one rung. Where none is possible, the first one says why.
        self.0.rungs.iter().find(possible).unwrap_or(&self.0.rungs[0])
    }

    /// The level to go on at where the machine refused this one.
    pub(super) fn below(&self, rung: &Rung) -> Option<&Rung> {
        self.0.rungs.iter().skip_while(|above| above.plan != rung.plan).nth(1)
    }

    /// The policy, its paths made real.
    #[must_use]
    pub fn policy(&self) -> &ResolvedPolicy {
        &self.0.policy
    }

    /// The rules about single places, their paths made real.
    #[must_use]
    pub fn places(&self) -> &ResolvedPlaces {
        &self.0.places
    }

    /// What is protected in the writable roots as they are now. Nothing where nothing of the host's is writable. Waits for
    /// the disk.
    #[must_use]
    pub fn protection(&self) -> Option<Protection> {
        self.rung().post.as_ref().map(Post::protection)
    }

    /// What will hold, by what the kernel offers. What did hold is in a run's result.
    #[must_use]
    pub fn expected(&self) -> &Enforcement {
        &self.rung().expected
    }

    /// The settings that the policy was made from.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.options.settings
    }

    /// How it is found out what was refused.
    #[must_use]
    pub fn explain(&self) -> Explain {
        self.0.options.explain
    }

    /// Where the helper comes from.
    pub(super) fn helper(&self) -> &Helper {
        &self.0.options.helper
    }

    /// What holds, by what the helper reports.
    pub(super) fn enforcement(&self, rung: &Rung, bounds: &Bounds, enforced: &Enforced) -> Enforcement {
        Enforcement::of(&rung.plan, enforced, self.0.options.secrets_filtered)
            .with_hosts(rung.mediated, &self.0.places.hosts)
            .with_limits(&bounds.limits, enforced, bounds.means())
            .with_explanation(self.explain(), Some(enforced))
    }

    /// What a command may use: the tighter of what the sandbox and its own request allow.
    #[must_use]
    pub fn limits(&self, request: &ExecRequest) -> ResourceLimits {
        self.0.options.limits.tightest(request.resources)
    }

    /// Whether a command under this sandbox is restricted at all.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        self.expected().level != Level::None
    }

    /// A command's environment: what the caller built, and the two variables by which commands know where they are.
    #[must_use]
    pub fn environment(&self, base: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
        self.rung().environment(base)
    }

    /// The plan and a command as the helper takes them, without what belongs to one run (descriptors, parent).
    pub(super) fn invocation(
        &self,
        mut plan: Plan,
        request: &ExecRequest,
        program: &OsStr,
        means: Means,
    ) -> Invocation {
        let command = Command {
            program: program.to_owned(),
            argv0: request.arg0.clone(),
            arguments: request.command.iter().skip(1).cloned().collect(),
        };
        plan.limits = lower_limits(&self.limits(request), &plan, means);
        let mut invocation = Invocation::new(plan, command);
        invocation.directory = request.cwd.clone();
        if request.stdio != Stdio::Inherit {
            invocation.stay = Stay::ForAll;
        }
        if matches!(request.stdio, Stdio::Terminal(_)) {
            invocation.terminal = Terminal::Take;
        }
        if !self.is_restricted() && request.stdio == Stdio::Inherit {
            // Without restrictions the command gets what it would get without us, a make's job server among it.
            invocation.descriptors = Descriptors::Keep;
        }
        invocation
    }

    /// The helper's command line for a command, as it can be pasted into a shell.
    ///
    /// # Errors
    ///
    /// A protected path that the helper can't take.
    pub fn command_line(&self, request: &ExecRequest) -> Result<Vec<OsString>, PlanFailure> {
        let program = request.command.first().cloned().unwrap_or_default();
        let mut line = vec![OsString::from(PROGRAM)];
        let rung = self.rung();
        // What is protected now. Who looks after the rest is not in a line that can be pasted.
        let protection = self.protection();
        let plan = rung.plan_with(protection.as_ref())?;
        // Nobody makes a cgroup for it, or samples what it uses.
        line.extend(wire::encode(&self.invocation(plan, request, &program, Means::default())));
        Ok(line)
    }
}
