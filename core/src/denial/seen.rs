//! What was seen to fail, compared with the policy: exact denials, and none that the policy does not refuse.
//!
//! That a call failed is a fact. That the sandbox is the reason is one where the policy refuses that operation on that object
//! with that very error, and the user's own permissions would have let it happen.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use codex_linux_sandbox::{Act, Attempt, Denial as Closed, Plan, refused_call};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, Pid, access};

use super::across;
use super::grant::on_the_way;
use super::judge::{Judge, Operation, Refusal, Verdict, locate};
use super::oracle::{THE_NETWORK, leads_to_nothing, listens_outside};
use super::record::Denial;

/// Something that failed, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// What.
    pub attempt: Attempt,
    /// When first, in milliseconds since the call began.
    pub first_ms: f64,
}

/// The denial that it is, if it is one. What the command was called may tell for which tool it was.
#[must_use]
pub fn confirm(seen: &Seen, judge: &Judge<'_>, plan: &Plan, argv: &[OsString]) -> Option<Denial> {
    let attempt = &seen.attempt;
    let path = Path::new(&attempt.target);
    let [place, second_place] = attempt.places.each_ref().map(|place| place.as_deref().map(Path::new));
    let named = File { path, place };
    let text = || attempt.target.to_string_lossy().into_owned();
    let denial = match attempt.act {
        Act::Read => file(judge, Operation::Read, named, attempt.errno),
        Act::Write => file(judge, Operation::Write, named, attempt.errno),
        Act::WriteOrCreate => file(judge, writing(named), named, attempt.errno),
        Act::Create => file(judge, Operation::Create, named, attempt.errno),
        Act::CreateIn => in_directory(judge, Operation::Create, named, attempt.errno),
        Act::Remove => file(judge, Operation::Remove, named, attempt.errno),
        Act::RemoveIn => in_directory(judge, Operation::Remove, named, attempt.errno),
        Act::RenameIn => in_directory(judge, Operation::Rename, named, attempt.errno),
        Act::Metadata => file(judge, Operation::Metadata, named, attempt.errno),
        Act::MetadataOfLink => link(judge, named, attempt.errno),
        Act::Rename => {
            let to = File { path: Path::new(attempt.second.as_ref()?), place: second_place };
            rename(judge, named, to, attempt.errno)
        }
        Act::Link => {
            let to = File { path: Path::new(attempt.second.as_ref()?), place: second_place };
            match attempt.errno {
                // It takes what a file that is written to takes, by default (`protected_hardlinks` of `proc_sys_fs(5)`).
                across::ACROSS => led_across(judge, (Operation::Write, named), (Operation::Create, to)),
                errno => file(judge, Operation::Create, to, errno),
            }
        }
        Act::Connect => host(judge, &text(), attempt.errno),
        Act::Unix => unix(judge, path, attempt.errno),
        Act::Signal => signal(judge, &text(), attempt.errno),
        Act::Call => call(judge, &text(), plan),
    }?;
    let denial = Denial {
        pid: (attempt.process > 0).then_some(attempt.process),
        program: Some(attempt.program.to_string_lossy().into_owned()).filter(|name| !name.is_empty()),
        count: attempt.count,
        first_ms: Some(seen.first_ms),
        ..denial
    };
    Some(on_the_way(judge, denial, argv))
}

/// A file by its name, and where that led when it was tried, if somebody looked: links may be gone since.
#[derive(Clone, Copy)]
struct File<'a> {
    path: &'a Path,
    place: Option<&'a Path>,
}

impl File<'_> {
    fn at(&self) -> &Path {
        self.place.unwrap_or(self.path)
    }

    fn verdict(&self, judge: &Judge<'_>, operation: Operation) -> Result<Verdict, Errno> {
        match self.place {
            Some(place) => Ok(judge.file_at(operation, place.to_owned())),
            None => judge.file(operation, self.path),
        }
    }

    fn denied(&self, operation: Operation, refusal: Refusal) -> Denial {
        Denial::exact(operation, self.path.to_string_lossy().into_owned(), refusal)
    }
}

/// A link that leads to nothing is no file yet: what is made stands where it leads.
fn writing(file: File<'_>) -> Operation {
    if leads_to_nothing(file.at()) { Operation::Create } else { Operation::Write }
}

fn file(judge: &Judge<'_>, operation: Operation, file: File<'_>, errno: Errno) -> Option<Denial> {
    match file.verdict(judge, operation) {
        Ok(Verdict::Denied(refusal)) => {
            let is_ours = refusal.errno == Some(errno) && possible(judge, operation, file);
            is_ours.then(|| file.denied(operation, *refusal))
        }
        _ if file.place.is_none() => by_a_way_that_is_gone(judge, operation, file.path, errno),
        _ => None,
    }
}

/// What has a name was to be changed, and nothing that it leads to.
fn link(judge: &Judge<'_>, named: File<'_>, errno: Errno) -> Option<Denial> {
    let found = named.place.is_none().then(|| locate(named.path, false)).transpose().ok()?;
    let place = named.place.or(found.as_deref())?;
    // The kernel's own links are none of the policy's, and those of whoever looks are others.
    let is_the_kernels = place.starts_with("/proc");
    let denial = file(judge, Operation::Metadata, File { place: Some(place), ..named }, errno);
    denial.filter(|_| !is_the_kernels)
}

/// In a view, a command has made a link where nothing is, or something else: where that led is gone with the view, and could
/// not be told then. What is written to a view itself is never answered so, unless the tree is read-only without us.
fn by_a_way_that_is_gone(
    judge: &Judge<'_>,
    operation: Operation,
    path: &Path,
    errno: Errno,
) -> Option<Denial> {
    let there = path.ancestors().find(|place| place.symlink_metadata().is_ok())?;
    let is_ours = judge.viewed
        && errno == Errno::EROFS
        && judge.is_writable(path)
        && access(there, AccessFlags::W_OK) != Err(Errno::EROFS);
    let refusal = Refusal {
        promise: None,
        rule: None,
        errno: Some(errno),
        resolved: None,
        allow: None,
        risk: Some("by a link that the command made in the view, which is gone with it".to_owned()),
    };
    is_ours.then(|| Denial::exact(operation, path.to_string_lossy().into_owned(), refusal))
}

/// Whether it would have happened without the sandbox, or found nothing there to do it to: a read-only mount answers before
/// anybody looks. What a command made in a view was its own.
fn possible(judge: &Judge<'_>, operation: Operation, file: File<'_>) -> bool {
    let path = file.at();
    if judge.viewed && path.symlink_metadata().is_err() && judge.is_writable(path) {
        return true;
    }
    let finds_nothing =
        matches!(operation, Operation::Remove | Operation::Rename) && path.symlink_metadata().is_err();
    let operation = if finds_nothing { Operation::Create } else { operation };
    match file.place {
        Some(place) => judge.possible_at(operation, place),
        None => judge.possible_outside(operation, path),
    }
}

/// One name may be where nothing changes, or both. What is mounted apart from the rest answers first that it is elsewhere
/// (`EXDEV`), though it is not.
fn rename(judge: &Judge<'_>, from: File<'_>, to: File<'_>, errno: Errno) -> Option<Denial> {
    let onto = if to.at().symlink_metadata().is_ok() { Operation::Rename } else { Operation::Create };
    if errno != across::ACROSS {
        let refused = file(judge, Operation::Rename, from, errno);
        return refused.or_else(|| file(judge, onto, to, errno));
    }
    led_across(judge, (Operation::Rename, from), (onto, to))
}

/// A name was to lead from one place to another on the same file system, and the kernel took them for two.
fn led_across(
    judge: &Judge<'_>,
    (taking, from): (Operation, File<'_>),
    (giving, to): (Operation, File<'_>),
) -> Option<Denial> {
    let lies_on = device(judge, from.at());
    let together = lies_on.is_some() && lies_on == device(judge, to.at().parent()?);
    let [from_place, to_place] = [from, to].map(|file| locate(file.at(), false).ok());
    let verdict = |operation, file: File<'_>| match file.verdict(judge, operation) {
        Ok(Verdict::Denied(refusal)) => Some(*refusal),
        _ => None,
    };
    let (operation, file, refusal) = across::refused(
        judge,
        taking != Operation::Rename,
        [(taking, from), (giving, to)],
        [from_place.as_deref(), to_place.as_deref()],
        verdict,
    )?;
    let is_ours = together && possible(judge, taking, from) && possible(judge, giving, to);
    is_ours.then(|| file.denied(operation, refusal))
}

/// The file system that something lies on, links not followed. What was in a view lay where its directory does.
pub(super) fn device(judge: &Judge<'_>, path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;

    let mut places = path.ancestors().take(if judge.viewed { usize::MAX } else { 1 });
    places.find_map(|place| place.symlink_metadata().ok()).map(|status| status.dev())
}

/// A file without a name was to be made in a directory, or something was to be done to a name there that is not known.
fn in_directory(
    judge: &Judge<'_>,
    operation: Operation,
    directory: File<'_>,
    errno: Errno,
) -> Option<Denial> {
    let inside = |directory: &Path| directory.join("…");
    let (path, place) = (inside(directory.path), directory.place.map(inside));
    let denial = file(judge, operation, File { path: &path, place: place.as_deref() }, errno)?;
    let resolved = denial.resolved_target.as_deref().and_then(|place| Path::new(place).parent());
    Some(Denial {
        resolved_target: resolved.map(|place| place.to_string_lossy().into_owned()),
        target: directory.path.to_string_lossy().into_owned(),
        ..denial
    })
}

fn host(judge: &Judge<'_>, address: &str, errno: Errno) -> Option<Denial> {
    let peer: SocketAddr = address.parse().ok()?;
    let Verdict::Denied(refusal) = judge.connect(&peer.ip().to_string(), Some(peer.port())) else {
        return None;
    };
    // On a loopback of its own, nobody listening is an answer like any other, unless somebody does outside.
    let is_ours =
        refusal.errno == Some(errno) && (errno != Errno::ECONNREFUSED || listens_outside(peer.port()));
    is_ours.then(|| Denial::exact(Operation::Connect, address.to_owned(), *refusal))
}

fn unix(judge: &Judge<'_>, path: &Path, errno: Errno) -> Option<Denial> {
    use std::os::unix::fs::FileTypeExt as _;

    let Ok(Verdict::Denied(refusal)) = judge.unix(path) else { return None };
    let is_ours = refusal.errno == Some(errno)
        && path.metadata().is_ok_and(|status| status.file_type().is_socket())
        && judge.possible_outside(Operation::Unix, path);
    is_ours.then(|| Denial::exact(Operation::Unix, path.to_string_lossy().into_owned(), *refusal))
}

fn signal(judge: &Judge<'_>, process: &str, errno: Errno) -> Option<Denial> {
    let Verdict::Denied(refusal) = judge.signal() else { return None };
    let number: i32 = process.parse().ok()?;
    // Whom we may not signal either was not kept from the command by the sandbox.
    let possible = number > 0 && nix::sys::signal::kill(Pid::from_raw(number), None).is_ok();
    let is_ours = refusal.errno == Some(errno) && possible;
    is_ours.then(|| Denial::exact(Operation::Signal, process.to_owned(), *refusal))
}

/// Families of sockets by their number in `linux/socket.h`.
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_PACKET: u64 = 17;
const CLONE_NEWUSER: u64 = 0x1000_0000;

/// A call that a filter refused.
fn call(judge: &Judge<'_>, words: &str, plan: &Plan) -> Option<Denial> {
    let mut numbers = words.split(' ').map(str::parse::<u64>);
    let number = u32::try_from(numbers.next()?.ok()?).ok()?;
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = numbers.next()?.ok()?;
    }
    let refused = refused_call(plan, judge.unix_sockets, number, &arguments)?;
    let [first, ..] = arguments;
    if refused.name == "socket"
        && matches!(first & 0xffff_ffff, AF_INET | AF_INET6)
        && let Verdict::Denied(refusal) = judge.network()
        && refusal.errno == Some(Errno::EPERM)
    {
        return Some(Denial::exact(Operation::Connect, THE_NETWORK.to_owned(), *refusal));
    }
    if !judge.root && takes_privilege(refused.name, first) {
        return None;
    }
    let refusal = refusal_of(&refused, Some(refused.reason));
    Some(Denial::exact(Operation::Call, refused.name.to_owned(), refusal))
}

/// Why a filter refuses a call, for this reason where it is known.
pub(super) fn refusal_of(closed: &Closed, reason: Option<&str>) -> Refusal {
    Refusal {
        promise: Some(closed.promise),
        rule: None,
        errno: Some(closed.answer.errno()),
        resolved: None,
        allow: None,
        risk: reason.map(str::to_owned),
    }
}

/// Whether the kernel would refuse it to an ordinary user just the same.
fn takes_privilege(name: &str, first: u64) -> bool {
    match name {
        "unshare" | "clone" => first & CLONE_NEWUSER == 0,
        "socket" => first & 0xffff_ffff == AF_PACKET,
        _ => matches!(
            name,
            "bpf"
                | "mount"
                | "umount2"
                | "pivot_root"
                | "chroot"
                | "fsopen"
                | "fsconfig"
                | "fsmount"
                | "fspick"
                | "move_mount"
                | "open_tree"
                | "open_tree_attr"
                | "mount_setattr"
                | "setns"
                | "open_by_handle_at"
                | "init_module"
                | "finit_module"
                | "delete_module"
                | "kexec_load"
                | "kexec_file_load"
                | "reboot"
                | "swapon"
                | "swapoff"
                | "quotactl"
                | "quotactl_fd"
                | "acct"
                | "syslog"
                | "settimeofday"
                | "clock_settime"
                | "sethostname"
                | "setdomainname"
                | "vhangup"
                | "lookup_dcookie"
                | "nfsservctl"
                | "iopl"
                | "ioperm"
                | "uselib"
        ),
    }
}
