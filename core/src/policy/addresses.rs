//! Which addresses belong to everybody, and which to a machine, a network or nobody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where clouds give out credentials and what else a machine is told about itself, beside the link-local addresses (169.254.0.0/16,
/// fe80::/10) that most of them use. `docs/exec-server.md` has this list and [`CREDENTIAL_NAMES`].
const CREDENTIALS: [(Ipv4Addr, u32); 3] = [
    // Alibaba Cloud.
    (Ipv4Addr::new(100, 100, 100, 200), 32),
    // Azure's wire server. It looks like any other address.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    // Oracle Cloud.
    (Ipv4Addr::new(192, 0, 0, 192), 32),
];

/// The same of version 6.
const CREDENTIALS_6: [(Ipv6Addr, u32); 3] = [
    // Amazon: the instance's metadata (254), the identity of pods (23), and whatever else it puts there.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    // Google Cloud.
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
    // Scaleway.
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128),
];

/// The names by which clouds' own name servers lead there, to whatever address.
const CREDENTIAL_NAMES: [&str; 4] =
    ["metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"];

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

fn is_in_4(address: Ipv4Addr, networks: &[(Ipv4Addr, u32)]) -> bool {
    let differing = |network: &Ipv4Addr| u32::from(address) ^ u32::from(*network);
    networks.iter().any(|(network, length)| differing(network).leading_zeros() >= *length)
}

fn is_in_6(address: Ipv6Addr, networks: &[(Ipv6Addr, u32)]) -> bool {
    let differing = |network: &Ipv6Addr| u128::from(address) ^ u128::from(*network);
    networks.iter().any(|(network, length)| differing(network).leading_zeros() >= *length)
}

/// Whether an address of version 6 is a plain global one. Those are not that stand for one of version 4 (mapped, compatible,
/// translated, NAT64, 6to4, Teredo), nor local and multicast ones.
fn is_plain(address: Ipv6Addr) -> bool {
    u128::from(address) >> 125 == 1 && !is_in_6(address, &SPECIAL_6)
}

/// Whether an address is one that everybody reaches as the same machine.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !is_in_4(address, &CREDENTIALS) && !is_in_4(address, &SPECIAL),
        IpAddr::V6(address) => is_plain(address),
    }
}

/// Whether an address is never meant by a name that somebody grants: what a name leads to is its owner's choice.
#[must_use]
pub fn is_never_named(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_link_local()
                || address.is_multicast()
                || address.is_unspecified()
                || address.is_broadcast()
                || is_in_4(address, &CREDENTIALS)
        }
        // What stands for an address of version 4 may stand for any of these, and is none that a name needs.
        IpAddr::V6(address) => {
            is_in_6(address, &CREDENTIALS_6)
                || !(is_plain(address) || address.is_loopback() || address.is_unique_local())
        }
    }
}

/// Whether a name, in small letters and without a dot at its end, is one of those by which credentials are asked for.
#[must_use]
pub fn is_of_credentials(name: &str) -> bool {
    CREDENTIAL_NAMES.contains(&name)
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
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::a9fe:a9fe",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:42::42",
            // 169.254.169.254 and 10.0.0.1 in other forms: mapped, compatible, translated, NAT64 and that of a network's own,
            // 6to4, Teredo.
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::a00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2001:0:a9fe:a9fe::1",
            "2001:0:808:808::5601:5601",
        ] {
            assert!(is_never_named(address(never)), "{never}");
        }
        for maybe in [
            "127.0.0.1",
            "10.0.0.1",
            "100.100.100.201",
            "192.168.0.1",
            "::1",
            "fd12::1",
            "fd20:ce::1",
            "8.8.8.8",
            "2a00:1450::1",
        ] {
            assert!(!is_never_named(address(maybe)), "{maybe}");
        }
    }
}
