//! A process outside of every sandbox, for others to reach for.

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{Policy, Run, Running, Scene};

/// A process of the case's identity, outside of every sandbox, with `outside/` as its directory and a secret in its
/// environment. It answers as long as it lives.
#[derive(Debug)]
pub struct Victim {
    running: Running,
}

impl Victim {
    /// The variable of its environment that nobody else may see.
    pub const SECRET: (&str, &str) = ("VICTIM_NOTE", "for-nobody-else");

    pub(super) fn start(scene: &Scene) -> Self {
        let mut running = scene
            .under(Policy::Bare)
            .probe(["victim"])
            .directory(scene.outside())
            .env(Self::SECRET.0, Self::SECRET.1)
            .open_input()
            .start();
        let ready = running.line();
        assert_eq!(ready.as_deref(), Some("ready"), "the victim started");
        Self { running }
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.running.pid()
    }

    /// Whether it still answers. A signal sent before this call has ended it by now, or never will.
    pub fn answers(&mut self) -> bool {
        self.running.send(b"?\n") && self.running.line().as_deref() == Some("here")
    }

    /// Waits for its end, and tells which signal it was.
    #[must_use]
    pub fn ended_by(self) -> Option<Signal> {
        self.finish().signal()
    }

    fn finish(self) -> Run {
        self.running.finish()
    }
}
