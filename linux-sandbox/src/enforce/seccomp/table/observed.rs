//! Calls that something else than a filter can refuse: Landlock, a read-only mount, a network without a way out. Nothing is
//! refused by these rows; whoever observes a command stops at them.

use super::{Row, Test, int, long, row};
use crate::observe::UNTRACED;

const O_WRONLY: u64 = 1;
const O_RDWR: u64 = 2;
const O_CREAT: u64 = 0o100;
const O_TRUNC: u64 = 0o1000;
const W_OK: u64 = 2;
/// `FS_IOC_SETFLAGS` and `FS_IOC_FSSETXATTR` of `linux/fs.h`.
const SETFLAGS: u64 = 0x4008_6602;
const FSSETXATTR: u64 = 0x401c_5820;

/// What would make a process that nobody follows, whom these filters would kill or fail. Seen under every plan.
pub(super) const UNFOLLOWED: &[Row] =
    &[row!(SYS_clone, [int(0, Test::HasBits(UNTRACED))], "makes a process that is not followed")];

/// What changes content, names or metadata. An open that only reads is none of them.
pub(super) const CHANGES: &[Row] = &[
    row!(SYS_openat, [int(2, Test::HasBits(O_WRONLY))], "opens to write"),
    row!(SYS_openat, [int(2, Test::HasBits(O_RDWR))], "opens to write"),
    row!(SYS_openat, [int(2, Test::HasBits(O_CREAT))], "makes a file"),
    row!(SYS_openat, [int(2, Test::HasBits(O_TRUNC))], "empties a file"),
    row!(SYS_faccessat, [int(2, Test::HasBits(W_OK))], "asks whether it may write"),
    row!(SYS_faccessat2, [int(2, Test::HasBits(W_OK))], "asks whether it may write"),
    row!(SYS_mkdirat, [], "makes a name"),
    row!(SYS_mknodat, [], "makes a name"),
    row!(SYS_symlinkat, [], "makes a name"),
    row!(SYS_linkat, [], "makes a name"),
    row!(SYS_unlinkat, [], "removes a name"),
    row!(SYS_renameat, [], "moves a name"),
    row!(SYS_renameat2, [], "moves a name"),
    row!(SYS_fchmod, [], "changes metadata"),
    row!(SYS_fchmodat, [], "changes metadata"),
    row!(SYS_fchmodat2, [], "changes metadata"),
    row!(SYS_fchown, [], "changes metadata"),
    row!(SYS_fchownat, [], "changes metadata"),
    row!(SYS_utimensat, [], "changes metadata"),
    row!(SYS_setxattr, [], "changes metadata"),
    row!(SYS_lsetxattr, [], "changes metadata"),
    row!(SYS_fsetxattr, [], "changes metadata"),
    row!(SYS_removexattr, [], "changes metadata"),
    row!(SYS_lremovexattr, [], "changes metadata"),
    row!(SYS_fremovexattr, [], "changes metadata"),
    row!(SYS_setxattrat, [], "changes metadata"),
    row!(SYS_removexattrat, [], "changes metadata"),
    row!(SYS_file_setattr, [], "changes metadata"),
    row!(SYS_ioctl, [int(1, Test::Is(SETFLAGS))], "changes metadata"),
    row!(SYS_ioctl, [int(1, Test::Is(FSSETXATTR))], "changes metadata"),
    row!(SYS_truncate, [], "changes content"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_open, [int(1, Test::HasBits(O_WRONLY))], "opens to write"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_open, [int(1, Test::HasBits(O_RDWR))], "opens to write"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_open, [int(1, Test::HasBits(O_CREAT))], "makes a file"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_open, [int(1, Test::HasBits(O_TRUNC))], "empties a file"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_creat, [], "makes a file"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_access, [int(1, Test::HasBits(W_OK))], "asks whether it may write"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_mkdir, [], "makes a name"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_mknod, [], "makes a name"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_symlink, [], "makes a name"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_link, [], "makes a name"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_unlink, [], "removes a name"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_rmdir, [], "removes a name"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_rename, [], "moves a name"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_chmod, [], "changes metadata"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_chown, [], "changes metadata"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_lchown, [], "changes metadata"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_utime, [], "changes metadata"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_utimes, [], "changes metadata"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_futimesat, [], "changes metadata"),
];

/// What reads or looks. Only where a plan hides something: nothing else refuses these.
pub(super) const READS: &[Row] = &[
    row!(SYS_openat, [], "opens"),
    row!(SYS_newfstatat, [], "looks"),
    row!(SYS_statx, [], "looks"),
    row!(SYS_faccessat, [], "looks"),
    row!(SYS_faccessat2, [], "looks"),
    row!(SYS_readlinkat, [], "looks"),
    row!(SYS_chdir, [], "enters"),
    row!(SYS_getxattr, [], "looks"),
    row!(SYS_lgetxattr, [], "looks"),
    row!(SYS_listxattr, [], "looks"),
    row!(SYS_llistxattr, [], "looks"),
    row!(SYS_getxattrat, [], "looks"),
    row!(SYS_listxattrat, [], "looks"),
    row!(SYS_file_getattr, [], "looks"),
    row!(SYS_statfs, [], "looks"),
    row!(SYS_inotify_add_watch, [], "watches"),
    row!(SYS_name_to_handle_at, [], "looks"),
    row!(SYS_execve, [], "executes"),
    row!(SYS_execveat, [], "executes"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_open, [], "opens"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_stat, [], "looks"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_lstat, [], "looks"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_access, [], "looks"),
    #[cfg(target_arch = "x86_64")]
    row!(SYS_readlink, [], "looks"),
];

/// What names somebody on the network, or a unix socket. Where there is a broker, it is asked instead.
pub(super) const ADDRESSES: &[Row] = &[
    row!(SYS_connect, [], "names a peer"),
    row!(SYS_bind, [], "takes a name"),
    row!(SYS_sendto, [long(4, Test::IsNot(0))], "names a peer"),
];

/// What signals a process, where one outside has a number.
pub(super) const SIGNALS: &[Row] = &[
    row!(SYS_kill, [], "signals a process"),
    row!(SYS_tkill, [], "signals a process"),
    row!(SYS_tgkill, [], "signals a process"),
    row!(SYS_rt_sigqueueinfo, [], "signals a process"),
    row!(SYS_rt_tgsigqueueinfo, [], "signals a process"),
    row!(SYS_pidfd_send_signal, [], "signals a process"),
];
