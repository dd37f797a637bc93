//! What commands plant is gone from the host after the call, and what they make goes on working.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use super::{Guard, LEAST_SEARCH, Quarantined, Why, recover, refresh};
use crate::policy::protected::protect_and_see;
use crate::policy::protected::seen::Seen;
use crate::policy::protected::walk::Bounds;
use crate::policy::{GitProtection, ProtectionSettings, RootOrigin, WritableRoot, protect};

/// Time for a search, so that no test depends on how long it took itself.
const AMPLE: Bounds = Bounds { directories: usize::MAX, least: 0, time: Duration::from_secs(60) };
/// No time, and nothing that is read in any case.
const NONE: Bounds = Bounds { directories: usize::MAX, least: 0, time: Duration::ZERO };

/// A writable root and a home of the configuration. What a test does to the root is what a command would do.
struct Scene {
    directory: tempfile::TempDir,
    root: PathBuf,
}

impl Scene {
    fn new() -> Self {
        // Not in `/tmp`, a writable root of every call that is made beside these tests.
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let root = directory.path().canonicalize().unwrap().join("root");
        fs::create_dir(&root).unwrap();
        Self { directory, root }
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    fn begin_with(&self, git: GitProtection) -> Guard {
        let root =
            WritableRoot { asked: self.root.clone(), path: self.root.clone(), origin: RootOrigin::PolicyCwd };
        let settings = ProtectionSettings { git, ..ProtectionSettings::default() };
        let guard = Guard::begin(
            &mut protect_and_see(&[root], &settings, Some(&self.home()), Seen::trusting()),
            Some(&self.home()),
        );
        assert!(guard.journal.is_some());
        self.go_on();
        guard
    }

    /// Waits until the clock by which files are stamped goes on: what is changed next has another time.
    fn go_on(&self) {
        let probe = self.directory.path().join("probe");
        let stamp = || {
            fs::write(&probe, "").unwrap();
            let status = fs::metadata(&probe).unwrap();
            fs::remove_file(&probe).unwrap();
            (status.ctime(), status.ctime_nsec())
        };
        let was = stamp();
        while stamp() == was {}
    }

    fn begin(&self) -> Guard {
        self.begin_with(GitProtection::Commit)
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A program that leaves a mark when it runs.
    fn program(&self, relative: &str) {
        self.write(relative, &format!("#!/bin/sh\n: > {}\n", self.mark().display()));
        fs::set_permissions(self.path(relative), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn mark(&self) -> PathBuf {
        self.directory.path().join("ran")
    }

    /// Whether something has run, from the mark that it left; takes the mark away.
    fn ran(&self) -> bool {
        fs::remove_file(self.mark()).is_ok()
    }

    fn try_git(&self, directory: &str, arguments: &[&str]) -> bool {
        Command::new("git")
            .args(["-c", "protocol.file.allow=always", "-c", "user.name=n", "-c", "user.email=e"])
            .args(arguments)
            .current_dir(self.path(directory))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.directory.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .success()
    }

    fn git(&self, directory: &str, arguments: &[&str]) {
        assert!(self.try_git(directory, arguments), "git {arguments:?}");
    }

    fn init(&self, directory: &str) {
        fs::create_dir_all(self.path(directory)).unwrap();
        self.git(directory, &["init", "--quiet"]);
        self.git(directory, &["commit", "--quiet", "--allow-empty", "-m", "x"]);
    }

    fn moved(&self, found: &[Quarantined]) -> Vec<String> {
        let relative = |one: &Quarantined| {
            assert!(one.stuck.is_none(), "{one}");
            assert!(one.kept_at.as_ref().is_some_and(|at| at.symlink_metadata().is_ok()), "{one}");
            assert!(
                one.path.symlink_metadata().is_err() || !matches!(one.why, Why::Appeared | Why::Hook),
                "{one}"
            );
            one.path.strip_prefix(&self.root).unwrap().to_string_lossy().into_owned()
        };
        let mut moved: Vec<String> = found.iter().map(relative).collect();
        moved.sort();
        moved
    }

    fn pending(&self) -> usize {
        fs::read_dir(self.home().join("quarantine/pending")).unwrap().count()
    }
}

fn refreshed(scene: &Scene) -> Vec<Quarantined> {
    refresh(std::slice::from_ref(&scene.root), &scene.home(), &mut || false)
}

#[test]
fn what_appears_at_a_protected_name_is_moved_away() {
    let scene = Scene::new();
    scene.init("repo");
    let guard = scene.begin();
    assert_eq!(scene.pending(), 1);
    scene.write(".vscode/tasks.json", "{}");
    scene.write(".github/hooks/x.json", "{}");
    scene.write(".github/workflows/ci.yml", "");
    scene.write("repo/.envrc", "x");
    scene.write("repo/.git/commondir", "/etc");
    scene.write("repo/.git/info/attributes", "* diff=x");
    scene.write("src/.vscode/inert", "");
    let found = guard.finish_within(AMPLE);
    assert_eq!(
        scene.moved(&found),
        [".github/hooks", ".vscode", "repo/.envrc", "repo/.git/commondir", "repo/.git/info/attributes"]
    );
    let at = found.iter().find(|one| one.path.ends_with(".vscode")).unwrap().kept_at.clone().unwrap();
    assert_eq!(fs::read_to_string(at.join("tasks.json")).unwrap(), "{}");
    assert!(at.starts_with(scene.home()));
    let origins = fs::read_to_string(at.with_file_name("origins")).unwrap();
    assert!(origins.contains(&format!("\t{}\n", scene.path(".vscode").display())), "{origins}");
    assert!(scene.path(".github/workflows/ci.yml").exists() && scene.path("src/.vscode/inert").exists());
    assert_eq!(scene.pending(), 0);
    assert_eq!(scene.begin().finish(), []);
}

#[test]
fn a_link_on_the_way_to_a_protected_name_is_moved_away() {
    let scene = Scene::new();
    let guard = scene.begin();
    scene.write("elsewhere/hooks/x.json", "{}");
    symlink("elsewhere", scene.path(".github")).unwrap();
    assert_eq!(scene.moved(&guard.finish_within(AMPLE)), [".github"]);
    assert!(scene.path("elsewhere/hooks/x.json").exists());
}

#[test]
fn links_are_put_back() {
    let scene = Scene::new();
    fs::create_dir(scene.path("shared")).unwrap();
    symlink("shared", scene.path(".vscode")).unwrap();
    symlink("shared", scene.path(".idea")).unwrap();
    let guard = scene.begin();
    fs::remove_file(scene.path(".vscode")).unwrap();
    scene.write(".vscode/tasks.json", "{}");
    fs::remove_file(scene.path(".idea")).unwrap();
    let found = guard.finish_within(AMPLE);
    assert_eq!(found.len(), 2, "{found:?}");
    for one in [".vscode", ".idea"] {
        assert_eq!(fs::read_link(scene.path(one)).unwrap(), Path::new("shared"));
    }
    assert!(found.iter().any(|one| one.kept_at.as_ref().is_some_and(|at| at.join("tasks.json").exists())));
}

#[test]
fn a_killed_call_is_checked_by_the_next_one() {
    let scene = Scene::new();
    let guard = scene.begin();
    scene.write(".vscode/tasks.json", "{}");
    scene.init("made");
    scene.program("made/.git/hooks/post-checkout");
    // While it runs, nobody else checks.
    assert_eq!(recover(&scene.home()), []);
    // Nothing is dropped when a process is killed, but that its files are closed: so is the journal's here.
    drop(guard);
    assert_eq!(scene.moved(&recover(&scene.home())), [".vscode"]);
    assert_eq!(recover(&scene.home()), []);
    assert_eq!(scene.moved(&refreshed(&scene)), ["made/.git/hooks/post-checkout"]);
    assert_eq!(scene.pending(), 0);
    assert_eq!(refreshed(&scene), []);
}

#[test]
fn watched_names_are_cleared_at_once() {
    let scene = Scene::new();
    let mut guard = scene.begin();
    assert!(guard.descriptor().is_none());
    guard.watch();
    scene.write("other", "");
    guard.handle_events();
    scene.write(".envrc", "x");
    let watch = guard.descriptor().unwrap();
    let mut poll = [nix::poll::PollFd::new(watch.as_fd(), nix::poll::PollFlags::POLLIN)];
    assert_eq!(nix::poll::poll(&mut poll, nix::poll::PollTimeout::from(5000_u16)), Ok(1));
    guard.handle_events();
    assert!(!scene.path(".envrc").exists() && scene.path("other").exists());
    scene.write(".envrc", "y");
    let found = guard.finish_within(AMPLE);
    assert_eq!(scene.moved(&found), [".envrc", ".envrc"]);
}

#[test]
fn hooks_of_a_new_repository_do_not_run_on_the_host() {
    let scene = Scene::new();
    let plant = |directory: &str| {
        scene.init(directory);
        scene.program(&format!("{directory}/.git/hooks/post-checkout"));
    };
    let act = |directory: &str| scene.git(directory, &["checkout", "--quiet", "-b", "b"]);
    plant("before");
    act("before");
    assert!(scene.ran(), "without us, the hook runs");

    let guard = scene.begin();
    plant("deep/er/after");
    let found = guard.finish_within(AMPLE);
    assert_eq!(scene.moved(&found), ["deep/er/after/.git/hooks/post-checkout"]);
    act("deep/er/after");
    assert!(!scene.ran());
    // What was there before is nobody's to touch.
    assert!(scene.path("before/.git/hooks/post-checkout").exists());
}

#[test]
fn configuration_of_a_new_repository_runs_nothing_on_the_host() {
    let scene = Scene::new();
    scene.program("evil");
    let evil = scene.path("evil").display().to_string();
    scene.write("tools/hooks/post-checkout", &fs::read_to_string(scene.path("evil")).unwrap());
    fs::set_permissions(scene.path("tools/hooks/post-checkout"), fs::Permissions::from_mode(0o755)).unwrap();
    scene.write("tools/include", &format!("[core]\n\tfsmonitor = {evil}\n"));
    let attacks: [(&str, String, &[&str]); 6] = [
        ("monitor", format!("[core]\n\tfsmonitor = {evil}\n"), &["status"]),
        (
            "hooks-path",
            format!("[core]hooksPath={}", scene.path("tools/hooks").display()),
            &["checkout", "-b", "b"],
        ),
        ("include", format!("[include]\n\tpath = {}\n", scene.path("tools/include").display()), &["status"]),
        ("alias", format!("[alias]\n\tst = !{evil}\n"), &["st"]),
        (
            "transport",
            format!("[protocol \"ext\"]allow=always\n[remote \"o\"]\n\turl = ext::{evil}\n"),
            &["fetch", "o"],
        ),
        (
            "continued",
            format!("[core]\n\teol = lf\\\n\n[core]fsmonitor\\\n = x\n[core]fsmonitor = {evil}\n"),
            &["status"],
        ),
    ];
    for (name, text, act) in &attacks {
        // What can't be read at all is no attack of its own, but has to be answered.
        let plant = |directory: &str| {
            scene.init(directory);
            let config = format!("{directory}/.git/config");
            let old = fs::read_to_string(scene.path(&config)).unwrap();
            scene.write(&config, &format!("{old}{text}"));
        };
        plant(&format!("before-{name}"));
        scene.try_git(&format!("before-{name}"), act);
        assert!(scene.ran() || *name == "continued", "{name}: without us, it runs");

        let guard = scene.begin();
        plant(name);
        let found = guard.finish_within(AMPLE);
        assert_eq!(scene.moved(&found), [format!("{name}/.git/config")]);
        scene.try_git(name, act);
        assert!(!scene.ran(), "{name}");
        scene.git(name, &["status"]);
    }
}

#[test]
fn work_with_git_goes_on_after_the_call() {
    let scene = Scene::new();
    scene.init("library");
    scene.init("main");
    let guard = scene.begin();
    scene.git("", &["init", "--quiet", "fresh"]);
    scene.git("", &["clone", "--quiet", "library", "clone"]);
    scene.git("main", &["worktree", "add", "--quiet", "../tree"]);
    scene.git("main", &["submodule", "--quiet", "add", "../library", "sub"]);
    scene.git("", &["init", "--quiet", "--bare", "bare"]);
    let found = guard.finish_within(AMPLE);
    assert_eq!(found, []);
    for directory in ["fresh", "clone", "tree", "main/sub", "main"] {
        scene.git(directory, &["status"]);
        scene.git(directory, &["commit", "--quiet", "--allow-empty", "-m", "x"]);
    }
    scene.git("clone", &["fetch", "--quiet"]);
    scene.git("clone", &["push", "--quiet", "../bare", "HEAD:refs/heads/x"]);
}

#[test]
fn a_submodule_of_an_old_repository_is_new_all_the_same() {
    let scene = Scene::new();
    scene.init("library");
    scene.init("main");
    let guard = scene.begin();
    scene.git("main", &["submodule", "--quiet", "add", "../library", "sub"]);
    scene.program("main/.git/modules/sub/hooks/post-checkout");
    scene.git("main", &["worktree", "add", "--quiet", "../tree"]);
    scene.write("main/.git/worktrees/tree/config.worktree", "[core]\n\tfsmonitor = /bin/false\n");
    assert_eq!(
        scene.moved(&guard.finish_within(AMPLE)),
        ["main/.git/modules/sub/hooks/post-checkout", "main/.git/worktrees/tree/config.worktree"]
    );
}

#[test]
fn ways_to_a_configuration_elsewhere_are_closed() {
    let scene = Scene::new();
    let outside = scene.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    scene.init("store");
    let guard = scene.begin();
    scene.write("pointer/.git", &format!("gitdir: {}\n", outside.display()));
    scene.write("broken/.git", "gitdir: nowhere\n");
    fs::create_dir(scene.path("link")).unwrap();
    symlink(&outside, scene.path("link/.git")).unwrap();
    scene.init("common");
    scene.write("common/.git/commondir", &outside.display().to_string());
    scene.init("config-link");
    fs::rename(scene.path("config-link/.git/config"), outside.join("config")).unwrap();
    symlink(outside.join("config"), scene.path("config-link/.git/config")).unwrap();
    scene.init("hooks-link");
    fs::remove_dir_all(scene.path("hooks-link/.git/hooks")).unwrap();
    symlink(&outside, scene.path("hooks-link/.git/hooks")).unwrap();
    scene.init("second-name");
    fs::hard_link(scene.path("second-name/.git/config"), scene.path("name")).unwrap();
    scene.write("plain/HEAD", "ref: refs/heads/main\n");
    scene.write("plain/config", "[core]\n\tfsmonitor = x\n\tworktree = /home\n");
    fs::create_dir_all(scene.path("plain/objects")).unwrap();
    fs::create_dir_all(scene.path("plain/refs")).unwrap();
    let found = guard.finish_within(AMPLE);
    let expected = [
        "broken/.git",
        "common/.git/commondir",
        "config-link/.git/config",
        "hooks-link/.git/hooks",
        "link/.git",
        "plain/config",
        "pointer/.git",
        "second-name/.git/config",
    ];
    assert_eq!(scene.moved(&found), expected);
    assert_eq!(fs::metadata(scene.path("second-name/.git/config")).unwrap().nlink(), 1);
    assert!(outside.join("config").exists());
    let removed = vec!["core.fsmonitor".to_owned(), "core.worktree".to_owned()];
    assert!(found.iter().any(|one| one.why == Why::Configuration { removed: removed.clone() }), "{found:?}");
}

#[test]
fn a_directory_that_was_there_is_new_under_a_new_name() {
    let scene = Scene::new();
    // A call makes what is no repository yet, and the next gives it its name.
    let guard = scene.begin();
    scene.init("x");
    scene.program("x/.git/hooks/post-checkout");
    fs::rename(scene.path("x/.git"), scene.path("x/notgit")).unwrap();
    fs::remove_file(scene.path("x/notgit/HEAD")).unwrap();
    assert_eq!(guard.finish_within(AMPLE), []);
    let guard = scene.begin();
    scene.write("x/notgit/HEAD", "ref: refs/heads/main\n");
    fs::rename(scene.path("x/notgit"), scene.path("x/.git")).unwrap();
    assert_eq!(scene.moved(&guard.finish_within(AMPLE)), ["x/.git/hooks/post-checkout"]);
}

#[test]
fn what_a_short_call_has_no_time_to_search_is_found_later() {
    let scene = Scene::new();
    for _ in 0..3 {
        let guard = scene.begin();
        scene.init("a/b/made");
        scene.program("a/b/made/.git/hooks/post-checkout");
        assert_eq!(guard.finish_within(NONE), []);
        assert_eq!(scene.pending(), 1);
    }
    // One that is stopped at once finds nothing, and forgets nothing.
    let stopped = refresh(std::slice::from_ref(&scene.root), &scene.home(), &mut || true);
    assert_eq!((stopped, scene.pending()), (Vec::new(), 1));
    let mut found = Vec::new();
    let patience = Instant::now();
    while found.is_empty() && patience.elapsed() < Duration::from_secs(10) {
        found = refreshed(&scene);
    }
    assert_eq!(scene.moved(&found), ["a/b/made/.git/hooks/post-checkout"]);
    assert_eq!(scene.pending(), 0);
}

#[test]
fn what_is_small_is_searched_whatever_the_time_is() {
    let scene = Scene::new();
    let guard = scene.begin();
    scene.init("a/b/c/d/e/f/g/h/i/j/k/l");
    scene.program("a/b/c/d/e/f/g/h/i/j/k/l/.git/hooks/post-checkout");
    let found = guard.finish_within(Bounds { least: LEAST_SEARCH, ..NONE });
    assert_eq!(scene.moved(&found), ["a/b/c/d/e/f/g/h/i/j/k/l/.git/hooks/post-checkout"]);
    assert_eq!(scene.pending(), 0);
}

#[test]
fn what_the_next_call_finds_first_is_no_more_trusted_for_it() {
    let scene = Scene::new();
    let guard = scene.begin();
    scene.init("near");
    scene.program("near/.git/hooks/post-checkout");
    assert_eq!(guard.finish_within(NONE), []);
    let guard = scene.begin();
    let near = scene.path("near/.git");
    assert!(guard.repositories.iter().any(|known| known.path == near));
    assert_eq!(guard.finish_within(AMPLE), []);
    assert_eq!(scene.moved(&refreshed(&scene)), ["near/.git/hooks/post-checkout"]);
}

#[test]
fn what_the_next_call_finds_last_is_no_more_trusted_for_it() {
    let scene = Scene::new();
    let guard = scene.begin();
    scene.init("a/b/made");
    scene.program("a/b/made/.git/hooks/post-checkout");
    assert_eq!(guard.finish_within(NONE), []);
    let mut guard = scene.begin();
    // What was made right before its start would count as made by it.
    guard.from = SystemTime::now();
    assert_eq!(guard.finish_within(AMPLE), []);
    assert_eq!(scene.moved(&refreshed(&scene)), ["a/b/made/.git/hooks/post-checkout"]);
}

#[test]
fn what_one_call_has_found_harmless_another_may_have_changed_since() {
    let scene = Scene::new();
    let long = scene.begin();
    let short = scene.begin();
    scene.init("made");
    assert_eq!(short.finish_within(AMPLE), []);
    scene.program("made/.git/hooks/post-checkout");
    // Killed: the kernel gives its lock up, with the last process that was just being started beside this test.
    drop(long);
    let (mut found, patience) = (Vec::new(), Instant::now());
    while found.is_empty() && patience.elapsed() < Duration::from_secs(10) {
        assert_eq!(recover(&scene.home()), []);
        found = refreshed(&scene);
    }
    assert_eq!(scene.moved(&found), ["made/.git/hooks/post-checkout"]);
}

#[test]
fn a_link_that_a_running_call_has_made_is_not_put_back() {
    let scene = Scene::new();
    fs::create_dir(scene.path("made")).unwrap();
    let first = scene.begin();
    symlink("/elsewhere", scene.path("made/.git")).unwrap();
    let second = scene.begin();
    assert_eq!(scene.moved(&first.finish_within(AMPLE)), ["made/.git"]);
    assert_eq!(second.finish_within(AMPLE), []);
    assert!(scene.path("made/.git").symlink_metadata().is_err());
}

#[test]
fn a_work_tree_is_its_own_or_none() {
    let scene = Scene::new();
    fs::create_dir(scene.directory.path().join("elsewhere")).unwrap();
    fs::create_dir(scene.path("other")).unwrap();
    for way in ["../../../elsewhere", "../../other", "../../../nowhere"] {
        let guard = scene.begin();
        scene.init("made");
        scene.git("made", &["config", "core.worktree", way]);
        assert_eq!(scene.moved(&guard.finish_within(AMPLE)), ["made/.git/config"], "{way}");
        assert!(!scene.try_git("made", &["config", "core.worktree"]), "{way}");
        fs::remove_dir_all(scene.path("made")).unwrap();
    }
}

#[test]
fn where_git_is_open_nothing_of_git_is_touched() {
    let scene = Scene::new();
    let guard = scene.begin_with(GitProtection::Open);
    scene.init("made");
    scene.program("made/.git/hooks/post-checkout");
    scene.write(".envrc", "");
    assert_eq!(scene.moved(&guard.finish_within(AMPLE)), [".envrc"]);
}

#[test]
fn a_refresh_leaves_a_running_call_its_repositories() {
    let scene = Scene::new();
    let guard = scene.begin();
    scene.init("a/b/made");
    scene.program("a/b/made/.git/hooks/post-checkout");
    fs::remove_dir_all(scene.home().join("cache")).unwrap();
    assert_eq!(refreshed(&scene), []);
    assert_eq!(scene.moved(&guard.finish_within(AMPLE)), ["a/b/made/.git/hooks/post-checkout"]);
}

#[test]
fn a_repository_of_the_users_own_is_learnt_and_left_alone() {
    let scene = Scene::new();
    assert_eq!(scene.begin().finish_within(AMPLE), []);
    scene.init("a/b/own");
    scene.program("a/b/own/.git/hooks/post-checkout");
    fs::remove_dir_all(scene.home().join("cache")).unwrap();
    assert_eq!(refreshed(&scene), []);
    let guard = scene.begin();
    scene.git("a/b/own", &["commit", "--quiet", "--allow-empty", "-m", "x"]);
    assert_eq!(guard.finish_within(AMPLE), []);
}

#[test]
fn things_cross_to_another_file_system() {
    let shared = Path::new("/dev/shm");
    let Ok(directory) = tempfile::tempdir_in(shared) else { panic!("no directory can be made in /dev/shm") };
    let mut scene = Scene::new();
    scene.root = directory.path().canonicalize().unwrap();
    let different =
        fs::metadata(&scene.root).unwrap().dev() != fs::metadata(scene.directory.path()).unwrap().dev();
    assert!(different, "temporary files lie in /dev/shm: set TMPDIR to another file system for this test");
    let guard = scene.begin();
    scene.write(".vscode/deep/er/tasks.json", "{}");
    symlink("/etc/passwd", scene.path(".vscode/link")).unwrap();
    nix::unistd::mkfifo(&scene.path(".vscode/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let found = guard.finish_within(AMPLE);
    assert_eq!(scene.moved(&found), [".vscode"]);
    let at = found[0].kept_at.clone().unwrap();
    assert!(at.starts_with(scene.home()), "{at:?}");
    assert_eq!(fs::read_to_string(at.join("deep/er/tasks.json")).unwrap(), "{}");
    assert_eq!(fs::read_link(at.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::read_dir(&scene.root).unwrap().count(), 0);
}

#[test]
fn without_a_home_things_are_set_aside_where_they_are() {
    let scene = Scene::new();
    let root =
        WritableRoot { asked: scene.root.clone(), path: scene.root.clone(), origin: RootOrigin::PolicyCwd };
    let guard = Guard::begin(&mut protect(&[root], &ProtectionSettings::default(), None), None);
    assert!(guard.journal.is_none());
    scene.write(".envrc", "x");
    let found = guard.finish_within(AMPLE);
    assert_eq!(scene.moved(&found), [".envrc"]);
    let name = found[0].kept_at.as_ref().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with(".quarantined-"), "{name}");
}

#[test]
fn each_reason_is_one_line() {
    let one = Quarantined {
        path: PathBuf::from("/w/a\nb"),
        kept_at: Some(PathBuf::from("/h/1-a\u{1b}b")),
        why: Why::Configuration { removed: vec!["alias.\n".to_owned()] },
        stuck: None,
    };
    assert_eq!(
        one.to_string(),
        "/w/a\\nb: moved to /h/1-a\\u{1b}b: git may run something because of alias.\\n"
    );
}

#[test]
fn what_has_not_changed_is_not_looked_at_again() {
    let scene = Scene::new();
    scene.init("repo");
    scene.init("other");
    let mut guard = scene.begin();
    let seen = std::mem::take(&mut guard.seen);
    scene.write("other/.git/index.lock", "");
    let unchanged = seen.unchanged(|path| super::state(path, &guard.roots));
    if !unchanged.holds(&scene.path("repo")) {
        eprintln!("SKIPPED: a file system whose times are not trusted");
        return;
    }
    for directory in ["", "repo", "repo/.git", "repo/.git/info", "other", "other/.git/info"] {
        assert!(
            unchanged.holds(&scene.root.join(directory).components().collect::<PathBuf>()),
            "{directory}"
        );
    }
    assert!(!unchanged.holds(&scene.path("other/.git")));
    assert!(unchanged.is_plain(&scene.path("repo/.git")) && !unchanged.is_plain(&scene.path("other/.git")));
    // Moved, and a link in its place that leads to it: another path, whatever it leads to.
    let mut guard = scene.begin();
    let seen = std::mem::take(&mut guard.seen);
    fs::rename(scene.path("repo"), scene.path("moved")).unwrap();
    symlink("moved", scene.path("repo")).unwrap();
    let unchanged = seen.unchanged(|path| super::state(path, &guard.roots));
    assert!(!unchanged.holds(&scene.path("repo")) && !unchanged.holds(&scene.path("repo/.git")));
}
