//! The environment of commands, and what a client is told of the machine.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use codex_core::config::{EnvironmentInherit, EnvironmentPolicy, Origin, Sourced, SourcedList};
use codex_core::environment::{EnvironmentError, build};

use crate::ceiling::Ceiling;
use crate::protocol::{EnvInherit, EnvPolicy, EnvironmentInfo, FileUri, Shell};

/// What is offered where the user's own shell is none that clients write commands for.
const SHELLS: [&str; 3] = ["/bin/bash", "/usr/bin/bash", "/bin/sh"];

/// A command's environment: of the server's own variables what the policy leaves, and the request's.
pub(crate) fn for_command(
    server: &[(OsString, OsString)],
    policy: Option<&EnvPolicy>,
    env: &BTreeMap<String, String>,
    cwd: &Path,
) -> Result<Vec<(OsString, OsString)>, EnvironmentError> {
    let mut variables = match policy {
        None => Vec::new(),
        Some(policy) => build(&as_settings(policy), server.iter().cloned())?,
    };
    if let Some((_, value)) = variables.iter_mut().find(|(name, _)| name == "PWD") {
        // What `cd` would leave.
        *value = cwd.as_os_str().to_owned();
    }
    variables.retain(|(name, _)| name.to_str().is_none_or(|name| !env.contains_key(name)));
    variables.extend(env.iter().map(|(name, value)| (name.into(), value.into())));
    Ok(variables)
}

fn as_settings(policy: &EnvPolicy) -> EnvironmentPolicy {
    fn sourced<T>(value: T) -> Sourced<T> {
        Sourced { value, origin: Origin::Default }
    }
    let list = |items: &[String]| SourcedList {
        items: items.iter().cloned().map(sourced).collect(),
        origin: Origin::Default,
    };
    EnvironmentPolicy {
        inherit: sourced(match policy.inherit {
            EnvInherit::All => EnvironmentInherit::All,
            EnvInherit::Core => EnvironmentInherit::Core,
            EnvInherit::None => EnvironmentInherit::None,
        }),
        ignore_default_excludes: sourced(policy.ignore_default_excludes),
        exclude: list(&policy.exclude),
        set: policy.set.iter().map(|(name, value)| (name.clone(), sourced(value.clone()))).collect(),
        include_only: list(&policy.include_only),
    }
}

/// What a client is told.
pub(crate) fn info(server: &[(OsString, OsString)], ceiling: &Ceiling) -> EnvironmentInfo {
    let variable = |name: &str| {
        let found = server.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| PathBuf::from(value)).filter(|path| path.is_absolute())
    };
    let tmpdir = ceiling.tmpdir().and_then(FileUri::of);
    EnvironmentInfo {
        shell: shell(variable("SHELL").as_deref()),
        cwd: FileUri::of(ceiling.workspace()),
        executor_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        user_home_dir: variable("HOME").as_deref().and_then(FileUri::of),
        temp_dir: tmpdir.clone().or_else(|| FileUri::of(Path::new("/tmp"))),
        temporary_directories: tmpdir.into_iter().collect(),
        platform_os: Some(std::env::consts::OS.to_owned()),
        // Whatever is not named counts as false, and a client then does without or refuses by itself.
        capabilities: BTreeMap::from([("fsWatchMissing".to_owned(), true)]),
    }
}

fn shell(users: Option<&Path>) -> Shell {
    let of = |path: &Path| {
        let name = path.file_name().and_then(OsStr::to_str)?;
        let known = ["bash", "zsh", "sh"].contains(&name) && path.is_file();
        Some(Shell { name: name.to_owned(), path: path.to_str().filter(|_| known)?.to_owned() })
    };
    let others = SHELLS.into_iter().map(Path::new);
    users
        .into_iter()
        .chain(others)
        .find_map(of)
        .unwrap_or_else(|| Shell { name: "sh".to_owned(), path: "/bin/sh".to_owned() })
}
