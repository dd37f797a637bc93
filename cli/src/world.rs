//! What the process finds around itself. Every environment variable that the program reads by name is named here, but
//! for `RUST_LOG`, and what `codex exec-server` reads of OpenTelemetry.

use std::ffi::OsString;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use codex_linux_sandbox::shown;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// Where the configuration is, if not in `~/.codex`.
const CODEX_HOME: &str = "CODEX_HOME";
/// Where the user's own files are.
const HOME: &str = "HOME";
/// Where temporary files go.
const TMPDIR: &str = "TMPDIR";
/// The level of the sandbox that this process is in already, where we put it there.
const SANDBOX: &str = codex_core::exec::LEVEL_VARIABLE;
/// Set, it asks for output without colours (no-color.org).
const NO_COLOR: &str = "NO_COLOR";

/// What a service manager passes sockets by (`sd_listen_fds(3)`).
pub(crate) const PASSED: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// What kind of terminal the user's is (`term(7)`), and how large where it does not say itself.
const TERM: &str = "TERM";
const LINES: &str = "LINES";
const COLUMNS: &str = "COLUMNS";
/// What the terminals are that people have today, or behave like.
const USUAL_TERM: &str = "xterm-256color";

/// What is said of passed sockets.
pub(crate) struct Passed {
    /// Whom they are meant for.
    pub(crate) process: u32,
    pub(crate) count: u32,
    /// Their names, with colons between them.
    pub(crate) names: String,
}

/// What is said of sockets that are passed to this process or to another one.
pub(crate) fn passed() -> Option<Passed> {
    let [process, count, names] = PASSED.map(variable);
    let number = |text: Option<OsString>| text?.to_str()?.parse().ok();
    let names = names.map(|names| names.to_string_lossy().into_owned()).unwrap_or_default();
    Some(Passed { process: number(process)?, count: number(count)?, names })
}

/// The kind of the user's terminal, for a command that has one of its own.
pub(crate) fn terminal_kind() -> (OsString, OsString) {
    (TERM.into(), variable(TERM).unwrap_or_else(|| USUAL_TERM.into()))
}

/// How many lines the user's terminal has, where somebody says so.
pub(crate) fn terminal_lines() -> Option<u16> {
    size(LINES)
}

/// How many columns it has.
pub(crate) fn terminal_columns() -> Option<u16> {
    size(COLUMNS)
}

fn size(name: &str) -> Option<u16> {
    variable(name)?.to_str()?.parse().ok().filter(|size| *size > 0)
}

/// A variable that is set to something.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether the user asked for output without colours.
pub(crate) fn no_color() -> bool {
    variable(NO_COLOR).is_some()
}

/// Whether a sandbox of ours is around this process, by what it says itself.
pub(crate) fn nested() -> bool {
    variable(SANDBOX).is_some()
}

/// Why the surroundings make no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorldError {
    #[error("{CODEX_HOME} is {path}, which is not absolute: it has to name the directory of config.toml", path = shown(.0))]
    RelativeCodexHome(PathBuf),
}

/// The process's surroundings, read once.
#[derive(Debug)]
pub(crate) struct World {
    /// The working directory, where it still exists.
    pub(crate) current_directory: Option<PathBuf>,
    /// The home directory, where one is set. Without links.
    pub(crate) home: Option<PathBuf>,
    /// The directory of the configuration, whether it exists or not. None where neither it nor a home is set.
    pub(crate) codex_home: Option<PathBuf>,
    /// The directory for temporary files, where one is set.
    pub(crate) tmpdir: Option<PathBuf>,
}

impl World {
    pub(crate) fn read() -> Result<Self, WorldError> {
        let home = variable(HOME).map(PathBuf::from).filter(|home| home.is_absolute());
        let codex_home = match variable(CODEX_HOME).map(PathBuf::from) {
            Some(path) if path.is_absolute() => Some(path),
            Some(path) => return Err(WorldError::RelativeCodexHome(path)),
            None => home.as_deref().map(|home| home.join(".codex")),
        };
        // Places are compared with their links followed: behind a link, nobody would know a secret of the home directory's as one.
        let home = home.map(|home| home.canonicalize().unwrap_or(home));
        Ok(Self {
            current_directory: std::env::current_dir().ok(),
            home,
            codex_home,
            tmpdir: variable(TMPDIR).map(PathBuf::from),
        })
    }

    /// A path as it was typed, made absolute; its links are left to whoever resolves it.
    pub(crate) fn absolute(&self, path: &Path) -> Option<PathBuf> {
        if path.is_absolute() {
            return Some(path.to_owned());
        }
        self.current_directory.as_ref().map(|directory| directory.join(path))
    }
}

/// Keeps our own descriptors away from the numbers of standard streams that the caller closed. What stands there instead
/// can't be read or written, as if nothing did, and is gone when a program is executed.
pub(crate) fn keep_standard_streams_apart() {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    while let Ok(descriptor) = open("/", flags, Mode::empty()) {
        if descriptor.as_raw_fd() > 2 {
            break;
        }
        // Open for as long as the process lives.
        std::mem::forget(descriptor);
    }
}
