//! P1, content and names: ways round that the table of plain ways in `writes` does not have.

use codex_tests::harness::{Expect, Identity};
use nix::errno::Errno;

use crate::row::{EACCES, EROFS, EXDEV, Row, call};

/// Landlock answers EXDEV where a program may fall back to copying.
const BORDER: Expect = Expect::Fails(&[Errno::EXDEV, Errno::EACCES]);
const ABSENT: Expect = Expect::Fails(&[Errno::ENOSYS]);

const TRUNCATE: &str = "0x201 0";

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    let out = |name, words: String| Row::new(name, words).landlock(EACCES);
    let across = |name, words: String| Row::new(name, words).landlock(BORDER).namespaces(EXDEV).read_only(EROFS);
    let mut rows = vec![
        out("open again what was opened to read", "reopen-read {out}/file".into()),
        out("below a directory held", "write-below {out} file".into()),
        out("create below a directory held", "write-below {out}/directory new".into()),
        out("above a directory held", "write-below {in} ../outside/file".into()),
        out("from a directory held", "write-from-held {out} file".into()),
        out("create from a directory held", "write-from-held {out}/directory new".into()),
        out("by the directory of the thread", "write /proc/thread-self/cwd/../outside/file WRONLY".into()),
        out("by links in a row", "write {in}/link-to-link WRONLY,TRUNC".into()),
        out("by a link out and back in", "write {in}/link-to-root/outside/file WRONLY".into()),
        out("openat below a place held", call(libc::SYS_openat, &format!("hold:{{out}} text:file {TRUNCATE}"))),
        out("openat by a name among the descriptors", call(libc::SYS_openat, &format!("-100 link:{{out}}/file {TRUNCATE}"))),
        Row::new("openat2", call(libc::SYS_openat2, "-100 text:{out}/file bytes:010200000000000000000000000000000000000000000000 24"))
            .refused(ABSENT),
        // Content by what the kernel shows of a mapping, for whoever may look at that.
        Row::new("by a file that is mapped", "write-mapped {out}/file").refused(Expect::Fails(&[Errno::EPERM, Errno::EACCES])).only(Identity::Root),

        out("unlinkat below a place held", call(libc::SYS_unlinkat, "hold:{out} text:file 0")),
        out("unlinkat, a directory", call(libc::SYS_unlinkat, "hold:{out} text:directory 0x200")),
        out("mkdirat below a place held", call(libc::SYS_mkdirat, "hold:{out} text:new 493")),
        out("symlinkat below a place held", call(libc::SYS_symlinkat, "text:nowhere hold:{out} text:new")),
        out("mknodat below a place held", call(libc::SYS_mknodat, "hold:{out} text:new 0x11a4 0")),
        out("renameat2 to a free name", call(libc::SYS_renameat2, "hold:{out} text:file hold:{out} text:new 1")),
        out("renameat2 with a whiteout", call(libc::SYS_renameat2, "-100 text:{out}/file -100 text:{out}/new 4")).only(Identity::Root).if_present(),
        out("linkat within", call(libc::SYS_linkat, "hold:{out} text:file hold:{out} text:new 0")),

        across("link in, then write", "link-and-write {out}/file {in}/linked".into()),
        across("link in by a name among the descriptors", call(libc::SYS_linkat, "-100 link:{out}/file -100 text:{in}/linked 0x400")),
        across("link in what is held", call(libc::SYS_linkat, "hold:{out}/file text: -100 text:{in}/linked 0x1000")).if_present(),
        across("link in a symlink", call(libc::SYS_linkat, "-100 text:{out}/link -100 text:{in}/linked 0")),
        across("renameat2 in", call(libc::SYS_renameat2, "hold:{out} text:file hold:{in} text:taken 1")),
        across("renameat2 out", call(libc::SYS_renameat2, "hold:{in} text:file hold:{out} text:new 1")),
        across("exchange with a link", call(libc::SYS_renameat2, "-100 text:{in}/link-to-file -100 text:{out}/file 2")),

        // A fifo has no content that a read-only mount would protect: whoever reads it hears the sandbox.
        Row::new("write to a fifo", "write {to:fifo} WRONLY,NONBLOCK").refused(EACCES),
        Row::new("write to a fifo, opened both ways", "write {to:fifo} RDWR,NONBLOCK").refused(EACCES),
    ];
    #[cfg(target_arch = "x86_64")]
    rows.extend([
        out("creat", call(libc::SYS_creat, "text:{out}/file 420")),
        out("open, truncate", call(libc::SYS_open, &format!("text:{{out}}/file {TRUNCATE}"))),
        out("rmdir", call(libc::SYS_rmdir, "text:{out}/directory")),
        out("rename", call(libc::SYS_rename, "text:{out}/file text:{out}/new")),
        across("link", call(libc::SYS_link, "text:{out}/file text:{in}/linked")),
    ]);
    rows
}
