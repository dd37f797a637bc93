//! Control groups of the tests' own.

use std::fs;
use std::path::PathBuf;

/// What a shell does to be at the top of each hierarchy of version 1: where it is not, nothing is isolated.
pub(crate) const TO_THE_TOPS: &str =
    "grep -v :/$ /proc/self/cgroup | grep -v ^0: | cut -d: -f2 | while read -r names; do
    place=/sys/fs/cgroup/${names#name=}; echo $$ > $place/cgroup.procs || exit; done; ";

/// A group of the test's own, removed with it.
pub(crate) struct Group {
    /// Where the hierarchy is mounted.
    pub(crate) top: PathBuf,
    pub(crate) path: PathBuf,
}

impl Group {
    /// Below ours, where that can be written. Says so loudly where it can't.
    pub(crate) fn make(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
        let ours = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let top =
            mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
        let made = ours.zip(top).and_then(|(ours, top)| {
            let path = PathBuf::from(top).join(ours).join(format!("test-{name}-{}", std::process::id()));
            fs::create_dir(&path).ok().map(|()| Self { top: top.into(), path })
        });
        if made.is_none() {
            assert!(std::env::var_os("CI").is_none(), "no writable cgroup of version 2");
            eprintln!("SKIP: no writable cgroup of version 2");
        }
        made
    }

    pub(crate) fn members(&self) -> usize {
        fs::read_to_string(self.path.join("cgroup.procs")).unwrap().lines().count()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever was in it is on the way out.
        while self.members() > 0 {
            std::thread::yield_now();
        }
        fs::remove_dir(&self.path).unwrap();
    }
}
