//! What a call asks for beyond the policy, read from its arguments.

use std::path::{Path, PathBuf};

use codex_core::policy::HostGrant;
use codex_linux_sandbox::shown;
use codex_tools::Asks;
use serde_json::{Map, Value};

use crate::approval::Grant;

/// What the model says of it may be so long; more is cut.
const LONGEST_JUSTIFICATION: usize = 1000;

/// From whom a place is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    /// From nobody.
    No,
    /// From commands, unless it is given to one.
    FromCommands,
    /// From commands, and nobody gives it: it is not looked at.
    FromEverybody,
}

/// What a call asks for, as it is written there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) grant: Grant,
    pub(super) justification: Option<String>,
}

/// Reads it. Paths are looked up, links followed: what is asked about, and given, is the place itself.
pub(super) fn wanted(
    asks: &Asks,
    directory: &Path,
    hidden: &dyn Fn(&Path) -> Hidden,
) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    let escalated = match asks.permissions.as_deref() {
        None | Some("with_additional_permissions") => asks.escalated,
        Some("require_escalated") => true,
        Some(other) => {
            return Err(format!(
                "`sandbox_permissions` is `use_default`, `with_additional_permissions` or `require_escalated`, and not `{}`. \
                 Nothing was run.",
                shown(other)
            ));
        }
    };
    wanted.justification = asks.justification.clone().filter(|text| !text.trim().is_empty()).map(|text| {
        let end = text.floor_char_boundary(LONGEST_JUSTIFICATION);
        text.get(..end).unwrap_or_default().to_owned() + if end < text.len() { "…" } else { "" }
    });
    let additional = asks.additional.as_ref();
    if escalated && additional.is_some_and(|additional| !additional.is_empty()) {
        return Err("`require_escalated` is no sandbox at all: it needs no `additional_permissions`. Ask for one of them. Nothing was run.".to_owned());
    }
    if asks.permissions.is_some() && !escalated && additional.is_none() {
        return Err(format!(
            "`with_additional_permissions` takes `additional_permissions`: {SHAPE}. Nothing was run."
        ));
    }
    wanted.grant.unsandboxed = escalated;
    if let Some(additional) = additional {
        read_additional(additional, directory, hidden, &mut wanted.grant)?;
    }
    Ok(wanted)
}

const SHAPE: &str = "`{\"file_system\": {\"write\": [DIRECTORY, …], \"read\": [PATH, …]}, \"network\": {\"hosts\": [\"HOST:PORT\", …]} or \
     {\"enabled\": true}}`";

fn read_additional(
    additional: &Map<String, Value>,
    directory: &Path,
    hidden: &dyn Fn(&Path) -> Hidden,
    grant: &mut Grant,
) -> Result<(), String> {
    let wrong = |what: &str| format!("{what}: `additional_permissions` are {SHAPE}. Nothing was run.");
    for (key, value) in additional {
        match (key.as_str(), value) {
            (_, Value::Null) => {}
            ("network", Value::Object(network)) => {
                for (key, value) in network {
                    match (key.as_str(), value) {
                        ("enabled", Value::Bool(enabled)) => grant.network = *enabled,
                        ("enabled", _) => return Err(wrong("`network.enabled` is true or false")),
                        ("hosts", Value::Array(hosts)) => {
                            for host in hosts {
                                let text = host.as_str().ok_or_else(|| wrong("a host is a string"))?;
                                let host: HostGrant = text
                                    .parse()
                                    .map_err(|error| wrong(&format!("`{}` is {error}", shown(text))))?;
                                if !grant.hosts.contains(&host) {
                                    grant.hosts.push(host);
                                }
                            }
                        }
                        ("hosts", _) => return Err(wrong("`network.hosts` is an array of hosts")),
                        (key, _) => return Err(wrong(&format!("`network.{}` is unknown", shown(key)))),
                    }
                }
            }
            ("file_system", Value::Object(files)) => {
                for (key, value) in files {
                    let paths = match value {
                        Value::Null => continue,
                        Value::Array(paths) => paths,
                        _ => {
                            return Err(wrong(&format!("`file_system.{}` is an array of paths", shown(key))));
                        }
                    };
                    for path in paths {
                        let path = path.as_str().ok_or_else(|| wrong("a path is a string"))?;
                        let place = look_up(path, directory, key == "write", hidden)?;
                        match key.as_str() {
                            "write" if !place.is_dir() => {
                                return Err(format!(
                                    "{} is no directory, and writing is given below directories: name the one that it lies in. Nothing was run.",
                                    shown(&place)
                                ));
                            }
                            "write" => add(&mut grant.write, place),
                            "read" => add(&mut grant.read, place),
                            other => {
                                return Err(wrong(&format!("`file_system.{}` is unknown", shown(other))));
                            }
                        }
                    }
                }
            }
            (key, _) => return Err(wrong(&format!("`{}` is unknown", shown(key)))),
        }
    }
    Ok(())
}

fn add(places: &mut Vec<PathBuf>, place: PathBuf) {
    if !places.contains(&place) {
        places.push(place);
    }
}

fn look_up(
    path: &str,
    directory: &Path,
    writes: bool,
    hidden: &dyn Fn(&Path) -> Hidden,
) -> Result<PathBuf, String> {
    let path = directory.join(path);
    let hidden = hidden(&path);
    if hidden == Hidden::FromEverybody {
        return Err(format!(
            "{} is hidden by sandbox.deny_read, and no rule of the user's gives it. Nothing was run.",
            shown(&path)
        ));
    }
    match path.canonicalize() {
        // Of what is hidden, no more is told than that it can't be given.
        Ok(place) if hidden == Hidden::FromCommands && writes && !place.is_dir() => {
            Err(cannot_be_given(&path))
        }
        Err(_) if hidden == Hidden::FromCommands => Err(cannot_be_given(&path)),
        Ok(place) => Ok(place),
        Err(error) => Err(format!(
            "{}: {error}. What is given has to exist: name the directory above it. Nothing was run.",
            shown(&path)
        )),
    }
}

fn cannot_be_given(path: &Path) -> String {
    format!("{} is hidden by sandbox.deny_read, and can't be given as it is. Nothing was run.", shown(path))
}
