//! Registries: the grant of a host is one of all that its tool needs, and where nobody says which host it was, the tool may tell.

use std::ffi::OsString;
use std::path::Path;

use super::World;
use crate::denial::{Certainty, Denial, Judge, Operation, THE_NETWORK, Verdict, at_a_registry, lines};
use crate::enforcement::Level;

const PYPI: &str = "--allow-host pypi.org:443 --allow-host files.pythonhosted.org:443";
const NAME_SERVER: &str = "192.0.2.53:53";

fn refused(judge: &Judge<'_>, host: &str, port: Option<u16>) -> Denial {
    let Verdict::Denied(refusal) = judge.connect(host, port) else { unreachable!("the network is off") };
    Denial::likely(Operation::Connect, host.to_owned(), *refusal, None)
}

/// What the kernel refused to a program that asked a name server.
fn asked(judge: &Judge<'_>, program: &str) -> Denial {
    let denial = refused(judge, "192.0.2.53", Some(53));
    let (certainty, program) = (Certainty::Exact, Some(program.to_owned()));
    Denial { target: NAME_SERVER.to_owned(), certainty, program, ..denial }
}

fn flag(judge: &Judge<'_>, denial: Denial, command: &str) -> String {
    let argv: Vec<OsString> = command.split(' ').map(OsString::from).collect();
    at_a_registry(judge, denial, &argv).allow.and_then(|allow| allow.flag).unwrap_or_default()
}

#[test]
fn a_tool_is_granted_all_that_it_fetches_from() {
    let world = World::new(Path::new("/nowhere"));
    let judge = &world.judge(Level::Namespaces);
    assert_eq!(flag(judge, refused(judge, "pypi.org", None), "uv pip install six"), PYPI);
    let cargo = "--allow-host index.crates.io:443 --allow-host static.crates.io:443";
    assert_eq!(flag(judge, refused(judge, "static.crates.io", Some(443)), "make"), cargo);
    // Of others, nothing is known.
    let other = "--allow-host example.org:443";
    assert_eq!(flag(judge, refused(judge, "example.org", Some(443)), "pip install six"), other);
    // What was asked for at the proxy is asked for one by one.
    let exact = Denial { certainty: Certainty::Exact, ..refused(judge, "pypi.org", Some(443)) };
    assert_eq!(flag(judge, exact, "pip install six"), "--allow-host pypi.org:443");
    let toml = at_a_registry(judge, refused(judge, "pypi.org", None), &[]).allow.unwrap().toml.unwrap();
    assert_eq!(toml, r#"sandbox.allow_hosts = ["pypi.org:443", "files.pythonhosted.org:443"]"#);
}

#[test]
fn who_asked_a_name_server_may_tell_the_registry() {
    let mut world = World::new(Path::new("/nowhere"));
    let judge = world.judge(Level::Namespaces);
    let npm = "--allow-host registry.npmjs.org:443";
    assert_eq!(flag(&judge, asked(&judge, "npm install le"), "make"), npm);
    assert_eq!(flag(&judge, asked(&judge, "pip3.12"), "make"), PYPI);
    // The process that asked was seen, and what started it is not asked.
    assert_eq!(flag(&judge, asked(&judge, "node"), "npm test"), "--network");
    let Verdict::Denied(refusal) = judge.network() else { unreachable!("the network is off") };
    let unnamed = || Denial::likely(Operation::Connect, THE_NETWORK.to_owned(), *refusal.clone(), None);
    assert_eq!(flag(&judge, unnamed(), "sh -c v/bin/pip install -r r.txt"), PYPI);
    assert_eq!(flag(&judge, unnamed(), "pip install six && npm install"), "--network");
    assert_eq!(flag(&judge, unnamed(), "./build"), "--network");
    // Without a proxy there are no single hosts; with one, the tool has not asked it.
    let landlock = world.judge(Level::Landlock);
    assert_eq!(flag(&landlock, unnamed(), "pip install six"), "--network");
    world.places.hosts = vec!["example.org".parse().unwrap()];
    let mediated = world.judge(Level::Namespaces);
    assert_eq!(flag(&mediated, unnamed(), "pip install six"), "--network");
    // Who goes its own way all the same is told why the grant did not help.
    let risk = asked(&mediated, "node").risk.unwrap();
    assert!(risk.contains("not the proxy that HTTPS_PROXY names"), "{risk}");
}

#[test]
fn a_program_that_knows_of_no_proxy_is_granted_no_host() {
    let world = World::new(Path::new("/nowhere"));
    let judge = &world.judge(Level::Namespaces);
    let told = |text: &str| {
        let argv = [OsString::from("run")];
        let outcome = crate::exec::Outcome::Exited { code: 1 };
        let cwd = &world.workspace;
        let ended = super::Ended { outcome: &outcome, text: text.as_bytes(), argv: &argv, cwd };
        super::explain(&ended, judge).into_iter().filter_map(|denial| denial.allow?.flag).collect::<Vec<_>>()
    };
    let lookup = "Temporary failure in name resolution";
    assert_eq!(told(&format!("ssh: Could not resolve hostname example.org: {lookup}")), ["--network"]);
    assert_eq!(told(&format!("nc: getaddrinfo for host \"example.org\" port 80: {lookup}")), ["--network"]);
    assert_eq!(told("curl: (6) Could not resolve host: example.org"), ["--allow-host example.org"]);
}

#[test]
fn a_grant_is_told_once() {
    let world = World::new(Path::new("/nowhere"));
    let judge = &world.judge(Level::Namespaces);
    let told = lines(&[asked(judge, "make"), asked(judge, "make"), refused(judge, "example.org", None)]);
    assert!(told[0].contains("; --network would allow it [every host and port"), "{told:?}");
    assert!(told[1].ends_with("(default); the same would allow it"), "{told:?}");
    assert!(told[2].contains("; --allow-host example.org would allow it ["), "{told:?}");
    // What a line above allows as well stands below it.
    let pypi = at_a_registry(judge, refused(judge, "pypi.org", Some(443)), &[]);
    let one = Denial { certainty: Certainty::Likely, ..refused(judge, "pypi.org", Some(443)) };
    let told = lines(&[pypi, refused(judge, "example.org", None), one]);
    assert!(
        told[0].contains("; --allow-host pypi.org:443 --allow-host files.pythonhosted.org:443"),
        "{told:?}"
    );
    assert!(told[1].ends_with("; the same would allow it") && told[2].contains("example.org"), "{told:?}");
}
