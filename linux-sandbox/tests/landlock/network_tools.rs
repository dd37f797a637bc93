//! P2: the programs that people and models reach for.

use std::net::IpAddr;

use codex_core::exec::Outcome;

use crate::listeners::{loopbacks, web_server};
use crate::runs::{read_only, request, run, unrestricted};
use crate::tools::tool;

/// An address as URLs write it.
fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Runs a command that asks a web server of ours for something: without the sandbox it gets it, inside it fails with
/// this exit code and says that it was not permitted.
fn asks(name: &str, command: impl Fn(IpAddr, u16) -> Vec<String>, exit_code: i32, says: &str) {
    if tool(name).is_none() {
        return;
    }
    for address in loopbacks() {
        let (port, server) = web_server(address);
        let command = command(address, port);
        let inside = run(request(&command), &read_only());
        assert_eq!(inside.outcome, Outcome::Exited { code: exit_code }, "{command:?}");
        assert!(inside.stdout.head.is_empty(), "{command:?}");
        let stderr = String::from_utf8_lossy(&inside.stderr.head).into_owned();
        assert!(stderr.contains(says), "{command:?}: {stderr}");

        // The same server, asked second: had the first one reached it, it would answer no more.
        let outside = run(request(&command), &unrestricted());
        assert_eq!(outside.outcome, Outcome::Exited { code: 0 }, "{command:?}, without the sandbox");
        assert!(outside.stdout.head.ends_with(b"hello\n"), "{command:?}, without the sandbox");
        assert!(server.join().unwrap().starts_with("GET / "), "{command:?}, without the sandbox");
    }
}

#[test]
fn p2_bash_reaches_nobody() {
    let command = |address, port| {
        let ask = format!(
            "exec 9<>/dev/tcp/{address}/{port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&9 && cat <&9"
        );
        ["bash", "-c", &ask].map(str::to_owned).into()
    };
    asks("bash", command, 1, "Operation not permitted");
}

#[test]
fn p2_curl_reaches_nobody() {
    let command = |address, port| {
        let url = format!("http://{}:{port}/", in_url(address));
        // Without proxies that the user may have configured.
        ["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "60", &url].map(str::to_owned).into()
    };
    asks("curl", command, 7, "curl: (7)");
}

#[test]
fn p2_python_reaches_nobody() {
    let Some(python) = crate::tools::python() else { return };
    let command = |address, port| {
        let url = format!("http://{}:{port}/", in_url(address));
        let program = "import sys, urllib.request as u; o = u.build_opener(u.ProxyHandler({})); \
                       print(o.open(sys.argv[1], timeout=60).read().decode(), end='')";
        [python.to_str().unwrap(), "-ISc", program, &url].map(str::to_owned).into()
    };
    asks("python3", command, 1, "[Errno 1] Operation not permitted");
}

#[test]
fn p2_nc_reaches_nobody() {
    let command = |address, port| {
        let ask = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {address} {port}");
        ["sh", "-c", &ask].map(str::to_owned).into()
    };
    // Some nc say why, and some say nothing.
    asks("nc", command, 1, "");
}
