//! The mount table, as far as questions about the machine need it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::tree::Tree;

/// A line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// What of the file system is mounted.
    pub(super) root: PathBuf,
    /// Where.
    pub(super) point: PathBuf,
    /// The type of the file system.
    pub(super) kind: String,
}

/// The mounts that this process sees; none where the table can't be read.
pub(super) fn mounts(tree: &Tree) -> Vec<Mount> {
    tree.text("/proc/self/mountinfo").unwrap_or_default().lines().filter_map(mount).collect()
}

/// `36 35 98:0 /root /point options [optional]… - type source options` (`proc_pid_mountinfo(5)`).
fn mount(line: &str) -> Option<Mount> {
    let (fields, rest) = line.split_once(" - ")?;
    let mut fields = fields.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    Some(Mount { root: path(root), point: path(point), kind: rest.split(' ').next()?.to_owned() })
}

/// A path in which the kernel wrote blanks and backslashes as `\` and three octal digits.
fn path(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    OsString::from_vec(bytes).into()
}

/// The mounts that hide a part of `/proc`. With one of them, the kernel refuses a new `/proc` in a user namespace: it
/// would show what is hidden.
pub(super) fn proc_covers(mounts: &[Mount]) -> Vec<PathBuf> {
    // A directory that is empty by nature: nothing is hidden by what is mounted there.
    let empty = Path::new("/proc/sys/fs/binfmt_misc");
    let below = |point: &Path| point != Path::new("/proc") && point.starts_with("/proc");
    mounts.iter().map(|mount| &mount.point).filter(|point| below(point) && *point != empty).cloned().collect()
}
