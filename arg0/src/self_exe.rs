//! This binary, as something that can be executed.

use std::path::{Path, PathBuf};

/// Executes this very binary, whatever has become of the path that it was started from: the kernel goes to the file
/// itself (`proc_pid_exe(5)`).
pub const SELF_EXE: &str = "/proc/self/exe";

/// Why this binary has no path that others could use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelfExeError {
    /// `/proc` is not mounted, or hides us.
    #[error("{SELF_EXE} can't be read: {0}")]
    Unreadable(&'static str),
    /// The file was replaced or removed while it ran.
    #[error("{path} was removed or replaced since it was started", path = .0.display())]
    Gone(PathBuf),
}

/// The path at which others find this binary now.
///
/// # Errors
///
/// [`SelfExeError`] where there is none, or where it leads to another file.
pub fn self_exe() -> Result<PathBuf, SelfExeError> {
    let path = nix::fcntl::readlink(SELF_EXE)
        .map(PathBuf::from)
        .map_err(|errno| SelfExeError::Unreadable(errno.desc()))?;
    let identity = |path: &Path| nix::sys::stat::stat(path).map(|status| (status.st_dev, status.st_ino)).ok();
    if identity(&path).is_some() && identity(&path) == identity(Path::new(SELF_EXE)) {
        return Ok(path);
    }
    Err(SelfExeError::Gone(path))
}

#[cfg(test)]
mod tests {
    use super::self_exe;

    #[test]
    fn the_path_leads_to_this_binary() {
        assert_eq!(self_exe().unwrap(), std::env::current_exe().unwrap());
    }
}
