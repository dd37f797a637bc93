//! The Python client: its types, and its own tests against a real server.
//!
//! What it needs is installed from PyPI into the directory of the tests, once. Where the tools for that are missing the tests are
//! skipped, and fail in CI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use codex_tests::harness::require_tool;

/// Tests install one after the other.
static INSTALLING: Mutex<()> = Mutex::new(());

/// The packages that a requirements file names, which has to name their versions. The directory has its name only once it is
/// whole.
pub(super) fn packages(requirements: &Path) -> Option<PathBuf> {
    if !["python3", "pip3"].iter().all(|tool| require_tool(tool).is_some()) {
        return None;
    }
    let _one = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let named = fs::read_to_string(requirements).unwrap();
    let lines = named.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let name: Vec<String> = lines.map(|line| line.replace("==", "-")).collect();
    assert!(name.iter().all(|one| one.contains('-')), "a package without a version: {name:?}");
    let above = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = above.join(name.join("+"));
    if !directory.exists() {
        let new = tempfile::Builder::new().prefix("installing-").tempdir_in(above).unwrap();
        let mut pip = Command::new("pip3");
        pip.args(["install", "--quiet", "--no-input", "--disable-pip-version-check", "--requirement"]);
        pip.arg(requirements).arg("--target").arg(new.path());
        let output = pip.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::rename(new.keep(), &directory).unwrap();
    }
    Some(directory)
}

#[test]
fn its_types_hold_and_its_tests_pass() {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/python");
    let Some(packages) = packages(&client.join("requirements-test.txt")) else { return };
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let run = |arguments: &[&str]| {
        let mut python = Command::new("python3");
        python.args(arguments).current_dir(&client);
        python.env("PYTHONPATH", format!("src:{}", packages.display())).env("PYTHONDONTWRITEBYTECODE", "1");
        python.env("CODEX_BIN", env!("CARGO_BIN_EXE_codex-under-test")).env("CODEX_SCRATCH", scratch.path());
        let output = python.stdin(Stdio::null()).output().unwrap();
        let said =
            [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    };
    let cache = scratch.path().join("mypy");
    run(&["-m", "mypy", "--cache-dir", cache.to_str().unwrap()]);
    let said = run(&["-m", "unittest", "discover", "tests"]);
    // No test is no success.
    assert!(said.contains("Ran 18 tests"), "{said}");
}
