//! Namespaces of the sandbox's own, and the first process in them.
//!
//! The process that makes them stays outside: only it can say which users of the outside the new user namespace knows,
//! and by its end the kernel learns that the sandbox has to end. The first process waits at a gate until both is done.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::unistd::{Gid, Pid, Uid, getegid, geteuid};

use crate::error::{SetupError, Step};
use crate::plan::{Footing, Network, Plan};
use crate::sys;

const NEW_MOUNT: u64 = 0x2_0000;
pub(crate) const NEW_CGROUP: u64 = 0x200_0000;
const NEW_UTS: u64 = 0x400_0000;
const NEW_IPC: u64 = 0x800_0000;
const NEW_USER: u64 = 0x1000_0000;
const NEW_PID: u64 = 0x2000_0000;
const NEW_NET: u64 = 0x4000_0000;

/// The namespaces that a plan takes, as `CLONE_NEW*` bits.
pub(crate) const fn of(plan: &Plan) -> u64 {
    if plan.uses_namespaces() { on(Footing::of(plan)) } else { 0 }
}

/// The same by what a plan stands on. A network namespace takes longer to make than all others together, and where the
/// network is allowed none is wanted.
const fn on(footing: Footing) -> u64 {
    let always = NEW_USER | NEW_MOUNT | NEW_PID | NEW_IPC | NEW_UTS | NEW_CGROUP;
    match footing.network {
        Network::Off => always | NEW_NET,
        Network::Full => always,
    }
}

/// The namespaces that only a fork can enter first. The process outside waits for these; the rest takes ten times as
/// long, and the first process makes it for itself.
const FORKED: u64 = NEW_USER | NEW_PID;

/// The namespace that is made last: a process that waits for its orders may be put into another cgroup before they come.
const LATE: u64 = NEW_CGROUP;

/// Which side of the fork this is.
#[derive(Debug)]
pub(crate) enum ForkedInit {
    /// The process that made the namespaces; the first process in them has this number outside, and reads from this pipe.
    Outside(Pid, OwnedFd),
    /// The first process in them, before anything else.
    Inside(Gate),
}

/// Makes namespaces and forks the first process in them. To be called while this process has one thread.
///
/// # Errors
///
/// [`SetupError`] where the kernel, or what runs us, refuses the namespaces, or to say who is who in them. There is no
/// first process then.
pub(crate) fn fork_init(footing: Footing) -> Result<ForkedInit, SetupError> {
    let failed = |call, errno| SetupError::call(Step::Namespaces, call, errno);
    let (uid, gid) = (geteuid(), getegid());
    let (closed, opener) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|errno| failed("socketpair", errno))?;
    let Some(pid) = sys::clone_process(FORKED).map_err(|errno| failed("clone", errno))? else {
        drop(opener);
        return Ok(ForkedInit::Inside(Gate { pipe: closed, footing, uid, gid }));
    };
    drop(closed);
    let word = if uid.is_root() && map_everybody(pid).is_ok() { Gate::EVERYBODY } else { Gate::MYSELF };
    if let Err(errno) = tell(&opener, &[word]) {
        abandon(pid);
        return Err(failed("send", errno));
    }
    Ok(ForkedInit::Outside(pid, opener))
}

/// Ends a first process that nobody has a use for, and collects it.
pub(crate) fn abandon(pid: Pid) {
    // It is our child and not collected yet, so that nothing but a filter around us could refuse; then it is left to end
    // with us, which is what it was bound to first.
    if sys::kill(pid, libc::SIGKILL).is_ok() {
        sys::collect(pid);
    }
}

/// Tells the first process something. That it has ended already is seen by whoever waits for it; writing to a pipe would
/// end this process too (SIGPIPE).
pub(crate) fn tell(opener: &OwnedFd, mut words: &[u8]) -> Result<(), Errno> {
    while !words.is_empty() {
        match send(opener.as_raw_fd(), words, MsgFlags::MSG_NOSIGNAL) {
            Ok(length) => words = words.get(length..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Lets the namespace know every user and group that this process knows, under the same numbers: root has to be able to
/// work with files of any owner, as it can outside.
///
/// Refused without CAP_SETUID and CAP_SETGID, which a container may have taken from its root; then it knows root alone.
fn map_everybody(pid: Pid) -> Result<(), std::io::Error> {
    for kind in ["uid_map", "gid_map"] {
        let known = std::fs::read_to_string(format!("/proc/self/{kind}"))?;
        let mut map = String::new();
        for line in known.lines() {
            let mut numbers = line.split_ascii_whitespace();
            let (Some(first), Some(_), Some(count)) = (numbers.next(), numbers.next(), numbers.next()) else {
                return Err(std::io::ErrorKind::InvalidData.into());
            };
            map.push_str(&format!("{first} {first} {count}\n"));
        }
        // The kernel takes a map in one write, or not at all.
        std::fs::write(format!("/proc/{pid}/{kind}"), map)?;
    }
    Ok(())
}

/// Where the first process waits for the one that made it.
#[derive(Debug)]
pub(crate) struct Gate {
    pipe: OwnedFd,
    footing: Footing,
    uid: Uid,
    gid: Gid,
}

impl Gate {
    /// The namespace knows everybody.
    const EVERYBODY: u8 = b'e';
    /// The namespace has to be told who we are.
    const MYSELF: u8 = b'm';

    /// Passes, bound to the end of the process outside from here on. Yields the pipe from it, for what it has to say next.
    pub(crate) fn pass(self) -> Result<File, SetupError> {
        set_pdeathsig(Signal::SIGKILL)
            .map_err(|errno| SetupError::call(Step::ParentDeath, "prctl(PR_SET_PDEATHSIG)", errno))?;
        // Who is who in them can be said meanwhile.
        enter(on(self.footing) & !FORKED & !LATE)?;
        let mut word = [0];
        let mut pipe = File::from(self.pipe);
        let length = pipe.read(&mut word).map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            SetupError::call(Step::Namespaces, "read", errno)
        })?;
        match (length, word) {
            // It was there after we were bound to its end.
            (1, [Self::EVERYBODY]) => Ok(pipe),
            (1, [Self::MYSELF]) => map_myself(self.uid, self.gid).map(|()| pipe),
            _ => Err(SetupError::condition(Step::ParentDeath, "read", "the process outside has ended")),
        }
    }
}

/// Makes namespaces of these kinds, as `CLONE_NEW*` bits, and enters them.
pub(super) fn enter(kinds: u64) -> Result<(), SetupError> {
    sys::unshare(kinds).map_err(|errno| SetupError::call(Step::Namespaces, "unshare", errno))
}

/// Tells the user namespace who we are outside. Groups can't be told without privileges outside, and then none can be
/// given up either (`user_namespaces(7)`): those that we have stay, and go by "nobody" inside.
fn map_myself(uid: Uid, gid: Gid) -> Result<(), SetupError> {
    let lines = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{uid} {uid} 1\n")),
        ("/proc/self/gid_map", format!("{gid} {gid} 1\n")),
    ];
    for (file, line) in lines {
        std::fs::write(file, line).map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            SetupError::call(Step::Namespaces, "write", errno).on(file)
        })?;
    }
    Ok(())
}

/// What the new namespaces lack to be of use.
pub(crate) fn furnish(footing: Footing) -> Result<(), SetupError> {
    if on(footing) & NEW_NET != 0 {
        sys::loopback_up()
            .map_err(|errno| SetupError::call(Step::Namespaces, "ioctl(SIOCSIFFLAGS)", errno).on("lo"))?;
    }
    Ok(())
}
