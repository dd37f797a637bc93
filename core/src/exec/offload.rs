//! Work that waits for the disk or the kernel, off the threads of the runtime.

use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use tokio::sync::oneshot;

use super::request::Stdio;

/// Begins work on a thread of its own. Gives it back where there is none to be had: the runtime's own threads for this are no
/// choice, since it panics then.
pub(super) fn begin<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
    work: F,
) -> Result<oneshot::Receiver<T>, F> {
    let (answer, answered) = oneshot::channel();
    let job = Arc::new(Mutex::new(Some((work, answer))));
    let theirs = Arc::clone(&job);
    let take = |job: &Mutex<Option<_>>| job.lock().unwrap_or_else(PoisonError::into_inner).take();
    let thread = std::thread::Builder::new().name("codex-disk".to_owned()).spawn(move || {
        if let Some((work, answer)) = take(&theirs) {
            // Whoever has gone away takes no answer.
            drop(answer.send(work()));
        }
    });
    match thread {
        Ok(_detached) => Ok(answered),
        // Nobody else can have taken it.
        Err(_none) => take(&job).map_or(Ok(answered), |(work, _)| Err(work)),
    }
}

/// Does work on a thread of its own, and waits for it. Where there is no thread, others wait as well, and nothing is lost. Who
/// shares its streams with the command has one call at a time, and stays a process with one thread: it may have to fork (see
/// [`Helper::ThisProgram`]).
///
/// # Errors
///
/// `ECANCELED` where the work ended without an answer.
///
/// [`Helper::ThisProgram`]: super::Helper::ThisProgram
pub(super) async fn off_the_runtime<T: Send + 'static>(
    stdio: Stdio,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Errno> {
    if stdio == Stdio::Inherit {
        return Ok(work());
    }
    match begin(work) {
        Ok(answered) => answered.await.map_err(|_ended| Errno::ECANCELED),
        Err(work) => Ok(work()),
    }
}
