//! Files that aren't there, aren't files, or aren't text.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::Fixture;
use crate::config::{ConfigSources, Loaded, load};

#[test]
fn no_file_and_no_sources_are_fine() {
    assert_eq!(Fixture::new().load().unwrap(), Loaded::default());
    assert_eq!(load(&ConfigSources::default()).unwrap(), Loaded::default());
    let nowhere = Fixture::new().directory.path().join("missing");
    let sources = ConfigSources {
        codex_home: Some(&nowhere),
        project_root: Some(&nowhere),
        ..ConfigSources::default()
    };
    assert_eq!(load(&sources).unwrap(), Loaded::default());
}

#[test]
fn a_directory_is_no_file() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.user_file()).unwrap();
    assert_eq!(fixture.error(), "config.toml: is a directory, not a regular file");
}

#[test]
fn a_pipe_does_not_hang() {
    let fixture = Fixture::new();
    mkfifo(&fixture.user_file(), Mode::S_IRWXU).unwrap();
    assert_eq!(fixture.error(), "config.toml: is a named pipe, not a regular file");
}

#[test]
fn a_device_without_end_is_no_file() {
    let fixture = Fixture::new();
    symlink("/dev/zero", fixture.user_file()).unwrap();
    assert_eq!(fixture.error(), "config.toml: is a device, not a regular file");
}

#[test]
fn a_link_is_followed_and_a_dangling_one_is_told() {
    let fixture = Fixture::new();
    let elsewhere = fixture.directory.path().join("dotfiles.toml");
    symlink(&elsewhere, fixture.user_file()).unwrap();
    assert_eq!(
        fixture.error(),
        "config.toml: cannot be read: it is a symbolic link to a file that does not exist"
    );
    fs::write(&elsewhere, "sandbox_mode = \"workspace-write\"").unwrap();
    assert_eq!(fixture.load().unwrap().settings.sandbox_mode.value.name(), "workspace-write");
}

#[test]
fn a_parent_that_is_a_file_is_told() {
    let fixture = Fixture::user("");
    let inside = fixture.user_file();
    let error = load(&ConfigSources { codex_home: Some(&inside), ..ConfigSources::default() }).unwrap_err();
    let path = inside.join("config.toml");
    assert_eq!(error.to_string(), format!("{}: cannot be read: not a directory", path.display()));
}

#[test]
fn bytes_that_are_not_utf8_have_a_position() {
    let fixture = Fixture::user(b"# fine\n# \xc3\xa9\xff\n");
    assert_eq!(fixture.error(), "config.toml:2:4: is not UTF-8 text from here on");
}

#[test]
fn the_limit_of_size_is_exact() {
    let comment = |length: usize| format!("#{}", "x".repeat(length - 1));
    assert!(Fixture::user(comment(1 << 20)).load().is_ok());
    assert_eq!(Fixture::user(comment((1 << 20) + 1)).error(), "config.toml: is larger than 1048576 bytes");
}

#[test]
fn a_project_file_that_is_none_has_no_effect_and_no_hang() {
    let fixture = Fixture::new();
    mkfifo(&fixture.project_file(), Mode::S_IRWXU).unwrap();
    assert_eq!(fixture.notices(), [".codex/config.toml: ignored: is a named pipe, not a regular file"]);

    let fixture = Fixture::new();
    fs::create_dir(fixture.project_file()).unwrap();
    assert_eq!(fixture.notices(), [".codex/config.toml: ignored: is a directory, not a regular file"]);

    let fixture = Fixture::new().with_project(b"\xff");
    assert_eq!(fixture.notices(), [".codex/config.toml:1: ignored: is not UTF-8 text from here on"]);
}

#[test]
fn a_project_file_is_not_read_through_links() {
    let fixture = Fixture::new();
    let elsewhere = fixture.directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("config.toml"), "sandbox.require = [\"P1\"]").unwrap();

    symlink(elsewhere.join("config.toml"), fixture.project_file()).unwrap();
    assert!(fixture.load().unwrap().settings.sandbox.require.is_empty());
    assert_eq!(fixture.notices(), [".codex/config.toml: ignored: cannot be read: it is a symbolic link"]);

    fs::remove_dir_all(fixture.project_root().join(".codex")).unwrap();
    symlink(&elsewhere, fixture.project_root().join(".codex")).unwrap();
    assert!(fixture.load().unwrap().settings.sandbox.require.is_empty());
    assert_eq!(fixture.notices().len(), 1);
}

#[test]
fn the_users_own_file_is_no_project_file() {
    let fixture = Fixture::new();
    fs::write(fixture.project_file(), "sandbox.isolation = \"landlock\"").unwrap();
    let home = fixture.project_root().join(".codex");
    let root = fixture.project_root();
    let sources = ConfigSources { codex_home: Some(&home), project_root: Some(&root), ..Default::default() };
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.notices, []);
    assert_eq!(loaded.settings.sandbox.isolation.value.name(), "landlock");
}
