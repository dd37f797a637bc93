//! Everything but sockets: other processes, kernel administration, terminals, and files by the back door.

use super::{Row, Test, int, long, row};

/// Calls that reach into another process. `ptrace` access is also refused by Landlock, and a PID namespace leaves no
/// process outside to name; these are refused among the processes inside too, where none of them is needed to work.
pub(super) const OTHER_PROCESSES: &[Row] = &[
    row!(SYS_ptrace, [], "reads and drives another process"),
    row!(SYS_process_vm_writev, [], "writes the memory of another process"),
    row!(SYS_process_madvise, [], "drops the memory of another process"),
    row!(SYS_kcmp, [], "tells kernel objects of other processes apart"),
    row!(SYS_move_pages, [int(0, Test::IsNot(0))], "moves the memory of another process"),
    row!(SYS_migrate_pages, [int(0, Test::IsNot(0))], "moves the memory of another process"),
    row!(
        SYS_prlimit64,
        [int(0, Test::IsNot(0)), long(2, Test::IsNot(0))],
        "lowers the limits of another process"
    ),
];

/// The two of them by which the [broker](crate::broker) serves a process: what stands at an address, what a number of a
/// descriptor means. Its own filter leaves them out, and the command's last one puts them back.
pub(super) const SERVED_PROCESSES: &[Row] = &[
    row!(SYS_process_vm_readv, [], "reads the memory of another process"),
    row!(SYS_pidfd_getfd, [], "takes a descriptor out of another process"),
];

/// A process of the same user may be slowed down or pinned by number. Its own number is 0 in all of these. In a PID
/// namespace, no number and no "all processes of the user" reaches a process outside.
pub(super) const PROCESSES_BY_NUMBER: &[Row] = &[
    row!(
        SYS_setpriority,
        [int(0, Test::IsNot(0))],
        "reprioritises a whole group or every process of the user"
    ),
    row!(SYS_setpriority, [int(1, Test::IsNot(0))], "reprioritises another process"),
    row!(
        SYS_ioprio_set,
        [int(0, Test::IsNot(1))],
        "reprioritises a whole group or every process of the user"
    ),
    row!(SYS_ioprio_set, [int(1, Test::IsNot(0))], "reprioritises another process"),
    row!(SYS_sched_setscheduler, [int(0, Test::IsNot(0))], "reschedules another process"),
    row!(SYS_sched_setparam, [int(0, Test::IsNot(0))], "reschedules another process"),
    row!(SYS_sched_setattr, [int(0, Test::IsNot(0))], "reschedules another process"),
    row!(SYS_sched_setaffinity, [int(0, Test::IsNot(0))], "pins another process"),
];

/// Memory, semaphores and queues that all processes of a user share by name, in no directory that a rule could name. An
/// IPC namespace has its own.
pub(super) const SHARED_IPC: &[Row] = &[
    row!(SYS_shmget, [], "System V shared memory is shared with the whole host"),
    row!(SYS_shmat, [], "System V shared memory is shared with the whole host"),
    row!(SYS_shmctl, [], "System V shared memory is shared with the whole host"),
    row!(SYS_semget, [], "System V semaphores are shared with the whole host"),
    row!(SYS_semop, [], "System V semaphores are shared with the whole host"),
    row!(SYS_semtimedop, [], "System V semaphores are shared with the whole host"),
    row!(SYS_semctl, [], "System V semaphores are shared with the whole host"),
    row!(SYS_msgget, [], "System V queues are shared with the whole host"),
    row!(SYS_msgsnd, [], "System V queues are shared with the whole host"),
    row!(SYS_msgrcv, [], "System V queues are shared with the whole host"),
    row!(SYS_msgctl, [], "System V queues are shared with the whole host"),
    row!(SYS_mq_open, [], "POSIX queues are shared with the whole host"),
    row!(SYS_mq_unlink, [], "POSIX queues are shared with the whole host"),
    // Where they are mounted, an existing queue opens like a file for reading; these are what it opens for.
    row!(SYS_mq_timedsend, [], "POSIX queues are shared with the whole host"),
    row!(SYS_mq_timedreceive, [], "POSIX queues are shared with the whole host"),
    row!(SYS_mq_notify, [], "POSIX queues are shared with the whole host"),
    row!(SYS_mq_getsetattr, [], "POSIX queues are shared with the whole host"),
];

/// Kernel administration. Nearly all of it needs a capability that the command does not have; a bug in one of these
/// calls, or a capability that a container left, is why they are closed as well.
pub(super) const PRIVILEGED: &[Row] = &[
    row!(SYS_bpf, [], "loads programs into the kernel"),
    row!(SYS_perf_event_open, [], "observes the kernel and other processes"),
    row!(SYS_userfaultfd, [], "holds the kernel still inside a memory access"),
    row!(SYS_add_key, [], "the keyrings of the user and of the session hold secrets"),
    row!(SYS_request_key, [], "the keyrings of the user and of the session hold secrets"),
    row!(SYS_keyctl, [], "the keyrings of the user and of the session hold secrets"),
    row!(SYS_mount, [], "changes what paths mean"),
    row!(SYS_umount2, [], "changes what paths mean"),
    row!(SYS_pivot_root, [], "changes what paths mean"),
    row!(SYS_chroot, [], "changes what paths mean"),
    row!(SYS_fsopen, [], "mounts, by the newer calls"),
    row!(SYS_fsconfig, [], "mounts, by the newer calls"),
    row!(SYS_fsmount, [], "mounts, by the newer calls"),
    row!(SYS_fspick, [], "mounts, by the newer calls"),
    row!(SYS_move_mount, [], "mounts, by the newer calls"),
    row!(SYS_open_tree, [], "mounts, by the newer calls"),
    row!(SYS_open_tree_attr, [], "mounts, by the newer calls"),
    row!(SYS_mount_setattr, [], "makes a read-only mount writable"),
    row!(SYS_setns, [], "enters the namespace of another process"),
    row!(SYS_open_by_handle_at, [], "opens a file by number, past every path"),
    row!(SYS_fanotify_init, [], "watches the files of others"),
    row!(SYS_init_module, [], "loads code into the kernel"),
    row!(SYS_finit_module, [], "loads code into the kernel"),
    row!(SYS_delete_module, [], "unloads code from the kernel"),
    row!(SYS_kexec_load, [], "replaces the kernel"),
    row!(SYS_kexec_file_load, [], "replaces the kernel"),
    row!(SYS_reboot, [], "ends everything"),
    row!(SYS_swapon, [], "writes memory to a file"),
    row!(SYS_swapoff, [], "administers memory"),
    row!(SYS_quotactl, [], "administers file systems"),
    row!(SYS_quotactl_fd, [], "administers file systems"),
    row!(SYS_acct, [], "makes the kernel write a file"),
    row!(SYS_syslog, [], "reads the kernel's log"),
    row!(SYS_settimeofday, [], "changes the clock of the host"),
    row!(SYS_clock_settime, [], "changes the clock of the host"),
    row!(SYS_sethostname, [], "changes the name of the host"),
    row!(SYS_setdomainname, [], "changes the name of the host"),
    row!(SYS_vhangup, [], "takes the terminal from everybody on it"),
    row!(SYS_lookup_dcookie, [], "a leftover of profiling"),
    row!(SYS_nfsservctl, [], "a leftover of the NFS server"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_iopl, [], "reaches the machine's ports"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_ioperm, [], "reaches the machine's ports"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_uselib, [], "a leftover of a.out libraries"),
];

const CLONE_NEWTIME: u64 = 0x80;
const CLONE_NEWNS: u64 = 0x2_0000;
const CLONE_NEWCGROUP: u64 = 0x200_0000;
const CLONE_NEWUTS: u64 = 0x400_0000;
const CLONE_NEWIPC: u64 = 0x800_0000;
const CLONE_NEWUSER: u64 = 0x1000_0000;
const CLONE_NEWPID: u64 = 0x2000_0000;
const CLONE_NEWNET: u64 = 0x4000_0000;

/// New namespaces. A user namespace gives capabilities over everything new, which is most of the kernel's attack
/// surface; the others need it or a capability. `clone3` is in [`UNREADABLE`]; in `clone`, the bit of `CLONE_NEWTIME`
/// is a part of the signal number and means nothing else.
pub(super) const NAMESPACES: &[Row] = &[
    row!(SYS_unshare, [long(0, Test::HasBits(CLONE_NEWUSER))], "a user namespace regains capabilities"),
    row!(SYS_unshare, [long(0, Test::HasBits(CLONE_NEWNS))], "a mount namespace changes what paths mean"),
    row!(SYS_unshare, [long(0, Test::HasBits(CLONE_NEWNET))], "kernel surface"),
    row!(SYS_unshare, [long(0, Test::HasBits(CLONE_NEWPID))], "kernel surface"),
    row!(SYS_unshare, [long(0, Test::HasBits(CLONE_NEWIPC))], "kernel surface"),
    row!(SYS_unshare, [long(0, Test::HasBits(CLONE_NEWUTS))], "kernel surface"),
    row!(SYS_unshare, [long(0, Test::HasBits(CLONE_NEWCGROUP))], "kernel surface"),
    row!(SYS_unshare, [long(0, Test::HasBits(CLONE_NEWTIME))], "kernel surface"),
    row!(SYS_clone, [long(0, Test::HasBits(CLONE_NEWUSER))], "a user namespace regains capabilities"),
    row!(SYS_clone, [long(0, Test::HasBits(CLONE_NEWNS))], "a mount namespace changes what paths mean"),
    row!(SYS_clone, [long(0, Test::HasBits(CLONE_NEWNET))], "kernel surface"),
    row!(SYS_clone, [long(0, Test::HasBits(CLONE_NEWPID))], "kernel surface"),
    row!(SYS_clone, [long(0, Test::HasBits(CLONE_NEWIPC))], "kernel surface"),
    row!(SYS_clone, [long(0, Test::HasBits(CLONE_NEWUTS))], "kernel surface"),
    row!(SYS_clone, [long(0, Test::HasBits(CLONE_NEWCGROUP))], "kernel surface"),
];

/// Terminal controls that type for the user, or change what the user's typing does. The kernel looks at the lower 32
/// bits of the request alone, and so do we.
pub(super) const TERMINAL: &[Row] = &[
    row!(SYS_ioctl, [int(1, Test::Is(0x5412))], "TIOCSTI types into the terminal"),
    row!(SYS_ioctl, [int(1, Test::Is(0x541c))], "TIOCLINUX pastes into the console"),
    row!(SYS_ioctl, [int(1, Test::Is(0x541d))], "TIOCCONS takes over the console's output"),
    row!(SYS_ioctl, [int(1, Test::Is(0x5423))], "TIOCSETD changes the line discipline: kernel surface"),
    row!(SYS_ioctl, [int(1, Test::Is(0x4b45))], "KDSKBMODE changes what the user's keys type"),
    row!(SYS_ioctl, [int(1, Test::Is(0x4b47))], "KDSKBENT changes what the user's keys type"),
    row!(SYS_ioctl, [int(1, Test::Is(0x4b49))], "KDSKBSENT changes what the user's keys type"),
    row!(SYS_ioctl, [int(1, Test::Is(0x4b4b))], "KDSKBDIACR changes what the user's keys type"),
    row!(SYS_ioctl, [int(1, Test::Is(0x4bfb))], "KDSKBDIACRUC changes what the user's keys type"),
    row!(SYS_ioctl, [int(1, Test::Is(0x4b4d))], "KDSETKEYCODE changes what the user's keys type"),
];

/// Controls of files and directories that change something outside through a descriptor opened for reading, where
/// Landlock has no say: it knows `ioctl` on devices only.
pub(super) const FILE_CONTROLS: &[Row] = &[
    row!(SYS_ioctl, [int(1, Test::Is(0x4080_6685))], "FS_IOC_ENABLE_VERITY makes a file read-only for ever"),
    row!(SYS_ioctl, [int(1, Test::Is(0x800c_6613))], "FS_IOC_SET_ENCRYPTION_POLICY encrypts a directory"),
    row!(SYS_ioctl, [int(1, Test::Is(0xc050_6617))], "FS_IOC_ADD_ENCRYPTION_KEY administers encryption"),
    row!(
        SYS_ioctl,
        [int(1, Test::Is(0xc040_6618))],
        "FS_IOC_REMOVE_ENCRYPTION_KEY locks encrypted directories"
    ),
    row!(SYS_ioctl, [int(1, Test::Is(0x5000_9401))], "BTRFS_IOC_SNAP_CREATE makes a name"),
    row!(SYS_ioctl, [int(1, Test::Is(0x5000_940e))], "BTRFS_IOC_SUBVOL_CREATE makes a name"),
    row!(SYS_ioctl, [int(1, Test::Is(0x5000_940f))], "BTRFS_IOC_SNAP_DESTROY removes a tree"),
    row!(SYS_ioctl, [int(1, Test::Is(0x5000_9417))], "BTRFS_IOC_SNAP_CREATE_V2 makes a name"),
    row!(SYS_ioctl, [int(1, Test::Is(0x5000_9418))], "BTRFS_IOC_SUBVOL_CREATE_V2 makes a name"),
    row!(SYS_ioctl, [int(1, Test::Is(0x5000_943f))], "BTRFS_IOC_SNAP_DESTROY_V2 removes a tree"),
    row!(SYS_ioctl, [int(1, Test::Is(0x4008_941a))], "BTRFS_IOC_SUBVOL_SETFLAGS makes a tree read-only"),
    row!(SYS_ioctl, [int(1, Test::Is(0x4020_bc10))], "BCH_IOCTL_SUBVOLUME_CREATE makes a name"),
    row!(SYS_ioctl, [int(1, Test::Is(0x4020_bc11))], "BCH_IOCTL_SUBVOLUME_DESTROY removes a tree"),
    row!(SYS_ioctl, [int(1, Test::Is(0x4018_6f04))], "OCFS2_IOC_REFLINK makes a name"),
    row!(SYS_fcntl, [int(1, Test::Is(1024))], "F_SETLEASE holds up whoever else opens the file"),
];

const S_ISUID: u64 = 0o4000;
const O_CREAT: u64 = 0o100;
const O_TMPFILE: u64 = 0o20_000_000;

/// Programs that lend their owner's rights. None gains anything inside (`no_new_privs`), but one that root, or the user
/// on a shared machine, leaves in a writable tree would work for whoever runs it outside, later.
///
/// The mode of an open counts only where a file is made; elsewhere the register holds anything.
pub(super) const SET_USER_ID: &[Row] = &[
    row!(SYS_fchmod, [int(1, Test::HasBits(S_ISUID))], "makes a set-user-ID program"),
    row!(SYS_fchmodat, [int(2, Test::HasBits(S_ISUID))], "makes a set-user-ID program"),
    row!(SYS_fchmodat2, [int(2, Test::HasBits(S_ISUID))], "makes a set-user-ID program"),
    row!(SYS_mknodat, [int(2, Test::HasBits(S_ISUID))], "makes a set-user-ID program"),
    row!(
        SYS_openat,
        [int(2, Test::HasBits(O_CREAT)), int(3, Test::HasBits(S_ISUID))],
        "makes a set-user-ID program"
    ),
    row!(
        SYS_openat,
        [int(2, Test::HasBits(O_TMPFILE)), int(3, Test::HasBits(S_ISUID))],
        "makes a set-user-ID program"
    ),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_chmod, [int(1, Test::HasBits(S_ISUID))], "makes a set-user-ID program"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_mknod, [int(1, Test::HasBits(S_ISUID))], "makes a set-user-ID program"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_creat, [int(1, Test::HasBits(S_ISUID))], "makes a set-user-ID program"),
    #[cfg(target_arch = "x86_64")]
    row!(
        SYS_open,
        [int(1, Test::HasBits(O_CREAT)), int(2, Test::HasBits(S_ISUID))],
        "makes a set-user-ID program"
    ),
    #[cfg(target_arch = "x86_64")]
    row!(
        SYS_open,
        [int(1, Test::HasBits(O_TMPFILE)), int(2, Test::HasBits(S_ISUID))],
        "makes a set-user-ID program"
    ),
];

/// Calls whose arguments stand in memory or in a ring, where a filter can't read them. Each has an older way to do the
/// same, to which its callers fall back on `ENOSYS`, and that way is filtered.
pub(super) const UNREADABLE: &[Row] = &[
    row!(SYS_clone3, [], "its flags may ask for namespaces; the C library falls back to clone"),
    row!(SYS_openat2, [], "its mode may make a set-user-ID program; callers fall back to openat"),
    row!(SYS_io_uring_setup, [], "its requests pass no filter; callers fall back to epoll and plain calls"),
    row!(SYS_io_uring_enter, [], "its requests pass no filter"),
    row!(SYS_io_uring_register, [], "its requests pass no filter"),
];
