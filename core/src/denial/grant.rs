//! The narrowest grant that makes sense for a write that was refused, or none.

use std::path::{Path, PathBuf};

use super::judge::{Judge, Operation, Refusal};
use super::record::{Allow, Opens};
use super::secret::{followed, is_run_by_itself, is_secret};
use super::tools::TOOLS;
use crate::config::{Origin, Settings, Sourced, toml_string};
use crate::policy::protected::git_directory;
use crate::policy::{
    GitProtection, NetworkAccess, ResolvedWrites, SandboxMode, SandboxPolicy, Surroundings, resolve,
};

/// What belongs to the system: not granted, nor anything below it.
const SYSTEM: [&str; 14] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr",
    "/var/lib", "/var/run",
];
/// What can't be granted as a whole, though something below it can.
const TOO_WIDE: [&str; 6] = ["/", "/home", "/media", "/mnt", "/srv", "/var"];
pub(super) const WRITING: &str = "sandbox_mode = \"workspace-write\"";
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
    // A usual root that can't be one here. Why is the machine's, and to be mended there.
    if let Some(left_out) = judge.policy.notes.iter().find(|note| note.asked == directory) {
        return none(&format!(
            "{} is no writable root here: {}",
            codex_linux_sandbox::shown(&directory),
            left_out.why
        ));
    }
    if is_too_wide(judge, &directory) {
        return none("no directory here is narrow enough: no grant is proposed");
    }
    if judge.policy.mode != SandboxMode::WorkspaceWrite {
        let opened = opened_by_workspace_write(judge.settings, judge.surroundings);
        if opened.is_empty() {
            return none("workspace-write would be refused here: no grant is proposed");
        }
        if opened.iter().any(|root| directory.starts_with(root)) {
            if is_protected_by_name(judge.settings, place) {
                return none("protected by its name in writable roots: no grant is proposed");
            }
            let opened: Vec<String> = opened.iter().map(codex_linux_sandbox::shown).collect();
            let risk = format!("everything below {}", opened.join(", "));
            return Refusal { allow: Some(allow_mode(directory)), risk: Some(risk), ..refusal };
        }
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
    let codex_home = judge.surroundings.codex_home;
    let behind_links = codex_home.and_then(followed);
    TOO_WIDE.iter().any(|wide| directory == Path::new(wide))
        || holds(judge.home)
        || [codex_home, behind_links.as_deref()]
            .into_iter()
            .any(|codex_home| holds(codex_home) || codex_home.is_some_and(|home| directory.starts_with(home)))
        || is_secret(directory, judge.home)
        || is_run_by_itself(directory, judge.home)
}

/// What `workspace-write` would open by itself, links followed: without what was typed, which the settings do not say when
/// that is gone. Nothing where it would be refused.
fn opened_by_workspace_write(settings: &Settings, surroundings: Surroundings<'_>) -> Vec<PathBuf> {
    let policy = SandboxPolicy::WorkspaceWrite {
        writable_roots: roots_in_files(settings).map(|root| root.value.clone()).collect(),
        network: NetworkAccess::Restricted,
        exclude_tmpdir_env_var: settings.workspace_write.exclude_tmpdir_env_var.value,
        exclude_slash_tmp: settings.workspace_write.exclude_slash_tmp.value,
    };
    match resolve(&policy, surroundings).map(|resolved| resolved.writes) {
        Ok(ResolvedWrites::Beneath(roots)) => roots.into_iter().map(|root| root.path).collect(),
        Ok(ResolvedWrites::Everywhere) | Err(_) => Vec::new(),
    }
}

fn roots_in_files(settings: &Settings) -> impl Iterator<Item = &Sourced<PathBuf>> {
    settings.workspace_write.writable_roots.iter().filter(|root| !was_typed(&root.origin))
}

/// Whether a setting would be gone with the words of the command line.
const fn was_typed(origin: &Origin) -> bool {
    matches!(origin, Origin::Flag(_) | Origin::Override(_))
}

/// Whether a writable root would keep it closed all the same. By the name alone, wherever it stands: while nothing is writable,
/// nobody looks for what is protected.
fn is_protected_by_name(settings: &Settings, place: &Path) -> bool {
    let protection = settings.sandbox.protection();
    let mut names = protection.paths();
    match protection.git {
        GitProtection::ReadOnly => names.push(".git".into()),
        GitProtection::Commit => names.extend(git_directory::NAMES.map(|name| Path::new(".git").join(name))),
        GitProtection::Open => {}
    }
    place.ancestors().any(|above| names.iter().any(|name| above.ends_with(name)))
}

fn allow_mode(directory: PathBuf) -> Allow {
    Allow {
        setting: Some("sandbox_mode"),
        toml: Some(WRITING.to_owned()),
        flag: Some("--full-auto".to_owned()),
        opens: Opens::Write(directory),
    }
}

fn allow_root(judge: &Judge<'_>, directory: &Path) -> Option<Allow> {
    let in_files = roots_in_files(judge.settings).map(|root| root.value.as_path());
    let mut toml = list_toml(ROOTS, in_files, directory)?;
    let mut flag = shell_word(directory.to_str()?).map(|word| format!("--add-dir {word}"));
    if judge.policy.mode != SandboxMode::WorkspaceWrite {
        toml = format!("{WRITING}\n{toml}");
        flag = flag.map(|flag| format!("--full-auto {flag}"));
    }
    Some(Allow { setting: Some(ROOTS), toml: Some(toml), flag, opens: Opens::Write(directory.to_owned()) })
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

/// A name as a shell takes it. `None` for one that is not on one line, or moves a terminal: commands choose names, and what is
/// ready to be pasted can't be escaped.
pub(super) fn shell_word(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@:,=".contains(&byte);
    if codex_linux_sandbox::shown(text) != text {
        return None;
    }
    Some(if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) })
}

/// Whether a socket is a container daemon's.
pub(super) fn is_container_daemon(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        ["docker.sock", "podman.sock", "containerd.sock", "buildkitd.sock", "crio.sock"]
            .iter()
            .any(|known| name == *known)
    })
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn no_name_is_pasted_that_is_more_than_a_line() {
        assert_eq!(shell_word("/a/b-c"), Some("/a/b-c".to_owned()));
        assert_eq!(shell_word("/a b/it's"), Some("'/a b/it'\\''s'".to_owned()));
        for name in ["/a\nb", "/a\u{1b}[2J", "/a\rb", "/a\u{202e}b", "/a\u{9b}b"] {
            assert_eq!(shell_word(name), None, "{name:?}");
        }
    }
}
