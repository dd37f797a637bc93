//! A command in a terminal of its own, and the person at theirs: keys go in, what is displayed comes out, sizes and stops are
//! passed on.

use std::io::{ErrorKind, Result as IoResult};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use codex_core::exec::{ExecError, ExecRequest, ExecResult, Outcome, Process, Sandbox, watch};
use codex_core::output::FeedReader;
use codex_core::output::feed::FeedOptions;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask, raise};
use nix::unistd::read;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::render::screen::{Passage, Screen, Written};
use crate::signals::Signals;
use crate::terminal;

/// How much is read at a time, from the person and from the command.
const PIECE: usize = 32 * 1024;
/// How many pieces of what is typed may wait.
const TYPED: usize = 2;
/// How much of what the command writes waits for a terminal that is slow. When it is full, the command waits.
const RETAIN: usize = 512 * 1024;
/// How long a terminal that takes nothing is waited for, where nobody asked for what comes.
const PATIENCE: Duration = Duration::from_secs(2);
/// What hands over a line that was not ended, and at the start of one ends the input: Ctrl-D (`termios(3)`, VEOF).
const END_OF_INPUT: u8 = 4;

/// What came of it.
pub(super) struct Session {
    pub(super) answer: Arc<Result<ExecResult, ExecError>>,
    /// The signal to us that ended it.
    pub(super) ended_by: Option<Signal>,
    /// Why not everything was displayed.
    pub(super) unwritten: Option<String>,
    /// Whether standard output takes nothing, and who writes to it still waits.
    pub(super) stuck: bool,
}

/// Runs the command. What it writes is displayed where a passage is named.
pub(super) async fn run(
    mut request: ExecRequest,
    sandbox: &Sandbox,
    signals: &Signals,
    passage: Option<Passage>,
) -> IoResult<Session> {
    let watched = signals.descriptor().as_fd().try_clone_to_owned().and_then(watch)?;
    let (screen, written) = passage.map(Screen::begin).transpose()?.unzip();
    // A person who sees nothing types nothing.
    let typed = if screen.is_some() || !terminal::is_typed() { Some(keys()?) } else { None };
    if screen.is_some() {
        // For as long as it takes: a command whose output nobody reads waits, as it would without us.
        request.feed = Some(FeedOptions { retain: RETAIN, chunk: PIECE, stall: Duration::MAX });
        terminal::take_keys();
    }
    let process = Arc::new(Process::start(request, sandbox));
    tokio::spawn(type_into(Arc::clone(&process), typed));
    let (pauses, paused) = channel(1);
    let pauses = screen.is_some().then_some(pauses);
    let shown =
        screen.zip(process.reader(0)).map(|(screen, reader)| tokio::spawn(show(reader, screen, paused)));
    let seat = Seat { process, pauses, signals, watched, ended_by: None };
    let session = seat.sit(shown, written).await;
    terminal::give_back_keys();
    Ok(session)
}

/// A time in which nothing is displayed, and the terminal is as it was before.
struct Pause {
    /// Told when it has begun: all that the command had written is displayed.
    begun: oneshot::Sender<()>,
    /// Ends it.
    over: oneshot::Receiver<()>,
}

/// Where the person sits.
struct Seat<'s> {
    process: Arc<Process>,
    /// Who displays what the command writes. Nothing where it is not displayed.
    pauses: Option<Sender<Pause>>,
    signals: &'s Signals,
    watched: AsyncFd<OwnedFd>,
    ended_by: Option<Signal>,
}

impl Seat<'_> {
    /// Stays until the command has ended, and what it wrote is displayed.
    async fn sit(mut self, shown: Option<JoinHandle<u64>>, mut written: Option<Written>) -> Session {
        let process = Arc::clone(&self.process);
        let (mut unwritten, mut stuck) = (None, true);
        let answer = loop {
            tokio::select! {
                biased;
                () = asked(&self.watched) => self.listen().await,
                () = process.stopped() => {
                    self.stop().await;
                    // It may have ended meanwhile.
                    if let Err(_ended) = process.resume() {}
                }
                failed = failure(&mut written) => {
                    self.nobody_reads(&failed, &mut unwritten);
                    process.terminate();
                }
                answer = process.wait() => break answer,
            }
        };
        self.pauses = None;
        let rest = async {
            let missed = match shown {
                Some(shown) => shown.await.unwrap_or(0),
                None => 0,
            };
            let failed = match written {
                Some(written) => written.await.unwrap_or(Ok(())).err(),
                None => None,
            };
            (missed, failed)
        };
        let by_itself = answer
            .as_ref()
            .as_ref()
            .is_ok_and(|result| matches!(result.outcome, Outcome::Exited { .. } | Outcome::Signalled { .. }));
        tokio::select! {
            biased;
            (missed, failed) = rest => {
                stuck = false;
                if let Some(error) = failed {
                    self.nobody_reads(&error, &mut unwritten);
                }
                if missed > 0 {
                    unwritten.get_or_insert_with(|| format!("{missed} bytes were lost, which nobody had read in time"));
                }
            }
            () = asked(&self.watched) => {
                self.ended_by = self.ended_by.or_else(|| self.signals.take().map(|received| received.signal));
            }
            () = tokio::time::sleep(PATIENCE), if !by_itself => {}
        }
        Session { answer, ended_by: self.ended_by, unwritten, stuck }
    }

    /// As if the command had found that out by itself.
    fn nobody_reads(&mut self, error: &std::io::Error, unwritten: &mut Option<String>) {
        if error.kind() == ErrorKind::BrokenPipe {
            self.ended_by.get_or_insert(Signal::SIGPIPE);
        } else {
            unwritten.get_or_insert_with(|| format!("standard output: {error}"));
        }
    }

    /// Takes the signals that have come.
    async fn listen(&mut self) {
        while let Some(received) = self.signals.take() {
            let sent = match received.signal {
                Signal::SIGWINCH => self.process.resize(terminal::size()),
                Signal::SIGTSTP => {
                    self.stop().await;
                    Ok(())
                }
                Signal::SIGCONT => {
                    if self.pauses.is_some() {
                        terminal::take_keys();
                    }
                    Ok(())
                }
                signal @ (Signal::SIGUSR1 | Signal::SIGUSR2) => self.process.signal(signal as i32),
                signal => {
                    self.ended_by.get_or_insert(signal);
                    self.process.terminate();
                    Ok(())
                }
            };
            if let Err(error) = sent {
                tracing::debug!(%error, signal = %received.signal, "a signal comes too late");
            }
        }
    }

    /// Stops as a job of the shell, which gets its terminal as it was. Where no shell would wake us, the kernel stops nobody.
    async fn stop(&self) {
        let (end, over) = oneshot::channel();
        if let Some(pauses) = &self.pauses {
            let (begun, begins) = oneshot::channel();
            let pause = async {
                if pauses.send(Pause { begun, over }).await.is_ok()
                    && let Err(_ended) = begins.await
                {}
            };
            // A terminal that takes nothing is not waited for.
            if let Err(_slow) = tokio::time::timeout(PATIENCE, pause).await {}
            terminal::give_back_keys();
        }
        let stop: SigSet = [Signal::SIGTSTP].into_iter().collect();
        let stopped = pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&stop), None)
            .and_then(|()| raise(Signal::SIGTSTP))
            .and_then(|()| pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&stop), None));
        if let Err(errno) = stopped {
            tracing::warn!(%errno, "codex can't stop");
        }
        if self.pauses.is_none() {
            return;
        }
        terminal::take_keys();
        if let Err(()) = end.send(()) {}
        // What fills the screen draws it anew when it is told of another size, and the screen may have one.
        let size = terminal::size();
        let other = codex_core::exec::TerminalSize { rows: size.rows.saturating_add(1), ..size };
        for size in [other, size] {
            if let Err(_ended) = self.process.resize(size) {}
        }
    }
}

/// Waits until there are signals to take.
async fn asked(watched: &AsyncFd<OwnedFd>) {
    match watched.readable().await {
        Ok(mut ready) => ready.clear_ready(),
        Err(_closed) => std::future::pending().await,
    }
}

/// Waits until what the command writes can't be written any more.
async fn failure(written: &mut Option<Written>) -> std::io::Error {
    let Some(waiting) = written else { return std::future::pending().await };
    let result = waiting.await;
    *written = None;
    match result {
        Ok(Err(error)) => error,
        _ => std::future::pending().await,
    }
}

/// Hands on what the command writes. Says how much was lost.
async fn show(mut reader: FeedReader, screen: Screen, mut paused: Receiver<Pause>) -> u64 {
    let mut missed = 0;
    let mut pause = None;
    loop {
        let read = match pause.take() {
            None => tokio::select! {
                Some(asked) = paused.recv() => {
                    pause = Some(asked);
                    continue;
                }
                read = reader.next(PIECE) => read,
            },
            Some(asked) => {
                let read = reader.read(PIECE);
                if read.chunks.is_empty() {
                    take_a_break(asked, &screen).await;
                    continue;
                }
                pause = Some(asked);
                read
            }
        };
        if let Some(bytes) = read.missed.and_then(|missed| missed.bytes) {
            missed += bytes.pty;
        }
        let bytes: Vec<u8> = read.chunks.iter().flat_map(|chunk| chunk.bytes.iter().copied()).collect();
        if !(bytes.is_empty() || screen.show(bytes).await) || read.closed.is_some() {
            return missed;
        }
    }
}

/// Leaves the terminal to others until it is time to come back.
async fn take_a_break(Pause { begun, over }: Pause, screen: &Screen) {
    screen.leave().await;
    // Who asked may have given up, and comes back all the same.
    if let Err(()) = begun.send(()) {}
    if let Err(_gone) = over.await {}
    screen.come_back().await;
}

/// Types what is typed.
async fn type_into(process: Arc<Process>, typed: Option<Receiver<Vec<u8>>>) {
    let mut at_start_of_line = true;
    if let Some(mut typed) = typed {
        while let Some(bytes) = typed.recv().await {
            at_start_of_line = bytes.last().is_none_or(|last| matches!(last, b'\n' | b'\r'));
            if process.write(&bytes).await.is_err() {
                return;
            }
        }
    }
    if !at_start_of_line && process.write(&[END_OF_INPUT]).await.is_err() {
        return;
    }
    process.close_input();
}

/// Reads standard input, on a thread of its own: nobody else waits for who types. A process in the background is stopped by
/// the kernel when it reads from the terminal (`SIGTTIN`).
fn keys() -> IoResult<Receiver<Vec<u8>>> {
    let (keys, typed) = channel(TYPED);
    std::thread::Builder::new().name("codex-keys".to_owned()).spawn(move || {
        let stdin = std::io::stdin();
        let mut piece = vec![0; PIECE];
        loop {
            match read(&stdin, &mut piece) {
                Ok(count) if count > 0 => {
                    let bytes = piece.get(..count).unwrap_or_default().to_vec();
                    if keys.blocking_send(bytes).is_err() {
                        return;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    // Somebody has it set so that nobody waits.
                    let mut readable = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
                    if poll(&mut readable, PollTimeout::NONE).is_err_and(|errno| errno != Errno::EINTR) {
                        return;
                    }
                }
                // Its end, or there is none.
                Ok(_) | Err(_) => return,
            }
        }
    })?;
    Ok(typed)
}
