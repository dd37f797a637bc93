//! P2: ways to somebody outside, with the network off.

use codex_tests::harness::{Expect, Identity};
use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::row::{Control, EACCES, ECONNREFUSED, EPERM, Row, call, each};

/// An address that is nobody's on this machine: there is no way to it.
const ENETUNREACH: Expect = Expect::Fails(&[Errno::ENETUNREACH]);

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    // Within, loopback is there and nobody listens on it.
    let mut rows = each(&[
        ("TCP", "tcp {to:tcp4}"),
        ("TCP over IPv6", "tcp {to:tcp6}"),
        ("TCP to an IPv4 address written as IPv6", "tcp [::ffff:127.0.0.1]:{port:tcp4}"),
        ("TCP to this host", "tcp 0.0.0.0:{port:tcp4}"),
        ("TCP to another loopback address", "tcp 127.0.0.1:{port:tcp4}"),
        ("TCP fast open", "tcp-fast-open {to:tcp4}"),
        ("TCP fast open, by connect", "tcp-fast-open-connect {to:tcp4}"),
        ("TCP fast open over IPv6", "tcp-fast-open {to:tcp6}"),
    ], |row| row.landlock(EPERM).namespaces(ECONNREFUSED));
    // UDP gets no answer: that nothing arrives is the proof.
    rows.extend(each(&[
        ("UDP", "udp {to:udp4}"),
        ("UDP over IPv6", "udp {to:udp6}"),
        ("UDP, several messages", "udp-many {to:udp4}"),
        ("UDP, connected", "udp-connected {to:udp4}"),
    ], |row| row.landlock(EPERM).namespaces(Expect::Ok)));
    // The first TCP of an address beyond loopback: there is no other device.
    rows.extend(each(&[
        ("TCP to the address of this machine", "tcp {machine}:{port:any4}"),
        ("UDP to the address of this machine", "udp {machine}:{port:udp-any4}"),
    ], |row| row.landlock(EPERM).namespaces(ENETUNREACH).if_present()));

    rows.extend(each(&[
        ("a stream socket by its path", "unix-stream {to:stream}"),
        ("a stream socket by a relative path", "unix-stream ../outside/stream.socket"),
        ("a stream socket by a symlink", "unix-stream {in}/link-to-stream"),
        ("a stream socket by /proc/self/root", "unix-stream /proc/self/root{to:stream}"),
        ("a stream socket that is held", "unix-stream-held {to:stream}"),
        ("a stream socket in the workspace", "unix-stream {in}/host.socket"),
        ("a stream socket in the workspace, by a relative path", "unix-stream host.socket"),
        ("a stream socket in the workspace that is held", "unix-stream-held {in}/host.socket"),
        ("a stream socket by its second name in the workspace", "unix-stream {in}/linked.socket"),
        ("a sequenced socket by its path", "unix-seqpacket {to:seqpacket}"),
    ], |row| row.landlock(EPERM).namespaces(EACCES)));
    rows.extend(each(&[
        ("a datagram socket by its path", "unix-datagram {to:datagram}"),
        ("a datagram socket, connected", "unix-datagram-connected {to:datagram}"),
        ("a datagram socket, by sendmsg", "unix-datagram-message {to:datagram}"),
        ("a datagram socket in the workspace", "unix-datagram {in}/host-datagram.socket"),
        ("a datagram pair that turns elsewhere", "pair-to-path {to:datagram}"),
        ("a datagram socket by an abstract name", "abstract-datagram {to:abstract-datagram}"),
    ], |row| row.refused(EPERM)));
    // Names belong to the namespace: the host's are not there.
    rows.extend(each(&[
        ("a stream socket by an abstract name", "abstract-stream {to:abstract-stream}"),
        ("a sequenced socket by an abstract name", "abstract-seqpacket {to:abstract-seqpacket}"),
    ], |row| row.landlock(EPERM).namespaces(ECONNREFUSED)));

    // Families that reach past the network: raw devices, hypervisors, the kernel's own services.
    rows.extend([
        ("ICMP", [libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP]),
        ("raw IP", [libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP]),
        ("raw IPv6", [libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6]),
        ("packets of a device", [libc::AF_PACKET, libc::SOCK_RAW, 0]),
        ("packets, cooked", [libc::AF_PACKET, libc::SOCK_DGRAM, 0]),
        ("the hypervisor, stream", [libc::AF_VSOCK, libc::SOCK_STREAM, 0]),
        ("the hypervisor, datagrams", [libc::AF_VSOCK, libc::SOCK_DGRAM, 0]),
        ("Bluetooth", [libc::AF_BLUETOOTH, libc::SOCK_RAW, 1]),
        ("the kernel's ciphers", [libc::AF_ALG, libc::SOCK_SEQPACKET, 0]),
        ("XDP", [libc::AF_XDP, libc::SOCK_RAW, 0]),
        ("TIPC", [libc::AF_TIPC, libc::SOCK_RDM, 0]),
        ("IPsec keys", [libc::AF_KEY, libc::SOCK_RAW, 2]),
        ("CAN", [libc::AF_CAN, libc::SOCK_RAW, 1]),
        ("netlink, events of devices", [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT]),
        ("netlink, sockets of all", [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_SOCK_DIAG]),
        ("netlink, audit", [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_AUDIT]),
        ("netlink, packet filters", [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER]),
        ("netlink, generic", [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_GENERIC]),
    ].map(|(name, [family, kind, protocol])| {
        Row::new(name, call(libc::SYS_socket, &format!("{family} {kind} {protocol}")))
            .refused(EPERM)
            .control(Control::Succeeds)
            .if_present()
    }));

    // The tables of other architectures, where the same numbers mean other calls.
    #[cfg(target_arch = "x86_64")]
    {
        const X32: i64 = 0x4000_0000;
        let killed = Expect::Dies(Signal::SIGSYS);
        let known = Control::Gives(Expect::OkOr(&[Errno::ENOSYS]));
        rows.extend([
            Row::new("x32 socket", call(X32 + libc::SYS_socket, "2 1 0")).refused(killed).control(known),
            Row::new("x32 socketpair", call(X32 + libc::SYS_socketpair, "1 2 0 zeros:8")).refused(killed).control(known),
            Row::new("32-bit socketcall", "int80 102").refused(killed)
                .control(Control::Gives(Expect::Fails(&[Errno::EINVAL, Errno::EFAULT]))).if_present(),
        ]);
    }
    rows.push(Row::new("io_uring", call(libc::SYS_io_uring_setup, "4 zeros:120"))
        .refused(Expect::Fails(&[Errno::ENOSYS])).control(Control::Succeeds).if_present());
    // Root may look at the host's packets by a device of its own.
    rows.push(Row::new("a tunnel", "open /dev/net/tun RDWR").landlock(EACCES).namespaces(crate::row::ENOENT)
        .control(Control::Succeeds).only(Identity::Root).if_present());
    rows
}
