//! The environment of a command, built from the caller's by `shell_environment_policy`.
//!
//! A command's environment is built and not inherited, in this order:
//!
//! 1. `inherit`: all variables of the caller, the [core ones](CORE), or none.
//! 2. Default excludes, unless `ignore_default_excludes`: names that contain one of [`SECRET_WORDS`] are dropped.
//! 3. `exclude`: names that match one of these globs are dropped.
//! 4. `set`: these variables are set, so they survive both excludes.
//! 5. `include_only`, where not empty: names that match none of these globs are dropped, those of `set` too.
//!
//! In a glob, `*` stands for any characters (`/` too), `?` for one, and letter case makes no difference. Anything else
//! stands for itself. A name that is not UTF-8 is matched as if each invalid sequence were U+FFFD, so `*` and `?` can
//! match it. Values are never looked at, and come out byte for byte as they went in. That holds for `PWD` too: who starts
//! a command in another directory than its own says so there.
//!
//! # What the default excludes do not see
//!
//! They go by names, and names mislead in both directions:
//!
//! - Dropped without being secret: `TOKENIZERS_PARALLELISM`, `KEYBOARD_LAYOUT`, `KEYTIMEOUT`, `MONKEY_PATCH`, `GPG_KEY`
//!   (a fingerprint). `set` gives such a variable back.
//! - Kept although they may hold a secret: `DATABASE_URL`, `HTTPS_PROXY` and others with a password in a URL;
//!   `MYSQL_PWD`, `*_PASSPHRASE`, `*_PAT`, `*_AUTH`, `*_COOKIE`, `*_DSN`. List these in `exclude`.
//! - Kept although they lead to secrets: `SSH_AUTH_SOCK`, `GPG_AGENT_INFO`, `DBUS_SESSION_BUS_ADDRESS`, `KUBECONFIG`,
//!   `AWS_PROFILE`. What they lead to is for the sandbox to guard.
//!
//! The list is short on purpose: a longer one would break more commands and still not be complete.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use wildmatch::WildMatch;

use crate::config::{EnvironmentInherit, EnvironmentPolicy, Origin};

#[cfg(test)]
mod tests;

/// A variable whose name contains one of these words, in any letter case, is taken for a secret.
pub const SECRET_WORDS: [&str; 5] = ["KEY", "SECRET", "TOKEN", "PASSWORD", "CREDENTIAL"];

/// What `inherit = "core"` keeps, beside the `LC_*` variables: what a program needs to find its user, its programs,
/// its place for temporary files, its language, its terminal and the time. Letter case counts.
pub const CORE: [&str; 16] = [
    "HOME",
    "LOGNAME",
    "USER",
    "USERNAME",
    "PATH",
    "SHELL",
    "PWD",
    "TMPDIR",
    "TEMP",
    "TMP",
    "LANG",
    "LANGUAGE",
    "TERM",
    "COLORTERM",
    "TZ",
    "TZDIR",
];

/// A variable in `shell_environment_policy.set` that no environment can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("can't set the variable {name:?} of shell_environment_policy.set: {problem}")]
pub struct EnvironmentError {
    /// The name as configured.
    pub name: String,
    /// What is wrong with it.
    pub problem: EnvironmentProblem,
    /// Where it was configured.
    pub origin: Origin,
}

/// Why no environment can hold a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentProblem {
    /// The name is empty.
    #[error("its name is empty; give it a name")]
    EmptyName,
    /// The name contains `=`.
    #[error("its name contains '=', which ends a name; remove it")]
    EqualsInName,
    /// The name contains a NUL byte.
    #[error("its name contains a NUL byte; remove it")]
    NulInName,
    /// The value contains a NUL byte.
    #[error("its value contains a NUL byte, which ends a value; remove it")]
    NulInValue,
}

/// Checks the part of a policy that can be wrong: the variables that it sets.
///
/// # Errors
///
/// The first variable, in the order of names, that no environment can hold.
pub fn validate(policy: &EnvironmentPolicy) -> Result<(), EnvironmentError> {
    for (name, value) in &policy.set {
        let problem = name_problem(OsStr::new(name))
            .or_else(|| value.value.contains('\0').then_some(EnvironmentProblem::NulInValue));
        if let Some(problem) = problem {
            return Err(EnvironmentError { name: name.clone(), problem, origin: value.origin.clone() });
        }
    }
    Ok(())
}

/// Builds a command's environment from the caller's variables: see the [module](self) for the order.
///
/// No name comes out twice. Variables keep the order in which they came in, and those that `set` adds follow in the
/// order of their names. Where a name comes in twice the first value counts, as it does for `getenv`. An inherited
/// variable that has no name which a program could ask for (empty, or with `=` in it) is dropped.
///
/// # Errors
///
/// As [`validate`].
pub fn build<I>(
    policy: &EnvironmentPolicy,
    inherited: I,
) -> Result<Vec<(OsString, OsString)>, EnvironmentError>
where
    I: IntoIterator<Item = (OsString, OsString)>,
{
    validate(policy)?;
    let rules = Rules::of(policy);

    let mut variables: Vec<(OsString, OsString)> = inherited
        .into_iter()
        .filter(|(name, value)| name_problem(name).is_none() && !value.as_bytes().contains(&0))
        .filter(|(name, _)| rules.inherits(name))
        .collect();
    let mut seen = HashSet::with_capacity(variables.len());
    let first: Vec<bool> = variables.iter().map(|(name, _)| seen.insert(name.as_os_str())).collect();
    let mut first = first.into_iter();
    variables.retain(|_| first.next().unwrap_or(false));

    let mut places: HashMap<OsString, usize> = if rules.set.is_empty() {
        HashMap::new()
    } else {
        variables.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect()
    };
    for (name, value) in rules.set {
        let (name, value) = (OsString::from(name), OsString::from(value));
        match places.get(&name) {
            Some(place) => variables[*place].1 = value,
            None => {
                places.insert(name.clone(), variables.len());
                variables.push((name, value));
            }
        }
    }
    if !rules.include_only.is_empty() {
        variables.retain(|(name, _)| matches_any(&rules.include_only, name));
    }
    Ok(variables)
}

/// A policy in the terms of this module. Nothing else here reads the settings.
struct Rules<'a> {
    inherit: EnvironmentInherit,
    exclude: Vec<WildMatch>,
    secrets_excluded: bool,
    set: Vec<(&'a str, &'a str)>,
    include_only: Vec<WildMatch>,
}

impl<'a> Rules<'a> {
    fn of(policy: &'a EnvironmentPolicy) -> Self {
        let glob = |pattern: &String| WildMatch::new_case_insensitive(pattern);
        Self {
            inherit: policy.inherit.value,
            exclude: policy.exclude.values().map(glob).collect(),
            secrets_excluded: !policy.ignore_default_excludes.value,
            set: policy.set.iter().map(|(name, value)| (name.as_str(), value.value.as_str())).collect(),
            include_only: policy.include_only.values().map(glob).collect(),
        }
    }

    fn inherits(&self, name: &OsStr) -> bool {
        let kept = match self.inherit {
            EnvironmentInherit::All => true,
            EnvironmentInherit::Core => {
                CORE.iter().any(|core| name == *core) || name.as_bytes().starts_with(b"LC_")
            }
            EnvironmentInherit::None => false,
        };
        kept && !(self.secrets_excluded && looks_secret(name)) && !matches_any(&self.exclude, name)
    }
}

fn looks_secret(name: &OsStr) -> bool {
    let name = name.as_bytes();
    // The names of `GIT_CONFIG_KEY_n` look like secrets, and their values may hold some; git does not run with a part of
    // them only.
    if name == b"GIT_CONFIG_COUNT" || name.starts_with(b"GIT_CONFIG_VALUE_") {
        return true;
    }
    SECRET_WORDS
        .iter()
        .any(|word| name.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes())))
}

fn matches_any(globs: &[WildMatch], name: &OsStr) -> bool {
    if globs.is_empty() {
        return false;
    }
    let name = name.to_string_lossy();
    globs.iter().any(|glob| glob.matches(&name))
}

fn name_problem(name: &OsStr) -> Option<EnvironmentProblem> {
    let name = name.as_bytes();
    if name.is_empty() {
        Some(EnvironmentProblem::EmptyName)
    } else if name.contains(&b'=') {
        Some(EnvironmentProblem::EqualsInName)
    } else if name.contains(&0) {
        Some(EnvironmentProblem::NulInName)
    } else {
        None
    }
}
