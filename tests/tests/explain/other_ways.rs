//! What can't be refused is not seen to its end. What can be is, by whatever way a name leads there.

use codex_tests::harness::{Identity, Level, Policy, Scene, require_tool};
use nix::errno::Errno;

use super::{denials, furnish, json};

/// Does everything to what lies in the present directory, and says how each act ended. The second argument hides something.
const WAYS: &str = r#"
import errno, os, sys
outside = sys.argv[1]
W, C, X, T = os.O_WRONLY, os.O_CREAT, os.O_EXCL, os.O_TRUNC
def act(name, do, *rest, **more):
    try:
        do(*rest, **more)
        print(name, "works")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
here = os.open(".", os.O_RDONLY)
there = os.open(outside, os.O_RDONLY)
top = os.getcwd()
config = top + "/.git/config"
os.symlink(outside, "made")
os.chdir("sub")
act("up", os.open, "../.git/config", W)
os.chdir("..")
act("relative", os.open, ".git/HEAD", W)
act("object", os.open, ".git/objects/new", W | C)
act("object", os.open, ".git/objects/new", W | C)
act("object-moved", os.rename, ".git/objects/new", ".git/objects/old")
act("directory", os.open, ".git/hooks/pre-commit", W, dir_fd=here)
act("absolute", os.open, top + "/.git/config", W | T)
act("new-name", os.open, ".git/hooks/new", W | C | X)
act("maybe-new", os.open, ".git/hooks/maybe", W | C)
act("root", os.open, "/proc/self/root" + config, W)
act("link-in", os.open, "link-in", W)
act("no-truncate", os.truncate, "link-in", 2)
act("onto-kept", os.rename, "sub/other", ".git/config")
act("pinned", os.rename, ".git", "moved")
act("pinned-back", os.rename, "moved", ".git")
act("up-and-out", os.open, "sub/../../outside/file", W)
act("beside", os.open, "file", W, dir_fd=there)
number = os.open(outside + "/file", os.O_RDONLY)
act("by-number", os.open, f"/proc/self/fd/{number}", W)
act("by-device", os.open, f"/dev/fd/{number}", W)
act("by-process", os.open, f"/proc/{os.getpid()}/fd/{number}", W)
act("below-number", os.open, f"/proc/self/fd/{there}/file", W)
os.chdir("sub")
act("below-place", os.open, "/proc/self/cwd/../../outside/file", W)
os.chdir("..")
act("link-out", os.open, "link-out", W)
act("link-out-truncated", os.truncate, "link-out", 2)
act("dangling", os.open, "dangling", W | C)
act("through", os.open, "through/dir/entry", W)
act("through-link", os.mkdir, "through/made")
act("made", os.open, "made/dir/entry", W)
act("link-there", os.symlink, "x", "through/link")
act("second-name", os.link, "secret", "through/second")
act("name-here", os.link, outside + "/file", "sub/linked")
act("unlink", os.unlink, "through/dir/entry")
act("across", os.rename, "sub/file", "through/across")
act("metadata", os.chmod, "through/file", 0o600)
act("mode-of-link", os.chmod, "link-in", 0o600)
act("hard", os.open, "hard", W)
os.rename("above", "elsewhere")
os.mkdir("above")
os.symlink(outside, "above/nested")
act("moved-tree", os.open, top + "/above/nested/dir/deep", W)
act("again", os.open, top + "/elsewhere/nested/file", W)
act("looks", os.stat, "hidden/file")
act("looks-by-link", os.open, "to-hidden", os.O_RDONLY)
act("writes", os.open, "hidden/file", W)
for _ in range(3):
    act("file", os.open, "secret", W | C)
    act("new", os.open, "sub/new", W | C | T)
    act("gone", os.unlink, "sub/new")
    act("temporary", os.mkdir, "sub/dir")
    act("temporary-gone", os.rmdir, "sub/dir")
    act("there", os.rename, "secret", "other")
    act("back", os.rename, "other", "secret")
"#;

/// An operation, its target in the scene, its error, and how often.
type Told = (&'static str, &'static str, Errno, u64);

const AT_NAMESPACES: [Told; 18] = [
    ("create", "workspace/sub/linked", Errno::EXDEV, 1),
    ("write", "workspace/sub/../.git/config", Errno::EROFS, 5),
    ("write", "workspace/.git/hooks/pre-commit", Errno::EROFS, 1),
    ("create", "workspace/.git/hooks/new", Errno::EROFS, 1),
    ("create", "workspace/.git/hooks/maybe", Errno::EROFS, 1),
    ("rename", "workspace/.git/config", Errno::EXDEV, 1),
    ("rename", "workspace/.git", Errno::EBUSY, 1),
    ("write", "workspace/sub/../../outside/file", Errno::EROFS, 9),
    ("write", "workspace/through/dir/entry", Errno::EROFS, 2),
    ("create", "workspace/dangling", Errno::EROFS, 1),
    ("create", "workspace/through/made", Errno::EROFS, 1),
    ("create", "workspace/through/link", Errno::EROFS, 1),
    ("create", "workspace/through/second", Errno::EROFS, 1),
    ("remove", "workspace/through/dir/entry", Errno::EROFS, 1),
    ("create", "workspace/through/across", Errno::EXDEV, 1),
    ("metadata", "workspace/through/file", Errno::EROFS, 1),
    ("metadata", "workspace/link-in", Errno::EROFS, 1),
    ("write", "workspace/above/nested/dir/deep", Errno::EROFS, 1),
];

const AT_LANDLOCK: [Told; 10] = [
    ("create", "workspace/sub/linked", Errno::EXDEV, 1),
    ("write", "workspace/sub/../../outside/file", Errno::EACCES, 9),
    ("write", "workspace/through/dir/entry", Errno::EACCES, 2),
    ("create", "workspace/dangling", Errno::EACCES, 1),
    ("create", "workspace/through/made", Errno::EACCES, 1),
    ("create", "workspace/through/link", Errno::EACCES, 1),
    ("create", "workspace/through/second", Errno::EACCES, 1),
    ("remove", "workspace/through/dir/entry", Errno::EACCES, 1),
    ("create", "workspace/through/across", Errno::EACCES, 1),
    ("write", "workspace/above/nested/dir/deep", Errno::EACCES, 1),
];

fn arrange(scene: &Scene) {
    furnish(scene);
    for place in ["workspace/sub", "workspace/above/nested", "workspace/hidden"] {
        scene.directory(place);
    }
    for file in ["sub/file", "sub/other", "above/nested/file", "hidden/file"] {
        scene.file(&format!("workspace/{file}"), "x\n");
    }
    scene.file("outside/dir/deep", "x\n");
    for (target, name) in [
        (".git/config", "link-in"),
        ("../outside", "through"),
        ("hidden/file", "to-hidden"),
        ("../outside/not-there", "dangling"),
    ] {
        scene.symlink(target, &format!("workspace/{name}"));
    }
    std::fs::hard_link(scene.path("outside/file"), scene.path("workspace/hard")).expect("a second name");
}

pub(super) fn every_way_is_seen(scene: &Scene) {
    if require_tool("python3").is_none() {
        return;
    }
    let control = scene.fresh("bare");
    arrange(&control);
    let outside = control.outside().display().to_string();
    let bare = control.under(Policy::Bare).command("python3", ["-c", WAYS, &outside]).run();
    let mut lines = bare.text().lines().map(str::to_owned).collect::<Vec<_>>();
    lines.retain(|line| !line.ends_with(" works"));
    assert!(bare.code() == Some(0) && lines.is_empty(), "{}", bare.describe());

    arrange(scene);
    let outside = scene.outside().display().to_string();
    let nested = scene.path("workspace/above/nested").display().to_string();
    // What is kept stays kept, whoever names it as a tree that can be written.
    let hooks = scene.path("workspace/.git/hooks").display().to_string();
    let hidden = format!("sandbox.deny_read=['{}']", scene.path("workspace/hidden").display());
    let mut options = vec!["--json", "--explain", "--add-dir", &nested, "--add-dir", &hooks];
    let (expected, read) = match (scene.level(), scene.identity()) {
        (Level::Landlock, _) => (AT_LANDLOCK.as_slice(), None),
        // Root finds hidden places empty: what a link names there could be missing.
        (Level::Namespaces, Identity::Root) => (AT_NAMESPACES.as_slice(), Some((Errno::ENOENT, 1))),
        (Level::Namespaces, Identity::User) => (AT_NAMESPACES.as_slice(), Some((Errno::EACCES, 2))),
    };
    if read.is_some() {
        options.extend(["-c", &hidden]);
    }
    let run =
        scene.under(Policy::WorkspaceWrite).options(options).command("python3", ["-c", WAYS, &outside]).run();
    let in_the_scene = |&(operation, target, errno, count): &Told| {
        (operation.to_owned(), scene.path(target).display().to_string(), errno as i32, count)
    };
    let mut expected: Vec<_> = expected.iter().map(in_the_scene).collect();
    if let Some((errno, count)) = read {
        expected.push(in_the_scene(&("read", "workspace/hidden/file", errno, count)));
        expected.push(in_the_scene(&("write", "workspace/hidden/file", errno, 1)));
    }
    // What was moved away afterwards has no error.
    let mut found: Vec<_> = denials(&run)
        .iter()
        .filter_map(|denial| {
            let text = |field: &str| denial[field].as_str().map(str::to_owned);
            let errno = i32::try_from(denial["errno"].as_i64()?).ok()?;
            Some((text("operation")?, text("target")?, errno, denial["count"].as_u64()?))
        })
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "{}", run.describe());
    // What is not refused works as it did.
    let text = json(&run)["stdout"]["text"].as_str().expect("a text").to_owned();
    for name in [
        "object",
        "object-moved",
        "relative",
        "hard",
        "again",
        "file",
        "new",
        "gone",
        "temporary",
        "temporary-gone",
        "there",
        "back",
    ] {
        assert!(text.lines().any(|line| line == format!("{name} works")), "{name}: {}", run.describe());
    }
}
