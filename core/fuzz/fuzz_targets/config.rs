//! Configuration from anybody: no bytes may crash it, no error may take more than its line, and no project's file may
//! allow more than there was without it.
//!
//! An input is the user's file, an override and a project's file, with a byte 0xff between them, which no text holds.

#![cfg_attr(fuzzing, no_main)]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use codex_core::config::{ConfigSources, FlagLayer, Place, load, rows};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = TempDir::new().expect("a temporary directory");
    fs::create_dir_all(directory.path().join("project/.codex")).expect("a project");
    directory
});

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == 0xff);
    let mut part = || parts.next().unwrap_or_default();
    let (user, typed, project) = (part(), part(), part());
    let home = DIRECTORY.path();
    let root = home.join("project");
    fs::write(home.join("config.toml"), user).expect("writing the user's file");
    fs::write(root.join(".codex/config.toml"), project).expect("writing the project's file");
    let overrides: Vec<String> = std::str::from_utf8(typed).map(str::to_owned).into_iter().collect();
    let sources = |project_root| ConfigSources {
        codex_home: Some(home),
        home: Some(Path::new("/home/user")),
        overrides: if typed.is_empty() { &[] } else { &overrides },
        profile: None,
        project_root,
        flags: FlagLayer::default(),
    };

    match load(&sources(Some(&root))) {
        Ok(with) => {
            let without = load(&sources(None)).expect("a project's file does not repair anything");
            let (tight, loose) = (with.settings.policy(), without.settings.policy());
            assert!(tight.mode() <= loose.mode());
            assert!(tight.has_full_network_access() <= loose.has_full_network_access());
            assert!(with.settings.workspace_write.writable_roots.values().all(|root| root.is_absolute()));
            assert!(rows(&with.settings).iter().all(|row| row.value.lines().count() == 1));
            assert!(with.notices.iter().all(|notice| notice.to_string().lines().count() == 1));
        }
        Err(error) => {
            assert_eq!(error.to_string().lines().count(), error.problems.len());
            let lines = user.split(|byte| *byte == b'\n').count();
            for problem in &error.problems {
                if let Place::Position { line, column, .. } = problem.place {
                    assert!((1..=lines).contains(&line) && (1..=user.len() + 1).contains(&column));
                }
            }
            // A project's file is no part of an error.
            assert_eq!(load(&sources(None)).expect_err("the same error"), error);
        }
    }
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
