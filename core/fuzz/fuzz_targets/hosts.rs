//! Grants of hosts, and what is asked for: each is written in one form and read as the same, no name looks like an address, and what
//! covers a grant gives all that it gives.

#![cfg_attr(fuzzing, no_main)]

use codex_core::policy::{Host, HostGrant};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\n');
    let mut part = || parts.next().unwrap_or_default();
    let (one, other, asked) = (part(), part(), part());
    let grants: Vec<HostGrant> = [one, other].iter().filter_map(|text| text.parse().ok()).collect();
    for grant in &grants {
        let written = grant.to_string();
        assert!(written.bytes().all(|byte| byte.is_ascii_graphic()), "{written:?}");
        assert_eq!(written.parse().as_ref(), Ok(grant));
        assert!(grant.covers(grant));
    }
    let Some(host) = Host::named(asked) else { return };
    match &host {
        Host::Name(name) => {
            assert_eq!(Host::named(&name.to_ascii_uppercase()), Some(host.clone()));
            let last = name.rsplit('.').next().unwrap_or_default();
            assert!(last.parse::<u128>().is_err(), "{name}");
        }
        Host::Address(address) => assert_eq!(Host::named(&address.to_string()), Some(host.clone())),
        Host::Below(_) => panic!("nobody asks for more than one"),
    }
    for port in [1, 443] {
        let exactly = HostGrant { host: host.clone(), port: Some(port) };
        for grant in &grants {
            assert_eq!(grant.covers(&exactly), grant.is_about(&host, port));
        }
        if let [one, other] = grants.as_slice() {
            assert!(!(one.covers(other) && other.is_about(&host, port)) || one.is_about(&host, port));
        }
    }
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
