//! A directory with this binary's other names, for the `PATH` of commands.
//!
//! One directory a process, `$CODEX_HOME/tmp/arg0/XXXXXX`, with a symbolic link for each name. The process holds a lock on
//! the directory itself for as long as it lives (`flock(2)`). A process that was killed leaves its directory behind,
//! unlocked; the next one removes it. No command can write there: nothing below `$CODEX_HOME` is ever writable.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink,
};
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
}

/// The directory of this process. Removed when dropped.
#[derive(Debug)]
pub struct AliasDirectory {
    path: PathBuf,
    // Let go of after the directory is gone: until then nobody else may take it for an abandoned one.
    _lock: Flock<File>,
}

impl AliasDirectory {
    /// Makes the directory below an existing `$CODEX_HOME`, and removes those that killed processes left.
    ///
    /// # Errors
    ///
    /// [`AliasError`]; what had been made by then is removed.
    pub fn create(codex_home: &Path) -> Result<Self, AliasError> {
        let program = self_exe()?;
        let parent = private_directory(&private_directory(codex_home, "tmp")?, "arg0")?;
        sweep(&parent);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| AliasError::Io { path, error }
        };
        let path = tempfile::Builder::new()
            .prefix("")
            .permissions(Permissions::from_mode(PRIVATE))
            .tempdir_in(&parent)
            .map_err(at(&parent))?
            // Removed by our own hand, which knows what is in it and needs two calls, not eight.
            .keep();
        let lock = lock(&path).inspect_err(|_taken| remove(&path)).map_err(at(&path))?;
        let directory = Self { path, _lock: lock };
        for (alias, _) in ALIASES {
            let link = directory.path.join(alias);
            symlink(&program, &link).map_err(at(&link))?;
        }
        Ok(directory)
    }

    /// Where the names are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A `PATH` that looks here first.
    #[must_use]
    pub fn first_in(&self, path: Option<OsString>) -> OsString {
        let mut first = self.path.clone().into_os_string();
        if let Some(path) = path {
            first.push(":");
            first.push(path);
        }
        first
    }
}

impl Drop for AliasDirectory {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes a directory of ours. What can't be removed is left to the next process, as after a crash.
fn remove(directory: &Path) {
    for (alias, _) in ALIASES {
        if let Err(_gone) = std::fs::remove_file(directory.join(alias)) {}
    }
    if let Err(_left) = std::fs::remove_dir(directory) {}
}

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

/// Takes a directory for this process, if nobody else has it.
fn lock(directory: &Path) -> io::Result<Flock<File>> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let directory = OpenOptions::new().read(true).custom_flags(flags.bits()).open(directory)?;
    Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

/// Removes directories whose process is gone. One that is in use is locked, and one that can't be removed will be tried
/// again by the next process.
fn sweep(parent: &Path) {
    let Ok(entries) = parent.read_dir() else { return };
    for directory in entries.flatten().map(|entry| entry.path()) {
        // A process between making its directory and locking it loses it here, finds it taken or gone, and goes without
        // aliases, once.
        if let Ok(_held) = lock(&directory)
            && let Err(_in_the_way) = std::fs::remove_dir_all(&directory)
        {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{AliasDirectory, AliasError};
    use crate::self_exe::self_exe;

    #[test]
    fn every_alias_leads_to_this_binary_until_the_end() {
        let home = tempfile::tempdir().unwrap();
        let aliases = AliasDirectory::create(home.path()).unwrap();
        let link = aliases.path().join("codex-linux-sandbox");
        assert_eq!(fs::read_link(link).unwrap(), self_exe().unwrap());
        assert_eq!(aliases.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let path = aliases.first_in(Some("/bin".into())).into_string().unwrap();
        assert_eq!(path, format!("{}:/bin", aliases.path().display()));

        let directory = aliases.path().to_owned();
        drop(aliases);
        assert!(!directory.exists());
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_is_not() {
        let home = tempfile::tempdir().unwrap();
        let in_use = AliasDirectory::create(home.path()).unwrap();
        let parent = in_use.path().parent().unwrap().to_owned();
        let abandoned = parent.join("abandoned");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join("codex-linux-sandbox"), "").unwrap();

        let next = AliasDirectory::create(home.path()).unwrap();
        assert!(!abandoned.exists());
        assert!(in_use.path().exists() && next.path().exists());
    }

    #[test]
    fn a_directory_that_others_can_write_is_not_used() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("tmp")).unwrap();
        fs::set_permissions(home.path().join("tmp"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(AliasDirectory::create(home.path()), Err(AliasError::NotPrivate(_))));
    }

    #[test]
    fn a_link_in_place_of_the_directory_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), home.path().join("tmp")).unwrap();
        assert!(matches!(AliasDirectory::create(home.path()), Err(AliasError::NotPrivate(_))));
        assert_eq!(elsewhere.path().read_dir().unwrap().count(), 0);
    }
}
