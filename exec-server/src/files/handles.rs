//! Files that a connection keeps open, each held by a worker.
//!
//! A file that is read shares its worker with others that the connection reads, where their policies hide nothing. One that is
//! written has a worker to itself, which ends when it is closed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, SetOnce, oneshot};
use tokio::time::{Instant, sleep};

use super::crew::Crew;
use super::order::Order;
use super::talk::{Broken, Said, Worker};
use super::watches::{Watcher, Watches};
use crate::ceiling::{FilesGrant, Sharing};
use crate::limits::ServerLimits;
use crate::protocol::{ErrorCode, FileUri, OpenMode, RpcError};
use crate::room::Room;

/// How often it is looked for files that nobody uses.
const ROUND: Duration = Duration::from_secs(30);

/// What a connection has to do with files.
#[derive(Debug)]
pub(crate) struct Handles {
    crew: Arc<Crew>,
    limits: ServerLimits,
    /// Requests at the same time.
    turns: Arc<Semaphore>,
    room: Room,
    /// How many workers its open files have.
    held: Arc<AtomicUsize>,
    watches: Watches,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<String, Arc<Handle>>,
    /// The worker for the files that are read under a policy that hides nothing.
    desks: HashMap<Sharing, Weak<Desk>>,
    next: u64,
    is_swept: bool,
}

/// A worker, and who is next.
#[derive(Debug)]
struct Desk {
    /// Nothing once it has ended.
    worker: AsyncMutex<Option<Worker>>,
    /// The file that is written, where there is one, by its real path.
    at: SetOnce<PathBuf>,
}

#[derive(Debug)]
struct Handle {
    number: u64,
    mode: OpenMode,
    /// What came of opening it.
    desk: SetOnce<Result<Arc<Desk>, RpcError>>,
    /// The end of the request before: requests for a file are done in the order in which they came.
    last: Mutex<Option<oneshot::Receiver<()>>>,
    used: Mutex<Instant>,
}

/// A place in the order of requests for a file. Dropped, it lets the next one go on.
#[derive(Debug)]
pub(crate) struct Turn {
    handle: Arc<Handle>,
    before: Option<oneshot::Receiver<()>>,
    _done: oneshot::Sender<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under these locks can leave half of it done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unknown(id: &str) -> RpcError {
    let id = codex_linux_sandbox::shown(id);
    RpcError::new(ErrorCode::NotFound, format!("unknown file handle {id}"))
}

impl Handle {
    fn turn(self: &Arc<Self>) -> Turn {
        let (done, is_done) = oneshot::channel();
        *lock(&self.used) = Instant::now();
        Turn { handle: Arc::clone(self), before: lock(&self.last).replace(is_done), _done: done }
    }
}

impl Turn {
    async fn wait(&mut self) {
        if let Some(before) = self.before.take() {
            // Nothing is ever sent: the other end is dropped.
            before.await.ok();
        }
    }
}

impl Handles {
    pub(crate) fn new(crew: Arc<Crew>, limits: ServerLimits) -> Self {
        Self {
            crew,
            limits,
            turns: Arc::new(Semaphore::new(limits.file_requests.max(1))),
            room: Room::new(limits.file_answers),
            held: Arc::default(),
            watches: Watches::default(),
            table: Mutex::default(),
        }
    }

    pub(crate) fn crew(&self) -> &Arc<Crew> {
        &self.crew
    }

    /// Waits until one more request may be at work.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// Room for its answers.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// What it waits for.
    pub(crate) fn watches(&self) -> &Watches {
        &self.watches
    }

    /// Has a worker watch. Nothing where there is nothing to wait for.
    pub(crate) async fn watch(
        &self,
        grant: &FilesGrant,
        missing: Vec<FileUri>,
        present: Option<FileUri>,
    ) -> Result<Option<Watcher>, RpcError> {
        Watcher::start(&self.crew, &self.held, grant, missing, present).await
    }

    /// Takes an id for a file, so that what follows for it finds it.
    pub(crate) fn reserve(self: &Arc<Self>, id: &str, mode: OpenMode) -> Result<Turn, RpcError> {
        let mut table = lock(&self.table);
        if table.open.contains_key(id) {
            let id = codex_linux_sandbox::shown(id);
            return Err(RpcError::invalid(format!("file handle {id} is already in use")));
        }
        let written = table.open.values().filter(|handle| handle.mode == OpenMode::Replace).count();
        let (there, most) = match mode {
            OpenMode::Replace if written >= self.limits.file_writers => (written, self.limits.file_writers),
            _ => (table.open.len(), self.limits.file_handles),
        };
        if there >= most {
            self.crew.hit("open_files");
            return Err(RpcError::invalid(format!(
                "{there} files are open already{}, as many as a connection may have; fs/close gives one back",
                if mode == OpenMode::Replace && there == written { " to be written" } else { "" }
            )));
        }
        table.next += 1;
        let handle = Arc::new(Handle {
            number: table.next,
            mode,
            desk: SetOnce::new(),
            last: Mutex::default(),
            used: Mutex::new(Instant::now()),
        });
        let turn = handle.turn();
        table.open.insert(id.to_owned(), handle);
        if !std::mem::replace(&mut table.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
        Ok(turn)
    }

    /// Opens the file of an id that was reserved. Where that fails, the id is free again.
    pub(crate) async fn open(
        &self,
        id: &str,
        turn: Turn,
        path: FileUri,
        grant: Result<FilesGrant, RpcError>,
    ) -> Result<(), RpcError> {
        let handle = &turn.handle;
        let opened = match grant {
            Ok(grant) => self.open_at_a_desk(handle, path, grant).await,
            Err(error) => Err(error),
        };
        let answer = opened.as_ref().map(drop).map_err(Clone::clone);
        if answer.is_err() {
            self.forget(id, handle);
        }
        if handle.desk.set(opened).is_err() {
            tracing::warn!("a file was opened twice");
        }
        answer
    }

    async fn open_at_a_desk(
        &self,
        handle: &Handle,
        path: FileUri,
        grant: FilesGrant,
    ) -> Result<Arc<Desk>, RpcError> {
        let desk = match grant.sharing.filter(|_| handle.mode == OpenMode::Read) {
            Some(sharing) => {
                let known = lock(&self.table).desks.get(&sharing).and_then(Weak::upgrade);
                match known {
                    Some(desk) => desk,
                    None => {
                        let desk = self.desk(&grant).await?;
                        lock(&self.table).desks.insert(sharing, Arc::downgrade(&desk));
                        desk
                    }
                }
            }
            None => self.desk(&grant).await?,
        };
        let order = Order::Open { handle: handle.number, path, mode: handle.mode };
        let said = self.ask(&desk, &order, &[]).await;
        if said.is_err() && handle.mode == OpenMode::Replace {
            self.end(&desk).await.ok();
        }
        let at = said?.at();
        if let Some(at) = at.filter(|_| handle.mode == OpenMode::Replace)
            && desk.at.set(at).is_err()
        {
            tracing::warn!("a worker writes two files");
        }
        Ok(desk)
    }

    async fn desk(&self, grant: &FilesGrant) -> Result<Arc<Desk>, RpcError> {
        let held = self.crew.hold(&self.held)?;
        let worker = self.crew.start(grant, Some(held)).await?;
        Ok(Arc::new(Desk { worker: AsyncMutex::new(Some(worker)), at: SetOnce::new() }))
    }

    async fn ask(&self, desk: &Desk, order: &Order, body: &[u8]) -> Result<Said, RpcError> {
        let mut worker = desk.worker.lock().await;
        if worker.is_none() {
            return Err(RpcError::new(ErrorCode::NotFound, "the file is not open any more"));
        }
        // Cancelled halfway, nobody knows what the worker says next: it is only put back where it has answered.
        let mut taken = Guard { slot: &mut worker, keep: false };
        let said = match taken.worker() {
            Some(there) => {
                there.converse(order, body, self.limits.file_bytes, self.limits.file_deadline).await
            }
            None => Err(Broken::Ended),
        };
        match said {
            Ok(said) => {
                taken.keep = true;
                said.map_err(Into::into)
            }
            Err(broken) => {
                Err(RpcError::internal(format!("the file is closed: the worker that held it: {broken}")))
            }
        }
    }

    async fn end(&self, desk: &Desk) -> Result<(), RpcError> {
        let worker = desk.worker.lock().await.take();
        match worker {
            Some(worker) => worker.finish(desk.at.get().map(PathBuf::as_path)).await,
            None => Ok(()),
        }
    }

    /// Takes a file from the table, and says whether it was there. The id may be another file's by now.
    fn forget(&self, id: &str, handle: &Arc<Handle>) -> bool {
        let mut table = lock(&self.table);
        let is_it = table.open.get(id).is_some_and(|known| Arc::ptr_eq(known, handle));
        is_it && table.open.remove(id).is_some()
    }

    /// What sees to it that the file of an id that was reserved is closed again, unless its opening is heard of.
    pub(crate) fn unheard(self: &Arc<Self>, id: &str, turn: &Turn) -> Unheard {
        Unheard { files: Arc::clone(self), id: id.to_owned(), handle: Some(Arc::clone(&turn.handle)) }
    }

    /// A place in the order of a file's requests.
    pub(crate) fn find(&self, id: &str) -> Result<Turn, RpcError> {
        let table = lock(&self.table);
        table.open.get(id).map(Handle::turn).ok_or_else(|| unknown(id))
    }

    /// Has something done with an open file, when it is its turn. Where writing fails, the file is closed.
    pub(crate) async fn act(
        &self,
        id: &str,
        mut turn: Turn,
        order: impl FnOnce(u64) -> Order,
        body: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), RpcError> {
        turn.wait().await;
        let handle = &turn.handle;
        let desk = match handle.desk.wait().await {
            Ok(desk) => Arc::clone(desk),
            Err(_never_opened) => return Err(unknown(id)),
        };
        let order = order(handle.number);
        let wrong = match (&order, handle.mode) {
            (Order::WriteBlock { .. }, OpenMode::Read) => Some("to be read, and not to be written"),
            (Order::ReadBlock { .. }, OpenMode::Replace) => Some("to be written, and not to be read"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            let id = codex_linux_sandbox::shown(id);
            return Err(RpcError::invalid(format!("file handle {id} was opened {wrong}")));
        }
        let said = self.ask(&desk, &order, body).await;
        if said.is_err() && handle.mode == OpenMode::Replace {
            self.forget(id, handle);
            self.end(&desk).await?;
        }
        said.map(|said| (said.body, said.result))
    }

    /// Takes a file from the table, for [`Handles::close`].
    pub(crate) fn take(&self, id: &str) -> Option<Turn> {
        lock(&self.table).open.remove(id).map(|handle| handle.turn())
    }

    /// Closes a file behind what was asked for before.
    pub(crate) async fn close(&self, mut turn: Turn) -> Result<(), RpcError> {
        turn.wait().await;
        let Ok(desk) = turn.handle.desk.wait().await else { return Ok(()) };
        if turn.handle.mode == OpenMode::Replace {
            return self.end(desk).await;
        }
        // Where the worker is gone, the file is closed.
        self.ask(desk, &Order::Close { handle: turn.handle.number }, &[]).await.map(drop).or(Ok(()))
    }
}

/// A file whose opening nobody has heard of. Dropped, it closes it.
#[derive(Debug)]
pub(crate) struct Unheard {
    files: Arc<Handles>,
    id: String,
    handle: Option<Arc<Handle>>,
}

impl Unheard {
    /// Somebody has.
    pub(crate) fn heard(mut self) {
        self.handle = None;
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        // Without a runtime, everything ends.
        if self.files.forget(&self.id, &handle)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (files, turn) = (Arc::clone(&self.files), handle.turn());
            runtime.spawn(async move {
                if let Err(error) = files.close(turn).await {
                    tracing::warn!("a file that was closed because its opening was given up: {error}");
                }
            });
        }
    }
}

/// Takes a worker away that was left in the middle of something.
struct Guard<'g> {
    slot: &'g mut Option<Worker>,
    keep: bool,
}

impl Guard<'_> {
    fn worker(&mut self) -> Option<&mut Worker> {
        self.slot.as_mut()
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.keep {
            drop(self.slot.take());
        }
    }
}

/// Closes files that nobody has used for long.
async fn sweep(handles: Weak<Handles>) {
    loop {
        sleep(ROUND).await;
        let Some(handles) = handles.upgrade() else { return };
        let longest = handles.limits.file_idle;
        let unused: Vec<String> = {
            let table = lock(&handles.table);
            let unused = table.open.iter().filter(|(_, handle)| lock(&handle.used).elapsed() > longest);
            unused.map(|(id, _)| id.clone()).collect()
        };
        for id in unused {
            if let Some(turn) = handles.take(&id)
                && let Err(error) = handles.close(turn).await
            {
                tracing::warn!("a file that was closed because nobody used it: {error}");
            }
        }
    }
}
