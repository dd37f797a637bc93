//! The protocol's sandbox context in our own terms. What has no form there is refused, and never left out.

use std::path::{Component, Path, PathBuf};

use codex_core::policy::{NetworkAccess, SandboxPolicy};
use codex_linux_sandbox::shown;

use super::{Refusal, Wanted};
use crate::protocol::{
    Access, Entry, EntryPath, FileSystem, FileUri, MissingPath, Network, Permissions, SandboxContext, Special,
};

/// What a context asks for.
pub(super) fn read(context: &SandboxContext, tmpdir: Option<&Path>) -> Result<Wanted, Refusal> {
    let cwd = || context.cwd.clone().map_or_else(|| PathBuf::from("/"), FileUri::into_path);
    let (file_system, network) = match &context.permissions {
        Permissions::Disabled => return Ok(Wanted::of(SandboxPolicy::DangerFullAccess, cwd(), None)),
        Permissions::External { network } => {
            let policy = SandboxPolicy::ExternalSandbox { network: access(*network) };
            return Ok(Wanted::of(policy, cwd(), None));
        }
        Permissions::Managed { file_system, network } => (file_system, access(*network)),
    };
    match file_system {
        FileSystem::Unrestricted => Ok(Wanted::of(SandboxPolicy::ExternalSandbox { network }, cwd(), None)),
        FileSystem::Restricted { entries, .. } => {
            Rules::read(context, entries)?.into_wanted(cwd(), network, tmpdir)
        }
    }
}

const fn access(network: Network) -> NetworkAccess {
    match network {
        Network::Restricted => NetworkAccess::Restricted,
        Network::Enabled => NetworkAccess::Enabled,
    }
}

/// The entries, sorted by what they allow.
#[derive(Default)]
struct Rules {
    reads_all: bool,
    writes_all: bool,
    slash_tmp: bool,
    tmpdir: bool,
    write: Vec<PathBuf>,
    read: Vec<PathBuf>,
    deny: Vec<PathBuf>,
}

impl Rules {
    fn read(context: &SandboxContext, entries: &[Entry]) -> Result<Self, Refusal> {
        let mut rules = Self::default();
        for entry in entries {
            rules.add(context, entry)?;
        }
        Ok(rules)
    }

    fn add(&mut self, context: &SandboxContext, entry: &Entry) -> Result<(), Refusal> {
        let places = match &entry.path {
            EntryPath::Path { path } => vec![path.path().to_owned()],
            EntryPath::GlobPattern { pattern } => {
                return refuse(format!("the rule about the pattern {}: patterns", shown(pattern)));
            }
            EntryPath::Special { value } => match (value, entry.access) {
                (Special::Root, Access::Read) => {
                    self.reads_all = true;
                    return Ok(());
                }
                (Special::Root, Access::Write) => {
                    (self.reads_all, self.writes_all) = (true, true);
                    return Ok(());
                }
                (Special::Minimal, Access::Read) => return Ok(()),
                (Special::SlashTmp, Access::Write) => {
                    self.slash_tmp = true;
                    return Ok(());
                }
                (Special::Tmpdir, Access::Write) => {
                    match &context.temporary_directories {
                        Some(named) => self.write.extend(named.iter().cloned().map(FileUri::into_path)),
                        None => self.tmpdir = true,
                    }
                    return Ok(());
                }
                // What can be read is all.
                (Special::SlashTmp | Special::Tmpdir, Access::Read) => return Ok(()),
                (Special::CurrentWorkingDirectory { subpath }, _) => {
                    let Some(cwd) = &context.cwd else {
                        return refuse(
                            "a rule about the working directory, which is not given: that".to_owned(),
                        );
                    };
                    vec![below(cwd.path(), subpath.as_deref())?]
                }
                (Special::ProjectRoots { subpath }, _) => {
                    let roots = context.workspace_roots.iter();
                    roots.map(|root| below(root.path(), subpath.as_deref())).collect::<Result<_, _>>()?
                }
                (special, access) => {
                    return refuse(format!("the rule {access:?} for {special:?}: that"));
                }
            },
        };
        let skip = entry.missing_path_behavior == Some(MissingPath::Skip);
        match entry.access {
            // What is not there can't be opened; that it may come to be there is what protection is for.
            Access::Write => self.write.extend(places.into_iter().filter(|place| !skip || place.exists())),
            Access::Read => self.read.extend(places),
            Access::Deny => self.deny.extend(places),
        }
        Ok(())
    }

    fn into_wanted(
        self,
        cwd: PathBuf,
        network: NetworkAccess,
        tmpdir: Option<&Path>,
    ) -> Result<Wanted, Refusal> {
        let Self { reads_all, writes_all, slash_tmp, tmpdir: writes_tmpdir, write, read, deny } = self;
        if !reads_all {
            return refuse(
                "a policy that does not let commands read everything but what it names: that".to_owned(),
            );
        }
        if writes_all {
            if let Some(place) = read.first() {
                return refuse(format!(
                    "{} read-only in a file system that can be written: that",
                    shown(place)
                ));
            }
            let mut wanted = Wanted::of(SandboxPolicy::ExternalSandbox { network }, cwd, None);
            wanted.deny_read = deny;
            return Ok(wanted);
        }
        let mut wanted = match write.split_first() {
            None if !slash_tmp && !writes_tmpdir => {
                Wanted::of(SandboxPolicy::ReadOnly { network }, cwd, None)
            }
            first => {
                let (workspace, others) = match first {
                    Some((first, others)) => (first.clone(), others.to_vec()),
                    // Only temporary files: one of their places stands for the workspace.
                    None if slash_tmp => (PathBuf::from("/tmp"), Vec::new()),
                    None => match tmpdir {
                        Some(tmpdir) => (tmpdir.to_owned(), Vec::new()),
                        None => return Ok(Wanted::of(SandboxPolicy::ReadOnly { network }, cwd, None)),
                    },
                };
                let policy = SandboxPolicy::WorkspaceWrite {
                    writable_roots: others,
                    network,
                    exclude_tmpdir_env_var: !writes_tmpdir,
                    exclude_slash_tmp: !slash_tmp,
                };
                Wanted::of(policy, workspace, tmpdir.map(Path::to_owned))
            }
        };
        let mut writable = write;
        if slash_tmp {
            writable.extend([PathBuf::from("/tmp"), PathBuf::from("/dev/shm")]);
        }
        writable.extend(tmpdir.filter(|_| writes_tmpdir).map(Path::to_owned));
        for place in &read {
            protect(&mut wanted, place, &writable)?;
        }
        wanted.deny_read = deny;
        Ok(wanted)
    }
}

/// Keeps a place read-only that may lie below what can be written.
fn protect(wanted: &mut Wanted, place: &Path, writable: &[PathBuf]) -> Result<(), Refusal> {
    if writable.iter().any(|root| root == place) {
        return refuse(format!("{} both read-only and writable: that", shown(place)));
    }
    let mut names = writable.iter().filter_map(|root| place.strip_prefix(root).ok()).peekable();
    if names.peek().is_some()
        && let Some(inside) = writable.iter().find(|root| root.starts_with(place))
    {
        return refuse(format!(
            "{} writable below {}, which is read-only: that",
            shown(inside),
            shown(place)
        ));
    }
    // Elsewhere everything is read-only anyway.
    for name in names {
        if name == Path::new(".git") {
            // Core knows what belongs to it, wherever it is.
            wanted.git_read_only = true;
        } else {
            wanted.protect.push(name.to_owned());
        }
    }
    Ok(())
}

fn below(root: &Path, subpath: Option<&Path>) -> Result<PathBuf, Refusal> {
    let Some(subpath) = subpath else { return Ok(root.to_owned()) };
    if subpath.components().any(|component| !matches!(component, Component::Normal(_) | Component::CurDir)) {
        return refuse(format!("the path {} that leads out of where it starts: that", shown(subpath)));
    }
    Ok(root.join(subpath))
}

fn refuse<T>(what: String) -> Result<T, Refusal> {
    Err(Refusal::Unenforceable(format!("{what} has no form here")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use codex_core::policy::{NetworkAccess, SandboxMode, SandboxPolicy};
    use serde_json::{Value, json};

    use super::{Refusal, Wanted, read};

    fn wanted(entries: &[Value]) -> Result<Wanted, Refusal> {
        let context = json!({
            "permissions": {"type": "managed", "network": "restricted",
                            "file_system": {"type": "restricted", "entries": entries, "glob_scan_max_depth": 3}},
            "cwd": "file:///ws/sub", "workspaceRoots": ["file:///ws", "file:///other"], "windowsSandboxLevel": "disabled",
        });
        read(&serde_json::from_value(context).unwrap(), Some(Path::new("/var/tmp")))
    }

    fn special(kind: &str, access: &str) -> Value {
        json!({"path": {"type": "special", "value": {"kind": kind}}, "access": access})
    }

    fn path(path: &str, access: &str) -> Value {
        json!({"path": {"type": "path", "path": format!("file://{path}")}, "access": access})
    }

    #[test]
    fn reading_is_read_only_and_roots_are_those_that_are_named() {
        let root = special("root", "read");
        let read_only = wanted(std::slice::from_ref(&root)).unwrap();
        assert_eq!(read_only.policy, SandboxPolicy::ReadOnly { network: NetworkAccess::Restricted });
        let found =
            wanted(&[root.clone(), special("project_roots", "write"), special("tmpdir", "write")]).unwrap();
        assert_eq!(
            found.policy,
            SandboxPolicy::WorkspaceWrite {
                writable_roots: vec!["/other".into()],
                network: NetworkAccess::Restricted,
                exclude_tmpdir_env_var: false,
                exclude_slash_tmp: true,
            }
        );
        // The working directory is no root by itself.
        assert_eq!(
            (found.cwd.as_path(), found.tmpdir.as_deref()),
            (Path::new("/ws"), Some(Path::new("/var/tmp")))
        );
        let found = wanted(&[root.clone(), special("current_working_directory", "write")]).unwrap();
        assert_eq!(found.cwd, Path::new("/ws/sub"));
        let found = wanted(&[root.clone(), special("slash_tmp", "write")]).unwrap();
        assert_eq!(
            (found.policy.mode(), found.cwd.as_path()),
            (SandboxMode::WorkspaceWrite, Path::new("/tmp"))
        );
        assert_eq!(wanted(&[special("root", "write")]).unwrap().policy.mode(), SandboxMode::ExternalSandbox);
    }

    #[test]
    fn what_is_read_only_in_a_root_is_protected_and_elsewhere_it_is_anyway() {
        let rules = [
            special("root", "read"),
            special("project_roots", "write"),
            path("/ws/.git", "read"),
            path("/ws/deep/kept", "read"),
            path("/elsewhere", "read"),
            path("/ws/secret", "none"),
        ];
        let found = wanted(&rules).unwrap();
        assert_eq!(found.protect, [Path::new("deep/kept")]);
        assert_eq!(found.deny_read, [Path::new("/ws/secret")]);
        assert!(found.git_read_only);
    }

    #[test]
    fn what_has_no_form_is_refused() {
        let root = special("root", "read");
        let roots = special("project_roots", "write");
        for rules in [
            vec![roots.clone()],
            vec![special("minimal", "read"), roots.clone()],
            vec![root.clone(), special("unknown", "read")],
            vec![root.clone(), special("root", "deny")],
            vec![root.clone(), special("minimal", "write")],
            vec![root.clone(), roots.clone(), path("/ws", "read")],
            vec![root.clone(), roots.clone(), path("/ws/a", "read"), path("/ws/a/b", "write")],
            vec![special("root", "write"), path("/ws", "read")],
            vec![root.clone(), json!({"path": {"type": "glob_pattern", "pattern": "*"}, "access": "deny"})],
            vec![
                root,
                json!({"path": {"type": "special", "value": {"kind": "project_roots", "subpath": "a/../.."}}, "access": "write"}),
            ],
        ] {
            assert!(matches!(wanted(&rules), Err(Refusal::Unenforceable(_))), "{rules:?}");
        }
    }
}
