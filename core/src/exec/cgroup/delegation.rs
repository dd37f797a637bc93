//! Where groups can be made, and what they can hold there.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, open};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, faccessat};

use super::DIRECTORY;
use super::files::read;
use crate::limits::Limit;

/// Why there is no group to be had. Each is a machine's ordinary state, and no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCgroup {
    /// Nothing is mounted, or only version 1.
    #[error("no cgroup of version 2 is to be seen")]
    NotMounted,
    /// No group between ours and the top of what is seen may be changed by us.
    #[error("no cgroup is delegated to us")]
    NotDelegated,
    /// Where groups can be made, the controllers that could hold something are not passed on.
    #[error("the cgroups that are delegated to us pass neither of the controllers `memory` and `pids` on")]
    NoControllers,
}

/// A group in which we may make others, with what it passes on to them.
#[derive(Debug)]
pub struct Delegation {
    directory: OwnedFd,
    path: PathBuf,
    memory: bool,
    processes: bool,
}

impl Delegation {
    /// Finds the nearest group, ours or one above it, in which we may make a group that a process of ours can enter, and
    /// that passes on what holds memory or processes.
    ///
    /// Nothing is changed for it. A group that has processes can't begin to pass controllers on (cgroups(7), "no internal
    /// processes"), and we are in ours: we would have to move ourselves, and everybody beside us, which is for whoever
    /// started us to decide. `systemd-run --user --scope -p Delegate=yes`, a service with `DelegateSubgroup=`, and each
    /// program of a desktop session have one above them that does.
    ///
    /// # Errors
    ///
    /// [`NoCgroup`] says what is missing.
    pub fn find() -> Result<Self, NoCgroup> {
        let text = |path| std::fs::read(path).map_err(|_unknown| NoCgroup::NotMounted);
        Self::of(&text("/proc/self/cgroup")?, &text("/proc/self/mountinfo")?, Path::new("/"))
    }

    /// The same from the texts, with what they name below a directory.
    pub(super) fn of(groups: &[u8], mounts: &[u8], below: &Path) -> Result<Self, NoCgroup> {
        let (top, own) = own(groups, mounts).ok_or(NoCgroup::NotMounted)?;
        let top = below.join(top.strip_prefix("/").unwrap_or(&top));
        let mut answer = NoCgroup::NotDelegated;
        let mut here: &Path = &own;
        loop {
            let path: PathBuf = top.join(here).components().collect();
            match Self::at(path) {
                Ok(delegation) => return Ok(delegation),
                Err(NoCgroup::NoControllers) => answer = NoCgroup::NoControllers,
                Err(_) => {}
            }
            match here.parent() {
                Some(above) => here = above,
                None => return Err(answer),
            }
        }
    }

    fn at(path: PathBuf) -> Result<Self, NoCgroup> {
        let directory = open(&path, DIRECTORY, Mode::empty()).map_err(|_none| NoCgroup::NotMounted)?;
        let writable =
            |file: &str| faccessat(&directory, file, AccessFlags::W_OK, AtFlags::AT_EACCESS) == Ok(());
        // To go from our group into one below this, one has to be allowed to move processes here.
        if !writable(".") || !writable("cgroup.procs") {
            return Err(NoCgroup::NotDelegated);
        }
        // The root group has no type; those that hold threads only take no controllers of memory.
        if read(directory.as_fd(), "cgroup.type").is_some_and(|kind| kind.trim() != "domain") {
            return Err(NoCgroup::NotDelegated);
        }
        let passed = read(directory.as_fd(), "cgroup.subtree_control").unwrap_or_default();
        let has = |name| passed.split_ascii_whitespace().any(|controller| controller == name);
        let (memory, processes) = (has("memory"), has("pids"));
        if !memory && !processes {
            return Err(NoCgroup::NoControllers);
        }
        Ok(Self { directory, path, memory, processes })
    }

    /// A place where groups hold nothing, but can be entered and killed.
    #[cfg(test)]
    pub(super) fn without_controllers(path: &Path) -> Result<Self, nix::errno::Errno> {
        let directory = open(path, DIRECTORY, Mode::empty())?;
        Ok(Self { directory, path: path.to_owned(), memory: false, processes: false })
    }

    /// Which limits a group made here holds.
    #[must_use]
    pub fn holds(&self) -> Vec<Limit> {
        let held = [(self.memory, Limit::Memory), (self.processes, Limit::Processes)];
        held.into_iter().filter(|(holds, _)| *holds).map(|(_, limit)| limit).collect()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Our own group, whatever it passes on.
#[cfg(test)]
pub(super) fn own_directory(groups: &[u8], mounts: &[u8]) -> Option<PathBuf> {
    own(groups, mounts).map(|(top, own)| top.join(own).components().collect())
}

/// Where the hierarchy is mounted, and our group below that.
fn own(groups: &[u8], mounts: &[u8]) -> Option<(PathBuf, PathBuf)> {
    let group = lines(groups).find_map(|line| line.strip_prefix(b"0::"))?;
    let group = path(group.to_vec());
    lines(mounts).find_map(|line| {
        // `proc_pid_mountinfo(5)`: what is optional ends at a lone hyphen.
        let mut words = line.split(|byte| *byte == b' ');
        let (root, point) = (words.nth(3)?, words.next()?);
        let kind = words.skip_while(|word| *word != b"-").nth(1)?;
        if kind != b"cgroup2" {
            return None;
        }
        let below = group.strip_prefix(path(unescape(root))).ok()?.to_owned();
        // Outside of what our cgroup namespace shows, the path leads up.
        let plain = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        plain.then(|| (path(unescape(point)), below))
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// Blanks and backslashes stand as three octal digits.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|_| *first == b'\\');
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{Delegation, NoCgroup, own};
    use crate::limits::Limit;

    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    fn place(groups: &str, mounts: &str) -> Option<(String, String)> {
        let (top, own) = own(groups.as_bytes(), mounts.as_bytes())?;
        Some((top.display().to_string(), own.display().to_string()))
    }

    #[test]
    fn our_group_is_found_wherever_the_hierarchy_is_mounted() {
        let found = |top: &str, own: &str| Some((top.to_owned(), own.to_owned()));
        assert_eq!(place("0::/a/b\n", UNIFIED), found("/sys/fs/cgroup", "a/b"));
        assert_eq!(place("0::/\n", UNIFIED), found("/sys/fs/cgroup", ""));
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(place("4:memory:/x\n0::/s\n", hybrid), found("/sys/fs/cgroup/unified", "s"));
        // A container that sees its own part only.
        let part = "30 23 0:26 /docker/7 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(place("0::/docker/7/in\n", part), found("/sys/fs/cgroup", "in"));
        assert_eq!(place("0::/elsewhere\n", part), None);
        assert_eq!(place("0::/../up\n", UNIFIED), None);
        let blank = "30 23 0:26 / /a\\040b rw - cgroup2 cgroup2 rw\n";
        assert_eq!(place("0::/c\n", blank), found("/a b", "c"));
        for (groups, mounts) in
            [("", UNIFIED), ("4:memory:/x\n", UNIFIED), ("0::/\n", ""), ("0::/\n", "30 23 0:26")]
        {
            assert_eq!(place(groups, mounts), None);
        }
    }

    /// A tree of directories that looks like a hierarchy.
    fn group(root: &Path, path: &str, passes: &str, kind: Option<&str>) {
        let group = root.join("sys/fs/cgroup").join(path);
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("cgroup.procs"), "").unwrap();
        fs::write(group.join("cgroup.subtree_control"), passes).unwrap();
        if let Some(kind) = kind {
            fs::write(group.join("cgroup.type"), kind).unwrap();
        }
    }

    #[test]
    fn the_nearest_group_that_passes_controllers_on_is_taken() {
        let machine = tempfile::tempdir().unwrap();
        let root = machine.path();
        group(root, "", "cpu memory pids\n", None);
        group(root, "user", "memory pids\n", Some("domain\n"));
        group(root, "user/app", "memory\n", Some("domain\n"));
        group(root, "user/app/ours", "\n", Some("domain\n"));
        let find = |own: &str| Delegation::of(format!("0::{own}\n").as_bytes(), UNIFIED.as_bytes(), root);
        let found = find("/user/app/ours").unwrap();
        assert_eq!(found.path(), root.join("sys/fs/cgroup/user/app"));
        assert_eq!(found.holds(), [Limit::Memory]);
        assert_eq!(find("/user").unwrap().holds(), [Limit::Memory, Limit::Processes]);

        fs::write(root.join("sys/fs/cgroup/user/app/cgroup.type"), "domain threaded\n").unwrap();
        assert_eq!(find("/user/app/ours").unwrap().path(), root.join("sys/fs/cgroup/user"));
        for path in ["", "user"] {
            fs::write(root.join("sys/fs/cgroup").join(path).join("cgroup.subtree_control"), "cpu\n").unwrap();
        }
        assert_eq!(find("/user/app/ours").unwrap_err(), NoCgroup::NoControllers);
        assert_eq!(find("/nowhere").unwrap_err(), NoCgroup::NoControllers);
        assert_eq!(Delegation::of(b"0::/\n", b"", root).unwrap_err(), NoCgroup::NotMounted);
        for path in ["", "user", "user/app", "user/app/ours"] {
            fs::remove_file(root.join("sys/fs/cgroup").join(path).join("cgroup.procs")).unwrap();
        }
        assert_eq!(find("/user/app/ours").unwrap_err(), NoCgroup::NotDelegated);
    }
}
