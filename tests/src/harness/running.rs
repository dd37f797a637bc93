//! A run in progress, and a run that ended.

use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::{Invocation, Policy, Snapshot, Verdict};

/// How long a run may take before the harness ends it and fails the test. No healthy run comes near.
const LIMIT: Duration = Duration::from_secs(60);

/// What happens to a running command.
enum Event {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    StdoutEnded,
    StderrEnded,
    Exited,
}

/// A command that was started. Dropped before it ended, it is killed with its whole group.
#[derive(Debug)]
pub struct Running {
    invocation: Invocation,
    child: Child,
    pid: Pid,
    input: Option<ChildStdin>,
    events: Receiver<Event>,
    deadline: Instant,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    lines_taken: usize,
    open_streams: u8,
    exited: bool,
    reaped: bool,
}

impl Running {
    pub(super) fn new(invocation: Invocation, mut child: Child, bytes: Option<Vec<u8>>) -> Self {
        let (sender, events) = channel();
        let pid = Pid::from_raw(child.id().try_into().expect("a pid fits"));
        if let Some(stdout) = child.stdout.take() {
            drain(stdout, sender.clone(), Event::Stdout, Event::StdoutEnded);
        }
        if let Some(stderr) = child.stderr.take() {
            drain(stderr, sender.clone(), Event::Stderr, Event::StderrEnded);
        }
        thread::spawn(move || {
            // Without reaping: the pid stays ours, so that a signal never hits a stranger.
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(pid), flags) == Err(nix::errno::Errno::EINTR) {}
            // The receiver is gone where the test has failed already.
            drop(sender.send(Event::Exited));
        });
        let mut input = child.stdin.take();
        if let Some(bytes) = bytes
            && let Some(mut pipe) = input.take()
        {
            // A command may leave its input unread; that is no failure of the run.
            thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        Self {
            invocation,
            child,
            pid,
            input,
            events,
            deadline: Instant::now() + LIMIT,
            stdout: Vec::new(),
            stderr: Vec::new(),
            lines_taken: 0,
            open_streams: 2,
            exited: false,
            reaped: false,
        }
    }

    /// The process that was started.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Writes to stdin, which [`Invocation::open_input`] kept open; `false` where nobody reads any more.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.input.as_mut().is_some_and(|pipe| pipe.write_all(bytes).and_then(|()| pipe.flush()).is_ok())
    }

    /// Closes stdin.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Sends a signal to the process that was started, and to nothing else.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("signal the run");
    }

    /// Sends a signal to the whole group, as a terminal does for Ctrl-C.
    pub fn signal_group(&self, signal: Signal) {
        killpg(self.pid, signal).expect("signal the run's group");
    }

    /// The next line of stdout, without its end; `None` where the stream ended first.
    ///
    /// # Panics
    ///
    /// Where neither comes in time.
    pub fn line(&mut self) -> Option<String> {
        loop {
            let rest = self.stdout.get(self.lines_taken..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
                self.lines_taken += end + 1;
                return Some(line);
            }
            if self.open_streams == 0 {
                return None;
            }
            self.step("a line");
        }
    }

    /// Waits until the process ended, whatever still holds its streams.
    ///
    /// # Panics
    ///
    /// Where it doesn't end in time.
    pub fn wait_for_exit(&mut self) {
        while !self.exited {
            self.step("its end");
        }
    }

    /// Waits until the process ended and nobody holds its streams any more: none of its descendants is alive then.
    ///
    /// # Panics
    ///
    /// Where that doesn't happen in time.
    pub fn finish(mut self) -> Run {
        self.input = None;
        while !self.exited || self.open_streams > 0 {
            self.step(if self.exited { "the end of its output" } else { "its end" });
        }
        self.reaped = true;
        let status = self.child.wait().expect("reap the run");
        Run {
            status,
            stdout: std::mem::take(&mut self.stdout),
            stderr: std::mem::take(&mut self.stderr),
            description: self.invocation.describe(),
            policy: self.invocation.policy,
            scene_root: self.invocation.scene_root.clone(),
        }
    }

    fn step(&mut self, awaited: &str) {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.events.recv_timeout(left) {
            Ok(Event::Stdout(bytes)) => self.stdout.extend(bytes),
            Ok(Event::Stderr(bytes)) => self.stderr.extend(bytes),
            Ok(Event::StdoutEnded | Event::StderrEnded) => self.open_streams -= 1,
            Ok(Event::Exited) => self.exited = true,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let streams = describe_streams(&self.stdout, &self.stderr);
                panic!("waited {LIMIT:?} for {awaited}\n{}{streams}", self.invocation.describe());
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            // Nothing is left to report to: the test is over, or failing already.
            killpg(self.pid, Signal::SIGKILL).ok();
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Reads a stream to its end on a thread of its own, so that a full pipe never stops the command.
fn drain(
    mut stream: impl Read + Send + 'static,
    sender: Sender<Event>,
    chunk: fn(Vec<u8>) -> Event,
    end: Event,
) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if sender.send(chunk(buffer.get(..count).unwrap_or_default().to_vec())).is_err() {
                return;
            }
        }
        drop(sender.send(end));
    });
}

/// A run that ended.
#[derive(Debug)]
pub struct Run {
    status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: Vec<u8>,
    description: String,
    policy: Option<Policy>,
    scene_root: std::path::PathBuf,
}

impl Run {
    /// The exit code, where no signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    #[must_use]
    pub fn signal(&self) -> Option<Signal> {
        self.status.signal().and_then(|number| Signal::try_from(number).ok())
    }

    /// stdout as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// stderr as text.
    #[must_use]
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// What became of the probe that was run. `codex` passes a signal on as 128 and its number.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let sandboxed = self.policy != Some(Policy::Bare);
        let passed_on = self
            .code()
            .filter(|code| sandboxed && *code > 128)
            .and_then(|code| Signal::try_from(code - 128).ok());
        let ending = format!("{}, stderr: {}", self.status, self.error_text().trim_end());
        Verdict::read(&self.stdout, self.signal().or(passed_on), &ending)
    }

    /// The policy's name, for messages.
    #[must_use]
    pub fn policy_name(&self) -> String {
        self.policy.map_or_else(|| "codex".to_owned(), |policy| format!("{policy:?}"))
    }

    /// Fails the test unless it exited with `code`.
    ///
    /// # Panics
    ///
    /// Where it didn't.
    pub fn expect_code(self, code: i32) -> Self {
        if self.code() != Some(code) {
            self.fail(&format!("expected exit code {code}"));
        }
        self
    }

    /// Fails the test, showing the scene.
    ///
    /// # Panics
    ///
    /// Always.
    pub fn fail(&self, why: &str) -> ! {
        panic!("{why}\n{}  scene:\n{}", self.describe(), Snapshot::of(&self.scene_root));
    }

    /// The command, its ending and its output.
    #[must_use]
    pub fn describe(&self) -> String {
        let streams = describe_streams(&self.stdout, &self.stderr);
        format!("{}  ended: {}\n{streams}", self.description, self.status)
    }
}

fn describe_streams(stdout: &[u8], stderr: &[u8]) -> String {
    const SHOWN: usize = 4000;
    let show = |name: &str, bytes: &[u8]| {
        let text =
            String::from_utf8_lossy(bytes.get(..SHOWN.min(bytes.len())).unwrap_or_default()).into_owned();
        let lines: String = text.lines().map(|line| format!("    {line}\n")).collect();
        format!("  {name} ({} bytes):\n{lines}", bytes.len())
    };
    show("stdout", stdout) + &show("stderr", stderr)
}
