//! A directory with this binary's other names, for the `PATH` of commands.
//!
//! One directory for each place that the binary is started from, `$CODEX_HOME/tmp/arg0/HASH`, with a symbolic link for
//! each name. It is made once, under a lock, and only looked at afterwards: a directory made and removed by every process
//! cost 0.3 ms a start, and 8 ms where the disk was busy. Each link is put in place by one rename, so that a process that
//! is killed leaves nothing half done; what leads to a binary that is gone is removed by whoever makes the next one.
//! No command can write there: nothing below `$CODEX_HOME` is ever writable.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::geteuid;

use crate::route::ALIASES;
use crate::self_exe::{SelfExeError, self_exe};

/// Only the user may look into it or write to it.
const PRIVATE: u32 = 0o700;
/// The bits that would let somebody else write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why commands go without the other names. Never a reason not to run them.
#[derive(Debug, thiserror::Error)]
pub enum AliasError {
    /// There is no path to link to.
    #[error(transparent)]
    SelfExe(#[from] SelfExeError),
    /// Something on the way could not be made or opened.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Somebody else could put programs there.
    #[error("{path} belongs to somebody else or can be written by others", path = .0.display())]
    NotPrivate(PathBuf),
    /// Another process is making it at this moment.
    #[error("{path} is being changed by another process", path = .0.display())]
    Busy(PathBuf),
}

/// The directory with the other names of this binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasDirectory(PathBuf);

impl AliasDirectory {
    /// Finds the directory below an existing `$CODEX_HOME`, or makes it.
    ///
    /// # Errors
    ///
    /// [`AliasError`]: commands then go without.
    pub fn provide(codex_home: &Path) -> Result<Self, AliasError> {
        let program = self_exe()?;
        let parent = private_directory(&private_directory(codex_home, "tmp")?, "arg0")?;
        let name = format!("{:016x}", fnv1a(program.as_os_str().as_bytes()));
        let directory = private_directory(&parent, &name)?;
        if ALIASES.iter().any(|(alias, _)| !leads_to(&directory.join(alias), &program)) {
            make(&parent, &directory, &program)?;
        }
        Ok(Self(directory))
    }

    /// Where the names are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A `PATH` that looks here first.
    #[must_use]
    pub fn first_in(&self, path: Option<OsString>) -> OsString {
        let mut first = self.0.clone().into_os_string();
        if let Some(path) = path {
            first.push(":");
            first.push(path);
        }
        first
    }
}

/// A directory of this name that nobody else can write, made where it is missing.
fn private_directory(parent: &Path, name: &str) -> Result<PathBuf, AliasError> {
    let path = parent.join(name);
    let io = |error| AliasError::Io { path: path.clone(), error };
    let status = match path.symlink_metadata() {
        Ok(status) => status,
        Err(_missing) => {
            match DirBuilder::new().mode(PRIVATE).create(&path) {
                Ok(()) => {}
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io(error)),
            }
            path.symlink_metadata().map_err(io)?
        }
    };
    if !status.is_dir() || status.uid() != geteuid().as_raw() || status.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(AliasError::NotPrivate(path));
    }
    Ok(path)
}

/// Puts the names in place, and removes those of binaries that are gone. One process at a time.
fn make(parent: &Path, directory: &Path, program: &Path) -> Result<(), AliasError> {
    let _lock = lock(parent)?;
    for (alias, _) in ALIASES {
        let (link, new) = (directory.join(alias), directory.join(format!(".{alias}.new")));
        let at = |error| AliasError::Io { path: link.clone(), error };
        match std::fs::remove_file(&new) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(error)),
        }
        symlink(program, &new).and_then(|()| std::fs::rename(&new, &link)).map_err(at)?;
    }
    sweep(parent);
    Ok(())
}

fn lock(directory: &Path) -> Result<Flock<File>, AliasError> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(directory);
    let file = file.map_err(|error| AliasError::Io { path: directory.to_owned(), error })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| AliasError::Busy(directory.to_owned()))
}

/// Removes directories whose names lead nowhere any more. What can't be removed is left to the next process.
fn sweep(parent: &Path) {
    let Ok(entries) = parent.read_dir() else { return };
    for directory in entries.flatten().map(|entry| entry.path()) {
        let abandoned = ALIASES.iter().all(|(alias, _)| !directory.join(alias).exists());
        if abandoned && let Err(_in_the_way) = std::fs::remove_dir_all(&directory) {}
    }
}

fn leads_to(link: &Path, program: &Path) -> bool {
    std::fs::read_link(link).is_ok_and(|target| target == program)
}

/// A short name for a path: FNV-1a, 64 bits. Two paths with the same name would take turns, and both be right.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::{ALIASES, AliasDirectory, AliasError, lock};
    use crate::self_exe::self_exe;

    const ALIAS: &str = "codex-linux-sandbox";

    #[test]
    fn every_alias_leads_to_this_binary_and_is_made_once() {
        let home = tempfile::tempdir().unwrap();
        let aliases = AliasDirectory::provide(home.path()).unwrap();
        let link = aliases.path().join(ALIAS);
        assert_eq!(fs::read_link(&link).unwrap(), self_exe().unwrap());
        assert_eq!(aliases.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let path = aliases.first_in(Some("/bin".into())).into_string().unwrap();
        assert_eq!(path, format!("{}:/bin", aliases.path().display()));

        // With the lock taken, nothing could be made: the second call only looks.
        let _held = lock(aliases.path().parent().unwrap()).unwrap();
        assert_eq!(AliasDirectory::provide(home.path()).unwrap(), aliases);
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_put_right() {
        let home = tempfile::tempdir().unwrap();
        let aliases = AliasDirectory::provide(home.path()).unwrap();
        let link = aliases.path().join(ALIAS);
        fs::remove_file(&link).unwrap();
        symlink("/bin/true", &link).unwrap();
        // What a process that was killed in the middle of it leaves.
        symlink("/bin/false", aliases.path().join(format!(".{ALIAS}.new"))).unwrap();
        AliasDirectory::provide(home.path()).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), self_exe().unwrap());
        assert_eq!(aliases.path().read_dir().unwrap().count(), ALIASES.len());
    }

    #[test]
    fn what_leads_to_a_binary_that_is_gone_is_removed_by_the_next() {
        let home = tempfile::tempdir().unwrap();
        let parent = home.path().join("tmp/arg0");
        let (gone, there) = (parent.join("gone"), parent.join("there"));
        for (directory, target) in [(&gone, "/nowhere/codex"), (&there, "/bin/sh")] {
            fs::create_dir_all(directory).unwrap();
            symlink(target, directory.join(ALIAS)).unwrap();
        }
        for directory in [home.path().join("tmp"), parent.clone()] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
        }
        AliasDirectory::provide(home.path()).unwrap();
        assert!(!gone.exists() && there.exists());
    }

    #[test]
    fn one_process_at_a_time_makes_it_and_the_others_go_without() {
        let home = tempfile::tempdir().unwrap();
        let aliases = AliasDirectory::provide(home.path()).unwrap();
        fs::remove_file(aliases.path().join(ALIAS)).unwrap();
        let held = lock(aliases.path().parent().unwrap()).unwrap();
        assert!(matches!(AliasDirectory::provide(home.path()), Err(AliasError::Busy(_))));
        drop(held);
        AliasDirectory::provide(home.path()).unwrap();
    }

    #[test]
    fn a_directory_that_others_can_write_is_not_used() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("tmp")).unwrap();
        fs::set_permissions(home.path().join("tmp"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(AliasDirectory::provide(home.path()), Err(AliasError::NotPrivate(_))));
    }

    #[test]
    fn a_link_in_place_of_the_directory_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), home.path().join("tmp")).unwrap();
        assert!(matches!(AliasDirectory::provide(home.path()), Err(AliasError::NotPrivate(_))));
        assert_eq!(elsewhere.path().read_dir().unwrap().count(), 0);
    }
}
