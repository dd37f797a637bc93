//! The narrowest grant that makes sense for a write that was refused, or none.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::judge::{Judge, Operation, Refusal};
use super::oracle::typed_words;
use super::record::{Allow, Denial, Opens};
use super::secret::{followed, is_run_by_itself, is_secret};
use super::tools::named_by;
use crate::config::{Origin, Settings, Sourced, SourcedList, toml_string};
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
const TOO_WIDE: [&str; 7] = ["/", "/home", "/media", "/mnt", "/root", "/srv", "/var"];
pub(super) const WRITING: &str = "sandbox_mode = \"workspace-write\"";
const ROOTS: &str = "sandbox_workspace_write.writable_roots";

/// A refusal with what would allow it.
pub(super) fn for_write(judge: &Judge<'_>, operation: Operation, place: &Path, refusal: Refusal) -> Refusal {
    let none = |why: &str| Refusal { risk: Some(why.to_owned()), ..refusal.clone() };
    if is_secret(place, judge.dwelling) {
        return none("holds secrets: no grant is proposed");
    }
    if is_run_by_itself(place, judge.dwelling) {
        return none("is run outside by itself: no grant is proposed");
    }
    if SYSTEM.iter().any(|system| place.starts_with(system)) {
        return none("belongs to the system: no grant is proposed");
    }
    let tools = judge.dwelling.tools().filter(|(directory, _)| place.starts_with(directory));
    let tool = tools.max_by_key(|(directory, _)| directory.components().count());
    let (directory, risk) = match tool {
        Some((directory, tool)) => {
            let first = make_first(&directory);
            let risk = format!("{}: {}{first}", tool.tool, tool.why);
            (directory, risk)
        }
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

/// What comes before the line to make a directory by, at the end of a risk.
pub(super) const MADE_FIRST: &str = "; to be made first: mkdir -p ";

/// What has to be done before a directory can be granted: a root has to exist.
fn make_first(directory: &Path) -> String {
    match directory.to_str().and_then(shell_word).filter(|_| !directory.is_dir()) {
        Some(word) => format!("{MADE_FIRST}{word}"),
        None => String::new(),
    }
}

/// The same denial, of a directory that was to be made on the way to places of tools: what the tool would have gone on to write to can
/// be granted, where the words of the command, or its name, say which tool it is. Else it is said that the way is missing.
pub(super) fn on_the_way(judge: &Judge<'_>, denial: Denial, argv: &[OsString]) -> Denial {
    if denial.operation == Operation::Remove && denial.program.as_deref() == Some("rm") {
        return with_its_tree(judge, denial, argv);
    }
    let place = match &denial.resolved_target {
        Some(place) if denial.operation == Operation::Create => PathBuf::from(place),
        _ => return denial,
    };
    let leads_to = |directory: &Path| directory != place && directory.starts_with(&place);
    let mut beyond: Vec<_> = judge.dwelling.tools().filter(|(directory, _)| leads_to(directory)).collect();
    // A tool's place that holds programs can be granted. What the tool keeps deeper, to read it again, is narrower.
    if denial.allow.is_some() {
        beyond.retain(|(_, tool)| !tool.holds_programs);
    }
    let Some(word) = place.to_str().and_then(shell_word) else { return denial };
    if beyond.is_empty() || place.symlink_metadata().is_ok() {
        return denial;
    }
    let argv = argv.iter().filter_map(|word| word.to_str()).chain(denial.program.as_deref());
    let words: Vec<&str> = argv.flat_map(str::split_whitespace).map(named_by).collect();
    let blank = Refusal { promise: None, rule: None, errno: None, resolved: None, allow: None, risk: None };
    let of_the_tool = beyond.iter().filter(|(_, tool)| words.contains(&tool.tool));
    let granted = of_the_tool
        .map(|(directory, _)| for_write(judge, Operation::Create, directory, blank.clone()))
        .find(|granted| granted.allow.is_some());
    if let Some(Refusal { allow, risk, .. }) = granted {
        return Denial { allow, risk, ..denial };
    }
    if denial.allow.is_some() {
        return denial;
    }
    let why = format!(
        "leads to what tools keep, and is not there; the next run after that tells which directory to grant{MADE_FIRST}{word}"
    );
    Denial { risk: Some(why), ..denial }
}

/// The same denial, where a tree is removed that the arguments name: it goes with the rest of it, and the last thing to be removed stands in the directory
/// above.
fn with_its_tree(judge: &Judge<'_>, denial: Denial, argv: &[OsString]) -> Denial {
    let Some(place) = denial.resolved_target.as_deref().map(Path::new) else { return denial };
    let named = typed_words(argv).map(|word| Path::new(word.trim_matches(['\'', '"', ';'])));
    let holds = |tree: &&Path| tree.is_absolute() && place != *tree && place.starts_with(tree);
    let tree = named.filter(holds).max_by_key(|tree| tree.as_os_str().len());
    let blank = Refusal { promise: None, rule: None, errno: None, resolved: None, allow: None, risk: None };
    match tree.map(|tree| for_write(judge, Operation::Remove, tree, blank)) {
        Some(Refusal { allow: Some(allow), risk, .. }) => Denial { allow: Some(allow), risk, ..denial },
        _ => denial,
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
        // Somebody's home, whoever runs this.
        || directory.parent() == Some(Path::new("/home"))
        || holds(judge.dwelling.home())
        || [codex_home, behind_links.as_deref()]
            .into_iter()
            .any(|codex_home| holds(codex_home) || codex_home.is_some_and(|home| directory.starts_with(home)))
        || is_secret(directory, judge.dwelling)
        || is_run_by_itself(directory, judge.dwelling)
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
    in_files(&settings.workspace_write.writable_roots)
}

/// What of a list would be there without the words of the command line.
pub(super) fn in_files<T>(list: &SourcedList<T>) -> impl Iterator<Item = &Sourced<T>> {
    list.iter().filter(|item| !was_typed(&item.origin))
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
    let text = |path: &Path| path.to_str().map(str::to_owned);
    let known: Option<Vec<String>> = known.map(text).collect();
    Some(list_line(key, known?.into_iter(), std::iter::once(text(more)?)))
}

/// A list with more items, at its end, as a line of TOML.
pub(super) fn list_line(
    key: &str,
    known: impl Iterator<Item = String>,
    more: impl Iterator<Item = String> + Clone,
) -> String {
    let mut items: Vec<String> = known.filter(|item| !more.clone().any(|more| more == *item)).collect();
    items.extend(more);
    let items: Vec<String> = items.iter().map(|item| toml_string(item)).collect();
    format!("{key} = [{}]", items.join(", "))
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
