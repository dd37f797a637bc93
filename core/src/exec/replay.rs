//! What a view of the writable trees could not do as they would have.

use std::path::Path;

use codex_linux_sandbox::{Act, Attempt, Plan, PlanPath, Record, Writes, is_within};
use nix::errno::Errno;
use serde::Serialize;

use crate::denial::{Operation, Seen};

/// How many different ones are kept.
pub const MOST_ONLY_HERE: usize = 64;

/// What there is to say of a view when the command has ended. Nothing is left of the view itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replay {
    /// How many bytes could be written.
    pub bytes: u64,
    /// Whether there was no room left at the end, or something was refused because there was none.
    pub full: bool,
    /// What failed in the view and would not have failed in the trees: the first [`MOST_ONLY_HERE`].
    pub only_here: Vec<OnlyHere>,
}

/// Something that a view refuses, and no sandbox does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnlyHere {
    /// What was tried.
    pub operation: Operation,
    /// On what, as the command named it.
    pub target: String,
    /// The error that it was answered with, by its number.
    pub errno: i32,
    /// How often.
    pub count: u64,
    /// Why a view does not do it.
    pub why: &'static str,
}

impl Replay {
    /// By what the helper said, and what was seen.
    pub(super) fn of(plan: &Plan, records: &[Record], seen: &[Seen]) -> Self {
        let only_here: Vec<OnlyHere> = seen.iter().filter_map(|seen| of(&seen.attempt, plan)).collect();
        let no_room = Errno::ENOSPC as i32;
        Self {
            bytes: plan.view.map_or(0, std::num::NonZero::get),
            full: records.iter().any(|record| matches!(record, Record::Full))
                || only_here.iter().any(|one| one.errno == no_room),
            only_here: only_here.into_iter().take(MOST_ONLY_HERE).collect(),
        }
    }
}

fn of(attempt: &Attempt, plan: &Plan) -> Option<OnlyHere> {
    let [place, second] = &attempt.places;
    let place = Path::new(place.as_ref().unwrap_or(&attempt.target));
    let second = second.as_deref().or(attempt.second.as_deref()).map(Path::new);
    let why = match attempt.errno {
        Errno::EOVERFLOW if viewed(plan, place).is_some() => {
            "it belongs to another user or group, whose files only root can change in a view"
        }
        Errno::ENOSPC if viewed(plan, place).is_some() => "the view has no room left",
        Errno::EXDEV
            if attempt.act == Act::Rename
                && place.symlink_metadata().is_ok_and(|status| status.is_dir())
                && viewed(plan, place).is_some()
                && viewed(plan, place) == second.and_then(|second| viewed(plan, second)) =>
        {
            "a directory that is in the tree can't be renamed in a view: programs that know copy it instead"
        }
        _ => return None,
    };
    let operation = match attempt.act {
        Act::Read => Operation::Read,
        Act::Write | Act::WriteOrCreate => Operation::Write,
        Act::Create | Act::CreateIn | Act::Link => Operation::Create,
        Act::Remove | Act::RemoveIn => Operation::Remove,
        Act::Rename | Act::RenameIn => Operation::Rename,
        Act::Metadata | Act::MetadataOfLink => Operation::Metadata,
        Act::Connect | Act::Unix | Act::Signal | Act::Call => return None,
    };
    let target = attempt.target.to_string_lossy().into_owned();
    Some(OnlyHere { operation, target, errno: attempt.errno as i32, count: attempt.count, why })
}

/// The mount that a name stands in, where that is a view of a tree, or in one.
fn viewed<'p>(plan: &'p Plan, place: &Path) -> Option<&'p PlanPath> {
    let Writes::Beneath(trees) = &plan.writes else { return None };
    let above = place.parent()?;
    let holds = |path: &&PlanPath| is_within(above, path.path());
    trees.iter().find(holds)?;
    let kept = plan.places.protected.iter().map(|kept| &kept.path);
    let mounts = trees.iter().chain(kept).chain(&plan.places.denied).filter(holds);
    mounts.max_by_key(|path| path.path().as_os_str().len())
}

#[cfg(test)]
mod tests;
