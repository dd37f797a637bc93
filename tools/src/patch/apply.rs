//! A plan, carried out: all of it, or nothing.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use codex_linux_sandbox::shown;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{Mode, fchmod, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use super::place::{Parent, PlaceError};
use super::plan::{After, Entry, Identity, Plan};

/// How often another name is tried for a file that is written beside one.
const ATTEMPTS: u32 = 64;

/// Why a plan was not carried out. Nothing has changed, unless `left` says so.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; nothing was changed{}", left_text(.left))]
pub struct ApplyError {
    /// What failed.
    pub why: ApplyFailure,
    /// What could not be taken back.
    pub left: Vec<String>,
}

fn left_text(left: &[String]) -> String {
    if left.is_empty() {
        String::new()
    } else {
        format!(" but this, which could not be taken back: {}", left.join(", "))
    }
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyFailure {
    /// The kernel's answer.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Somebody else was there between reading and writing.
    #[error("{path} was changed by somebody else at the same moment", path = shown(.0))]
    Changed(std::path::PathBuf),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// A letter (`A`, `M`, `D`) and the path as written, in the order of the patch.
    pub files: Vec<(char, String)>,
    /// What whoever wrote the patch should know.
    pub notes: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Success. Updated the following files:\n")?;
        self.files.iter().try_for_each(|(letter, path)| writeln!(formatter, "{letter} {}", shown(path)))?;
        self.notes.iter().try_for_each(|note| writeln!(formatter, "note: {note}"))
    }
}

/// Carries out a plan.
///
/// Each new content is first written beside its file; then every file is exchanged with its successor, by one rename each,
/// which leaves the old one under the other name until all are done.
///
/// # Errors
///
/// [`ApplyError`]; what was done by then is taken back.
pub fn apply(plan: Plan) -> Result<Summary, ApplyError> {
    let mut work = Work::default();
    let outcome = plan.entries.iter().try_for_each(|entry| work.prepare(entry)).and_then(|()| work.commit());
    match outcome {
        Ok(()) => {
            work.clear();
            Ok(Summary { files: plan.told, notes: plan.notes })
        }
        Err(why) => Err(ApplyError { why, left: work.take_back() }),
    }
}

/// Everything that is under way.
#[derive(Default)]
struct Work<'p> {
    steps: Vec<Step<'p>>,
    /// Directories that were made: where, and the name.
    made: Vec<(OwnedFd, OsString)>,
}

/// One file.
struct Step<'p> {
    entry: &'p Entry,
    directory: OwnedFd,
    /// The name beside it. Before the rename it has the new content, afterwards the old one.
    beside: OsString,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The new content is beside the file, where there is one.
    Prepared,
    /// It is in place, and what was there is beside it.
    Exchanged,
    /// It is in place, where nothing was.
    Placed,
    /// What was there is beside it, and nothing in its place.
    Removed,
}

impl<'p> Work<'p> {
    fn prepare(&mut self, entry: &'p Entry) -> Result<(), ApplyFailure> {
        if entry.before.is_none() && entry.after.is_none() {
            return Ok(());
        }
        let mut directory = entry.parent.deepest.try_clone().map_err(|error| failed(entry, "dup", &error))?;
        for name in &entry.parent.missing {
            match mkdirat(directory.as_fd(), name.as_os_str(), Mode::from_bits_truncate(0o777)) {
                Ok(()) => {
                    let above = directory.try_clone().map_err(|error| failed(entry, "dup", &error))?;
                    self.made.push((above, name.clone()));
                }
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(entry.place.refused("mkdirat")(errno).into()),
            }
            directory =
                Parent::enter(&directory, name).map_err(|errno| entry.place.refused("openat")(errno))?;
        }
        let beside = match &entry.after {
            Some(after) => write_beside(directory.as_fd(), entry, after)?,
            None => free_name(directory.as_fd(), entry)?,
        };
        self.steps.push(Step { entry, directory, beside, state: State::Prepared });
        Ok(())
    }

    fn commit(&mut self) -> Result<(), ApplyFailure> {
        self.steps.iter_mut().try_for_each(Step::commit)
    }

    /// Removes what was replaced. Where that fails, a file is left over, and everything else as it should be.
    fn clear(self) {
        for step in &self.steps {
            if matches!(step.state, State::Exchanged | State::Removed)
                && let Err(errno) =
                    unlinkat(step.directory.as_fd(), step.beside.as_os_str(), UnlinkatFlags::NoRemoveDir)
            {
                tracing::warn!("{}: left over: {errno}", shown(&step.beside));
            }
        }
    }

    /// Undoes everything, last things first. Names what could not be undone.
    fn take_back(mut self) -> Vec<String> {
        let mut left = Vec::new();
        for step in self.steps.iter_mut().rev() {
            if let Err(errno) = step.take_back() {
                left.push(format!("{} ({errno:?})", shown(&step.entry.place.path)));
            }
        }
        for (directory, name) in self.made.iter().rev() {
            match unlinkat(directory.as_fd(), name.as_os_str(), UnlinkatFlags::RemoveDir) {
                // Somebody uses it already.
                Ok(()) | Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOENT) => {}
                Err(errno) => left.push(format!("{} ({errno:?})", shown(name))),
            }
        }
        left
    }
}

impl Step<'_> {
    fn name(&self) -> &OsStr {
        &self.entry.place.name
    }

    fn rename(&self, from: &OsStr, to: &OsStr, flags: RenameFlags) -> Result<(), Errno> {
        renameat2(self.directory.as_fd(), from, self.directory.as_fd(), to, flags)
    }

    fn commit(&mut self) -> Result<(), ApplyFailure> {
        let (before, after) = (self.entry.before.as_ref(), self.entry.after.as_ref());
        let done = match (before, after) {
            (Some(_), Some(_)) => {
                match self.rename(&self.beside, self.name(), RenameFlags::RENAME_EXCHANGE) {
                    // A file system that can't exchange: the new one takes the place in a second step.
                    Err(Errno::EINVAL | Errno::ENOSYS) => self.replace_in_two(),
                    other => other.map(|()| State::Exchanged),
                }
            }
            (None, Some(_)) => self.place_new(),
            (Some(_), None) => self.set_aside(&self.beside).map(|()| State::Removed),
            (None, None) => return Ok(()),
        };
        match done {
            Ok(state) => self.state = state,
            // Gone, or come to be, since it was read.
            Err(Errno::ENOENT | Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {
                return Err(ApplyFailure::Changed(self.entry.place.path.clone()));
            }
            Err(errno) => return Err(self.entry.place.refused("renameat2")(errno).into()),
        }
        // What was moved aside has to be what was read.
        if let Some(before) = before {
            let status =
                fstatat(self.directory.as_fd(), self.beside.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
                    .map_err(|errno| self.entry.place.refused("fstatat")(errno))?;
            if Identity::of(&status) != before.identity {
                return Err(ApplyFailure::Changed(self.entry.place.path.clone()));
            }
        }
        Ok(())
    }

    /// Puts the new file where nothing is.
    fn place_new(&self) -> Result<State, Errno> {
        match self.rename(&self.beside, self.name(), RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                let directory = self.directory.as_fd();
                nix::unistd::linkat(
                    directory,
                    self.beside.as_os_str(),
                    directory,
                    self.name(),
                    AtFlags::empty(),
                )?;
                unlinkat(directory, self.beside.as_os_str(), UnlinkatFlags::NoRemoveDir)?;
                Ok(State::Placed)
            }
            other => other.map(|()| State::Placed),
        }
    }

    /// Gives what is there another name, which nobody has.
    fn set_aside(&self, aside: &OsStr) -> Result<(), Errno> {
        match self.rename(self.name(), aside, RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EINVAL | Errno::ENOSYS) => self.rename(self.name(), aside, RenameFlags::empty()),
            other => other,
        }
    }

    fn replace_in_two(&mut self) -> Result<State, Errno> {
        let aside = free_name(self.directory.as_fd(), self.entry).map_err(|_| Errno::EEXIST)?;
        self.set_aside(&aside)?;
        if let Err(errno) = self.rename(&self.beside, self.name(), RenameFlags::empty()) {
            self.rename(&aside, self.name(), RenameFlags::empty())?;
            return Err(errno);
        }
        self.beside = aside;
        Ok(State::Exchanged)
    }

    fn take_back(&mut self) -> Result<(), Errno> {
        let remove = |name: &OsStr| match unlinkat(self.directory.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        };
        match self.state {
            State::Prepared => remove(&self.beside),
            State::Placed => remove(self.name()),
            State::Removed => self.rename(&self.beside, self.name(), RenameFlags::empty()),
            State::Exchanged => match self.rename(&self.beside, self.name(), RenameFlags::RENAME_EXCHANGE) {
                Ok(()) => remove(&self.beside),
                Err(Errno::EINVAL | Errno::ENOSYS) => {
                    self.rename(&self.beside, self.name(), RenameFlags::empty())
                }
                Err(errno) => Err(errno),
            },
        }
    }
}

fn failed(entry: &Entry, call: &'static str, error: &std::io::Error) -> PlaceError {
    entry.place.refused(call)(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// Names that nobody else is likely to have.
fn names() -> impl Iterator<Item = OsString> {
    (0..ATTEMPTS).map(|_| format!(".codex-patch-{}", uuid::Uuid::now_v7().simple()).into())
}

fn free_name(directory: BorrowedFd<'_>, entry: &Entry) -> Result<OsString, PlaceError> {
    let is_free = |name: &OsString| {
        fstatat(directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).err() == Some(Errno::ENOENT)
    };
    names().find(is_free).ok_or_else(|| entry.place.refused("fstatat")(Errno::EEXIST))
}

/// Writes the new content beside the file.
fn write_beside(directory: BorrowedFd<'_>, entry: &Entry, after: &After) -> Result<OsString, PlaceError> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // Until it is whole, nobody else has business with it; one that comes to be gets what the process's mask leaves.
    let mode = if after.mode.is_some() { Mode::S_IRUSR | Mode::S_IWUSR } else { after.mode() };
    for name in names() {
        let file = match openat(directory, name.as_os_str(), flags, mode) {
            Ok(file) => file,
            Err(Errno::EEXIST) => continue,
            Err(errno) => return Err(entry.place.refused("openat")(errno)),
        };
        return match fill(file, entry, after) {
            Ok(()) => Ok(name),
            Err(error) => {
                if let Err(errno) = unlinkat(directory, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
                    tracing::warn!("{}: left over: {errno}", shown(&name));
                }
                Err(error)
            }
        };
    }
    Err(entry.place.refused("openat")(Errno::EEXIST))
}

fn fill(file: OwnedFd, entry: &Entry, after: &After) -> Result<(), PlaceError> {
    let mut file = File::from(file);
    file.write_all(&after.bytes).map_err(|error| failed(entry, "write", &error))?;
    let own = (Uid::effective().as_raw(), nix::unistd::Gid::effective().as_raw());
    if let Some((uid, gid)) = after.owner.filter(|owner| *owner != own) {
        // Only root can, and a file of one's own is no worse.
        match fchown(file.as_fd(), Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
            Ok(()) | Err(Errno::EPERM | Errno::EINVAL) => {}
            Err(errno) => return Err(entry.place.refused("fchown")(errno)),
        }
    }
    if after.mode.is_some() {
        fchmod(file.as_fd(), after.mode()).map_err(|errno| entry.place.refused("fchmod")(errno))?;
    }
    Ok(())
}
