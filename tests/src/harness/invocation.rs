//! A run that was not started yet.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::requirements::PATH;
use super::running::{Run, Running};
use super::{Identity, Policy};

/// A command with everything that is handed to it, ready to run.
#[derive(Debug)]
#[must_use = "an invocation does nothing until it runs"]
pub struct Invocation {
    pub(super) scene_root: PathBuf,
    pub(super) policy: Option<Policy>,
    pub(super) identity: Identity,
    pub(super) words: Vec<OsString>,
    pub(super) environment: BTreeMap<OsString, OsString>,
    pub(super) directory: PathBuf,
    probe: PathBuf,
    launch: Vec<OsString>,
    /// Whether it is launched by whoever runs the tests, and becomes its own identity on the way.
    becomes: bool,
    input: Input,
}

/// What a run reads.
#[derive(Debug)]
enum Input {
    Null,
    Bytes(Vec<u8>),
    File(File),
    Open,
}

impl Invocation {
    pub(super) fn new(
        scene_root: &Path,
        probe: PathBuf,
        identity: Identity,
        policy: Option<Policy>,
        words: Vec<OsString>,
    ) -> Self {
        let environment = [
            ("PATH", OsString::from(PATH)),
            ("LANG", OsString::from("C.UTF-8")),
            ("HOME", scene_root.join("home").into_os_string()),
            ("CODEX_HOME", scene_root.join("codex-home").into_os_string()),
            ("TMPDIR", scene_root.join("tmp").into_os_string()),
        ];
        Self {
            scene_root: scene_root.to_owned(),
            policy,
            identity,
            words,
            environment: environment.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            directory: scene_root.join("workspace"),
            probe,
            launch: Vec::new(),
            becomes: false,
            input: Input::Null,
        }
    }

    /// Sets a variable of the environment, which else holds `PATH`, `LANG`, `HOME`, `CODEX_HOME` and `TMPDIR` only.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Leaves a variable out.
    pub fn without_env(mut self, name: &str) -> Self {
        self.environment.remove(OsStr::new(name));
        self
    }

    /// Starts elsewhere than in the workspace.
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        directory.as_ref().clone_into(&mut self.directory);
        self
    }

    /// Hands these bytes to stdin, which else is `/dev/null`.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Makes this file stdin.
    pub fn input_file(mut self, file: File) -> Self {
        self.input = Input::File(file);
        self
    }

    /// Keeps stdin open for [`Running::send`].
    pub fn open_input(mut self) -> Self {
        self.input = Input::Open;
        self
    }

    /// Sets process state first, by `probe launch` and its options: what a caller of `codex` may have set up.
    pub fn launched_with<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, options: I) -> Self {
        self.launch.extend(options.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Enters control groups first, by their `cgroup.procs`, with the rights of whoever runs the tests.
    pub fn in_groups<'f>(mut self, files: impl IntoIterator<Item = &'f Path>) -> Self {
        self.launch.extend(files.into_iter().flat_map(|file| [OsString::from("--cgroup"), file.into()]));
        if let Some(id) = self.identity.switch_to() {
            self.launch.extend(["--user".into(), id.to_string().into()]);
            self.becomes = true;
        }
        self
    }

    /// The command as one line for a shell, to run it inside of something else.
    #[must_use]
    pub fn shell_line(&self) -> String {
        self.words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }

    /// Runs to the end.
    ///
    /// # Panics
    ///
    /// Where the program can't be started, or doesn't end in time.
    pub fn run(self) -> Run {
        self.start().finish()
    }

    /// Starts the command.
    ///
    /// # Panics
    ///
    /// Where the program can't be started.
    pub fn start(mut self) -> Running {
        let mut words = Vec::new();
        if !self.launch.is_empty() {
            words.push(self.probe.clone().into_os_string());
            words.push("launch".into());
            words.append(&mut self.launch);
            words.push("--".into());
        }
        words.append(&mut self.words);
        self.words = words;

        let (program, arguments) = self.words.split_first().expect("a command has a program");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(&self.environment)
            .current_dir(&self.directory)
            // A group of its own: a run that hangs is killed whole, and a test can signal it as a terminal would.
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(id) = self.identity.switch_to().filter(|_| !self.becomes) {
            // The standard library drops the supplementary groups with the uid.
            command.uid(id).gid(id);
        }
        let bytes = match std::mem::replace(&mut self.input, Input::Null) {
            Input::Null => {
                command.stdin(Stdio::null());
                None
            }
            Input::File(file) => {
                command.stdin(file);
                None
            }
            Input::Bytes(bytes) => {
                command.stdin(Stdio::piped());
                Some(bytes)
            }
            Input::Open => {
                command.stdin(Stdio::piped());
                None
            }
        };
        let child = command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
        Running::new(self, child, bytes)
    }

    /// The command, who runs it, where, and with which environment.
    pub(super) fn describe(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|word| shorten(&quote(word))).collect();
        let environment: Vec<_> = self
            .environment
            .iter()
            .map(|(name, value)| shorten(&format!("{}={}", name.display(), quote(value))))
            .collect();
        format!(
            "  command: {}\n  as: {:?} (uid {}), in {}\n  environment: {}\n",
            words.join(" "),
            self.identity,
            self.identity.uid(),
            self.directory.display(),
            environment.join(" ")
        )
    }
}

/// A word as a shell would take it.
fn quote(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./=:,+@%".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A long word's beginning: some tests pass megabytes.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 1000;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start}… ({} bytes)", text.len())
}
