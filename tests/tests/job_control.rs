//! `codex sandbox` as a job of an interactive shell: what stops the command stops the job.

use std::path::Path;

use codex_tests::cases_by_level;
use codex_tests::harness::{Policy, Scene, require_tool};

cases_by_level!(a_command_is_a_job,);

fn a_command_is_a_job(scene: &Scene) {
    let (Some(python), Some(_)) = (require_tool("python3"), require_tool("bash")) else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/job_control/shell.py");
    for policy in [Policy::Bare, Policy::ReadOnly, Policy::WorkspaceWrite, Policy::DangerFullAccess] {
        let line = |script: &str| scene.under(policy).command("sh", ["-c", script]).shell_line();
        let lines = [
            line("kill -STOP $$; echo resumed"),
            // As an editor does it, which has switched off what the terminal makes of the key.
            line("kill -TSTP 0; echo resumed"),
            line("echo ready; read -r word; echo got $word"),
            line("read -r word; echo got $word"),
            line("trap '' TSTP; echo ready; read -r word; echo got $word"),
        ];
        let arguments = [script.display().to_string()].into_iter().chain(lines);
        let run = scene.under(Policy::Bare).command(&python, arguments).run();
        assert_eq!(run.code(), Some(0), "{policy:?}\n{}", run.describe());
        let seen = run.text().lines().filter(|line| line.ends_with(": yes")).count();
        assert_eq!(seen, 10, "{policy:?}\n{}", run.describe());
    }
}
