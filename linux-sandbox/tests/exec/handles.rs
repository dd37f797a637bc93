//! Commands as handles: written to, read while they run, signalled, in a terminal of their own.

use std::time::Duration;

use codex_core::exec::{
    ExecRequest, InputError, Outcome, Process, Sandbox, SignalError, Stdio, TerminalSize,
};
use codex_core::output::feed::FeedOptions;
use codex_core::output::{FeedReader, OutputStream};
use codex_core::policy::SandboxPolicy;

use crate::runs::{PATIENCE, READ_ONLY, read_only, runtime, sandbox, shell, unrestricted};
use crate::tools::tool;

/// A command that can be followed.
fn followed(line: &str, stdio: Stdio) -> ExecRequest {
    let mut request = shell(line);
    request.stdio = stdio;
    request.feed = Some(Default::default());
    request
}

/// Follows what a command writes.
struct Follower {
    reader: FeedReader,
    /// What has come and was not asked for yet.
    seen: String,
    closed: bool,
}

impl Follower {
    fn of(process: &Process) -> Self {
        Self { reader: process.reader(0).unwrap(), seen: String::new(), closed: false }
    }

    async fn more(&mut self) {
        let read = self.reader.next(usize::MAX).await;
        assert_eq!(read.missed, None);
        for chunk in &read.chunks {
            self.seen.push_str(&String::from_utf8_lossy(&chunk.bytes));
        }
        self.closed = read.closed.is_some();
    }

    /// Waits until the text has come, and takes all up to its end.
    async fn expect(&mut self, text: &str) -> String {
        loop {
            if let Some(place) = self.seen.find(text) {
                let rest = self.seen.split_off(place + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            assert!(!self.closed, "{text:?} never came: {:?}", self.seen);
            let in_time = tokio::time::timeout(PATIENCE, self.more()).await;
            assert!(in_time.is_ok(), "{text:?} did not come: {:?}", self.seen);
        }
    }

    /// All that comes until the end.
    async fn rest(mut self) -> String {
        while !self.closed {
            self.more().await;
        }
        self.seen
    }
}

async fn ending(process: &Process) -> Outcome {
    process.wait().await.as_ref().as_ref().unwrap().outcome.clone()
}

fn each(test: impl AsyncFn(&Sandbox)) {
    for sandbox in [read_only(), unrestricted()] {
        runtime().block_on(test(&sandbox));
    }
}

#[test]
fn what_is_written_arrives_and_ends() {
    each(async |sandbox| {
        let mut request = followed("cat; echo over >&2; exit 3", Stdio::Piped);
        request.feed = Some(FeedOptions { retain: 8_000_000, ..FeedOptions::default() });
        let process = Process::start(request, sandbox);
        assert!(process.started().await);
        let mut screen = Follower::of(&process);
        process.write(b"one\n").await.unwrap();
        screen.expect("one\n").await;
        // More than a pipe and all that waits can hold: the command reads as fast as it can.
        let large = vec![b'x'; 2_000_000];
        process.write(&large).await.unwrap();
        process.close_input();
        assert_eq!(process.write(b"late").await, Err(InputError::Closed));
        let text = screen.rest().await;
        assert_eq!(text.matches('x').count(), large.len());
        assert!(text.ends_with("over\n"), "what came last is last");
        assert_eq!(ending(&process).await, Outcome::Exited { code: 3 });
    });
}

#[test]
fn who_does_not_read_holds_up_the_writer_and_nobody_else() {
    each(async |sandbox| {
        let process = Process::start(followed("exec sleep 1000", Stdio::Piped), sandbox);
        let large = vec![b'x'; 10_000_000];
        let blocked = tokio::time::timeout(Duration::from_millis(200), process.write(&large)).await;
        assert!(blocked.is_err(), "ten megabytes are nowhere");
        process.terminate();
        assert_eq!(ending(&process).await, Outcome::Cancelled);
        assert_eq!(process.write(b"late").await, Err(InputError::Closed));
    });
}

#[test]
fn a_command_that_closes_its_input_is_told_of() {
    each(async |sandbox| {
        let process =
            Process::start(followed("exec <&-; echo closed; exec sleep 1000", Stdio::Piped), sandbox);
        let mut screen = Follower::of(&process);
        screen.expect("closed").await;
        // The first ones may be on their way when it is noticed.
        let mut answer = Ok(());
        while answer.is_ok() {
            answer = process.write(b"x").await;
        }
        assert_eq!(answer, Err(InputError::Closed));
    });
}

#[test]
fn a_command_without_an_input_takes_none() {
    each(async |sandbox| {
        let process = Process::start(followed("cat; echo empty", Stdio::Capture), sandbox);
        assert_eq!(process.write(b"x").await, Err(InputError::None));
        assert_eq!(Follower::of(&process).rest().await, "empty\n");
    });
}

#[test]
fn signals_reach_the_command() {
    each(async |sandbox| {
        let line = "trap 'echo usr1' USR1; trap 'echo int' INT; trap 'exit 7' TERM; echo ready; \
                    while :; do read -r word; done";
        let process = Process::start(followed(line, Stdio::Piped), sandbox);
        let mut screen = Follower::of(&process);
        screen.expect("ready").await;
        for number in [0, -1, 61, 62, 63, 64, 65] {
            assert_eq!(process.signal(number), Err(SignalError::Number(number)));
        }
        process.signal(libc::SIGUSR1).unwrap();
        screen.expect("usr1").await;
        process.interrupt().unwrap();
        screen.expect("int").await;
        process.signal(libc::SIGTERM).unwrap();
        assert_eq!(ending(&process).await, Outcome::Exited { code: 7 });
        process.is_over().await;
        assert_eq!(process.signal(libc::SIGTERM), Err(SignalError::Ended));
    });
}

#[test]
fn an_interrupt_reaches_the_whole_group_and_not_who_left_it() {
    each(async |sandbox| {
        // The shell has its trap before anybody says that they are up. What a shell starts in the background reads nothing.
        let line = "trap 'echo parent' INT; \
                    (trap 'echo child; exit' INT; echo up; while :; do sleep 0.01; done) & \
                    setsid sh -c 'trap \"echo other\" INT; echo up; while :; do sleep 0.01; done' & \
                    wait; wait; echo end";
        let process = Process::start(followed(line, Stdio::Piped), sandbox);
        let mut screen = Follower::of(&process);
        let mut up = String::new();
        while up.matches("up").count() < 2 {
            up.push_str(&screen.expect("\n").await);
        }
        process.interrupt().unwrap();
        let seen = screen.expect("parent").await;
        assert!(!seen.contains("other"), "{seen}");
        process.terminate();
        assert!(!screen.rest().await.contains("other"));
    });
}

#[test]
fn a_terminal_is_one() {
    let Some(stty) = tool("stty") else { return };
    each(async |sandbox| {
        let size = TerminalSize { rows: 33, columns: 111 };
        let line = format!(
            "trap 'echo changed; {stty} size' WINCH; test -t 0 && test -t 1 && test -t 2 && echo all; {stty} size; \
             echo to the terminal > /dev/tty; echo ready; while :; do read -r word && echo got $word; done",
            stty = stty.display()
        );
        let process = Process::start(followed(&line, Stdio::Terminal(size)), sandbox);
        let mut screen = Follower::of(&process);
        let seen = screen.expect("ready").await;
        assert!(seen.contains("all\r\n33 111\r\nto the terminal\r\n"), "{seen:?}");
        process.write(b"hello\r").await.unwrap();
        let seen = screen.expect("got hello").await;
        assert!(seen.contains("hello\r\n"), "what is typed is shown: {seen:?}");
        process.resize(TerminalSize { rows: 44, columns: 55 }).unwrap();
        screen.expect("changed\r\n44 55\r\n").await;
        // The key, and the call.
        process.write(b"\x03").await.unwrap();
        let outcome = ending(&process).await;
        assert_eq!(outcome, Outcome::Signalled { signal: libc::SIGINT, core_dumped: false });
        let read = process.reader(0).unwrap().read(usize::MAX);
        assert!(read.chunks.iter().all(|chunk| chunk.stream == OutputStream::Pty));
    });
}

#[test]
fn a_terminal_ends_its_input_and_interrupts_its_foreground() {
    each(async |sandbox| {
        let process =
            Process::start(followed("cat; echo over", Stdio::Terminal(TerminalSize::default())), sandbox);
        let mut screen = Follower::of(&process);
        process.write(b"line\r").await.unwrap();
        screen.expect("line\r\nline\r\n").await;
        process.close_input();
        screen.expect("over").await;
        assert_eq!(ending(&process).await, Outcome::Exited { code: 0 });

        let line = "trap '' INT; (trap - INT; echo ready; exec sleep 1000); echo went on";
        let process = Process::start(followed(line, Stdio::Terminal(TerminalSize::default())), sandbox);
        let mut screen = Follower::of(&process);
        screen.expect("ready").await;
        // A subshell can't take back what was ignored when its shell was started; this one could, for it was not.
        process.interrupt().unwrap();
        screen.expect("went on").await;
    });
}

/// Jobs of an interactive shell, in the terminal that is the command's own.
#[test]
fn jobs_are_controlled() {
    let Some(bash) = tool("bash") else { return };
    each(async |sandbox| {
        let line = format!("export PS1='PROMPT> '; exec {} --norc --noprofile -i", bash.display());
        let process = Process::start(followed(&line, Stdio::Terminal(TerminalSize::default())), sandbox);
        let mut screen = Follower::of(&process);
        let seen = screen.expect("PROMPT> ").await;
        assert!(!seen.contains("no job control"), "{seen:?}");
        process.write(b"sh -c 'echo up; read -r word; echo got $word'\r").await.unwrap();
        screen.expect("up\r\n").await;
        process.write(b"\x1a").await.unwrap();
        screen.expect("Stopped").await;
        screen.expect("PROMPT> ").await;
        process.write(b"fg\r").await.unwrap();
        // The shell has let go of the terminal when it names the job.
        screen.expect("got $word'\r\n").await;
        process.write(b"on\r").await.unwrap();
        screen.expect("got on").await;
        process.write(b"exit 5\r").await.unwrap();
        assert_eq!(ending(&process).await, Outcome::Exited { code: 5 });
    });
}

#[test]
fn whoever_holds_it_learns_of_a_stop_after_what_was_written_before() {
    each(async |sandbox| {
        // The whole group is stopped, and all of it goes on.
        let line = "trap 'echo back' CONT; echo before; sh -c 'kill -STOP 0; echo child'; echo after";
        let process = Process::start(followed(line, Stdio::Terminal(TerminalSize::default())), sandbox);
        assert!(tokio::time::timeout(PATIENCE, process.stopped()).await.is_ok());
        let read = process.reader(0).unwrap().read(usize::MAX);
        let seen: Vec<u8> = read.chunks.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect();
        assert_eq!(String::from_utf8_lossy(&seen), "before\r\n");
        let mut screen = Follower::of(&process);
        process.resume().unwrap();
        let rest = screen.expect("after\r\n").await;
        assert!(rest.contains("child\r\n"), "{rest:?}");
        assert_eq!(ending(&process).await, Outcome::Exited { code: 0 });
    });
}

#[test]
fn a_stopped_command_ends_at_its_deadline() {
    each(async |sandbox| {
        for stdio in [Stdio::Piped, Stdio::Terminal(TerminalSize::default())] {
            let mut request = followed("kill -STOP $$", stdio);
            request.limits.deadline = Some(Duration::from_millis(300));
            let process = Process::start(request, sandbox);
            assert!(matches!(ending(&process).await, Outcome::TimedOut { .. }));
        }
    });
}

/// A signal that would stop whoever passes it on reaches the command, and it alone.
#[test]
fn a_command_can_be_stopped_and_woken() {
    let Some(bash) = tool("bash") else { return };
    let line = "i=0; while :; do echo tick $i; i=$((i + 1)); read -t 0.01 -r word || :; done";
    each(async |sandbox| {
        let mut request = followed(line, Stdio::Piped);
        request.command = vec![bash.clone().into(), "-c".into(), line.into()];
        let process = Process::start(request, sandbox);
        let mut screen = Follower::of(&process);
        screen.expect("tick 3\n").await;
        process.signal(libc::SIGSTOP).unwrap();
        // What was on its way comes; after that, nothing does.
        while tokio::time::timeout(Duration::from_millis(300), screen.more()).await.is_ok() {
            assert!(screen.seen.lines().count() < 10_000, "it goes on");
        }
        screen.seen.clear();
        process.signal(libc::SIGCONT).unwrap();
        screen.expect("tick").await;
        process.signal(libc::SIGKILL).unwrap();
        let outcome = ending(&process).await;
        assert_eq!(outcome, Outcome::Signalled { signal: libc::SIGKILL, core_dumped: false });
    });
}

#[test]
fn a_handle_that_is_dropped_ends_its_command() {
    let workspace = tempfile::tempdir().unwrap();
    for policy in [READ_ONLY, SandboxPolicy::DangerFullAccess] {
        let sandbox = sandbox(&policy, workspace.path());
        runtime().block_on(async {
            let line = "trap 'echo asked; exit' TERM; echo ready; while :; do sleep 0.01; done";
            let process = Process::start(followed(line, Stdio::Piped), &sandbox);
            let mut screen = Follower::of(&process);
            screen.expect("ready\n").await;
            drop(process);
            // A shell may say that its `sleep` was terminated.
            assert!(screen.rest().await.contains("asked\n"), "it is asked before it is killed");
        });
    }
}

#[test]
fn what_can_not_be_started_says_so() {
    each(async |sandbox| {
        let mut request = followed("true", Stdio::Piped);
        request.command = vec!["/nowhere".into()];
        let process = Process::start(request, sandbox);
        let screen = Follower::of(&process);
        assert!(matches!(ending(&process).await, Outcome::NotExecuted { exit_code: 127, .. }));
        assert_eq!(screen.rest().await, "");
        let mut request = followed("true", Stdio::Piped);
        request.command = Vec::new();
        let process = Process::start(request, sandbox);
        assert!(!process.started().await);
        assert!(process.wait().await.is_err());
    });
}
