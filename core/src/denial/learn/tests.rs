use std::collections::BTreeMap;

use super::super::judge::Operation;
use super::super::record::Allow;
use super::*;
use crate::config::{Origin, Sourced, SourcedList};

fn denial(operation: Operation, target: &str, opens: Option<Opens>) -> Denial {
    let allow = opens.map(|opens| Allow { setting: None, toml: None, flag: None, opens });
    Denial {
        operation,
        target: target.to_owned(),
        resolved_target: None,
        promise: None,
        rule: None,
        errno: None,
        certainty: Certainty::Exact,
        pid: None,
        program: None,
        count: 1,
        first_ms: None,
        allow,
        risk: None,
    }
}

fn write(target: &str, directory: &str) -> Denial {
    denial(Operation::Create, target, Some(Opens::Write(directory.into())))
}

fn lesson(mode: SandboxMode) -> Lesson {
    let mode = Sourced { value: mode, origin: Origin::Default };
    Lesson {
        settings: Settings { sandbox_mode: mode, ..Settings::default() },
        opened_by_workspace_write: vec!["/work".into(), "/tmp".into()],
        home: Some("/home/u".into()),
    }
}

/// The settings that the lines say, by their dotted keys.
fn said(learned: &Learned) -> BTreeMap<String, toml::Value> {
    fn flat(table: &toml::Table, above: &str, into: &mut BTreeMap<String, toml::Value>) {
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) => flat(inner, &format!("{above}{key}."), into),
                other => drop(into.insert(format!("{above}{key}"), other.clone())),
            }
        }
    }
    let mut found = BTreeMap::new();
    flat(&learned.toml.parse().unwrap(), "", &mut found);
    found
}

fn list(items: &[&str]) -> toml::Value {
    items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>().into()
}

const ROOTS: &str = "sandbox_workspace_write.writable_roots";

#[test]
fn nothing_refused_needs_nothing() {
    let learned = lesson(SandboxMode::ReadOnly).learn(&[], 0, true);
    assert_eq!(learned, Learned { toml: String::new(), withheld: Vec::new(), complete: true });
}

#[test]
fn one_directory_stands_for_what_lies_below_it() {
    let denials = [write("/a/b/c/x", "/a/b/c"), write("/a/b/y", "/a/b"), write("/a/bc/z", "/a/bc")];
    let learned = lesson(SandboxMode::WorkspaceWrite).learn(&denials, 0, true);
    assert_eq!(said(&learned), [(ROOTS.to_owned(), list(&["/a/b", "/a/bc"]))].into());
    assert!(learned.toml.contains("    # create /a/b/c/x\n") && learned.withheld.is_empty());
}

#[test]
fn what_the_mode_opens_is_not_said_again() {
    let inside = [write("/work/x", "/work"), write("/tmp/y/z", "/tmp/y")];
    let learned = lesson(SandboxMode::ReadOnly).learn(&inside, 0, true);
    let mode = ("sandbox_mode".to_owned(), "workspace-write".into());
    assert_eq!(said(&learned), [mode.clone()].into());
    assert!(
        learned.toml.contains("# create /work/x\n")
            && learned.toml.contains("# this mode opens /work, /tmp\n")
    );
    let learned = lesson(SandboxMode::ReadOnly).learn(&[write("/else/x", "/else")], 0, true);
    assert_eq!(said(&learned), [mode, (ROOTS.to_owned(), list(&["/else"]))].into());
}

#[test]
fn what_was_there_stays_and_what_was_typed_is_written_down() {
    let mut lesson = lesson(SandboxMode::WorkspaceWrite);
    lesson.settings.sandbox_mode.origin = Origin::Flag("--full-auto");
    lesson.settings.workspace_write.writable_roots = SourcedList {
        items: vec![Sourced::from_flag("/typed".into(), "--add-dir")],
        origin: Origin::Default,
    };
    let learned = lesson.learn(&[write("/a/x", "/a")], 0, true);
    let mode = ("sandbox_mode".to_owned(), "workspace-write".into());
    assert_eq!(said(&learned), [mode, (ROOTS.to_owned(), list(&["/typed", "/a"]))].into());
}

#[test]
fn the_network_is_said_where_a_setting_can_say_it() {
    let connect = denial(Operation::Connect, "192.0.2.1:443", Some(Opens::Network));
    let learned = lesson(SandboxMode::WorkspaceWrite).learn(std::slice::from_ref(&connect), 0, true);
    let network = ("sandbox_workspace_write.network_access".to_owned(), true.into());
    assert_eq!(said(&learned), [network.clone()].into());
    let mut typed = lesson(SandboxMode::WorkspaceWrite);
    typed.settings.sandbox_mode.origin = Origin::Flag("--full-auto");
    let mode = ("sandbox_mode".to_owned(), "workspace-write".into());
    let learned = typed.learn(std::slice::from_ref(&connect), 0, true);
    assert_eq!(said(&learned), [mode, network.clone()].into());
    let learned = lesson(SandboxMode::ReadOnly).learn(std::slice::from_ref(&connect), 0, true);
    assert_eq!((learned.toml.as_str(), learned.withheld.len()), ("", 1));
    let learned = lesson(SandboxMode::ReadOnly).learn(&[connect, write("/work/x", "/work")], 0, true);
    assert_eq!(said(&learned).get(&network.0), Some(&network.1));
}

#[test]
fn sockets_are_listed_with_those_that_are_open() {
    let unix = denial(Operation::Unix, "/run/s", Some(Opens::UnixSocket("/run/s".into())));
    let learned = lesson(SandboxMode::ReadOnly).learn(&[unix], 0, true);
    assert_eq!(said(&learned), [("sandbox.allow_unix_sockets".to_owned(), list(&["/run/s"]))].into());
}

#[test]
fn what_is_not_certain_or_secret_or_without_a_grant_is_withheld() {
    let likely = Denial { certainty: Certainty::Likely, ..write("/a/x", "/a") };
    let by_link = Denial { resolved_target: Some("/home/u/.ssh/id".to_owned()), ..write("/l/id", "/l") };
    let denials = [
        likely,
        by_link,
        write("/home/u/.aws/x", "/home/u/.aws"),
        // Where secrets lie as well.
        write("/home/u/.config/x", "/home/u/.config"),
        denial(Operation::Write, "/etc/hosts", None),
    ];
    let learned = lesson(SandboxMode::WorkspaceWrite).learn(&denials, 0, true);
    assert_eq!((learned.toml.as_str(), learned.withheld.len()), ("", 5));
    // The harmless twin.
    let learned =
        lesson(SandboxMode::WorkspaceWrite).learn(&[write("/home/u/.cache/x", "/home/u/.cache")], 0, true);
    assert_eq!(said(&learned), [(ROOTS.to_owned(), list(&["/home/u/.cache"]))].into());
}

#[test]
fn it_is_complete_only_where_all_was_seen() {
    for (untold, observed, complete) in [(0, true, true), (1, true, false), (0, false, false)] {
        assert_eq!(lesson(SandboxMode::ReadOnly).learn(&[], untold, observed).complete, complete);
    }
}

#[test]
fn no_name_says_a_setting_of_its_own() {
    let evil = "/a/\"]\nsandbox_mode = \"danger-full-access\"\n#\u{1b}[2J\u{202e}\r";
    let denials = [
        Denial { risk: Some(format!("everything below {evil}")), ..write(&format!("{evil}/x"), evil) },
        denial(Operation::Unix, evil, Some(Opens::UnixSocket(evil.into()))),
    ];
    let learned = lesson(SandboxMode::WorkspaceWrite).learn(&denials, 0, true);
    let sockets = ("sandbox.allow_unix_sockets".to_owned(), list(&[evil]));
    assert_eq!(said(&learned), [(ROOTS.to_owned(), list(&[evil])), sockets].into());
    assert!(learned.toml.chars().all(|shown| shown == '\n' || (!shown.is_control() && shown != '\u{202e}')));
}
