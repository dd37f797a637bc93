//! A named pipe, by which a command says that it lives, and by which its end is seen.

#![allow(dead_code, reason = "not every suite needs all of it")]

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use crate::runs::PATIENCE;

/// The reading end of a named pipe. The kernel closes a writer's end when the writer dies, whoever its parent is by
/// then: the end of the stream is the end of all writers.
pub(crate) struct Fifo {
    path: PathBuf,
    reader: File,
}

impl Fifo {
    /// Makes one in a directory.
    pub(crate) fn create(directory: &Path) -> Self {
        let path = directory.join("fifo");
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        // Without waiting for a writer to come.
        let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        Self { path, reader }
    }

    /// Its path, for the command.
    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Waits until a writer has said something, and takes it.
    pub(crate) fn said(&mut self) -> String {
        self.wait(PollFlags::POLLIN, "no command has said anything");
        let mut bytes = [0; 4096];
        let count = self.reader.read(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    /// Waits until every writer is gone. Whatever they said has to be taken before.
    pub(crate) fn ended(&mut self) {
        self.wait(PollFlags::POLLHUP, "a process of the command lives on");
        assert_eq!(self.reader.read(&mut [0; 1]).unwrap(), 0, "a writer said something more");
    }

    fn wait(&self, what: PollFlags, failure: &str) {
        let mut ends = [PollFd::new(self.reader.as_fd(), what)];
        let ready = poll(&mut ends, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
        assert!(ready == 1 && ends[0].revents().unwrap().intersects(what), "{failure}");
    }
}
