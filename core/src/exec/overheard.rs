//! Standard error of a command that has the caller's own streams, heard on its way: what a command says of a failure tells what
//! it was refused.
//!
//! ```text
//! the command ──▶ a pipe of ours ──▶ this process ──▶ the caller's pipe or socket
//! ```
//!
//! Only where the command can't tell it from what it would have without us. A file stays the command's own, and is read when
//! all is over. A terminal is left alone: to a program it is more than where bytes go.

mod passage;

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::socket::{SockType, SockaddrStorage, getpeername, getsockopt, sockopt};
use nix::sys::stat::{FileStat, Mode, fstat};
use nix::sys::uio::pread;
use nix::unistd::{Whence, dup2_stderr, dup2_stdout, lseek};

use super::error::ExecError;
use super::spawn;
pub(super) use passage::Passage;

/// The standard error of this process, by its name. Opened, it is the same pipe or file with a state of its own
/// (`proc_pid_fd(5)`).
const STANDARD_ERROR: &str = "/proc/self/fd/2";
/// How much of a file is read for what was said in it, from its beginning and from its end.
const READ_BACK: usize = 20 * 1024;

/// What stands ready to hear what a command writes to this process's standard error.
#[derive(Debug)]
pub struct Overheard(Way);

#[derive(Debug)]
enum Way {
    /// What comes passes through this process.
    Through { way_in: Arc<WayIn>, tap: OwnedFd, onward: Onward },
    /// What comes is in a file, from there on.
    Into { from: i64 },
}

/// Where what has come goes.
#[derive(Debug)]
enum Onward {
    /// A pipe, opened anew so that writing never waits: the caller's own opening is shared with whoever else has it.
    Pipe(OwnedFd),
    /// A socket, which can be asked not to wait.
    Socket(OwnedFd),
}

impl Overheard {
    /// Looks at this process's standard error, and at its standard output, which goes the same way where both are one pipe:
    /// their order is kept. Nothing where it is neither a pipe, a stream socket nor a file, or can't be had a second time; nor where
    /// a command can read from it as well: a pipe that is open for that, a socket that is its standard input too.
    ///
    /// To be called before a command is started that shares the streams, and where no other thread writes to them. Blocks
    /// `SIGPIPE` for this thread: that nobody reads any more is the command's business.
    #[must_use]
    pub fn begin() -> Option<Self> {
        let (stderr, stdout) = (std::io::stderr(), std::io::stdout());
        let found = fstat(&stderr).ok()?;
        let is_the_same = |other: FileStat| (other.st_dev, other.st_ino) == (found.st_dev, found.st_ino);
        let onward = match found.st_mode & libc::S_IFMT {
            libc::S_IFREG => return Some(Self(Way::Into { from: end_of_what_is_there(&found)? })),
            libc::S_IFIFO if is_only_written(stderr.as_fd()) => {
                let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
                Onward::Pipe(open(STANDARD_ERROR, flags, Mode::empty()).ok()?)
            }
            libc::S_IFSOCK
                if getsockopt(&stderr, sockopt::SockType) == Ok(SockType::Stream)
                    && has_a_peer(stderr.as_fd())
                    && !fstat(std::io::stdin()).is_ok_and(is_the_same) =>
            {
                Onward::Socket(stderr.as_fd().try_clone_to_owned().ok()?)
            }
            _ => return None,
        };
        let both = fstat(&stdout).is_ok_and(is_the_same);
        let own_stdout = if both { Some(stdout.as_fd().try_clone_to_owned().ok()?) } else { None };
        let (tap, end) = spawn::status_pipe().ok()?;
        let readers = SigSet::from_iter([Signal::SIGPIPE]);
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&readers), None).ok()?;
        let own_stderr = stderr.as_fd().try_clone_to_owned().ok()?;
        Some(Self(Way::Through { way_in: Arc::new(WayIn { end, own_stderr, own_stdout }), tap, onward }))
    }

    /// Does something that forks, so that what is forked has the way in for its standard error.
    pub fn lend<T>(&self, start: impl FnOnce() -> T) -> T {
        match &self.0 {
            Way::Through { way_in, .. } => way_in.lend(start),
            Way::Into { .. } => start(),
        }
    }

    /// Begins to hear. To be called in a runtime.
    pub(super) fn hear(self) -> Result<Hearing, ExecError> {
        match self.0 {
            Way::Through { way_in, tap, onward } => Passage::begin(tap, onward)
                .map(|passage| Hearing::Passing { way_in, passage: Box::new(passage) }),
            Way::Into { from } => Ok(Hearing::Written { from }),
        }
    }
}

/// Whether a descriptor can be written to and not read from.
fn is_only_written(descriptor: BorrowedFd<'_>) -> bool {
    let flags = fcntl(descriptor, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    flags.is_ok_and(|flags| flags & OFlag::O_ACCMODE == OFlag::O_WRONLY)
}

/// Whether a socket is connected: one that listens takes nothing, and never says so to who waits.
fn has_a_peer(socket: BorrowedFd<'_>) -> bool {
    getpeername::<SockaddrStorage>(socket.as_raw_fd()).is_ok()
}

/// Where what is written to a file now will stand.
fn end_of_what_is_there(file: &FileStat) -> Option<i64> {
    let stderr = std::io::stderr();
    let flags = OFlag::from_bits_retain(fcntl(&stderr, FcntlArg::F_GETFL).ok()?);
    if flags.contains(OFlag::O_APPEND) { Some(file.st_size) } else { lseek(&stderr, 0, Whence::SeekCur).ok() }
}

/// The end of a pipe that stands for this process's own streams while a command is started.
#[derive(Debug)]
pub(super) struct WayIn {
    end: OwnedFd,
    own_stderr: OwnedFd,
    /// Where it is the same as standard error.
    own_stdout: Option<OwnedFd>,
}

impl WayIn {
    /// As [`Overheard::lend`]. Where the streams can't be exchanged, the command has the caller's own.
    pub(super) fn lend<T>(&self, start: impl FnOnce() -> T) -> T {
        exchange(&self.end, self.own_stdout.as_ref().map(|_own| &self.end));
        let started = start();
        exchange(&self.own_stderr, self.own_stdout.as_ref());
        started
    }
}

/// Puts these in the place of standard error and, where one is named, of standard output: each whatever becomes of the other.
fn exchange(stderr: &OwnedFd, stdout: Option<&OwnedFd>) {
    let errors = surely(|| dup2_stderr(stderr));
    let output = stdout.map_or(Ok(()), |stdout| surely(|| dup2_stdout(stdout)));
    if let Err(errno) = errors.and(output) {
        tracing::warn!(%errno, "standard error can't be exchanged");
    }
}

/// Calls until it is no longer the moment that is wrong: `dup2(2)`, `EBUSY` and `EINTR`.
fn surely(call: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    loop {
        match call() {
            Err(Errno::EBUSY | Errno::EINTR) => {}
            done => return done,
        }
    }
}

/// What is heard of a command while it runs.
pub(super) enum Hearing {
    Passing { way_in: Arc<WayIn>, passage: Box<Passage> },
    Written { from: i64 },
}

impl Hearing {
    /// What a command is to be started with.
    pub(super) fn way_in(&self) -> Option<Arc<WayIn>> {
        match self {
            Self::Passing { way_in, .. } => Some(Arc::clone(way_in)),
            Self::Written { .. } => None,
        }
    }

    /// Hands on what has come. Never ready where nothing passes.
    pub(super) async fn tend(&mut self) {
        match self {
            Self::Passing { passage, .. } => passage.tend().await,
            Self::Written { .. } => std::future::pending().await,
        }
    }

    /// Hands on what is left, of a command that has ended.
    pub(super) async fn rest(&mut self) {
        if let Self::Passing { passage, .. } = self {
            passage.rest().await;
        }
    }

    /// The beginning and the end of what was heard.
    pub(super) fn said(&self) -> Vec<u8> {
        match self {
            Self::Passing { passage, .. } => passage.heard(),
            Self::Written { from } => read_back(*from),
        }
    }
}

/// What stands in the file that is this process's standard error, from there on. Nothing where it can't be read.
fn read_back(from: i64) -> Vec<u8> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let Ok(file) = open(STANDARD_ERROR, flags, Mode::empty()) else { return Vec::new() };
    let Ok(found) = fstat(&file) else { return Vec::new() };
    if found.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Vec::new();
    }
    let half = i64::try_from(READ_BACK).unwrap_or(i64::MAX);
    let middle = from.saturating_add(half).max(found.st_size.saturating_sub(half));
    let mut said = piece(&file, from);
    if middle < found.st_size {
        // What is missing in between ends a line.
        said.push(b'\n');
        said.extend(piece(&file, middle));
    }
    said
}

fn piece(file: &OwnedFd, from: i64) -> Vec<u8> {
    let mut piece = vec![0; READ_BACK];
    let count = pread(file, &mut piece, from).unwrap_or(0);
    piece.truncate(count);
    piece
}
