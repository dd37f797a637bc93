use std::ffi::OsString;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use proptest::prelude::*;

use super::{WireError, decode, encode};
use crate::plan::{
    Command, Descriptors, Environment, Invocation, Isolation, Kept, LimitKind, Limits, Network, Places, Plan,
    PlanPath, Protected, Proxy, Stay, Terminal, Writes,
};

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

fn parse(line: &str) -> Result<Invocation, WireError> {
    decode(words(line), || Ok(PathBuf::from("/here")))
}

#[test]
fn the_five_original_permissions_are_understood() {
    let line =
        "-s disk-full-read-access -s disk-write-cwd -s disk-write-folder=/a/b -s network-full-access -- true";
    let plan = parse(line).unwrap().plan;
    let tree = |path| PlanPath::new(path).unwrap();
    assert_eq!(plan.writes, Writes::Beneath(vec![tree("/a/b"), tree("/here")]));
    assert_eq!(plan.network, Network::Full);

    let plan = parse("-s disk-full-read-access -s disk-full-write-access -- true").unwrap().plan;
    assert_eq!(plan.writes, Writes::Everywhere);
    assert_eq!(plan.network, Network::Off);
}

#[test]
fn what_follows_the_separator_belongs_to_the_command() {
    let invocation = parse("-s disk-full-read-access -- ls -s --cwd -- x").unwrap();
    assert_eq!(invocation.command.program, "ls");
    assert_eq!(invocation.command.arguments, words("-s --cwd -- x"));
}

#[test]
fn a_plan_that_is_not_understood_whole_is_refused() {
    use WireError as E;
    const MAX: u64 = i32::MAX as u64;
    let cases = [
        ("-- true", E::NoReadAccess),
        ("-s disk-full-read-access", E::NoCommand),
        ("-s disk-full-read-access --", E::NoCommand),
        ("-s disk-full-read-access true", E::UnknownOption("true".into())),
        ("-s", E::MissingValue("-s")),
        ("-s everything -- true", E::UnknownPermission("everything".into())),
        ("--status-fd 3 --status-fd 4 -- true", E::Repeated("--status-fd")),
        ("--cwd x -- true", E::Directory("x".into())),
        ("--env-fd 2 -- true", E::Number { option: "--env-fd", low: 3, high: MAX, value: "2".into() }),
        (
            "--parent-pid +7 -- true",
            E::Number { option: "--parent-pid", low: 1, high: MAX, value: "+7".into() },
        ),
        (
            "--landlock-abi 256 -- true",
            E::Number { option: "--landlock-abi", low: 0, high: 255, value: "256".into() },
        ),
        ("-s disk-full-read-access --keep-descriptors -- true", E::KeptDescriptors),
        ("--limit-memory 1 --limit-memory 1 -- true", E::Repeated("--limit-memory")),
        (
            "--limit-open-files 0 -- true",
            E::Number { option: "--limit-open-files", low: 1, high: u64::MAX, value: "0".into() },
        ),
        ("-s disk-full-read-access --limit-shm 4096 -- true", E::LimitsNeedNamespaces),
        ("-s disk-full-read-access --limit-processes 4 -- true", E::LimitsNeedNamespaces),
        ("-s disk-full-read-access --view 4096 -- true", E::NoView),
        (
            "-s disk-full-read-access --isolation namespaces -s disk-full-write-access --view 4096 -- true",
            E::NoView,
        ),
        ("--view 1 --view 1 -- true", E::Repeated("--view")),
        ("--view 0 -- true", E::Number { option: "--view", low: 1, high: u64::MAX, value: "0".into() }),
        ("--limit-everything 4 -- true", E::UnknownOption("--limit-everything".into())),
    ];
    for (line, expected) in cases {
        assert_eq!(parse(line).unwrap_err(), expected, "{line}");
    }
    let unknown = decode(words("-s disk-full-read-access -s disk-write-cwd -- true"), || Err("gone"));
    assert_eq!(unknown.unwrap_err(), E::CurrentDirectory("gone"));
}

#[test]
fn trees_must_be_absolute_and_without_dot_dot() {
    for path in ["", "a", "./a", "/a/../b", "/.."] {
        let line = format!("-s disk-full-read-access -s disk-write-folder={path} -- true");
        assert!(matches!(parse(&line), Err(WireError::Path { .. })), "{path:?}");
    }
    assert_eq!(PlanPath::new("//a/./b/").unwrap().path().as_os_str(), "/a/b");
}

fn bytes() -> impl Strategy<Value = OsString> {
    prop::collection::vec(1_u8.., 0..40).prop_map(OsString::from_vec)
}

fn absolute() -> impl Strategy<Value = PathBuf> {
    prop::collection::vec(bytes(), 0..5).prop_map(|parts| {
        let mut path = PathBuf::from("/");
        path.extend(parts.iter().map(|part| part.to_string_lossy().replace(['/', '.'], "_")));
        path
    })
}

fn paths() -> impl Strategy<Value = Vec<PlanPath>> {
    prop::collection::vec(absolute().prop_map(|path| PlanPath::new(path).unwrap()), 0..5)
}

prop_compose! {
    fn places()(
        protected in prop::collection::vec((paths(), prop::bool::ANY), 0..3),
        denied in paths(),
        reopened in paths(),
        private_tmp in prop::bool::ANY,
        unix_sockets in paths(),
    ) -> Places {
        let protected = protected.into_iter().flat_map(|(paths, whole)| {
            let kept = if whole { Kept::ReadOnly } else { Kept::Pinned };
            paths.into_iter().map(move |path| Protected { path, kept })
        });
        Places { protected: protected.collect(), denied, reopened, private_tmp, unix_sockets }
    }
}

prop_compose! {
    fn limits()(given in prop::array::uniform6(prop::option::of(1_u64..))) -> Limits {
        let mut limits = Limits::NONE;
        for (kind, limit) in LimitKind::ALL.into_iter().zip(given) {
            *limits.slot(kind) = limit.and_then(NonZeroU64::new);
        }
        limits
    }
}

prop_compose! {
    fn plan()(
        writes in prop_oneof![Just(Writes::Everywhere), paths().prop_map(Writes::Beneath)],
        full in prop::bool::ANY,
        landlock_abi_at_most in prop::option::of(0_u8..),
        places in prop::option::of(places()),
        limits in limits(),
        view in prop::option::of(1_u64..),
    ) -> Plan {
        let isolation = if places.is_some() { Isolation::Namespaces } else { Isolation::Landlock };
        let network = if full { Network::Full } else { Network::Off };
        let plan =
            Plan { places: places.unwrap_or_default(), landlock_abi_at_most, ..Plan::new(isolation, writes, network) };
        let view = view.and_then(NonZeroU64::new).filter(|_| plan.can_be_viewed());
        Plan { limits: limits.that_hold(&plan), view, ..plan }
    }
}

prop_compose! {
    fn invocation()(
        plan in plan(),
        program in bytes(),
        argv0 in prop::option::of(bytes()),
        arguments in prop::collection::vec(bytes(), 0..6),
        directory in prop::option::of(absolute()),
        environment in prop::option::of(3..i32::MAX),
        keep in prop::bool::ANY,
        all in prop::bool::ANY,
        take in prop::bool::ANY,
        status in prop::option::of(3..i32::MAX),
        parent in prop::option::of(1..i32::MAX),
        cgroup in prop::option::of(3..i32::MAX),
        (observer, proxy, log) in (
            prop::option::of(3..i32::MAX),
            prop_oneof![Just(Proxy::None), Just(Proxy::OverOrders), (3..i32::MAX).prop_map(Proxy::Over)],
            prop::bool::ANY,
        ),
    ) -> Invocation {
        let proxy = if plan.has_its_own_network() { proxy } else { Proxy::None };
        let log_refusals = log && plan.isolation == Isolation::Landlock;
        let descriptors = if keep && plan.is_unrestricted() { Descriptors::Keep } else { Descriptors::Close };
        Invocation {
            plan,
            command: Command { program, argv0, arguments },
            directory,
            environment: environment.map_or(Environment::Inherit, Environment::Descriptor),
            descriptors,
            stay: if all { Stay::ForAll } else { Stay::ForTheCommand },
            terminal: if take { Terminal::Take } else { Terminal::Leave },
            status,
            parent,
            cgroup,
            observer,
            proxy,
            log_refusals,
        }
    }
}

proptest! {
    #[test]
    fn every_invocation_survives_the_wire(invocation in invocation()) {
        let decoded = decode(encode(&invocation), || Err("not asked for"));
        prop_assert_eq!(decoded, Ok(invocation));
    }

    #[test]
    fn arbitrary_arguments_never_panic(arguments in prop::collection::vec(bytes(), 0..12)) {
        let _decoded = decode(arguments, || Err("unknown"));
    }
}
