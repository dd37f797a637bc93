//! Registries of packages: a tool needs all of its hosts, and seldom says which they are.

use std::ffi::OsString;

use super::judge::{DOMAIN, Judge, Operation};
use super::oracle::{THE_NETWORK, typed_words};
use super::record::{Certainty, Denial, Opens};
use super::tools::{REGISTRIES, Registry, named_by};
use crate::enforcement::Level;
use crate::policy::{Host, HostGrant};

/// What registries are asked at.
const HTTPS: u16 = 443;

/// The same denial. Where it is of a registry's host, the grant is of all that the tool fetches from; where nobody says which host it
/// was, and a tool asked that fetches packages, of its registry in place of the network as a whole.
#[must_use]
pub fn at_a_registry(judge: &Judge<'_>, denial: Denial, argv: &[OsString]) -> Denial {
    let Some(allow) = denial.allow.as_ref().filter(|_| denial.operation == Operation::Connect) else {
        return denial;
    };
    match &allow.opens {
        // What was asked for at the proxy is asked for one by one.
        Opens::Host(host) if denial.certainty == Certainty::Likely => {
            let of_the_host = |registry: &&Registry| {
                registry.hosts.len() > 1 && registry.hosts.iter().any(|name| is_named(host, name))
            };
            let known: Vec<&Registry> = REGISTRIES.iter().filter(of_the_host).collect();
            let words = words_of(argv);
            let asks = known.iter().find(|registry| words.contains(&registry.tool)).or(known.first());
            match asks {
                Some(registry) => granted(judge, registry, host.port.or(Some(HTTPS)), denial),
                None => denial,
            }
        }
        // At level landlock there is no proxy; and where there is one, the tool has not asked it.
        Opens::Network
            if judge.level == Level::Namespaces
                && judge.places.hosts.is_empty()
                && (denial.target == THE_NETWORK || is_of_a_name_server(&denial)) =>
        {
            match asked_by(&denial, argv) {
                Some(registry) => granted(judge, registry, Some(HTTPS), denial),
                None => denial,
            }
        }
        _ => denial,
    }
}

/// Whether a name server was asked, and could not be.
pub(crate) fn is_of_a_name_server(denial: &Denial) -> bool {
    denial.operation == Operation::Connect
        && denial.target.parse().is_ok_and(|address: std::net::SocketAddr| address.port() == DOMAIN)
}

fn is_named(grant: &HostGrant, name: &str) -> bool {
    matches!(&grant.host, Host::Name(host) if host == name)
}

/// The registry of the tool that asked: of the process where it was seen, else of the one tool that the words of the command name.
fn asked_by(denial: &Denial, argv: &[OsString]) -> Option<&'static Registry> {
    let program = denial.program.as_deref().filter(|_| denial.certainty == Certainty::Exact);
    let words: Vec<&str> = match program {
        // Npm calls itself by its whole command line.
        Some(program) => program.split_whitespace().take(1).map(named_by).collect(),
        None => words_of(argv),
    };
    let mut found = REGISTRIES.iter().filter(|registry| words.contains(&registry.tool));
    let first = found.next()?;
    found.all(|other| other.hosts == first.hosts).then_some(first)
}

/// The tools that words may name.
fn words_of(argv: &[OsString]) -> Vec<&str> {
    typed_words(argv).map(named_by).collect()
}

fn granted(judge: &Judge<'_>, registry: &Registry, port: Option<u16>, denial: Denial) -> Denial {
    let named = registry.hosts.iter().filter_map(|host| Host::named(host));
    let hosts: Vec<HostGrant> = named.map(|host| HostGrant { host, port }).collect();
    let risk = format!(
        "whatever is sent to where {} fetches packages, unless it was told of another registry",
        registry.tool
    );
    Denial { allow: Some(judge.allow_hosts(&hosts)), risk: Some(risk), ..denial }
}
