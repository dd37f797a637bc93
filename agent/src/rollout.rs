//! Conversations on the disk: a line of JSON for each thing that was said.
//!
//! `$CODEX_HOME/sessions/YYYY/MM/DD/rollout-TIME-ID.jsonl`, mode 0600, only ever appended to. Each line is on the disk before
//! the run goes on, so that whatever ends the program, what was said can be resumed. A last line that was cut is left out when
//! it is read, and stays where it is.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use codex_linux_sandbox::shown;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;
use uuid::Uuid;

use crate::approval::Approval;
use crate::conversation::{Call, Item};
use crate::redact::Redactor;

/// The directory below `$CODEX_HOME`.
const SESSIONS: &str = "sessions";
/// What is longer was not written by a conversation.
const LARGEST: u64 = 1024 * 1024 * 1024;

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub enum Line {
    /// What the conversation is: the first line.
    SessionMeta(Meta),
    /// Something that was said.
    Item(Item),
    /// Something that was decided. For who reads it: a run that goes on is given nothing by it.
    Approval(Approval),
}

/// What a conversation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Its name.
    pub id: String,
    /// The workspace.
    pub cwd: PathBuf,
    /// The version of this program.
    pub version: String,
    /// The model that was asked.
    pub model: String,
    /// The provider that was asked.
    pub model_provider: String,
}

#[derive(Serialize)]
struct Stamped<'l> {
    timestamp: String,
    #[serde(flatten)]
    line: &'l Line,
}

/// Why a conversation can't be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// Something on the way can't be made, opened, read or written.
    #[error("the session can't be kept or read: {path}: {error}", path = shown(.path))]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The same, of one that is to begin, which need not be kept.
    #[error("the session can't be kept: {path}: {error}; --ephemeral keeps none", path = shown(.path))]
    Begin {
        /// What.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No name that a session could have.
    #[error("`{}` is no id of a session: it is a UUID, as `thread.started` and the end of a run tell it", shown(.0))]
    Name(String),
    /// There is none of this name.
    #[error("there is no session {} below {}", .id, shown(.directory))]
    Unknown {
        /// The name.
        id: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// There is none at all.
    #[error("there is no session of this workspace to resume")]
    None,
    /// Somebody goes on with it already.
    #[error("the session {} is in use by another process", shown(.0))]
    InUse(PathBuf),
    /// It has no beginning.
    #[error("{} is no session: its first line does not say what it is", shown(.0))]
    NoMeta(PathBuf),
}

/// A conversation that is being written.
#[derive(Debug)]
pub struct Rollout {
    file: Flock<File>,
    path: PathBuf,
    redactor: Redactor,
}

impl Rollout {
    /// Begins one.
    ///
    /// # Errors
    ///
    /// [`RolloutError`].
    pub fn begin(codex_home: &Path, meta: Meta, redactor: Redactor) -> Result<Self, RolloutError> {
        Self::begun(codex_home, meta, redactor).map_err(|error| match error {
            RolloutError::Io { path, error } => RolloutError::Begin { path, error },
            other => other,
        })
    }

    fn begun(codex_home: &Path, meta: Meta, redactor: Redactor) -> Result<Self, RolloutError> {
        let now = OffsetDateTime::now_utc();
        let day = format_description!("[year]/[month]/[day]");
        let second = format_description!("[year]-[month]-[day]T[hour]-[minute]-[second]");
        let unformatted = |_| io::Error::other("the time can't be written");
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| RolloutError::Io { path: path.clone(), error }
        };
        let day = now.format(day).map_err(unformatted).map_err(at(codex_home))?;
        let second = now.format(second).map_err(unformatted).map_err(at(codex_home))?;
        let directory = codex_home.join(SESSIONS).join(day);
        let named = to_sync(&directory);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(at(&directory))?;
        let path = directory.join(format!("rollout-{second}-{}.jsonl", meta.id));
        let file =
            OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path).map_err(at(&path))?;
        let mut rollout = Self { file: lock(file, &path)?, path, redactor };
        rollout.write(&Line::SessionMeta(meta))?;
        // Its name is on the disk as well, and those of the directories that were made for it.
        for directory in named {
            sync(directory).map_err(at(directory))?;
        }
        Ok(rollout)
    }

    /// Goes on with one, and gives what was said in it.
    ///
    /// # Errors
    ///
    /// [`RolloutError`].
    pub fn resume(path: &Path, redactor: Redactor) -> Result<(Self, Meta, Vec<Item>), RolloutError> {
        let at = |error| RolloutError::Io { path: path.to_owned(), error };
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file =
            OpenOptions::new().read(true).append(true).custom_flags(flags.bits()).open(path).map_err(at)?;
        let mut file = lock(file, path)?;
        file.seek(SeekFrom::Start(0)).map_err(at)?;
        let mut bytes = Vec::new();
        (&*file).take(LARGEST).read_to_end(&mut bytes).map_err(at)?;
        let (meta, items) = read(&bytes);
        let meta = meta.ok_or_else(|| RolloutError::NoMeta(path.to_owned()))?;
        let mut rollout = Self { file, path: path.to_owned(), redactor };
        if bytes.last().is_some_and(|last| *last != b'\n') {
            rollout.append(b"\n")?;
        }
        Ok((rollout, meta, items))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds something that was said. It is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// [`RolloutError::Io`].
    pub fn add(&mut self, item: &Item) -> Result<(), RolloutError> {
        self.write(&Line::Item(item.clone()))
    }

    fn write(&mut self, line: &Line) -> Result<(), RolloutError> {
        let format =
            format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        let timestamp = OffsetDateTime::now_utc().format(format).unwrap_or_default();
        let text = serde_json::to_string(&Stamped { timestamp, line }).map_err(io::Error::other);
        let text = text.map_err(|error| RolloutError::Io { path: self.path.clone(), error })?;
        let mut text = self.redactor.redact(&text);
        text.push('\n');
        self.append(text.as_bytes())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), RolloutError> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        written.map_err(|error| RolloutError::Io { path: self.path.clone(), error })
    }
}

/// A conversation that several write to, or that nobody keeps.
#[derive(Clone, Debug, Default)]
pub struct Journal(Option<Arc<Mutex<Rollout>>>);

impl Journal {
    /// Writes to this one.
    #[must_use]
    pub fn new(rollout: Rollout) -> Self {
        Self(Some(Arc::new(Mutex::new(rollout))))
    }

    /// Adds something that was said. It is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// [`RolloutError::Io`].
    pub fn add(&self, item: &Item) -> Result<(), RolloutError> {
        self.write(&Line::Item(item.clone()))
    }

    /// Adds something that was decided. It is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// [`RolloutError::Io`].
    pub fn note(&self, approval: &Approval) -> Result<(), RolloutError> {
        self.write(&Line::Approval(approval.clone()))
    }

    fn write(&self, line: &Line) -> Result<(), RolloutError> {
        match &self.0 {
            Some(rollout) => rollout.lock().unwrap_or_else(PoisonError::into_inner).write(line),
            None => Ok(()),
        }
    }
}

/// The directories that have a new name in them once a file has been made in this one.
fn to_sync(directory: &Path) -> Vec<&Path> {
    let missing = directory.ancestors().take_while(|directory| !directory.exists()).count();
    let named = directory.ancestors().take(missing + 1);
    // A path that is a name alone lies in the current directory.
    named.map(|directory| if directory.as_os_str().is_empty() { Path::new(".") } else { directory }).collect()
}

/// Puts the names in a directory on the disk, where its file system has a way for that.
fn sync(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(()),
        synced => synced,
    }
}

fn lock(file: File, path: &Path) -> Result<Flock<File>, RolloutError> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| RolloutError::InUse(path.to_owned()))
}

/// Reads what lines say. What is no line, as the last one of a run that was killed, says nothing.
///
/// Calls that have no answer get one, so that the conversation can go on; answers to no call go.
#[must_use]
pub fn read(bytes: &[u8]) -> (Option<Meta>, Vec<Item>) {
    let mut meta = None;
    let mut items = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Line::SessionMeta(found)) => {
                meta.get_or_insert(found);
            }
            Ok(Line::Item(item)) => items.push(item),
            Ok(Line::Approval(_)) => {}
            Err(_torn) => {}
        }
    }
    (meta, completed(items))
}

/// Sees to it that every call has one answer, and every answer a call.
fn completed(items: Vec<Item>) -> Vec<Item> {
    const ENDED: &str = "the session ended before this call had an answer";
    let mut whole = Vec::with_capacity(items.len());
    let mut open: Vec<Call> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let answer =
        |call: Call| Item::Output { call_id: call.call_id, text: ENDED.to_owned(), custom: call.custom };
    for item in items {
        match item {
            Item::Call(call) => {
                if seen.insert(call.call_id.clone()) {
                    open.push(call.clone());
                    whole.push(Item::Call(call));
                }
            }
            Item::Output { ref call_id, .. } => {
                if let Some(place) = open.iter().position(|call| call.call_id == *call_id) {
                    open.remove(place);
                    whole.push(item);
                }
            }
            // Whatever comes after calls comes after their answers.
            Item::User { .. } | Item::Assistant { .. } | Item::Reasoning { .. } => {
                whole.extend(open.drain(..).map(answer));
                whole.push(item);
            }
        }
    }
    whole.extend(open.drain(..).map(answer));
    whole
}

/// A name for a new session. Names are in the order in which they were made.
#[must_use]
pub fn new_id() -> String {
    Uuid::now_v7().hyphenated().to_string()
}

/// Finds the session of a name.
///
/// # Errors
///
/// [`RolloutError::Name`] and [`RolloutError::Unknown`].
pub fn find(codex_home: &Path, id: &str) -> Result<PathBuf, RolloutError> {
    let id = Uuid::try_parse(id).map_err(|_| RolloutError::Name(id.to_owned()))?.hyphenated().to_string();
    let directory = codex_home.join(SESSIONS);
    let end = format!("-{id}.jsonl");
    all(&directory)
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&end)))
        .ok_or(RolloutError::Unknown { id, directory })
}

/// Finds the newest session of a workspace.
///
/// # Errors
///
/// [`RolloutError::None`].
pub fn newest(codex_home: &Path, workspace: &Path) -> Result<PathBuf, RolloutError> {
    let is_of = |path: &PathBuf| {
        let Ok(file) = OpenOptions::new().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path) else {
            return false;
        };
        let mut first = Vec::new();
        let read =
            io::BufRead::read_until(&mut io::BufReader::new(file.take(1024 * 1024)), b'\n', &mut first);
        read.is_ok() && super::rollout::read(&first).0.is_some_and(|meta| meta.cwd == workspace)
    };
    all(&codex_home.join(SESSIONS)).into_iter().find(is_of).ok_or(RolloutError::None)
}

/// All sessions, the newest first: names begin with their times, and ids of one second are in order.
fn all(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![(directory.to_owned(), 3)];
    while let Some((directory, below)) = waiting.pop() {
        // What can't be read is none of ours.
        for entry in directory.read_dir().into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && below > 0 {
                waiting.push((path, below - 1));
            } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "jsonl") {
                found.push(path);
            }
        }
    }
    found.sort_by(|one, other| other.file_name().cmp(&one.file_name()));
    found
}

#[cfg(test)]
mod tests;
