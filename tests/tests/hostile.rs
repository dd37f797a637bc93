//! Hostile acts, one a way out, by promise: each does its harm without the sandbox and none within, as seen from outside.
//!
//! What is watched is read outside before and after: the files with all their metadata, a process and its settings, and
//! listeners of every kind. A table states what the kernel answers at each level; a row without an answer for level
//! landlock is not promised there.

#![expect(clippy::expect_used, reason = "a suite reports by failing")]

#[path = "hostile/content.rs"]
mod content;
#[path = "hostile/metadata.rs"]
mod metadata;
#[path = "hostile/network.rs"]
mod network;
#[path = "hostile/privilege.rs"]
mod privilege;
#[path = "hostile/processes.rs"]
mod processes;
#[path = "hostile/protected.rs"]
mod protected;
#[path = "hostile/row.rs"]
mod row;
#[path = "hostile/served.rs"]
mod served;
#[path = "hostile/survivors.rs"]
mod survivors;
#[path = "hostile/world.rs"]
mod world;

use std::collections::BTreeSet;

use codex_tests::harness::{Failures, Policy, Scene, Verdict, announce};
use codex_tests::{cases_at, cases_by_level};
use row::{Control, Row};
use world::World;

cases_by_level!(
    p1_content_and_names,
    p1_metadata,
    p2_network,
    p3_processes,
    p4_protected_metadata,
    p5_survivors,
    p6_privilege,
);

// The kernel that answers is the same one: at one level it is enough to see that the server asks for its answers.
cases_at!(Namespaces; through_a_server);

/// A promise, and the acts against it.
struct Table {
    promise: &'static str,
    rows: Vec<Row>,
    furnish: fn(&Scene),
    watched: &'static [&'static str],
    policies: &'static [Policy],
}

/// What most acts are about.
fn furnish(scene: &Scene) {
    for place in ["outside", "workspace"] {
        scene.directory(&format!("{place}/directory"));
        scene.file(&format!("{place}/file"), "as it was\n");
    }
    scene.symlink("file", "outside/link");
    scene.symlink(scene.outside().join("file"), "workspace/link-to-file");
    scene.symlink("link-to-file", "workspace/link-to-link");
    scene.symlink(scene.root(), "workspace/link-to-root");
}

const OUTSIDE: &[&str] = &["outside"];
const OFFLINE: &[Policy] = &[Policy::ReadOnly, Policy::WorkspaceWrite];

fn tables() -> [Table; 6] {
    let usual = |promise, rows| Table { promise, rows, furnish, watched: OUTSIDE, policies: OFFLINE };
    [
        usual("P1, content and names", content::rows()),
        usual("P1, metadata", metadata::rows()),
        usual("P2", network::rows()),
        Table { policies: &Policy::RESTRICTED, ..usual("P3", processes::rows()) },
        Table {
            furnish: protected::furnish,
            watched: &["outside", "workspace"],
            policies: &[Policy::WorkspaceWrite, Policy::WorkspaceWriteNetwork],
            ..usual("P4", protected::rows())
        },
        Table { policies: &Policy::RESTRICTED, ..usual("P6", privilege::rows()) },
    ]
}

fn judge(scene: &Scene, promise: &str) {
    let mut failures = Failures::new();
    let mut lacking = Vec::new();
    for table in tables().iter().filter(|table| table.promise == promise) {
        for (number, row) in table.rows.iter().enumerate() {
            if row.identity.is_some_and(|identity| identity != scene.identity()) {
                continue;
            }
            if row.at(scene.level(), Policy::WorkspaceWrite).is_some() {
                judge_row(scene, table, number, row, &mut failures, &mut lacking);
            }
        }
    }
    if !lacking.is_empty() {
        let who = scene.identity();
        announce(&format!("NOTE: as {who:?} this machine has nothing to prove these with: {lacking:?}"));
    }
    // At level landlock a whole table may promise nothing.
    failures.finish_if_judged();
}

fn judge_row(
    scene: &Scene,
    table: &Table,
    number: usize,
    row: &Row,
    failures: &mut Failures,
    lacking: &mut Vec<&'static str>,
) {
    let name = format!("{}: {}", table.promise, row.name);
    let attempt = |policy: Policy| {
        let place = format!("{number}-{policy:?}");
        let world = World::new(scene, &place, &row.words, table.furnish, table.watched);
        let arguments = world.fill(&row.words)?;
        let before = world.look();
        let run = world.act(policy, &arguments);
        let harm = world.harm_since(&before);
        Some((run, harm))
    };

    let mut lack = None;
    if !matches!(row.control, Control::None) {
        let Some((run, harm)) = attempt(Policy::Bare) else { return lacking.push(row.name) };
        let verdict = run.verdict();
        if row.machine_may_lack && matches!(verdict, Verdict::Errno(_)) {
            lacking.push(row.name);
            lack = Some(verdict);
        } else {
            let proves = match row.control {
                Control::Harms => verdict.is_ok() && !harm.is_empty(),
                Control::Gives(expected) => expected.admits(&verdict),
                Control::Succeeds | Control::None => verdict.is_ok(),
            };
            failures.check(proves, || {
                format!("{name} [Bare]: got {verdict}, which proves nothing\n{harm}{}", run.describe())
            });
        }
    }
    for policy in table.policies {
        let Some(expected) = row.at(scene.level(), *policy) else { continue };
        let Some((run, harm)) = attempt(*policy) else { return lacking.push(row.name) };
        let verdict = run.verdict();
        // What is not there outside is not there inside either.
        failures.check(expected.admits(&verdict) || lack.as_ref() == Some(&verdict), || {
            format!("{name} [{policy:?}]: expected {expected}, got {verdict}\n{}", run.describe())
        });
        failures.check(harm.is_empty(), || format!("{name} [{policy:?}]: harm\n{harm}{}", run.describe()));
    }
}

fn p1_content_and_names(scene: &Scene) {
    judge(scene, "P1, content and names");
}

fn p1_metadata(scene: &Scene) {
    judge(scene, "P1, metadata");
}

fn p2_network(scene: &Scene) {
    judge(scene, "P2");
}

fn p3_processes(scene: &Scene) {
    judge(scene, "P3");
}

fn p4_protected_metadata(scene: &Scene) {
    judge(scene, "P4");
}

fn p5_survivors(scene: &Scene) {
    survivors::judge(scene);
}

fn through_a_server(scene: &Scene) {
    served::judge(scene);
}

fn p6_privilege(scene: &Scene) {
    judge(scene, "P6");
}

/// The issue asks for 120; a table that loses rows should be noticed.
#[test]
fn there_are_enough_and_each_has_a_name() {
    let mut names = BTreeSet::new();
    let mut told = String::new();
    let tables = tables();
    let rows = tables.iter().map(|table| (table.promise, table.rows.iter().map(|row| row.name).collect()));
    let survivors = [("P5", survivors::names())];
    for (promise, acts) in rows.chain(survivors) {
        let acts: Vec<&str> = acts;
        told.push_str(&format!("{promise}: {}; ", acts.len()));
        for act in acts {
            assert!(names.insert((promise, act)), "{promise}: {act} is there twice");
        }
    }
    announce(&format!("NOTE: {} hostile acts ({})", names.len(), told.trim_end_matches("; ")));
    assert!(names.len() >= 300, "{} acts: {told}", names.len());
}
