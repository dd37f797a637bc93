//! Shows a run, from a thread of its own: whoever reads slowly, or not at all, holds up neither the work, nor its deadline, nor
//! the signal that is to end it.

use std::io;
use std::time::Duration;

use codex_agent::event::Event;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use super::last_message::{LastMessage, LastMessageError};
use crate::person::Asked;
use crate::render::exec::{Beginning, Show};

/// How often something moves while nothing happens.
const FRAME: Duration = Duration::from_millis(120);

/// A run that was shown to its end.
#[derive(Debug)]
pub(super) struct Shown {
    /// What shows what is still to be said.
    pub(super) show: Show,
    /// The exit code of showing.
    pub(super) code: i32,
    /// Why the last message is not where else it goes.
    pub(super) unwritten: Option<LastMessageError>,
}

/// The thread, before it has anything to show. Where that can't be had, nothing is begun.
#[derive(Debug)]
pub(super) struct Waiting {
    begin: oneshot::Sender<(Show, Beginning)>,
    display: Display,
}

impl Waiting {
    /// Shows what begins.
    pub(super) fn begin(self, show: Show, beginning: Beginning) -> Display {
        let Self { begin, display } = self;
        if let Err(_gone) = begin.send((show, beginning)) {}
        display
    }
}

/// The thread.
#[derive(Debug)]
pub(super) struct Display {
    over: oneshot::Sender<Option<String>>,
    shown: oneshot::Receiver<(Show, i32)>,
}

impl Display {
    /// Shows events as they come, and writes questions to the terminal. Nothing of it before there is what shows them.
    ///
    /// Where events are shown at a terminal, all that was told before a question is there before it, and what is told while it
    /// stands comes after it. Where they go elsewhere, no question waits until somebody reads them.
    pub(super) fn start(
        show: &Show,
        mut events: UnboundedReceiver<Event>,
        mut questions: UnboundedReceiver<Asked>,
    ) -> io::Result<Waiting> {
        let (over, mut is_over) = oneshot::channel::<Option<String>>();
        let (begin, beginning) = oneshot::channel::<(Show, Beginning)>();
        let (tell, shown) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (_none, mut here) = unbounded_channel();
        if show.is_at_a_terminal() {
            here = questions;
        } else {
            let asking = move || {
                while let Some(asked) = questions.blocking_recv() {
                    asked.stand_here();
                }
            };
            std::thread::Builder::new().name("questions".to_owned()).spawn(asking)?;
        }
        let showing = move || {
            let Ok((mut show, beginning)) = beginning.blocking_recv() else { return };
            show.begins(&beginning);
            let last = runtime.block_on(async {
                let mut frames = interval(FRAME);
                frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    tokio::select! {
                        biased;
                        Some(event) = events.recv() => show.event(&event),
                        Some(asked) = here.recv() => {
                            show.make_way();
                            asked.stand().await;
                        }
                        last = &mut is_over => break last.ok().flatten(),
                        _ = frames.tick(), if show.moves() => show.wait(),
                    }
                }
            });
            while let Ok(event) = events.try_recv() {
                show.event(&event);
            }
            let code = show.over(last.as_deref());
            if let Err(_gone) = tell.send((show, code)) {}
        };
        std::thread::Builder::new().name("display".to_owned()).spawn(showing)?;
        Ok(Waiting { begin, display: Self { over, shown } })
    }

    /// Shows what is left, and the last message, and writes that where else it goes. Nothing where that did not come to its end.
    pub(super) async fn finish(self, last: Option<String>, place: Option<LastMessage>) -> Option<Shown> {
        let Self { over, shown } = self;
        // Who does not read the one keeps nobody from the other.
        let written = last.as_ref().zip(place).map(|(message, place)| place.write_aside(message.clone()));
        if let Err(_gone) = over.send(last) {}
        let unwritten = match written {
            Some(Ok(written)) => written.await.ok()?.err(),
            Some(Err(error)) => Some(error),
            None => None,
        };
        let (show, code) = shown.await.ok()?;
        Some(Shown { show, code, unwritten })
    }
}
