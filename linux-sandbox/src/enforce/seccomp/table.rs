//! The deny tables: which calls are answered, for which arguments, with what, and why.
//!
//! A deny list, not an allow list: programs inside are arbitrary, and what Landlock, the missing capabilities and
//! `no_new_privs` already hold needs no second list of everything that programs may do. Calls newer than the newest
//! one reviewed here are answered as by a kernel that does not have them.

mod network;
mod observed;
mod surface;

use nix::errno::Errno;

use crate::broker::UnixSockets;
use crate::plan::{Isolation, Network, Plan, Writes};

/// How a denied call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// `EPERM`: the call exists and is refused.
    NotPermitted,
    /// `ENOSYS`: as if the kernel were older, for calls whose callers all know how to do without.
    NotImplemented,
}

impl Answer {
    /// The errno that the caller sees.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::NotPermitted => Errno::EPERM,
            Self::NotImplemented => Errno::ENOSYS,
        }
    }
}

/// How much of an argument the kernel looks at. Comparing more than that would let garbage in the upper half through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// The lower 32 bits.
    Int,
    /// All 64 bits.
    Long,
}

/// What is asked of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// It has this value.
    Is(u64),
    /// It has another value.
    IsNot(u64),
    /// All of these bits are set.
    HasBits(u64),
    /// Under the mask, it has this value.
    Masked {
        /// The bits to look at.
        mask: u64,
        /// Their value.
        value: u64,
    },
}

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// The argument, counted from 0.
    pub(crate) argument: u8,
    /// How much of it counts.
    pub(crate) width: Width,
    /// What is asked.
    pub(crate) test: Test,
}

impl Condition {
    fn is_met(&self, arguments: &[u64; 6]) -> bool {
        let kept = match self.width {
            Width::Int => u64::from(u32::MAX),
            Width::Long => u64::MAX,
        };
        let value = arguments.get(usize::from(self.argument)).copied().unwrap_or_default() & kept;
        match self.test {
            Test::Is(wanted) => value == wanted,
            Test::IsNot(other) => value != other,
            Test::HasBits(bits) => value & bits == bits,
            Test::Masked { mask, value: wanted } => value & mask == wanted,
        }
    }
}

/// A condition on an argument that the kernel takes as an `int`.
const fn int(argument: u8, test: Test) -> Condition {
    Condition { argument, width: Width::Int, test }
}

/// A condition on an argument that the kernel takes as a `long` or a pointer.
const fn long(argument: u8, test: Test) -> Condition {
    Condition { argument, width: Width::Long, test }
}

/// One call that is denied, for all arguments or for those that meet every condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The number of the call on this architecture.
    pub call: u32,
    /// Its name.
    pub name: &'static str,
    /// What it answers.
    pub answer: Answer,
    /// The promise of `docs/specification.md` that it belongs to.
    pub promise: &'static str,
    /// Which way out it closes.
    pub reason: &'static str,
    pub(crate) when: &'static [Condition],
}

/// A denial as the tables write it: the call's constant (its name follows), the conditions, the reason.
struct Row {
    call: i64,
    constant: &'static str,
    when: &'static [Condition],
    reason: &'static str,
}

/// Rows that share a promise and an answer.
pub(super) struct Group {
    promise: &'static str,
    pub(super) answer: Answer,
    rows: &'static [Row],
}

impl Group {
    /// How many denials the group has.
    pub(super) const fn len(&self) -> usize {
        self.rows.len()
    }

    /// The number of the call of one of its rows, and its conditions.
    pub(super) const fn row(&self, index: usize) -> (u32, &'static [Condition]) {
        let row = &self.rows[index];
        assert!(row.call >= 0 && row.call <= NEWEST_REVIEWED as i64, "the call was not reviewed");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded by the line above"
        )]
        (row.call as u32, row.when)
    }
}

/// `row!(SYS_ptrace, [], "reason")`: denied whole. `row!(SYS_kill, [int(0, Test::Is(1))], "reason")`: denied where every
/// condition is met.
macro_rules! row {
    ($constant:ident, [$($condition:expr),*], $reason:literal) => {
        $crate::enforce::seccomp::table::Row {
            call: $crate::enforce::seccomp::table::numbers::$constant,
            constant: stringify!($constant),
            when: &[$($condition),*],
            reason: $reason,
        }
    };
}
use row;

/// The numbers of the calls: libc's, and those that libc does not know on every architecture. Calls from 424 on have
/// one number everywhere (`scripts/syscall.tbl` of the kernel).
#[expect(non_upper_case_globals, reason = "the numbers bear the names that libc gives them")]
mod numbers {
    pub(super) use libc::*;

    pub(super) const SYS_quotactl_fd: i64 = 443;
    pub(super) const SYS_fchmodat2: i64 = 452;
    pub(super) const SYS_setxattrat: i64 = 463;
    pub(super) const SYS_removexattrat: i64 = 466;
    pub(super) const SYS_getxattrat: i64 = 464;
    pub(super) const SYS_listxattrat: i64 = 465;
    pub(super) const SYS_open_tree_attr: i64 = 467;
    pub(super) const SYS_file_getattr: i64 = 468;
    pub(super) const SYS_file_setattr: i64 = 469;
}

/// The newest call that this table was written with in mind: `file_setattr` of Linux 6.17. Newer ones are answered
/// `ENOSYS`, as by the kernel before them: every program that uses a call this new can do without it.
pub(super) const NEWEST_REVIEWED: u32 = 469;

const fn group(promise: &'static str, answer: Answer, rows: &'static [Row]) -> Group {
    Group { promise, answer, rows }
}

/// What the tables differ in.
#[derive(Clone, Copy)]
struct Differing {
    /// Which sockets there are.
    sockets: &'static [Row],
    /// What some of their families may not.
    families: &'static [Row],
    /// What is private to namespaces and shared without.
    shared: &'static [Row],
    by_number: &'static [Row],
    /// What only the broker may.
    served: &'static [Row],
}

const fn table(differing: Differing) -> [Group; 13] {
    use Answer::{NotImplemented, NotPermitted};
    [
        group("P1", NotPermitted, surface::FILE_CONTROLS),
        group("P2", NotPermitted, network::ALWAYS),
        group("P2", NotPermitted, differing.sockets),
        group("P2", NotPermitted, differing.families),
        group("P2", NotPermitted, differing.shared),
        group("P3", NotPermitted, surface::OTHER_PROCESSES),
        group("P3", NotPermitted, differing.served),
        group("P3", NotPermitted, differing.by_number),
        group("P6", NotPermitted, surface::PRIVILEGED),
        group("P6", NotPermitted, surface::NAMESPACES),
        group("P6", NotPermitted, surface::TERMINAL),
        group("P6", NotPermitted, surface::SET_USER_ID),
        group("P6", NotImplemented, surface::UNREADABLE),
    ]
}

/// Without namespaces, network on: everything that there is to deny.
const SHARED: Differing = Differing {
    sockets: network::ON,
    families: network::FAMILIES,
    shared: surface::SHARED_IPC,
    by_number: surface::PROCESSES_BY_NUMBER,
    served: surface::SERVED_PROCESSES,
};
/// In namespaces, which need no denial for what is private to them.
const PRIVATE: Differing = Differing { shared: &[], by_number: &[], ..SHARED };

/// Landlock, network off.
pub(super) const LANDLOCK_OFF: &[Group] =
    &table(Differing { sockets: network::OFF, families: &[], ..SHARED });
/// Landlock, network on.
pub(super) const LANDLOCK_ON: &[Group] = &table(SHARED);
/// Namespaces, network off.
pub(super) const NAMESPACES_OFF: &[Group] = &table(Differing { sockets: network::OFF_INSIDE, ..PRIVATE });
/// Namespaces, network on.
pub(super) const NAMESPACES_ON: &[Group] = &table(PRIVATE);
/// Namespaces, with unix sockets.
pub(super) const NAMESPACES_UNIX: &[Group] = &table(Differing { sockets: network::WITH_UNIX, ..PRIVATE });
/// The same for the broker itself.
pub(super) const NAMESPACES_BROKER: &[Group] =
    &table(Differing { sockets: network::WITH_UNIX, served: &[], ..PRIVATE });

/// The denials that a plan asks for, in the order of the tables.
#[must_use]
pub fn denials(plan: &Plan, unix_sockets: UnixSockets) -> Vec<Denial> {
    listed(groups(plan, unix_sockets))
}

/// The denial that refuses a call with these arguments under a plan, where one does.
#[must_use]
pub fn refused_call(
    plan: &Plan,
    unix_sockets: UnixSockets,
    call: u32,
    arguments: &[u64; 6],
) -> Option<Denial> {
    denials(plan, unix_sockets)
        .into_iter()
        .find(|denial| denial.call == call && denial.when.iter().all(|condition| condition.is_met(arguments)))
}

/// The table that a plan asks for.
pub(super) const fn groups(plan: &Plan, unix_sockets: UnixSockets) -> &'static [Group] {
    match (plan.is_unrestricted(), plan.isolation, plan.network, unix_sockets) {
        (true, _, _, _) => &[],
        (false, Isolation::Landlock, Network::Off, _) => LANDLOCK_OFF,
        (false, Isolation::Landlock, Network::Full, _) => LANDLOCK_ON,
        (false, Isolation::Namespaces, _, UnixSockets::Broker | UnixSockets::Landlock) => NAMESPACES_UNIX,
        (false, Isolation::Namespaces, Network::Off, UnixSockets::Refused) => NAMESPACES_OFF,
        (false, Isolation::Namespaces, Network::Full, UnixSockets::Refused) => NAMESPACES_ON,
    }
}

/// The calls that a plan can refuse by other means than a filter, as a table: whoever wants to see them stops there.
pub(super) fn observed(plan: &Plan) -> Vec<Group> {
    let see = |rows| group("", Answer::NotPermitted, rows);
    let mut groups = vec![see(observed::UNFOLLOWED)];
    if matches!(plan.writes, Writes::Beneath(_)) {
        groups.push(see(observed::CHANGES));
    }
    if !plan.places.denied.is_empty() {
        groups.push(see(observed::READS));
    }
    if plan.network == Network::Off || !plan.places.unix_sockets.is_empty() {
        groups.push(see(observed::ADDRESSES));
    }
    if plan.isolation == Isolation::Landlock {
        groups.push(see(observed::SIGNALS));
    }
    groups
}

/// The denials of some groups.
pub(super) fn listed(groups: &[Group]) -> Vec<Denial> {
    let mut denials = Vec::new();
    for group in groups {
        denials.extend(group.rows.iter().enumerate().map(|(index, row)| {
            let (call, when) = group.row(index);
            let name = row.constant.strip_prefix("SYS_").unwrap_or(row.constant);
            Denial { call, name, answer: group.answer, promise: group.promise, reason: row.reason, when }
        }));
    }
    denials
}

#[cfg(test)]
mod tests;
