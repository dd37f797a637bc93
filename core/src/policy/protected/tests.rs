//! What is found and protected in real trees, with repositories that git made.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::AbsentNames;
use super::cache::Cache;
use super::{GitProtection, Protection, ProtectionNote, ProtectionSettings, protect};
use crate::policy::{RootOrigin, WritableRoot};

/// A writable root and a home of the configuration, beside one another.
struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        // Not in `/tmp`, a writable root of every call that is made beside these tests.
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        Self { directory }
    }

    fn top(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    fn root(&self) -> PathBuf {
        self.top().join("root")
    }

    fn git(&self, directory: &str, arguments: &[&str]) {
        let output = Command::new("git")
            .args(["-c", "protocol.file.allow=always", "-c", "user.name=n", "-c", "user.email=e"])
            .args(arguments)
            .current_dir(self.root().join(directory))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.top())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
    }

    fn init(&self, directory: &str) {
        fs::create_dir_all(self.root().join(directory)).unwrap();
        self.git(directory, &["init", "--quiet"]);
    }

    fn protect_with(&self, settings: &ProtectionSettings, home: Option<&Path>) -> Found {
        let path = self.root();
        let root = WritableRoot { asked: path.clone(), path: path.clone(), origin: RootOrigin::PolicyCwd };
        Found { protection: protect(&[root], settings, home), root: path }
    }

    fn protect(&self) -> Found {
        self.protect_with(&ProtectionSettings::default(), None)
    }

    fn protect_git(&self, git: GitProtection) -> Found {
        self.protect_with(&ProtectionSettings { git, ..ProtectionSettings::default() }, None)
    }
}

struct Found {
    protection: Protection,
    root: PathBuf,
}

impl Found {
    fn relative(&self, paths: &[PathBuf]) -> Vec<String> {
        paths
            .iter()
            .map(|path| path.strip_prefix(&self.root).unwrap().to_string_lossy().into_owned())
            .collect()
    }

    fn read_only(&self) -> Vec<String> {
        self.relative(&self.protection.read_only)
    }

    fn pinned(&self) -> Vec<String> {
        self.relative(&self.protection.pinned)
    }

    fn is_absent(&self, path: &str) -> bool {
        self.protection.absent.iter().any(|names| names.contains(&self.root.join(path)))
    }
}

#[test]
fn a_repository_can_be_committed_to_and_not_be_armed() {
    let scene = Scene::new();
    scene.init("");
    let found = scene.protect();
    assert_eq!(found.read_only(), [".git/config", ".git/hooks"]);
    assert_eq!(found.pinned(), [".git"]);
    for name in [".git/commondir", ".git/config.worktree", ".git/info/attributes", ".vscode", ".github/hooks"]
    {
        assert!(found.is_absent(name), "{name}");
    }
    assert_eq!(found.protection.notes, []);
    assert_eq!(found.relative(&found.protection.repositories), [".git"]);
}

#[test]
fn names_are_protected_at_the_top_of_roots_and_of_repositories() {
    let scene = Scene::new();
    scene.init("a/b");
    fs::create_dir_all(scene.root().join("a/b/.vscode")).unwrap();
    fs::write(scene.root().join(".mcp.json"), "{}").unwrap();
    fs::create_dir_all(scene.root().join("a/.vscode")).unwrap();
    fs::create_dir_all(scene.root().join(".github")).unwrap();
    let settings = ProtectionSettings {
        protect: vec!["ci/run".into()],
        unprotect: vec![".envrc".to_owned()],
        ..ProtectionSettings::default()
    };
    let found = scene.protect_with(&settings, None);
    assert_eq!(found.read_only(), [".mcp.json", "a/b/.git/config", "a/b/.git/hooks", "a/b/.vscode"]);
    assert_eq!(found.pinned(), ["a", "a/b", "a/b/.git"]);
    assert!(found.is_absent(".vscode") && !found.is_absent("a/.vscode") && !found.is_absent("a/.idea"));
    assert!(
        found.is_absent("ci/run") && found.is_absent("a/b/ci/run") && found.is_absent("a/b/.github/hooks")
    );
    assert!(!found.is_absent(".envrc") && !found.is_absent("a/b/.envrc"));
}

#[test]
fn work_trees_and_submodules_are_protected_where_they_really_are() {
    let scene = Scene::new();
    scene.init("main");
    scene.init("library");
    scene.git("library", &["commit", "--quiet", "--allow-empty", "-m", "x"]);
    scene.git("main", &["commit", "--quiet", "--allow-empty", "-m", "x"]);
    scene.git("main", &["worktree", "add", "--quiet", "../tree"]);
    scene.git("main", &["submodule", "--quiet", "add", "--name", "deep/name", "../library", "sub"]);
    let found = scene.protect();
    for path in [
        "main/.git/hooks",
        "main/.git/config",
        "main/.git/worktrees/tree/commondir",
        "main/.git/worktrees/tree/gitdir",
        "main/.git/modules/deep/name/hooks",
        "main/.git/modules/deep/name/config",
        "main/sub/.git",
        "tree/.git",
        "library/.git/config",
    ] {
        assert!(found.read_only().contains(&path.to_owned()), "{path}: {:?}", found.read_only());
    }
    for path in [
        "main",
        "main/.git",
        "main/.git/modules",
        "main/.git/modules/deep",
        "main/.git/modules/deep/name",
        "main/.git/worktrees",
        "main/.git/worktrees/tree",
        "main/sub",
        "tree",
    ] {
        assert!(found.pinned().contains(&path.to_owned()), "{path}: {:?}", found.pinned());
    }
    assert!(found.is_absent("main/.git/worktrees/tree/config.worktree"));
    assert!(found.is_absent("main/.git/modules/deep/name/commondir"));
    assert!(found.pinned().is_sorted() && found.read_only().is_sorted());
}

#[test]
fn a_tree_whose_repository_lies_elsewhere_protects_that_one() {
    let scene = Scene::new();
    fs::create_dir_all(scene.root().join("tree")).unwrap();
    scene.git("tree", &["init", "--quiet", "--separate-git-dir", "../store"]);
    // No bare repository by its looks alone: it is found through the pointer as well.
    let found = scene.protect();
    assert_eq!(found.read_only(), ["store/config", "store/hooks", "tree/.git"]);
    fs::remove_dir_all(scene.root().join("store")).unwrap();
    // What a dangling pointer names would be trusted as soon as it is there.
    assert!(scene.protect_git(GitProtection::ReadOnly).read_only().contains(&"tree/.git".to_owned()));
    let found = scene.protect();
    assert!(found.is_absent("store"), "{:?}", found.protection);
}

#[test]
fn the_other_two_choices() {
    let scene = Scene::new();
    scene.init("main");
    scene.git("main", &["commit", "--quiet", "--allow-empty", "-m", "x"]);
    scene.git("main", &["worktree", "add", "--quiet", "../tree"]);
    fs::create_dir(scene.root().join("main/.idea")).unwrap();
    let found = scene.protect_git(GitProtection::ReadOnly);
    assert_eq!(found.read_only(), ["main/.git", "main/.idea", "tree/.git"]);
    assert_eq!(found.pinned(), ["main", "tree"]);
    assert!(
        !found
            .protection
            .absent
            .iter()
            .flat_map(AbsentNames::paths)
            .any(|path| path.to_string_lossy().contains(".git/"))
    );
    let found = scene.protect_git(GitProtection::Open);
    assert_eq!(found.read_only(), ["main/.idea"]);
    assert_eq!(found.protection.repositories, [] as [PathBuf; 0]);
}

#[test]
fn bare_repositories_are_repositories() {
    let scene = Scene::new();
    fs::create_dir_all(scene.root().join("a")).unwrap();
    scene.git("a", &["init", "--quiet", "--bare", "bare"]);
    // One that git does not know as its own, and that hides another.
    scene.init("a/bare/inner");
    let found = scene.protect();
    assert_eq!(
        found.read_only(),
        ["a/bare/config", "a/bare/hooks", "a/bare/inner/.git/config", "a/bare/inner/.git/hooks"]
    );
}

#[test]
fn links_are_watched_and_their_targets_protected() {
    let scene = Scene::new();
    scene.init("real");
    let root = scene.root();
    fs::create_dir_all(root.join("shared/vscode")).unwrap();
    fs::create_dir_all(root.join("tree")).unwrap();
    symlink("shared/vscode", root.join(".vscode")).unwrap();
    symlink("shared/nothing", root.join(".idea")).unwrap();
    symlink("/etc", root.join(".zed")).unwrap();
    symlink(".husky", root.join(".husky")).unwrap();
    symlink("../real/.git", root.join("tree/.git")).unwrap();
    let found = scene.protect();
    assert_eq!(found.read_only(), ["real/.git/config", "real/.git/hooks", "shared/vscode"]);
    assert!(found.is_absent("shared/nothing"));
    assert!(found.pinned().contains(&"shared".to_owned()) && found.pinned().contains(&"tree".to_owned()));
    let mut links: Vec<PathBuf> = found.protection.links.iter().map(|link| link.path.clone()).collect();
    links.sort();
    let watched = [".husky", ".idea", ".vscode", ".zed", "tree/.git"];
    assert_eq!(found.relative(&links), watched);
    assert_eq!(found.protection.notes.len(), watched.len());
}

#[test]
fn what_the_configuration_names_is_protected_too() {
    let scene = Scene::new();
    scene.init("main");
    let root = scene.root();
    fs::create_dir_all(root.join("main/tools/hooks")).unwrap();
    fs::write(root.join("main/.git/more"), "[include]\n\tpath = ../even-more\n").unwrap();
    scene.git("main", &["config", "core.hooksPath", "tools/hooks"]);
    scene.git("main", &["config", "include.path", "more"]);
    let found = scene.protect();
    assert!(found.read_only().contains(&"main/tools/hooks".to_owned()), "{:?}", found.read_only());
    assert!(found.read_only().contains(&"main/.git/more".to_owned()));
    assert!(found.pinned().contains(&"main/tools".to_owned()));
    assert!(found.is_absent("main/even-more"), "{:?}", found.protection.absent);
}

#[test]
fn a_second_name_of_a_protected_file_is_told() {
    let scene = Scene::new();
    scene.init("");
    fs::hard_link(scene.root().join(".git/config"), scene.root().join("other")).unwrap();
    let note = ProtectionNote::OtherNames { path: scene.root().join(".git/config"), names: 2 };
    assert_eq!(scene.protect().protection.notes, [note]);
}

#[test]
fn later_calls_go_by_the_list_and_a_look() {
    let scene = Scene::new();
    let home = scene.top().join("home");
    scene.init("a/b/c");
    let settings = ProtectionSettings::default();
    let first = scene.protect_with(&settings, Some(&home));
    assert_eq!(first.relative(&first.protection.repositories), ["a/b/c/.git"]);
    scene.init("near");
    scene.init("a/b/d");
    let second = scene.protect_with(&settings, Some(&home));
    assert_eq!(second.relative(&second.protection.repositories), ["a/b/c/.git", "near/.git"]);
    fs::remove_dir_all(scene.root().join("a/b/c")).unwrap();
    let third = scene.protect_with(&settings, Some(&home));
    assert_eq!(third.relative(&third.protection.repositories), ["near/.git"]);
    // A list that is broken, or in a place that can't be written, only costs time.
    let files = home.join("cache/repositories");
    for file in fs::read_dir(&files).unwrap() {
        fs::write(file.unwrap().path(), "broken").unwrap();
    }
    let repaired = scene.protect_with(&settings, Some(&home));
    assert_eq!(repaired.relative(&repaired.protection.repositories), ["a/b/d/.git", "near/.git"]);
    assert!(Cache::new(&home).load(&scene.root()).is_some());
    fs::remove_dir_all(&files).unwrap();
    fs::write(&files, "").unwrap();
    let unkept = scene.protect_with(&settings, Some(&home));
    assert_eq!(unkept.protection, repaired.protection);
}

#[test]
fn hostile_trees_are_walked_to_the_end() {
    let scene = Scene::new();
    let root = scene.root();
    let odd = root.join(OsStr::from_bytes(b"\xff\n"));
    fs::create_dir_all(odd.join(".git")).unwrap();
    symlink("..", root.join("loop")).unwrap();
    nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(root.join("fifo.d")).unwrap();
    nix::unistd::mkfifo(&root.join("fifo.d/.git"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(root.join("pointer")).unwrap();
    fs::write(root.join("pointer/.git"), "gitdir: ../../../../../../etc\n").unwrap();
    fs::write(root.join("HEAD"), "").unwrap();
    let mut deep = root.clone();
    for _ in 0..700 {
        deep.push("dddd");
    }
    fs::create_dir_all(&deep).unwrap();
    let found = scene.protect();
    assert!(found.protection.pinned.contains(&odd.join(".git")), "{:?}", found.protection);
    assert!(found.read_only().contains(&"fifo.d/.git".to_owned()));
    assert!(found.read_only().contains(&"pointer/.git".to_owned()));
    assert_eq!(found.protection.repositories.len(), 3, "{:?}", found.protection.repositories);
}
