//! Names that were to lead from one writable directory to another, or from outside into one: each of them is a mount of its own.

use std::path::Path;

use nix::errno::Errno;

use super::judge::{Judge, Operation, Refusal};
use crate::enforcement::Level;
use crate::policy::ResolvedWrites;

/// The error.
pub(super) const ACROSS: Errno = Errno::EXDEV;
/// What helps. A grant would be one more mount.
const COPY: &str =
    "each writable directory is a mount of its own: a copy leads from one to another, and no rename or link";

/// Whether two places lie below different writable directories, or only one of them in any. Their own names are not followed.
pub(super) fn lie_apart(judge: &Judge<'_>, from: &Path, to: &Path) -> bool {
    let ResolvedWrites::Beneath(roots) = &judge.policy.writes else { return false };
    let root_of = |place: &Path| {
        let holding = roots.iter().filter(|root| place.starts_with(&root.path));
        holding.max_by_key(|root| root.path.as_os_str().len()).map(|root| &root.path)
    };
    root_of(from) != root_of(to)
}

/// What refuses it, and on which side: where a name is taken from something, or where it is given. What gets one more name
/// (`is_link`) stays where it is, and is told of by the new one. `places`: where both lie, as far as that is known.
pub(super) fn refused<T: Copy>(
    judge: &Judge<'_>,
    is_link: bool,
    [taken, given]: [(Operation, T); 2],
    places: [Option<&Path>; 2],
    verdict: impl Fn(Operation, T) -> Option<Refusal>,
) -> Option<(Operation, T, Refusal)> {
    let [from, to] = places;
    let of = |(operation, name): (Operation, T)| verdict(operation, name);
    let taking = || {
        let refusal = of(taken)?;
        Some(match is_link {
            true => (given, Refusal { resolved: to.map(Path::to_owned), ..refusal }),
            false => (taken, refusal),
        })
    };
    let giving = || Some((given, of(given)?));
    // Where both may be written, each lies below a directory of its own.
    let apart = || Some((given, between(judge, from?, to?)?));
    let ((operation, name), otherwise) = taking().or_else(giving).or_else(apart)?;
    Some((operation, name, refusal(judge, otherwise)))
}

/// What refuses it where both places may be written: at level namespaces, that each lies below a directory of its own.
fn between(judge: &Judge<'_>, from: &Path, to: &Path) -> Option<Refusal> {
    (judge.level == Level::Namespaces && lie_apart(judge, from, to)).then(|| Refusal {
        promise: Some("P1"),
        rule: Some(judge.rule_on_writes(to)),
        errno: Some(ACROSS),
        resolved: Some(to.to_owned()),
        allow: None,
        risk: None,
    })
}

/// Why that was refused, by what is refused there otherwise. At level landlock there are no mounts, and a grant of both helps.
fn refusal(judge: &Judge<'_>, otherwise: Refusal) -> Refusal {
    let (allow, risk) = match judge.level {
        Level::Namespaces => (None, Some(COPY.to_owned())),
        Level::Landlock | Level::None => (otherwise.allow, otherwise.risk),
    };
    Refusal { errno: Some(ACROSS), allow, risk, ..otherwise }
}
