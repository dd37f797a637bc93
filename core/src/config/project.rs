//! A project's own file, `.codex/config.toml`: it may tighten what the user set, and nothing else.
//!
//! The file is part of the repository, and a repository may be hostile. Whatever it holds, the settings afterwards allow
//! no more than before, and reading it never fails: what has no effect becomes a [`Notice`].

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use super::escape::toml_string;
use super::layer::Layer;
use super::listing::{limit_key, limit_value};
use super::notice::{Notice, NoticeKind};
use super::reader::read_text;
use super::settings::{EnvironmentInherit, Settings};
use super::source::Source;
use super::sourced::{Origin, Sourced, SourcedList};
use crate::enforcement::Guarantee;
use crate::limits::Limit;
use crate::policy::{GitProtection, SandboxMode};

/// A repository can't bury what matters under a thousand lines of its own making.
const MOST_NOTICES: usize = 20;
/// Each of these paths costs every start a mount: a repository can't make all starts slow.
const MOST_PATHS: usize = 100;

/// Tightens `settings` by the project's file `text` at `path`.
pub(super) fn tighten(settings: &mut Settings, path: &Path, text: &str, home: Option<&Path>) -> Vec<Notice> {
    let source = Source::project(path, text);
    let (document, problems) = read_text(text, &source, home);
    let mut tightening = Tightening { notices: problems.into_iter().map(Notice::ignored).collect() };
    tightening.apply(settings, document.layer);
    let mut notices = tightening.notices;
    notices.sort_by_key(|notice| notice.line.unwrap_or(usize::MAX));
    if notices.len() > MOST_NOTICES {
        let count = notices.len() - MOST_NOTICES;
        notices.truncate(MOST_NOTICES);
        let kind = NoticeKind::More { count };
        notices.push(Notice { path: path.to_path_buf(), line: None, kind });
    }
    notices
}

struct Tightening {
    notices: Vec<Notice>,
}

impl Tightening {
    fn apply(&mut self, settings: &mut Settings, layer: Layer) {
        // Taken apart so that a setting added later can't be forgotten here. Those ignored have been reported already.
        let Layer {
            sandbox_mode,
            writable_roots,
            network_access,
            exclude_tmpdir_env_var,
            exclude_slash_tmp,
            inherit,
            ignore_default_excludes,
            exclude,
            set: _,
            include_only,
            codex_linux_sandbox_exe: _,
            isolation: _,
            require,
            git,
            protect,
            unprotect: _,
            deny_read,
            allow_read: _,
            private_tmp,
            allow_unix_sockets: _,
            allow_hosts: _,
            explain: _,
            limits,
            server_max_policy: _,
            server_writable_roots: _,
            server_http_allow: _,
            server_network_access: _,
            audit_file: _,
            audit_max_bytes: _,
            model: _,
            model_provider: _,
            model_providers: _,
            approval_policy: _,
            allow: _,
            prompt,
            forbid,
            unsandboxed: _,
            approve_write: _,
            approve_read: _,
            approve_network: _,
            approve_hosts: _,
            model_context_window: _,
        } = layer;
        self.mode(settings, sandbox_mode);
        self.network(settings, network_access);

        let workspace = &mut settings.workspace_write;
        let key = "sandbox_workspace_write.exclude_tmpdir_env_var";
        self.flag(key, &mut workspace.exclude_tmpdir_env_var, exclude_tmpdir_env_var, true);
        let key = "sandbox_workspace_write.exclude_slash_tmp";
        self.flag(key, &mut workspace.exclude_slash_tmp, exclude_slash_tmp, true);
        self.writable_roots(&mut workspace.writable_roots, writable_roots);

        let environment = &mut settings.shell_environment_policy;
        self.inherit(&mut environment.inherit, inherit);
        let key = "shell_environment_policy.ignore_default_excludes";
        self.flag(key, &mut environment.ignore_default_excludes, ignore_default_excludes, false);
        append(&mut environment.exclude, exclude, |ours, theirs: &String| ours.eq_ignore_ascii_case(theirs));
        self.include_only(&mut environment.include_only, include_only);

        let sandbox = &mut settings.sandbox;
        append(&mut sandbox.require, require, |ours, theirs: &Guarantee| ours == theirs);
        self.git(&mut sandbox.git, git);
        self.paths("sandbox.protect", &mut sandbox.protect, protect);
        self.paths("sandbox.deny_read", &mut sandbox.deny_read, deny_read);
        let same = |ours: &Vec<String>, theirs: &Vec<String>| ours == theirs;
        append(&mut settings.approvals.forbid, forbid, same);
        append(&mut settings.approvals.prompt, prompt, same);
        let sandbox = &mut settings.sandbox;
        self.flag("sandbox.private_tmp", &mut sandbox.private_tmp, private_tmp, true);
        self.limits(&mut sandbox.limits, limits);
    }

    /// Takes a limit where the user has none, or a looser one.
    fn limits(
        &mut self,
        ours: &mut BTreeMap<Limit, Sourced<NonZeroU64>>,
        theirs: BTreeMap<Limit, Sourced<NonZeroU64>>,
    ) {
        for (limit, theirs) in theirs {
            match ours.entry(limit) {
                Entry::Vacant(none) => drop(none.insert(theirs)),
                Entry::Occupied(mut ours) => {
                    let asked = limit_value(limit, theirs.value.get());
                    self.scalar(limit_key(limit), ours.get_mut(), theirs, |amount| amount, &asked);
                }
            }
        }
    }

    fn git(&mut self, ours: &mut Sourced<GitProtection>, theirs: Option<Sourced<GitProtection>>) {
        if let Some(theirs) = theirs {
            let asked = theirs.value.name();
            self.scalar("sandbox.git", ours, theirs, |git| git, asked);
        }
    }

    /// Adds paths, up to a bound.
    fn paths(
        &mut self,
        key: &'static str,
        ours: &mut SourcedList<PathBuf>,
        theirs: Option<SourcedList<PathBuf>>,
    ) {
        let Some(mut theirs) = theirs else { return };
        if theirs.items.len() > MOST_PATHS {
            theirs.items.truncate(MOST_PATHS);
            self.notice(&theirs.origin, NoticeKind::TooMany { key, at_most: MOST_PATHS });
        }
        append(ours, Some(theirs), |ours, theirs: &PathBuf| ours == theirs);
    }

    fn mode(&mut self, settings: &mut Settings, theirs: Option<Sourced<SandboxMode>>) {
        let Some(theirs) = theirs else { return };
        let origin = theirs.origin.clone();
        let had_network = settings.policy().has_full_network_access();
        let asked = theirs.value.name();
        self.scalar("sandbox_mode", &mut settings.sandbox_mode, theirs, |mode| mode, asked);
        // `network_access` counts in one mode only. Where the user allowed it for that mode and chose another, which has
        // no network, being moved into that mode must not bring the network along.
        if !had_network && settings.policy().has_full_network_access() {
            settings.workspace_write.network_access = Sourced { value: false, origin };
        }
    }

    fn network(&mut self, settings: &mut Settings, theirs: Option<Sourced<bool>>) {
        let key = "sandbox_workspace_write.network_access";
        if let Some(Sourced { value: false, origin }) = &theirs
            && settings.network.value
        {
            settings.network = Sourced { value: false, origin: origin.clone() };
        }
        self.flag(key, &mut settings.workspace_write.network_access, theirs, false);
    }

    /// A switch whose tight position is `tight`.
    fn flag(
        &mut self,
        key: &'static str,
        ours: &mut Sourced<bool>,
        theirs: Option<Sourced<bool>>,
        tight: bool,
    ) {
        if let Some(theirs) = theirs {
            let asked = if theirs.value { "true" } else { "false" };
            self.scalar(key, ours, theirs, |value| value != tight, asked);
        }
    }

    fn inherit(
        &mut self,
        ours: &mut Sourced<EnvironmentInherit>,
        theirs: Option<Sourced<EnvironmentInherit>>,
    ) {
        if let Some(theirs) = theirs {
            let asked = theirs.value.name();
            let looseness = |inherit| match inherit {
                EnvironmentInherit::None => 0,
                EnvironmentInherit::Core => 1,
                EnvironmentInherit::All => 2,
            };
            self.scalar("shell_environment_policy.inherit", ours, theirs, looseness, asked);
        }
    }

    fn scalar<T: Copy, L: Ord>(
        &mut self,
        key: &'static str,
        ours: &mut Sourced<T>,
        theirs: Sourced<T>,
        looseness: impl Fn(T) -> L,
        asked: &str,
    ) {
        match looseness(theirs.value).cmp(&looseness(ours.value)) {
            std::cmp::Ordering::Less => {
                self.narrowed(key, &theirs.origin, &ours.origin);
                *ours = theirs;
            }
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => self.loosens(key, &theirs.origin, asked.to_owned()),
        }
    }

    /// Keeps those of the user's roots that the project lists. A root below one of the user's would be narrower only by
    /// its name: the project may have made it a link to anywhere.
    fn writable_roots(&mut self, ours: &mut SourcedList<PathBuf>, theirs: Option<SourcedList<PathBuf>>) {
        const KEY: &str = "sandbox_workspace_write.writable_roots";
        let Some(theirs) = theirs else { return };
        for root in &theirs {
            if !ours.values().any(|known| *known == root.value) {
                self.loosens(KEY, &root.origin, format!("[{}]", toml_string(&root.value.to_string_lossy())));
            }
        }
        let (kept, dropped) =
            ours.items.drain(..).partition(|root| theirs.values().any(|listed| *listed == root.value));
        ours.items = kept;
        let dropped: Vec<Sourced<PathBuf>> = dropped;
        for root in &dropped {
            self.narrowed(KEY, &theirs.origin, &root.origin);
        }
        if !dropped.is_empty() {
            ours.origin = theirs.origin;
        }
    }

    /// Takes the project's patterns where the user has none, or where each is one of the user's. Whether one pattern is
    /// narrower than another is not decided here; and an empty list, which restricts nothing, never narrows.
    fn include_only(&mut self, ours: &mut SourcedList<String>, theirs: Option<SourcedList<String>>) {
        const KEY: &str = "shell_environment_policy.include_only";
        let Some(theirs) = theirs else { return };
        let listed = |pattern: &String| ours.values().any(|known| known.eq_ignore_ascii_case(pattern));
        let kept = |pattern: &String| theirs.values().any(|known| known.eq_ignore_ascii_case(pattern));
        if !ours.is_empty() && theirs.values().all(listed) && ours.values().all(kept) {
            return;
        }
        let narrows = !theirs.is_empty() && (ours.is_empty() || theirs.values().all(listed));
        if narrows {
            self.narrowed(KEY, &theirs.origin, &ours.origin);
            *ours = theirs;
        } else if !ours.is_empty() {
            let patterns: Vec<String> = theirs.values().map(|pattern| toml_string(pattern)).collect();
            self.loosens(KEY, &theirs.origin, format!("[{}]", patterns.join(", ")));
        }
    }

    fn narrowed(&mut self, key: &'static str, theirs: &Origin, over: &Origin) {
        match over {
            Origin::Override(_) | Origin::Flag(_) => {
                self.notice(theirs, NoticeKind::Narrowed { key, over: over.clone() });
            }
            Origin::Default | Origin::File { .. } | Origin::Profile { .. } | Origin::Project { .. } => {}
        }
    }

    fn loosens(&mut self, key: &'static str, theirs: &Origin, asked: String) {
        self.notice(theirs, NoticeKind::Loosens { key, asked });
    }

    fn notice(&mut self, theirs: &Origin, kind: NoticeKind) {
        if let Origin::Project { path, line } = theirs {
            self.notices.push(Notice { path: path.clone(), line: Some(*line), kind });
        }
    }
}

/// Adds the items of `theirs` that aren't in `ours` yet.
fn append<T>(ours: &mut SourcedList<T>, theirs: Option<SourcedList<T>>, same: impl Fn(&T, &T) -> bool) {
    let Some(theirs) = theirs else { return };
    // Not compared with one another: the project decides how many they are, and that would take their square.
    let mut items = theirs.items;
    items.retain(|item| !ours.values().any(|known| same(known, &item.value)));
    ours.items.extend(items);
}
