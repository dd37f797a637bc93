//! The calls that are watched: what each one does, and to what.

use crate::sys::trace::Called;

/// What a call tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Opening something to read, or looking at it.
    Read,
    /// Opening something that exists to write, or truncating it.
    Write,
    /// Opening something to write, or making it where it is not.
    WriteOrCreate,
    /// Making a name.
    Create,
    /// Making a file without a name in a directory, or a name of which no more is known.
    CreateIn,
    /// Removing a name.
    Remove,
    /// Removing a name in a directory, of which no more is known.
    RemoveIn,
    /// Giving a name to something, and taking it from where it was.
    Rename,
    /// Taking a name in a directory from something, of which no more is known.
    RenameIn,
    /// Giving one name more to something.
    Link,
    /// Changing mode, owner, times or attributes.
    Metadata,
    /// The same of what has the name itself, be it a link.
    MetadataOfLink,
    /// Connecting to a host, or sending it something: the target is `ADDRESS:PORT`.
    Connect,
    /// Connecting to a unix socket by its path.
    Unix,
    /// Sending a signal: the target is the number of the process.
    Signal,
    /// A call that a filter refuses: the target is its number, then its arguments.
    Call,
}

impl Act {
    /// Every act.
    pub const ALL: [Self; 16] = [
        Self::Read,
        Self::Write,
        Self::WriteOrCreate,
        Self::Create,
        Self::CreateIn,
        Self::Remove,
        Self::RemoveIn,
        Self::Rename,
        Self::RenameIn,
        Self::Link,
        Self::Metadata,
        Self::MetadataOfLink,
        Self::Connect,
        Self::Unix,
        Self::Signal,
        Self::Call,
    ];

    /// The name used in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::WriteOrCreate => "write-or-create",
            Self::Create => "create",
            Self::CreateIn => "create-in",
            Self::Remove => "remove",
            Self::RemoveIn => "remove-in",
            Self::Rename => "rename",
            Self::RenameIn => "rename-in",
            Self::Link => "link",
            Self::Metadata => "metadata",
            Self::MetadataOfLink => "metadata-of-link",
            Self::Connect => "connect",
            Self::Unix => "unix",
            Self::Signal => "signal",
            Self::Call => "call",
        }
    }
}

/// By what a call names a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A path at an address, relative to the working directory.
    Path { at: u64 },
    /// A path at an address, relative to a directory that is open under a number.
    PathIn { directory: i32, at: u64 },
    /// What is open under a number.
    Descriptor(i32),
}

/// What a call does it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    File(Named),
    /// The second gets the name that the first had, or another one.
    Files(Named, Named),
    /// An address in the kernel's own form.
    Address {
        at: u64,
        length: u64,
    },
    Process(i32),
    /// A process that is open under a number.
    ProcessOpen(i32),
}

/// What a call that a filter wants seen does.
pub(super) fn of(called: &Called) -> Option<(Act, Object)> {
    use Object::{Address, File, Files, Process, ProcessOpen};

    let Called { number, arguments: [a, b, c, d, e, f] } = *called;
    let path = |at| Named::Path { at };
    let path_in = |directory, at| Named::PathIn { directory: lower(directory), at };
    let open = |directory: Named, flags: u64| (opening(flags), File(directory));
    let looks_or_writes = |mode: u64| if mode & W_OK == 0 { Act::Read } else { Act::Write };
    let changes =
        |flags: u64| if flags & AT_SYMLINK_NOFOLLOW == 0 { Act::Metadata } else { Act::MetadataOfLink };
    #[cfg(target_arch = "x86_64")]
    match number {
        libc::SYS_open => return Some(open(path(a), b)),
        libc::SYS_creat => return Some((Act::WriteOrCreate, File(path(a)))),
        libc::SYS_access => return Some((looks_or_writes(b), File(path(a)))),
        libc::SYS_mkdir | libc::SYS_mknod => return Some((Act::Create, File(path(a)))),
        libc::SYS_rmdir | libc::SYS_unlink => return Some((Act::Remove, File(path(a)))),
        libc::SYS_rename => return Some((Act::Rename, Files(path(a), path(b)))),
        libc::SYS_link => return Some((Act::Link, Files(path(a), path(b)))),
        libc::SYS_symlink => return Some((Act::Create, File(path(b)))),
        libc::SYS_chmod | libc::SYS_chown | libc::SYS_utime | libc::SYS_utimes => {
            return Some((Act::Metadata, File(path(a))));
        }
        libc::SYS_lchown => return Some((Act::MetadataOfLink, File(path(a)))),
        libc::SYS_futimesat => return Some((Act::Metadata, File(path_in(a, b)))),
        libc::SYS_stat | libc::SYS_lstat | libc::SYS_readlink => return Some((Act::Read, File(path(a)))),
        _ => {}
    }
    Some(match number {
        libc::SYS_openat => open(path_in(a, b), c),
        libc::SYS_faccessat | libc::SYS_faccessat2 => (looks_or_writes(c), File(path_in(a, b))),
        libc::SYS_mkdirat | libc::SYS_mknodat => (Act::Create, File(path_in(a, b))),
        libc::SYS_unlinkat => (Act::Remove, File(path_in(a, b))),
        libc::SYS_renameat | libc::SYS_renameat2 => (Act::Rename, Files(path_in(a, b), path_in(c, d))),
        libc::SYS_linkat => (Act::Link, Files(path_in(a, b), path_in(c, d))),
        libc::SYS_symlinkat => (Act::Create, File(path_in(b, c))),
        // It has no flags.
        libc::SYS_fchmodat => (Act::Metadata, File(path_in(a, b))),
        SYS_FCHMODAT2 => (changes(d), File(path_in(a, b))),
        libc::SYS_fchownat | SYS_FILE_SETATTR => (changes(e), File(path_in(a, b))),
        SYS_SETXATTRAT | SYS_REMOVEXATTRAT => (changes(c), File(path_in(a, b))),
        // Without a path, the times are those of what is open.
        libc::SYS_utimensat if b == 0 => (Act::Metadata, File(Named::Descriptor(lower(a)))),
        libc::SYS_utimensat => (changes(d), File(path_in(a, b))),
        libc::SYS_fchmod
        | libc::SYS_fchown
        | libc::SYS_fsetxattr
        | libc::SYS_fremovexattr
        | libc::SYS_ioctl => (Act::Metadata, File(Named::Descriptor(lower(a)))),
        libc::SYS_setxattr | libc::SYS_removexattr => (Act::Metadata, File(path(a))),
        libc::SYS_lsetxattr | libc::SYS_lremovexattr => (Act::MetadataOfLink, File(path(a))),
        libc::SYS_truncate => (Act::Write, File(path(a))),
        libc::SYS_newfstatat | libc::SYS_statx | libc::SYS_readlinkat => (Act::Read, File(path_in(a, b))),
        libc::SYS_execve
        | libc::SYS_chdir
        | libc::SYS_getxattr
        | libc::SYS_lgetxattr
        | libc::SYS_listxattr
        | libc::SYS_llistxattr
        | libc::SYS_statfs => (Act::Read, File(path(a))),
        libc::SYS_execveat
        | libc::SYS_name_to_handle_at
        | SYS_GETXATTRAT
        | SYS_LISTXATTRAT
        | SYS_FILE_GETATTR => (Act::Read, File(path_in(a, b))),
        libc::SYS_inotify_add_watch => (Act::Read, File(path(b))),
        libc::SYS_bind => (Act::Create, Address { at: b, length: c }),
        libc::SYS_connect => (Act::Connect, Address { at: b, length: c }),
        libc::SYS_sendto => (Act::Connect, Address { at: e, length: f }),
        libc::SYS_kill
        | libc::SYS_tkill
        | libc::SYS_tgkill
        | libc::SYS_rt_sigqueueinfo
        | libc::SYS_rt_tgsigqueueinfo => (Act::Signal, Process(lower(a))),
        libc::SYS_pidfd_send_signal => (Act::Signal, ProcessOpen(lower(a))),
        _ => return None,
    })
}

/// How a call goes to the files that it names, where nothing else of it can be refused than that it goes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It looks at what is there, and takes an [open file](Named::Descriptor) for one that is, or not.
    Looks { open: bool },
    /// It writes to what is there, or makes it.
    Writes,
    /// It makes a name that is not there.
    Makes,
    /// It takes a name away.
    Takes,
    /// It takes a name away and gives another one.
    Moves,
}

/// How a call goes to the files that it names. Nothing for one that also needs what may be refused by itself: metadata,
/// devices, a second name for a file, an address.
pub(super) fn reach(called: &Called) -> Option<Reach> {
    let Called { number, arguments: [_, b, c, _, e, _] } = *called;
    #[cfg(target_arch = "x86_64")]
    match number {
        libc::SYS_open => return Some(opened(b)),
        libc::SYS_creat => return Some(Reach::Writes),
        libc::SYS_access if b & W_OK != 0 => return Some(Reach::Writes),
        libc::SYS_mkdir | libc::SYS_symlink => return Some(Reach::Makes),
        libc::SYS_rmdir | libc::SYS_unlink => return Some(Reach::Takes),
        libc::SYS_rename => return Some(Reach::Moves),
        libc::SYS_access | libc::SYS_stat | libc::SYS_lstat | libc::SYS_readlink => {
            return Some(Reach::Looks { open: false });
        }
        _ => {}
    }
    Some(match number {
        libc::SYS_openat => opened(c),
        libc::SYS_faccessat | libc::SYS_faccessat2 if c & W_OK != 0 => Reach::Writes,
        libc::SYS_truncate => Reach::Writes,
        libc::SYS_mkdirat | libc::SYS_symlinkat => Reach::Makes,
        libc::SYS_unlinkat => Reach::Takes,
        libc::SYS_renameat => Reach::Moves,
        // The others leave a device in the place of a name, or change two.
        libc::SYS_renameat2 if matches!(lower(e), 0 | RENAME_NOREPLACE) => Reach::Moves,
        libc::SYS_newfstatat | libc::SYS_statx => Reach::Looks { open: true },
        libc::SYS_faccessat
        | libc::SYS_faccessat2
        | libc::SYS_readlinkat
        | libc::SYS_execve
        | libc::SYS_chdir
        | libc::SYS_getxattr
        | libc::SYS_lgetxattr
        | libc::SYS_listxattr
        | libc::SYS_llistxattr
        | libc::SYS_statfs => Reach::Looks { open: false },
        _ => return None,
    })
}

fn opened(flags: u64) -> Reach {
    match opening(flags) {
        Act::Read => Reach::Looks { open: false },
        Act::Create => Reach::Makes,
        _ => Reach::Writes,
    }
}

/// Of `linux/fs.h`.
const RENAME_NOREPLACE: i32 = 1;
const W_OK: u64 = 2;
/// Of `linux/fcntl.h`.
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const SYS_FCHMODAT2: i64 = 452;
const SYS_SETXATTRAT: i64 = 463;
const SYS_GETXATTRAT: i64 = 464;
const SYS_LISTXATTRAT: i64 = 465;
const SYS_REMOVEXATTRAT: i64 = 466;
const SYS_FILE_GETATTR: i64 = 468;
const SYS_FILE_SETATTR: i64 = 469;

/// What an open tries, by its flags.
fn opening(flags: u64) -> Act {
    let flags = lower(flags);
    let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
    if flags & libc::O_PATH != 0 {
        Act::Read
    } else if flags & libc::O_TMPFILE == libc::O_TMPFILE {
        Act::CreateIn
    } else if flags & libc::O_CREAT != 0 {
        if flags & libc::O_EXCL == 0 { Act::WriteOrCreate } else { Act::Create }
    } else if writes || flags & libc::O_TRUNC != 0 {
        Act::Write
    } else {
        Act::Read
    }
}

/// An argument that the kernel takes as an `int`.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "as the kernel does")]
pub(super) const fn lower(argument: u64) -> i32 {
    argument as u32 as i32
}
