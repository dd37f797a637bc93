//! Rules about single places: what can't be read, what can all the same, what is kept as it is in the writable roots.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::resolve::PolicyError;
use super::trace::{Known, trace};

/// What the user says about single places, as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceRules {
    /// Files and directories that commands can't read. Absolute.
    pub deny_read: Vec<PathBuf>,
    /// What can be read although it lies below one of these. Absolute.
    pub allow_read: Vec<PathBuf>,
    /// Whether each command has an empty `/tmp` of its own.
    pub private_tmp: bool,
    /// Sockets of the host that commands can connect to. Absolute.
    pub allow_unix_sockets: Vec<PathBuf>,
}

/// The same, its paths made real.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedPlaces {
    /// What can't be read.
    pub denied: Vec<PathBuf>,
    /// What can be read all the same.
    pub reopened: Vec<PathBuf>,
    /// Whether `/tmp` is the command's own.
    pub private_tmp: bool,
    /// Sockets of the host that can be connected to.
    pub unix_sockets: Vec<PathBuf>,
}

impl ResolvedPlaces {
    /// Whether the user asked for something that Landlock can't do.
    #[must_use]
    pub const fn need_namespaces(&self) -> bool {
        !self.denied.is_empty() || self.private_tmp || !self.unix_sockets.is_empty()
    }
}

impl PlaceRules {
    /// Makes the paths real. A path that does not exist stays as it is: it may come into existence.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Place`] for a path that can't be looked at, or is relative.
    pub fn resolve(&self) -> Result<ResolvedPlaces, PolicyError> {
        let mut known = Known::default();
        let mut real = |paths: &[PathBuf]| -> Result<Vec<PathBuf>, PolicyError> {
            paths.iter().map(|path| look_up(path, &mut known)).collect()
        };
        Ok(ResolvedPlaces {
            denied: real(&self.deny_read)?,
            reopened: real(&self.allow_read)?,
            private_tmp: self.private_tmp,
            unix_sockets: real(&self.allow_unix_sockets)?,
        })
    }
}

fn look_up(path: &Path, known: &mut Known) -> Result<PathBuf, PolicyError> {
    let error = |errno| PolicyError::Place { path: path.to_owned(), errno };
    if !path.is_absolute() {
        return Err(error(Errno::EINVAL));
    }
    Ok(trace(path, known).map_err(error)?.resolved)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{Errno, PlaceRules, PolicyError};

    #[test]
    fn links_lead_to_what_is_meant_and_what_is_missing_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        fs::create_dir(top.join("secrets")).unwrap();
        symlink("secrets", top.join("link")).unwrap();
        let rules = PlaceRules {
            deny_read: vec![top.join("link"), top.join("missing/file")],
            allow_read: vec![top.join("link/public")],
            private_tmp: true,
            allow_unix_sockets: vec![top.join("link/socket")],
        };
        let places = rules.resolve().unwrap();
        assert_eq!(places.denied, [top.join("secrets"), top.join("missing/file")]);
        assert_eq!(places.reopened, [top.join("secrets/public")]);
        assert!(places.private_tmp);
        assert_eq!(places.unix_sockets, [top.join("secrets/socket")]);
    }

    #[test]
    fn a_relative_path_is_refused() {
        let rules = PlaceRules { deny_read: vec!["secrets".into()], ..PlaceRules::default() };
        let refused = PolicyError::Place { path: "secrets".into(), errno: Errno::EINVAL };
        assert_eq!(rules.resolve(), Err(refused));
    }
}
