//! A command that runs, as a handle: to write to, to signal, to wait for.

use std::sync::Arc;

use codex_linux_sandbox::{Ending, ORDER_END, ORDER_SIGNAL, ORDER_TERMINATE};
use nix::errno::Errno;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::error::ExecError;
use super::input::Input;
use super::outcome::ExecResult;
use super::request::{Control, ExecRequest, Stdio};
use super::sandbox::Sandbox;
use super::terminal::TerminalSize;
use super::{CallEnds, call};
use crate::output::{Feed, FeedReader};

/// How much of the input is handed over at a time.
const CHUNK: usize = 64 * 1024;
/// How many such pieces may wait for the command to read them.
const CHUNKS: usize = 4;

/// How far a command has come.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Its sandbox is being set up.
    Starting,
    /// It runs.
    Running,
    /// The command itself has ended. Its streams may go on, and what it has left behind.
    Ended(Ending),
    /// The call has an answer. What the command has left behind may go on.
    Answered(Arc<Result<ExecResult, ExecError>>),
}

/// Why a command does not take what was written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// It was started without an input that can be written to.
    #[error("the command was started without an input to write to")]
    None,
    /// The input was closed, by us or by the command, or the command has ended.
    #[error("the command's input is closed")]
    Closed,
}

/// Why a signal can't be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    /// There is none of this number, or it has a meaning between us and the helper.
    #[error("signal {0} can't be sent: signals are 1 to {last}", last = ORDER_SIGNAL - 1)]
    Number(i32),
    /// The command has ended.
    #[error("the command has ended")]
    Ended,
}

/// A command that was started. Dropped, it is ended as by a cancellation, by a task of the runtime that it was started on;
/// where that is shut down, at once.
#[derive(Debug)]
pub struct Process {
    state: watch::Receiver<State>,
    control: mpsc::UnboundedSender<Control>,
    input: std::sync::Mutex<Option<mpsc::Sender<Vec<u8>>>>,
    has_input: bool,
    feed: Option<Arc<Feed>>,
    stopped: Arc<Notify>,
    cancellation: CancellationToken,
    ends_when_dropped: DropGuard,
}

impl Process {
    /// Starts a command under a sandbox. What keeps it from being started is said by [`Process::wait`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time enabled.
    #[must_use]
    pub fn start(mut request: ExecRequest, sandbox: &Sandbox) -> Self {
        let (answer, state) = watch::channel(State::Starting);
        let (control, wishes) = mpsc::unbounded_channel();
        // A caller that has brought a channel of its own has no use for ours.
        request.control.get_or_insert(wishes);
        let (input, waiting) = mpsc::channel(CHUNKS);
        let has_input = matches!(request.stdio, Stdio::Piped | Stdio::Terminal(_));
        let waiting = has_input.then(|| Input::new(waiting));
        let cancellation = request.cancellation.clone();
        // Ends the run with the handle, and not the caller's token with it.
        let token = cancellation.child_token();
        request.cancellation = token.clone();
        let sandbox = sandbox.clone();
        let feed = request.feed.map(|options| Arc::new(Feed::new(options)));
        let pushed = feed.clone();
        let stopped = Arc::new(Notify::new());
        let stops = Arc::clone(&stopped);
        // Large, and moved several times on its way to the runtime.
        tokio::spawn(Box::pin(async move {
            let ends = CallEnds { input: waiting, feed: pushed.clone(), stops };
            call(request, &sandbox, ends, &answer).await;
            if let Some(feed) = pushed {
                // Where nothing was started, nothing else has said so.
                feed.exited();
                feed.close();
            }
        }));
        Self {
            state,
            control,
            input: std::sync::Mutex::new(has_input.then_some(input)),
            has_input,
            feed,
            stopped,
            cancellation: token.clone(),
            ends_when_dropped: token.drop_guard(),
        }
    }

    /// Waits until the command runs. Says whether it does; where it does not, [`Process::wait`] has the reason. Can be waited
    /// for without the handle.
    pub fn started(&self) -> impl Future<Output = bool> + Send + use<> {
        let mut state = self.state.clone();
        async move {
            match state.wait_for(|state| !matches!(state, State::Starting)).await.as_deref() {
                Ok(State::Starting) | Err(_) => false,
                Ok(State::Running | State::Ended(_)) => true,
                Ok(State::Answered(answer)) => answer.as_ref().as_ref().is_ok_and(|result| result.has_run()),
            }
        }
    }

    /// Waits until the command itself has ended, and says how; its streams may still be open. Nothing where that is not known
    /// before the call has an answer: where nothing ran, the call ended the command, or this machine's level has nobody to tell.
    pub async fn ended(&self) -> Option<Ending> {
        let mut state = self.state.clone();
        match state.wait_for(|state| matches!(state, State::Ended(_) | State::Answered(_))).await.as_deref() {
            Ok(State::Ended(ending)) => Some(*ending),
            _ => None,
        }
    }

    /// Waits for the end of the call. What the command has left behind may go on where the request says so.
    ///
    /// # Errors
    ///
    /// [`ExecError`] where nothing could be started.
    pub async fn wait(&self) -> Arc<Result<ExecResult, ExecError>> {
        let mut state = self.state.clone();
        let answered = state.wait_for(|state| matches!(state, State::Answered(_))).await;
        match answered.as_deref() {
            Ok(State::Answered(answer)) => Arc::clone(answer),
            // The runtime was shut down.
            _ => Arc::new(Err(ExecError::Prepare { call: "a runtime to wait on", errno: Errno::ECANCELED })),
        }
    }

    /// Waits until a signal has stopped the command (`SIGSTOP`, `SIGTSTP`), since this was asked last. It goes on
    /// with [`Process::resume`]. Never ready where the request says that the caller [stops with it](ExecRequest::stops_with_the_command).
    pub async fn stopped(&self) {
        self.stopped.notified().await;
    }

    /// Whether the call has an answer.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(&*self.state.borrow(), State::Answered(_))
    }

    /// Waits until nothing of the command is left, what it has left behind included. Can be waited for without the handle.
    pub fn is_over(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut state = self.state.clone();
        // The task that watches over it has ended.
        async move { while state.changed().await.is_ok() {} }
    }

    /// Follows what the command writes, from what comes after a number of the feed on; 0 is before all. Nothing where the
    /// request has no [feed](ExecRequest::feed).
    #[must_use]
    pub fn reader(&self, after: u64) -> Option<FeedReader> {
        self.feed.as_ref().map(|feed| feed.reader_after(after))
    }

    /// Writes to the command's standard input. Waits as long as the command does not read.
    ///
    /// # Errors
    ///
    /// [`InputError`]; what was not written by then is lost.
    pub async fn write(&self, bytes: &[u8]) -> Result<(), InputError> {
        let sender = self.sender()?;
        for chunk in bytes.chunks(CHUNK) {
            sender.send(chunk.to_vec()).await.map_err(|_closed| InputError::Closed)?;
        }
        Ok(())
    }

    fn sender(&self) -> Result<mpsc::Sender<Vec<u8>>, InputError> {
        let input = self.input.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*input {
            Some(sender) if !sender.is_closed() => Ok(sender.clone()),
            Some(_) => Err(InputError::Closed),
            None if self.has_input => Err(InputError::Closed),
            None => Err(InputError::None),
        }
    }

    /// Ends the command's standard input, once it has read what was written. A terminal gets what ends its input at the start
    /// of a line (Ctrl-D), and takes nothing more.
    pub fn close_input(&self) {
        self.input.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }

    /// Sends the command a signal by its number; not what the command has started.
    ///
    /// # Errors
    ///
    /// [`SignalError`].
    pub fn signal(&self, signal: i32) -> Result<(), SignalError> {
        const { assert!(ORDER_SIGNAL < ORDER_TERMINATE && ORDER_TERMINATE < ORDER_END) };
        // What follows is how the helper is told what to do.
        if !(1..ORDER_SIGNAL).contains(&signal) {
            return Err(SignalError::Number(signal));
        }
        self.ask(Control::Signal(signal))
    }

    /// Interrupts the command as Ctrl-C would.
    ///
    /// # Errors
    ///
    /// [`SignalError::Ended`].
    pub fn interrupt(&self) -> Result<(), SignalError> {
        self.ask(Control::Interrupt)
    }

    /// Lets the command go on where a signal has stopped it, with all that was stopped together with it.
    ///
    /// # Errors
    ///
    /// [`SignalError::Ended`].
    pub fn resume(&self) -> Result<(), SignalError> {
        self.ask(Control::Continue)
    }

    /// Changes the size of the command's terminal. Does nothing where it has none.
    ///
    /// # Errors
    ///
    /// [`SignalError::Ended`].
    pub fn resize(&self, size: TerminalSize) -> Result<(), SignalError> {
        self.ask(Control::Resize(size))
    }

    fn ask(&self, control: Control) -> Result<(), SignalError> {
        self.control.send(control).map_err(|_ended| SignalError::Ended)
    }

    /// Lets go of the handle without ending anything: the request's own limits and cancellation do.
    pub fn let_go(self) {
        drop(self.ends_when_dropped.disarm());
    }

    /// Ends the command and everything that it has started: asks first, then kills.
    pub fn terminate(&self) {
        self.cancellation.cancel();
    }
}
