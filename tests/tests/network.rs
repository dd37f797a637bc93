//! P2: with the network off nothing reaches the outside, by any family or client; ends of a pair still talk.

#![expect(clippy::expect_used, reason = "a suite reports by failing")]

use codex_tests::cases_by_level;
use codex_tests::harness::{Expect, Failures, Identity, Level, Listener, Policy, Run, Scene, require_tool};
use nix::errno::Errno;

cases_by_level!(
    every_listener,
    every_family,
    families_with_the_network_on,
    pairs_talk,
    pairs_cannot_be_redirected,
    loopback_with_the_network_on,
    clients_that_people_use,
    the_environment_says_so,
);

const EPERM: Expect = Expect::Fails(&[Errno::EPERM]);
const EACCES: Expect = Expect::Fails(&[Errno::EACCES]);
const ECONNREFUSED: Expect = Expect::Fails(&[Errno::ECONNREFUSED]);

/// What the attempt to reach a listener of the host gives while the network is off.
///
/// At level namespaces there is a loopback, with nobody on it that the host knows: TCP is refused by the kernel, and UDP
/// goes nowhere. Unix sockets connect to those that were bound inside.
fn unreachable(scene: &Scene, listener: &Listener) -> Expect {
    let isolated = match listener.probe {
        "tcp" => ECONNREFUSED,
        "udp" => Expect::Ok,
        "unix-stream" | "unix-seqpacket" => EACCES,
        "abstract-stream" | "abstract-seqpacket" => ECONNREFUSED,
        // A datagram names its receiver each time, so that there are no such sockets.
        _ => EPERM,
    };
    scene.level().choose(EPERM, isolated)
}

/// Each listener hears the probe without the sandbox, and nothing at all from within.
fn every_listener(scene: &Scene) {
    let mut failures = Failures::new();
    for listener in Listener::all(scene) {
        let arguments = [listener.probe, listener.address.as_str()];
        for policy in [Policy::Bare, Policy::DangerFullAccess] {
            failures.judge(listener.probe, Expect::Ok, &scene.under(policy).probe(arguments).run());
            failures
                .check(listener.heard(), || format!("{} [{policy:?}]: nothing was heard", listener.probe));
        }
        for policy in Policy::OFFLINE {
            let expected = unreachable(scene, &listener);
            failures.judge(listener.probe, expected, &scene.under(policy).probe(arguments).run());
            failures.check(!listener.heard(), || format!("{} [{policy:?}]: it was heard", listener.probe));
        }
        // Sockets of the host stay closed with the network on: whoever listens there acts for the user.
        let expected = if listener.unix { EPERM } else { Expect::Ok };
        let run = scene.under(Policy::WorkspaceWriteNetwork).probe(arguments).run();
        failures.judge(listener.probe, expected, &run);
        failures.check(listener.heard() != listener.unix, || {
            format!("{} [network on]: expected {expected}, but what was heard says otherwise", listener.probe)
        });
    }
    failures.finish();
}

/// The number of families that Linux knows, and then some.
const FAMILIES: i64 = 64;

fn open_socket(scene: &Scene, policy: Policy, words: &[String]) -> Run {
    let number = libc::SYS_socket.to_string();
    scene.under(policy).probe(["syscall", &number].into_iter().chain(words.iter().map(String::as_str))).run()
}

/// What is confined: internet protocols and the question for routes by the namespace of networks, unix sockets that connect
/// by init, which looks at whom they connect to. The kernel takes 32 bits of the
/// family.
fn stays_inside(words: &[String]) -> bool {
    const INTERNET: [i32; 2] = [libc::AF_INET, libc::AF_INET6];
    let (family, rest) = words.split_first().expect("a family");
    let family = family
        .strip_prefix("0x")
        .map_or_else(|| family.parse::<u64>().ok(), |hex| u64::from_str_radix(hex, 16).ok())
        .expect("a number");
    let is = |known: i32| family & 0xffff_ffff == u64::from(known.unsigned_abs());
    let routes = rest.last().is_some_and(|protocol| *protocol == libc::NETLINK_ROUTE.to_string());
    let connects = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET].map(|kind| kind.to_string());
    let connects = rest.first().is_some_and(|kind| connects.contains(kind));
    INTERNET.into_iter().any(is) || is(libc::AF_NETLINK) && routes || is(libc::AF_UNIX) && connects
}

/// Inside, such a socket opens, or the kernel has its own reasons: no such protocol, no right to packets as they are.
const INSIDE: Expect =
    Expect::OkOr(&[Errno::EPERM, Errno::EACCES, Errno::EPROTONOSUPPORT, Errno::ESOCKTNOSUPPORT]);

/// No family at all, whatever its type: those that this kernel lacks are refused like the rest, as another has them.
fn every_family(scene: &Scene) {
    let mut failures = Failures::new();
    let mut rows: Vec<Vec<String>> =
        (0..FAMILIES).map(|family| [family, 3, 0].map(|word| word.to_string()).to_vec()).collect();
    let kinds = [
        [libc::AF_UNIX, libc::SOCK_STREAM, 0],
        [libc::AF_UNIX, libc::SOCK_DGRAM, 0],
        [libc::AF_UNIX, libc::SOCK_SEQPACKET, 0],
        [libc::AF_INET, libc::SOCK_STREAM, 0],
        [libc::AF_INET, libc::SOCK_DGRAM, 0],
        [libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP],
        [libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP],
        [libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP],
        [libc::AF_INET6, libc::SOCK_STREAM, 0],
        [libc::AF_INET6, libc::SOCK_DGRAM, 0],
        [libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6],
        [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE],
        [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT],
        [libc::AF_PACKET, libc::SOCK_RAW, 0],
        [libc::AF_PACKET, libc::SOCK_DGRAM, 0],
        [libc::AF_VSOCK, libc::SOCK_STREAM, 0],
        [libc::AF_VSOCK, libc::SOCK_DGRAM, 0],
        [libc::AF_BLUETOOTH, libc::SOCK_RAW, 1],
        [libc::AF_ALG, libc::SOCK_SEQPACKET, 0],
        [libc::AF_XDP, libc::SOCK_RAW, 0],
    ];
    rows.extend(kinds.iter().map(|kind| kind.map(|word| word.to_string()).to_vec()));
    // The kernel takes 32 bits of each argument; a filter that compares 64 is open here.
    rows.push(["0x100000001", "1", "0"].map(str::to_owned).to_vec());
    rows.push(["0xdeadbeef00000002", "1", "0"].map(str::to_owned).to_vec());

    let mut opened = 0;
    for words in &rows {
        let expected = if scene.level() == Level::Namespaces && stays_inside(words) { INSIDE } else { EPERM };
        let control = open_socket(scene, Policy::Bare, words);
        opened += u32::from(control.verdict().is_ok());
        for policy in Policy::OFFLINE {
            failures.judge(&format!("socket {words:?}"), expected, &open_socket(scene, policy, words));
        }
    }
    let expected = if scene.identity() == Identity::Root { 14 } else { 10 };
    failures
        .check(opened >= expected, || format!("only {opened} sockets could be opened without the sandbox"));
    failures.finish();
}

/// With the network on: internet protocols and the question for routes, and nothing else.
fn families_with_the_network_on(scene: &Scene) {
    let mut failures = Failures::new();
    let policy = Policy::WorkspaceWriteNetwork;
    let rows = [
        (libc::AF_INET, libc::SOCK_STREAM, 0, Expect::Ok),
        (libc::AF_INET, libc::SOCK_DGRAM, 0, Expect::Ok),
        (libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0, Expect::Ok),
        (libc::AF_INET6, libc::SOCK_STREAM, 0, Expect::Ok),
        (libc::AF_INET6, libc::SOCK_DGRAM, 0, Expect::Ok),
        (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE, Expect::Ok),
        (libc::AF_NETLINK, libc::SOCK_DGRAM, libc::NETLINK_ROUTE, Expect::Ok),
        (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT, EPERM),
        (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_SOCK_DIAG, EPERM),
        (libc::AF_UNIX, libc::SOCK_STREAM, 0, EPERM),
        (libc::AF_UNIX, libc::SOCK_DGRAM, 0, EPERM),
        (libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, EPERM),
        (libc::AF_VSOCK, libc::SOCK_STREAM, 0, EPERM),
        (libc::AF_PACKET, libc::SOCK_RAW, 0, EPERM),
    ];
    for (family, kind, protocol, expected) in rows {
        let words = [family, kind, protocol].map(|word| word.to_string());
        let name = format!("socket {words:?}");
        if family != libc::AF_PACKET && family != libc::AF_VSOCK {
            failures.judge(&name, Expect::Ok, &open_socket(scene, Policy::Bare, &words));
        }
        failures.judge(&name, expected, &open_socket(scene, policy, &words));
    }
    for family in (0..FAMILIES)
        .filter(|family| ![libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(i64::from).contains(family))
    {
        let words = [family.to_string(), "3".to_owned(), "0".to_owned()];
        failures.judge(&format!("socket {words:?}"), EPERM, &open_socket(scene, policy, &words));
    }
    failures.finish();
}

fn pairs_talk(scene: &Scene) {
    let mut failures = Failures::new();
    let offline = Policy::OFFLINE.into_iter().chain([Policy::WorkspaceWriteNetwork]);
    for policy in [Policy::Bare].into_iter().chain(offline) {
        for kind in ["stream", "stream-cloexec-nonblock", "seqpacket"] {
            failures.judge(kind, Expect::Ok, &scene.under(policy).probe(["pair", kind]).run());
        }
    }
    failures.finish();
}

/// A datagram socket goes wherever its next message is addressed, so there are no pairs of that type.
fn pairs_cannot_be_redirected(scene: &Scene) {
    let mut failures = Failures::new();
    let datagrams = Listener::unix_datagram(scene);
    let stream = Listener::unix_stream(scene);
    let redirect = ["pair-to-path", datagrams.address.as_str()];
    failures.judge("pair-to-path", Expect::Ok, &scene.under(Policy::Bare).probe(redirect).run());
    assert!(datagrams.heard(), "a datagram pair reaches a listener without the sandbox");

    for policy in Policy::OFFLINE.into_iter().chain([Policy::WorkspaceWriteNetwork]) {
        failures.judge("pair-to-path", EPERM, &scene.under(policy).probe(redirect).run());
        failures.check(!datagrams.heard(), || format!("pair-to-path [{policy:?}]: it was heard"));
        for kind in ["datagram", "raw"] {
            failures.judge(kind, EPERM, &scene.under(policy).probe(["pair", kind]).run());
        }
        // A stream pair is connected for good; the kernel says so before any filter has to.
        let run = scene.under(policy).probe(["pair-to-listener", stream.address.as_str()]).run();
        failures.judge("pair-to-listener", Expect::Fails(&[Errno::EISCONN, Errno::EPERM]), &run);
    }
    failures.finish();
}

fn loopback_with_the_network_on(scene: &Scene) {
    let mut failures = Failures::new();
    for host in ["127.0.0.1", "[::1]"] {
        for policy in [Policy::Bare, Policy::WorkspaceWriteNetwork] {
            failures.judge(host, Expect::Ok, &scene.under(policy).probe(["loopback", host]).run());
        }
        for policy in Policy::OFFLINE {
            let expected = scene.level().choose(EPERM, Expect::Ok);
            failures.judge(host, expected, &scene.under(policy).probe(["loopback", host]).run());
        }
    }
    let setting = ["-c", "sandbox_workspace_write.network_access=true"];
    let run = scene.under(Policy::WorkspaceWrite).options(setting).probe(["loopback", "127.0.0.1"]).run();
    failures.judge("network_access=true", Expect::Ok, &run);
    failures.finish();
}

fn clients_that_people_use(scene: &Scene) {
    let python =
        "import socket,sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5).sendall(b'hello')";
    let clients: [(&str, &[&str]); 4] = [
        ("bash", &["-c", "echo hello > /dev/tcp/127.0.0.1/{port}"]),
        ("python3", &["-c", python, "{port}"]),
        ("curl", &["-s", "-m", "5", "telnet://127.0.0.1:{port}"]),
        ("nc", &["-w", "5", "127.0.0.1", "{port}"]),
    ];
    let mut failures = Failures::new();
    for (name, arguments) in clients {
        let Some(tool) = require_tool(name) else { continue };
        let listener = Listener::tcp("127.0.0.1");
        let port = listener.port();
        let arguments: Vec<String> = arguments.iter().map(|word| word.replace("{port}", port)).collect();
        let run = |policy: Policy| scene.under(policy).command(&tool, &arguments).input("hello\n").start();
        for policy in [Policy::Bare, Policy::WorkspaceWriteNetwork] {
            let running = run(policy);
            failures.check(listener.hears(), || format!("{name} [{policy:?}]: it didn't reach the listener"));
            drop(running.finish());
        }
        for policy in Policy::OFFLINE {
            let ended = run(policy).finish();
            failures.check(!listener.heard() && ended.code() != Some(0), || {
                format!("{name} [{policy:?}]: it reached the listener, or says so\n{}", ended.describe())
            });
            failures.check(ended.code().is_some_and(|code| code < 125), || {
                format!("{name} [{policy:?}]: it was not run\n{}", ended.describe())
            });
        }
    }
    failures.finish();
}

/// Programs ask the environment before they try: the variable is there exactly where the network is off.
fn the_environment_says_so(scene: &Scene) {
    let script = "echo ${CODEX_SANDBOX_NETWORK_DISABLED-unset}";
    for policy in Policy::OFFLINE {
        let run = scene.under(policy).shell(script).run().expect_code(0);
        assert_eq!(run.text(), "1\n", "{}", run.describe());
    }
    for policy in [Policy::WorkspaceWriteNetwork, Policy::DangerFullAccess] {
        let run = scene.under(policy).shell(script).run().expect_code(0);
        assert_eq!(run.text(), "unset\n", "{}", run.describe());
    }
}
