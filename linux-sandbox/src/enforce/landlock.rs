//! Confining the file system, TCP and signals with Landlock.
//!
//! Reads are not handled at all: a right that is handled costs every open, and everything can be read. What is handled
//! is denied everywhere but below the trees and on the devices that get a rule.

use std::io::IsTerminal as _;
use std::os::fd::{AsFd, BorrowedFd};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus, Scope, make_bitflags,
};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::device::DEVICES;
use super::walk::Walk;
use crate::error::{SetupError, Step};
use crate::plan::{Network, Plan, PlanPath, Writes};
use crate::sys;

/// What Landlock handles for a plan: denied everywhere but where a rule allows it.
pub(crate) struct Handled {
    pub(crate) fs: BitFlags<AccessFs>,
    pub(crate) net: BitFlags<AccessNet>,
    pub(crate) scopes: BitFlags<Scope>,
}

impl Handled {
    /// Everything that an ABI can refuse and the plan does not allow.
    pub(crate) fn by(plan: &Plan, abi: u8) -> Self {
        let known = ABI::from(i32::from(abi));
        if plan.is_unrestricted() {
            return Self { fs: BitFlags::EMPTY, net: BitFlags::EMPTY, scopes: BitFlags::EMPTY };
        }
        Self {
            fs: match &plan.writes {
                // In a network namespace, sockets of the host are reached by path alone.
                Writes::Everywhere if plan.uses_namespaces() && plan.network == Network::Off => {
                    AccessFs::from_write(known) & AccessFs::ResolveUnix
                }
                Writes::Everywhere => BitFlags::EMPTY,
                Writes::Beneath(_) => AccessFs::from_write(known),
            },
            net: match plan.network {
                // The loopback of a network namespace is the command's own.
                Network::Off if !plan.uses_namespaces() => AccessNet::from_all(known),
                Network::Off | Network::Full => BitFlags::EMPTY,
            },
            scopes: Scope::from_all(known),
        }
    }

    /// Whether there is nothing to enforce.
    pub(super) fn is_empty(&self) -> bool {
        self.fs.is_empty() && self.net.is_empty() && self.scopes.is_empty()
    }
}

/// The first ABI with flags for the audit log.
pub(super) const LOGS_SINCE: u8 = 7;

/// Rights that a writable tree does not give: device nodes belong to no workspace, and a device that stands in one
/// gets no ioctl; a socket file in one may be the host's.
const NOT_IN_A_TREE: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{MakeChar | MakeBlock | IoctlDev | ResolveUnix});

/// Rights on a device: to write to it and to ask it things. `Truncate` for `> /dev/null`.
const ON_A_DEVICE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{WriteFile | Truncate | IoctlDev});

/// Rights on a regular file that the caller opened for writing and gave as standard stream: what the descriptor
/// allows already, by another name (`> /dev/stderr`).
const ON_A_STREAM: BitFlags<AccessFs> = make_bitflags!(AccessFs::{WriteFile | Truncate});

/// Where the kernel shows pseudo-terminals.
const PTS: &str = "/dev/pts";
/// `DEVPTS_SUPER_MAGIC` of `linux/magic.h`.
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// Confines this process. With `log`, for which the ABI has to be [`LOGS_SINCE`] at least, what is refused to programs that it
/// executes is logged as well; the kernel logs what is refused to this one in any case.
pub(super) fn restrict(plan: &Plan, abi: u8, log: bool) -> Result<Handled, SetupError> {
    if abi < plan.landlock_abi_needed() {
        return Err(SetupError::condition(
            Step::Landlock,
            "landlock_create_ruleset",
            "this kernel's Landlock is missing or too old for the plan (Linux 5.13 where writes are confined, 6.7 where \
             they are not)",
        ));
    }
    let handled = Handled::by(plan, abi);
    if abi == 0 || handled.is_empty() {
        // Namespaces hold what is asked for; there is no second wall to be had.
        return Ok(handled);
    }
    let Handled { fs, net, scopes } = handled;
    // A hard requirement for everything: the rights were chosen for this ABI, so that whatever the kernel does not
    // take is an error, never a silent reduction.
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if !fs.is_empty() {
        ruleset = ruleset.handle_access(fs).map_err(refused("handle_access(fs)"))?;
    }
    if !net.is_empty() {
        ruleset = ruleset.handle_access(net).map_err(refused("handle_access(net)"))?;
    }
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes).map_err(refused("scope"))?;
    }
    let mut created = ruleset.create().map_err(refused("landlock_create_ruleset"))?;
    if let Writes::Beneath(trees) = &plan.writes {
        let mut walk = Walk::new(Step::Landlock);
        for tree in trees {
            created = allow(created, walk.directory(tree)?, fs & !NOT_IN_A_TREE)?;
        }
        for tree in own_trees(plan) {
            created = allow(created, walk.place(std::path::Path::new(tree))?, fs & !NOT_IN_A_TREE)?;
        }
        created = allow_devices(created, fs)?;
        created = allow_streams(created, fs)?;
    }
    if fs.contains(AccessFs::ResolveUnix) {
        created = allow_sockets(created, &plan.places.unix_sockets)?;
    }
    if log {
        created = created.log_new_exec(true).map_err(refused("log_new_exec"))?;
    }
    let status = created.restrict_self().map_err(refused("landlock_restrict_self"))?;
    if status.ruleset != RulesetStatus::FullyEnforced || !status.no_new_privs {
        return Err(SetupError::condition(
            Step::Landlock,
            "landlock_restrict_self",
            "the kernel enforces only a part of what was asked for",
        ));
    }
    Ok(Handled { fs, net, scopes })
}

fn allow(
    ruleset: RulesetCreated,
    object: impl AsFd,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, SetupError> {
    ruleset.add_rule(PathBeneath::new(object, rights)).map_err(refused("landlock_add_rule"))
}

/// What is mounted for the command alone.
fn own_trees(plan: &Plan) -> impl Iterator<Item = &'static str> {
    let own = plan.uses_namespaces();
    [("/dev/shm", own), ("/dev/mqueue", own), ("/tmp", own && plan.places.private_tmp)]
        .into_iter()
        .filter_map(|(tree, mounted)| mounted.then_some(tree))
}

fn allow_devices(
    mut ruleset: RulesetCreated,
    handled: BitFlags<AccessFs>,
) -> Result<RulesetCreated, SetupError> {
    for device in DEVICES {
        // A device that a container lacks is no device to open a hole for.
        if let Some(node) = device.open(Step::Landlock)? {
            ruleset = allow(ruleset, node, handled & ON_A_DEVICE)?;
        }
    }
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let Ok(terminals) = open(PTS, directory, Mode::empty()) else { return Ok(ruleset) };
    let kind = nix::sys::statfs::fstatfs(&terminals)
        .map_err(|errno| SetupError::call(Step::Landlock, "fstatfs", errno).on(PTS))?;
    if kind.filesystem_type().0 == DEVPTS_MAGIC {
        ruleset = allow(ruleset, terminals, handled & ON_A_DEVICE)?;
    }
    Ok(ruleset)
}

fn allow_sockets(mut ruleset: RulesetCreated, sockets: &[PlanPath]) -> Result<RulesetCreated, SetupError> {
    let mut walk = Walk::new(Step::Landlock);
    for socket in sockets {
        match walk.place(socket.path()) {
            Ok(file) => ruleset = allow(ruleset, file, AccessFs::ResolveUnix.into())?,
            Err(error) if error.errno == Some(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ruleset)
}

/// A shell that opens `/dev/stdout` or `/dev/stderr` opens the file behind the stream once more, by its path.
fn allow_streams(
    mut ruleset: RulesetCreated,
    handled: BitFlags<AccessFs>,
) -> Result<RulesetCreated, SetupError> {
    for stream in (0..=2).filter_map(sys::standard_stream) {
        if stream.is_terminal() {
            // The caller's terminal may be one that `/dev/pts` does not show.
            ruleset = allow(ruleset, stream, handled & ON_A_DEVICE)?;
        } else if is_writable_regular_file(stream)? {
            ruleset = allow(ruleset, stream, handled & ON_A_STREAM)?;
        }
    }
    Ok(ruleset)
}

fn is_writable_regular_file(stream: BorrowedFd<'_>) -> Result<bool, SetupError> {
    let flags =
        sys::open_flags(stream).map_err(|errno| SetupError::call(Step::Landlock, "fcntl(F_GETFL)", errno))?;
    let status = fstat(stream).map_err(|errno| SetupError::call(Step::Landlock, "fstat", errno))?;
    let regular = SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG;
    let writable =
        matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR) && flags & libc::O_PATH == 0;
    Ok(regular && writable)
}

/// Translates the landlock crate's errors, whose texts name its own types, into ours.
fn refused(call: &'static str) -> impl Fn(landlock::RulesetError) -> SetupError {
    move |error| {
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(cause) = source {
            if let Some(io) = cause.downcast_ref::<std::io::Error>()
                && let Some(number) = io.raw_os_error()
            {
                return SetupError::call(Step::Landlock, call, Errno::from_raw(number));
            }
            source = cause.source();
        }
        SetupError::condition(
            Step::Landlock,
            call,
            "the kernel does not offer what its Landlock ABI promises",
        )
    }
}

#[cfg(test)]
mod tests {
    use landlock::{AccessFs, BitFlags};

    use super::Handled;
    use crate::plan::{Isolation, Network, Plan, Writes};

    #[test]
    fn sockets_with_a_name_are_closed_wherever_landlock_has_to_close_them() {
        let fs =
            |isolation, network, abi| Handled::by(&Plan::new(isolation, Writes::Everywhere, network), abi).fs;
        let inside = Isolation::Namespaces;
        assert_eq!(fs(inside, Network::Off, 9), BitFlags::from(AccessFs::ResolveUnix));
        assert_eq!(fs(inside, Network::Off, 8), BitFlags::EMPTY);
        assert_eq!(fs(Isolation::Landlock, Network::Off, 9), BitFlags::EMPTY);
        let beneath = Plan::new(inside, Writes::Beneath(Vec::new()), Network::Off);
        assert!(Handled::by(&beneath, 9).fs.contains(AccessFs::ResolveUnix));
    }
}
