//! What is written is read back, whatever happened at the end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use proptest::prelude::*;

use super::{Line, Meta, Rollout, RolloutError, find, newest, read, sync, to_sync};
use crate::conversation::{Call, Item};
use crate::redact::Redactor;

fn meta(cwd: &str) -> Meta {
    Meta {
        id: uuid::Uuid::now_v7().to_string(),
        cwd: PathBuf::from(cwd),
        version: "0".into(),
        model: "m".into(),
        model_provider: "p".into(),
    }
}

fn user(text: &str) -> Item {
    Item::User { text: text.into(), images: Vec::new() }
}

fn call(id: &str) -> Item {
    Item::Call(Call { call_id: id.into(), name: "shell".into(), arguments: "{}".into(), custom: false })
}

fn output(id: &str) -> Item {
    Item::Output { call_id: id.into(), text: "done".into(), custom: false }
}

#[test]
fn a_session_goes_on_where_it_stopped() {
    let home = tempfile::tempdir().unwrap();
    let meta = meta("/w");
    let mut rollout =
        Rollout::begin(home.path(), meta.clone(), Redactor::new(["secret-word".into()])).unwrap();
    let path = rollout.path().to_owned();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    rollout.add(&user("say secret-word")).unwrap();
    // As long as it is written, nobody else writes it.
    assert!(matches!(Rollout::resume(&path, Redactor::default()), Err(RolloutError::InUse(_))));
    drop(rollout);
    fs::write(&path, [&fs::read(&path).unwrap()[..], b"{\"type\":\"item\",\"pay"].concat()).unwrap();

    assert_eq!(find(home.path(), &meta.id).unwrap(), path);
    let (mut rollout, read_meta, items) = Rollout::resume(&path, Redactor::default()).unwrap();
    assert_eq!((read_meta, items), (meta, vec![user("say [redacted]")]));
    rollout.add(&user("more")).unwrap();
    drop(rollout);
    let before = fs::read(&path).unwrap();
    let (_rollout, _, items) = Rollout::resume(&path, Redactor::default()).unwrap();
    assert_eq!(items, [user("say [redacted]"), user("more")]);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn who_goes_on_is_told_of_no_way_to_begin() {
    let home = tempfile::tempdir().unwrap();
    let begins = Rollout::begin(home.path(), meta("/w"), Redactor::default()).unwrap();
    let path = begins.path().to_owned();
    drop(begins);
    fs::remove_file(&path).unwrap();
    let told = |rollout: Result<_, RolloutError>| rollout.err().unwrap().to_string();
    let goes_on = told(Rollout::resume(&path, Redactor::default()).map(drop));
    assert!(goes_on.contains("No such file") && !goes_on.contains("--ephemeral"), "{goes_on}");
    fs::write(home.path().join("file"), "").unwrap();
    let begins = told(Rollout::begin(&home.path().join("file"), meta("/w"), Redactor::default()).map(drop));
    assert!(begins.contains("Not a directory") && begins.contains("--ephemeral"), "{begins}");
}

#[test]
fn the_names_of_new_directories_are_on_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let day = home.path().join("new/sessions/2026/11/27");
    let named: Vec<_> = day.ancestors().take(6).collect();
    assert_eq!((to_sync(&day), named[5]), (named.clone(), home.path()));
    fs::create_dir_all(named[1]).unwrap();
    assert_eq!(to_sync(&day), named[..2]);
    fs::create_dir_all(&day).unwrap();
    assert_eq!(to_sync(&day), named[..1]);
    // Some file systems have none to sync.
    assert!(fs::File::open("/proc").unwrap().sync_all().is_err());
    sync("/proc".as_ref()).unwrap();
    sync(&day).unwrap();
    assert!(sync(&day.join("none")).is_err());
}

#[test]
fn the_newest_of_the_workspace_is_found() {
    let home = tempfile::tempdir().unwrap();
    assert!(matches!(newest(home.path(), "/a".as_ref()), Err(RolloutError::None)));
    let mut paths = Vec::new();
    for cwd in ["/a", "/a", "/b"] {
        let rollout = Rollout::begin(home.path(), meta(cwd), Redactor::default()).unwrap();
        paths.push(rollout.path().to_owned());
    }
    assert_eq!(newest(home.path(), "/a".as_ref()).unwrap(), paths[1]);
    assert_eq!(newest(home.path(), "/b".as_ref()).unwrap(), paths[2]);
    assert!(matches!(find(home.path(), "../../x"), Err(RolloutError::Name(_))));
    assert!(matches!(find(home.path(), &uuid::Uuid::nil().to_string()), Err(RolloutError::Unknown { .. })));
}

#[test]
fn every_call_has_one_answer() {
    let lines = |items: &[Item]| {
        let lines = items.iter().map(|item| serde_json::to_string(&Line::Item(item.clone())).unwrap() + "\n");
        lines.collect::<String>()
    };
    let items = [output("x"), call("a"), call("b"), output("b"), user("next"), call("c"), call("c")];
    let (_, read) = read(lines(&items).as_bytes());
    let kinds: Vec<String> = read
        .iter()
        .map(|item| match item {
            Item::Call(call) => format!("call {}", call.call_id),
            Item::Output { call_id, text, .. } => format!("{call_id} {text}"),
            Item::User { text, .. } => text.clone(),
            other => format!("{other:?}"),
        })
        .collect();
    let ended = "the session ended before this call had an answer";
    let expected =
        ["call a", "call b", "b done", &format!("a {ended}"), "next", "call c", &format!("c {ended}")];
    assert_eq!(kinds, expected);
}

proptest! {
    #[test]
    fn a_file_cut_anywhere_gives_a_beginning_of_what_was_said(texts in prop::collection::vec(".*", 1..6), cut in any::<prop::sample::Index>()) {
        let items: Vec<Item> = texts.iter().map(|text| user(text)).collect();
        let lines: Vec<String> = items.iter().map(|item| serde_json::to_string(&Line::Item(item.clone())).unwrap() + "\n").collect();
        let bytes = lines.concat().into_bytes();
        let at = cut.index(bytes.len() + 1);
        let whole = lines.iter().scan(0, |end, line| { *end += line.len(); Some(*end) }).filter(|end| *end <= at + 1).count();
        // A line that lacks its end only is whole.
        prop_assert_eq!(read(&bytes[..at]).1, &items[..whole]);
    }
}
