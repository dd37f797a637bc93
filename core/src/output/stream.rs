//! Which stream bytes came from.

use serde::Serialize;

/// A stream of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The terminal of a command that runs in one: both in one.
    Pty,
}

impl OutputStream {
    /// All of them, in the order of [`StreamCounts`].
    pub const ALL: [Self; 3] = [Self::Stdout, Self::Stderr, Self::Pty];
}

/// A number of bytes for each stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamCounts {
    /// Of standard output.
    pub stdout: u64,
    /// Of standard error.
    pub stderr: u64,
    /// Of the terminal.
    pub pty: u64,
}

impl StreamCounts {
    /// All bytes.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.stdout + self.stderr + self.pty
    }

    /// The bytes of one stream.
    #[must_use]
    pub const fn of(&self, stream: OutputStream) -> u64 {
        match stream {
            OutputStream::Stdout => self.stdout,
            OutputStream::Stderr => self.stderr,
            OutputStream::Pty => self.pty,
        }
    }

    pub(super) const fn of_mut(&mut self, stream: OutputStream) -> &mut u64 {
        match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
            OutputStream::Pty => &mut self.pty,
        }
    }

    /// How many more these are than others, which are not more in any stream.
    pub(super) const fn since(&self, earlier: &Self) -> Self {
        Self {
            stdout: self.stdout.saturating_sub(earlier.stdout),
            stderr: self.stderr.saturating_sub(earlier.stderr),
            pty: self.pty.saturating_sub(earlier.pty),
        }
    }
}
