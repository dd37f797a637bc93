use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use proptest::prelude::*;

use super::{LastFailed, LastFailedError, NAME, options, write};

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

fn failed() -> LastFailed {
    LastFailed {
        directory: "/project".into(),
        options: words("--full-auto --add-dir /a"),
        command: words("make install"),
        ended: "exited with code 2".to_owned(),
        time_ms: 7,
    }
}

#[test]
fn the_options_are_what_stands_before_the_command() {
    let of = |line: &str, command: &str| options(&words(line), &words(command)).map(<[_]>::to_vec);
    assert_eq!(of("codex sandbox --json -- ls -l", "ls -l"), Some(words("--json")));
    assert_eq!(of("codex debug landlock ls --", "ls --"), Some(Vec::new()));
    assert_eq!(of("codex sandbox -- ls -- x", "ls -- x"), Some(Vec::new()));
    assert_eq!(of("codex exec ls", "ls"), None);
    assert_eq!(of("codex sandbox -- ls", "rm"), None);
}

#[test]
fn it_is_kept_for_its_owner_alone_and_read_from_nobody_else() {
    let home = tempfile::tempdir().unwrap();
    let read = || super::read(Some(home.path()));
    assert!(matches!(read(), Err(LastFailedError::None)));
    write(&failed(), home.path()).unwrap();
    let path = home.path().join(NAME);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(read().unwrap(), failed());
    // The next takes its place, and nothing is left beside it.
    write(&failed(), home.path()).unwrap();
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
    std::fs::set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
    assert!(matches!(read(), Err(LastFailedError::Foreign(_))));
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(read(), Err(LastFailedError::Foreign(_))));
    std::fs::rename(&path, home.path().join("elsewhere")).unwrap();
    symlink("elsewhere", &path).unwrap();
    assert!(matches!(read(), Err(LastFailedError::Unreadable(..))));
}

#[test]
fn what_is_too_long_is_not_kept() {
    let home = tempfile::tempdir().unwrap();
    let long = LastFailed { command: vec!["x".repeat(2 * 1024 * 1024).into()], ..failed() };
    assert!(write(&long, home.path()).is_err());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

fn bytes() -> impl Strategy<Value = OsString> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(OsString::from_vec)
}

proptest! {
    #[test]
    fn bytes_are_preserved(
        options in prop::collection::vec(bytes(), 0..4),
        command in prop::collection::vec(bytes(), 1..4),
        below in bytes(),
    ) {
        let home = tempfile::tempdir().unwrap();
        let directory = PathBuf::from("/").join(below.to_string_lossy().trim_start_matches('/'));
        let failed = LastFailed { directory, options, command, ..failed() };
        write(&failed, home.path()).unwrap();
        prop_assert_eq!(super::read(Some(home.path())).unwrap(), failed);
    }

    #[test]
    fn anything_can_be_read(text in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(LastFailed::parse(&text), None);
    }
}
