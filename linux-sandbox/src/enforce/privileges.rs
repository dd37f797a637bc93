//! Giving up privileges: `no_new_privs`, and every capability that the command may not have.

use nix::errno::Errno;
use nix::sys::prctl::set_no_new_privs;
use nix::unistd::geteuid;

use crate::error::{SetupError, Step};
use crate::report::Capabilities;
use crate::run::EXIT_SETUP_FAILED;
use crate::sys::{self, CapabilitySets};

/// What root keeps, a bit a capability of `capabilities(7)`: over files, so that files of other owners in a writable
/// tree, `tar` and `npm` work as they do outside.
const OWNERSHIP: u64 = 1 << CAP_CHOWN | 1 << CAP_DAC_OVERRIDE | 1 << CAP_FOWNER | 1 << CAP_FSETID;
const CAP_CHOWN: u32 = 0;
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_FOWNER: u32 = 3;
const CAP_FSETID: u32 = 4;
/// What the [broker](crate::broker) keeps over the namespaces that were made for the command, and the command never has:
/// to take descriptors from processes that let nobody trace them (an `ssh-agent`), and to ask a socket for its file. The
/// latter is in effect only [while it asks](ask_sockets): it would lend itself to a netlink socket that is connected for
/// the command.
const OF_THE_BROKER: u64 = 1 << CAP_NET_ADMIN | 1 << CAP_SYS_PTRACE;
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_PTRACE: u32 = 19;
/// Needed to change the bounding set.
const CAP_SETPCAP: u32 = 8;
/// No kernel can have more: the sets are 64 bits wide.
const CAPABILITY_LIMIT: u32 = 64;

/// What is kept, by who we are; an unprivileged caller's sets are empty afterwards.
pub(super) fn kept() -> Capabilities {
    if geteuid().is_root() { Capabilities::Ownership } else { Capabilities::Empty }
}

/// Gives up what the command may not have, and leaves the broker what it needs, where there is one. Returns what is the
/// command's.
pub(super) fn give_up(broker: bool) -> Result<Capabilities, SetupError> {
    set_no_new_privs()
        .map_err(|errno| SetupError::call(Step::Privileges, "prctl(PR_SET_NO_NEW_PRIVS)", errno))?;
    let held = sys::capabilities().map_err(|errno| SetupError::call(Step::Privileges, "capget", errno))?;
    let root = geteuid().is_root();
    let kept = if root { held.permitted & OWNERSHIP } else { 0 };

    // The bounding set and the ambient set come first: emptying the permitted set takes the right to do so with it.
    // Without that right the bounding set stays as it is, which no_new_privs makes harmless: execve(2) then never
    // yields a permitted set larger than the one before it.
    if held.effective & 1 << CAP_SETPCAP != 0 {
        shrink_bounding_set(kept)?;
    }
    sys::clear_ambient_set()
        .map_err(|errno| SetupError::call(Step::Privileges, "prctl(PR_CAP_AMBIENT)", errno))?;
    // Not in the bounding set: a program that is executed has none of the broker's, whoever executes it.
    reduce(held, if broker { kept | held.permitted & OF_THE_BROKER } else { kept })?;
    Ok(if kept == 0 { Capabilities::Empty } else { Capabilities::Ownership })
}

/// Gives up what is only the broker's.
pub(super) fn leave_the_broker() -> Result<(), SetupError> {
    let held = sys::capabilities().map_err(|errno| SetupError::call(Step::Privileges, "capget", errno))?;
    reduce(held, held.permitted & !OF_THE_BROKER)
}

/// Does something with the capability to ask a socket for its file, in this thread of the broker.
pub(crate) fn ask_sockets<T>(ask: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let held = sys::capabilities()?;
    sys::set_capabilities(CapabilitySets { effective: held.effective | 1 << CAP_NET_ADMIN, ..held })?;
    let answer = ask();
    if sys::set_capabilities(held).is_err() {
        // Better no sandbox than one with more power than it should have.
        sys::exit_now(EXIT_SETUP_FAILED);
    }
    answer
}

fn reduce(held: CapabilitySets, kept: u64) -> Result<(), SetupError> {
    let effective = held.effective & kept & !(1 << CAP_NET_ADMIN);
    let wanted = CapabilitySets { effective, permitted: kept, inheritable: 0 };
    sys::set_capabilities(wanted).map_err(|errno| SetupError::call(Step::Privileges, "capset", errno))?;

    // Believed only once seen: a kernel or a container runtime that answers without acting would leave root with all.
    let left = sys::capabilities().map_err(|errno| SetupError::call(Step::Privileges, "capget", errno))?;
    if left != wanted {
        return Err(SetupError::condition(
            Step::Privileges,
            "capset",
            "capabilities are left after giving them up",
        ));
    }
    Ok(())
}

fn shrink_bounding_set(kept: u64) -> Result<(), SetupError> {
    for capability in (0..CAPABILITY_LIMIT).filter(|capability| kept & 1 << capability == 0) {
        match sys::drop_from_bounding_set(capability) {
            Ok(()) => {}
            // The first number that this kernel does not know: there are no more.
            Err(Errno::EINVAL) => break,
            Err(errno) => {
                return Err(SetupError::call(Step::Privileges, "prctl(PR_CAPBSET_DROP)", errno));
            }
        }
    }
    Ok(())
}
