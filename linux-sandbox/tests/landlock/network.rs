//! P2: every way out of the machine and to its other processes, by system calls.

use std::path::Path;

use codex_core::policy::{NetworkAccess, SandboxPolicy};

use crate::listeners::{Listener, loopbacks};
use crate::runs::{read_only, sandbox, unrestricted, workspace_write};
use crate::tools::{act, python, result, skip};

/// The statement that sends `hello` to a listener.
fn send(listener: &Listener) -> String {
    let Listener { family, kind, address, .. } = listener;
    format!(
        "peer = socket.socket(socket.{family}, socket.{kind}); peer.settimeout(60); peer.connect({address}); \
         peer.sendall(b'hello')"
    )
}

#[test]
fn p2_no_listener_can_be_reached() {
    let Some(python) = python() else { return };
    // The sockets lie in the workspace: that it can be written opens nothing.
    let workspace = tempfile::tempdir().unwrap();
    let confined = [read_only(), sandbox(&workspace_write(), workspace.path())];
    for listener in Listener::of_every_kind(workspace.path()) {
        let (name, send) = (listener.name(), send(&listener));
        assert_eq!(result(act(&python, &send, &[]), &unrestricted()), "done", "{name}, without the sandbox");
        assert_eq!(listener.receives(), "hello", "{name}, without the sandbox");
        for confined in &confined {
            assert_eq!(result(act(&python, &send, &[]), confined), "EPERM", "{name}");
            assert_eq!(listener.received(), None, "{name}");
        }
    }
}

#[test]
fn p2_with_the_network_on_sockets_of_the_host_stay_closed() {
    let Some(python) = python() else { return };
    let workspace = tempfile::tempdir().unwrap();
    let policy = SandboxPolicy::ReadOnly { network: NetworkAccess::Enabled };
    let confined = sandbox(&policy, workspace.path());
    for listener in Listener::of_every_kind(workspace.path()) {
        let (name, outcome) = (listener.name(), result(act(&python, &send(&listener), &[]), &confined));
        if listener.family == "AF_UNIX" {
            assert_eq!((outcome.as_str(), listener.received()), ("EPERM", None), "{name}");
        } else {
            assert_eq!((outcome.as_str(), listener.receives().as_str()), ("done", "hello"), "{name}");
        }
    }
}

/// Ways whose listener is the kernel, or this same process: the act succeeds once an answer has come.
const ROUND_TRIPS: [(&str, &str); 9] = [
    (
        "ICMP, as users ping",
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP); s.settimeout(60); \
         s.sendto(struct.pack('!BBHHH', 8, 0, 0, 0, 1), ('127.0.0.1', 0)); assert s.recv(100)",
    ),
    (
        "ICMPv6, as users ping",
        "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6); s.settimeout(60); \
         s.sendto(struct.pack('!BBHHH', 128, 0, 0, 0, 1), ('::1', 0)); assert s.recv(100)",
    ),
    (
        // 0xf7fe is the checksum of what stands before and after it.
        "ICMP, as root pings",
        "s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); s.settimeout(60); \
         s.sendto(struct.pack('!BBHHH', 8, 0, 0xf7fe, 0, 1), ('127.0.0.1', 0)); assert s.recv(100)",
    ),
    (
        "ICMPv6, as root pings",
        "s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6); s.settimeout(60); \
         s.sendto(struct.pack('!BBHHH', 128, 0, 0, 0, 1), ('::1', 0)); assert s.recv(100)",
    ),
    (
        "raw IPv4",
        "s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253); s.settimeout(60); \
         s.sendto(b'hello', ('127.0.0.1', 0)); assert s.recv(100).endswith(b'hello')",
    ),
    (
        "raw IPv6",
        "s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 253); s.settimeout(60); \
         s.sendto(b'hello', ('::1', 0)); assert s.recv(100).endswith(b'hello')",
    ),
    (
        "packets",
        "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88b5)); s.settimeout(60); \
         s.bind(('lo', 0x88b5)); s.send(bytes(12) + b'\\x88\\xb5hello'); assert b'hello' in s.recv(100)",
    ),
    (
        "netlink: a list of the interfaces",
        "s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); s.settimeout(60); s.bind((0, 0)); \
         s.send(struct.pack('=IHHII', 32, 18, 0x301, 1, 0) + bytes(16)); assert b'lo' in s.recv(65536)",
    ),
    (
        "netlink: events of the kernel",
        "s = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15); s.bind((0, 1))",
    ),
];

#[test]
fn p2_no_other_protocol_leads_out() {
    let Some(python) = python() else { return };
    let has_ipv6 = loopbacks().len() > 1;
    for (name, way) in ROUND_TRIPS {
        if way.contains("AF_INET6") && !has_ipv6 {
            continue;
        }
        match result(act(&python, way, &[]), &unrestricted()).as_str() {
            "done" => assert_eq!(result(act(&python, way, &[]), &read_only()), "EPERM", "{name}"),
            // Raw sockets are for root, and ping sockets (EACCES) for the groups of net.ipv4.ping_group_range. Where
            // this user has none, there is nothing for the sandbox to take away, and nothing to prove.
            refused @ ("EPERM" | "EACCES") if refused == "EACCES" || !nix::unistd::geteuid().is_root() => {
                eprintln!(
                    "\n=== NOT PROVED: {name} is not open to this user without the sandbox either ===\n"
                );
            }
            refused => skip(&format!("{name}: {refused} without the sandbox")),
        }
    }
}

#[test]
fn p2_no_family_of_sockets_is_left() {
    let Some(python) = python() else { return };
    // For every family and every kind: which errnos (0 for a socket) come.
    let sweep = "import itertools\n \
                 def errnos(family, kind):\n  \
                 try: socket.socket(family, kind).close(); return 0\n  \
                 except OSError as error: return error.errno\n \
                 found = {errnos(family, kind) for family in range(64) for kind in (1, 2, 3, 4, 5, 6, 10)}\n \
                 print(errno.EPERM in found, 0 in found, len(found) == 1)";
    assert_eq!(first_line(&result(act(&python, sweep, &[]), &read_only())), "True False True");
    let outside = result(act(&python, sweep, &[]), &unrestricted());
    assert!(first_line(&outside).ends_with("True False"), "{outside}");
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[test]
fn p2_what_stays_inside_works() {
    let Some(python) = python() else { return };
    let harmless = [
        "a, b = socket.socketpair(); a.sendall(b'hello'); assert b.recv(10) == b'hello'",
        "a, b = socket.socketpair(type=socket.SOCK_SEQPACKET); a.send(b'hello'); assert b.recv(10) == b'hello'",
        "a, b = socket.socketpair(); a.getpeername(); a.getsockname(); a.shutdown(socket.SHUT_WR)",
        "a, b = socket.socketpair(); a.sendmsg([b'hello']); assert b.recvmsg(10)[0] == b'hello'",
        "r, w = os.pipe(); os.write(w, b'hello'); assert os.read(r, 10) == b'hello'",
        "import asyncio; asyncio.run(asyncio.sleep(0))",
        "import multiprocessing; a, b = multiprocessing.Pipe(); a.send(1); assert b.recv() == 1",
        "import subprocess; assert subprocess.run(['true']).returncode == 0",
        "import threading; t = threading.Thread(target=print); t.start(); t.join()",
    ];
    for act_of in harmless {
        let outcome = result(act(&python, act_of, &[]), &read_only());
        assert_eq!(outcome.trim(), "done", "{act_of}");
    }
}

#[test]
fn p2_nobody_can_listen() {
    let Some(python) = python() else { return };
    let workspace = tempfile::tempdir().unwrap();
    let confined = sandbox(&workspace_write(), workspace.path());
    let path = workspace.path().join("socket");
    let statement = listen(&path);
    assert_eq!(result(act(&python, &statement, &[]), &confined), "EPERM");
    assert!(!path.exists(), "a socket stands in the workspace");
    assert_eq!(result(act(&python, &statement, &[]), &unrestricted()), "done");
}

fn listen(path: &Path) -> String {
    format!("s = socket.socket(socket.AF_UNIX); s.bind('{}'); s.listen()", path.display())
}
