//! Looking after protected metadata for the time of one call.
//!
//! ```text
//! recover ▶ protect ▶ Guard::begin ▶ (the command runs: refresh, then watch) ▶ Guard::finish
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
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
}

/// How far the time has come.
#[derive(Debug)]
enum Stage {
    Short,
    Refreshing(Refresh),
    Watching(Option<Refresh>, Option<AsyncFd<std::os::fd::OwnedFd>>),
}

/// A search beside the command.
#[derive(Debug)]
struct Refresh {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Quarantined>>,
}

impl Warden {
    /// Finds out what has to be protected, and begins to look after it. Waits for the disk.
    pub(super) fn begin(post: &Post) -> (Self, Protection) {
        let codex_home = post.codex_home.as_deref();
        let found = codex_home.map(recover).unwrap_or_default();
        let protection = protect(&post.roots, &post.settings, codex_home);
        let warden = Self {
            codex_home: post.codex_home.clone(),
            roots: protection.roots.clone(),
            guard: Guard::begin(&protection, codex_home),
            found,
            started: Instant::now(),
            stage: Stage::Short,
        };
        (warden, protection)
    }

    /// Does what is to be done while the command runs. Never ends by itself; may be dropped at any time and called anew.
    pub(super) async fn tend(&mut self) {
        loop {
            match &mut self.stage {
                Stage::Short => {
                    sleep_until(self.started + BEFORE_REFRESH).await;
                    self.stage = match self.search() {
                        Some(refresh) => Stage::Refreshing(refresh),
                        None => Stage::Watching(None, None),
                    };
                }
                Stage::Refreshing(_) => {
                    sleep_until(self.started + BEFORE_WATCH).await;
                    self.guard.watch();
                    let watched = self
                        .guard
                        .descriptor()
                        .and_then(|descriptor| descriptor.try_clone_to_owned().and_then(sys::watch).ok());
                    if let Stage::Refreshing(refresh) = std::mem::replace(&mut self.stage, Stage::Short) {
                        self.stage = Stage::Watching(Some(refresh), watched);
                    }
                }
                Stage::Watching(_, Some(watched)) => match watched.readable().await {
                    Ok(mut ready) => {
                        ready.clear_ready();
                        self.guard.handle_events();
                    }
                    Err(_ended) => std::future::pending().await,
                },
                Stage::Watching(_, None) => std::future::pending().await,
            }
        }
    }

    /// Begins to search the roots on a thread of its own.
    fn search(&self) -> Option<Refresh> {
        let codex_home = self.codex_home.clone()?;
        let roots = self.roots.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || refresh(&roots, &codex_home, &mut || stopped.load(Ordering::Relaxed));
        let thread = std::thread::Builder::new().name("codex-search".to_owned()).spawn(work);
        thread.ok().map(|thread| Refresh { stop, thread })
    }

    /// Checks after the command has ended. Waits for the disk.
    pub(super) fn finish(self) -> Vec<Quarantined> {
        let mut found = self.found;
        if let Stage::Refreshing(refresh) | Stage::Watching(Some(refresh), _) = self.stage {
            refresh.stop.store(true, Ordering::Relaxed);
            // A search that failed has found nothing; the next one looks again.
            found.extend(refresh.thread.join().unwrap_or_default());
        }
        found.extend(self.guard.finish());
        found
    }
}

/// Work that waits for the disk, off the threads of the runtime. A process with one thread keeps to that one.
pub(super) async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Errno> {
    if nix::unistd::gettid() == nix::unistd::getpid() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_ended| Errno::EAGAIN)
}
