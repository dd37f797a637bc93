//! Lines that look like others.

use std::ffi::OsString;

use super::{Ended, World, explain, furnish, message};
use crate::denial::Opens;
use crate::enforcement::Level;
use crate::exec::Outcome;

/// What a line has in quotes is not always a file.
#[test]
fn names_of_errors_and_refs_are_no_files() {
    let text = "  code: 'EROFS',\n  path: '/nowhere/n'\nfatal: cannot lock ref 'refs/heads/x': Unable to create '/r/x.lock': Read-only file system";
    let named = message::read(text).into_iter().filter_map(|said| match said.target {
        message::Target::Path(path) => Some(path),
        _ => None,
    });
    assert_eq!(named.collect::<Vec<_>>(), ["/nowhere/n", "/r/x.lock"]);
}

/// A tree that is removed takes the directory above it, and how bad something is, is no program.
#[test]
fn a_tree_goes_with_all_of_it() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let top = directory.path().canonicalize().unwrap();
    furnish(&top);
    let world = World::new(&top);
    let (outcome, dir) = (Outcome::Exited { code: 1 }, top.join("out/dir"));
    let told = |argv: &[&str], says: &str| {
        let text = format!("{says}: cannot remove '{}/entry': Read-only file system", dir.display());
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        let ended = Ended { outcome: &outcome, text: text.as_bytes(), argv: &argv, cwd: &world.workspace };
        let mut denials = explain(&ended, &world.judge(Level::Namespaces));
        let denial = denials.pop().unwrap();
        (denial.allow.map(|allow| allow.opens), denial.program)
    };
    let named = dir.display().to_string();
    let rm = Some("rm".to_owned());
    assert_eq!(told(&["rm", "-rf", &named], "rm"), (Some(Opens::Write(top.join("out"))), rm.clone()));
    assert_eq!(
        told(&["sh", "-c", &format!("cd /; rm -r '{named}';")], "rm"),
        (Some(Opens::Write(top.join("out"))), rm.clone())
    );
    let entry = format!("{named}/entry");
    assert_eq!(told(&["rm", &entry], "rm"), (Some(Opens::Write(dir.clone())), rm));
    assert_eq!(told(&["clean", &named], "error"), (Some(Opens::Write(dir.clone())), None));
}
