//! Where a name leads for a thread, by links that may be gone when somebody asks.
//!
//! Only places are opened (`O_PATH`), as the thread itself has just looked them up: nothing is read, started or waited for by
//! a reader or a writer.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;
/// How often a way is looked up that others change meanwhile.
const ATTEMPTS: u32 = 1000;
const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
/// What is there depends on who looks, which would be us.
const OWN: [&str; 2] = ["/proc", "/dev"];

/// The place of an absolute name, its last link followed or not, without any link. What does not exist, or can't be looked at,
/// is taken as it was written. Nothing where that can't be told.
pub(super) fn place(thread: Pid, name: &Path, follow: bool) -> Option<PathBuf> {
    let root = open(format!("/proc/{thread}/root").as_str(), DIRECTORY, Mode::empty()).ok()?;
    let mut path = name.to_owned();
    for _ in 0..=MOST_LINKS {
        if is_own(&path) {
            return None;
        }
        let (above, last) = match (path.parent(), path.file_name()) {
            (Some(above), Some(last)) => (above, Some(last)),
            // The root, or a way up.
            _ => (path.as_path(), None),
        };
        let (directory, rest) = reach(&root, above)?;
        let there = link(&directory).filter(|place| !is_own(place))?;
        let Some(last) = last else { return plain(&there, rest) };
        match readlinkat(&directory, last) {
            Ok(target) if follow && rest.as_os_str().is_empty() => path = there.join(target),
            _ => return plain(&there, &rest.join(last)),
        }
    }
    None
}

/// The deepest directory that can be had of those on the way, and what is left of it.
fn reach<'p>(root: &OwnedFd, path: &'p Path) -> Option<(OwnedFd, &'p Path)> {
    let how = OpenHow::new()
        .flags(DIRECTORY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for above in path.ancestors() {
        match again_where_names_change(|| openat2(root, above, how)) {
            Ok(directory) => return Some((directory, path.strip_prefix(above).ok()?)),
            Err(Errno::ENOENT | Errno::EACCES | Errno::ENOTDIR) => {}
            Err(_unknown) => return None,
        }
    }
    None
}

/// Looks once more where the kernel could not tell whether a way up leads out, since somebody was just changing a name or a
/// mount anywhere (`EAGAIN`, `openat2(2)`).
fn again_where_names_change(mut look: impl FnMut() -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    let mut answers = (0..ATTEMPTS).map(|_| look());
    answers.find(|answer| !matches!(answer, Err(Errno::EAGAIN))).unwrap_or(Err(Errno::EAGAIN))
}

fn link(directory: &OwnedFd) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()?;
    path.is_absolute().then_some(path)
}

/// What is left has no way up: where that leads depends on what is not there.
fn plain(above: &Path, rest: &Path) -> Option<PathBuf> {
    let is_plain = rest.components().all(|part| matches!(part, Component::Normal(_)));
    is_plain.then(|| if rest.as_os_str().is_empty() { above.to_owned() } else { above.join(rest) })
}

fn is_own(path: &Path) -> bool {
    OWN.iter().any(|own| path.starts_with(own))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn names_that_others_change_are_looked_up_again() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("real/deep")).unwrap();
        let way_up = top.join("real/deep/../deep/../deep/../deep/../deep/../new");
        let done = std::sync::atomic::AtomicBool::new(false);
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // A name that changes between two directories keeps the kernel from telling for all of the machine.
                let (one, other) = (top.join("moving"), top.join("real/moving"));
                fs::write(&one, "").unwrap();
                while !done.load(relaxed) {
                    fs::rename(&one, &other).unwrap();
                    fs::rename(&other, &one).unwrap();
                }
            });
            let found = || place(nix::unistd::gettid(), &way_up, true);
            let lost = (0..20_000).map(|_| found()).find(|found| *found != Some(top.join("real/new")));
            done.store(true, relaxed);
            assert_eq!(lost, None);
        });
    }

    #[test]
    fn links_are_followed_as_the_kernel_does() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("real/deep")).unwrap();
        fs::write(top.join("real/file"), "").unwrap();
        for (target, name) in [
            ("real", "way"),
            ("way/file", "far"),
            ("real/new", "dangling"),
            ("loop", "loop"),
            ("/proc/self/cwd", "own"),
        ] {
            symlink(target, top.join(name)).unwrap();
        }
        let found = |name: &str, follow| place(nix::unistd::gettid(), &top.join(name), follow);
        for (name, follow, expected) in [
            ("way/file", false, "real/file"),
            ("far", true, "real/file"),
            ("far", false, "far"),
            ("way", true, "real"),
            ("way/new", true, "real/new"),
            ("dangling", true, "real/new"),
            ("way/deep/..", true, "real"),
            ("way/none/deeper", true, "real/none/deeper"),
        ] {
            assert_eq!(found(name, follow), Some(top.join(expected)), "{name}");
        }
        for unknown in ["loop", "own/x", "none/../file/deeper"] {
            assert_eq!(found(unknown, true), None, "{unknown}");
        }
        assert_eq!(place(nix::unistd::gettid(), Path::new("/"), true), Some("/".into()));
        assert_eq!(place(nix::unistd::gettid(), Path::new("/dev/fd/0"), true), None);
    }
}
