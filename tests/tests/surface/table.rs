//! The calls that every restricted policy refuses, as data: what each does outside, what inside.
//!
//! Arguments are chosen so that the control does no harm and, wherever the kernel looks at its arguments before it looks
//! at its caller, fails for another reason than lack of privilege.

use codex_tests::harness::{Expect, Identity};
use nix::errno::Errno;

/// Whether the machine may refuse the control with the very error that the sandbox uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blind {
    /// Never: a control with that error fails the test.
    No,
    /// The kernel asks for privilege first, and this caller, or this machine, may lack it.
    MayBe,
}

/// A system call, and what becomes of it.
pub(crate) struct Row {
    /// Its name, and the variant in words.
    pub name: &'static str,
    number: i64,
    words: &'static str,
    /// What the control gives; `None` where no control is harmless.
    pub outside: Option<Expect>,
    /// What the sandbox gives.
    pub inside: Errno,
    /// Whether the control may be blind.
    pub blind: Blind,
    /// The only identity for which the row means anything.
    pub identity: Option<Identity>,
    /// Whether the call reaches no further than a namespace, so that level namespaces has no need to refuse it.
    pub confined: bool,
    twins: &'static [&'static str],
}

impl Row {
    /// The probe's arguments.
    pub(crate) fn arguments(&self) -> Vec<String> {
        self.with(self.words)
    }

    /// Arguments with which the call is harmless, and is to do inside what it does outside.
    pub(crate) fn twins(&self) -> Vec<Vec<String>> {
        self.twins.iter().map(|words| self.with(words)).collect()
    }

    fn with(&self, words: &str) -> Vec<String> {
        let words = words.split_whitespace().map(str::to_owned);
        ["syscall".to_owned(), self.number.to_string()].into_iter().chain(words).collect()
    }

    const fn blind(mut self) -> Self {
        self.blind = Blind::MayBe;
        self
    }

    const fn only(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    const fn confined(mut self) -> Self {
        self.confined = true;
        self
    }

    const fn uncontrolled(mut self) -> Self {
        self.outside = None;
        self
    }

    const fn twins_of(mut self, words: &'static [&'static str]) -> Self {
        self.twins = words;
        self
    }
}

/// A call that gives one of `outside` without the sandbox, and `EPERM` in it.
const fn eperm(name: &'static str, number: i64, words: &'static str, outside: Expect) -> Row {
    Row {
        name,
        number,
        words,
        outside: Some(outside),
        inside: Errno::EPERM,
        blind: Blind::No,
        identity: None,
        confined: false,
        twins: &[],
    }
}

/// A call that looks absent in the sandbox, because programs know how to do without.
const fn enosys(name: &'static str, number: i64, words: &'static str, outside: Expect) -> Row {
    Row { inside: Errno::ENOSYS, ..eperm(name, number, words, outside) }
}

const OK: Expect = Expect::Ok;
const EBADF: Expect = Expect::Fails(&[Errno::EBADF]);
const EFAULT: Expect = Expect::Fails(&[Errno::EFAULT]);
const EINVAL: Expect = Expect::Fails(&[Errno::EINVAL]);
const ENOENT: Expect = Expect::Fails(&[Errno::ENOENT]);
const ESRCH: Expect = Expect::Fails(&[Errno::ESRCH]);
/// For calls that a kernel may be built without.
const EINVAL_OR_ABSENT: Expect = Expect::Fails(&[Errno::EINVAL, Errno::ENOSYS]);
const MODULE: Expect =
    Expect::Fails(&[Errno::EFAULT, Errno::EINVAL, Errno::ENOEXEC, Errno::ENOSYS, Errno::EBADF]);
/// `io_uring` may be switched off for everybody, with another error than ours.
const IO_URING: Expect = Expect::Fails(&[Errno::EFAULT, Errno::EINVAL, Errno::EBADF, Errno::EPERM]);

// Newer than the libc crate's tables, of aarch64 at least. Numbers this high are the same everywhere.
const FCHMODAT2: i64 = 452;
const OPEN_TREE_ATTR: i64 = 467;

// Where a row names process 2000000000: the kernel hands out no pid above 4194304, so there is none.

/// P3 and P6.
#[rustfmt::skip]
pub(crate) fn calls() -> Vec<Row> {
    let mut rows = vec![
        // Other processes.
        eperm("ptrace attach", libc::SYS_ptrace, "16 2000000000", ESRCH),
        eperm("ptrace traceme", libc::SYS_ptrace, "0 0 0 0", OK),
        eperm("process_vm_readv", libc::SYS_process_vm_readv, "0 0 0 0 0 1", EINVAL),
        eperm("process_vm_writev", libc::SYS_process_vm_writev, "0 0 0 0 0 1", EINVAL),
        eperm("kcmp", libc::SYS_kcmp, "2000000000 2000000000 0 0 0", ESRCH),
        eperm("pidfd_getfd", libc::SYS_pidfd_getfd, "-1 0 0", EBADF),
        eperm("process_madvise", libc::SYS_process_madvise, "-1 0 0 0 1", EINVAL),
        eperm("setpriority, process", libc::SYS_setpriority, "0 2000000000 5", ESRCH).confined().twins_of(&["0 0 5"]),
        eperm("setpriority, group", libc::SYS_setpriority, "1 2000000000 5", ESRCH).confined(),
        eperm("setpriority, user", libc::SYS_setpriority, "2 4242424 5", ESRCH).confined(),
        // Whose processes these are depends on who runs the tests: no control, and a priority that most have already.
        eperm("setpriority, own user", libc::SYS_setpriority, "2 0 0", OK).only(Identity::User).uncontrolled().confined(),
        eperm("ioprio_set, process", libc::SYS_ioprio_set, "1 2000000000 0", ESRCH).confined().twins_of(&["1 0 0"]),
        eperm("ioprio_set, user", libc::SYS_ioprio_set, "3 4242424 0", ESRCH).confined(),
        eperm("sched_setscheduler", libc::SYS_sched_setscheduler, "2000000000 0 zeros:4", ESRCH).confined().twins_of(&["0 0 zeros:4"]),
        eperm("sched_setparam", libc::SYS_sched_setparam, "2000000000 zeros:4", ESRCH).confined().twins_of(&["0 zeros:4"]),
        eperm("sched_setattr", libc::SYS_sched_setattr, "2000000000 zeros:48 0", ESRCH).confined().twins_of(&["0 zeros:48 0"]),
        eperm("sched_setaffinity", libc::SYS_sched_setaffinity, "2000000000 8 bytes:ffffffffffffffff", ESRCH).confined()
            .twins_of(&["0 8 bytes:ffffffffffffffff"]),
        eperm("prlimit64", libc::SYS_prlimit64, "2000000000 4 zeros:16 0", ESRCH)
            .twins_of(&["0 4 zeros:16 0", "2000000000 4 0 zeros:16"]),
        eperm("move_pages", libc::SYS_move_pages, "2000000000 0 0 0 0 -1", EINVAL_OR_ABSENT)
            .twins_of(&["0 0 0 0 0 -1"]),
        eperm("migrate_pages", libc::SYS_migrate_pages, "2000000000 64 zeros:8 zeros:8",
            Expect::Fails(&[Errno::ESRCH, Errno::ENOSYS])),

        // Attack surface of the kernel.
        eperm("perf_event_open", libc::SYS_perf_event_open, "0 0 0 0 -1", EINVAL),
        eperm("bpf", libc::SYS_bpf, "0 0 0x100000", Expect::Fails(&[Errno::E2BIG])),
        eperm("userfaultfd", libc::SYS_userfaultfd, "-1", EINVAL),
        eperm("add_key", libc::SYS_add_key, "0 0 0 0 0", EFAULT),
        eperm("request_key", libc::SYS_request_key, "0 0 0 0", EFAULT),
        eperm("keyctl", libc::SYS_keyctl, "-1", Expect::Fails(&[Errno::EOPNOTSUPP])),
        enosys("io_uring_setup", libc::SYS_io_uring_setup, "0 0", IO_URING),
        enosys("io_uring_enter", libc::SYS_io_uring_enter, "-1 0 0 0 0 0", IO_URING),
        enosys("io_uring_register", libc::SYS_io_uring_register, "-1 0 0 0", IO_URING),

        // Mounts and namespaces.
        eperm("mount", libc::SYS_mount, "0 0 0 0 0", EFAULT),
        eperm("umount2", libc::SYS_umount2, "0 -1", EINVAL),
        eperm("pivot_root", libc::SYS_pivot_root, "0 0", EFAULT).blind(),
        eperm("chroot", libc::SYS_chroot, "0", EFAULT),
        eperm("fsopen", libc::SYS_fsopen, "0 -1", EINVAL).blind(),
        eperm("fsconfig", libc::SYS_fsconfig, "-1 0 0 0 0", EINVAL),
        eperm("fsmount", libc::SYS_fsmount, "-1 -1 0", EINVAL).blind(),
        eperm("fspick", libc::SYS_fspick, "-100 0 -1", EINVAL).blind(),
        eperm("move_mount", libc::SYS_move_mount, "-1 0 -1 0 0x80000000", EINVAL).blind(),
        eperm("open_tree", libc::SYS_open_tree, "-100 0 0x40000000", EINVAL),
        eperm("open_tree_attr", OPEN_TREE_ATTR, "-100 0 0 0 8", EINVAL_OR_ABSENT),
        eperm("mount_setattr", libc::SYS_mount_setattr, "-100 0 0x40000000 0 0", EINVAL),
        eperm("setns", libc::SYS_setns, "-1 0", EBADF),
        eperm("open_by_handle_at", libc::SYS_open_by_handle_at, "-1 0 0",
            Expect::Fails(&[Errno::EBADF, Errno::EFAULT])).blind(),
        // 0x8000 is no flag of unshare: the kernel refuses it before it looks at who asks.
        eperm("unshare, time", libc::SYS_unshare, "0x8080", EINVAL).twins_of(&["0x400", "0x8000"]),
        eperm("unshare, mounts", libc::SYS_unshare, "0x28000", EINVAL),
        eperm("unshare, control groups", libc::SYS_unshare, "0x02008000", EINVAL),
        eperm("unshare, host name", libc::SYS_unshare, "0x04008000", EINVAL),
        eperm("unshare, ipc", libc::SYS_unshare, "0x08008000", EINVAL),
        eperm("unshare, users", libc::SYS_unshare, "0x10008000", EINVAL),
        eperm("unshare, pids", libc::SYS_unshare, "0x20008000", EINVAL),
        eperm("unshare, network", libc::SYS_unshare, "0x40008000", EINVAL),
        // A thread without shared signal handlers is refused likewise: nothing is ever started.
        eperm("clone, mounts", libc::SYS_clone, "0x30000 0 0 0 0", EINVAL).twins_of(&["0x10000 0 0 0 0"]),
        eperm("clone, control groups", libc::SYS_clone, "0x02010000 0 0 0 0", EINVAL),
        eperm("clone, host name", libc::SYS_clone, "0x04010000 0 0 0 0", EINVAL),
        eperm("clone, ipc", libc::SYS_clone, "0x08010000 0 0 0 0", EINVAL),
        eperm("clone, users", libc::SYS_clone, "0x10010000 0 0 0 0", EINVAL),
        eperm("clone, pids", libc::SYS_clone, "0x20010000 0 0 0 0", EINVAL),
        eperm("clone, network", libc::SYS_clone, "0x40010000 0 0 0 0", EINVAL),
        // The kernel drops the upper half of the flags; a filter that compares all 64 bits is open here.
        eperm("clone, users, upper bits set", libc::SYS_clone, "0xdeadbeef10010000 0 0 0 0", EINVAL),
        enosys("clone3", libc::SYS_clone3, "0 0", EINVAL),
        enosys("openat2", libc::SYS_openat2, "-100 0 0 0", EINVAL),

        // The machine.
        eperm("init_module", libc::SYS_init_module, "0 0 0", MODULE).blind(),
        eperm("finit_module", libc::SYS_finit_module, "-1 0 -1", MODULE).blind(),
        eperm("delete_module", libc::SYS_delete_module, "0 0", MODULE).blind(),
        eperm("kexec_load", libc::SYS_kexec_load, "0 17 0 0", EINVAL_OR_ABSENT).blind(),
        eperm("kexec_file_load", libc::SYS_kexec_file_load, "-1 -1 0 0 0x80000000", EINVAL_OR_ABSENT).blind(),
        eperm("reboot", libc::SYS_reboot, "0 0 0 0", EINVAL).blind(),
        eperm("swapon", libc::SYS_swapon, "0 -1", EINVAL_OR_ABSENT),
        eperm("swapoff", libc::SYS_swapoff, "0", Expect::Fails(&[Errno::EFAULT, Errno::ENOSYS])).blind(),
        eperm("quotactl", libc::SYS_quotactl, "-1 0 0 0", EINVAL_OR_ABSENT),
        eperm("quotactl_fd", libc::SYS_quotactl_fd, "-1 -1 0 0", Expect::Fails(&[Errno::EBADF, Errno::EINVAL, Errno::ENOSYS])),
        eperm("acct", libc::SYS_acct, "text:/nonexistent-probe", Expect::Fails(&[Errno::ENOENT, Errno::ENOSYS])).blind(),
        eperm("fanotify_init", libc::SYS_fanotify_init, "0x80000200 0", EINVAL_OR_ABSENT),
        eperm("syslog", libc::SYS_syslog, "10 0 0", OK).blind(),
        eperm("settimeofday", libc::SYS_settimeofday, "1 0", EFAULT),
        eperm("clock_settime", libc::SYS_clock_settime, "0 1", EFAULT),
        eperm("sethostname", libc::SYS_sethostname, "0 -1", EINVAL).blind(),
        eperm("setdomainname", libc::SYS_setdomainname, "0 -1", EINVAL).blind(),
        // It would take the terminal away from whoever runs the tests.
        eperm("vhangup", libc::SYS_vhangup, "", OK).uncontrolled(),

        // Messages to processes outside, by System V and POSIX names.
        eperm("shmget", libc::SYS_shmget, "0x7eadbeef 4096 0", ENOENT).confined(),
        eperm("shmat", libc::SYS_shmat, "-1 0 0", EINVAL).confined(),
        eperm("shmctl", libc::SYS_shmctl, "-1 -1 0", EINVAL).confined(),
        eperm("semget", libc::SYS_semget, "0x7eadbeef 1 0", ENOENT).confined(),
        eperm("semop", libc::SYS_semop, "-1 0 0", EINVAL).confined(),
        eperm("semctl", libc::SYS_semctl, "-1 0 -1 0", EINVAL).confined(),
        eperm("semtimedop", libc::SYS_semtimedop, "-1 0 0 0", EINVAL).confined(),
        eperm("msgget", libc::SYS_msgget, "0x7eadbeef 0", ENOENT).confined(),
        eperm("msgsnd", libc::SYS_msgsnd, "-1 0 0 0", EFAULT).confined(),
        eperm("msgrcv", libc::SYS_msgrcv, "-1 0 0 0 0", EINVAL).confined(),
        eperm("msgctl", libc::SYS_msgctl, "-1 -1 0", EINVAL).confined(),
        eperm("mq_open", libc::SYS_mq_open, "text:nonexistent-probe 0 0 0", ENOENT).confined(),
        eperm("mq_unlink", libc::SYS_mq_unlink, "text:nonexistent-probe", ENOENT).confined(),
        // A queue is a file in /dev/mqueue as well, and opens for reading without `mq_open`.
        eperm("mq_timedsend", libc::SYS_mq_timedsend, "-1 0 0 0 0", EBADF).confined(),
        eperm("mq_timedreceive", libc::SYS_mq_timedreceive, "-1 0 0 0 0", EBADF).confined(),
        eperm("mq_notify", libc::SYS_mq_notify, "-1 0", EBADF).confined(),
        eperm("mq_getsetattr", libc::SYS_mq_getsetattr, "-1 0 0", EBADF).confined(),

        // The terminal. No descriptor is needed: the filter sees the request, the kernel would see the descriptor.
        eperm("TIOCSTI", libc::SYS_ioctl, "-1 0x5412 0", EBADF).twins_of(&["-1 0x5401 0", "-1 0x5413 0"]),
        eperm("TIOCLINUX", libc::SYS_ioctl, "-1 0x541c 0", EBADF),
        eperm("TIOCCONS", libc::SYS_ioctl, "-1 0x541d 0", EBADF),
        eperm("TIOCSETD", libc::SYS_ioctl, "-1 0x5423 0", EBADF),
        // The kernel takes 32 bits of the request; a filter that compares all 64 is open here.
        eperm("TIOCSTI, upper bits set", libc::SYS_ioctl, "-1 0xdeadbeef00005412 0", EBADF),
        eperm("TIOCLINUX, upper bits set", libc::SYS_ioctl, "-1 0x10000541c 0", EBADF),
        eperm("TIOCCONS, upper bits set", libc::SYS_ioctl, "-1 0x800000000000541d 0", EBADF),
        eperm("TIOCSETD, upper bits set", libc::SYS_ioctl, "-1 0xffffffff00005423 0", EBADF),
    ];
    #[cfg(target_arch = "x86_64")]
    rows.extend([
        eperm("iopl", libc::SYS_iopl, "4", EINVAL_OR_ABSENT),
        eperm("ioperm", libc::SYS_ioperm, "-1 -1 1", EINVAL_OR_ABSENT),
    ]);
    rows
}

/// A file without a name: `O_TMPFILE` holds `O_DIRECTORY`, whose bit differs.
const UNNAMED: &str = if cfg!(target_arch = "x86_64") {
    "-100 text:/nonexistent-probe 0x410001 2541"
} else {
    "-100 text:/nonexistent-probe 0x404001 2541"
};

/// Modes that would make a program run as its owner: 2541 is 04755, 493 is 0755, and below 32768 is the file type.
#[rustfmt::skip]
pub(crate) fn set_id_calls() -> Vec<Row> {
    let mut rows = vec![
        eperm("fchmod", libc::SYS_fchmod, "-1 2541", EBADF).twins_of(&["-1 493", "-1 1517"]),
        eperm("fchmodat", libc::SYS_fchmodat, "-100 text:/nonexistent-probe 2541", ENOENT)
            .twins_of(&["-100 text:/nonexistent-probe 493"]),
        eperm("fchmodat2", FCHMODAT2, "-100 text:/nonexistent-probe 2541 0",
            Expect::Fails(&[Errno::ENOENT, Errno::ENOSYS])).twins_of(&["-100 text:/nonexistent-probe 493 0"]),
        eperm("openat, create", libc::SYS_openat, "-100 text:/nonexistent-probe/file 0x41 2541", ENOENT)
            // Without a file to create, the mode is noise that the kernel ignores.
            .twins_of(&["-100 text:/nonexistent-probe/file 0x41 493", "-100 text:/dev/null 0 2541"]),
        eperm("openat, create, upper bits set", libc::SYS_openat,
            "-100 text:/nonexistent-probe/file 0xdeadbeef00000041 2541", ENOENT),
        eperm("openat, unnamed", libc::SYS_openat, UNNAMED, ENOENT),
        eperm("mknodat", libc::SYS_mknodat, "-100 text:/nonexistent-probe/file 35309 0", ENOENT)
            .twins_of(&["-100 text:/nonexistent-probe/file 33261 0"]),
    ];
    #[cfg(target_arch = "x86_64")]
    rows.extend([
        eperm("chmod", libc::SYS_chmod, "text:/nonexistent-probe 2541", ENOENT).twins_of(&["text:/nonexistent-probe 493"]),
        // The kernel takes 16 bits of the mode.
        eperm("chmod, upper bits set", libc::SYS_chmod, "text:/nonexistent-probe 0xdeadbeef00ff09ed", ENOENT),
        eperm("open, create", libc::SYS_open, "text:/nonexistent-probe/file 0x41 2541", ENOENT)
            .twins_of(&["text:/nonexistent-probe/file 0x41 493", "text:/dev/null 0 2541"]),
        eperm("creat", libc::SYS_creat, "text:/nonexistent-probe/file 2541", ENOENT)
            .twins_of(&["text:/nonexistent-probe/file 493"]),
        eperm("mknod", libc::SYS_mknod, "text:/nonexistent-probe/file 35309 0", ENOENT)
            .twins_of(&["text:/nonexistent-probe/file 33261 0"]),
    ]);
    rows
}
