//! Mounts below a writable root, and those that are no place for files: the kernel's own file systems.
//!
//! A rule on a directory holds for what is mounted below it. With a `/proc` mounted in the workspace, as in the tree of
//! a container that is being built, root could write the kernel's settings, and anybody could look at processes outside.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// Kinds that show or set what the kernel and the host are, by their names in `/proc/filesystems`.
const KINDS: [&str; 21] = [
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "resctrl",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

/// A mount of the kernel's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialMount {
    /// Where it is mounted.
    pub place: PathBuf,
    /// Its kind.
    pub kind: String,
}

/// The mounts of the kernel's own at or below these directories, as this process sees them now.
///
/// # Errors
///
/// What the kernel says where its list of mounts can't be read.
pub fn special_mounts<'r>(
    roots: impl IntoIterator<Item = &'r Path> + Clone,
) -> Result<Vec<SpecialMount>, Errno> {
    if roots.clone().into_iter().next().is_none() {
        // The kernel writes the list anew for each reader.
        return Ok(Vec::new());
    }
    Ok(special_in(&mounts()?, roots))
}

/// The first mount below one of these directories, as this process sees them now: one at a directory itself is none.
///
/// # Errors
///
/// What the kernel says where its list of mounts can't be read.
pub fn mount_below<'r>(roots: impl IntoIterator<Item = &'r Path> + Clone) -> Result<Option<PathBuf>, Errno> {
    let list = mounts()?;
    let below = |place: &PathBuf| {
        roots.clone().into_iter().any(|root| place.starts_with(root) && place.as_path() != root)
    };
    let places = list.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    Ok(places.map(unescape).find(below))
}

fn mounts() -> Result<Vec<u8>, Errno> {
    // It has no size that could be asked for, and is read in one piece where there is room.
    let mut list = Vec::with_capacity(32 * 1024);
    File::open("/proc/self/mountinfo")
        .and_then(|mut file| file.read_to_end(&mut list))
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    Ok(list)
}

fn special_in<'r>(list: &[u8], roots: impl IntoIterator<Item = &'r Path> + Clone) -> Vec<SpecialMount> {
    let lines = list.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| {
            // proc_pid_mountinfo(5): …, the mount point as fifth field, …, a lone `-`, the kind.
            let mut fields = line.split(|byte| *byte == b' ');
            let place = unescape(fields.nth(4)?);
            let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
            let kind = KINDS.into_iter().find(|known| known.as_bytes() == kind)?;
            let below = roots.clone().into_iter().any(|root| place.starts_with(root));
            below.then(|| SpecialMount { place, kind: kind.to_owned() })
        })
        .collect()
}

/// Blanks, tabs, newlines and backslashes are written as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .get(..3)
            .filter(|digits| *first == b'\\' && digits.iter().all(|digit| (b'0'..b'8').contains(digit)));
        match digits {
            Some(digits) => {
                let value = digits.iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                bytes.push(u8::try_from(value).unwrap_or(b'?'));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{SpecialMount, special_in, special_mounts};

    const LIST: &[u8] = b"22 1 8:1 / / rw,relatime - ext4 /dev/root rw\n\
        23 22 0:21 / /proc rw,nosuid shared:5 master:1 - proc proc rw\n\
        24 22 0:22 / /project/a\\040b\\134/proc rw - proc - rw\n\
        25 22 0:23 / /project/data rw - tmpfs tmpfs rw\n\
        26 22 0:24 /x /project/tree/sys rw - sysfs sysfs rw\n\
        27 22 0:25 / /projects/proc rw - proc proc rw\n\
        broken line\n";

    #[test]
    fn the_kernels_own_below_a_root_are_found() {
        let found = special_in(LIST, [Path::new("/project")]);
        let mount = |place: &str, kind: &str| SpecialMount { place: place.into(), kind: kind.to_owned() };
        assert_eq!(found, [mount("/project/a b\\/proc", "proc"), mount("/project/tree/sys", "sysfs")]);
        assert_eq!(special_in(LIST, [Path::new("/project/data")]), []);
    }

    #[test]
    fn this_machines_list_is_understood() {
        let found = special_mounts([Path::new("/")]).unwrap();
        assert!(found.iter().any(|mount| mount.place == Path::new("/proc") && mount.kind == "proc"));
    }
}
