//! Hosts by name or address, and the port: what of a network that is off can be reached all the same.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A host, at one port or at all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostGrant {
    /// The host.
    pub host: Host,
    /// The port; all of them where there is none.
    pub port: Option<u16>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// This address, whatever it is.
    Address(IpAddr),
    /// What the name leads to, in small letters and without a dot at its end.
    Name(String),
    /// What the names below this one lead to (`*.NAME`), and not the name itself. The owner of a name chooses what is below it,
    /// so that these lead to public addresses only.
    Below(String),
}

/// A text that names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not HOST, HOST:PORT, *.NAME, *.NAME:PORT, ADDRESS:PORT or [ADDRESS]:PORT")]
pub struct HostGrantError;

impl Host {
    /// What is meant by a host as a URL, a proxy or a person names it: an address, or a name.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Ok(address) = inner.unwrap_or(text).parse::<IpAddr>() {
            return (inner.is_none() || address.is_ipv6()).then_some(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        // A last label that is a number, `0x7f` too, would be read as an address by whoever reads URLs.
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_digits = last.bytes().all(|byte| byte.is_ascii_digit());
        let is_hex =
            last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let is_name = name.len() <= 253 && name.split('.').all(is_label) && !is_digits && !is_hex;
        is_name.then_some(Self::Name(name))
    }
}

impl Host {
    /// Whether it is whoever asks: an address of loopback or of nobody, or a name that means one everywhere, without a question.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback() || address.is_unspecified(),
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Self::Below(_) => false,
        }
    }
}

/// A host and a port as they stand in a request or a report.
#[must_use]
pub fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl HostGrant {
    /// Whether it is about this host and port. What a name leads to is another question.
    #[must_use]
    pub fn is_about(&self, host: &Host, port: u16) -> bool {
        let same = match (&self.host, host) {
            (Host::Below(above), Host::Name(name)) => {
                name.strip_suffix(above.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (granted, host) => granted == host,
        };
        same && self.port.is_none_or(|granted| granted == port)
    }
}

impl HostGrant {
    /// Whether it gives all that another would.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let is_at = |port| self.port.is_none_or(|own| own == port);
        let host = match (&self.host, &other.host) {
            (Host::Below(above), Host::Below(name)) => {
                name == above || name.strip_suffix(above.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            (_, host) => self.is_about(host, self.port.unwrap_or(0)),
        };
        host && other.port.map_or(self.port.is_none(), is_at)
    }
}

impl Serialize for HostGrant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostGrant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for HostGrant {
    type Err = HostGrantError;

    fn from_str(text: &str) -> Result<Self, HostGrantError> {
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self { host: Host::Address(address.into()), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (text, None),
            // Digits alone: a sign would be read as part of them.
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (host, Some(port.parse().map_err(|_| HostGrantError)?))
            }
            Some(_) => return Err(HostGrantError),
        };
        // A bare address of version 6 in front of a port could be read in two ways.
        if port == Some(0) || (host.contains(':') && !host.starts_with('[')) {
            return Err(HostGrantError);
        }
        let host = match host.strip_prefix("*.").map(Host::named) {
            Some(Some(Host::Name(above))) => Host::Below(above),
            Some(_) => return Err(HostGrantError),
            None => Host::named(host).ok_or(HostGrantError)?,
        };
        Ok(Self { host, port })
    }
}

impl std::fmt::Display for HostGrant {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.host, self.port) {
            (Host::Name(name), _) => formatter.write_str(name)?,
            (Host::Below(above), _) => write!(formatter, "*.{above}")?,
            (Host::Address(IpAddr::V6(address)), Some(_)) => write!(formatter, "[{address}]")?,
            (Host::Address(address), _) => address.fmt(formatter)?,
        }
        match self.port {
            Some(port) => write!(formatter, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use proptest::sample::select;

    use super::{Host, HostGrant};

    /// Few labels, so that names are often the same, or below one another.
    fn name() -> impl Strategy<Value = String> {
        proptest::collection::vec(select(vec!["a", "b", "ab", "A", "a-b", "0x", "7"]), 1..4)
            .prop_map(|labels| labels.join("."))
    }

    fn address() -> impl Strategy<Value = String> {
        select(vec!["127.0.0.1", "10.0.0.1", "::1", "[::1]", "::ffff:127.0.0.1", "[::ffff:7f00:1]"])
            .prop_map(str::to_owned)
    }

    fn port() -> impl Strategy<Value = Option<u16>> {
        select(vec![None, Some(1), Some(443), Some(65535)])
    }

    fn grant() -> impl Strategy<Value = HostGrant> {
        let host = prop_oneof![name(), name().prop_map(|name| format!("*.{name}")), address()];
        (host, port()).prop_filter_map("a grant", |(host, port)| {
            let text = match port {
                Some(port) => format!("{host}:{port}"),
                None => host,
            };
            text.parse().ok()
        })
    }

    fn asked() -> impl Strategy<Value = Host> {
        prop_oneof![name(), address()].prop_filter_map("a host", |text| Host::named(&text))
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_in_one_form(
            text in prop_oneof![any::<String>(), "[-a-z0-9.:*_\\[\\]+x ]{0,24}", name(), address()],
            above in prop_oneof![Just(""), Just("*.")],
        ) {
            if let Ok(grant) = format!("{above}{text}").parse::<HostGrant>() {
                let written = grant.to_string();
                prop_assert!(written.bytes().all(|byte| byte.is_ascii_graphic()), "{written:?}");
                prop_assert_eq!(written.parse(), Ok(grant.clone()));
                prop_assert!(grant.covers(&grant));
            }
            if let Some(host) = Host::named(&text) {
                prop_assert_eq!(Host::named(&text.to_ascii_uppercase()), Some(host.clone()));
                // No name is one that somebody else would read as an address.
                if let Host::Name(name) = host {
                    let last = name.rsplit('.').next().unwrap_or_default();
                    prop_assert!(last.parse::<u128>().is_err() && !last.starts_with("0x"), "{name}");
                }
            }
        }

        #[test]
        fn what_covers_gives_all_that_is_covered(
            one in grant(),
            other in grant(),
            host in asked(),
            port in select(vec![1, 443, 80]),
        ) {
            let exactly = HostGrant { host: host.clone(), port: Some(port) };
            prop_assert_eq!(one.covers(&exactly), one.is_about(&host, port));
            if one.covers(&other) {
                prop_assert!(!other.is_about(&host, port) || one.is_about(&host, port), "{one} {other}");
                // Two that cover each other are the same.
                prop_assert!(!other.covers(&one) || one == other, "{one} {other}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Host, HostGrant, HostGrantError};

    #[test]
    fn what_is_read_is_what_is_written() {
        for text in [
            "127.0.0.1:80",
            "10.0.0.1",
            "[::1]:8080",
            "::1",
            "localhost:1",
            "a-b.example",
            "*.example.com",
            "*.b:443",
        ] {
            assert_eq!(text.parse::<HostGrant>().unwrap().to_string(), text);
        }
        assert_eq!("Example.COM.:443".parse::<HostGrant>().unwrap().to_string(), "example.com:443");
        for text in [
            "",
            ":80",
            "a:0",
            "a:65536",
            "a b",
            "*",
            "*.",
            "*.1",
            "*.[::1]:1",
            "a.*.example",
            "::1:80:",
            "http://a",
            "a/b",
            "[127.0.0.1]:1",
            "1.2.3",
            "0x7f.1:8",
            "a..b",
            "a:x",
            "a:+80",
            "a:",
            "0x7f000001",
            "0x7f000001:80",
            "*.0x7f",
            "a.0x",
        ] {
            assert_eq!(text.parse::<HostGrant>(), Err(HostGrantError), "{text}");
        }
    }

    #[test]
    fn a_grant_is_about_its_host_and_port_alone() {
        let about = |grant: &str, host: &str, port| {
            grant.parse::<HostGrant>().unwrap().is_about(&Host::named(host).unwrap(), port)
        };
        for (grant, host) in [
            ("crates.io", "crates.io"),
            ("crates.io:443", "CRATES.IO."),
            ("*.crates.io", "static.crates.io"),
            ("*.crates.io:443", "a.b.crates.io"),
            ("10.0.0.1", "10.0.0.1"),
            ("[::1]:443", "[::1]"),
            ("::1", "::1"),
        ] {
            assert!(about(grant, host, 443), "{grant} {host}");
        }
        for (grant, host) in [
            ("crates.io", "static.crates.io"),
            ("crates.io", "evilcrates.io"),
            ("crates.io:80", "crates.io"),
            ("*.crates.io", "crates.io"),
            ("*.crates.io", "evilcrates.io"),
            ("*.crates.io", "crates.io.evil.example"),
            ("*.0.1.example", "127.0.0.1"),
            ("127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "localhost"),
        ] {
            assert!(!about(grant, host, 443), "{grant} {host}");
        }
        let covers = |one: &str, other: &str| {
            one.parse::<HostGrant>().unwrap().covers(&other.parse::<HostGrant>().unwrap())
        };
        for (one, other) in [
            ("a.b", "a.b:1"),
            ("a.b", "a.b"),
            ("*.b", "a.b:1"),
            ("*.b", "*.a.b"),
            ("*.b:1", "*.b:1"),
            ("::1", "[::1]:2"),
        ] {
            assert!(covers(one, other) && (one == other || !covers(other, one)), "{one} {other}");
        }
        for (one, other) in
            [("a.b:1", "a.b"), ("*.b", "b"), ("a.b", "*.a.b"), ("*.b", "*.ab"), ("*.b:1", "*.b:2")]
        {
            assert!(!covers(one, other), "{one} {other}");
        }
        for (host, is_it) in [
            ("localhost", true),
            ("A.LOCALHOST.", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("0.0.0.0", true),
            ("localhost.example", false),
            ("notlocalhost", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(Host::named(host).unwrap().is_loopback(), is_it, "{host}");
        }
        for text in ["", ".", "a b", "a/b", "a:1", "*", "*.a", "0x7f.1", "1.2.3", "[10.0.0.1]", "a\r\nb"] {
            assert_eq!(Host::named(text), None, "{text:?}");
        }
    }
}
