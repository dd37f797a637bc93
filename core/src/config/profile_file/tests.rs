use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use proptest::prelude::*;

use super::*;

const LINES: &str = "# why\nsandbox_mode = \"workspace-write\"\n";

#[test]
fn the_rest_stays_as_it_is() {
    let text = "# first\nsandbox_mode = \"read-only\" # and this\n\n[profiles.other]\n# kept\nsandbox.git = \"open\"";
    let whole = with_profile(text, "new", LINES, false).unwrap();
    assert_eq!(whole, format!("{text}\n\n[profiles.new]\n{LINES}"));
    assert_eq!(with_profile("", "new", LINES, false).unwrap(), format!("[profiles.new]\n{LINES}"));
}

#[test]
fn one_that_is_there_is_replaced_only_where_that_was_asked_for() {
    let text = "a = 1\n[profiles.new]\nx = [\n  \"[b]\",\n]\n\n[profiles.new.sandbox]\ny = 2\n\n# of the next\n[ profiles . \"other\" ]\nz = 3\n";
    assert_eq!(with_profile(text, "new", LINES, false), Err(Refused::Exists));
    let whole = with_profile(text, "new", LINES, true).unwrap();
    let rest = "a = 1\n\n# of the next\n[ profiles . \"other\" ]\nz = 3\n";
    assert_eq!(whole, format!("{rest}\n[profiles.new]\n{LINES}"));
    // Again, it is the same.
    assert_eq!(with_profile(&whole, "new", LINES, true).unwrap().matches("[profiles.new]").count(), 1);
}

#[test]
fn what_can_not_be_told_apart_is_left_alone() {
    for text in [
        "profiles = { new = { x = 1 } }",
        "profiles = { old = { x = 1 } }",
        "profiles.new.x = 1",
        "text = '''\n[profiles.new]\n'''\n[profiles.new]\nx = 1\n[profiles.new.y]\nz = '''\n[a]\n'''",
        "no toml",
    ] {
        assert_eq!(with_profile(text, "new", LINES, true), Err(Refused::Form), "{text}");
    }
    assert_eq!(with_profile("", "new", "[evil]\nx = 1", false), Err(Refused::Form));
    for name in ["", "a.b", "a]", "a\nb", "é"] {
        assert_eq!(with_profile("", name, LINES, false), Err(Refused::Name), "{name}");
    }
}

#[test]
fn no_link_is_followed_and_the_mode_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("config.toml");
    assert_eq!(write_profile(scratch.path(), "one", LINES, false).unwrap(), file);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    write_profile(scratch.path(), "two", LINES, false).unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("[profiles.one]") && text.contains("[profiles.two]"), "{text}");
    assert!(matches!(write_profile(scratch.path(), "two", LINES, false), Err(ProfileError::Exists { .. })));

    let other = scratch.path().join("other");
    fs::rename(&file, &other).unwrap();
    symlink(&other, &file).unwrap();
    assert!(matches!(write_profile(scratch.path(), "new", LINES, false), Err(ProfileError::Foreign { .. })));
    fs::remove_file(&file).unwrap();
    fs::hard_link(&other, &file).unwrap();
    assert!(matches!(write_profile(scratch.path(), "new", LINES, false), Err(ProfileError::Foreign { .. })));
    assert_eq!(fs::read_to_string(&other).unwrap(), text);
    // What was planted where the new file is made stays, and stops it.
    fs::remove_file(&file).unwrap();
    symlink(&other, scratch.path().join(format!(".config.toml-{}", std::process::id()))).unwrap();
    assert!(matches!(write_profile(scratch.path(), "new", LINES, false), Err(ProfileError::Io { .. })));
    assert_eq!(fs::read_to_string(&other).unwrap(), text);
}

proptest! {
    #[test]
    fn whatever_the_text_nothing_else_changes(
        parts in prop::collection::vec(prop::sample::select(vec![
            "[profiles.new]\n", "[profiles.new.sandbox]\n", "[profiles.old]\n", "[profiles]\n", "[a]\n", "[[b]]\n", "x = 1\n",
            "y = [\n", "]\n", "['c']\n", "'''\n", "z = '''\n", "# note\n", "\n", "new.x = 2\n", "profiles.new.q = 1\n", "w = \"[a]\"",
        ]), 0..12),
        replace in any::<bool>(),
    ) {
        let text = parts.concat();
        if let Ok(whole) = with_profile(&text, "new", LINES, replace) {
            let (before, after): (toml::Table, toml::Table) = (text.parse().unwrap(), whole.parse().unwrap());
            prop_assert!(replace || profile(&before, "new").is_none());
            prop_assert_eq!(profile(&after, "new"), Some(LINES.parse::<toml::Table>().unwrap().into()));
            prop_assert_eq!(without_profile(after, "new"), without_profile(before, "new"));
        }
    }
}
