//! P6: privilege, and the files by which the kernel lets whoever owns the machine own it.

use codex_tests::harness::{Expect, Identity};
use nix::errno::Errno;

use crate::row::{Control, EACCES, ENOENT, EPERM, EROFS, Row, call, each};

/// Landlock's answer and the kernel's own, for what takes a capability as well.
const REFUSED: Expect = Expect::Fails(&[Errno::EACCES, Errno::EPERM]);

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    // Opening alone does nothing; it is the permission that counts. `TRUNC` is nothing to these files.
    let root_opens = |row: Row| row.control(Control::Succeeds).only(Identity::Root).if_present();
    let mut rows = each(&[
        ("the core pattern", "open /proc/sys/kernel/core_pattern WRONLY"),
        ("the host name", "open /proc/sys/kernel/hostname WRONLY"),
        ("the module loader", "open /proc/sys/kernel/modprobe WRONLY"),
        ("the hotplug program", "open /proc/sys/kernel/hotplug WRONLY"),
        ("the power-off program", "open /proc/sys/kernel/poweroff_cmd WRONLY"),
        ("the next pid", "open /proc/sys/kernel/ns_last_pid WRONLY"),
        ("the magic key's mask", "open /proc/sys/kernel/sysrq WRONLY"),
        ("the terminal injection switch", "open /proc/sys/dev/tty/legacy_tiocsti WRONLY"),
        ("the address randomisation", "open /proc/sys/kernel/randomize_va_space WRONLY"),
        ("the use of memory", "open /proc/sys/vm/overcommit_memory WRONLY"),
        ("the caches", "open /proc/sys/vm/drop_caches WRONLY"),
        ("the limit of namespaces", "open /proc/sys/user/max_user_namespaces WRONLY"),
        ("the protection of hardlinks", "open /proc/sys/fs/protected_hardlinks WRONLY"),
        ("the core dumps of setuid programs", "open /proc/sys/fs/suid_dumpable WRONLY"),
        ("the magic key", "open /proc/sysrq-trigger WRONLY"),
        ("the binary formats", "open /proc/sys/fs/binfmt_misc/register WRONLY"),
        ("the affinity of interrupts", "open /proc/irq/default_smp_affinity WRONLY"),
        ("the memory type ranges", "open /proc/mtrr WRONLY"),
        ("the forwarding of packets", "open /proc/sys/net/ipv4/ip_forward WRONLY"),
        ("the helper of device events", "open /sys/kernel/uevent_helper WRONLY"),
        ("the power state", "open /sys/power/state WRONLY"),
        ("the rescan of devices", "open /sys/bus/pci/rescan WRONLY"),
        ("the events of a device", "open /sys/class/net/lo/uevent WRONLY"),
        ("the parameters of a module", "open /sys/module/printk/parameters/time WRONLY"),
        ("the sorting of memory", "open /sys/kernel/mm/ksm/run WRONLY"),
        ("the profile of the kernel", "open /sys/kernel/profiling WRONLY"),
        ("the release agent of control groups", "open /sys/fs/cgroup/{cgroup}/release_agent WRONLY"),
        ("the notice of release", "open /sys/fs/cgroup/{cgroup}/notify_on_release WRONLY"),
        ("the members of a control group", "open /sys/fs/cgroup/{cgroup}/cgroup.procs WRONLY"),
        ("the devices of a control group", "open /sys/fs/cgroup/devices/devices.allow WRONLY"),
        ("the members of the unified group", "open /sys/fs/cgroup/unified/cgroup.procs WRONLY"),
        ("the controllers of the unified group", "open /sys/fs/cgroup/cgroup.subtree_control WRONLY"),
    ], |row| root_opens(row).landlock(EACCES).namespaces(EROFS));
    // Where they are mounted, an empty directory covers them.
    rows.extend(each(&[
        ("tracing", "open /sys/kernel/tracing/tracing_on WRONLY"),
        ("debugging", "open /sys/kernel/debug/sched/debug WRONLY"),
    ], |row| root_opens(row).landlock(EACCES).namespaces(Expect::Fails(&[Errno::ENOENT]))));
    rows.extend(each(&[
        ("a new control group", "mkdir /sys/fs/cgroup/{cgroup}/codex-tests-probe"),
    ], |row| row.landlock(EACCES).namespaces(EROFS).control(Control::None)));
    rows.extend(each(&[
        ("the memory of the kernel", "open /proc/kcore RDONLY"),
        ("the log of the kernel", "open /proc/kmsg RDONLY,NONBLOCK"),
    ], |row| root_opens(row).namespaces(REFUSED)));
    // Devices that are not among the usual ones.
    rows.extend(each(&[
        ("the log, to write", "open /dev/kmsg WRONLY"),
        ("the memory", "open /dev/mem RDWR"),
        ("the ports", "open /dev/port RDWR"),
        ("the disk", "open {disk} WRONLY"),
        ("the control of loop devices", "open /dev/loop-control RDWR"),
        ("the mapper of devices", "open /dev/mapper/control RDWR"),
        ("virtual machines", "open /dev/kvm RDWR"),
        ("file systems in user space", "open /dev/fuse RDWR"),
        ("keys and pointers", "open /dev/uinput WRONLY"),
        ("the console", "open /dev/console WRONLY"),
        ("the first terminal", "open /dev/tty1 WRONLY"),
        ("the watchdog", "open /dev/userfaultfd RDWR"),
        ("the clock", "open /dev/rtc0 RDONLY"),
        ("the hypervisor", "open /dev/vsock RDWR"),
        ("the snapshot of memory", "open /dev/snapshot RDONLY"),
        ("the autofs daemon", "open /dev/autofs RDWR"),
        ("latencies", "open /dev/cpu_dma_latency WRONLY"),
        ("the high-precision timer", "open /dev/hpet RDONLY"),
    ], |row| root_opens(row).namespaces(ENOENT)));
    rows.extend(each(&[
        ("a new name among the devices", "write /dev/codex-tests-probe WRONLY,CREAT"),
        ("a new directory among the devices", "mkdir /dev/codex-tests-probe"),
        ("one's own map of users", "open /proc/self/uid_map WRONLY"),
        ("one's own map of groups", "open /proc/self/gid_map WRONLY"),
    ], |row| row.namespaces(EROFS).control(Control::None)));

    // Capabilities, regained or used.
    let refused = |name, number, words: &str| Row::new(name, call(number, words)).refused(EPERM);
    let rooted = |name, number, words: &str| refused(name, number, words).control(Control::Succeeds).only(Identity::Root);
    rows.extend([
        rooted("become another user", libc::SYS_setuid, "4242"),
        rooted("become another user, all ids", libc::SYS_setresuid, "4242 4242 4242"),
        rooted("become another group", libc::SYS_setgid, "4242"),
        rooted("take other groups", libc::SYS_setgroups, "1 bytes:92100000"),
        rooted("raise a priority", libc::SYS_setpriority, "0 0 -5").refused(EACCES),
        rooted("run in real time", libc::SYS_sched_setscheduler, "0 1 bytes:01000000"),
        rooted("read and write in real time", libc::SYS_ioprio_set, "1 0 0x2000"),
        rooted("raise a limit", libc::SYS_prlimit64, "0 7 bytes:ffffffffffffff00ffffffffffffff00 0").if_present(),
        rooted("lock memory beyond the limit", libc::SYS_setrlimit, "8 bytes:ffffffffffffffffffffffffffffffff").if_present(),
        rooted("keep capabilities", libc::SYS_prctl, "47 2 12 0 0").if_present(),
        rooted("drop from the bounding set", libc::SYS_prctl, "24 12 0 0 0"),
        rooted("move the end of the heap", libc::SYS_prctl, "35 0x100 -1 0 0").control(Control::None).namespaces(EPERM),
        rooted("make a device", libc::SYS_mknodat, "-100 text:{in}/device 0x21b6 0x103").refused(EACCES).read_only(EROFS),
        rooted("make a disk", libc::SYS_mknodat, "-100 text:{in}/disk 0x61b6 0x7ff").refused(EACCES).read_only(EROFS),
        rooted("change the root", libc::SYS_chroot, "text:{in}"),
        rooted("set the clock", libc::SYS_clock_settime, "0 zeros:16").control(Control::None),
        rooted("set the host name", libc::SYS_sethostname, "text:probe 5").control(Control::None),
        rooted("mount memory", libc::SYS_mount, "text:none text:{in} text:tmpfs 0 0").control(Control::None),
        rooted("bind the host's root", libc::SYS_mount, "text:/ text:{in} 0 0x5000 0").control(Control::None),
        rooted("remount to write", libc::SYS_mount, "0 text:/ 0 0x1020 0").control(Control::None),
        rooted("unmount what covers", libc::SYS_umount2, "text:/proc 2").control(Control::None),
        rooted("clear read-only", libc::SYS_mount_setattr, "-100 text:/ 0x8000 bytes:0000000000000000010000000000000000000000000000000000000000000000 32").control(Control::None),
        rooted("clone the root", libc::SYS_open_tree, "-100 text:/ 0x8001").control(Control::Succeeds),
        rooted("a context for mounts", libc::SYS_fsopen, "text:tmpfs 0").control(Control::Succeeds),
        rooted("pick a mount", libc::SYS_fspick, "-100 text:/proc 0").control(Control::Succeeds).if_present(),
    ]);
    // Anybody may try these.
    let anybody = |name, number, words: &str| refused(name, number, words).control(Control::Succeeds);
    rows.extend([
        anybody("a namespace of users", libc::SYS_unshare, "0x10000000").if_present(),
        anybody("a namespace of users and mounts", libc::SYS_unshare, "0x10020000").if_present(),
        anybody("a namespace of users and networks", libc::SYS_unshare, "0x50000000").if_present(),
        anybody("a child in a namespace of users", libc::SYS_clone, "0x10000011 0 0 0 0").if_present(),
        anybody("the user's keyring", libc::SYS_keyctl, "0 -4 1"),
        anybody("the session's keyring", libc::SYS_keyctl, "0 -3 1"),
        anybody("a key", libc::SYS_add_key, "text:user text:codex-tests text:x 1 -2"),
        anybody("a page fault of one's own", libc::SYS_userfaultfd, "1").if_present(),
        anybody("a counter of events", libc::SYS_perf_event_open, "bytes:0100000080000000 0 -1 -1 0").control(Control::None),
        anybody("a map in the kernel", libc::SYS_bpf, "0 zeros:128 128").control(Control::None),
        anybody("be traced", libc::SYS_ptrace, "0 0 0 0"),
        anybody("a handle of a file", libc::SYS_open_by_handle_at, "-100 zeros:16 0").control(Control::None),
        anybody("watch all files", libc::SYS_fanotify_init, "0x200 0").if_present(),
    ]);
    // The namespaces' own doors: each leads to the one above, which is the host's.
    rows.extend([
        Row::new("the namespace of users above", call(libc::SYS_ioctl, "read:/proc/self/ns/user 0xb702 0")),
        Row::new("the namespace of pids above", call(libc::SYS_ioctl, "read:/proc/self/ns/pid 0xb702 0")),
        Row::new("the owner of a namespace", call(libc::SYS_ioctl, "read:/proc/self/ns/user 0xb701 0")),
    ].map(|row| row.namespaces(EPERM).control(Control::None)));
    rows.extend([
        Row::new("enter one's own namespace of mounts", call(libc::SYS_setns, "read:/proc/self/ns/mnt 0x20000")).refused(EPERM).control(Control::None),
        Row::new("enter one's own namespace of users", call(libc::SYS_setns, "read:/proc/self/ns/user 0x10000000")).refused(EPERM).control(Control::None),
    ]);
    rows
}
