//! Servers that clients of a server may ask over HTTP, whatever else is closed.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A host, at one port or at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    /// The host.
    pub host: HttpHost,
    /// The port; all of them where there is none.
    pub port: Option<u16>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpHost {
    /// This address, whatever it is.
    Address(IpAddr),
    /// What the name leads to, in small letters and without a dot at its end.
    Name(String),
}

/// A text that names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not HOST, HOST:PORT, ADDRESS:PORT or [ADDRESS]:PORT")]
pub struct HttpGrantError;

impl FromStr for HttpGrant {
    type Err = HttpGrantError;

    fn from_str(text: &str) -> Result<Self, HttpGrantError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { host: HttpHost::Address(address), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (text, None),
            Some((host, port)) => (host, Some(port.parse().map_err(|_| HttpGrantError)?)),
        };
        if port == Some(0) {
            return Err(HttpGrantError);
        }
        if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            let address: Ipv6Addr = inner.parse().map_err(|_| HttpGrantError)?;
            return Ok(Self { host: HttpHost::Address(address.into()), port });
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            let bare = matches!(address, IpAddr::V6(_));
            return if bare {
                Err(HttpGrantError)
            } else {
                Ok(Self { host: HttpHost::Address(address), port })
            };
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        // A last label of digits would be read as an address by whoever reads URLs.
        let last = name.rsplit('.').next().unwrap_or_default();
        if !name.split('.').all(is_label) || last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HttpGrantError);
        }
        Ok(Self { host: HttpHost::Name(name), port })
    }
}

impl std::fmt::Display for HttpGrant {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.host, self.port) {
            (HttpHost::Name(name), _) => formatter.write_str(name)?,
            (HttpHost::Address(IpAddr::V6(address)), Some(_)) => write!(formatter, "[{address}]")?,
            (HttpHost::Address(address), _) => address.fmt(formatter)?,
        }
        match self.port {
            Some(port) => write!(formatter, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HttpGrant, HttpGrantError};

    #[test]
    fn what_is_read_is_what_is_written() {
        for text in ["127.0.0.1:80", "10.0.0.1", "[::1]:8080", "::1", "localhost:1", "a-b.example"] {
            assert_eq!(text.parse::<HttpGrant>().unwrap().to_string(), text);
        }
        assert_eq!("Example.COM.:443".parse::<HttpGrant>().unwrap().to_string(), "example.com:443");
        for text in [
            "",
            ":80",
            "a:0",
            "a:65536",
            "a b",
            "*.example",
            "http://a",
            "a/b",
            "[127.0.0.1]:1",
            "1.2.3",
            "0x7f.1:8",
            "a..b",
            "a:x",
        ] {
            assert_eq!(text.parse::<HttpGrant>(), Err(HttpGrantError), "{text}");
        }
    }
}
