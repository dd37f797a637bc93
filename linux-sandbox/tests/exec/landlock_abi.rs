//! Older kernels, as far as a newer one can stand for them: every Landlock ABI up to this kernel's.

use std::path::Path;

use codex_core::config::Isolation;
use codex_core::enforcement::{Guarantee, Hold};
use codex_core::exec::{Outcome, Sandbox, SandboxError};
use codex_linux_sandbox::Support;

use crate::runs::{READ_ONLY, at, prepare, request, run, workspace_write};
use crate::tools::{act, python, result, skip};

fn limited(workspace: &Path, abi: u8) -> Result<Sandbox, SandboxError> {
    let mut options = at(Isolation::Landlock);
    options.landlock_abi_at_most = Some(abi);
    prepare(&workspace_write(), workspace, options)
}

/// The newest ABI of this machine that is used.
fn newest() -> u8 {
    let abi = Support::probe().landlock_abi(None);
    if abi == 0 {
        skip("this kernel has no Landlock");
    }
    abi
}

#[test]
fn p8_each_abi_holds_what_it_reports() {
    let Some(python) = python() else { return };
    for abi in 1..=newest() {
        let [workspace, outside] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let sandbox = limited(workspace.path(), abi).unwrap();
        let ran = run(request(["true"]), &sandbox);
        assert_eq!(ran.outcome, Outcome::Exited { code: 0 }, "ABI {abi}");
        assert_eq!(ran.enforcement.mechanisms.landlock_abi, abi);
        assert_eq!(&ran.enforcement, sandbox.expected(), "what held is what was expected");

        let file = |directory: &Path| directory.join("file").to_str().unwrap().to_owned();
        for directory in [&workspace, &outside] {
            std::fs::write(file(directory.path()), "content").unwrap();
        }
        let write = "os.write(os.open(sys.argv[1], os.O_WRONLY), b'changed')";
        assert_eq!(result(act(&python, write, &[&file(workspace.path())]), &sandbox), "done", "ABI {abi}");
        assert_eq!(result(act(&python, write, &[&file(outside.path())]), &sandbox), "EACCES", "ABI {abi}");
        let connect = "socket.socket().connect(('127.0.0.1', 9))";
        assert_eq!(
            result(act(&python, connect, &[]), &sandbox),
            "EPERM",
            "ABI {abi}: seccomp needs no Landlock"
        );

        // The gap of the oldest is told, and is there: were it not, the report would be wrong the other way round.
        let truncate = "os.truncate(sys.argv[1], 0)";
        let (hold, outcome) = if abi < 3 { (Hold::Partial, "done") } else { (Hold::Enforced, "EACCES") };
        assert_eq!(sandbox.expected().holding(Guarantee::Writes).unwrap().hold, hold, "ABI {abi}");
        assert_eq!(result(act(&python, truncate, &[&file(outside.path())]), &sandbox), outcome, "ABI {abi}");
    }
}

#[test]
fn p8_an_abi_beyond_the_kernels_changes_nothing() {
    let newest = newest();
    let sandbox = limited(Path::new("/usr"), u8::MAX).unwrap();
    assert_eq!(run(request(["true"]), &sandbox).enforcement.mechanisms.landlock_abi, newest);
}

#[test]
fn p7_below_the_first_abi_nothing_runs() {
    let refused = limited(Path::new("/usr"), 0).unwrap_err();
    assert!(matches!(refused, SandboxError::NoLandlock { .. }), "{refused:?}");
    assert_eq!(refused.to_string().lines().count(), 1);
}

#[test]
fn p8_a_guarantee_that_an_abi_can_not_keep_can_be_required() {
    let mut options = at(Isolation::Landlock);
    options.require = vec![Guarantee::Writes];
    options.landlock_abi_at_most = Some(2);
    let refused = prepare(&READ_ONLY, Path::new("/"), options.clone()).unwrap_err();
    assert!(
        matches!(refused, SandboxError::Unmet { guarantee: Guarantee::Writes, hold: Hold::Partial, .. }),
        "{refused:?}"
    );
    if newest() >= 3 {
        options.landlock_abi_at_most = Some(3);
        assert!(prepare(&READ_ONLY, Path::new("/"), options).is_ok());
    }
}
