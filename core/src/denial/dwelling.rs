//! Where a user's things are: the home directory, and what variables of tools have put elsewhere.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::secret::followed;
use super::tools::{TOOLS, ToolPlace, VARIABLES};

/// Where a user's things are.
///
/// A variable widens nothing: a directory that it names is one more in which a tool's places are looked for, and secrets, too. What may
/// be granted in it is decided as anywhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dwelling {
    home: Option<PathBuf>,
    moved: Vec<Moved>,
}

/// A place of the home directory that is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Moved {
    /// Where it is otherwise, relative to the home directory.
    from: &'static str,
    /// Links followed.
    to: PathBuf,
    /// Whether tools may have it to themselves: it holds neither the home directory nor the workspace.
    apart: bool,
}

/// Nobody's: no place is a tool's or a secret.
pub static NOWHERE: Dwelling = Dwelling { home: None, moved: Vec::new() };

impl Dwelling {
    /// A home directory in which everything is where it usually is.
    #[must_use]
    pub fn at(home: &Path) -> Self {
        Self { home: Some(home.to_owned()), moved: Vec::new() }
    }

    /// A home directory, and what a command's variables say of other places. What is not absolute, or leads through `..`, says
    /// nothing.
    #[must_use]
    pub fn of(home: Option<&Path>, environment: &[(OsString, OsString)], workspace: &Path) -> Self {
        let value = |name: &str| {
            let mut set = environment.iter().filter(|(set, _)| *set == *name).map(|(_, value)| value);
            set.next_back()
        };
        let moved = VARIABLES.iter().filter_map(|variable| {
            let named = Path::new(first(value(variable.name)?));
            let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
            if !named.is_absolute() || !named.components().all(is_plain) {
                return None;
            }
            let named = if variable.below.is_empty() { named.to_owned() } else { named.join(variable.below) };
            let to = followed(&named)?;
            let holds = |inner: &Path| followed(inner).is_some_and(|inner| inner.starts_with(&to));
            let apart = to.parent().is_some() && !home.is_some_and(holds) && !holds(workspace);
            Some(Moved { from: variable.place, to, apart })
        });
        Self { home: home.map(Path::to_owned), moved: moved.collect() }
    }

    /// The home directory.
    #[must_use]
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// All that a place of the home directory may be.
    pub(super) fn places<'d>(&'d self, relative: &'d str) -> impl Iterator<Item = PathBuf> + 'd {
        let usual = self.home.iter().map(move |home| home.join(relative));
        usual.chain(self.moved.iter().filter_map(move |moved| moved.place(relative)))
    }

    /// Each tool's places, with the directory where it is.
    pub(super) fn tools(&self) -> impl Iterator<Item = (PathBuf, &'static ToolPlace)> + '_ {
        TOOLS.iter().flat_map(move |tool| {
            let usual = self.home.iter().map(move |home| home.join(tool.path));
            let apart = self.moved.iter().filter(|moved| moved.apart);
            usual.chain(apart.filter_map(move |moved| moved.place(tool.path))).map(move |place| (place, tool))
        })
    }
}

impl Moved {
    fn place(&self, relative: &str) -> Option<PathBuf> {
        let rest = Path::new(relative).strip_prefix(self.from).ok()?;
        Some(if rest.as_os_str().is_empty() { self.to.clone() } else { self.to.join(rest) })
    }
}

/// The first of several directories: the one that is written to.
fn first(value: &OsStr) -> &OsStr {
    use std::os::unix::ffi::OsStrExt as _;

    OsStr::from_bytes(value.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::secret::{is_run_by_itself, is_secret};
    use super::super::tools::VARIABLES;
    use super::Dwelling;

    fn dwelling(variables: &[(&str, &str)]) -> Dwelling {
        let environment: Vec<_> = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Dwelling::of(Some(Path::new("/home/u")), &environment, Path::new("/home/u/work"))
    }

    /// The directories of tools beside those of the home directory.
    fn elsewhere(variables: &[(&str, &str)]) -> Vec<PathBuf> {
        let usual = Dwelling::at(Path::new("/home/u"));
        let usual: Vec<PathBuf> = usual.tools().map(|(place, _)| place).collect();
        dwelling(variables).tools().map(|(place, _)| place).filter(|place| !usual.contains(place)).collect()
    }

    #[test]
    fn variables_say_where_tools_keep_their_things() {
        assert_eq!(elsewhere(&[("PIP_CACHE_DIR", "/none/pip")]), [PathBuf::from("/none/pip")]);
        let cargo = ["/none/cargo/registry", "/none/cargo/git"].map(PathBuf::from);
        assert_eq!(elsewhere(&[("CARGO_HOME", "/none/cargo")]), cargo);
        assert_eq!(elsewhere(&[("COMPOSER_HOME", "/none/c")]), [PathBuf::from("/none/c/cache")]);
        assert_eq!(elsewhere(&[("GOPATH", "/none/go:/other")]), [PathBuf::from("/none/go/pkg/mod")]);
        assert!(elsewhere(&[("XDG_CACHE_HOME", "/none")]).contains(&"/none/pip".into()));
        // The last one counts, as for whoever looks it up.
        let twice = [("UV_CACHE_DIR", "/none/a"), ("UV_CACHE_DIR", "/none/b")];
        assert_eq!(elsewhere(&twice), [PathBuf::from("/none/b")]);
        for value in ["", "0", "pip", "~/pip", "/", "/home", "/home/u", "/home/u/work", "/none/../home", "//"]
        {
            assert_eq!(elsewhere(&[("PIP_CACHE_DIR", value)]), Vec::<PathBuf>::new(), "{value}");
        }
        for variable in VARIABLES {
            let found = dwelling(&[(variable.name, "/none/x")]).moved;
            assert_eq!(found.len(), 1, "{variable:?}");
        }
    }

    #[test]
    fn secrets_move_with_their_places() {
        let dwelling = dwelling(&[
            ("CARGO_HOME", "/none/cargo"),
            ("HF_HOME", "/none/hf"),
            ("DOCKER_CONFIG", "/none/docker"),
            ("GRADLE_USER_HOME", "/home"),
            ("XDG_CONFIG_HOME", "/none/config"),
        ]);
        for secret in [
            "/none/cargo/credentials.toml",
            "/none/hf",
            "/none/hf/token",
            "/none/docker/config.json",
            "/none/config/gh",
        ] {
            assert!(is_secret(Path::new(secret), &dwelling), "{secret}");
        }
        for run in ["/none/cargo/bin/x", "/none/cargo", "/home/init.d/x", "/none/config/git/config"] {
            assert!(is_run_by_itself(Path::new(run), &dwelling), "{run}");
        }
        for kept in ["/none/cargo/registry", "/none/hf/hub"] {
            let kept = Path::new(kept);
            assert!(!is_secret(kept, &dwelling) && !is_run_by_itself(kept, &dwelling), "{kept:?}");
        }
    }
}
