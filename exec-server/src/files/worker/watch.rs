//! Waiting for what is not there to come to be.
//!
//! Directories are watched, each for the names that lead on in it. Whatever happens to one of them, all paths are looked at again
//! from the root, and the directories that then lead to them are watched before: so nothing comes to be between the two.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use super::place::{Follow, Place, There, find};
use crate::files::order::Failure;
use crate::protocol::FileUri;

/// What may happen to a name, and to the directory that has it.
const EVENTS: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_ONLYDIR);

/// What is waited for.
pub(super) struct Watch {
    missing: Vec<PathBuf>,
    present: Option<PathBuf>,
    watched: Watched,
}

/// Directories, and the names in them that matter.
struct Watched {
    events: Inotify,
    names: HashMap<WatchDescriptor, HashSet<OsString>>,
}

impl Watch {
    /// Begins to wait. Nothing where something is there that is to be missing, or something missing that is to be there.
    pub(super) fn begin(missing: &[FileUri], present: Option<&FileUri>) -> Result<Option<Self>, Failure> {
        let missing: Vec<PathBuf> = missing.iter().map(|path| path.path().to_owned()).collect();
        let present = present.map(|path| path.path().to_owned());
        let first = missing.first().or(present.as_ref());
        let Some(first) = first.cloned() else { return Ok(None) };
        let watched = match Watched::of(&missing, present.as_deref()) {
            Ok(watched) => watched,
            // A directory on the way that may not be read.
            Err(Errno::EACCES | Errno::EPERM | Errno::ELOOP) => return Ok(None),
            Err(errno) => return Err(Failure::of(&first, errno)),
        };
        let watch = Self { missing, present, watched };
        Ok(watch.is_as_it_was().then_some(watch))
    }

    fn is_as_it_was(&self) -> bool {
        // What can't be looked at is none of both.
        let is_missing = |path: &PathBuf| match find(path, Follow::All) {
            Ok(place) => place.there.is_none(),
            Err(errno) => matches!(errno, Errno::ENOENT | Errno::ENOTDIR),
        };
        let is_there = |path: &PathBuf| find(path, Follow::All).is_ok_and(|place| place.there.is_some());
        self.missing.iter().all(is_missing) && self.present.iter().all(is_there)
    }

    /// Waits until it is not as it was any more. Says whether it is so, and not that the input has ended.
    pub(super) fn wait(mut self, input: BorrowedFd<'_>) -> Result<bool, Errno> {
        loop {
            let mut ready = [
                PollFd::new(self.watched.events.as_fd(), PollFlags::POLLIN),
                PollFd::new(input, PollFlags::POLLIN),
            ];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
            let [events, input] = ready.map(|one| one.any().unwrap_or(true));
            if input {
                return Ok(false);
            }
            if !events || !self.watched.concerns()? {
                continue;
            }
            match Watched::of(&self.missing, self.present.as_deref()) {
                Ok(watched) => self.watched = watched,
                // Nobody would see what happens next.
                Err(_errno) => return Ok(true),
            }
            if !self.is_as_it_was() {
                return Ok(true);
            }
        }
    }
}

impl Watched {
    fn of(missing: &[PathBuf], present: Option<&Path>) -> Result<Self, Errno> {
        let flags = InitFlags::IN_CLOEXEC.union(InitFlags::IN_NONBLOCK);
        let mut watched = Self { events: Inotify::init(flags)?, names: HashMap::new() };
        for path in missing.iter().map(PathBuf::as_path).chain(present) {
            watched.add(path)?;
        }
        Ok(watched)
    }

    /// Watches each directory that leads to a path for the name that leads on.
    fn add(&mut self, path: &Path) -> Result<(), Errno> {
        let mut ways: Vec<&Path> = path.ancestors().collect();
        ways.reverse();
        for (directory, next) in ways.iter().zip(ways.iter().skip(1)) {
            let Some(name) = next.file_name() else { continue };
            match find(directory, Follow::All) {
                Ok(Place { there: Some(there), .. }) if there.is_directory() => {
                    self.watch(&there, name.to_owned())?;
                }
                // The name before has it, whatever comes to be there.
                Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => break,
                Err(errno) => return Err(errno),
            }
        }
        // By a link, it may come to be in another directory.
        match find(path, Follow::All) {
            Ok(Place { there: None, name: Some((directory, name)) }) => {
                self.watch(&There::of(directory)?, name)
            }
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn watch(&mut self, directory: &There, name: OsString) -> Result<(), Errno> {
        directory.is_for_somebody()?;
        let path = format!("/proc/self/fd/{}", directory.handle.as_raw_fd());
        let descriptor = self.events.add_watch(path.as_str(), EVENTS)?;
        self.names.entry(descriptor).or_default().insert(name);
        Ok(())
    }

    /// Whether something has happened that matters.
    fn concerns(&self) -> Result<bool, Errno> {
        let concerns = |event: &InotifyEvent| match &event.name {
            Some(name) => self.names.get(&event.wd).is_some_and(|names| names.contains(name)),
            None => true,
        };
        match self.events.read_events() {
            Ok(events) => Ok(events.iter().any(concerns)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::Watch;
    use crate::protocol::FileUri;

    fn begin(missing: &[&Path], present: Option<&Path>) -> Option<Watch> {
        let missing: Vec<FileUri> = missing.iter().map(|path| FileUri::of(path).unwrap()).collect();
        Watch::begin(&missing, present.and_then(FileUri::of).as_ref()).unwrap()
    }

    #[test]
    fn what_comes_to_be_is_noticed_however_it_does() {
        let scratch = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let top = scratch.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("kept/below")).unwrap();
        std::fs::write(top.join("file"), "").unwrap();
        symlink("kept/led", top.join("link")).unwrap();
        std::fs::create_dir_all(top.join("aside/deep")).unwrap();
        std::fs::write(top.join("aside/deep/file"), "").unwrap();
        let wait = |watch: Watch| {
            let (input, _other) = nix::unistd::pipe().unwrap();
            watch.wait(input.as_fd())
        };
        let missing = top.join("a/b/c");
        let acts: [(&Path, &dyn Fn()); 5] = [
            (&missing, &|| {
                // On the way to it, and beside it, and gone again.
                std::fs::create_dir_all(top.join("a/b/d")).unwrap();
                std::fs::remove_dir_all(top.join("a")).unwrap();
                std::fs::create_dir_all(top.join("a/b")).unwrap();
                std::fs::write(top.join("a/b/c"), "").unwrap();
            }),
            (&top.join("moved/deep/file"), &|| {
                std::fs::rename(top.join("aside"), top.join("moved")).unwrap();
            }),
            (&top.join("link"), &|| std::fs::write(top.join("kept/led"), "").unwrap()),
            (&top.join("file/inside"), &|| {
                std::fs::remove_file(top.join("file")).unwrap();
                std::fs::create_dir(top.join("file")).unwrap();
                std::fs::create_dir(top.join("file/inside")).unwrap();
            }),
            (&top.join("other"), &|| symlink("kept", top.join("other")).unwrap()),
        ];
        for (path, act) in acts {
            let watch = begin(&[path, &top.join("never")], Some(&top.join("kept"))).unwrap();
            let waiting = std::thread::spawn(move || wait(watch));
            act();
            assert_eq!(waiting.join().unwrap(), Ok(true), "{}", path.display());
            assert!(begin(&[path], None).is_none());
        }
        // What is to be there goes.
        let watch = begin(&[&top.join("never")], Some(&top.join("kept/below"))).unwrap();
        std::fs::remove_dir(top.join("kept/below")).unwrap();
        assert_eq!(wait(watch), Ok(true));
        assert!(begin(&[&top.join("never")], Some(&top.join("kept/below"))).is_none());
        // Nothing happens, and nobody asks any more.
        let watch = begin(&[&top.join("never")], None).unwrap();
        std::fs::write(top.join("beside"), "").unwrap();
        let (input, other) = nix::unistd::pipe().unwrap();
        drop(other);
        assert_eq!(watch.wait(input.as_fd()), Ok(false));
    }
}
