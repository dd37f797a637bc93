use std::os::fd::{AsRawFd as _, OwnedFd};

use codex_linux_sandbox::Act;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use super::netlink::HEADER;
use super::*;

const RECORDED: &str = include_str!("../../denial/kernel_log/alone.txt");
/// The process that took on the domain in the recording, and when that begins.
const PROCESS: i32 = 2641;
const BEGAN: Duration = Duration::from_secs(1_795_783_312);

/// How many records the kernel has lost.
const LOST: u32 = 7;

/// An answer to how auditing is set up, as a kernel (6.18) gave it: enabled, a failure printed, 64 records waiting at most,
/// and as many as are said; seven were lost.
fn status(enabled: u32, failure: u32, limit: u32, backlog: u32) -> Vec<u8> {
    let words = [0, enabled, failure, 0, 0, limit, LOST, backlog, 127, 15000, 0];
    words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect()
}

/// The kernel's end of a socket.
struct Kernel(OwnedFd);

impl Kernel {
    fn says(&self, kind: u16, text: &[u8]) {
        let mut message = vec![0; HEADER];
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(text);
        send(self.0.as_raw_fd(), &message, MsgFlags::empty()).unwrap();
    }

    fn writes(&self, lines: &str) {
        for line in lines.lines() {
            let (kind, text) = line.split_once(' ').unwrap();
            self.says(kind.parse().unwrap(), text.as_bytes());
        }
    }

    /// Waits until somebody asks how auditing is set up.
    fn is_asked(&self) {
        let mut question = [0; 64];
        let length = recv(self.0.as_raw_fd(), &mut question, MsgFlags::empty()).unwrap();
        assert_eq!(question[..length], [16, 0, 0, 0, 0xe8, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}

/// A log that is kept at the other end of a socket, for a call of the process in the recording.
fn log() -> (KernelLog, Kernel) {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let never_wait = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(&ours, never_wait).unwrap();
    let mut log = KernelLog::over(ours, "/usr/bin/codex".into(), (BEGAN, Instant::now()), LOST).unwrap();
    let process = Arc::new(OnceLock::new());
    process.set(PROCESS).unwrap();
    log.follow(process);
    // Whoever is to answer does, however busy the machine is.
    log.patience = Duration::from_secs(600);
    (log, Kernel(theirs))
}

fn an_hour_later() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

#[tokio::test]
async fn what_the_kernel_had_not_told_yet_is_waited_for() {
    let (log, kernel) = log();
    let mut parts = RECORDED.split_inclusive('\n');
    let first: String = parts.by_ref().take(4).collect();
    kernel.writes(&first);
    let rest: String = parts.collect();
    let told = std::thread::spawn(move || {
        kernel.is_asked();
        kernel.says(STATUS, &status(1, 1, 64, 40));
        kernel.is_asked();
        kernel.writes(&rest);
        kernel.says(STATUS, &status(1, 1, 64, 0));
        kernel
    });
    let (attempts, untold) = log.finish(an_hour_later(), true).await;
    assert_eq!((attempts.iter().map(|attempt| attempt.count).sum::<u64>(), untold), (17, 0));
    assert!(attempts.iter().any(|attempt| attempt.act == Act::Signal && attempt.errno == Errno::EPERM));
    told.join().unwrap();
}

#[tokio::test]
async fn what_comes_while_the_command_runs_is_read() {
    let (mut log, kernel) = log();
    let (done, mut written) = tokio::sync::oneshot::channel();
    let writing = std::thread::spawn(move || {
        kernel.writes(RECORDED);
        // Far more than a socket holds: it waits until somebody reads.
        for _ in 0..2000 {
            kernel.writes(
                "1300 audit(1795783313.000:1): arch=c000003e syscall=257 success=yes exit=3 pid=1 comm=\"a\"",
            );
        }
        done.send(()).unwrap();
        kernel.is_asked();
        kernel.says(STATUS, &status(1, 1, 64, 0));
        kernel
    });
    tokio::select! {
        never = log.listen() => match never {},
        written = &mut written => written.unwrap(),
    }
    let (attempts, untold) = log.finish(an_hour_later(), true).await;
    assert_eq!((attempts.len(), untold), (9, 0));
    writing.join().unwrap();
}

#[tokio::test]
async fn what_the_kernel_has_lost_is_counted_by_it() {
    let (mut log, kernel) = log();
    log.lost = LOST - 1;
    let (refusals, count) = RECORDED.split_at(RECORDED.rfind("1424").unwrap());
    // Ten of them never come.
    let some: String = refusals.split_inclusive('\n').filter(|line| !line.contains(":99")).collect();
    let (some, count) = (some, count.to_owned());
    let telling = std::thread::spawn(move || {
        kernel.writes(&some);
        kernel.is_asked();
        kernel.says(STATUS, &status(1, 1, 64, 0));
        // Later, and waited for.
        kernel.writes(&count);
        kernel
    });
    let (_, untold) = log.finish(an_hour_later(), true).await;
    assert_eq!(untold, 10);
    telling.join().unwrap();
}

#[tokio::test]
async fn nobody_is_waited_for_in_vain() {
    let (mut log, kernel) = log();
    log.patience = Duration::from_millis(1);
    kernel.writes(RECORDED);
    // Whether all has come, nobody says.
    let (attempts, untold) = log.finish(an_hour_later(), true).await;
    assert_eq!((attempts.len(), untold), (9, 0));
    kernel.is_asked();
    // Nothing was wanted, and nobody was there.
    let (log, kernel) = self::log();
    drop(kernel);
    assert_eq!(log.finish(an_hour_later(), false).await, (Vec::new(), 0));
}

#[test]
fn where_a_command_could_do_harm_by_it_nobody_listens() {
    let can_be_used = |enabled, failure, limit, backlog| {
        Status::parse(&status(enabled, failure, limit, backlog)).unwrap().can_be_used()
    };
    assert!(can_be_used(1, 1, 64, 0));
    assert!(can_be_used(2, 0, 8192, 4096), "the rules of auditing are locked");
    assert!(!can_be_used(0, 1, 64, 0), "off");
    assert!(!can_be_used(1, 2, 8192, 0), "a lost record stops the machine");
    assert!(!can_be_used(1, 1, 0, 0), "the queue has no end");
    assert!(!can_be_used(1, 1, 64, 33), "the kernel is behind");
    assert_eq!(Status::parse(&status(1, 1, 64, 0)[..31]), None);
}
