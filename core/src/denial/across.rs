//! Names that were to lead from one writable directory to another, or from outside into one: each of them is a mount of its own.

use std::path::Path;

use nix::errno::Errno;

use super::judge::{Judge, Refusal};
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

/// What refuses it where both places may be written: at level namespaces, that each lies below a directory of its own.
pub(super) fn between(judge: &Judge<'_>, from: &Path, to: &Path) -> Option<Refusal> {
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
pub(super) fn refusal(judge: &Judge<'_>, otherwise: Refusal) -> Refusal {
    let (allow, risk) = match judge.level {
        Level::Namespaces => (None, Some(COPY.to_owned())),
        Level::Landlock | Level::None => (otherwise.allow, otherwise.risk),
    };
    Refusal { errno: Some(ACROSS), allow, risk, ..otherwise }
}
