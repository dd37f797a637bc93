//! What is asked of the proxy by somebody who wants to be misunderstood.

use std::net::{IpAddr, Ipv4Addr};

use codex_tests::harness::Scene;
use serde_json::{Value, json};

use super::outside::{Outside, Serving};
use super::{act, json_of};

/// What stands where the host is meant, `P` being the port of somebody who listens at every address. Two are granted: 127.0.0.2
/// and `web.localhost`, which is 127.0.0.1.
const GRANTED: [&str; 5] = [
    "127.0.0.2:P",
    "WEB.LocalHost:P",
    "web.localhost.:P",
    "me:secret@127.0.0.2:P",
    "127.0.0.3:1@web.localhost:P",
];

const NOT_GRANTED: [&str; 40] = [
    "127.0.0.3:P",
    "127.0.0.1:P",
    "0.0.0.0:P",
    "localhost:P",
    "evil.localhost:P",
    "a.web.localhost:P",
    "web.localhost.evil.example:P",
    "xweb.localhost:P",
    "web.localhost..:P",
    ".web.localhost:P",
    "127.1:P",
    "127.0.2:P",
    "0177.0.0.2:P",
    "2130706434:P",
    "017700000002:P",
    "0x7f000002:P",
    "0x7f.0.0.2:P",
    "127.0.0.0x2:P",
    "127.0.0.2.:P",
    "[::ffff:127.0.0.2]:P",
    "[::ffff:7f00:2]:P",
    "[::127.0.0.2]:P",
    "[::1]:P",
    "[127.0.0.2]:P",
    "[web.localhost]:P",
    "[fe80::1%25lo]:P",
    "127.0.0.2@127.0.0.3:P",
    "127.0.0.2:P@127.0.0.3:P",
    "127.0.0.2%40127.0.0.3:P",
    "127.0.0.2%00.example:P",
    "%77eb.localhost:P",
    "web%2elocalhost:P",
    "w\u{e9}b.localhost:P",
    "web\u{3002}localhost:P",
    "\u{ff17}eb.localhost:P",
    "xn--web.localhost:P",
    "web.localhost\u{1b}[31m:P",
    "web.localhost\u{0}:P",
    "web.localhost\\@127.0.0.3:P",
    "web.localhost#@127.0.0.3:P",
];

pub(super) fn hostile_names_reach_nobody(scene: &Scene) {
    let outside = Outside::serve("0.0.0.0", Serving::Http);
    let port = outside.port().to_string();
    let script = "
granted, others = json.loads(sys.argv[1]), json.loads(sys.argv[2])
for targets in (granted, others):
    said = []
    for target in targets:
        status, s = tunnel(target)
        s.close()
        said.append([target, status, get(f'http://{target}/')[0]])
    print(json.dumps(said), flush=True)
# A long one, one for another host in the head, and one for two.
long = 'a' * 70000
host = granted[0]
print(tunnel(long + ':1')[0], get(f'http://{long}/')[0], get('http://' + 'a.' * 200 + 'example/')[0])
def told(target, field): return tunnel(f'CONNECT {target} HTTP/1.1\\r\\nHost: {field}\\r\\n\\r\\n'.encode())[0]
print(told(others[0], host), told(f'{host}\\r\\nX: {others[0]}', host), told(f'{others[0]} {host}', host))
";
    let at_port = |targets: &[&str]| {
        json!(targets.iter().map(|target| target.replace(":P", &format!(":{port}"))).collect::<Vec<_>>())
    };
    let (granted, others) = (at_port(&GRANTED), at_port(&NOT_GRANTED));
    let hosts = [format!("127.0.0.2:{port}"), format!("web.localhost:{port}")];
    let hosts = [hosts[0].as_str(), &hosts[1]];
    let words = [granted.to_string(), others.to_string()];
    let words = [words[0].as_str(), &words[1]];
    let Some(run) = act(scene, &["--json", "--explain"], &hosts, script, &words) else { return };
    let run = run.run().expect_code(0);
    let result = json_of(&run);
    let text = result["stdout"]["text"].as_str().unwrap_or_default();
    let mut lines = text.lines();
    let mut said = || -> Vec<(String, u64, u64)> {
        let line = lines.next().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| run.fail(&format!("{error}: {line}")))
    };
    let mut arrived = 0;
    for (target, tunnel, plain) in said() {
        assert_eq!((tunnel, plain), (200, 200), "{target}: {}", run.describe());
        arrived += 2;
    }
    for (target, tunnel, plain) in said() {
        for status in [tunnel, plain] {
            assert!([0, 400, 403, 502].contains(&status), "{target}: {status}\n{}", run.describe());
        }
    }
    let rest: Vec<&str> = lines.collect();
    // What ends a line ends the target.
    assert_eq!(rest, ["431 414 502", "403 400 400"], "{}", run.describe());
    let at: Vec<IpAddr> = outside.arrivals();
    let is_granted =
        |at: &IpAddr| [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::LOCALHOST].map(IpAddr::from).contains(at);
    assert!(at.len() == arrived && at.iter().all(is_granted), "{at:?}");
    // What is told of them has no line but its own.
    let denials = result["denials"].as_array().expect("a list");
    let is_plain = |text: &Value| {
        text.as_str().is_none_or(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
    };
    for denial in denials {
        assert!(is_plain(&denial["target"]) && is_plain(&denial["allow"]["flag"]), "{denial}");
        assert!(denial["certainty"] == "exact" && denial["operation"] == "connect", "{denial}");
    }
    assert!(denials.len() > 5, "{denials:?}");
}

/// Requests that may be read in two ways, and what is answered: `H` is the host, `CASE` what tells them apart.
const REQUESTS: [(&str, u64); 33] = [
    (
        "GET http://H/CASE HTTP/1.1\r\nProxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\nKeep-Alive: 5\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nX-Kept: 1\r\n\r\n",
        200,
    ),
    ("GET http://H/CASE HTTP/1.1\r\nHost: one.example\r\nHost: two.example\r\n\r\n", 200),
    ("GET http://me:secret@H/CASE HTTP/1.1\r\nHost: other.example\r\n\r\n", 200),
    ("GET http://H//other.example/CASE?a=http://b/#c HTTP/1.1\r\n\r\n", 200),
    ("GET http://H?CASE HTTP/1.1\r\n\r\n", 200),
    ("OPTIONS http://H HTTP/1.1\r\nX: /CASE\r\n\r\n", 200),
    (
        "POST http://H/CASE HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        200,
    ),
    (
        "POST http://H/CASE HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        200,
    ),
    (
        "POST http://H/CASE HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        200,
    ),
    (
        "POST http://H/CASE HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhelloGET /smuggled HTTP/1.1\r\n\r\n",
        200,
    ),
    (
        "POST http://H/CASE HTTP/1.1\r\nConnection: host, content-length\r\nContent-Length: 5\r\n\r\nhello",
        200,
    ),
    (
        "POST http://H/CASE HTTP/1.1\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        200,
    ),
    (
        "POST http://H/CASE HTTP/1.1\r\nTrailer: Host\r\nTransfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\nHost: other.example\r\n\r\n",
        200,
    ),
    ("POST http://H/CASE HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", 200),
    (
        "GET http://H/CASE HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        200,
    ),
    ("GET http://H/CASE HTTP/1.1\nHost: other.example\n\n", 200),
    ("GET http://H/CASE HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200),
    ("POST http://H/CASE HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    (
        "POST http://H/CASE HTTP/1.1\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    ("POST http://H/CASE HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    ("POST http://H/CASE HTTP/1.1\r\nTransfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("POST http://H/CASE HTTP/1.1\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("POST http://H/CASE HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST http://H/CASE HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    ("POST http://H/CASE HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello", 400),
    ("GET http://H/CASE HTTP/1.1\r\nX-Folded: a\r\n GET http://H/smuggled HTTP/1.1\r\n\r\n", 400),
    ("GET http://H/CASE HTTP/1.1\r\nX: a\rGET /smuggled HTTP/1.1\r\n\r\n", 400),
    ("GET http://H/CASE HTTP/1.1\r\nX: a\0b\r\n\r\n", 400),
    ("GET /CASE HTTP/1.1\r\nHost: H\r\n\r\n", 400),
    ("GET https://H/CASE HTTP/1.1\r\n\r\n", 400),
    ("GET http://H0000/CASE HTTP/1.1\r\n\r\n", 400),
    ("GET http://127.0.0.2:+80/CASE HTTP/1.1\r\n\r\n", 400),
    ("CONNECT 127.0.0.2 HTTP/1.1\r\nHost: H\r\n\r\n", 400),
];

pub(super) fn what_is_sent_on_is_one_request(scene: &Scene) {
    let outside = Outside::serve("127.0.0.2", Serving::Http);
    let name = outside.name();
    let raw: Vec<String> = REQUESTS
        .iter()
        .enumerate()
        .map(|(index, (raw, _))| {
            raw.replace("//H", &format!("//{name}"))
                .replace("@H", &format!("@{name}"))
                .replace(" H\r", &format!(" {name}\r"))
                .replace("CASE", &format!("case{index}."))
        })
        .collect();
    let script = "
for raw in json.loads(sys.argv[1]):
    print(ask(raw)[0])
";
    let words = json!(raw).to_string();
    let Some(run) = act(scene, &[], &[&name], script, &[&words]) else { return };
    let run = run.run().expect_code(0);
    let statuses: Vec<u64> = run.text().lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(statuses.len(), REQUESTS.len(), "{}", run.describe());
    for ((raw, expected), status) in REQUESTS.iter().zip(&statuses) {
        assert_eq!(status, expected, "{raw:?}");
    }
    let sent_on = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(outside.arrivals().len(), sent_on);
    for data in outside.ended(sent_on) {
        let text = String::from_utf8_lossy(&data).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let words: Vec<&str> = first.split(' ').collect();
        assert!(words.len() == 3 && words[1].starts_with('/') && words[2] == "HTTP/1.1", "{text:?}");
        let fields: Vec<(String, &str)> = lines
            .map(|line| line.split_once(": ").expect("a field"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        let of = |name: &str| {
            fields.iter().filter(|(known, _)| known == name).map(|(_, value)| *value).collect::<Vec<_>>()
        };
        assert_eq!(of("host"), [name.as_str()], "{text:?}");
        for hop in [
            "proxy-authorization",
            "proxy-connection",
            "keep-alive",
            "connection",
            "x-hop",
            "upgrade",
            "http2-settings",
            "trailer",
            "authorization",
        ] {
            assert_eq!(of(hop), [] as [&str; 0], "{text:?}");
        }
        match (&of("content-length")[..], &of("transfer-encoding")[..]) {
            ([], []) => assert_eq!(body, "", "{text:?}"),
            ([length], []) => assert_eq!(length.parse(), Ok(body.len()), "{text:?}"),
            ([], ["chunked"]) => {
                assert!(["0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"].contains(&body), "{text:?}")
            }
            (length, coding) => assert!(length.is_empty() && coding.is_empty(), "two lengths: {text:?}"),
        }
    }
}
