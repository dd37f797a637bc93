//! Names that do not exist and must not come to be, by the directory that they would stand in.
//!
//! A repository has some sixty of them, nearly always the same. So there is one list for all directories that have none of
//! them, and what is done for each call is done for a directory, not for a name.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names that do not exist below a directory that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsentNames {
    /// The directory.
    pub directory: PathBuf,
    /// Relative paths, mostly of one component. Of a longer one, not even the first exists.
    pub names: Arc<[PathBuf]>,
}

impl AbsentNames {
    /// The last component of a path, in its directory.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = PathBuf::from(path.file_name()?);
        Some(Self { directory: path.parent()?.to_owned(), names: [name].into() })
    }

    /// The whole paths.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.names.iter().map(|name| self.directory.join(name))
    }

    /// Whether a path is one of them, or would lie below one.
    #[must_use]
    pub fn covers(&self, path: &Path) -> bool {
        let below = path.strip_prefix(&self.directory);
        below.is_ok_and(|place| self.names.iter().any(|name| place.starts_with(name)))
    }

    /// Whether a path is among them.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        path.strip_prefix(&self.directory).is_ok_and(|name| self.names.iter().any(|one| one == name))
    }
}

/// The names that are looked for at the top of work trees.
#[derive(Debug)]
pub(super) struct Names {
    all: Arc<[PathBuf]>,
    /// Of each, the first component in lower case.
    firsts: Vec<Vec<u8>>,
}

impl Names {
    pub(super) fn new(names: Vec<PathBuf>) -> Self {
        use std::os::unix::ffi::OsStrExt as _;

        let first =
            |name: &PathBuf| name.iter().next().unwrap_or(OsStr::new("")).as_bytes().to_ascii_lowercase();
        Self { firsts: names.iter().map(first).collect(), all: names.into() }
    }

    /// The names without those that may exist, and these, by whether a first component in lower case may.
    pub(super) fn split(&self, may_exist: impl Fn(&[u8]) -> bool) -> (Arc<[PathBuf]>, Vec<PathBuf>) {
        let pairs = || self.all.iter().zip(&self.firsts);
        let there: Vec<PathBuf> =
            pairs().filter(|(_, first)| may_exist(first)).map(|(name, _)| name.clone()).collect();
        if there.is_empty() {
            return (Arc::clone(&self.all), there);
        }
        let rest = pairs().filter(|(_, first)| !may_exist(first)).map(|(name, _)| name.clone());
        (rest.collect(), there)
    }
}
