//! P1, metadata: mode, owner, times, attributes, flags and access lists, by every call that sets them.
//!
//! Level landlock promises nothing here.

use codex_tests::harness::Identity;

use crate::row::{Row, call};

// Newer than the libc crate's tables of some architectures; numbers this high are the same everywhere.
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const FILE_SETATTR: i64 = 469;

/// `user.note`, set to `x`.
const NOTE: &str = "text:user.note text:x 1 0";
/// An access list that says 0600 where the mode says 0644: owner, group, others.
const ACCESS_LIST: &str =
    "text:system.posix_acl_access bytes:0200000001000600ffffffff04000000ffffffff20000000ffffffff 28 0";
/// The file may open any file: revision 2 of the attribute, `dac_override` permitted and effective.
const CAPABILITIES: &str = "text:security.capability bytes:0100000202000000000000000000000000000000 20 0";

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        ("fchmodat", libc::SYS_fchmodat, "-100 text:{out}/file 448"),
        ("fchmodat below a place held", libc::SYS_fchmodat, "hold:{out} text:file 448"),
        ("fchmodat by a name among the descriptors", libc::SYS_fchmodat, "-100 link:{out}/file 448"),
        ("fchmodat through a symlink", libc::SYS_fchmodat, "-100 text:{in}/link-to-file 448"),
        ("fchmodat by /proc/self/root", libc::SYS_fchmodat, "-100 text:/proc/self/root{out}/file 448"),
        ("fchmodat by /proc/self/cwd", libc::SYS_fchmodat, "-100 text:/proc/self/cwd/../outside/file 448"),
        ("fchmodat of a directory", libc::SYS_fchmodat, "-100 text:{out}/directory 448"),
        ("fchmodat of what lies above", libc::SYS_fchmodat, "-100 text:{out} 448"),
        ("fchmod of what is open to read", libc::SYS_fchmod, "read:{out}/file 448"),
        ("fchmod of an open directory", libc::SYS_fchmod, "read:{out}/directory 448"),
        ("fchmodat2", FCHMODAT2, "-100 text:{out}/file 448 0"),
        ("fchmodat2 of what is held", FCHMODAT2, "hold:{out}/file text: 448 0x1000"),
        ("fchmodat2 of the link itself", FCHMODAT2, "-100 text:{out}/file 448 0x100"),

        ("fchownat", libc::SYS_fchownat, "-100 text:{out}/file -1 -1 0"),
        ("fchownat of what is held", libc::SYS_fchownat, "hold:{out}/file text: -1 -1 0x1000"),
        ("fchownat of a symlink", libc::SYS_fchownat, "-100 text:{out}/link -1 -1 0x100"),
        ("fchownat by a name among the descriptors", libc::SYS_fchownat, "-100 link:{out}/file -1 -1 0"),
        ("fchown of what is open to read", libc::SYS_fchown, "read:{out}/file -1 -1"),
        ("fchown of an open directory", libc::SYS_fchown, "read:{out}/directory -1 -1"),

        ("utimensat", libc::SYS_utimensat, "-100 text:{out}/file zeros:32 0"),
        ("utimensat, now", libc::SYS_utimensat, "-100 text:{out}/file 0 0"),
        ("utimensat of a symlink", libc::SYS_utimensat, "-100 text:{out}/link zeros:32 0x100"),
        ("utimensat of what is open to read", libc::SYS_utimensat, "read:{out}/file 0 zeros:32 0"),
        ("utimensat of what is held", libc::SYS_utimensat, "hold:{out}/file text: zeros:32 0x1000"),
        ("utimensat by a name among the descriptors", libc::SYS_utimensat, "-100 link:{out}/file zeros:32 0"),
        ("utimensat of a directory", libc::SYS_utimensat, "-100 text:{out}/directory zeros:32 0"),
    ].into_iter().map(|(name, number, words)| Row::new(name, call(number, words))).collect();

    #[cfg(target_arch = "x86_64")]
    rows.extend([
        ("chmod", libc::SYS_chmod, "text:{out}/file 448"),
        ("chmod by a name among the descriptors", libc::SYS_chmod, "link:{out}/file 448"),
        ("chown", libc::SYS_chown, "text:{out}/file -1 -1"),
        ("lchown", libc::SYS_lchown, "text:{out}/link -1 -1"),
        ("utime", libc::SYS_utime, "text:{out}/file zeros:16"),
        ("utimes", libc::SYS_utimes, "text:{out}/file zeros:32"),
        ("futimesat", libc::SYS_futimesat, "hold:{out} text:file zeros:32"),
    ].into_iter().map(|(name, number, words)| Row::new(name, call(number, words))));

    // What depends on the file system that the scene lies on, or is younger than some kernels.
    rows.extend([
        ("setxattr", libc::SYS_setxattr, format!("text:{{out}}/file {NOTE}")),
        ("setxattr through a symlink", libc::SYS_setxattr, format!("text:{{in}}/link-to-file {NOTE}")),
        ("setxattr by a name among the descriptors", libc::SYS_setxattr, format!("link:{{out}}/file {NOTE}")),
        ("setxattr of a directory", libc::SYS_setxattr, format!("text:{{out}}/directory {NOTE}")),
        ("lsetxattr", libc::SYS_lsetxattr, format!("text:{{out}}/file {NOTE}")),
        ("fsetxattr of what is open to read", libc::SYS_fsetxattr, format!("read:{{out}}/file {NOTE}")),
        ("setxattrat", SETXATTRAT, "-100 text:{out}/file 0 text:user.note zeros:16 16".into()),
        ("removexattr", libc::SYS_removexattr, "text:{out}/marked text:user.note".into()),
        ("lremovexattr", libc::SYS_lremovexattr, "text:{out}/marked text:user.note".into()),
        ("fremovexattr of what is open to read", libc::SYS_fremovexattr, "read:{out}/marked text:user.note".into()),
        ("removexattrat", REMOVEXATTRAT, "-100 text:{out}/marked 0 text:user.note".into()),
        ("an access list", libc::SYS_setxattr, format!("text:{{out}}/file {ACCESS_LIST}")),
        ("file_setattr", FILE_SETATTR, "-100 text:{out}/file bytes:800000000000000000000000000000000000000000000000 24 0".into()),
    ].into_iter().map(|(name, number, words)| Row::new(name, call(number, &words)).if_present()));
    rows.extend([
        Row::new("FS_IOC_SETFLAGS", "set-nodump {out}/file").if_present(),
        Row::new("FS_IOC_SETFLAGS of a directory", "set-nodump {out}/directory").if_present(),
        Row::new("FS_IOC_FSSETXATTR", "set-nodump-extended {out}/file").if_present(),
    ]);

    // What only root can do.
    rows.extend([
        ("fchownat to another owner", libc::SYS_fchownat, "-100 text:{out}/file 4242 4242 0".to_owned()),
        ("a trusted attribute", libc::SYS_setxattr, "text:{out}/file text:trusted.note text:x 1 0".to_owned()),
        ("capabilities of a file", libc::SYS_setxattr, format!("text:{{out}}/file {CAPABILITIES}")),
    ].into_iter().map(|(name, number, words)| Row::new(name, call(number, &words)).only(Identity::Root).if_present()));
    rows
}
