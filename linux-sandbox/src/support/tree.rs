//! The files that the kernel and container engines tell by: `/proc`, `/sys`, and marks at fixed places.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// More than any of these files has on a healthy machine; a mount table of many thousand lines fits.
const LONGEST: u64 = 4 * 1024 * 1024;

/// A root below which the files are looked up: `/`, or a directory of a test.
#[derive(Clone, Debug)]
pub(super) struct Tree(PathBuf);

impl Tree {
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    pub(super) fn writable(&self, path: &Path) -> bool {
        access(&self.at(&path.to_string_lossy()), AccessFlags::W_OK).is_ok()
    }

    /// A file's text without blanks at its end, where it can be read and has any.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        File::open(self.at(path)).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches(|end: char| end.is_whitespace() || end == '\0');
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A file that holds one number.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.trim().parse().ok()
    }
}
