//! A directory tree as it is, to tell whether anything in it changed.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

/// Names, types, inodes and contents of everything below a directory. Two are equal where nothing of P1 changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    entries: BTreeMap<PathBuf, String>,
}

impl Snapshot {
    /// Reads the tree below `root`.
    ///
    /// # Panics
    ///
    /// Where something in it can't be read.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let mut entries = BTreeMap::new();
        let mut pending = vec![root.to_owned()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory).expect("list a directory of the scene") {
                let path = entry.expect("read a directory entry").path();
                entries.insert(path.clone(), describe(&path));
                if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
                    pending.push(path);
                }
            }
        }
        Self { entries }
    }
}

fn describe(path: &Path) -> String {
    let metadata = path.symlink_metadata().expect("look at a file of the scene");
    let kind = metadata.file_type();
    let content = if kind.is_symlink() {
        format!("-> {}", fs::read_link(path).expect("read a link of the scene").display())
    } else if kind.is_file() {
        format!("{:?}", String::from_utf8_lossy(&fs::read(path).expect("read a file of the scene")))
    } else {
        String::new()
    };
    format!(
        "{:o} inode {} links {} {content}",
        metadata.mode(),
        metadata.ino(),
        if kind.is_dir() { 0 } else { metadata.nlink() }
    )
}

impl fmt::Display for Snapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, description) in &self.entries {
            writeln!(formatter, "    {}  {description}", path.display())?;
        }
        Ok(())
    }
}
