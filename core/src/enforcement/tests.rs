use std::num::NonZeroU64;

use codex_linux_sandbox::{LimitKind, Limits};

use super::{
    Enforced, Enforcement, Guarantee, Held, Hold, Isolation, Level, Means, Network, Plan, ResourceLimits,
    Writes,
};
use crate::limits::Limit;

fn of(plan: &Plan, abi: u8) -> Enforcement {
    Enforcement::of(plan, &Enforced::expected(plan, abi), true)
}

fn read_only() -> Plan {
    Plan::new(Isolation::Landlock, Writes::Beneath(Vec::new()), Network::Off)
}

fn hold(enforcement: &Enforcement, guarantee: Guarantee) -> Hold {
    enforcement.holding(guarantee).unwrap().hold
}

#[test]
fn every_guarantee_has_a_line_and_a_reason() {
    for plan in [read_only(), Plan::UNRESTRICTED] {
        for abi in 1..=10 {
            let enforcement = of(&plan, abi);
            let lines: Vec<_> = enforcement.promises.iter().map(|holding| holding.guarantee).collect();
            assert_eq!(lines, Guarantee::ALL);
            assert!(enforcement.promises.iter().all(|holding| !holding.why.is_empty()));
        }
    }
}

#[test]
fn an_older_landlock_is_never_reported_as_holding_more() {
    let strength = |hold| match hold {
        Hold::Enforced => 2,
        Hold::Partial => 1,
        Hold::Absent | Hold::NotRequested => 0,
    };
    for guarantee in Guarantee::ALL {
        for abi in 1..10 {
            let (older, newer) = (of(&read_only(), abi), of(&read_only(), abi + 1));
            assert!(strength(hold(&older, guarantee)) <= strength(hold(&newer, guarantee)), "{guarantee:?}");
        }
    }
    assert_eq!(hold(&of(&read_only(), 2), Guarantee::Writes), Hold::Partial);
    assert_eq!(hold(&of(&read_only(), 3), Guarantee::Writes), Hold::Enforced);
}

#[test]
fn namespaces_never_hold_less_than_landlock() {
    for (network, writes) in [
        (Network::Off, Writes::Beneath(Vec::new())),
        (Network::Full, Writes::Beneath(Vec::new())),
        (Network::Off, Writes::Everywhere),
    ] {
        let at = |isolation| of(&Plan::new(isolation, writes.clone(), network), 7);
        let (landlock, namespaces) = (at(Isolation::Landlock), at(Isolation::Namespaces));
        assert_eq!(namespaces.level, Level::Namespaces);
        for guarantee in Guarantee::ALL {
            let better = match hold(&landlock, guarantee) {
                Hold::Enforced => hold(&namespaces, guarantee) == Hold::Enforced,
                Hold::Partial => matches!(hold(&namespaces, guarantee), Hold::Enforced | Hold::Partial),
                Hold::Absent => hold(&namespaces, guarantee) != Hold::NotRequested,
                Hold::NotRequested => hold(&namespaces, guarantee) == Hold::NotRequested,
            };
            assert!(better, "{guarantee:?}");
        }
    }
}

#[test]
fn a_policy_without_restrictions_claims_none() {
    let enforcement = Enforcement::of(&Plan::UNRESTRICTED, &Enforced::NOTHING, false);
    assert_eq!(enforcement.level, Level::None);
    assert!(enforcement.promises.iter().all(|holding| holding.hold != Hold::Enforced));
}

#[test]
fn a_guarantee_is_found_by_its_name_and_by_its_promise() {
    assert_eq!(Guarantee::named("writes"), [Guarantee::Writes]);
    assert_eq!(Guarantee::named("p1"), [Guarantee::Writes, Guarantee::Metadata]);
    assert_eq!(Guarantee::named("P"), []);
}

#[test]
fn the_rights_in_the_report_are_those_of_the_abi() {
    let mechanisms = of(&read_only(), 1).mechanisms;
    assert_eq!(mechanisms.landlock_fs.len(), 10);
    assert_eq!((mechanisms.landlock_net, mechanisms.landlock_scopes), (vec![], vec![]));
    let mechanisms = of(&read_only(), 7).mechanisms;
    assert!(
        ["write_file", "refer", "truncate", "ioctl_dev"]
            .iter()
            .all(|right| mechanisms.landlock_fs.contains(right))
    );
    assert!(!mechanisms.landlock_fs.contains(&"read_file"));
    assert_eq!(mechanisms.landlock_net, ["bind_tcp", "connect_tcp"]);
    assert_eq!(mechanisms.landlock_scopes, ["abstract_unix_socket", "signal"]);
    assert!(mechanisms.seccomp_calls > 50);
}

#[test]
fn each_limit_says_by_what_it_is_held() {
    let mut limits = ResourceLimits::NONE;
    for limit in Limit::ALL {
        limits.set(limit, NonZeroU64::new(7).unwrap());
    }
    let all = LimitKind::ALL.into_iter().map(LimitKind::bit).sum::<u64>();
    let holds = |set: u64, means: Means, root: bool| {
        let enforced = Enforced { limits: set, ..Enforced::NOTHING };
        let holdings = Held { enforced: &enforced, means, root }.holdings(&limits);
        assert!(holdings.iter().all(|holding| holding.amount == 7 && !holding.why.is_empty()));
        holdings.into_iter().map(|holding| holding.hold).collect::<Vec<_>>()
    };
    let none = Means::default();
    let metered = Means { metered: true, ..none };
    let cgroup = Means { cgroup_memory: true, cgroup_processes: true, metered: true };
    use Hold::{Absent as A, Enforced as E, Partial as P};
    // In the order of `Limit::ALL`: memory, processes, processor time, open files, size of files, /dev/shm.
    assert_eq!(holds(all, none, false), [P, E, P, E, E, E]);
    assert_eq!(holds(all, none, true), [P, A, P, E, E, E]);
    assert_eq!(holds(all | Limits::PROCESS_NUMBERS, none, true), [P, P, P, E, E, E]);
    let at_landlock = all & !LimitKind::Processes.bit() & !LimitKind::Shm.bit();
    assert_eq!(holds(at_landlock, none, false), [P, A, P, E, E, A]);
    assert_eq!(holds(at_landlock, metered, false), [P, P, P, E, E, A]);
    assert_eq!(holds(at_landlock & !LimitKind::Memory.bit(), cgroup, true), [E, E, E, E, E, A]);
    // A helper that said nothing of a limit has not set it.
    assert_eq!(holds(0, none, false), [A; 6]);
}
