//! The programs under test, and where scenes are built.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::{env, fs};

use nix::unistd::{AccessFlags, access};
use tempfile::TempDir;

/// Names another `codex` to test: a release build, an installed one.
const PROGRAM_VARIABLE: &str = "CODEX_TESTS_PROGRAM";

/// What only the compiler of a suite knows. Built by [`programs!`](crate::programs).
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// The path of `codex`.
    pub codex: &'static str,
    /// The path of `probe`.
    pub probe: &'static str,
    /// Cargo's directory for the files of integration tests.
    pub scratch: &'static str,
}

/// The [`Programs`] of the suite in which this is written: Cargo tells their paths to integration tests only.
#[macro_export]
macro_rules! programs {
    () => {
        $crate::harness::Programs {
            codex: env!("CARGO_BIN_EXE_codex-under-test"),
            probe: env!("CARGO_BIN_EXE_probe"),
            scratch: env!("CARGO_TARGET_TMPDIR"),
        }
    };
}

impl Programs {
    /// Where scenes are built: somewhere that every identity can enter, and that no policy makes writable by itself.
    pub(super) fn base(self) -> PathBuf {
        let always_writable = ["/tmp", "/dev/shm"];
        // The shorter path first: the address of a unix socket has 107 bytes for one, wherever the checkout is.
        [Path::new("/var/tmp"), Path::new(self.scratch)]
            .into_iter()
            .filter_map(|candidate| fs::canonicalize(candidate).ok())
            .find(|candidate| {
                !always_writable.iter().any(|root| candidate.starts_with(root))
                    && open_to_everyone(candidate)
                    && access(candidate, AccessFlags::W_OK).is_ok()
            })
            .expect("a directory for scenes: neither /var/tmp nor Cargo's target directory will do")
    }
}

/// Whether every user can walk to this directory.
fn open_to_everyone(directory: &Path) -> bool {
    directory
        .ancestors()
        .all(|step| fs::metadata(step).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0))
}

/// The programs under names and at a place that every identity can reach.
///
/// Cargo's directory may be below a home that only its owner can enter. The stage is shared by the scenes alive at a time,
/// and goes with the last of them.
#[derive(Debug)]
pub(super) struct Stage {
    directory: TempDir,
}

impl Stage {
    pub(super) fn shared(programs: Programs) -> Arc<Self> {
        static CURRENT: Mutex<Weak<Stage>> = Mutex::new(Weak::new());
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        current.upgrade().unwrap_or_else(|| {
            let stage = Arc::new(Self::new(programs));
            *current = Arc::downgrade(&stage);
            stage
        })
    }

    fn new(programs: Programs) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("codex-tests-programs-")
            .tempdir_in(programs.base())
            .expect("create a directory for the programs under test");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))
            .expect("open the directory of the programs under test");
        let stage = Self { directory };
        place(Path::new(programs.probe), &stage.probe());
        let codex = env::var_os(PROGRAM_VARIABLE).map_or_else(|| programs.codex.into(), PathBuf::from);
        place(&codex, &stage.codex());
        stage
    }

    pub(super) fn codex(&self) -> PathBuf {
        self.directory.path().join("codex")
    }

    pub(super) fn probe(&self) -> PathBuf {
        self.directory.path().join("probe")
    }
}

/// Puts `program` at `place`: by a link where the file system and the file's mode allow it, for it costs nothing.
fn place(program: &Path, place: &Path) {
    let metadata = fs::metadata(program)
        .unwrap_or_else(|error| panic!("program under test {}: {error}", program.display()));
    if metadata.mode() & 0o005 == 0o005 && fs::hard_link(program, place).is_ok() {
        return;
    }
    copy(program, place, 0o755);
}

/// Copies a program, by another process: written by this one, its descriptor would be inherited for a moment by whatever
/// another test starts just then, and the kernel runs no program that somebody can still write ("text file busy").
pub(super) fn copy(program: &Path, place: &Path, mode: u32) {
    let copied = Command::new("cp").arg("--").args([program, place]).status();
    assert!(copied.is_ok_and(|status| status.success()), "copy {} to {}", program.display(), place.display());
    fs::set_permissions(place, fs::Permissions::from_mode(mode)).expect("set the mode of the copy");
}
