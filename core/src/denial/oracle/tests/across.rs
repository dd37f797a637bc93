//! Renames and links from one mount to another.

use std::ffi::OsString;
use std::fs;

use codex_linux_sandbox::{Act, Attempt, Isolation, Network, Plan, Writes};
use nix::errno::Errno;

use super::{Ended, World, explain, furnish, short};
use crate::denial::{Denial, Seen, confirm};
use crate::enforcement::Level;
use crate::exec::Outcome;
use crate::policy::{ResolvedWrites, RootOrigin, WritableRoot};

/// What is told of a line, with the places of the scene filled in.
fn told(world: &World, level: Level, line: &str) -> Vec<Denial> {
    let top = world.workspace.parent().unwrap().display().to_string();
    let text = line.replace("{top}", &top);
    let (outcome, argv) = (Outcome::Exited { code: 1 }, [OsString::from("run")]);
    let ended = Ended { outcome: &outcome, text: text.as_bytes(), argv: &argv, cwd: &world.workspace };
    explain(&ended, &world.judge(level))
}

#[test]
fn what_lies_on_one_file_system_is_kept_apart_by_the_sandbox() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let top = directory.path().canonicalize().unwrap();
    furnish(&top);
    fs::create_dir(top.join("more")).unwrap();
    let mut world = World::new(&top);
    let (file, new) = (top.join("out/file").display().to_string(), top.join("ws/new").display().to_string());
    let python = "OSError: [Errno 18] Invalid cross-device link: '{top}/out/file' -> 'new'";
    let node = "Error: EXDEV: cross-device link not permitted, rename '{top}/out/file' -> '{top}/ws/new'";
    let go = "rename {top}/out/file {top}/ws/new: invalid cross-device link";
    let link = "ln: failed to create hard link 'new' => '../out/file': Invalid cross-device link";
    for line in [python, node, go] {
        let found = told(&world, Level::Namespaces, line);
        assert_eq!(found.iter().map(short).collect::<Vec<_>>(), [format!("rename {file} EXDEV")], "{line}");
        // One more mount would help nobody.
        assert!(found[0].allow.is_none() && found[0].risk.as_ref().unwrap().contains("a copy"), "{found:?}");
    }
    let found = told(&world, Level::Namespaces, link);
    assert_eq!(found.iter().map(short).collect::<Vec<_>>(), [format!("create {new} EXDEV")]);
    // Landlock asks for a right to both, and a grant gives it.
    let found = told(&world, Level::Landlock, link);
    let flag = found[0].allow.as_ref().and_then(|allow| allow.flag.clone());
    assert_eq!(flag, Some(format!("--add-dir {}", top.join("out").display())));
    // What is writable on either side, or on neither, and what is not there, is not this.
    for line in [
        "OSError: [Errno 18] Invalid cross-device link: 'file' -> 'sub/new'",
        "OSError: [Errno 18] Invalid cross-device link: '{top}/out/file' -> '{top}/out/dir/new'",
        "OSError: [Errno 18] Invalid cross-device link: '{top}/out/none' -> 'new'",
        "OSError: [Errno 18] Invalid cross-device link: '/proc/self/status' -> 'new'",
        "Invalid cross-device link",
    ] {
        assert_eq!(told(&world, Level::Namespaces, line), [], "{line}");
    }
    // Two that are writable are two mounts.
    let between = "OSError: [Errno 18] Invalid cross-device link: 'file' -> '{top}/more/new'";
    assert_eq!(told(&world, Level::Landlock, between).len(), 1);
    let ResolvedWrites::Beneath(roots) = &mut world.policy.writes else { unreachable!("as it was made") };
    let path = top.join("more");
    roots.push(WritableRoot { path: path.clone(), asked: path, origin: RootOrigin::PolicyCwd });
    let found = told(&world, Level::Namespaces, between);
    let made = top.join("more/new").display().to_string();
    assert_eq!(found.iter().map(short).collect::<Vec<_>>(), [format!("create {made} EXDEV")]);
    assert_eq!(told(&world, Level::Landlock, between), []);
    // Who observes it tells the same.
    let seen_of = |act: Act, from: &str, to: &str| {
        let attempt = Attempt {
            act,
            target: top.join(from).into(),
            second: Some(top.join(to).into()),
            places: [None, None],
            errno: Errno::EXDEV,
            process: 7,
            program: "mv".into(),
            count: 1,
            first: 0,
        };
        let plan = Plan::new(Isolation::Namespaces, Writes::Beneath(Vec::new()), Network::Off);
        confirm(&Seen { attempt, first_ms: 0.0 }, &world.judge(Level::Namespaces), &plan, &[])
    };
    let seen = |from, to| seen_of(Act::Rename, from, to);
    let both = seen("ws/file", "more/new").unwrap();
    assert_eq!((short(&both), both.allow.is_none()), (format!("create {made} EXDEV"), true));
    let out = seen("out/file", "ws/new").unwrap();
    assert_eq!((short(&out), out.allow.is_none()), (format!("rename {file} EXDEV"), true));
    assert_eq!(seen("ws/file", "ws/sub/new"), None);
    let linked = seen_of(Act::Link, "ws/file", "more/new").unwrap();
    assert_eq!((short(&linked), linked.allow.is_none()), (format!("create {made} EXDEV"), true));
    let from_outside = seen_of(Act::Link, "out/file", "ws/new").unwrap();
    assert_eq!(short(&from_outside), format!("create {} EXDEV", top.join("ws/new").display()));
    assert_eq!(seen_of(Act::Link, "ws/file", "ws/sub/new"), None);
}
