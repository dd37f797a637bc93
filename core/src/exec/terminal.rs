//! A terminal of the command's own: a pair of pseudo-terminals, whose master is ours.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::{grantpt, posix_openpt, unlockpt};

use super::sys;

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Default for TerminalSize {
    /// 24 lines of 80 characters.
    fn default() -> Self {
        Self { rows: 24, columns: 80 }
    }
}

impl TerminalSize {
    /// The size of a terminal. Nothing where it is none, or nobody has said how large it is.
    #[must_use]
    pub fn of(terminal: BorrowedFd<'_>) -> Option<Self> {
        sys::terminal_size(terminal).ok().filter(|size| size.rows > 0 && size.columns > 0)
    }
}

/// Makes a pair: the master, which never waits, and the slave, both close-on-exec (`pty(7)`).
///
/// The slave is opened by way of the master and not by its name, so that it is the right one whatever is mounted at
/// `/dev/pts` (`TIOCGPTPEER`, Linux 4.13).
pub(super) fn pair(size: TerminalSize) -> Result<(OwnedFd, OwnedFd), (&'static str, Errno)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = posix_openpt(flags).map_err(|errno| ("posix_openpt", errno))?;
    // Older C libraries drop the flag.
    fcntl(&master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|errno| ("fcntl", errno))?;
    grantpt(&master).map_err(|errno| ("grantpt", errno))?;
    unlockpt(&master).map_err(|errno| ("unlockpt", errno))?;
    let slave = sys::open_terminal_peer(master.as_fd(), OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .map_err(|errno| ("ioctl(TIOCGPTPEER)", errno))?;
    let master =
        sys::duplicate_above(master.as_fd(), master.as_raw_fd()).map_err(|errno| ("fcntl", errno))?;
    sys::set_terminal_size(master.as_fd(), size).map_err(|errno| ("ioctl(TIOCSWINSZ)", errno))?;
    Ok((master, slave))
}
