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
        Self::read(root, describe)
    }

    /// The same, and of everything, `root` included, the metadata: owners, times and attributes too.
    ///
    /// # Panics
    ///
    /// Where something in it can't be read.
    #[must_use]
    pub fn with_metadata(root: &Path) -> Self {
        // The time of the last change stands for what has no field of its own: attributes, flags, access lists.
        let describe = |path: &Path| {
            let metadata = path.symlink_metadata().expect("look at a file of the scene");
            format!(
                "{} owner {}:{} modified {}.{} changed {}.{}",
                describe(path),
                metadata.uid(),
                metadata.gid(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.ctime(),
                metadata.ctime_nsec()
            )
        };
        let mut snapshot = Self::read(root, describe);
        snapshot.entries.insert(root.to_owned(), describe(root));
        snapshot
    }

    /// What differs between two, a line a path.
    #[must_use]
    pub fn difference(&self, later: &Self) -> String {
        let paths: std::collections::BTreeSet<&PathBuf> =
            self.entries.keys().chain(later.entries.keys()).collect();
        let mut lines = String::new();
        for path in paths {
            let (before, after) = (self.entries.get(path), later.entries.get(path));
            if before != after {
                let show = |side: Option<&String>| side.map_or("nothing", String::as_str).to_owned();
                lines.push_str(&format!("    {}: {} became {}\n", path.display(), show(before), show(after)));
            }
        }
        lines
    }

    fn read(root: &Path, describe: impl Fn(&Path) -> String) -> Self {
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
