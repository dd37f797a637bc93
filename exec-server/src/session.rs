//! Sessions: what outlives a connection, and for how long.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use codex_core::exec::Process;
use tokio::time::sleep;

use crate::limits::ServerLimits;
use crate::metrics::Metrics;
use crate::outgoing::Outgoing;
use crate::process::Entry;
use crate::protocol::{ErrorCode, RpcError};
use crate::turns::Turns;

/// All sessions of a server.
#[derive(Debug)]
pub(crate) struct Sessions {
    known: Mutex<HashMap<String, Arc<Session>>>,
    limits: ServerLimits,
    metrics: Arc<Metrics>,
    turns: Turns,
}

/// A client's processes.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    /// Its turns at setting up processes.
    pub(crate) turns: Turns,
    limits: ServerLimits,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    processes: HashMap<String, Arc<Entry>>,
    /// Those that have ended, the oldest first.
    ended: VecDeque<String>,
    attached: bool,
    /// The connection that it is attached to, where the peer of that can be asked for a sign.
    holder: Option<Outgoing>,
    /// How often a connection was attached.
    epoch: u64,
    over: bool,
}

/// An id that is taken. Given back, unless the process is there.
#[derive(Debug)]
pub(crate) struct Reservation {
    session: Arc<Session>,
    pub(crate) entry: Arc<Entry>,
    kept: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under these locks can leave half of it done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    pub(crate) fn new(limits: ServerLimits, metrics: Arc<Metrics>, turns: Turns) -> Self {
        Self { known: Mutex::default(), limits, metrics, turns }
    }

    /// Turns at setting up processes, for somebody who waits for himself.
    pub(crate) fn turns(&self) -> Turns {
        self.turns.of_another()
    }

    /// A new session, attached.
    pub(crate) fn create(&self, holder: Option<Outgoing>) -> Result<Arc<Session>, RpcError> {
        let mut known = lock(&self.known);
        if known.len() >= self.limits.sessions {
            self.metrics.limits_hit.add("sessions", 1);
            return Err(RpcError::invalid(format!("there are {} sessions already", known.len())));
        }
        let session = Arc::new(Session {
            id: uuid::Uuid::new_v4().to_string(),
            turns: self.turns.of_another(),
            limits: self.limits,
            metrics: Arc::clone(&self.metrics),
            state: Mutex::new(State { attached: true, holder, epoch: 1, ..State::default() }),
        });
        known.insert(session.id.clone(), Arc::clone(&session));
        self.metrics.sessions.up();
        Ok(session)
    }

    /// A session that is known, attached to another connection than before. One that still has that is not: whether its peer is there
    /// is asked, and where it is not the next attempt will do. Nobody may have seen yet that a machine has lost its network.
    pub(crate) fn resume(&self, id: &str, holder: Option<Outgoing>) -> Result<Arc<Session>, RpcError> {
        let session = self.find(id)?;
        let mut state = lock(&session.state);
        if state.over {
            return Err(unknown(id));
        }
        if state.attached {
            if let Some(holder) = &state.holder {
                holder.ask_for_a_sign(self.limits.sign);
            }
            let text = format!("session {id} is already attached to another connection");
            return Err(RpcError::new(ErrorCode::SessionAttached, text));
        }
        state.attached = true;
        state.holder = holder;
        state.epoch += 1;
        drop(state);
        Ok(session)
    }

    /// A session by its id.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<Session>, RpcError> {
        lock(&self.known).get(id).cloned().ok_or_else(|| unknown(id))
    }

    /// Lets go of a session. Where nobody resumes it in time, its processes are ended.
    pub(crate) fn detach(self: &Arc<Self>, session: &Arc<Session>) {
        let epoch = {
            let mut state = lock(&session.state);
            state.attached = false;
            state.holder = None;
            state.epoch
        };
        let (sessions, session) = (Arc::clone(self), Arc::clone(session));
        tokio::spawn(async move {
            sleep(sessions.limits.session_for).await;
            let expired = {
                let mut state = lock(&session.state);
                let expired = !state.attached && state.epoch == epoch;
                state.over |= expired;
                expired
            };
            if expired {
                sessions.forget(&session);
            }
        });
    }

    /// Ends a session and its processes.
    pub(crate) fn forget(&self, session: &Session) {
        if lock(&self.known).remove(&session.id).is_some() {
            self.metrics.sessions.down();
        }
        session.end();
    }

    /// All of them, for the end of the server.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        lock(&self.known).values().cloned().collect()
    }
}

fn unknown(id: &str) -> RpcError {
    RpcError::invalid(format!("unknown session id {}", codex_linux_sandbox::shown(id)))
}

impl Session {
    /// Takes an id for a process.
    pub(crate) fn reserve(self: &Arc<Self>, entry: Entry) -> Result<Reservation, RpcError> {
        let mut state = lock(&self.state);
        if state.over {
            return Err(RpcError::invalid("the session has ended"));
        }
        if state.processes.contains_key(&entry.id) {
            let id = codex_linux_sandbox::shown(&entry.id);
            return Err(RpcError::invalid(format!("process id {id} is already in use")));
        }
        if !self.metrics.processes.up_below(self.limits.processes) {
            self.metrics.processes_refused.add(1);
            self.metrics.limits_hit.add("processes", 1);
            let text =
                format!("{} processes run already, as many as this server allows", self.limits.processes);
            return Err(RpcError::invalid(text));
        }
        let entry = Arc::new(entry);
        state.processes.insert(entry.id.clone(), Arc::clone(&entry));
        drop(state);
        Ok(Reservation { session: Arc::clone(self), entry, kept: false })
    }

    /// A process by its id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Entry>> {
        lock(&self.state).processes.get(id).cloned()
    }

    /// Its processes.
    pub(crate) fn processes(&self) -> Vec<Arc<Entry>> {
        lock(&self.state).processes.values().cloned().collect()
    }

    /// Ends everything. What starts later is ended as well.
    pub(crate) fn end(&self) {
        let mut state = lock(&self.state);
        state.over = true;
        state.ended.clear();
        for (_, entry) in state.processes.drain() {
            entry.end.cancel();
        }
    }

    /// Keeps a process that has ended, for a time and with so many others, and no longer than the session.
    async fn keep(this: &Weak<Self>, entry: Arc<Entry>) {
        let Some(session) = this.upgrade() else { return };
        {
            let mut state = lock(&session.state);
            state.ended.push_back(entry.id.clone());
            if state.ended.len() > session.limits.ended_kept
                && let Some(oldest) = state.ended.pop_front()
            {
                session.metrics.limits_hit.add("ended_processes", 1);
                state.processes.remove(&oldest);
            }
        }
        let time = session.limits.ended_for;
        drop(session);
        // The session is its owner: with that, what it has written goes.
        let (id, ended) = (entry.id.clone(), Arc::downgrade(&entry));
        drop(entry);
        sleep(time).await;
        if let Some(session) = this.upgrade() {
            let mut state = lock(&session.state);
            // The id may be another process's by now.
            if state.processes.get(&id).is_some_and(|known| Arc::as_ptr(known) == ended.as_ptr()) {
                state.processes.remove(&id);
                state.ended.retain(|other| *other != id);
            }
        }
    }
}

/// How much of what a process has written was not kept.
fn evicted(process: &Process) -> u64 {
    // Who begins at the beginning knows exactly.
    let missed = process.reader(0).and_then(|mut reader| reader.read(0).missed);
    missed.and_then(|missed| missed.bytes).map_or(0, |bytes| bytes.total())
}

impl Reservation {
    /// The process is there. It is watched to its end, and kept for a while.
    pub(crate) fn keep(mut self, process: Arc<Process>) {
        self.kept = true;
        let (session, entry) = (Arc::downgrade(&self.session), Arc::clone(&self.entry));
        let metrics = Arc::clone(&self.session.metrics);
        entry.started(Some(Arc::clone(&process)));
        metrics.processes_started.add(1);
        tokio::spawn(async move {
            entry.watch(&process).await;
            metrics.evicted_bytes.add(evicted(&process));
            metrics.ended(&*process.wait().await);
            drop(process);
            metrics.process_is_over();
            Session::keep(&session, entry).await;
        });
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.kept {
            self.entry.end.cancel();
            self.entry.started(None);
            self.session.metrics.process_is_over();
            self.session.metrics.processes_refused.add(1);
            lock(&self.session.state).processes.remove(&self.entry.id);
        }
    }
}
