//! Control groups: what a command finds of its own, and that it can do no more with it than read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use codex_tests::harness::{Expect, Failures, Invocation, Policy, Scene, Verdict, missing, require_tool};
use nix::errno::Errno;

use super::CONFINED;

/// A hierarchy: where it is mounted, and where this process is in it.
#[derive(Clone, Debug)]
struct Hierarchy {
    point: PathBuf,
    own: PathBuf,
    /// As `/proc/self/cgroup` names them: none of the unified one's.
    controllers: String,
}

impl Hierarchy {
    fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }
}

/// The hierarchies that are mounted, the unified one among them or not.
fn hierarchies() -> Vec<Hierarchy> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    let groups = fs::read_to_string("/proc/self/cgroup").expect("the groups");
    let of = |mount: &str| {
        let (place, kind) = mount.split_once(" - ")?;
        let point = PathBuf::from(place.split(' ').nth(4)?);
        let unified = kind.starts_with("cgroup2 ");
        let options: Vec<&str> =
            kind.strip_prefix("cgroup ").map(|rest| rest.split([' ', ',']).collect()).unwrap_or_default();
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let named = !controllers.is_empty() && controllers.split(',').all(|one| options.contains(&one));
            let ours = if unified { controllers.is_empty() } else { named };
            ours.then(|| Hierarchy {
                point: point.clone(),
                own: path.into(),
                controllers: controllers.to_owned(),
            })
        })
    };
    mounts.lines().filter_map(of).collect()
}

/// A group of the test's own with one below it, and another one beside it. All are the identity's whom the scene is for.
struct Group {
    place: PathBuf,
    beside: PathBuf,
    /// What else has to be entered: the top of each other hierarchy that counts.
    tops: Vec<PathBuf>,
    hierarchy: Hierarchy,
}

impl Group {
    /// In the unified hierarchy, and at the top of all others; or in one of version 1. Says so loudly where it can't be had.
    fn make(scene: &Scene, unified: bool) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let all = hierarchies();
        // Nobody enters a new group of `cpuset` before it was given processors.
        let wanted =
            all.iter().find(|one| one.is_unified() == unified && one.controllers != "cpuset")?.clone();
        let above = wanted.point.join(wanted.own.strip_prefix("/").expect("a path from the top"));
        let name = format!("codex-tests-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (place, beside) = (above.join(&name), above.join(format!("{name}-beside")));
        let tops = all.iter().filter(|one| unified && !one.is_unified() && one.own != Path::new("/"));
        let tops: Vec<_> = tops.map(|one| one.point.join("cgroup.procs")).collect();
        let can = |file: &PathBuf| fs::OpenOptions::new().write(true).open(file).is_ok();
        if !tops.iter().all(can) || fs::create_dir(&place).is_err() {
            missing("a control group to make others in");
            return None;
        }
        let group = Self { place, beside, tops, hierarchy: wanted };
        for directory in [&group.beside, &group.place.join("below")] {
            fs::create_dir(directory).expect("make a control group");
        }
        for directory in [&group.place, &group.place.join("below")] {
            scene.give_away(directory);
            scene.give_away(&directory.join("cgroup.procs"));
        }
        Some(group)
    }

    /// A run in it.
    fn run(&self, invocation: Invocation) -> Invocation {
        let own = self.place.join("cgroup.procs");
        invocation.in_groups(self.tops.iter().map(PathBuf::as_path).chain([own.as_path()]))
    }

    /// Where its files are found by a command that is in it under a policy.
    fn seen(&self, policy: Policy) -> &Path {
        if policy.is_restricted() && self.hierarchy.is_unified() {
            &self.hierarchy.point
        } else {
            &self.place
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let end = Instant::now() + Duration::from_secs(20);
        for directory in [&self.place.join("below"), &self.place, &self.beside] {
            // Whoever was in it is on the way out.
            while fs::remove_dir(directory).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
                && Instant::now() < end
            {
                std::thread::yield_now();
            }
        }
    }
}

/// Prints what is in the directory of its own group: where the first mount of the hierarchy in the list leads with it, as a
/// JDK understands it. Of the unified one the place of the mount counts alone.
const FIND: &str = "
import os, sys
controllers, known = sys.argv[1:]
own = next(o for n, c, o in (l.rstrip('\\n').split(':', 2) for l in open('/proc/self/cgroup')) if c == controllers)
root, point = next((l[3], l[4]) for l in map(str.split, open('/proc/self/mountinfo')) if l[4] == known)
if controllers == '' or root == '/': place = point + own
elif root == own: place = point
else: sys.exit('no place: ' + root + ' ' + own)
print(sorted(n for n in os.listdir(place) if os.path.isdir(os.path.join(place, n))))
";

/// By the names in it a group is known: the one below is in no other.
pub(super) fn are_found(scene: &Scene) {
    let Some(python) = require_tool("python3") else { return };
    let mut failures = Failures::new();
    for unified in [true, false] {
        let Some(group) = Group::make(scene, unified) else { continue };
        for policy in [Policy::Bare].into_iter().chain(CONFINED) {
            let Hierarchy { point, controllers, .. } = &group.hierarchy;
            let words = ["-c".as_ref(), FIND.as_ref(), controllers.as_ref(), point.as_os_str()];
            let run = group.run(scene.under(policy).command(&python, words)).run();
            failures.check(run.text() == "['below']\n", || run.describe());
        }
        let script = format!("cat /proc/self/cgroup; ls '{}'", group.hierarchy.point.display());
        let run = group.run(scene.under(Policy::WorkspaceWrite).options(["--json"]).shell(&script)).run();
        let told: serde_json::Value = serde_json::from_slice(&run.stdout).expect("a JSON object");
        let text = told["stdout"]["text"].as_str().unwrap_or_default();
        let namespaces = told["enforcement"]["mechanisms"]["namespaces"].as_array().expect("the namespaces");
        // A hierarchy of version 1 is seen as it is, and so is the way to the group in it; that there is no namespace is told.
        let beside = group.beside.file_name().expect("a name").to_string_lossy().into_owned();
        let isolated = text.lines().all(|line| line != beside) && text.lines().any(|line| line == "0::/");
        failures.check(isolated || !unified, || run.describe());
        failures.check(namespaces.iter().any(|one| one == "cgroup") == unified, || run.describe());
        // Who starts in a directory of the hierarchy finds it there.
        let below = group.place.join("below");
        let run = group.run(scene.under(Policy::ReadOnly).shell("pwd; ls .").directory(&below)).run();
        let there =
            run.text().starts_with(&format!("{}\n", below.display())) && run.text().contains("cgroup.procs");
        failures.check(there && run.code() == Some(0), || run.describe());
    }
    failures.finish();
}

/// Its own group may belong to the command's user, and does here.
pub(super) fn are_only_read(scene: &Scene) {
    let mut failures = Failures::new();
    let Some(group) = Group::make(scene, true) else { return };
    for policy in [Policy::Bare].into_iter().chain(CONFINED) {
        let expected = if policy.is_restricted() { Expect::Fails(&[Errno::EROFS]) } else { Expect::Ok };
        let seen = group.seen(policy);
        let file = |name: &str| seen.join(name).to_string_lossy().into_owned();
        let acts = [
            vec!["mkdir".to_owned(), file("new")],
            vec!["rmdir".to_owned(), file("new")],
            // Moves whoever writes it.
            vec!["write-decimal".to_owned(), file("below/cgroup.procs"), "0".to_owned()],
        ];
        for act in &acts {
            let run = group.run(scene.under(policy).probe(act)).run();
            failures.judge(&act.join(" "), expected, &run);
        }
        // What is covered is not to be had by another way.
        if policy.is_restricted() {
            let above = format!("{}/..", group.hierarchy.point.display());
            let script = format!("ls -R '{above}' | grep -c '{}$'", name(&group.beside));
            let run = group.run(scene.under(policy).shell(&script)).run();
            failures.check(run.text() == "0\n", || run.describe());
        }
    }
    failures.finish();
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What is hidden is hidden under either name.
pub(super) fn that_are_hidden(scene: &Scene) {
    let Some(group) = Group::make(scene, true) else { return };
    let mut failures = Failures::new();
    let top = &group.hierarchy.point;
    let events = "cgroup.events";
    // What is hidden, and by which names it would be reached. The first of them shows itself where nothing is hidden.
    let own = group.place.as_path();
    let below = own.join("below");
    for (hidden, names) in [
        (below.clone(), [top.join("below"), below.clone()]),
        (below.join(events), [top.join("below").join(events), below.join(events)]),
        (own.join(events), [top.join(events), own.join(events)]),
        (own.to_owned(), [own.join(events), own.join("below")]),
        (top.clone(), [top.join("below"), own.to_owned()]),
    ] {
        let hide = format!("sandbox.deny_read=[\"{}\"]", hidden.display());
        for name in &names {
            let act = if name.ends_with(events) { "read" } else { "list" };
            let path = name.to_string_lossy().into_owned();
            let run = |options: &[&str]| {
                group.run(scene.under(Policy::ReadOnly).options(options).probe([act, &path])).run()
            };
            let seen = run(&["-c", &hide]);
            // Root may open what lies over it, and finds nothing.
            let hidden_is = !seen.verdict().is_ok() || seen.verdict() == Verdict::Ok("0".to_owned());
            failures.check(hidden_is, || format!("{} is hidden\n{}", hidden.display(), seen.describe()));
        }
        // The rest is there.
        if hidden.starts_with(own) && hidden != own {
            let script = format!("cat '{}/cgroup.type'", top.display());
            let run = group.run(scene.under(Policy::ReadOnly).options(["-c", &hide]).shell(&script)).run();
            failures.check(run.text() == "domain\n", || run.describe());
        }
    }
    for (act, path) in
        [("list", top.join("below")), ("read", top.join("below").join(events)), ("read", top.join(events))]
    {
        let path = path.to_string_lossy().into_owned();
        let run = group.run(scene.under(Policy::ReadOnly).probe([act, &path])).run();
        let shown = run.verdict().is_ok() && run.verdict() != Verdict::Ok("0".to_owned());
        failures.check(shown, || format!("shown where nothing is hidden\n{}", run.describe()));
    }
    failures.finish();
}
