//! Which addresses belong to everybody, and which to a machine, a network or nobody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where clouds answer with credentials at an address that looks like any other (Azure).
const METADATA: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Networks of version 4 that are somebody's own or nobody's (RFC 6890 and its registry): network, length of the prefix.
const SPECIAL: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Networks within 2000::/3 that are not plain addresses: tunnels, which carry an address of version 4 that nobody has looked
/// at, and what is for documents.
const SPECIAL_6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address is one that everybody reaches as the same machine. Of version 6, only plain global addresses are: not
/// those that stand for one of version 4 (mapped, 6to4, NAT64), local or multicast ones.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address != METADATA
                && !SPECIAL.iter().any(|(network, length)| {
                    u32::from(address) >> (32 - length) == u32::from(*network) >> (32 - length)
                })
        }
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            bits >> 125 == 1
                && !SPECIAL_6
                    .iter()
                    .any(|(network, length)| bits >> (128 - length) == u128::from(*network) >> (128 - length))
        }
    }
}

/// Whether an address is never meant by a name that somebody grants: what a name leads to is its owner's choice.
pub(super) fn is_never_named(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_link_local()
                || address.is_multicast()
                || address.is_unspecified()
                || address.is_broadcast()
                || address == METADATA
        }
        IpAddr::V6(address) => {
            let aws = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            address.is_unicast_link_local()
                || address.is_multicast()
                || address.is_unspecified()
                || address == aws
                // What stands for an address of version 4 is looked at as that.
                || (u128::from(address) >> 125 != 1
                    && !address.is_loopback()
                    && !address.is_unique_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{is_never_named, is_public};

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_somebodys_own_is_not_public() {
        for public in
            ["8.8.8.8", "1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1"]
        {
            assert!(is_public(address(public)), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::7f00:1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address(special)), "{special}");
        }
    }

    #[test]
    fn a_name_leads_to_no_credentials() {
        for never in [
            "169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "168.63.129.16",
            "0.0.0.0",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
        ] {
            assert!(is_never_named(address(never)), "{never}");
        }
        for maybe in ["127.0.0.1", "10.0.0.1", "::1", "fd12::1", "8.8.8.8"] {
            assert!(!is_never_named(address(maybe)), "{maybe}");
        }
    }
}
