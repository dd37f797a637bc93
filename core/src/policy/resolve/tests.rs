use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{PolicyError, ResolvedPolicy, ResolvedWrites, RootOrigin, Surroundings, resolve};
use crate::policy::{NetworkAccess, SandboxPolicy};

struct Scene {
    _scratch: tempfile::TempDir,
    top: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        for directory in ["workspace/deep", "other", "home/.codex"] {
            fs::create_dir_all(top.join(directory)).unwrap();
        }
        Self { _scratch: scratch, top }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.top.join(path)
    }

    fn resolve(&self, roots: &[PathBuf]) -> Result<ResolvedPolicy, PolicyError> {
        self.resolve_with(roots, &self.at("workspace"), None)
    }

    fn resolve_with(
        &self,
        roots: &[PathBuf],
        policy_cwd: &Path,
        tmpdir: Option<&Path>,
    ) -> Result<ResolvedPolicy, PolicyError> {
        let policy = SandboxPolicy::WorkspaceWrite {
            writable_roots: roots.to_vec(),
            network: NetworkAccess::Restricted,
            exclude_tmpdir_env_var: false,
            exclude_slash_tmp: true,
        };
        let codex_home = self.at("home/.codex");
        resolve(
            &policy,
            Surroundings { policy_cwd, tmpdir, codex_home: Some(&codex_home), named_in_files: &[] },
        )
    }
}

fn paths(policy: &ResolvedPolicy) -> Vec<&Path> {
    match &policy.writes {
        ResolvedWrites::Everywhere => panic!("everything is writable"),
        ResolvedWrites::Beneath(roots) => roots.iter().map(|root| root.path.as_path()).collect(),
    }
}

#[test]
fn the_workspace_and_the_configured_roots_are_writable() {
    let scene = Scene::new();
    let policy = scene.resolve(&[scene.at("other")]).unwrap();
    assert_eq!(paths(&policy), [scene.at("workspace"), scene.at("other")]);
    assert_eq!(policy.notes, []);
}

#[test]
fn roots_below_others_and_twice_are_folded_and_said_so() {
    let scene = Scene::new();
    let policy =
        scene.resolve(&[scene.at("workspace/deep"), scene.at("other"), scene.at("other/.")]).unwrap();
    assert_eq!(paths(&policy), [scene.at("workspace"), scene.at("other")]);
    assert_eq!(policy.notes.len(), 2);
    // A name that only begins like a root is another directory.
    fs::create_dir(scene.at("workspace-2")).unwrap();
    let policy = scene.resolve(&[scene.at("workspace-2")]).unwrap();
    assert_eq!(paths(&policy).len(), 2);
}

#[test]
fn links_are_followed_once() {
    let scene = Scene::new();
    symlink(scene.at("other"), scene.at("link")).unwrap();
    let policy = scene.resolve(&[scene.at("link")]).unwrap();
    assert_eq!(paths(&policy), [scene.at("workspace"), scene.at("other")]);
}

#[test]
fn a_link_that_commands_could_turn_is_refused() {
    let scene = Scene::new();
    symlink(scene.at("other"), scene.at("workspace/link")).unwrap();
    let error = scene.resolve(&[scene.at("workspace/link")]).unwrap_err();
    let expected = PolicyError::WritableLink {
        path: scene.at("workspace/link"),
        link: scene.at("workspace/link"),
        root: scene.at("workspace"),
    };
    assert_eq!(error, expected);
}

#[test]
fn named_roots_that_cannot_be_are_errors() {
    let scene = Scene::new();
    fs::write(scene.at("file"), "").unwrap();
    symlink("loop", scene.at("loop")).unwrap();
    type Expected = fn(&PolicyError) -> bool;
    let cases: [(PathBuf, Expected); 9] = [
        (scene.at("missing"), |error| matches!(error, PolicyError::Missing(_))),
        (scene.at("file"), |error| matches!(error, PolicyError::NotADirectory(_))),
        (scene.at("file/x"), |error| matches!(error, PolicyError::NotADirectory(_))),
        (scene.at("loop"), |error| matches!(error, PolicyError::Unreadable { .. })),
        ("relative".into(), |error| matches!(error, PolicyError::Relative(_))),
        ("/".into(), |error| matches!(error, PolicyError::Forbidden { .. })),
        ("/proc/self/root".into(), |error| matches!(error, PolicyError::Forbidden { .. })),
        ("/sys/kernel".into(), |error| matches!(error, PolicyError::Forbidden { .. })),
        ("/dev".into(), |error| matches!(error, PolicyError::Forbidden { .. })),
    ];
    for (root, expected) in cases {
        let error = scene.resolve(std::slice::from_ref(&root)).unwrap_err();
        assert!(expected(&error), "{}: {error:?}", root.display());
        assert_eq!(error.to_string().lines().count(), 1);
    }
}

#[test]
fn the_configuration_stays_out_of_every_root() {
    let scene = Scene::new();
    let refused = |root: PathBuf| {
        let error = scene.resolve(&[root]).unwrap_err();
        matches!(error, PolicyError::Configuration { .. })
    };
    assert!(refused(scene.at("home")));
    assert!(refused(scene.at("home/.codex")));
    fs::create_dir(scene.at("home/.codex/inside")).unwrap();
    assert!(refused(scene.at("home/.codex/inside")));
    // Also where it does not exist yet: a command could make it.
    fs::remove_dir_all(scene.at("home/.codex")).unwrap();
    assert!(refused(scene.at("home")));
    // And where only the link to it lies in the root: a command could turn it.
    symlink(scene.at("other"), scene.at("home/.codex")).unwrap();
    assert!(refused(scene.at("home")));
    assert!(refused(scene.at("other")));
}

#[test]
fn implied_roots_that_cannot_be_are_left_out_with_a_note() {
    let scene = Scene::new();
    for tmpdir in ["missing", "home", "workspace/deep"] {
        let policy = scene.resolve_with(&[], &scene.at("workspace"), Some(&scene.at(tmpdir))).unwrap();
        assert_eq!(paths(&policy), [scene.at("workspace")]);
        assert_eq!(policy.notes[0].origin, RootOrigin::TmpdirVariable);
    }
    let policy = scene.resolve_with(&[], &scene.at("workspace"), Some(Path::new("relative"))).unwrap();
    assert_eq!(policy.notes[0].why, "not an absolute path");
    let policy = scene.resolve_with(&[], &scene.at("workspace"), Some(Path::new(""))).unwrap();
    assert_eq!(policy.notes, []);
}

#[test]
fn only_workspace_write_has_roots() {
    let scene = Scene::new();
    let (workspace, codex_home) = (scene.at("workspace"), scene.at("home/.codex"));
    let surroundings = Surroundings {
        policy_cwd: &workspace,
        tmpdir: Some(&workspace),
        codex_home: Some(&codex_home),
        named_in_files: &[],
    };
    let read_only = SandboxPolicy::ReadOnly { network: NetworkAccess::Enabled };
    let resolved = resolve(&read_only, surroundings).unwrap();
    assert_eq!(resolved.writes, ResolvedWrites::Beneath(Vec::new()));
    assert_eq!(resolved.network, NetworkAccess::Enabled);
    let resolved = resolve(&SandboxPolicy::DangerFullAccess, surroundings).unwrap();
    assert_eq!(resolved.writes, ResolvedWrites::Everywhere);
    assert_eq!(resolved.network, NetworkAccess::Enabled);
}

#[test]
fn a_link_that_is_newer_than_the_file_that_names_the_root_is_refused() {
    let scene = Scene::new();
    symlink(scene.at("other"), scene.at("link")).unwrap();
    let root = scene.at("link");
    let policy = SandboxPolicy::WorkspaceWrite {
        writable_roots: vec![root.clone()],
        network: NetworkAccess::Restricted,
        exclude_tmpdir_env_var: true,
        exclude_slash_tmp: true,
    };
    let workspace = scene.at("workspace");
    let resolve_as_of = |written: SystemTime| {
        let named_in_files = [(root.clone(), written)];
        let surroundings = Surroundings {
            policy_cwd: &workspace,
            tmpdir: None,
            codex_home: None,
            named_in_files: &named_in_files,
        };
        resolve(&policy, surroundings)
    };
    let hour = Duration::from_secs(3600);
    assert_eq!(
        paths(&resolve_as_of(SystemTime::now() + hour).unwrap()),
        [scene.at("workspace"), scene.at("other")]
    );
    let error = resolve_as_of(SystemTime::now() - hour).unwrap_err();
    assert_eq!(error, PolicyError::NewerLink { path: root.clone(), link: root.clone() });
}
