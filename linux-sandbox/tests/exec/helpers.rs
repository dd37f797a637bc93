//! A helper that is none: whatever else runs in its place, it is never taken for the command.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use codex_core::config::Isolation;
use codex_core::exec::{ExecError, Outcome, SandboxOptions};
use codex_core::policy::SandboxPolicy;
use codex_linux_sandbox::Step;
use nix::errno::Errno;

use crate::runs::{HELPER, READ_ONLY, attempt, options, prepare, request, workspace_write};

/// Policies with and without restrictions: the helper is on the way of both.
const POLICIES: [SandboxPolicy; 2] = [READ_ONLY, SandboxPolicy::DangerFullAccess];

#[test]
fn p7_another_program_in_the_helpers_place_is_never_a_success() {
    for policy in POLICIES {
        for impostor in ["/bin/true", "/bin/false", "/bin/echo", "/bin/cat"] {
            let sandbox = prepare(&policy, Path::new("/"), SandboxOptions::new(impostor)).unwrap();
            let result = attempt(request(["true"]), &sandbox).unwrap();
            assert!(
                matches!(&result.outcome, Outcome::SetupFailed { step: None, message, .. } if message.contains("helper")),
                "{impostor}: {:?}",
                result.outcome
            );
            assert_eq!(result.outcome.exit_code(), 125);
        }
    }
}

/// What is left of it may hold the status pipe for as long as it likes: nobody waits for its end.
#[test]
fn p7_another_program_that_leaves_the_status_pipe_open_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let [gate, ready] = ["gate", "ready"].map(|name| {
        let path = directory.path().join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        path
    });
    let impostor = directory.path().join("impostor");
    // Out of the process group that ends with the call, which it says before the impostor ends, and waiting for us.
    let script = format!(
        "#!/bin/sh\nsetsid sh -c 'echo > {ready}; read line < {gate}' < /dev/null > /dev/null 2>&1 &\nread line < {ready}\n",
        ready = ready.display(),
        gate = gate.display()
    );
    std::fs::write(&impostor, script).unwrap();
    std::fs::set_permissions(&impostor, std::fs::Permissions::from_mode(0o755)).unwrap();
    let sandbox = prepare(&READ_ONLY, Path::new("/"), SandboxOptions::new(impostor)).unwrap();
    let result = attempt(request(["true"]), &sandbox).unwrap();
    assert!(matches!(result.outcome, Outcome::SetupFailed { step: None, .. }), "{:?}", result.outcome);
    // Lets it go: where it has not come to the gate yet, this waits for it.
    std::fs::write(&gate, "\n").unwrap();
}

#[test]
fn p7_a_helper_that_can_not_be_started_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    for policy in POLICIES {
        for (helper, errno) in [
            (PathBuf::from("/no/such/helper"), Errno::ENOENT),
            (directory.path().to_owned(), Errno::EACCES),
            (file.clone(), Errno::EACCES),
        ] {
            let sandbox = prepare(&policy, Path::new("/"), SandboxOptions::new(helper.clone())).unwrap();
            let error = attempt(request(["true"]), &sandbox).unwrap_err();
            assert_eq!(error, ExecError::Helper { helper: helper.clone(), errno });
            assert!(
                error.to_string().contains(helper.to_str().unwrap())
                    && error.to_string().lines().count() == 1
            );
        }
    }
}

/// Removes a writable root between its resolution and its use, and expects to be told.
fn a_root_is_gone(name: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join(name);
    std::fs::create_dir_all(&root).unwrap();
    let sandbox = prepare(&workspace_write(), &root, options()).unwrap();
    std::fs::remove_dir(&root).unwrap();
    let outcome = attempt(request(["true"]), &sandbox).unwrap().outcome;
    let step_of_roots = if crate::ISOLATION == Isolation::Landlock { Step::Landlock } else { Step::Places };
    let Outcome::SetupFailed { step, call, target, errno, message } = outcome else { panic!("{outcome:?}") };
    assert_eq!((step, call.as_deref()), (Some(step_of_roots), Some("openat")), "{message}");
    assert_eq!((target, errno), (Some(root.canonicalize().unwrap_or(root)), Some(Errno::ENOENT)));
    message
}

#[test]
fn p7_a_root_that_is_gone_is_named() {
    let message = a_root_is_gone("root");
    assert!(
        message.contains("/root: ") && message.contains("ENOENT") && message.lines().count() == 1,
        "{message}"
    );
    a_root_is_gone(" odd = \n\u{fc} %0a");
}

#[test]
fn p7_a_message_is_one_line_whatever_the_path() {
    let message = a_root_is_gone("one\nline\u{1b}[2J");
    assert!(message.lines().count() == 1 && !message.contains('\u{1b}'), "{message:?}");
}

#[test]
fn p7_a_root_that_is_gone_is_named_however_long_its_path() {
    a_root_is_gone(&vec!["\u{fc}".repeat(100); 7].join("/"));
}

/// Runs the helper as a person would, with an empty environment, and returns its exit code and what it complained of.
fn by_hand(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(HELPER).args(arguments).env_clear().stdin(Stdio::null()).output().unwrap();
    assert!(output.stdout.is_empty(), "{arguments:?}");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn p7_a_plan_that_can_not_be_kept_runs_nothing() {
    let read = ["-s", "disk-full-read-access"];
    for (options, says) in [
        (vec!["--landlock-abi", "0"], "landlock"),
        (vec!["-s", "disk-write-folder=/no/such/directory"], "/no/such/directory"),
        (vec!["-s", "disk-write-folder=/dev/null"], "/dev/null"),
        (vec!["--cwd", "/no/such/directory"], "/no/such/directory"),
        (vec!["--status-fd", "77"], "--status-fd"),
        (vec!["--env-fd", "77"], "environment"),
        (vec!["--parent-pid", "1"], "parent"),
        (vec!["-s", "no-such-permission"], "no-such-permission"),
    ] {
        let words = [&read[..], &options, &["--", "echo", "ran"]].concat();
        let (code, complaint) = by_hand(&words);
        assert_eq!(code, Some(125), "{options:?}");
        assert!(complaint.starts_with("codex-linux-sandbox: ") && complaint.contains(says), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
    }
    let (code, complaint) = by_hand(&[&read[..], &["--", "no-such-program"]].concat());
    assert_eq!((code, complaint.lines().count()), (Some(127), 1), "{complaint}");
}
