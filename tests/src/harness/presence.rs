//! Whether anybody is still there.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, read};

use super::Scene;

/// How long the end of somebody who was killed may take to show.
const PATIENCE_MS: u16 = 20_000;

/// A fifo in the workspace. Whoever holds it open for writing is there; when the last one is gone, the kernel says so.
#[derive(Debug)]
pub struct Presence {
    path: PathBuf,
    reader: File,
}

impl Presence {
    /// Makes the fifo.
    ///
    /// # Panics
    ///
    /// Where it can't be made.
    #[must_use]
    pub fn new(scene: &Scene, name: &str) -> Self {
        let path = scene.workspace().join(name);
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("make a fifo");
        scene.give_away(&path);
        let reader = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .expect("open the fifo for reading");
        Self { path, reader }
    }

    /// The fifo's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether somebody holds it now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        // Nobody there, or nobody there any more, reads as the end of the file; somebody who is silent, as nothing yet.
        read(&self.reader, &mut [0; 1]) == Err(Errno::EAGAIN)
    }

    /// Whether somebody has come, be they gone or not.
    #[must_use]
    pub fn was_held(&self) -> bool {
        let mut now = [PollFd::new(self.reader.as_fd(), PollFlags::empty())];
        let hung_up = poll(&mut now, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
        hung_up || self.is_held()
    }

    /// Whether somebody came, and everybody is gone: waits for that, and says `false` where it doesn't happen.
    #[must_use]
    pub fn ended(&self) -> bool {
        // Before anybody came there is no hang-up to report, so a command that never ran is no success.
        let mut waiting = [PollFd::new(self.reader.as_fd(), PollFlags::empty())];
        poll(&mut waiting, PollTimeout::from(PATIENCE_MS)).is_ok_and(|ready| ready > 0)
            && waiting.iter().any(|one| one.revents().is_some_and(|seen| seen.contains(PollFlags::POLLHUP)))
    }
}
