//! Hosts and ports in what programs say.

/// The host that a line speaks of: a URL's, a numeric one with a port, or what stands behind the text given.
pub(super) fn hosts_of(line: &str, behind: &str) -> Option<(String, Option<u16>)> {
    if !behind.is_empty() {
        let lower = line.to_ascii_lowercase();
        let after = lower.find(behind).and_then(|at| line.get(at + behind.len()..)).unwrap_or_default();
        let first = after.trim_start_matches([':', ' ', '(']).split_whitespace().next().unwrap_or_default();
        if let Some((host, port)) = host_of(first.trim_matches(MARKS)).filter(|(host, _)| host.contains('.'))
        {
            let same = |(named, _): &(String, Option<u16>)| *named == host;
            let port = port.or_else(|| url_of(line).filter(same).and_then(|(_, port)| port));
            return Some((host, port));
        }
    }
    if let Some((_, rest)) = line.split_once("/dev/tcp/") {
        let mut parts = rest.split(['/', ':', ' ']);
        return Some((plain_host(parts.next()?)?, parts.next().and_then(|port| port.parse().ok())));
    }
    let words = || line.split_whitespace().map(|word| word.trim_matches(MARKS));
    let named = || {
        words().filter(|word| word.contains(['.', ':'])).find_map(|word| host_of(word.trim_end_matches(':')))
    };
    // curl: (7) Failed to connect to HOST port PORT
    let spoken = || {
        let all: Vec<&str> = words().collect();
        all.windows(3).find_map(|three| match three {
            [host, "port", port] => Some((plain_host(host)?, port.trim_end_matches([':', ',']).parse().ok())),
            _ => None,
        })
    };
    spoken().or_else(|| url_of(line)).or_else(named).or_else(|| key_value(line))
}

/// The host of the first URL of a line.
pub(super) fn url_of(line: &str) -> Option<(String, Option<u16>)> {
    line.split_whitespace()
        .map(|word| word.trim_matches(MARKS))
        .find(|word| word.contains("://"))
        .and_then(host_of)
}

const MARKS: [char; 16] = ['\'', '"', '`', '(', ')', ',', ';', '<', '>', '.', '‘', '’', '…', '{', '}', '='];

/// `host='example.org', port=443`, as Python's libraries print it.
fn key_value(line: &str) -> Option<(String, Option<u16>)> {
    let (_, after) = line.split_once("host='")?;
    let (host, rest) = after.split_once('\'')?;
    let port = rest.split_once("port=").map(|(_, port)| port);
    let digits = |port: &str| port.chars().take_while(char::is_ascii_digit).collect::<String>();
    Some((plain_host(host)?, port.and_then(|port| digits(port).parse().ok())))
}

/// The host of a URL, of `host:port`, of `user@host:path`, or a plain name with a dot.
pub(super) fn host_of(word: &str) -> Option<(String, Option<u16>)> {
    if let Some((scheme, rest)) = word.split_once("://") {
        if scheme == "file" {
            return None;
        }
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority.rsplit('@').next()?;
        let default = match scheme.rsplit(|c: char| !c.is_ascii_alphanumeric()).next()? {
            "http" => Some(80),
            "https" => Some(443),
            "ssh" => Some(22),
            "git" => Some(9418),
            "ftp" => Some(21),
            _ => None,
        };
        return with_port(host).map(|(host, port)| (host, port.or(default)));
    }
    let word = word.rsplit('@').next()?;
    if let Ok(address) = word.parse::<std::net::IpAddr>() {
        return Some((address.to_string(), None));
    }
    with_port(word).filter(|(host, port)| {
        port.is_some()
            || host.rsplit('.').next().is_some_and(|top| {
                top.len() > 1
                    && top.bytes().all(|b| b.is_ascii_alphabetic())
                    && host.contains('.')
                    && !looks_like_a_file(top)
            })
    })
}

/// Endings of files that a host has none of, or hardly.
fn looks_like_a_file(ending: &str) -> bool {
    ending.to_ascii_lowercase().ends_with("error")
        || ending.ends_with("Exception")
        || matches!(
            ending,
            "py" | "js"
                | "ts"
                | "rs"
                | "c"
                | "h"
                | "go"
                | "java"
                | "sh"
                | "toml"
                | "json"
                | "lock"
                | "txt"
                | "md"
                | "cpp"
                | "mjs"
                | "cjs"
                | "log"
                | "git"
                | "html"
                | "xml"
                | "yml"
                | "yaml"
                | "rb"
                | "php"
                | "so"
        )
}

fn with_port(text: &str) -> Option<(String, Option<u16>)> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => Some((plain_host(host)?, Some(port))),
            // `git@host:path`
            Err(_) if !port.is_empty() => None,
            Err(_) => Some((plain_host(host)?, None)),
        },
        _ => Some((plain_host(text)?, None)),
    }
}

fn plain_host(text: &str) -> Option<String> {
    let bare = text.trim_matches(MARKS);
    let inner = bare.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(bare);
    let fits = !inner.is_empty()
        && inner.len() <= 253
        && inner.chars().all(|c| c.is_ascii_alphanumeric() || ".-:_".contains(c))
        && inner.chars().any(|c| c.is_ascii_alphanumeric());
    fits.then(|| inner.to_owned())
}
