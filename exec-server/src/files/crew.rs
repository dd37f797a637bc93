//! Workers: started in the sandbox of a request, kept for the next one where that is sound, and bounded.
//!
//! What changes files gets a worker of its own, which ends before the request is answered: what is protected is looked up at
//! its start, and what came to be in a protected place is moved away at its end, as with any command. What only reads, under
//! a policy that hides nothing, leaves a worker for the next such request; it can do nothing that the next one's could not.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use codex_core::exec::{CallLimits, ExecRequest, Process, Stdio};
use codex_core::output::OutputBudget;
use codex_core::output::feed::FeedOptions;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::order::{Failure, Order};
use super::talk::{Broken, RETAINED, Said, Undone, Worker};
use super::wire::{Decoder, PIECE};
use crate::ceiling::{FilesGrant, Sharing};
use crate::limits::ServerLimits;
use crate::metrics::Metrics;
use crate::protocol::RpcError;
use crate::turns::Turns;

/// How long a request waits for a worker where as many as are allowed are at work.
const LONGEST_TURN: Duration = Duration::from_secs(10);

/// The workers of a server.
#[derive(Debug)]
pub(crate) struct Crew {
    program: PathBuf,
    limits: ServerLimits,
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
    /// How many workers hold open files, or watch.
    held: Arc<Mutex<usize>>,
    turns: Turns,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    sharing: Sharing,
    worker: Worker,
    since: Instant,
}

/// One of the workers that hold open files or watch, as long as it lives.
#[derive(Debug)]
pub(super) struct Held {
    all: Arc<Mutex<usize>>,
    own: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        *all -= 1;
        self.own.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under these locks can leave half of it done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is counted as long as it lives.
#[derive(Debug)]
pub(super) struct Counted(Arc<Metrics>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.file_workers.down();
    }
}

/// What is to be done, and where.
pub(crate) struct Errand {
    pub(crate) grant: FilesGrant,
    pub(crate) order: Order,
    pub(crate) body: Vec<u8>,
    /// Whether something may be different afterwards.
    pub(crate) changes: bool,
    /// How many bytes there is room for in the answer.
    pub(crate) most: usize,
}

impl Crew {
    pub(crate) fn new(program: PathBuf, limits: ServerLimits, metrics: Arc<Metrics>, turns: Turns) -> Self {
        let places = Arc::new(Semaphore::new(limits.file_workers.max(1)));
        Self { program, limits, metrics, places, held: Arc::default(), turns, idle: Mutex::default() }
    }

    /// Notes that a bound was met.
    pub(super) fn hit(&self, limit: &'static str) {
        self.metrics.limits_hit.add(limit, 1);
    }

    /// One more of the workers that hold open files, for a connection that has some already.
    ///
    /// A quarter of all workers is kept for requests that end by themselves. Of the others, a connection may have as many as it
    /// leaves: one has half of them at most, two have a third each, and there is always something for one that has none.
    pub(super) fn hold(&self, own: &Arc<AtomicUsize>) -> Result<Held, RpcError> {
        let most = self.limits.file_workers - self.limits.file_workers / 4;
        let mut all = lock(&self.held);
        let (mine, left) = (own.load(Ordering::Relaxed), most.saturating_sub(*all));
        if mine >= left {
            self.metrics.file_workers_refused.add(1);
            self.metrics.limits_hit.add("file_workers", 1);
            return Err(RpcError::invalid(format!(
                "the open files of this connection take {mine} workers, and {left} are left for all: a connection may have as \
                 many as it leaves; fs/close gives one back"
            )));
        }
        *all += 1;
        own.fetch_add(1, Ordering::Relaxed);
        Ok(Held { all: Arc::clone(&self.held), own: Arc::clone(own) })
    }

    /// Has something done, and gives what the worker says of it: the body's bytes as they are, with the result behind them.
    ///
    /// To be run to its end where something changes: half of it would be no answer, while the files have changed.
    pub(crate) async fn run(self: &Arc<Self>, errand: Errand) -> Result<Vec<u8>, Undone> {
        self.said(errand).await.map(Said::whole)
    }

    /// The content of a file.
    pub(crate) async fn content(self: &Arc<Self>, errand: Errand) -> Result<Vec<u8>, Undone> {
        self.said(errand).await.map(|said| said.body)
    }

    async fn said(self: &Arc<Self>, errand: Errand) -> Result<Said, Undone> {
        let Errand { grant, order, body, changes, most } = errand;
        let sharing = grant.sharing.filter(|_| !changes);
        // One that was kept may have been ended by somebody in the meantime, and is then no reason to fail.
        while let Some(kept) = sharing {
            let Some(mut worker) = self.idle_worker(kept) else { break };
            match self.converse(&mut worker, &order, &body, most).await {
                Ok(said) => {
                    self.keep(kept, worker);
                    return said.map_err(Into::into);
                }
                Err(Broken::Ended) => {}
                Err(broken) => return Err(worker.undone(&broken).await),
            }
        }
        let mut worker = self.start(&grant, None).await?;
        let said: Result<Said, Failure> = match self.converse(&mut worker, &order, &body, most).await {
            Ok(said) => said,
            Err(broken) => return Err(worker.undone(&broken).await),
        };
        if let Some(kept) = sharing {
            self.keep(kept, worker);
        } else if changes {
            worker.finish(said.as_ref().ok().and_then(Said::at).as_deref()).await?;
        }
        said.map_err(Into::into)
    }

    async fn converse(
        &self,
        worker: &mut Worker,
        order: &Order,
        body: &[u8],
        most: usize,
    ) -> Result<Result<Said, Failure>, Broken> {
        worker.converse(order, body, most, self.limits.file_deadline).await
    }

    /// How long one thing may take.
    pub(super) fn deadline(&self) -> Duration {
        self.limits.file_deadline
    }

    /// Starts a worker, which may be one that holds open files.
    pub(super) async fn start(&self, grant: &FilesGrant, held: Option<Held>) -> Result<Worker, RpcError> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_full) => {
                // Those that only wait give way, the oldest first.
                let oldest = {
                    let mut idle = self.idle();
                    (!idle.is_empty()).then(|| idle.remove(0))
                };
                drop(oldest);
                let place = timeout(LONGEST_TURN, Arc::clone(&self.places).acquire_owned()).await;
                place.ok().and_then(Result::ok).ok_or_else(|| {
                    self.metrics.file_workers_refused.add(1);
                    self.metrics.limits_hit.add("file_workers", 1);
                    RpcError::internal(format!(
                        "{} requests for files are at work already, as many as this server allows at the same time; \
                         try again",
                        self.limits.file_workers
                    ))
                })?
            }
        };
        let program = self.program.clone().into_os_string();
        // What it is started for is said for the audit log, and nothing to the worker.
        let command = std::iter::once(program).chain(grant.words.iter().map(OsString::from));
        let mut request = ExecRequest::new(
            command.collect(),
            PathBuf::from("/"),
            // Nothing in it has anything to say to the worker.
            Vec::new(),
        );
        request.labels = grant.labels.clone();
        request.arg0 = Some(OsString::from(super::PROGRAM));
        request.stdio = Stdio::Piped;
        request.limits = CallLimits {
            deadline: None,
            idle: None,
            output: None,
            grace: Duration::ZERO,
            ..CallLimits::default()
        };
        request.budget = OutputBudget { bytes: 0, lines: 0 };
        // What a worker says is waited for, however long that takes: nothing of it may be missed.
        request.feed = Some(FeedOptions { retain: RETAINED, chunk: PIECE, stall: Duration::MAX });
        self.metrics.file_workers.up();
        self.metrics.file_workers_started.add(1);
        let count = Counted(Arc::clone(&self.metrics));
        let deadline = self.limits.file_deadline;
        let set_up = async {
            let process = Process::start(request, &grant.sandbox);
            let runs = timeout(deadline, process.started()).await;
            (process, runs)
        };
        let (process, runs) = self.turns.take(set_up).await;
        let reader = process.reader(0).ok_or_else(|| RpcError::internal("the worker says nothing"))?;
        let worker = Worker {
            process,
            reader,
            decoder: Decoder::default(),
            began: Instant::now(),
            _place: place,
            _held: held,
            _count: count,
        };
        match runs {
            Ok(true) => Ok(worker),
            Ok(false) => Err(worker.failure(&Broken::Ended).await),
            Err(_elapsed) => Err(worker.failure(&Broken::Slow(deadline)).await),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        lock(&self.idle)
    }

    fn idle_worker(&self, sharing: Sharing) -> Option<Worker> {
        let mut idle = self.idle();
        let index = idle.iter().rposition(|one| one.sharing == sharing)?;
        Some(idle.remove(index).worker)
    }

    /// Keeps a worker for the next request, for a while.
    fn keep(self: &Arc<Self>, sharing: Sharing, worker: Worker) {
        if worker.began.elapsed() > self.limits.file_worker_for || self.limits.file_workers_idle == 0 {
            return;
        }
        let since = Instant::now();
        {
            let mut idle = self.idle();
            if idle.len() >= self.limits.file_workers_idle {
                idle.remove(0);
            }
            idle.push(Idle { sharing, worker, since });
        }
        let (crew, time) = (Arc::downgrade(self), self.limits.file_worker_idle_for);
        tokio::spawn(async move {
            sleep(time).await;
            if let Some(crew) = crew.upgrade() {
                crew.idle().retain(|one| one.since.elapsed() < time);
            }
        });
    }

    /// Ends the workers that wait.
    pub(crate) fn dismiss(&self) {
        self.idle().clear();
    }
}
