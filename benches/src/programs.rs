//! The programs that are measured, and where they are.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::Outcome;

/// Measures another binary than the one that was built beside this one.
const CODEX_BIN: &str = "CODEX_BIN";

/// What is measured, found once.
pub(crate) struct Programs {
    /// The command line.
    pub(crate) codex: PathBuf,
    /// The helper as a program of its own, where it was built.
    pub(crate) helper: Option<PathBuf>,
    /// The reference, where it is installed and works here.
    pub(crate) bwrap: Option<PathBuf>,
    /// A command that does nothing.
    pub(crate) idle: PathBuf,
    /// This program.
    pub(crate) own: PathBuf,
    scratch: TempDir,
}

impl Programs {
    /// Finds everything, and says what is missing that has to be there.
    pub(crate) fn find() -> Outcome<Self> {
        let own = std::env::current_exe()?;
        // target/TRIPLE/release/deps/budgets-HASH
        let built = own.parent().and_then(Path::parent).ok_or("this program lies in no target directory")?;
        let codex = std::env::var_os(CODEX_BIN).map_or_else(|| built.join("codex"), PathBuf::from);
        if !codex.is_file() {
            let codex = codex.display();
            return Err(format!("{codex}: not built; run benches/run, or set {CODEX_BIN}").into());
        }
        let idle = in_path("true").ok_or("there is no `true` in PATH")?;
        let bwrap = in_path("bwrap").filter(|bwrap| {
            let mut probe = Command::new(bwrap);
            let probe = probe.args(BWRAP_NAMESPACES).arg(&idle).stderr(Stdio::null());
            probe.status().is_ok_and(|status| status.success())
        });
        // Not below /tmp: roots there would be folded into it.
        let scratch = tempfile::Builder::new().prefix("codex-benches").tempdir_in(built)?;
        fs::create_dir(scratch.path().join("home"))?;
        fs::create_dir(scratch.path().join("workspace"))?;
        // As they are after an installation: a linker writes a file through a mapping, which leaves it in the page cache in the
        // smallest pieces, and a start from these takes up to a third longer.
        let installed = |program: &Path| -> Outcome<PathBuf> {
            let copy = scratch.path().join(program.file_name().unwrap_or_default());
            fs::copy(program, &copy)?;
            Ok(copy)
        };
        let helper = codex.with_file_name(codex_linux_sandbox::PROGRAM);
        let helper = if helper.is_file() { Some(installed(&helper)?) } else { None };
        let codex = installed(&codex)?;
        Ok(Self { codex, helper, bwrap, idle, own, scratch })
    }

    /// A directory for this run alone, removed with it.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// A workspace: an empty directory.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.scratch.path().join("workspace")
    }

    /// An idle command that is started directly.
    pub(crate) fn bare(&self) -> Command {
        quiet(&self.idle, [])
    }

    /// `codex` with these arguments, and an empty configuration of its own.
    pub(crate) fn codex<'a>(&self, arguments: impl IntoIterator<Item = &'a OsStr>) -> Command {
        let mut command = quiet(&self.codex, arguments);
        command.env("CODEX_HOME", self.scratch.path().join("home"));
        command
    }

    /// `codex sandbox` with these options and the idle command.
    pub(crate) fn sandbox(&self, options: &[&str]) -> Command {
        let words = ["sandbox"].iter().chain(options).chain(&["--"]).map(|word| OsStr::new(*word));
        self.codex(words.chain([self.idle.as_os_str()]))
    }

    /// The helper with these permissions and the idle command.
    pub(crate) fn helper(&self, helper: &Path, permissions: &[OsString]) -> Command {
        let mut command = quiet(helper, permissions.iter().map(OsString::as_os_str));
        command.arg("--").arg(&self.idle);
        command
    }
}

/// `bwrap` with every namespace that it has.
pub(crate) const BWRAP_NAMESPACES: &[&str] =
    &["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all"];
/// `bwrap` at its least: a mount namespace.
pub(crate) const BWRAP_LEAST: &[&str] = &["--ro-bind", "/", "/"];

/// A command without input and output.
pub(crate) fn quiet<'a>(program: &Path, arguments: impl IntoIterator<Item = &'a OsStr>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}
