//! Ways to the outside through sockets.

use super::{Row, Test, int, long, row};

const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;

/// `SOCK_TYPE_MASK` of `linux/net.h`: the bits above it are flags.
const TYPE_MASK: u64 = 0xf;
const SOCK_DGRAM: u64 = 2;
const SOCK_RAW: u64 = 3;
const SOCK_PACKET: u64 = 10;

const NETLINK_ROUTE: u64 = 0;

/// Whatever the network rule: a pair of unix sockets is how processes inside talk, and only a pair that can't be
/// pointed elsewhere.
pub(super) const ALWAYS: &[Row] = &[
    row!(SYS_socketpair, [int(0, Test::IsNot(AF_UNIX))], "only unix pairs are known to stay inside"),
    row!(
        SYS_socketpair,
        [int(1, Test::Masked { mask: TYPE_MASK, value: SOCK_DGRAM })],
        "a datagram socket can be pointed at a host socket by connect or by the address in a message"
    ),
    row!(
        SYS_socketpair,
        [int(1, Test::Masked { mask: TYPE_MASK, value: SOCK_RAW })],
        "a raw unix socket is a datagram socket by another name"
    ),
];

/// Network off: no socket but a pair, and nothing that gives a socket an address.
pub(super) const OFF: &[Row] = &[
    row!(SYS_socket, [], "every family leads out: to the network, to the kernel, or to a socket of the host"),
    row!(SYS_connect, [], "a stream that came as standard input could be pointed elsewhere"),
    row!(SYS_bind, [], "a name or a port is reachable from outside"),
    row!(SYS_listen, [], "lets the outside in"),
    row!(SYS_accept, [], "lets the outside in"),
    row!(SYS_accept4, [], "lets the outside in"),
    row!(SYS_sendto, [long(4, Test::IsNot(0))], "an address in the call reaches anybody"),
];

/// What of the families that stay is kernel administration, wherever there are sockets at all.
pub(super) const FAMILIES: &[Row] = &[
    row!(
        SYS_socket,
        [int(0, Test::Is(AF_NETLINK)), int(2, Test::IsNot(NETLINK_ROUTE))],
        "programs need the routing answers of netlink; its other protocols are kernel administration"
    ),
    row!(
        SYS_socket,
        [int(1, Test::Masked { mask: TYPE_MASK, value: SOCK_PACKET })],
        "the obsolete name of a packet socket, which the kernel still translates"
    ),
];

/// Unix sockets where something decides whom they reach: the [broker](crate::broker), or Landlock. A stream names its peer
/// in `connect` alone.
///
/// Otherwise as [`OFF_INSIDE`] and [`ON`].
pub(super) const WITH_UNIX: &[Row] = &[
    row!(
        SYS_socket,
        [
            int(0, Test::IsNot(AF_INET)),
            int(0, Test::IsNot(AF_INET6)),
            int(0, Test::IsNot(AF_NETLINK)),
            int(0, Test::IsNot(AF_UNIX))
        ],
        "kernel surface; the hypervisor (vsock) is in no network namespace"
    ),
    row!(
        SYS_socket,
        [int(0, Test::Is(AF_UNIX)), int(1, Test::Masked { mask: TYPE_MASK, value: SOCK_DGRAM })],
        "a datagram names its receiver in each message, which no filter can read"
    ),
    row!(
        SYS_socket,
        [int(0, Test::Is(AF_UNIX)), int(1, Test::Masked { mask: TYPE_MASK, value: SOCK_RAW })],
        "a raw unix socket is a datagram socket by another name"
    ),
];

/// Network off in a network namespace of our own: the internet protocols and netlink lead no further than its loopback.
/// Unix sockets are not confined by it where they have a name in a file system.
pub(super) const OFF_INSIDE: &[Row] = &[row!(
    SYS_socket,
    [int(0, Test::IsNot(AF_INET)), int(0, Test::IsNot(AF_INET6)), int(0, Test::IsNot(AF_NETLINK))],
    "kernel surface; host services (unix) and the hypervisor (vsock) are in no network namespace"
)];

/// Network on: the internet protocols and the kernel's answers about routes. Sockets of the host stay closed.
pub(super) const ON: &[Row] = &[row!(
    SYS_socket,
    [int(0, Test::IsNot(AF_INET)), int(0, Test::IsNot(AF_INET6)), int(0, Test::IsNot(AF_NETLINK))],
    "the network that was allowed is the internet's: not host services (unix), the hypervisor (vsock), the wire \
         (packet), Bluetooth, or the kernel's less used protocols"
)];
