//! What the suites share: sandboxes around this build's helper, and commands in them.

#![allow(dead_code, reason = "not every suite needs all of it")]

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use codex_core::config::Isolation;
use codex_core::exec::{
    ExecError, ExecRequest, ExecResult, Outcome, Sandbox, SandboxError, SandboxOptions,
    process_exec_tool_call,
};
use codex_core::output::OutputBudget;
use codex_core::policy::{NetworkAccess, SandboxPolicy, Surroundings};
use tokio::runtime::{Builder, Runtime};

/// The helper of this build, at the level that the suite is about.
pub(crate) fn options() -> SandboxOptions {
    at(crate::ISOLATION)
}

/// The helper of this build, at a level.
pub(crate) fn at(isolation: Isolation) -> SandboxOptions {
    let mut options = SandboxOptions::new(HELPER);
    options.isolation = isolation;
    options
}

/// The helper of this build.
pub(crate) const HELPER: &str = env!("CARGO_BIN_EXE_codex-linux-sandbox");

/// Nothing takes this long on a machine that works: what does is a failure, and should not hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Nothing can be written, nothing reached.
pub(crate) const READ_ONLY: SandboxPolicy = SandboxPolicy::ReadOnly { network: NetworkAccess::Restricted };

/// The workspace can be written, and nothing else; nothing can be reached.
pub(crate) fn workspace_write() -> SandboxPolicy {
    SandboxPolicy::WorkspaceWrite {
        writable_roots: Vec::new(),
        network: NetworkAccess::Restricted,
        exclude_tmpdir_env_var: true,
        exclude_slash_tmp: true,
    }
}

/// A policy with this workspace, enforced by a helper of choice.
pub(crate) fn prepare(
    policy: &SandboxPolicy,
    workspace: &Path,
    options: SandboxOptions,
) -> Result<Sandbox, SandboxError> {
    Sandbox::prepare(
        policy,
        Surroundings { policy_cwd: workspace, tmpdir: None, codex_home: None, named_in_files: &[] },
        options,
    )
}

/// A policy with this workspace, enforced by the helper of this build.
pub(crate) fn sandbox(policy: &SandboxPolicy, workspace: &Path) -> Sandbox {
    prepare(policy, workspace, options()).unwrap()
}

/// [`READ_ONLY`], ready.
pub(crate) fn read_only() -> Sandbox {
    sandbox(&READ_ONLY, Path::new("/"))
}

/// No restriction, by the same way.
pub(crate) fn unrestricted() -> Sandbox {
    sandbox(&SandboxPolicy::DangerFullAccess, Path::new("/"))
}

/// A command as a request, with what a program needs of an environment, and enough room for all output.
pub(crate) fn request<S: Into<OsString>>(command: impl IntoIterator<Item = S>) -> ExecRequest {
    let env =
        vec![("PATH".into(), std::env::var_os("PATH").unwrap_or_default()), ("LC_ALL".into(), "C".into())];
    let mut request = ExecRequest::new(command.into_iter().map(Into::into).collect(), "/".into(), env);
    request.limits.deadline = Some(PATIENCE);
    request.budget = OutputBudget { bytes: 8 << 20, lines: 1 << 20 };
    request
}

/// A line for the shell as a request.
pub(crate) fn shell(line: &str) -> ExecRequest {
    request(["sh", "-c", line])
}

/// Tries with a limit, and with twice of it where it was over before what was to happen first: how long a command takes to begin
/// is up to the machine. `attempt` says nothing where its limit was too short.
pub(crate) fn with_longer_limits<T>(first: Duration, mut attempt: impl FnMut(Duration) -> Option<T>) -> T {
    let mut limit = first;
    loop {
        if let Some(done) = attempt(limit) {
            return done;
        }
        assert!(limit < PATIENCE, "limits from {first:?} on were all too short");
        limit *= 2;
    }
}

/// A runtime on this thread.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs a request to its end, or finds out that it can't be started.
pub(crate) fn attempt(request: ExecRequest, sandbox: &Sandbox) -> Result<ExecResult, ExecError> {
    runtime().block_on(process_exec_tool_call(request, sandbox))
}

/// Runs a request to its end.
pub(crate) fn run(request: ExecRequest, sandbox: &Sandbox) -> ExecResult {
    attempt(request, sandbox).unwrap()
}

/// Runs a request that has to succeed, and returns what it wrote.
pub(crate) fn succeed(request: ExecRequest, sandbox: &Sandbox) -> String {
    let result = run(request, sandbox);
    let stderr = String::from_utf8_lossy(&result.stderr.head).into_owned();
    assert_eq!(result.outcome, Outcome::Exited { code: 0 }, "{stderr}");
    String::from_utf8(result.stdout.head).unwrap()
}
