//! Calls whose end need not be seen, because nothing of the plan can refuse them.
//!
//! A stop takes two switches from one processor to another, which cost more than all that is done at it. Most calls of a build write
//! where everything may be written; what is hidden is far from most that is looked at. Where that can be shown before such a call, it
//! is not stopped once more behind it.
//!
//! To be shown is, by the way that the kernel is about to go itself:
//!
//! - the name leads, from the root or from a directory of the thread's, to a tree that can be written, by the tree's own name, and what
//!   has that name is the tree still;
//! - from there on it leaves neither the tree nor its mount. What is kept, pinned or hidden in a tree is a mount of its own, and
//!   so is whatever else is mounted there; a rule of Landlock holds for all of a tree. A link that leads on in the tree is
//!   followed, one that leads anywhere else shows nothing. A device there is refused by a mount, but by no rule that could be told.
//!
//! Nothing is waited for on that way (`RESOLVE_CACHED`), so that a file system that does not answer keeps nobody but who asks it.
//! What can't be shown is seen to the end.
//!
//! Somebody who changes the way between this and the call can keep a denial from being told, and nothing else: what is refused is the
//! kernel's to say.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::Pid;

use super::call::{self, Reach};
use super::look::{File, Look};
use crate::sys::trace::Called;
use crate::sys::{self, Identity};

/// What is known already, or nothing (`linux/openat2.h`, Linux 5.12). An older kernel refuses to look, and nothing is spared.
const CACHED: ResolveFlag = ResolveFlag::from_bits_retain(0x20);
const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
const ROOT: &str = "/";
/// How long what only somebody outside can change is taken to be as it was.
const TRUST: Duration = Duration::from_millis(10);

/// Where nothing can be refused.
pub(super) struct Spared {
    /// The root of everybody who is followed: `chroot` and other mounts are closed to them.
    root: OwnedFd,
    /// What is in another one stands before it.
    trees: Vec<Tree>,
    /// Where a relative name started last.
    start: Option<Start>,
}

/// A directory of a thread's that is in a tree.
struct Start {
    directory: OwnedFd,
    identity: Identity,
    /// Whether the tree can be written.
    writable: bool,
    shown: Instant,
}

struct Tree {
    path: PathBuf,
    directory: OwnedFd,
    identity: Identity,
    /// Whether it can be written. Looked at can be everything that is mounted with the root, and not hidden.
    writable: bool,
    /// Whether it lies in another one, where it could be moved from inside.
    nested: bool,
    /// When it was seen last where its name leads.
    seen: Instant,
}

impl Spared {
    /// Finds the trees, as a process that has not begun sees them. What can't be found spares nothing, nor what is kept as a whole.
    pub(super) fn find(process: Pid, mut writable: Vec<PathBuf>) -> Option<Self> {
        let root = open(format!("/proc/{process}/root").as_str(), DIRECTORY, Mode::empty()).ok()?;
        writable.sort_unstable_by(|one, other| other.cmp(one));
        let nested = |path: &Path| writable.iter().any(|other| path != other && path.starts_with(other));
        let places = writable.iter().map(|path| (path.as_path(), true)).chain([(Path::new(ROOT), false)]);
        let trees = places.filter_map(|(path, writable)| {
            let directory = look_up(&root, path, ResolveFlag::empty()).ok()?;
            let identity = sys::identity(directory.as_fd()).ok()?;
            if writable && fstatvfs(&directory).ok()?.flags().contains(FsFlags::ST_RDONLY) {
                return None;
            }
            let (path, nested) = (path.to_owned(), nested(path));
            Some(Tree { path, directory, identity, writable, nested, seen: Instant::now() })
        });
        let trees = trees.collect();
        Some(Self { root, trees, start: None })
    }

    /// Whether nothing of the plan can refuse a call that is about to be made.
    pub(super) fn spares(&mut self, thread: Pid, called: &Called, look: &Look) -> bool {
        let (Some(reach), Some((file, second))) = (call::reach(called), look.files()) else { return false };
        match (reach, file, second) {
            // What is open can be looked at.
            (Reach::Looks { open: true }, File::Open(_), None) => true,
            // Between two directories there are rights of their own, which the oldest Landlock refuses everywhere.
            (Reach::Moves, from, Some(to)) => {
                from.above().is_some_and(|above| to.above() == Some(above))
                    && [to, from].iter().all(|file| self.leads(thread, reach, file))
            }
            (_, file, None) => self.leads(thread, reach, file),
            _ => false,
        }
    }

    /// Whether a name leads to something in a tree, or to nothing there.
    fn leads(&mut self, thread: Pid, reach: Reach, file: &File) -> bool {
        if file.above().is_none() {
            return false;
        }
        let looks = matches!(reach, Reach::Looks { .. });
        let Some(link) = file.start(thread) else {
            let Some(whole) = file.whole(thread) else { return false };
            let Some((tree, rest)) = tree_of(&mut self.trees, &whole, looks) else { return false };
            return tree.is_there(&self.root) && leads_within(&tree.directory, tree.bounds(), rest, reach);
        };
        let Ok(identity) = sys::identity_of(&link) else { return false };
        let known = |start: &&Start| {
            start.identity == identity && (start.writable || looks) && start.shown.elapsed() < TRUST
        };
        if let Some(start) = self.start.as_ref().filter(known)
            && let Some(path) =
                file.path().filter(|path| !path.components().any(|part| part == Component::ParentDir))
        {
            return leads_within(&start.directory, ResolveFlag::RESOLVE_BENEATH, path, reach);
        }
        let Some(whole) = file.whole(thread) else { return false };
        let Some((tree, rest)) = tree_of(&mut self.trees, &whole, looks) else { return false };
        // A directory of that name may be on another mount, below the one that has the name now.
        if identity.mount != tree.identity.mount || !tree.is_there(&self.root) {
            return false;
        }
        let holds = leads_within(&tree.directory, tree.bounds(), rest, reach);
        if let Ok(directory) = open(&link, DIRECTORY, Mode::empty())
            && sys::identity(directory.as_fd()) == Ok(identity)
        {
            let (writable, shown) = (tree.writable, Instant::now());
            self.start = Some(Start { directory, identity, writable, shown });
        }
        holds
    }
}

/// The innermost tree that a path has in its name, and what it is in there. The tree itself is a name in another directory.
fn tree_of<'t, 'p>(trees: &'t mut [Tree], path: &'p Path, looks: bool) -> Option<(&'t mut Tree, &'p Path)> {
    let mut trees = trees.iter_mut().filter(|tree| tree.writable || looks);
    trees.find_map(|tree| {
        let rest = path.strip_prefix(&tree.path).ok().filter(|rest| !rest.as_os_str().is_empty())?;
        Some((tree, rest))
    })
}

fn look_up(root: &OwnedFd, path: &Path, more: ResolveFlag) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(DIRECTORY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS | more);
    openat2(root, path, how)
}

impl Tree {
    /// Whether its name leads to it. Somebody can have moved it.
    fn is_there(&mut self, root: &OwnedFd) -> bool {
        if self.path == Path::new(ROOT) || !self.nested && self.seen.elapsed() < TRUST {
            return true;
        }
        let there = || sys::identity(look_up(root, &self.path, CACHED)?.as_fd());
        let is_there = there() == Ok(self.identity);
        if is_there {
            self.seen = Instant::now();
        }
        is_there
    }

    fn bounds(&self) -> ResolveFlag {
        if self.path == Path::new(ROOT) { ResolveFlag::RESOLVE_IN_ROOT } else { ResolveFlag::RESOLVE_BENEATH }
    }
}

/// Whether a name leads to something in a directory, or to nothing there.
fn leads_within(directory: &OwnedFd, bounds: ResolveFlag, rest: &Path, reach: Reach) -> bool {
    let (rest, flags) = match reach {
        Reach::Looks { .. } | Reach::Writes => (rest, OFlag::empty()),
        Reach::Takes | Reach::Moves => (rest, OFlag::O_NOFOLLOW),
        // What has the name already ends the call, be it what it may.
        Reach::Makes => match rest.parent() {
            Some(above) if !above.as_os_str().is_empty() => (above, OFlag::O_DIRECTORY),
            _ => return true,
        },
    };
    let bounds = bounds | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_MAGICLINKS | CACHED;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC | flags).resolve(bounds);
    // Where there is nothing, the way was in there until then.
    matches!(openat2(directory, rest, how), Ok(_) | Err(Errno::ENOENT))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::{AsFd, AsRawFd as _};
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    use nix::fcntl::{AT_FDCWD, AtFlags};
    use nix::sys::stat::{Mode, UtimensatFlags, fstatat, utimensat};
    use nix::sys::time::TimeSpec;
    use nix::unistd::gettid;

    use super::*;

    /// A time after every change of a link, from 1970.
    const FAR: Duration = Duration::from_hours(24 * 365 * 200);

    /// Follows a link from what is known already. The kernel does not where it would note the time, as it is due once for a new
    /// link (`relatime`), nor on some file systems (overlayfs).
    fn follows_links(link: &Path) -> bool {
        let (accessed, changed) = (TimeSpec::from_duration(FAR), TimeSpec::from_duration(Duration::ZERO));
        utimensat(AT_FDCWD, link, &accessed, &changed, UtimensatFlags::NoFollowSymlink).unwrap();
        is_known(link, CACHED)
    }

    /// Goes from the root to a directory by what is known already, and over no mount. The kernel does not where there is one on
    /// the way, in whosoever's namespace: `/tmp` has one in each sandbox that may write there.
    fn goes_from_the_root(directory: &Path) -> bool {
        is_known(directory, CACHED | ResolveFlag::RESOLVE_NO_XDEV)
    }

    fn is_known(path: &Path, resolve: ResolveFlag) -> bool {
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve);
        (0..10_000).any(|_| path.metadata().is_ok() && openat2(AT_FDCWD, path, how).is_ok())
    }

    /// Whether a call goes to a name in trees without leaving them, from a directory of this thread's. What is so is not so while
    /// somebody else changes names anywhere, and then again. What the kernel has forgotten, short of memory, it is told again.
    fn holds(spared: &mut Spared, reach: Reach, directory: &impl AsFd, path: &Path, expected: bool) -> bool {
        let number = directory.as_fd().as_raw_fd();
        let file = File::Named { directory: number, path: path.as_os_str().as_bytes().to_vec() };
        let mut answers = (0..if expected { 10_000 } else { 3 }).map(|_| {
            let _status = fstatat(directory, path, AtFlags::empty());
            spared.leads(gettid(), reach, &file)
        });
        answers.any(|holds| holds)
    }

    #[test]
    fn only_what_stays_in_a_tree_is_spared() {
        use Reach::{Looks, Makes, Moves, Takes, Writes};
        const LOOKS: Reach = Looks { open: false };

        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("tree/deep")).unwrap();
        fs::create_dir_all(top.join("tree/moved")).unwrap();
        fs::create_dir(top.join("outside")).unwrap();
        for file in ["tree/file", "tree/deep/file", "tree/moved/file", "outside/file"] {
            fs::write(top.join(file), "").unwrap();
        }
        fs::hard_link(top.join("outside/file"), top.join("tree/hard")).unwrap();
        for (target, name) in [
            ("deep", "tree/in"),
            ("deep/none", "tree/dangling"),
            ("../tree/file", "tree/round"),
            ("../outside", "tree/out"),
            ("../outside/file", "tree/file-out"),
            ("/proc/self/cwd", "tree/own"),
            ("tree", "way"),
        ] {
            symlink(target, top.join(name)).unwrap();
        }
        symlink(top.join("tree/file"), top.join("tree/absolute")).unwrap();
        let (follows, at_root) = (follows_links(&top.join("tree/in")), goes_from_the_root(&top));
        let follows_at_root = at_root && follows_links(&top.join("way"));
        let mut spared =
            Spared::find(gettid(), vec![top.join("tree"), top.join("tree/moved"), top.join("none")]).unwrap();
        for (reach, name, expected) in [
            (Writes, "tree/file", true),
            (Writes, "tree//./deep/../file", true),
            (Writes, "tree/in/file", follows),
            (Writes, "tree/hard", true),
            (Writes, "tree/moved/file", true),
            (Writes, "tree/round", false),
            (Writes, "tree/absolute", false),
            (Writes, "tree/file-out", false),
            (Takes, "tree/file-out", true),
            (Moves, "tree/file-out", true),
            (Takes, "tree/out/file", false),
            (Makes, "tree/out/new", false),
            (Makes, "tree/new", true),
            (Makes, "tree/in/new", follows),
            (Makes, "tree/deep/../../outside/new", false),
            (Writes, "tree/../outside/file", false),
            (Writes, "tree/own/file", false),
            (Writes, "outside/file", false),
            (LOOKS, "outside/file", at_root),
            (LOOKS, "way/file", follows_at_root),
            (LOOKS, "tree/file-out", false),
            // Whether there is such a tree is known by its own name alone.
            (Writes, "way/file", false),
            (Takes, "tree", false),
            (Takes, "tree/moved", true),
            (Makes, "tree/deep/..", false),
            (Makes, "tree/new/", false),
            (Makes, "none/new", false),
        ] {
            let held = holds(&mut spared, reach, &AT_FDCWD, &top.join(name), expected);
            assert_eq!(held, expected, "{reach:?} {name}");
        }
        for unknown in ["/proc/self/root", "/proc/self/cwd", "/dev/fd"] {
            let path = Path::new(unknown).join(top.join("tree/file").strip_prefix("/").unwrap());
            assert!(!holds(&mut spared, Writes, &AT_FDCWD, &path, false), "{unknown}");
        }
        let deep = open(&top.join("tree/deep"), OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        let outside = open(&top.join("outside"), OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        for (directory, name, expected) in [
            (&deep, "file", true),
            (&deep, "../file", true),
            (&deep, "../../outside/file", false),
            (&outside, "file", false),
        ] {
            let held = holds(&mut spared, Writes, directory, Path::new(name), expected);
            assert_eq!(held, expected, "{name} from a directory");
        }
        // A tree that is not where it was is none, whatever is there now.
        fs::rename(top.join("tree/moved"), top.join("gone")).unwrap();
        symlink(top.join("outside"), top.join("tree/moved")).unwrap();
        assert!(!holds(&mut spared, Writes, &AT_FDCWD, &top.join("tree/moved/file"), false));
        fs::remove_file(top.join("tree/moved")).unwrap();
        fs::create_dir(top.join("tree/moved")).unwrap();
        fs::write(top.join("tree/moved/file"), "").unwrap();
        assert!(!holds(&mut spared, Writes, &AT_FDCWD, &top.join("tree/moved/file"), false));
    }
}
