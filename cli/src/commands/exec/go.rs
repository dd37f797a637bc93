//! A run as it goes on: what is done, what is shown, and what ends it.

use std::os::fd::AsFd as _;
use std::time::Duration;

use codex_agent::conversation::Item;
use codex_agent::event::Event;
use codex_agent::turn::{Ending, Run};
use codex_core::exec::watch;
use nix::sys::signal::Signal;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::display::{Display, Shown};
use super::last_message::LastMessage;
use crate::signals::Signals;

/// How long what is over is still shown, once it is to be over.
const GRACE: Duration = Duration::from_secs(2);

/// How a run went.
pub(super) struct Gone {
    pub(super) ending: Ending,
    /// The signal that we got.
    pub(super) signal: Option<Signal>,
    /// What came of showing it. Nothing where nobody takes what is shown, or what is written elsewhere.
    pub(super) shown: Option<Shown>,
}

/// Runs it, shows what happens, and passes on what is to end it.
pub(super) async fn go(
    run: &mut Run,
    words: Vec<Item>,
    display: Display,
    place: Option<LastMessage>,
    signals: &Signals,
) -> Gone {
    let cancellation = run.cancellation.clone();
    let limits = run.limits;
    run.events.tell(Event::ThreadStarted { thread_id: run.thread_id.clone() });
    let mut signal = None;
    let (ending, shown) = {
        let acting = async {
            let ending = run.say(words).await;
            let last = match &ending {
                Ending::Done { message, .. } => Some(message.clone()),
                Ending::Failed(_) | Ending::Cancelled => None,
            };
            // Who does not read can't keep us for much longer than the run may last.
            let given_up = async {
                limits.until_over(&cancellation).await;
                sleep(GRACE).await;
            };
            let shown = tokio::select! {
                biased;
                shown = display.finish(last, place) => shown,
                () = given_up => None,
            };
            (ending, shown)
        };
        let listening = listen(signals, &cancellation, &mut signal);
        tokio::pin!(acting, listening);
        let mut listens = true;
        loop {
            tokio::select! {
                biased;
                () = &mut listening, if listens => listens = false,
                gone = &mut acting => break gone,
            }
        }
    };
    Gone { ending, signal, shown }
}

/// Takes signals as they come. Ends only where they can't be waited for.
async fn listen(signals: &Signals, cancellation: &CancellationToken, ended_by: &mut Option<Signal>) {
    let Ok(watched) = signals.descriptor().as_fd().try_clone_to_owned().and_then(watch) else { return };
    loop {
        let Ok(mut ready) = watched.readable().await else { return };
        while let Some(received) = signals.take() {
            if !matches!(received.signal, Signal::SIGUSR1 | Signal::SIGUSR2) {
                ended_by.get_or_insert(received.signal);
                cancellation.cancel();
            }
        }
        ready.clear_ready();
    }
}
