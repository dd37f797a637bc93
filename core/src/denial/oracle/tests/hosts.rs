//! Whom a grant is proposed for.

use super::{World, furnish};
use crate::denial::{Opens, Verdict};
use crate::enforcement::Level;

#[test]
fn a_host_is_proposed_where_one_is_known_and_a_proxy_leads_there() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().canonicalize().unwrap();
    furnish(&top);
    let world = World::new(&top);
    let opens = |verdict: Verdict| match verdict {
        Verdict::Denied(refusal) => (refusal.allow.map(|allow| allow.opens), refusal.risk.unwrap()),
        Verdict::Allowed { .. } => panic!("allowed"),
    };
    let (inside, landlock) = (world.judge(Level::Namespaces), world.judge(Level::Landlock));
    for (host, port) in [("a.example", Some(443)), ("a.example", None), ("192.0.2.1", Some(8080))] {
        assert!(matches!(opens(inside.connect(host, port)).0, Some(Opens::Host(_))), "{host} {port:?}");
        assert_eq!(opens(landlock.connect(host, port)).0, Some(Opens::Network), "{host} {port:?}");
    }
    for (host, port) in [("a.example", Some(22)), ("127.0.0.1", Some(80)), ("localhost", Some(80))] {
        assert_eq!(opens(inside.connect(host, port)).0, Some(Opens::Network), "{host} {port:?}");
    }
    // Whoever is wanted there: nobody is named.
    for judge in [&inside, &landlock] {
        assert_eq!(opens(judge.network()).0, Some(Opens::Network));
    }
    assert_eq!(opens(inside.connect("metadata.google.internal", Some(80))).0, None);
    // Whose name it was can't be told here, and the network is more than that takes.
    let (opens, risk) = opens(inside.connect("192.0.2.53", Some(53)));
    assert!(opens == Some(Opens::Network) && risk.ends_with("--allow-host HOST"), "{risk}");
}
