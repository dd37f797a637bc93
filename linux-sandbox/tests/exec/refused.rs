//! Commands that can't be started, each told apart.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use codex_core::exec::{ExecError, Outcome};
use nix::errno::Errno;

use crate::runs::{attempt, read_only, request, run, unrestricted};

#[test]
fn an_empty_command_is_refused() {
    assert_eq!(attempt(request::<OsString>([]), &read_only()).unwrap_err(), ExecError::EmptyCommand);
    assert_eq!(attempt(request([""]), &read_only()).unwrap_err(), ExecError::EmptyCommand);
    assert_eq!(attempt(request(["", "x"]), &unrestricted()).unwrap_err(), ExecError::EmptyCommand);
}

#[test]
fn a_nul_byte_is_refused_and_its_place_is_named() {
    for (command, index) in [(vec!["a\0"], 0), (vec!["echo", "\0"], 1), (vec!["echo", "", "x", "a\0b"], 3)] {
        let error = attempt(request(command), &read_only()).unwrap_err();
        assert_eq!(error, ExecError::NulInArgument { index });
        assert_eq!(error.to_string().lines().count(), 1);
    }
    let mut named = request(["true"]);
    named.arg0 = Some("a\0".into());
    assert_eq!(attempt(named, &read_only()).unwrap_err(), ExecError::NulInArgument { index: 0 });
}

#[test]
fn a_variable_that_no_environment_can_hold_is_refused() {
    for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0")] {
        let mut request = request(["true"]);
        request.env.push((name.into(), value.into()));
        let error = attempt(request, &read_only()).unwrap_err();
        assert_eq!(error, ExecError::Environment { name: name.into() });
    }
}

/// The error of a command that shall run in this directory.
fn refused_directory(path: impl Into<PathBuf>) -> (ExecError, PathBuf) {
    let path = path.into();
    let mut request = request(["true"]);
    request.cwd = Some(path.clone());
    (attempt(request, &read_only()).unwrap_err(), path)
}

#[test]
fn a_directory_that_can_not_be_entered_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let dangling = directory.path().join("dangling");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    for (path, errno) in [
        (directory.path().join("absent"), Errno::ENOENT),
        (dangling, Errno::ENOENT),
        (file.clone(), Errno::ENOTDIR),
        (file.join("below"), Errno::ENOTDIR),
        (PathBuf::from("relative"), Errno::EINVAL),
        (PathBuf::new(), Errno::EINVAL),
        (PathBuf::from("/\0"), Errno::EINVAL),
    ] {
        let (error, path) = refused_directory(path);
        assert_eq!(error, ExecError::Directory { path, errno });
    }
}

#[test]
fn a_directory_without_permission_is_refused() {
    if nix::unistd::geteuid().is_root() {
        // Root enters every directory, and so does its command.
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let closed = directory.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o600)).unwrap();
    let (error, path) = refused_directory(closed);
    assert_eq!(error, ExecError::Directory { path, errno: Errno::EACCES });
}

/// A file with this content, executable or not.
fn program(directory: &Path, content: &[u8], mode: u32) -> PathBuf {
    let path = directory.join("program");
    // Written by another process: a descriptor that this one has open for writing would be inherited for a moment by
    // every command that another test starts, and the kernel executes no file that is open for writing.
    let status = std::process::Command::new("sh")
        .args(["-c", "printf '%b' \"$2\" > \"$1\" && chmod \"$3\" \"$1\"", "sh"])
        .arg(&path)
        .arg(OsString::from_vec(content.to_vec()))
        .arg(format!("{mode:o}"))
        .status();
    assert!(status.unwrap().success());
    path
}

/// Runs a command that can't be executed; it has to be told in the same way with and without restrictions.
fn not_executed(command: &[&str]) -> (i32, Option<Errno>) {
    let [inside, outside] = [read_only(), unrestricted()].map(|sandbox| {
        let result = run(request(command), &sandbox);
        let Outcome::NotExecuted { exit_code, errno, message } = result.outcome else {
            panic!("{command:?}: {:?}", result.outcome)
        };
        assert!(message.starts_with(command[0]) && message.lines().count() == 1, "{message}");
        (exit_code, errno)
    });
    assert_eq!(inside, outside, "{command:?}");
    inside
}

#[test]
fn a_program_that_is_nowhere_is_127() {
    assert_eq!(not_executed(&["there-is-no-such-program", "x"]), (127, Some(Errno::ENOENT)));
    assert_eq!(not_executed(&["/there/is/no/such/program"]), (127, Some(Errno::ENOENT)));
    assert_eq!(not_executed(&["./there-is-no-such-program"]), (127, Some(Errno::ENOENT)));
}

#[test]
fn a_program_that_can_not_be_executed_is_126() {
    let directory = tempfile::tempdir().unwrap();
    let path = program(directory.path(), b"#!/bin/sh\\n", 0o644);
    assert_eq!(not_executed(&[path.to_str().unwrap()]), (126, Some(Errno::EACCES)));
    assert_eq!(not_executed(&[directory.path().to_str().unwrap()]), (126, Some(Errno::EACCES)));

    let path = program(directory.path(), b"#!/no/such/interpreter\\n", 0o755);
    assert_eq!(not_executed(&[path.to_str().unwrap()]), (126, Some(Errno::ENOENT)));
}

#[test]
fn a_program_in_path_that_can_not_be_executed_is_126() {
    let directory = tempfile::tempdir().unwrap();
    program(directory.path(), b"#!/bin/sh\\n", 0o644);
    let mut request = request(["program"]);
    request.env = vec![("PATH".into(), directory.path().into())];
    let outcome = run(request, &read_only()).outcome;
    assert!(
        matches!(outcome, Outcome::NotExecuted { exit_code: 126, errno: Some(Errno::EACCES), .. }),
        "{outcome:?}"
    );
}

#[test]
fn a_script_without_a_first_line_runs_as_in_a_shell() {
    let directory = tempfile::tempdir().unwrap();
    let path = program(directory.path(), b"echo \\044#; exit 4\\n", 0o755);
    let result = run(request([path.to_str().unwrap(), "a", "b"]), &read_only());
    assert_eq!((result.outcome, result.stdout.head), (Outcome::Exited { code: 4 }, b"2\n".to_vec()));
}

#[test]
fn arguments_beyond_what_the_kernel_takes_are_126() {
    let outcome = run(request(["true".to_owned(), "x".repeat(4 << 20)]), &read_only()).outcome;
    assert!(
        matches!(outcome, Outcome::NotExecuted { exit_code: 126, errno: Some(Errno::E2BIG), .. }),
        "{outcome:?}"
    );
}

#[test]
fn variables_beyond_what_the_kernel_takes_are_126() {
    let mut request = request(["true"]);
    request.env.push(("LARGE".into(), "x".repeat(4 << 20).into()));
    let outcome = run(request, &read_only()).outcome;
    assert!(
        matches!(outcome, Outcome::NotExecuted { exit_code: 126, errno: Some(Errno::E2BIG), .. }),
        "{outcome:?}"
    );
}
