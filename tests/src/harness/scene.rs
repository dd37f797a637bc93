//! The world of one test.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::{PermissionsExt as _, chown, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use tempfile::TempDir;

use super::dispositions;
use super::invocation::Invocation;
use super::programs::{Stage, copy};
use super::requirements::announce;
use super::{Identity, Level, Policy, Programs, Victim};

/// Keeps scenes after the test, to look at.
const KEEP_VARIABLE: &str = "CODEX_TESTS_KEEP";

/// The world of one test, gone when it is dropped: everything in it belongs to the identity that the case runs as.
///
/// | path | is |
/// |---|---|
/// | `workspace/` | the policy cwd, and where runs start |
/// | `outside/` | what no policy makes writable |
/// | `home/` | `HOME` |
/// | `tmp/` | `TMPDIR`, which stands for `/tmp`: what lies in that one on this machine is none of the tests' |
/// | `codex-home/` | `CODEX_HOME`, apart from the roots, because a root that contains it is refused |
#[derive(Debug)]
pub struct Scene {
    root: PathBuf,
    identity: Identity,
    level: Option<Level>,
    stage: Arc<Stage>,
    // Dropped last of all: it removes the directory.
    _directory: Option<TempDir>,
}

/// Runs `body` in a new scene as `identity`; where this process can't be that identity, or this machine doesn't have the
/// level, says so and returns.
pub fn run_case(name: &str, identity: Identity, level: Option<Level>, programs: Programs, body: fn(&Scene)) {
    if !identity.available() {
        announce(&format!("SKIP: {name} as {identity:?} needs the tests to run as root"));
        return;
    }
    dispositions::reset();
    let scene = Scene::new(name, identity, level, programs);
    if level.is_none_or(|level| level.available(&scene)) {
        body(&scene);
    }
}

/// Makes one test an identity of each function named: `NAME::root` and `NAME::user`, at the level that `codex` chooses.
///
/// The functions take `&Scene`. A function that is not listed is dead code, which the lints refuse, so none is forgotten.
#[macro_export]
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            $crate::identities!($name, super::$name, None);
        }
    )+};
}

/// Makes one test a level and an identity of each function named: `NAME::landlock::root` and so on.
#[macro_export]
macro_rules! cases_by_level {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            mod landlock {
                $crate::identities!($name, super::super::$name, Some($crate::harness::Level::Landlock));
            }

            mod namespaces {
                $crate::identities!($name, super::super::$name, Some($crate::harness::Level::Namespaces));
            }
        }
    )+};
}

/// Makes one test an identity of each function named, at one level: `NAME::root` and `NAME::user`.
#[macro_export]
macro_rules! cases_at {
    ($level:ident; $($name:ident),+ $(,)?) => {$(
        mod $name {
            $crate::identities!($name, super::$name, Some($crate::harness::Level::$level));
        }
    )+};
}

/// The tests `root` and `user` of one function, for [`cases!`](crate::cases) and its kin.
#[macro_export]
macro_rules! identities {
    ($name:ident, $body:path, $level:expr) => {
        use $crate::harness::{Identity, run_case};

        #[test]
        fn root() {
            run_case(stringify!($name), Identity::Root, $level, $crate::programs!(), $body);
        }

        #[test]
        fn user() {
            run_case(stringify!($name), Identity::User, $level, $crate::programs!(), $body);
        }
    };
}

impl Scene {
    fn new(name: &str, identity: Identity, level: Option<Level>, programs: Programs) -> Self {
        let mut directory = tempfile::Builder::new()
            .prefix(&format!("codex-tests-{name}-"))
            .tempdir_in(programs.base())
            .expect("create the scene");
        directory.disable_cleanup(env::var_os(KEEP_VARIABLE).is_some());
        let root = fs::canonicalize(directory.path()).expect("resolve the scene's path");
        let scene =
            Self { root, identity, level, stage: Stage::shared(programs), _directory: Some(directory) };
        scene.give_away(&scene.root);
        // Entered by every user, so that a row that switches user still finds the scene.
        fs::set_permissions(&scene.root, fs::Permissions::from_mode(0o755)).expect("open the scene");
        for place in ["workspace", "outside", "home", "tmp", "codex-home"] {
            scene.directory(place);
        }
        scene
    }

    /// Another scene beside this one, with the same identity: rows of a table must not see one another's traces.
    #[must_use]
    pub fn fresh(&self, name: &str) -> Self {
        let root = self.root.join(format!("scene-{name}"));
        fs::create_dir(&root).expect("create a scene within the scene");
        let (identity, level) = (self.identity, self.level);
        let scene = Self { root, identity, level, stage: Arc::clone(&self.stage), _directory: None };
        scene.give_away(&scene.root);
        for place in ["workspace", "outside", "home", "tmp", "codex-home"] {
            scene.directory(place);
        }
        scene
    }

    /// The directory that holds everything.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the scene.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The policy cwd.
    #[must_use]
    pub fn workspace(&self) -> PathBuf {
        self.path("workspace")
    }

    /// What no policy makes writable.
    #[must_use]
    pub fn outside(&self) -> PathBuf {
        self.path("outside")
    }

    /// Who runs here.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The level that restricted runs here ask for.
    ///
    /// # Panics
    ///
    /// In a case that is about no level.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level.expect("a case by level")
    }

    /// The probe program.
    #[must_use]
    pub fn probe_program(&self) -> PathBuf {
        self.stage.probe()
    }

    /// A copy of the probe program that belongs to whoever runs the tests, with the given mode.
    #[must_use]
    pub fn probe_copy(&self, relative: &str, mode: u32) -> PathBuf {
        let path = self.path(relative);
        copy(&self.stage.probe(), &path, mode);
        path
    }

    /// The program under test.
    #[must_use]
    pub fn codex_program(&self) -> PathBuf {
        self.stage.codex()
    }

    /// Makes a directory, its ancestors included.
    pub fn directory(&self, relative: &str) -> PathBuf {
        let mut path = self.root.clone();
        for component in Path::new(relative).components() {
            path.push(component);
            if !path.is_dir() {
                fs::create_dir(&path).expect("create a directory of the scene");
                self.give_away(&path);
            }
        }
        path
    }

    /// Writes a file.
    pub fn file(&self, relative: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        fs::write(&path, content).expect("write a file of the scene");
        self.give_away(&path);
        path
    }

    /// Writes a file with the given mode.
    pub fn file_with_mode(&self, relative: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.file(relative, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .expect("set the mode of a file of the scene");
        path
    }

    /// Makes a symlink.
    pub fn symlink(&self, target: impl AsRef<Path>, relative: &str) -> PathBuf {
        let path = self.path(relative);
        std::os::unix::fs::symlink(target, &path).expect("make a link of the scene");
        if let Some(id) = self.identity.switch_to() {
            lchown(&path, Some(id), Some(id)).expect("hand a link of the scene over");
        }
        path
    }

    /// Hands something of the scene to the identity that runs here.
    pub fn give_away(&self, path: &Path) {
        if let Some(id) = self.identity.switch_to() {
            chown(path, Some(id), Some(id)).expect("hand a part of the scene over");
        }
    }

    /// Commands under `policy`.
    #[must_use]
    pub fn under(&self, policy: Policy) -> Sandbox<'_> {
        let mut options = policy.options();
        if let Some(level) = self.level
            && policy.is_restricted()
        {
            options.extend(["--isolation", level.name()].map(OsString::from));
        }
        Sandbox { scene: self, policy, options, slash_tmp: false }
    }

    /// `codex` with these arguments, as typed.
    pub fn codex<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Invocation {
        let words = arguments.into_iter().map(|word| word.as_ref().to_owned());
        self.invocation(None, [self.stage.codex().into_os_string()].into_iter().chain(words).collect())
    }

    /// A process of this identity outside of any sandbox.
    #[must_use]
    pub fn victim(&self) -> Victim {
        Victim::start(self)
    }

    fn invocation(&self, policy: Option<Policy>, words: Vec<OsString>) -> Invocation {
        Invocation::new(&self.root, self.stage.probe(), self.identity, policy, words)
    }
}

/// `codex debug sandbox` under a policy, ready for a command. Under [`Policy::Bare`] the command runs as it is.
#[derive(Clone, Debug)]
pub struct Sandbox<'s> {
    scene: &'s Scene,
    policy: Policy,
    options: Vec<OsString>,
    slash_tmp: bool,
}

impl Sandbox<'_> {
    /// Leaves `/tmp` and `/dev/shm` to the configuration. Otherwise they are no writable roots, so that no run looks for
    /// repositories in what others have there.
    #[must_use]
    pub fn with_slash_tmp(mut self) -> Self {
        self.slash_tmp = true;
        self
    }

    /// Adds options of `codex debug sandbox`.
    #[must_use]
    pub fn options<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, words: I) -> Self {
        self.options.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// The run of a command.
    pub fn command<I: IntoIterator<Item: AsRef<OsStr>>>(
        self,
        program: impl AsRef<OsStr>,
        arguments: I,
    ) -> Invocation {
        let mut words = Vec::new();
        if self.policy != Policy::Bare {
            words.push(self.scene.stage.codex().into_os_string());
            words.extend(["debug", "sandbox"].map(OsString::from));
            if !self.slash_tmp && self.policy.is_restricted() {
                words.extend(["-c", "sandbox_workspace_write.exclude_slash_tmp=true"].map(OsString::from));
            }
            words.extend(self.options);
            words.push("--".into());
        }
        words.push(program.as_ref().to_owned());
        words.extend(arguments.into_iter().map(|word| word.as_ref().to_owned()));
        self.scene.invocation(Some(self.policy), words)
    }

    /// The run of a probe.
    pub fn probe<I: IntoIterator<Item: AsRef<OsStr>>>(self, arguments: I) -> Invocation {
        let program = self.scene.stage.probe();
        self.command(program, arguments)
    }

    /// The run of a shell script.
    pub fn shell(self, script: &str) -> Invocation {
        self.command("sh", ["-c", script])
    }
}
