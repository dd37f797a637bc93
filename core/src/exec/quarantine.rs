//! What comes into existence during a call where nothing may be, and what is done about it.
//!
//! A mount protects what exists. A protected name that does not exist can't be protected so without making an entry on
//! the host, and none is ever made. Instead, what stands there after the call (or, watched, as soon as it is there) is
//! moved into `$CODEX_HOME/quarantine`, and reported. A repository that the command has made stays, and is made harmless:
//! its hooks and what its configuration would run are moved away likewise.
//!
//! ```text
//! Protection ─▶ Guard::begin (journal) ─▶ watch, handle_events ─▶ finish (check, harmless) ─▶ Quarantined
//!                       └── everything was killed ─▶ recover, at the next start ──┘
//!                                     and refresh: the search that a short call has no time for
//! ```

mod check;
mod closed;
mod found;
mod harmless;
mod journal;
mod keeper;
mod kept;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::inotify::Inotify;
use nix::sys::stat::fstat;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::policy::protected::below::open_place;
use crate::policy::protected::cache::{Cache, Record};
use crate::policy::protected::search::{at_leisure, is_due, record};
use crate::policy::protected::seen::{Seen, State, Unchanged};
use crate::policy::protected::walk::{Bounds, Kind, Place, walk};
use crate::policy::{AbsentNames, GitProtection, Protection};
use check::{check, open_roots};
use closed::walk_closed;
pub use found::{Quarantined, Why};
use harmless::{Disarmer, Root, is_recent, root_of};
use journal::{Duties, Interval, Journal, Left};
use keeper::Keeper;
use kept::{Configurations, Kept, check_kept};
use watch::{Noticed, Watch};

/// What the search after a call may take of the time that the call took, and at most.
const SHARE: u32 = 10;
/// How many directories it reads in any case, in all roots together: a tenth of a millisecond, and not a matter of how busy the
/// machine is.
const LEAST_SEARCH: usize = 64;
const LONGEST_SEARCH: Duration = Duration::from_millis(500);

/// Watches over the protected names of one call.
#[derive(Debug)]
pub(super) struct Guard {
    codex_home: Option<PathBuf>,
    duties: Arc<Duties>,
    /// Held from the beginning: what a root's path leads to in the end is somebody else's business.
    roots: Vec<Root>,
    repositories: Vec<Kept>,
    configurations: Configurations,
    seen: Seen,
    from: SystemTime,
    started: Instant,
    journal: Option<Journal>,
    keeper: Keeper,
    watch: Option<Watch>,
    found: Vec<Quarantined>,
}

impl Guard {
    /// Begins before the command is started: writes the journal by which the next call would know what to check.
    ///
    /// Where there is no place to write to, the check at the end takes place all the same.
    #[must_use]
    pub(super) fn begin(protection: &mut Protection, codex_home: Option<&Path>) -> Self {
        let mut seen = std::mem::take(&mut protection.seen);
        let from = stamp();
        let roots = open_roots(&protection.roots);
        let kept = |paths: &[PathBuf]| paths.iter().filter_map(|path| Kept::at(path, &roots)).collect();
        let mut duties = Duties::from(&*protection);
        duties.kept = kept(&protection.read_only);
        let running = codex_home.map(running).unwrap_or_default();
        duties.distrust(&running, |link, intervals| {
            root_of(&roots, link).is_some_and(|(root, relative)| is_recent(root, relative, intervals))
        });
        let judged = judged(protection, codex_home, &running);
        let duties = Arc::new(duties);
        let configurations = Configurations::read(&duties.kept, &judged, &roots, &mut seen);
        let journal = codex_home.and_then(|home| Journal::begin(home, from, &duties).ok());
        Self {
            codex_home: codex_home.map(Path::to_owned),
            repositories: kept(&protection.repositories),
            configurations,
            roots,
            from,
            started: Instant::now(),
            journal,
            keeper: Keeper::new(codex_home),
            watch: None,
            found: Vec::new(),
            duties,
            seen,
        }
    }

    /// Begins to watch the protected names, so that what comes to be there is moved away at once. Best called when the
    /// command has been started: it is for long calls, and costs a system call a directory.
    pub(super) fn watch(&mut self) {
        self.watch = Watch::new(&self.duties.absent);
        // What came to be before is not noticed any more.
        self.look(Duties { links: Vec::new(), ..(*self.duties).clone() });
    }

    fn look(&mut self, duties: Duties) {
        if !duties.absent.is_empty() {
            let interval = Interval { from: self.from, until: None };
            let nothing = Unchanged::default();
            self.found.extend(check(&duties, interval, &nothing, &self.roots, &mut self.keeper));
        }
    }

    /// The descriptor that becomes readable when [`Guard::handle_events`] has something to do.
    #[must_use]
    pub(super) fn descriptor(&self) -> Option<Arc<Inotify>> {
        self.watch.as_ref().map(Watch::descriptor)
    }

    /// Moves away what has been noticed. Never waits.
    pub(super) fn handle_events(&mut self) {
        let Some(watch) = &self.watch else { return };
        let duties = match watch.read() {
            Noticed::Anything => Duties { links: Vec::new(), ..(*self.duties).clone() },
            Noticed::Paths(paths) => {
                let names = |path: &PathBuf| {
                    self.duties
                        .absent
                        .iter()
                        .any(|absent| absent.contains(path))
                        .then(|| AbsentNames::of(path))
                };
                let absent = paths.iter().filter_map(names).flatten().collect();
                Duties { absent, ..Duties::default() }
            }
        };
        self.look(duties);
    }

    /// Checks after the command has ended, with everything that it had started: moves away what came to be at protected
    /// names, puts links back, and makes new repositories harmless.
    ///
    /// The search for new repositories takes a tenth of the time that the call took, at most, but for what is small. What it
    /// does not reach is left to [`refresh`].
    #[must_use]
    pub(super) fn finish(self) -> Vec<Quarantined> {
        let time = (self.started.elapsed() / SHARE).min(LONGEST_SEARCH);
        self.finish_within(Bounds { directories: usize::MAX, least: LEAST_SEARCH, time })
    }

    fn finish_within(mut self, bounds: Bounds) -> Vec<Quarantined> {
        let roots = std::mem::take(&mut self.roots);
        let mut found = std::mem::take(&mut self.found);
        let interval = Interval { from: self.from, until: None };
        let unchanged = std::mem::take(&mut self.seen).unchanged(|path| state(path, &roots));
        found.extend(check(&self.duties, interval, &unchanged, &roots, &mut self.keeper));
        let configurations = &self.configurations;
        found.extend(replaced(&self.duties, configurations, interval, &unchanged, &roots, &mut self.keeper));
        let until = SystemTime::now();
        let mut searched = true;
        if self.duties.git != GitProtection::Open {
            searched = self.search(&roots, bounds, interval, &unchanged, &mut found);
        }
        let stuck = found.iter().any(|one| one.stuck.is_some());
        if let (Some(journal), Some(home)) = (self.journal, &self.codex_home)
            && !stuck
        {
            // A journal that can't be removed is one too many, and the next call finds nothing to do for it.
            drop(if searched {
                journal.done()
            } else {
                journal.unsearched(home, Interval { until: Some(until), ..interval }, &self.duties)
            });
        }
        found
    }

    /// Looks for new repositories, makes them harmless, and keeps them as known. Says whether it saw everything.
    fn search(
        &mut self,
        roots: &[Root],
        mut bounds: Bounds,
        interval: Interval,
        unchanged: &Unchanged,
        found: &mut Vec<Quarantined>,
    ) -> bool {
        let intervals = [interval];
        // What stands in the place of a repository that was replaced is as new as any.
        let is_same = |one: &&Kept| one.is_still_there(unchanged) || !one.is_replaced(roots);
        let same = self.repositories.iter().filter(is_same);
        let known: HashSet<PathBuf> = same.map(|one| one.path.clone()).collect();
        let mut complete = true;
        for root in roots {
            let walked = walk_closed(root, &intervals, |root| {
                let walked = walk(root.place.as_fd(), bounds, &mut || false);
                bounds.time = bounds.time.saturating_sub(walked.cost);
                bounds.least = bounds.least.saturating_sub(walked.directories);
                walked
            });
            complete &= walked.complete;
            let mut disarmer = Disarmer::new(&mut self.keeper, roots, &known, &intervals);
            for place in &walked.places {
                disarmer.repository(root, place);
            }
            for git in known.iter().filter(|git| !unchanged.is_plain(git)) {
                if let Ok(relative) = git.strip_prefix(&root.path) {
                    disarmer.inside_known(root, relative);
                }
            }
            found.append(&mut disarmer.found);
            if let Some(home) = &self.codex_home
                && let cache = Cache::new(home)
                && let Some(mut record) = cache.load(&root.path)
            {
                // One that this call found at its start and nobody has judged is left to a refresh: an earlier call may
                // have made it.
                let is_new = |place: &Place| {
                    !record.places.contains(place) && !known.contains(&root.path.join(git_entry(place)))
                };
                let new: Vec<Place> = walked.places.into_iter().filter(is_new).collect();
                if !new.is_empty() && !is_others_business(home, &root.path, self.journal.as_ref()) {
                    record.places.extend(new);
                    drop(cache.save(&record));
                }
            }
        }
        complete
    }
}

/// Whether other calls may have made, or may still change, what is found below a root: those that are running, and those
/// that have ended without a whole search. A repository must not be known before each of them was asked.
fn is_others_business(codex_home: &Path, root: &Path, own: Option<&Journal>) -> bool {
    let overlaps = |other: &PathBuf| other.starts_with(root) || root.starts_with(other);
    journal::left(codex_home, true)
        .iter()
        .any(|left| !own.is_some_and(|own| own.is(left)) && left.duties.roots.iter().any(overlaps))
}

/// The time by which the kernel stamps files, now. It lags behind the clock that programs ask: by a tick, and by more where a
/// virtual machine was not let run; a fixed allowance would miss what is made right after it.
fn stamp() -> SystemTime {
    // Without it, everything is new.
    let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).unwrap_or(TimeSpec::new(0, 0));
    SystemTime::UNIX_EPOCH.checked_add(Duration::from(now)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A directory as it is now, reached without a link.
fn state(path: &Path, roots: &[Root]) -> Option<State> {
    let (root, relative) = root_of(roots, path)?;
    let status = fstat(open_place(&root.place, relative).ok()?).ok()?;
    Some(State::of(&status))
}

/// What has taken the place of something protected.
fn replaced(
    duties: &Duties,
    configurations: &Configurations,
    interval: Interval,
    unchanged: &Unchanged,
    roots: &[Root],
    keeper: &mut Keeper,
) -> Vec<Quarantined> {
    let (known, intervals) = (HashSet::new(), [interval]);
    let mut disarmer = Disarmer::new(keeper, roots, &known, &intervals);
    check_kept(&duties.kept, configurations, unchanged, &mut disarmer);
    disarmer.found
}

/// What other calls that are running have to check at their end.
fn running(codex_home: &Path) -> Vec<Left> {
    let mut journals = journal::left(codex_home, true);
    journals.retain(|left| left.interval.until.is_none());
    journals
}

/// The repositories that no running call can have made: all of them, where none is running.
fn judged(protection: &Protection, codex_home: Option<&Path>, running: &[Left]) -> HashSet<PathBuf> {
    if running.is_empty() {
        return protection.repositories.iter().cloned().collect();
    }
    let Some(cache) = codex_home.map(Cache::new) else { return HashSet::new() };
    let records = protection.roots.iter().filter_map(|root| Some((cache.load(root)?, root)));
    records.flat_map(|(record, root)| git_paths(&record, root).collect::<Vec<_>>()).collect()
}

/// Checks for calls that were killed with everything that would have checked. For the start of a program or a call: costs
/// a look at one directory where there is none.
#[must_use]
pub(super) fn recover(codex_home: &Path) -> Vec<Quarantined> {
    let mut found = Vec::new();
    for left in journal::left(codex_home, false) {
        let roots = open_roots(&left.duties.roots);
        let mut keeper = Keeper::new(Some(codex_home));
        // Nobody is left who has seen it before.
        let unknown = Unchanged::default();
        let mut moved = check(&left.duties, left.interval, &unknown, &roots, &mut keeper);
        let nothing = Configurations::default();
        moved.extend(replaced(&left.duties, &nothing, left.interval, &unknown, &roots, &mut keeper));
        if moved.iter().all(|one| one.stuck.is_none()) {
            drop(if left.duties.git == GitProtection::Open {
                left.done()
            } else {
                left.unsearched(codex_home)
            });
        }
        found.extend(moved);
    }
    found
}

/// Searches the trees of `roots` for repositories, where it is time to: for those that the user has made since the last
/// walk, and for those that calls have left without searching everything, which are made harmless now.
///
/// For a time at which nobody waits, such as beside a running command: a tree is walked at most for a twentieth of the
/// time. Ends early when `stop` says so, which is asked before each directory.
pub(super) fn refresh(
    roots: &[PathBuf],
    codex_home: &Path,
    stop: &mut dyn FnMut() -> bool,
) -> Vec<Quarantined> {
    let cache = Cache::new(codex_home);
    let journals = journal::left(codex_home, true);
    let (running, unsearched): (Vec<_>, Vec<_>) =
        journals.into_iter().partition(|left| left.interval.until.is_none());
    let mut paths = roots.to_vec();
    for root in unsearched.iter().flat_map(|left| &left.duties.roots) {
        if !paths.contains(root) {
            paths.push(root.clone());
        }
    }
    let opened = open_roots(&paths);
    let mut keeper = Keeper::new(Some(codex_home));
    let mut found = Vec::new();
    let mut searched: Vec<&Path> = Vec::new();
    for root in &opened {
        let concerns = |left: &&Left| left.duties.roots.contains(&root.path);
        let intervals: Vec<Interval> = unsearched.iter().filter(concerns).map(|left| left.interval).collect();
        let old = cache.load(&root.path);
        if !is_due(old.as_ref(), SystemTime::now(), !intervals.is_empty()) {
            continue;
        }
        let mut walked = walk_closed(root, &intervals, |root| at_leisure(root.place.as_fd(), stop));
        let known: HashSet<PathBuf> = old.iter().flat_map(|old| git_paths(old, &root.path)).collect();
        let mut disarmer = Disarmer::new(&mut keeper, &opened, &known, &intervals);
        for place in &walked.places {
            disarmer.repository(root, place);
        }
        found.append(&mut disarmer.found);
        // What a running call has made is its own business, until its end.
        let now: Vec<Interval> = running.iter().filter(concerns).map(|left| left.interval).collect();
        let disarmer = Disarmer::new(&mut keeper, &opened, &known, &now);
        let settled = |place: &Place| {
            let git = git_entry(place);
            known.contains(&root.path.join(&git)) || now.is_empty() || !disarmer.is_recent(root, &git)
        };
        let mut places: Vec<Place> = walked.places.iter().filter(|place| settled(place)).cloned().collect();
        if walked.complete {
            searched.push(&root.path);
        } else if let Some(old) = old {
            // It saw less than there is: what was known stays so.
            walked.complete = old.complete;
            walked.directories = walked.directories.max(old.directories);
            places.extend(old.places);
            places.sort();
            places.dedup();
        }
        drop(cache.save(&record(&root.path, &walked, places)));
    }
    for left in unsearched {
        let gone = |root: &PathBuf| !opened.iter().any(|opened| opened.path == *root);
        if left.duties.roots.iter().all(|root| searched.contains(&root.as_path()) || gone(root)) {
            drop(left.done());
        }
    }
    found
}

/// Where git looks for a repository: the `.git` of a work tree, or the directory itself.
fn git_entry(place: &Place) -> PathBuf {
    match place.kind {
        Kind::WorkTree => place.relative.join(".git"),
        Kind::Bare => place.relative.clone(),
    }
}

fn git_paths<'r>(record: &'r Record, root: &'r Path) -> impl Iterator<Item = PathBuf> + 'r {
    record.places.iter().map(|place| root.join(git_entry(place)))
}
