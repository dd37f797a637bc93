//! The narrowest grant that makes sense for a write that was refused, or none.

use std::path::{Path, PathBuf};

use super::judge::{Judge, Operation, Refusal};
use super::record::{Allow, Opens};
use super::secret::{is_run_by_itself, is_secret};
use super::tools::TOOLS;
use crate::config::{Origin, toml_string};
use crate::policy::SandboxMode;

/// What belongs to the system: not granted, nor anything below it.
const SYSTEM: [&str; 14] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr",
    "/var/lib", "/var/run",
];
/// What can't be granted as a whole, though something below it can.
const TOO_WIDE: [&str; 6] = ["/", "/home", "/media", "/mnt", "/srv", "/var"];
const ROOTS: &str = "sandbox_workspace_write.writable_roots";

/// A refusal with what would allow it.
pub(super) fn for_write(judge: &Judge<'_>, operation: Operation, place: &Path, refusal: Refusal) -> Refusal {
    let none = |why: &str| Refusal { risk: Some(why.to_owned()), ..refusal.clone() };
    if is_secret(place, judge.home) {
        return none("holds secrets: no grant is proposed");
    }
    if is_run_by_itself(place, judge.home) {
        return none("is run outside by itself: no grant is proposed");
    }
    if SYSTEM.iter().any(|system| place.starts_with(system)) {
        return none("belongs to the system: no grant is proposed");
    }
    let tool = judge.home.and_then(|home| {
        let found = TOOLS.iter().filter(|tool| place.starts_with(home.join(tool.path)));
        found.max_by_key(|tool| tool.path.len()).map(|tool| (home.join(tool.path), tool))
    });
    let (directory, risk) = match tool {
        Some((directory, tool)) => (directory, format!("{}: {}", tool.tool, tool.why)),
        None => {
            let directory = directory_of(operation, place);
            let risk = format!("everything below {}", codex_linux_sandbox::shown(&directory));
            (directory, risk)
        }
    };
    if is_too_wide(judge, &directory) {
        return none("no directory here is narrow enough: no grant is proposed");
    }
    match allow_root(judge, &directory) {
        Some(allow) => Refusal { allow: Some(allow), risk: Some(risk), ..refusal },
        None => none("its name is not UTF-8, which config.toml can't say"),
    }
}

/// The directory that has to be writable for it, as it is now.
fn directory_of(operation: Operation, place: &Path) -> PathBuf {
    let below = match operation {
        Operation::Write | Operation::Metadata if place.is_dir() => place,
        _ => place.parent().unwrap_or(place),
    };
    // A root has to exist.
    below.ancestors().find(|above| above.is_dir()).unwrap_or(below).to_owned()
}

fn is_too_wide(judge: &Judge<'_>, directory: &Path) -> bool {
    let holds = |inner: Option<&Path>| inner.is_some_and(|inner| inner.starts_with(directory));
    TOO_WIDE.iter().any(|wide| directory == Path::new(wide))
        || holds(judge.home)
        || holds(judge.codex_home)
        || judge.codex_home.is_some_and(|home| directory.starts_with(home))
        || is_secret(directory, judge.home)
        || is_run_by_itself(directory, judge.home)
}

fn allow_root(judge: &Judge<'_>, directory: &Path) -> Option<Allow> {
    let named = judge.settings.workspace_write.writable_roots.iter();
    let in_files = named.filter(|root| !matches!(root.origin, Origin::Flag(_) | Origin::Override(_)));
    let mut toml = list_toml(ROOTS, in_files.map(|root| root.value.as_path()), directory)?;
    let mut flag = format!("--add-dir {}", shell_word(directory.to_str()?));
    if judge.policy.mode != SandboxMode::WorkspaceWrite {
        toml = format!("sandbox_mode = \"workspace-write\"\n{toml}");
        flag = format!("--full-auto {flag}");
    }
    Some(Allow {
        setting: Some(ROOTS),
        toml: Some(toml),
        flag: Some(flag),
        opens: Opens::Write(directory.to_owned()),
    })
}

/// A list with one item more, as a line of TOML. `None` for names that are not UTF-8.
pub(super) fn list_toml<'p>(
    key: &str,
    known: impl Iterator<Item = &'p Path>,
    more: &'p Path,
) -> Option<String> {
    let items: Option<Vec<String>> =
        known.filter(|path| *path != more).chain([more]).map(|path| path.to_str().map(toml_string)).collect();
    Some(format!("{key} = [{}]", items?.join(", ")))
}

fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@:,=".contains(&byte);
    if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Whether a socket is a container daemon's.
pub(super) fn is_container_daemon(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        ["docker.sock", "podman.sock", "containerd.sock", "buildkitd.sock", "crio.sock"]
            .iter()
            .any(|known| name == *known)
    })
}
