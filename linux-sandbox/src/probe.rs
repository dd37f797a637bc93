//! Whether this machine gives namespaces. Only trying tells: a dozen settings, modules and filters have a say in it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use crate::enforce;
use crate::enforce::namespaces::{ForkedInit, abandon, fork_init};
use crate::error::{SetupError, Step};
use crate::plan::{Footing, Isolation, Network, Plan, Writes};
use crate::report::{MAX_RECORD, Record};
use crate::sys;

/// How long an attempt may take. It takes a millisecond or two where nothing is wrong.
const PATIENCE: Duration = Duration::from_millis(200);

/// Makes the namespaces of a plan that writes nothing and reaches nothing, arranges the mounts in them, and ends there.
/// Nothing is left behind. To be called while this process has one thread.
///
/// # Errors
///
/// [`SetupError`] as a run would give it; `ETIME` where there was no answer within 200 ms.
pub fn probe_namespaces() -> Result<(), SetupError> {
    let plan = Plan::new(Isolation::Namespaces, Writes::Beneath(Vec::new()), Network::Off);
    let failed = |call, errno| SetupError::call(Step::Namespaces, call, errno);
    let (answer, tell) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed("pipe2", errno))?;
    let pid = match fork_init(Footing::of(&plan))? {
        ForkedInit::Outside(pid, _) => pid,
        ForkedInit::Inside(gate) => {
            let tried = gate
                .pass()
                .and_then(|_| enforce::enter_namespaces(Footing::of(&plan)))
                .and_then(|ground| ground.arrange(&plan, None));
            let record = tried.map_or_else(|error| Record::from(&error).to_line(), |_| b"\n".to_vec());
            let told = File::from(tell).write_all(&record);
            sys::exit_now(i32::from(told.is_err()));
        }
    };
    drop(tell);
    let end = Instant::now() + PATIENCE;
    let answered = loop {
        let left =
            PollTimeout::try_from(end.saturating_duration_since(Instant::now())).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(answer.as_fd(), PollFlags::POLLIN)], left) {
            Err(Errno::EINTR) => {}
            other => break other,
        }
    };
    let mut line = Vec::new();
    let read = match answered {
        // A record is written at once, or not at all.
        Ok(1..) => File::from(answer).take(MAX_RECORD as u64).read_to_end(&mut line),
        _ => Ok(0),
    };
    // It has ended by itself, or never will.
    abandon(pid);
    match (answered, read) {
        (Err(errno), _) => Err(failed("poll", errno)),
        (Ok(0), _) => Err(failed("clone", Errno::ETIME)),
        (Ok(_), Err(_)) => Err(failed("read", Errno::EIO)),
        (Ok(_), Ok(_)) => judge(&line),
    }
}

fn judge(line: &[u8]) -> Result<(), SetupError> {
    match line.split_last() {
        Some((b'\n', [])) => Ok(()),
        Some((b'\n', record)) => match Record::parse(record) {
            Some(Record::Failed { step, errno, target, call, .. }) => {
                Err(SetupError { step, call: call.into(), target, errno, hint: None })
            }
            _ => Err(SetupError::condition(
                Step::Namespaces,
                "clone",
                "the process that tried said nothing of use",
            )),
        },
        _ => Err(SetupError::condition(
            Step::Namespaces,
            "clone",
            "the process that tried was killed, as a seccomp filter does",
        )),
    }
}
