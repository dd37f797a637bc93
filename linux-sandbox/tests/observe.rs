//! What an observer does with somebody who does not wait for its answer.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::{Command, Stdio};

use codex_linux_sandbox::{observer_arguments, observer_sockets};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

const HELPER: &str = env!("CARGO_BIN_EXE_codex-linux-sandbox");

/// Asks to be followed, as a command's process does: `ask.py SOCKET PATIENCE`. Says whether it is, once the observer is gone or
/// has answered, and then whether it is still there.
const ASK: &str = r#"
import ctypes, os, socket, sys
number = int(sys.argv[1])
observer = int.from_bytes(os.read(number, 4), sys.byteorder)
# PR_SET_PTRACER, for Yama
ctypes.CDLL(None).prctl(0x59616d61, observer, 0, 0, 0)
if sys.argv[2] != "waits":
    # It asks, and takes no answer: as if it had come too late.
    asking = socket.socket(fileno=number)
    asking.shutdown(socket.SHUT_RD)
    number = asking.detach()
os.write(number, bytes(4))
if sys.argv[2] == "waits":
    assert os.read(number, 4) == bytes(4)
os.close(number)
if sys.argv[2] != "waits":
    print("gone on", flush=True)
    sys.stdin.readline()
tracer = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("TracerPid"))
print("followed" if tracer == str(observer) else "free", flush=True)
sys.exit(7)
"#;

/// What comes of who asks, and of the observer.
fn ask(patience: &str) -> (Vec<String>, Option<i32>, Option<i32>) {
    let (observers, commands) = observer_sockets().unwrap();
    let log = File::from(memfd_create(c"log", MFdFlags::MFD_CLOEXEC).unwrap());
    for inherited in [observers.as_fd(), commands.as_fd(), log.as_fd()] {
        fcntl(inherited, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    }
    let parent = i32::try_from(std::process::id()).unwrap();
    let arguments =
        observer_arguments(observers.as_raw_fd(), log.as_raw_fd(), parent, false, Vec::new(), Vec::new());
    // It has no end of the socket but its own.
    fcntl(&commands, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    let mut observer = Command::new(HELPER).args(arguments).spawn().unwrap();
    drop(observers);
    fcntl(&commands, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let number = commands.as_raw_fd().to_string();
    let mut asks = Command::new("python3")
        .args(["-c", ASK, &number, patience])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(commands);
    let mut lines = BufReader::new(asks.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    if patience != "waits" {
        said.push(lines.next().unwrap().unwrap());
        // It has been decided what becomes of it.
        let ended = observer.wait().unwrap().code();
        asks.stdin.take().unwrap().write_all(b"\n").ok();
        said.extend(lines.map(Result::unwrap));
        return (said, asks.wait().unwrap().code(), ended);
    }
    said.extend(lines.map(Result::unwrap));
    let ended = asks.wait().unwrap().code();
    (said, ended, observer.wait().unwrap().code())
}

#[test]
fn who_has_given_up_waiting_does_not_end_with_the_observer() {
    if !Command::new("python3").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    {
        assert!(std::env::var_os("CI").is_none(), "not tested: python3 is not installed");
        eprintln!("\n=== SKIPPED: python3 is not installed ===\n");
        return;
    }
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(ask("waits"), (words(&["followed"]), Some(7), Some(0)));
    assert_eq!(ask("goes"), (words(&["gone on", "free"]), Some(7), Some(0)));
}
