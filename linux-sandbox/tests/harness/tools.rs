//! Programs that a machine may lack.

#![allow(dead_code, reason = "not every suite needs all of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use codex_core::exec::{ExecRequest, Sandbox};

use crate::runs::{request, succeed};

/// Says that something is not tested here. Where everything has to be tested, that is a failure.
pub(crate) fn skip(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "not tested: {what}");
    eprintln!("\n=== SKIPPED: {what} ===\n");
}

/// The tools that the suites need, one a line; CI installs them.
const TOOLS: &str = include_str!("../../../tests/tools.txt");

/// Where a program is, if it is installed.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let listed = TOOLS.lines().filter_map(|line| line.split_whitespace().next()).any(|tool| tool == name);
    assert!(listed, "{name} is not in tests/tools.txt, so CI would not install it");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// The interpreter itself: what is in `PATH` may be a script that chooses one, and writes files to do so.
pub(crate) fn python() -> Option<PathBuf> {
    let mut command = Command::new(tool("python3")?);
    let output =
        command.args(["-c", "import sys; print(sys.executable)"]).stdin(Stdio::null()).output().unwrap();
    Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()))
}

/// An act in Python, which has to be one statement; its result is the name of an errno, or `done`.
pub(crate) fn act(python: &Path, statement: &str, arguments: &[&str]) -> ExecRequest {
    let program = format!(
        "import errno, os, socket, struct, sys\ntry:\n {statement}\n print('done')\nexcept OSError as error:\n \
         print(errno.errorcode[error.errno])"
    );
    let mut words = vec![python.as_os_str().to_owned(), "-ISc".into(), program.into()];
    words.extend(arguments.iter().map(Into::into));
    request(words)
}

/// What became of an act.
pub(crate) fn result(request: ExecRequest, sandbox: &Sandbox) -> String {
    succeed(request, sandbox).trim_end().to_owned()
}
