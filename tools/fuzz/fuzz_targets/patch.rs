//! A patch from anybody: no text may crash it, nothing outside of its root may change, and one that fails changes nothing.
//!
//! An input is a file and a patch, with a byte 0xff between them.

#![cfg_attr(fuzzing, no_main)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use codex_tools::patch::{Bounds, apply, parse, plan};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a temporary directory"));

fn tree(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path.clone());
            }
            found.push((path.clone(), fs::read(&path).unwrap_or_default()));
        }
    }
    found.sort();
    found
}

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == 0xff);
    let (file, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(patch) = parse::parse(text) else { return };
    let top = DIRECTORY.path().canonicalize().expect("the directory");
    let root = top.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).expect("clear the root");
    }
    fs::create_dir_all(root.join("d")).expect("a root");
    fs::write(root.join("f"), file).expect("a file");
    fs::write(root.join("d/g"), file).expect("a file");
    let bounds = Bounds {
        base: root.clone(),
        roots: vec![root.clone()],
        protected: vec![root.join("p")],
        pinned: Vec::new(),
    };
    let before = tree(&root);
    let applied = plan(&patch, &bounds).map_err(drop).and_then(|plan| apply(plan).map_err(drop));
    if applied.is_err() {
        assert_eq!(tree(&root), before);
    }
    assert!(!root.join("p").exists());
    assert_eq!(fs::read_dir(&top).expect("the directory").count(), 1);
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
