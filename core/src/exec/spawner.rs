//! Starting processes from a thread that lives as long as the process.
//!
//! A child's parent-death signal is bound to the *thread* that started it: when a worker of a runtime retires, the
//! kernel kills every child that it started. The main thread lasts; where the caller is on another one, the work goes
//! to a thread that is never ended.

use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use nix::errno::Errno;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Does the work on a thread that lasts.
///
/// # Errors
///
/// `EAGAIN` where the thread can't be had.
pub(super) async fn on_lasting_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Errno> {
    if nix::unistd::gettid() == nix::unistd::getpid() {
        return Ok(work());
    }
    let (answer, answered) = oneshot::channel();
    let job: Job = Box::new(move || {
        // A caller that has gone away takes no answer; what the work yields is then dropped, which cleans up.
        drop(answer.send(work()));
    });
    spawner().ok_or(Errno::EAGAIN)?.send(job).map_err(|_ended| Errno::EAGAIN)?;
    answered.await.map_err(|_ended| Errno::EAGAIN)
}

/// Has the work done on the thread that lasts, which is never the caller's, and does not wait for it.
///
/// # Errors
///
/// `EAGAIN` where the thread can't be had.
pub(super) fn in_background(work: impl FnOnce() + Send + 'static) -> Result<(), Errno> {
    spawner().ok_or(Errno::EAGAIN)?.send(Box::new(work)).map_err(|_ended| Errno::EAGAIN)
}

fn spawner() -> Option<&'static Sender<Job>> {
    static SPAWNER: OnceLock<Option<Sender<Job>>> = OnceLock::new();
    SPAWNER
        .get_or_init(|| {
            let (sender, jobs) = channel::<Job>();
            let thread = std::thread::Builder::new().name("codex-spawner".to_owned());
            // The sender is static, so that the loop never ends.
            thread.spawn(move || jobs.into_iter().for_each(|job| job())).ok().map(|_detached| sender)
        })
        .as_ref()
}
