//! Watching over a run: reading what it writes, ending it in time, collecting it.
//!
//! One loop waits for everything at once: the deadlines, the caller's wishes, the end of the process (its pidfd becomes
//! readable), what the helper says, and the streams. Nothing polls.
//!
//! ```text
//! Running ──a limit, a cancellation──▶ Terminating ──all are gone──▶ done
//!    │                                      │ the grace is over
//!    │ the command has ended                ▼
//!    └──▶ its streams are drained        Killed ──▶ done
//! ```
//!
//! Streams are read on throughout.

mod ending;
mod waits;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use codex_linux_sandbox::{PidFd, Record};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::accounting::Meter;
use super::child::Child;
use super::error::ExecError;
use super::input::{Input, Sink};
use super::outcome::Stop;
use super::overheard::Hearing;
use super::process::State;
use super::request::{CallLimits, Control, Detach};
use super::spawn::{Streams as Ends, watching};
use super::streams::{Sinks, Streams};
use super::sys;
use super::told::Told;
use super::warden::Warden;
use crate::output::Feed;
pub(super) use ending::Seen;
use waits::{above, at, hear, next, tend, write};

/// How long streams are read on after everything was killed: what it wrote is in the pipes by then.
const DRAIN_AFTER_KILL: Duration = Duration::from_millis(100);
/// How many times the drain may begin anew: a descendant that writes without end is not waited for without end.
const DRAINS: u32 = 5;
/// How long what was killed is waited for. It is gone within microseconds, unless the kernel holds it in a device or on
/// a network mount; then the call returns without it.
const KILL_PATIENCE: Duration = Duration::from_secs(2);
/// How long, after that, where the process that should have ended it was itself to be killed.
const LAST_PATIENCE: Duration = Duration::from_millis(500);

/// What a run takes from its request.
pub(super) struct Orders {
    pub(super) started: Instant,
    pub(super) limits: CallLimits,
    pub(super) detach: Detach,
    pub(super) cancellation: CancellationToken,
    pub(super) control: Option<UnboundedReceiver<Control>>,
    pub(super) input: Option<Input>,
    pub(super) feed: Option<Arc<Feed>>,
    pub(super) stops_with_the_command: bool,
    /// Told when a signal has stopped the command, where this process does not stop with it.
    pub(super) stops: Arc<Notify>,
    /// Where it is said how far the command has come.
    pub(super) state: watch::Sender<State>,
    /// What is heard of a command that has the caller's own streams.
    pub(super) hearing: Option<Hearing>,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The command may go on.
    Running,
    /// Everything was asked to end, and has until then.
    Terminating { why: Stop, until: Instant },
    /// Everything was killed.
    Killed { why: Stop, at: Instant, hard: bool },
}

impl Phase {
    const fn why(self) -> Option<Stop> {
        match self {
            Self::Running => None,
            Self::Terminating { why, .. } | Self::Killed { why, .. } => Some(why),
        }
    }
}

/// A run that is watched over.
pub(super) struct Run<'a> {
    child: Child,
    pidfd: AsyncFd<sys::Shared<PidFd>>,
    told: Told,
    streams: Streams,
    orders: &'a mut Orders,
    warden: &'a mut Option<Warden>,
    /// Nothing where no limit has to be watched.
    meter: Option<Meter>,
    captured: bool,
    /// Whether the command has been executed.
    runs: bool,
    /// When the caller last asked the command to end, by a signal.
    asked_to_end: Option<Instant>,
    phase: Phase,
    /// When the command itself has ended.
    ended: Option<Instant>,
    /// Whether something of the command's was left when it ended.
    others: bool,
    /// Whether the process is gone that we started. Who stands for the command stays while something of it is left.
    gone: bool,
    /// Whether the call has returned, and what was left goes on.
    lingers: bool,
    last_byte: Instant,
}

impl<'a> Run<'a> {
    /// Takes a process and what it writes to into charge.
    pub(super) fn new(
        mut child: Child,
        ends: Ends,
        sinks: Sinks,
        orders: &'a mut Orders,
        warden: &'a mut Option<Warden>,
        meter: Option<Meter>,
    ) -> Result<Self, ExecError> {
        let pidfd = sys::watch_shared(child.pidfd()).map_err(watching)?;
        let told = Told::new(ends.status).map_err(watching)?;
        let watch_both = |end| sys::watch_both(end).map(Arc::new).map_err(watching);
        let master = ends.master.map(watch_both).transpose()?;
        let stdin = ends.stdin.map(watch_both).transpose()?;
        child.terminal = master.clone();
        if let Some(input) = &mut orders.input {
            let terminal = master.clone().map(|target| Sink { target, is_terminal: true });
            input.goes_to(stdin.map(|target| Sink { target, is_terminal: false }).or(terminal));
        }
        let stdout = ends.stdout.map(|end| sys::watch(end).map(Arc::new)).transpose().map_err(watching)?;
        let is_terminal = master.is_some();
        let streams = Streams::new(stdout.or(master), ends.stderr, is_terminal, sinks).map_err(watching)?;
        Ok(Self {
            meter,
            captured: !streams.are_closed(),
            runs: false,
            asked_to_end: None,
            last_byte: orders.started,
            child,
            pidfd,
            told,
            streams,
            orders,
            warden,
            phase: Phase::Running,
            ended: None,
            others: false,
            gone: false,
            lingers: false,
        })
    }

    /// Waits for the run to end, whatever it takes.
    pub(super) async fn watch(&mut self) {
        loop {
            let until = self.until();
            if self.is_over() {
                return;
            }
            tokio::select! {
                biased;
                () = at(until) => {
                    if self.time_is_up() {
                        return;
                    }
                }
                () = self.orders.cancellation.cancelled(), if self.phase == Phase::Running => {
                    if self.ended.is_some() && !self.lingers {
                        // The command has ended by itself: only what it left behind is not waited for any longer.
                        return;
                    }
                    self.stop(Stop::Cancelled);
                }
                control = next(&mut self.orders.control), if self.ended.is_none() => {
                    if control.asks_to_end() {
                        self.asked_to_end = Some(Instant::now());
                    }
                    self.child.control(control);
                }
                ready = self.pidfd.readable(), if !self.gone => {
                    match ready {
                        Ok(mut ready) => ready.retain_ready(),
                        Err(error) => tracing::warn!(%error, "the end of a process can't be waited for"),
                    }
                    self.gone = true;
                    self.told.read();
                    self.ended.get_or_insert_with(Instant::now);
                }
                // Without streams to read on there is nothing to wait for between the command's end and the rest's.
                () = self.told.more(), if self.ended.is_none() => self.listen(),
                () = self.streams.read() => self.has_written(),
                // Not before: a set-up that fails and begins anew would have taken it.
                () = write(&mut self.orders.input), if self.runs && self.ended.is_none() => {}
                exceeded = above(&mut self.meter), if self.phase == Phase::Running && self.ended.is_none() => {
                    self.stop(Stop::Resource(exceeded));
                }
                () = tend(self.warden) => {}
                () = hear(&mut self.orders.hearing) => {}
            }
        }
    }

    /// When something is to be done if nothing happens until then.
    fn until(&self) -> Option<Instant> {
        let CallLimits { idle, drain, .. } = self.orders.limits;
        match (self.phase, self.ended) {
            (Phase::Running, None) => {
                let idle = idle.filter(|_| self.captured).and_then(|idle| self.last_byte.checked_add(idle));
                [self.deadline(), idle].into_iter().flatten().min()
            }
            (Phase::Running, Some(_)) if self.lingers => None,
            (Phase::Running, Some(ended)) => {
                let silence = (self.last_byte.max(ended) + drain).min(ended + drain * DRAINS);
                // A deadline that has passed leaves what is in the pipes to be read, and no more.
                Some(self.deadline().map_or(silence, |deadline| silence.min(deadline)))
            }
            (Phase::Terminating { until, .. }, _) if !self.gone => Some(until),
            (Phase::Killed { at, hard: false, .. }, _) if !self.gone => Some(at + KILL_PATIENCE),
            (Phase::Killed { at, hard: true, .. }, _) if !self.gone => {
                Some(at + KILL_PATIENCE + LAST_PATIENCE)
            }
            (Phase::Terminating { .. } | Phase::Killed { .. }, ended) => {
                let ended = ended.unwrap_or(self.last_byte);
                Some((self.last_byte.max(ended) + DRAIN_AFTER_KILL).min(ended + DRAIN_AFTER_KILL * DRAINS))
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.orders.limits.deadline.and_then(|deadline| self.orders.started.checked_add(deadline))
    }

    /// Whether there is nothing left to wait for.
    fn is_over(&self) -> bool {
        let rest_ends = match self.phase {
            // What has no stream is killed without being waited for.
            Phase::Running => !self.lingers || self.gone,
            // It was asked to end, and gets the time.
            Phase::Terminating { .. } | Phase::Killed { .. } => self.gone,
        };
        self.ended.is_some() && self.streams.are_closed() && rest_ends
    }

    /// Does what is due. Says whether the wait is over.
    fn time_is_up(&mut self) -> bool {
        let now = Instant::now();
        let CallLimits { deadline, idle, .. } = self.orders.limits;
        match self.phase {
            Phase::Running if self.ended.is_some() => true,
            Phase::Running => {
                match (self.deadline().filter(|at| *at <= now).and(deadline), idle) {
                    (Some(deadline), _) => self.stop(Stop::Deadline(deadline)),
                    (None, Some(idle)) => self.stop(Stop::Idle(idle)),
                    // The clock is not that exact.
                    (None, None) => {}
                }
                false
            }
            _ if self.gone => true,
            Phase::Terminating { why, .. } => {
                self.kill(why);
                false
            }
            Phase::Killed { why, at, hard: false } => {
                self.child.kill_hard();
                self.phase = Phase::Killed { why, at, hard: true };
                false
            }
            Phase::Killed { .. } => true,
        }
    }

    /// Asks everything to end.
    fn stop(&mut self, why: Stop) {
        let grace = self.orders.limits.grace;
        if grace.is_zero() {
            return self.kill(why);
        }
        self.child.terminate();
        self.phase = Phase::Terminating { why, until: Instant::now() + grace };
    }

    fn kill(&mut self, why: Stop) {
        self.child.kill_tree();
        self.phase = Phase::Killed { why, at: Instant::now(), hard: false };
    }

    /// Attends to what the helper has said.
    fn listen(&mut self) {
        let runs = self.told.command_runs();
        self.runs = runs;
        self.orders.state.send_if_modified(|state| {
            let news = runs && matches!(state, State::Starting);
            if news {
                *state = State::Running;
            }
            news
        });
        let ended = self.told.records().iter().find_map(|record| match record {
            Record::Ended { ending, others } => Some((*ending, *others)),
            _ => None,
        });
        if let Some((ending, others)) = ended.filter(|_| self.captured) {
            self.ended = Some(Instant::now());
            self.others = others;
            self.streams.take_what_is_there();
            // Told before its streams are: whoever hears of the exit finds how it was.
            self.orders.state.send_replace(State::Ended(ending));
            self.streams.command_has_ended();
        }
        if !self.told.take_stop() {
            return;
        }
        if self.orders.stops_with_the_command {
            // The shell that waits for us has to see that its job has stopped. It goes on when the job does.
            if let Err(errno) = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP) {
                tracing::warn!(%errno, "codex can't stop with the command");
            }
            self.child.signal(libc::SIGCONT);
        } else {
            // Whoever follows the command sees first what it wrote before.
            self.streams.take_what_is_there();
            self.orders.stops.notify_one();
        }
    }

    fn has_written(&mut self) {
        self.last_byte = Instant::now();
        if let Some(limit) = self.orders.limits.output
            && self.streams.bytes_total() > limit
            && self.phase == Phase::Running
            && self.ended.is_none()
        {
            self.stop(Stop::Output(limit));
        }
    }

    /// Where it is said how far the command has come.
    pub(super) const fn state(&self) -> &watch::Sender<State> {
        &self.orders.state
    }

    /// Where it will be said whose Landlock domain writes to the kernel's log.
    pub(super) fn logged(&self) -> Arc<OnceLock<i32>> {
        self.told.logged()
    }
}
