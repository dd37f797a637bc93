//! Noticing at once what comes to be at a protected name, instead of at the end of the call.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::policy::AbsentNames;

/// Directories that are watched at most. What comes to be in others is found at the end.
const MOST: usize = 256;

#[derive(Debug)]
pub(super) struct Watch {
    inotify: Arc<Inotify>,
    directories: HashMap<WatchDescriptor, PathBuf>,
}

/// What was noticed.
pub(super) enum Noticed {
    /// Something at one of these paths.
    Paths(Vec<PathBuf>),
    /// The kernel lost count.
    Anything,
}

impl Watch {
    /// Watches the directories of the paths. `None` where the kernel lets nobody watch.
    pub(super) fn new(absent: &[AbsentNames]) -> Option<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_ONLYDIR
            | AddWatchFlags::IN_DONT_FOLLOW;
        let mut seen = HashSet::new();
        let parents = absent.iter().flat_map(|AbsentNames { directory, names }| {
            names.iter().filter_map(|name| name.parent()).map(|above| {
                if above.as_os_str().is_empty() { directory.clone() } else { directory.join(above) }
            })
        });
        let parents = parents.filter(|parent| seen.insert(parent.clone()));
        let watched = parents.take(MOST).filter_map(|parent| {
            let descriptor = inotify.add_watch(&parent, flags).ok()?;
            Some((descriptor, parent))
        });
        let directories = watched.collect();
        Some(Self { inotify: Arc::new(inotify), directories })
    }

    pub(super) fn descriptor(&self) -> Arc<Inotify> {
        Arc::clone(&self.inotify)
    }

    pub(super) fn read(&self) -> Noticed {
        let mut paths = Vec::new();
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    return Noticed::Anything;
                }
                if let (Some(directory), Some(name)) = (self.directories.get(&event.wd), event.name) {
                    paths.push(directory.join(name));
                }
            }
        }
        Noticed::Paths(paths)
    }
}
