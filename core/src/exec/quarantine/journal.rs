//! What a running call has to check at its end, on disk: should the call be killed, the next one checks.
//!
//! `$CODEX_HOME/quarantine/pending` has a file a running call, which the call keeps locked: the kernel gives the lock up
//! with the last process of the call, however that ended. A call that ends without having searched the whole of its roots
//! leaves a file that says from when to when nobody knows what was made there.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::kept::Kept;
use crate::policy::{AbsentNames, GitProtection, Protection, WatchedLink};

/// What the files start with. Another version is another format.
/// The largest step of a file system's stamps that are whole seconds.
const COARSEST: Duration = Duration::from_secs(2);
const MAGIC: &[u8] = b"codex call 3";
const MOST_BYTES: u64 = 256 << 20;

/// What has to be checked after a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Duties {
    pub(super) git: GitProtection,
    pub(super) roots: Vec<PathBuf>,
    pub(super) absent: Vec<AbsentNames>,
    pub(super) links: Vec<WatchedLink>,
    pub(super) kept: Vec<Kept>,
}

impl From<&Protection> for Duties {
    fn from(protection: &Protection) -> Self {
        Self {
            git: protection.git,
            roots: protection.roots.clone(),
            absent: protection.absent.clone(),
            links: protection.links.clone(),
            kept: Vec::new(),
        }
    }
}

impl Duties {
    /// Takes over what others that are running found not to exist: what stands there now, one of their commands may have
    /// made. A link of the time in which they run must not be put back.
    pub(super) fn distrust(&mut self, running: &[Left], is_recent: impl Fn(&Path, &[Interval]) -> bool) {
        // Asked for the few paths that matter: all of what a thousand running calls look after is much to put together.
        let was_absent = |path: &Path| {
            running.iter().flat_map(|other| &other.duties.absent).any(|absent| absent.contains(path))
        };
        let intervals: Vec<Interval> = running.iter().map(|other| other.interval).collect();
        let links = std::mem::take(&mut self.links).into_iter();
        let (suspect, links) = links.partition::<Vec<_>, _>(|link| is_recent(&link.path, &intervals));
        self.links = links;
        let there = self.kept.iter().map(|kept| &kept.path).chain(suspect.iter().map(|link| &link.path));
        let suspect = there.filter(|path| was_absent(path)).filter_map(|path| AbsentNames::of(path));
        let suspect: Vec<AbsentNames> = suspect.collect();
        self.absent.extend(suspect);
    }
}

/// From when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) from: SystemTime,
    /// `None` while it goes on.
    pub(super) until: Option<SystemTime>,
}

impl Interval {
    /// Whether the stamp of a file is of this time. Some file systems keep whole seconds, or every second one.
    pub(super) fn holds(&self, stamp: SystemTime) -> bool {
        let is_coarse = stamp.duration_since(UNIX_EPOCH).is_ok_and(|since| since.subsec_nanos() == 0);
        let latest = stamp.checked_add(COARSEST).filter(|_| is_coarse).unwrap_or(stamp);
        latest >= self.from && self.until.is_none_or(|until| stamp <= until)
    }
}

/// The calls of this process that run, by their files: what is in these need not be read by who has written it, and a server may
/// have a thousand of them.
static OWN: LazyLock<Mutex<HashMap<PathBuf, Arc<Duties>>>> = LazyLock::new(Mutex::default);

fn own() -> MutexGuard<'static, HashMap<PathBuf, Arc<Duties>>> {
    // Nothing that is done under this lock can leave half of it done.
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file of a running call.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Holds the lock.
    file: File,
}

/// A file of another call.
#[derive(Debug)]
pub(super) struct Left {
    path: PathBuf,
    pub(super) interval: Interval,
    pub(super) duties: Arc<Duties>,
}

fn directory(codex_home: &Path) -> PathBuf {
    codex_home.join("quarantine/pending")
}

pub(super) fn micros(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()
}

fn time(micros: &str) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_micros(micros.parse().ok()?))
}

impl Journal {
    /// Writes the file of a call that starts.
    pub(super) fn begin(codex_home: &Path, from: SystemTime, duties: &Arc<Duties>) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("running-{}-{}-{number}", micros(from), std::process::id());
        let directory = directory(codex_home);
        let (draft, path) = (directory.join(format!(".{name}")), directory.join(name));
        let create = || fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
        let mut file = match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
                create()?
            }
            file => file?,
        };
        // Complete and locked before anybody else can see it.
        let written = file
            .try_lock()
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(&encode(duties)))
            .and_then(|()| fs::rename(&draft, &path));
        if let Err(error) = written {
            drop(fs::remove_file(&draft));
            return Err(error);
        }
        own().insert(path.clone(), Arc::clone(duties));
        Ok(Self { path, file })
    }

    /// Whether this is the file that was read.
    pub(super) fn is(&self, left: &Left) -> bool {
        self.path == left.path
    }

    /// Ends it: nothing is left to be done.
    pub(super) fn done(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// Ends it without the roots having been searched. Joined to what is left of an earlier call with the same roots, so
    /// that a thousand calls leave one file.
    pub(super) fn unsearched(self, codex_home: &Path, interval: Interval, duties: &Duties) -> io::Result<()> {
        leave(codex_home, &self.path, interval, duties)
    }
}

impl Drop for Journal {
    /// The lock goes as well: from here on it is the file of a call that was killed, unless it is gone. Closing would not do: what is just
    /// being started elsewhere has the file open until it is executed.
    fn drop(&mut self) {
        own().remove(&self.path);
        drop(self.file.unlock());
    }
}

/// Renames the file at `path` to what tells the interval, or widens that of another with the same roots.
fn leave(codex_home: &Path, path: &Path, interval: Interval, duties: &Duties) -> io::Result<()> {
    let directory = directory(codex_home);
    let key = roots_key(&duties.roots);
    let until = interval.until.unwrap_or_else(SystemTime::now);
    for entry in fs::read_dir(&directory)?.flatten() {
        let name = entry.file_name();
        let Some((other_key, other)) = name.to_str().and_then(parse_left) else { continue };
        if other_key == key {
            let from = other.from.min(interval.from);
            let until = other.until.map_or(until, |other| other.max(until));
            if fs::rename(entry.path(), directory.join(left_name(key, from, until))).is_ok() {
                return fs::remove_file(path);
            }
        }
    }
    fs::rename(path, directory.join(left_name(key, interval.from, until)))
}

fn left_name(key: u64, from: SystemTime, until: SystemTime) -> String {
    format!("unsearched-{key:016x}-{}-{}", micros(from), micros(until))
}

fn parse_left(name: &str) -> Option<(u64, Interval)> {
    let mut parts = name.strip_prefix("unsearched-")?.split('-');
    let key = u64::from_str_radix(parts.next()?, 16).ok()?;
    Some((key, Interval { from: time(parts.next()?)?, until: Some(time(parts.next()?)?) }))
}

fn parse_running(name: &str) -> Option<Interval> {
    let from = time(name.strip_prefix("running-")?.split('-').next()?)?;
    Some(Interval { from, until: None })
}

fn roots_key(roots: &[PathBuf]) -> u64 {
    let bytes = roots.iter().flat_map(|root| root.as_os_str().as_bytes().iter().chain(&[0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The files of calls that were killed, and with `all` those of running and unsearched ones too.
pub(super) fn left(codex_home: &Path, all: bool) -> Vec<Left> {
    let Ok(entries) = fs::read_dir(directory(codex_home)) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let unsearched = parse_left(name).map(|(_, interval)| interval).filter(|_| all);
        let Some(interval) = unsearched.or_else(|| parse_running(name)) else { continue };
        if interval.until.is_none()
            && let Some(duties) = own().get(&entry.path())
        {
            if all {
                found.push(Left { path: entry.path(), interval, duties: Arc::clone(duties) });
            }
            continue;
        }
        let Ok(file) = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(entry.path())
        else {
            continue;
        };
        let running = interval.until.is_none() && file.try_lock_shared().is_err();
        if running && !all {
            continue;
        }
        let mut text = Vec::new();
        let read = (&file).take(MOST_BYTES).read_to_end(&mut text).is_ok();
        match decode(&text).filter(|_| read) {
            Some(duties) => found.push(Left { path: entry.path(), interval, duties: Arc::new(duties) }),
            // Nobody will ever make sense of it.
            None if !running => drop(fs::remove_file(entry.path())),
            None => {}
        }
    }
    found
}

impl Left {
    pub(super) fn done(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// What can't be taken away yet stays a duty of the next call; the rest is only a search.
    pub(super) fn unsearched(&self, codex_home: &Path) -> io::Result<()> {
        let until = Some(self.interval.until.unwrap_or_else(SystemTime::now));
        leave(codex_home, &self.path, Interval { until, ..self.interval }, &self.duties)
    }
}

fn encode(duties: &Duties) -> Vec<u8> {
    let mut text = Vec::new();
    let mut field = |bytes: &[u8]| {
        text.extend_from_slice(bytes);
        text.push(0);
    };
    field(MAGIC);
    field(duties.git.name().as_bytes());
    for root in &duties.roots {
        field(b"root");
        field(root.as_os_str().as_bytes());
    }
    // Most directories lack the same names, which are written once.
    let mut list: Option<&Arc<[PathBuf]>> = None;
    for AbsentNames { directory, names } in &duties.absent {
        if !list.is_some_and(|list| Arc::ptr_eq(list, names)) {
            list = Some(names);
            field(b"list");
            field(names.len().to_string().as_bytes());
            names.iter().for_each(|name| field(name.as_os_str().as_bytes()));
        }
        field(b"none");
        field(directory.as_os_str().as_bytes());
    }
    for link in &duties.links {
        field(b"link");
        field(link.path.as_os_str().as_bytes());
        field(link.target.as_os_str().as_bytes());
    }
    for kept in &duties.kept {
        field(b"kept");
        field(kept.path.as_os_str().as_bytes());
        field(kept.device.to_string().as_bytes());
        field(kept.inode.to_string().as_bytes());
        field(kept.born.map_or(String::new(), |born| born.to_string()).as_bytes());
    }
    field(b"end");
    text
}

fn decode(text: &[u8]) -> Option<Duties> {
    let mut fields = text.split(|byte| *byte == 0);
    if fields.next()? != MAGIC {
        return None;
    }
    let git = fields.next()?;
    let git = GitProtection::ALL.into_iter().find(|choice| choice.name().as_bytes() == git)?;
    let mut duties = Duties { git, ..Duties::default() };
    let mut list: Arc<[PathBuf]> = [].into();
    loop {
        let word = fields.next()?;
        if word == b"end" {
            return Some(duties);
        }
        let path = PathBuf::from(OsStr::from_bytes(fields.next()?));
        match word {
            b"list" => {
                let count: usize = path.to_str()?.parse().ok()?;
                let names = fields.by_ref().take(count).map(|name| PathBuf::from(OsStr::from_bytes(name)));
                list = names.collect();
                if list.len() != count {
                    return None;
                }
            }
            b"root" => duties.roots.push(path),
            b"none" => {
                duties.absent.push(AbsentNames { directory: path, names: Arc::clone(&list) });
            }
            b"link" => {
                let target = PathBuf::from(OsStr::from_bytes(fields.next()?));
                duties.links.push(WatchedLink { path, target });
            }
            b"kept" => {
                let mut number = || Some(std::str::from_utf8(fields.next()?).ok()?.parse().ok());
                let (device, inode, born) = (number()??, number()??, number()?);
                duties.kept.push(Kept { path, device, inode, born });
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests;
