//! Rules about single places: what can't be read, what can all the same, what is kept as it is in the writable roots.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::host::HostGrant;
use super::resolve::PolicyError;
use super::trace::{Known, trace, trace_until};

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
    /// Hosts that commands can reach where the policy keeps the network off.
    pub allow_hosts: Vec<HostGrant>,
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
    /// Hosts that can be reached where the policy keeps the network off.
    pub hosts: Vec<HostGrant>,
}

impl ResolvedPlaces {
    /// Whether the user asked for something that Landlock can't do.
    #[must_use]
    pub const fn need_namespaces(&self) -> bool {
        !self.denied.is_empty() || self.private_tmp || !self.unix_sockets.is_empty()
    }

    /// Whether commands can't see a place: it lies in something that can't be read, and nothing in it is shown all the same.
    /// `place` is absolute, without links.
    #[must_use]
    pub fn hide(&self, place: &Path) -> bool {
        let covers = self.denied.iter().filter(|cover| place.starts_with(cover));
        let Some(cover) = covers.max_by_key(|cover| cover.as_os_str().len()) else { return false };
        // What is shown lies in its cover, or it would not be: what leads there can be passed.
        let mut shown = self.reopened.iter().filter(|shown| shown.starts_with(cover) && *shown != cover);
        !shown.any(|shown| place.starts_with(shown) || shown.starts_with(place))
    }

    /// Whether an absolute path leads into something that commands can't see, links followed as far as they could be by a
    /// command. Nothing that is hidden is looked at: the answer, and what it takes, is the same whatever lies there.
    #[must_use]
    pub fn hide_the_way_to(&self, path: &Path) -> bool {
        // What can't be looked at before that, no command can either.
        !self.denied.is_empty()
            && trace_until(path, &mut Known::default(), &|place| self.hide(place))
                .is_ok_and(|trace| trace.stopped)
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
            hosts: self.allow_hosts.clone(),
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
            ..PlaceRules::default()
        };
        let places = rules.resolve().unwrap();
        assert_eq!(places.denied, [top.join("secrets"), top.join("missing/file")]);
        assert_eq!(places.reopened, [top.join("secrets/public")]);
        assert!(places.private_tmp);
        assert_eq!(places.unix_sockets, [top.join("secrets/socket")]);
    }

    #[test]
    fn what_is_hidden_is_not_looked_at() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("secrets/deep/shown")).unwrap();
        fs::create_dir(top.join("visible")).unwrap();
        symlink("../visible", top.join("secrets/out")).unwrap();
        symlink("secrets", top.join("in")).unwrap();
        let rules = PlaceRules {
            deny_read: vec![top.join("secrets"), top.join("missing")],
            allow_read: vec![top.join("secrets/deep/shown")],
            ..PlaceRules::default()
        };
        let places = rules.resolve().unwrap();
        for hidden in [
            "secrets/x",
            "secrets/out",
            "secrets/out/y",
            "secrets/x/../../visible",
            "secrets/nothing/there",
            "in/x",
            "in/deep/other",
            "visible/../in/x",
            "missing",
            "missing/x",
        ] {
            assert!(places.hide_the_way_to(&top.join(hidden)), "{hidden}");
        }
        for seen in
            ["visible", "secrets2", "secrets/deep", "secrets/deep/shown/x", "in/deep/shown", "nothing/x"]
        {
            assert!(!places.hide_the_way_to(&top.join(seen)), "{seen}");
        }
        // Where nothing is shown, what is hidden is so from its top.
        let places = PlaceRules { allow_read: Vec::new(), ..rules }.resolve().unwrap();
        assert!(places.hide(&top.join("secrets")) && places.hide_the_way_to(&top.join("in")));
        assert!(!places.hide(&top) && !places.hide(&top.join("secrets2")));
    }

    #[test]
    fn a_relative_path_is_refused() {
        let rules = PlaceRules { deny_read: vec!["secrets".into()], ..PlaceRules::default() };
        let refused = PolicyError::Place { path: "secrets".into(), errno: Errno::EINVAL };
        assert_eq!(rules.resolve(), Err(refused));
    }
}
