//! Paths that are compared by their bytes.
//!
//! `Path` compares by components, and takes each path apart to do so: half a microsecond, several times for each place of a
//! plan. A path without `.`, `..`, doubled or trailing slashes needs no taking apart.

use std::cmp::Ordering;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A path without `.`, `..`, doubled or trailing slashes, in the order of `Path`: what is in a directory stands right
/// behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainPath(PathBuf);

impl PlainPath {
    /// Takes a path that is plain already. Another is in no useful order.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The path.
    #[must_use]
    pub fn into_inner(self) -> PathBuf {
        self.0
    }
}

impl Deref for PlainPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Ord for PlainPath {
    fn cmp(&self, other: &Self) -> Ordering {
        by_component(self, other)
    }
}

impl PartialOrd for PlainPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares plain paths as `Path` does.
#[must_use]
pub fn by_component(one: &Path, other: &Path) -> Ordering {
    let (one, other) = (one.as_os_str().as_bytes(), other.as_os_str().as_bytes());
    match one.iter().zip(other).find(|(one, other)| one != other) {
        // A component ends before it goes on.
        Some((b'/', _)) => Ordering::Less,
        Some((_, b'/')) => Ordering::Greater,
        Some((one, other)) => one.cmp(other),
        None => one.len().cmp(&other.len()),
    }
}

/// Whether a plain path is another one, or lies in it.
#[must_use]
pub fn is_within(path: &Path, above: &Path) -> bool {
    let (path, above) = (path.as_os_str().as_bytes(), above.as_os_str().as_bytes());
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || above.ends_with(b"/") || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::{by_component, is_within};

    /// Absolute plain paths of components that are alike.
    fn plain() -> impl Strategy<Value = PathBuf> {
        let component = prop_oneof!["[ab.!-]{1,3}", Just("a".to_owned())];
        let component = component.prop_filter("plain", |name| name != "." && name != "..");
        prop::collection::vec(component, 0..4).prop_map(|names| Path::new("/").join(names.join("/")))
    }

    proptest! {
        #[test]
        fn they_are_compared_as_paths_are(one in plain(), other in plain()) {
            prop_assert_eq!(by_component(&one, &other), one.cmp(&other));
            prop_assert_eq!(is_within(&one, &other), one.starts_with(&other));
        }
    }
}
