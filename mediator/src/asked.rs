//! Where a request wants to go.

use std::net::Ipv6Addr;

use hyper::Method;
use hyper::header::HeaderValue;
use hyper::http::uri::{Scheme, Uri};

const NO_PROXY_REQUEST: &str = "this is the sandbox's proxy: it takes CONNECT HOST:PORT and http:// URLs";

/// Where a request wants to go.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Without the brackets of an address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What is said of it to the host.
    pub(crate) host_header: HeaderValue,
}

impl Asked {
    /// What is wrong with the request, otherwise.
    pub(crate) fn of(method: &Method, uri: &Uri) -> Result<Self, &'static str> {
        let authority = uri.authority().ok_or(NO_PROXY_REQUEST)?;
        let is_tunnel = method == Method::CONNECT;
        if !is_tunnel && uri.scheme() != Some(&Scheme::HTTP) {
            return Err(NO_PROXY_REQUEST);
        }
        // `user:password@` is for the client to say in a header of its own.
        let text = authority.as_str();
        let text = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
        let host = authority.host();
        // What stands behind the host is a port or nothing: whatever else could be read as another one.
        let port = match text.strip_prefix(host) {
            Some("" | ":") if is_tunnel => return Err("CONNECT takes HOST:PORT"),
            Some("" | ":") => None,
            Some(port) => Some(port.strip_prefix(':').and_then(number).ok_or("the port is no port")?),
            None => return Err("the host can't be told"),
        };
        let header = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let host_header =
            header.parse().map_err(|_invalid| "the host's name has characters that no name has")?;
        let host = match host.strip_prefix('[') {
            // Nothing else stands in brackets, such as a name that somebody else would look up.
            Some(rest) => {
                let address = rest.strip_suffix(']').and_then(|rest| rest.parse::<Ipv6Addr>().ok());
                address.ok_or("what stands in brackets is no address")?.to_string()
            }
            None => host.to_owned(),
        };
        Ok(Self { host, port: port.unwrap_or(80), host_header })
    }
}

/// A port, of digits alone.
fn number(text: &str) -> Option<u16> {
    let port = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    port.filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use codex_core::policy::Host;
    use hyper::Method;
    use hyper::http::uri::Uri;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::Asked;

    fn asked(method: &Method, uri: &str) -> Option<(String, u16, String)> {
        let asked = Asked::of(method, &uri.parse::<Uri>().ok()?).ok()?;
        Some((asked.host, asked.port, asked.host_header.to_str().unwrap().to_owned()))
    }

    #[test]
    fn host_and_port_are_read_in_one_way() {
        let is = |host: &str, port, header: &str| Some((host.to_owned(), port, header.to_owned()));
        let get = |uri| asked(&Method::GET, uri);
        assert_eq!(get("http://a.example/"), is("a.example", 80, "a.example"));
        assert_eq!(get("http://a.example:/"), is("a.example", 80, "a.example"));
        assert_eq!(get("HTTP://a.example:080/"), is("a.example", 80, "a.example:80"));
        assert_eq!(get("http://u:1@a.example:8080/"), is("a.example", 8080, "a.example:8080"));
        assert_eq!(get("http://[::1]:8080/"), is("::1", 8080, "[::1]:8080"));
        assert_eq!(get("http://[::1]/"), is("::1", 80, "[::1]"));
        for none in [
            "/",
            "*",
            "a.example:80",
            "https://a.example/",
            "http://a.example:0/",
            "http://a.example:99999/",
            "http://a.example:+80/",
            "http://a.example:8o/",
            "http://[127.0.0.1]/",
            "http://[a.example]/",
        ] {
            assert_eq!(get(none), None, "{none}");
        }
        let connect = |uri| asked(&Method::CONNECT, uri);
        assert_eq!(connect("a.example:443"), is("a.example", 443, "a.example:443"));
        assert_eq!(connect("[::1]:443"), is("::1", 443, "[::1]:443"));
        for none in ["a.example", "a.example:", "a.example:0", "[::1]", "[a]:1", "/", "*"] {
            assert_eq!(connect(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn what_the_host_is_told_is_what_was_judged(
            text in prop_oneof![
                any::<String>(),
                "(http://)?([a-z0-9:.]{0,6}@)?[]\\[a-z0-9:.@%_+-]{0,16}(:[0-9+]{0,6})?(/[a-z:@]{0,4})?",
            ],
            is_tunnel in any::<bool>(),
        ) {
            let method = if is_tunnel { Method::CONNECT } else { Method::GET };
            if let Some((host, port, header)) = asked(&method, &text) {
                prop_assert!(port != 0 && header.bytes().all(|byte| byte.is_ascii_graphic() && !b"@/#?".contains(&byte)));
                let plain = match header.strip_suffix(&format!(":{port}")) {
                    Some(plain) => plain,
                    None => {
                        prop_assert_eq!(port, 80);
                        header.as_str()
                    }
                };
                // Only what names a host is ever reached.
                if let Some(named) = Host::named(&host) {
                    prop_assert_eq!(Host::named(plain), Some(named), "{}", header);
                }
            }
        }
    }
}
