//! Commands that go on beyond one call.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use codex_core::exec::{ExecError, ExecResult, InputError, Process, SignalError};
use codex_core::output::{Capture, CollapsedCapture, FeedReader, OutputBudget, StreamText, TextBudget};
use codex_core::policy::ResolvedPlaces;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::arguments::Arguments;
use crate::command::{budget, clamped};
use crate::engine::{Answer, Engine, Held, Observer, Running};
use crate::text::{ended_text, running_text};

/// How many commands may go on at the same time.
const MOST: usize = 64;
/// The first name, so that it looks like none of the small numbers around it.
const FIRST: u64 = 1000;
/// How much of a feed is read at once: all that it keeps.
const ALL: usize = usize::MAX;
/// What Ctrl-C and Ctrl-D write.
const INTERRUPT: &str = "\u{3}";
const END: &str = "\u{4}";

/// A command that goes on.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) process: Process,
    pub(crate) running: Running,
    tty: bool,
    _held: Option<Held>,
    _place: OwnedSemaphorePermit,
    /// What the model has not seen yet. Held while somebody waits, so that no two calls share a piece.
    reader: tokio::sync::Mutex<Option<FeedReader>>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Sessions {
    known: Mutex<BTreeMap<u64, Arc<Session>>>,
    /// One for each that may go on. A command holds its own from before it starts: calls at the same time can't start more.
    places: Arc<Semaphore>,
    next: AtomicU64,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { known: Mutex::default(), places: Arc::new(Semaphore::new(MOST)), next: AtomicU64::new(FIRST) }
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Session>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for one more, or says why there is none.
    pub(crate) fn room(&self) -> Result<OwnedSemaphorePermit, String> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let names: Vec<String> = self.lock().keys().map(ToString::to_string).collect();
        Err(format!(
            "{MOST} commands go on already, and there is no room for more: interrupt one by write_stdin with \\u0003, or wait \
             for one. Their sessions: {}",
            names.join(", ")
        ))
    }

    /// Keeps a command, under a name.
    pub(crate) fn keep(&self, mut session: Session) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        session.running.session_id = Some(id);
        self.lock().insert(id, Arc::new(session));
        id
    }

    fn find(&self, id: u64) -> Result<Arc<Session>, String> {
        let known = self.lock();
        known.get(&id).cloned().ok_or_else(|| {
            let names: Vec<String> = known.keys().map(ToString::to_string).collect();
            let names = if names.is_empty() {
                "none goes on".to_owned()
            } else {
                format!("there are {}", names.join(", "))
            };
            format!("there is no session {id}: it has ended, or never was; {names}")
        })
    }

    /// Ends all of them, and waits until they have. They are told of as they ended.
    pub(crate) async fn end_all(&self, observer: &dyn Observer) {
        let sessions = std::mem::take(&mut *self.lock());
        for session in sessions.values() {
            session.process.terminate();
        }
        for session in sessions.into_values() {
            let result = session.process.wait().await;
            session.process.is_over().await;
            observer.command_ended(&session.running, &result);
        }
    }
}

impl Session {
    pub(crate) fn new(
        process: Process,
        running: Running,
        tty: bool,
        held: Option<Held>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let reader = tokio::sync::Mutex::new(process.reader(0));
        Self { process, running, tty, _held: held, _place: place, reader }
    }

    /// Waits for the end, or for as long as it may take. Gives the end, and what was written meanwhile.
    pub(crate) async fn wait(
        &self,
        limit: Duration,
    ) -> (Option<Arc<Result<ExecResult, ExecError>>>, StreamText) {
        let mut reader = self.reader.lock().await;
        let end = timeout(limit, self.process.wait()).await.ok();
        let (mut raw, mut view) =
            (Capture::new(OutputBudget::default()), CollapsedCapture::new(OutputBudget::default()));
        let mut missed = 0;
        if let Some(reader) = &mut *reader {
            loop {
                let read = reader.read(ALL);
                missed += read.missed.and_then(|missed| missed.bytes).map_or(0, |bytes| bytes.total());
                if read.chunks.is_empty() {
                    break;
                }
                for chunk in read.chunks {
                    raw.push(&chunk.bytes);
                    view.push(chunk.stream, &chunk.bytes);
                }
            }
        }
        drop(reader);
        let mut text = view.finish(&raw.finish()).text();
        if missed > 0 {
            text = StreamText::whole(
                format!("[… {missed} bytes before this were not read in time …]\n{}", text.text).as_bytes(),
            );
        }
        (end, text)
    }
}

/// A call of `write_stdin`.
#[derive(Clone, Debug)]
pub struct WriteStdin {
    /// The session.
    pub session_id: u64,
    /// What is written.
    pub chars: String,
    /// How long it is waited.
    pub wait: Duration,
    /// How much of what is new is shown.
    pub budget: TextBudget,
}

impl WriteStdin {
    /// The arguments that there are.
    pub const KNOWN: &[&str] = &["session_id", "chars", "yield_time_ms", "max_output_tokens"];

    /// Reads the arguments.
    ///
    /// # Errors
    ///
    /// Says what is wrong with them, for a model.
    pub fn read(arguments: &Arguments) -> Result<Self, String> {
        let session_id = arguments.number("session_id")?.ok_or_else(|| arguments.missing("session_id"))?;
        let chars = arguments.text("chars")?.unwrap_or_default();
        let budget = budget(arguments.number("max_output_tokens")?);
        let default = if chars.is_empty() { 5_000 } else { 250 };
        let wait = clamped(arguments.number("yield_time_ms")?, default, 250, 300_000);
        Ok(Self { session_id, chars, wait, budget })
    }
}

impl Engine {
    /// `write_stdin`: writes to a command that goes on, and waits for a while.
    ///
    /// # Errors
    ///
    /// Says, for a model, why nothing was written.
    pub async fn write_stdin(&self, asked: WriteStdin) -> Result<Answer, String> {
        let WriteStdin { session_id: id, chars, wait: limit, budget } = asked;
        let session = self.sessions.find(id)?;
        let began = Instant::now();
        let mut note = None;
        match chars.as_str() {
            "" => {}
            // Without a terminal there is nobody who makes a signal of it.
            INTERRUPT if !session.tty => if let Err(_ended) = session.process.interrupt() {},
            END if !session.tty => session.process.close_input(),
            chars => {
                // A command that does not read holds up nobody for longer than the call may take.
                match timeout(limit, session.process.write(chars.as_bytes())).await {
                    Ok(Ok(())) => {}
                    Ok(Err(InputError::Closed)) => {
                        note = Some("its input is closed: nothing was written".to_owned())
                    }
                    Ok(Err(InputError::None)) => {
                        return Err(format!(
                            "session {id} has no input to write to; run the command anew with `tty` true. Only \\u0003, which \
                             interrupts it, can be sent."
                        ));
                    }
                    Err(_elapsed) => {
                        note = Some("it does not read its input: not all was written".to_owned())
                    }
                }
            }
        }
        let left = limit.saturating_sub(began.elapsed());
        let mut answer = self.session_answer(id, &session, left, began, &budget).await;
        if let Some(note) = note {
            answer.text = format!("{note}\n{}", answer.text);
        }
        Ok(answer)
    }

    /// Sends a command that goes on a signal by its number, or ends it with all that it has started, and waits for a while.
    ///
    /// # Errors
    ///
    /// Says, for a model, why nothing was sent.
    pub async fn kill(&self, id: u64, signal: Option<i32>, limit: Duration) -> Result<Answer, String> {
        let session = self.sessions.find(id)?;
        let began = Instant::now();
        match signal {
            None => session.process.terminate(),
            Some(number) => match session.process.signal(number) {
                Ok(()) | Err(SignalError::Ended) => {}
                Err(error @ SignalError::Number(_)) => return Err(format!("{error}. Nothing was sent.")),
            },
        }
        Ok(self.session_answer(id, &session, limit, began, &budget(None)).await)
    }

    /// Waits for the end of a session, and says what is new.
    async fn session_answer(
        &self,
        id: u64,
        session: &Session,
        limit: Duration,
        began: Instant,
        budget: &TextBudget,
    ) -> Answer {
        let (end, output) = session.wait(limit).await;
        let text = match &end {
            Some(result) => {
                // Another call may have told of its end at the same moment.
                if self.sessions.lock().remove(&id).is_some() {
                    self.observer.command_ended(&session.running, result);
                }
                ended_text(result, Some(&output), budget)
            }
            None => running_text(id, began.elapsed(), &output, budget),
        };
        let session_id = end.is_none().then_some(id);
        let (output, of) = (Some(output.within(budget)), Some(session.running.started.clone()));
        Answer { text, end, output, session_id, applied: None, of }
    }
}

/// What is told where a command was meant to be somewhere else. Of what commands can't read, nothing is told but that.
#[must_use]
pub fn no_directory(directory: &Path, places: &ResolvedPlaces) -> Option<String> {
    let shown = codex_linux_sandbox::shown(directory);
    if places.hide_the_way_to(directory) {
        return Some(format!("the workdir {shown} is hidden by sandbox.deny_read"));
    }
    match directory.metadata() {
        Ok(status) if status.is_dir() => None,
        Ok(_) => Some(format!("the workdir {shown} is no directory")),
        Err(error) => Some(format!("the workdir {shown}: {error}")),
    }
}
