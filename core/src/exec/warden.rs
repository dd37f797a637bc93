//! Looking after protected metadata for the time of one call.
//!
//! ```text
//! recover ▶ protect ▶ Guard::begin ▶ (the command runs: refresh, then watch) ▶ Guard::finish
//! ```

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::inotify::Inotify;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use super::quarantine::{Guard, Quarantined, recover, refresh};
use super::sys;
use crate::policy::{Protection, ProtectionSettings, WritableRoot, protect};

/// From when on a call is long enough to look for repositories beside it. Most of what builds or tests takes longer, and
/// what takes less should not be slowed down.
const BEFORE_REFRESH: Duration = Duration::from_millis(50);
/// From when on what comes to be at protected names is moved away at once. Ending a watch costs up to milliseconds.
const BEFORE_WATCH: Duration = Duration::from_secs(1);

/// What the warden has to know.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) roots: Vec<WritableRoot>,
    pub(super) settings: ProtectionSettings,
    pub(super) codex_home: Option<PathBuf>,
}

impl Post {
    /// What has to be protected now, for whoever only wants to know.
    pub(super) fn protection(&self) -> Protection {
        protect(&self.roots, &self.settings, self.codex_home.as_deref())
    }
}

/// Looks after the protected names of one call.
#[derive(Debug)]
pub(super) struct Warden {
    codex_home: Option<PathBuf>,
    roots: Vec<PathBuf>,
    guard: Guard,
    found: Vec<Quarantined>,
    started: Instant,
    stage: Stage,
    search: Option<Search>,
}

/// How far the time has come.
#[derive(Debug)]
enum Stage {
    Short,
    Searching,
    /// Nothing where the kernel gives no watch.
    Watching(Option<AsyncFd<sys::Shared<Inotify>>>),
}

/// The searches that go on in this process, by whose they are and where. One of each is enough: what it finds is found for all.
static SEARCHES: Mutex<Vec<Place>> = Mutex::new(Vec::new());

/// `$CODEX_HOME` and the roots.
type Place = (PathBuf, Vec<PathBuf>);

/// The right to search, given back when this is dropped.
struct Turn(Place);

impl Turn {
    /// Nothing where the same is being searched.
    fn take(place: Place) -> Option<Self> {
        let mut searches = SEARCHES.lock().unwrap_or_else(PoisonError::into_inner);
        if searches.contains(&place) {
            return None;
        }
        searches.push(place.clone());
        Some(Self(place))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        SEARCHES.lock().unwrap_or_else(PoisonError::into_inner).retain(|place| *place != self.0);
    }
}

/// A search beside the command. Dropped, it ends with the directory that it is in.
#[derive(Debug)]
struct Search {
    stop: Stop,
    /// What it has found, once it has. Its thread is not joined: one that waits for that keeps its stack.
    found: Receiver<Vec<Quarantined>>,
}

#[derive(Debug)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Warden {
    /// Finds out what has to be protected, and begins to look after it. Waits for the disk.
    pub(super) fn begin(post: &Post) -> (Self, Protection) {
        let codex_home = post.codex_home.as_deref();
        let found = codex_home.map(recover).unwrap_or_default();
        let mut protection = protect(&post.roots, &post.settings, codex_home);
        let warden = Self {
            codex_home: post.codex_home.clone(),
            roots: protection.roots.clone(),
            guard: Guard::begin(&mut protection, codex_home),
            found,
            started: Instant::now(),
            stage: Stage::Short,
            search: None,
        };
        (warden, protection)
    }

    /// Does what is to be done while the command runs. Never ends by itself; may be dropped at any time and called anew.
    pub(super) async fn tend(&mut self) {
        loop {
            match &mut self.stage {
                Stage::Short => {
                    sleep_until(self.started + BEFORE_REFRESH).await;
                    self.search = self.search();
                    self.stage = Stage::Searching;
                }
                Stage::Searching => {
                    sleep_until(self.started + BEFORE_WATCH).await;
                    self.guard.watch();
                    let watched = self.guard.descriptor().and_then(|watch| sys::watch_shared(watch).ok());
                    self.stage = Stage::Watching(watched);
                }
                Stage::Watching(Some(watched)) => match watched.readable().await {
                    Ok(mut ready) => {
                        ready.clear_ready();
                        self.guard.handle_events();
                    }
                    Err(_ended) => std::future::pending().await,
                },
                Stage::Watching(None) => std::future::pending().await,
            }
        }
    }

    /// Begins to search the roots on a thread of its own, unless another call is at it: a server whose calls begin together would
    /// have as many threads.
    fn search(&self) -> Option<Search> {
        let turn = Turn::take((self.codex_home.clone()?, self.roots.clone()))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Stop(Arc::clone(&stopped));
        let (told, found) = channel();
        let work = move || {
            let Turn((codex_home, roots)) = &turn;
            // Nobody hears it where the call was dropped.
            told.send(refresh(roots, codex_home, &mut || stopped.load(Ordering::Relaxed))).ok();
        };
        let thread = std::thread::Builder::new().name("codex-search".to_owned()).spawn(work);
        thread.ok().map(|_detached| Search { stop, found })
    }

    /// Checks after the command has ended. Waits for the disk.
    pub(super) fn finish(self) -> Vec<Quarantined> {
        let mut found = self.found;
        if let Some(Search { stop, found: searched }) = self.search {
            drop(stop);
            // A search that failed has found nothing; the next one looks again.
            found.extend(searched.recv().unwrap_or_default());
        }
        found.extend(self.guard.finish());
        found
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::policy::RootOrigin;

    #[tokio::test(start_paused = true)]
    async fn a_long_call_is_watched_without_a_home_too() {
        // Not in `/tmp`, a writable root of every call that is made beside these tests.
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let root = directory.path().canonicalize().unwrap();
        let roots =
            vec![WritableRoot { asked: root.clone(), path: root.clone(), origin: RootOrigin::PolicyCwd }];
        let post = Post { roots, settings: ProtectionSettings::default(), codex_home: None };
        let (mut warden, _) = Warden::begin(&post);
        let planted = root.join(".envrc");
        std::fs::write(&planted, "x").unwrap();
        assert!(timeout(BEFORE_WATCH / 2, warden.tend()).await.is_err());
        assert!(planted.exists(), "a short call is looked through at its end");
        assert!(timeout(BEFORE_WATCH, warden.tend()).await.is_err());
        assert!(!planted.exists());
        let found = warden.finish();
        assert_eq!(found.iter().map(|one| &one.path).collect::<Vec<_>>(), [&planted]);
    }

    #[test]
    fn one_search_of_a_place_at_a_time() {
        let place = |name: &str| (PathBuf::from("/home"), vec![PathBuf::from(name)]);
        let turn = Turn::take(place("/only")).unwrap();
        assert!(Turn::take(place("/only")).is_none());
        assert!(Turn::take(place("/other")).is_some());
        drop(turn);
        assert!(Turn::take(place("/only")).is_some());
    }

    #[test]
    fn a_search_that_nobody_waits_for_is_told_to_stop() {
        let stopped = Arc::new(AtomicBool::new(false));
        let search = Search { stop: Stop(Arc::clone(&stopped)), found: channel().1 };
        assert!(!stopped.load(Ordering::Relaxed));
        drop(search);
        assert!(stopped.load(Ordering::Relaxed));
    }
}
