//! Sandboxes that were granted before, for who asks for the same again.
//!
//! What is kept is what was *built* of a resolved policy: plans, reports, and the process that waits for the next command. What
//! was *found* is not relied on. Each request has its paths looked up anew, links followed, and gets a kept sandbox only
//! where that comes to the same ([`Sandbox::is_as_prepared`]): a root that is replaced, a link that leads elsewhere, or a place
//! that is gone makes a new one, or the refusal that a new one would be.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use codex_core::exec::Sandbox;
use codex_core::policy::Surroundings;

use super::Wanted;

/// How many sandboxes are kept: each may have a process that waits, and another one in it.
const MOST: usize = 8;

/// Sandboxes by what was asked for, the last used first.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<VecDeque<(Wanted, Sandbox)>>);

impl Kept {
    /// The sandbox for what is wanted, where there is one and it would be made just so again. Waits for the disk.
    pub(super) fn find(&self, wanted: &Wanted, surroundings: Surroundings<'_>) -> Option<Sandbox> {
        let known = self.lock().iter().find(|(asked, _)| asked == wanted).map(|(_, sandbox)| sandbox.clone());
        // Not under the lock.
        let sandbox = known.filter(|sandbox| sandbox.is_as_prepared(&wanted.policy, surroundings))?;
        self.keep(wanted, &sandbox);
        Some(sandbox)
    }

    /// Keeps a sandbox for what it was made for, in place of another one.
    pub(super) fn keep(&self, wanted: &Wanted, sandbox: &Sandbox) {
        let mut kept = self.lock();
        let gone = kept.iter().position(|(asked, _)| asked == wanted).and_then(|place| kept.remove(place));
        kept.push_front((wanted.clone(), sandbox.clone()));
        let oldest = if kept.len() > MOST { kept.pop_back() } else { None };
        drop(kept);
        // The last owner ends the process that waits.
        drop((gone, oldest));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Wanted, Sandbox)>> {
        // Nothing that is done under this lock can leave half of it done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use codex_core::exec::SandboxOptions;
    use codex_core::policy::{NetworkAccess, ResolvedWrites, SandboxPolicy};

    use super::*;

    fn wanted(cwd: &Path) -> Wanted {
        let policy = SandboxPolicy::WorkspaceWrite {
            writable_roots: Vec::new(),
            network: NetworkAccess::Restricted,
            exclude_tmpdir_env_var: true,
            exclude_slash_tmp: true,
        };
        Wanted::of(policy, cwd.to_owned(), None)
    }

    fn surroundings(cwd: &Path) -> Surroundings<'_> {
        Surroundings { policy_cwd: cwd, tmpdir: None, codex_home: None, named_in_files: &[] }
    }

    fn prepare(wanted: &Wanted) -> Sandbox {
        let options = SandboxOptions::new("/nowhere");
        Sandbox::prepare(&wanted.policy, surroundings(&wanted.cwd), options).unwrap()
    }

    fn root(sandbox: &Sandbox) -> &Path {
        match &sandbox.policy().writes {
            ResolvedWrites::Beneath(roots) => &roots[0].path,
            ResolvedWrites::Everywhere => panic!("everywhere"),
        }
    }

    #[test]
    fn what_was_found_before_is_looked_up_again() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        let (link, one, other) = (top.join("link"), top.join("one"), top.join("other"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&other).unwrap();
        symlink(&one, &link).unwrap();
        let (kept, wanted) = (Kept::default(), wanted(&link));
        assert!(kept.find(&wanted, surroundings(&link)).is_none(), "nothing is kept yet");
        kept.keep(&wanted, &prepare(&wanted));
        assert_eq!(root(&kept.find(&wanted, surroundings(&link)).unwrap()), one);
        // The link leads elsewhere.
        fs::remove_file(&link).unwrap();
        symlink(&other, &link).unwrap();
        assert!(kept.find(&wanted, surroundings(&link)).is_none());
        kept.keep(&wanted, &prepare(&wanted));
        assert_eq!(root(&kept.find(&wanted, surroundings(&link)).unwrap()), other);
        assert_eq!(kept.lock().len(), 1, "one takes the other's place");
        // It leads nowhere.
        fs::remove_dir(&other).unwrap();
        assert!(kept.find(&wanted, surroundings(&link)).is_none());
        // It is no link.
        fs::remove_file(&link).unwrap();
        fs::create_dir(&link).unwrap();
        assert!(kept.find(&wanted, surroundings(&link)).is_none());
    }

    #[test]
    fn the_one_that_was_not_used_for_longest_goes_first() {
        let scratch = tempfile::tempdir().unwrap();
        let kept = Kept::default();
        let places: Vec<_> = (0..=MOST).map(|number| scratch.path().join(number.to_string())).collect();
        for (number, place) in places.iter().enumerate() {
            fs::create_dir(place).unwrap();
            kept.keep(&wanted(place), &prepare(&wanted(place)));
            // Used all the time.
            assert!(kept.find(&wanted(&places[0]), surroundings(&places[0])).is_some(), "{number}");
        }
        assert_eq!(kept.lock().len(), MOST);
        assert!(kept.find(&wanted(&places[1]), surroundings(&places[1])).is_none());
        assert!(kept.find(&wanted(&places[2]), surroundings(&places[2])).is_some());
    }
}
