//! Every way that is known to change what is at a path, as data.

use std::ffi::OsString;

use codex_tests::harness::{Expect, Level, Policy, Scene};
use nix::errno::Errno;

/// One act, and what the sandbox answers.
pub(crate) struct Row {
    /// The act in words.
    pub(crate) name: &'static str,
    /// The probe's arguments, with `{out}`, `{in}`, `{root}` and `{pid}` to be filled in.
    pub(crate) words: &'static str,
    /// What level landlock answers.
    inside: Expect,
    /// What level namespaces answers.
    isolated: Expect,
    /// What level namespaces answers where the workspace is read-only like the rest.
    isolated_read_only: Expect,
    /// The directory of the scene that may not change.
    pub(crate) place: &'static str,
    /// Only root can do it at all.
    pub(crate) root_only: bool,
}

impl Row {
    /// What the sandbox answers.
    pub(crate) fn at(&self, level: Level, policy: Policy) -> Expect {
        let isolated = if policy == Policy::ReadOnly { self.isolated_read_only } else { self.isolated };
        level.choose(self.inside, isolated)
    }

    const fn isolated(mut self, expected: Expect) -> Self {
        self.isolated = expected;
        self.isolated_read_only = expected;
        self
    }

    const fn root_only(mut self) -> Self {
        self.root_only = true;
        self
    }
}

/// What a row's words are filled in with.
pub(crate) struct Words<'s> {
    /// The scene.
    pub(crate) scene: &'s Scene,
    /// A process outside, whose directory is `outside/`.
    pub(crate) pid: i32,
}

impl Words<'_> {
    /// The probe's arguments.
    pub(crate) fn fill(&self, words: &str) -> Vec<OsString> {
        let fill = |word: &str| {
            word.replace("{out}", &self.scene.outside().to_string_lossy())
                .replace("{in}", &self.scene.workspace().to_string_lossy())
                .replace("{root}", &self.scene.root().to_string_lossy())
                .replace("{pid}", &self.pid.to_string())
        };
        words.split_whitespace().map(|word| fill(word).into()).collect()
    }
}

const fn refused(name: &'static str, words: &'static str, inside: Expect, place: &'static str) -> Row {
    Row { name, words, inside, isolated: EROFS, isolated_read_only: EROFS, place, root_only: false }
}

/// Across the border of a mount, which is found before that one of the two is read-only.
const fn across(name: &'static str, words: &'static str) -> Row {
    Row { isolated: EXDEV, ..refused(name, words, EACCES_OR_EXDEV, "outside") }
}

const fn out(name: &'static str, words: &'static str) -> Row {
    refused(name, words, EACCES, "outside")
}

const fn within(name: &'static str, words: &'static str) -> Row {
    refused(name, words, EACCES, "workspace")
}

const EACCES: Expect = Expect::Fails(&[Errno::EACCES]);
const ENOENT: Expect = Expect::Fails(&[Errno::ENOENT]);
const EPERM: Expect = Expect::Fails(&[Errno::EPERM]);
const EROFS: Expect = Expect::Fails(&[Errno::EROFS]);
const EXDEV: Expect = Expect::Fails(&[Errno::EXDEV]);
/// Moves between directories: Landlock answers EXDEV where a program may fall back to copying.
const EACCES_OR_EXDEV: Expect = Expect::Fails(&[Errno::EACCES, Errno::EXDEV]);

/// Acts on what is outside of the workspace.
#[rustfmt::skip]
pub(crate) fn ways_out() -> Vec<Row> {
    vec![
        out("open to write", "write {out}/file WRONLY"),
        out("open to read and write", "write {out}/file RDWR"),
        out("append", "write {out}/file WRONLY,APPEND"),
        out("truncate on opening", "write {out}/file WRONLY,TRUNC"),
        out("truncate on opening to read", "open {out}/file RDONLY,TRUNC"),
        out("truncate by path", "truncate {out}/file"),
        out("create", "write {out}/new WRONLY,CREAT,EXCL"),
        out("create in a directory", "write {out}/directory/new WRONLY,CREAT"),
        out("write by a relative path", "write ../outside/file WRONLY"),
        out("write from within", "write-from {out} file"),
        out("create from within", "write-from {out}/directory new"),
        out("take hold, then open", "reopen-path {out}/file"),
        out("create without a name, then link", "link-unnamed {out} {out}/new"),

        out("remove a file", "unlink {out}/file"),
        out("remove a directory", "rmdir {out}/directory"),
        out("make a directory", "mkdir {out}/new"),
        out("make a symlink", "symlink nowhere {out}/new"),
        out("make a fifo", "mkfifo {out}/new"),
        out("make a node, regular", "mknod {out}/new regular"),
        out("make a node, fifo", "mknod {out}/new fifo"),
        out("make a node, socket", "mknod {out}/new socket"),
        out("make a node, character device", "mknod {out}/new char").root_only(),
        out("make a node, block device", "mknod {out}/new block").root_only(),
        // No socket at all, so no name for one either.
        refused("bind a socket", "bind {out}/new", EPERM, "outside"),

        out("rename", "rename {out}/file {out}/new"),
        out("rename over another", "rename {out}/file {out}/other"),
        out("rename a directory", "rename {out}/full {out}/renamed"),
        out("exchange two", "exchange {out}/file {out}/other"),
        out("link", "link {out}/file {out}/new"),
        refused("move into another directory", "rename {out}/file {out}/directory/file", EACCES_OR_EXDEV, "outside"),
        across("take in", "rename {out}/file {in}/taken"),
        across("take in a directory", "rename {out}/full {in}/taken"),
        across("put out", "rename {in}/file {out}/new"),
        across("put out over another", "rename {in}/file {out}/file"),
        across("exchange across", "exchange {in}/file {out}/file"),
        across("exchange directories across", "exchange {in}/full {out}/full"),
        // The inode would then be writable by its name inside.
        across("link in", "link {out}/file {in}/linked"),
        refused("link out", "link {in}/file {out}/linked", EACCES_OR_EXDEV, "outside"),

        out("through a symlink", "write {in}/link-to-file WRONLY,TRUNC"),
        out("through a symlinked directory", "write {in}/link-to-directory/file WRONLY"),
        out("create through a dangling symlink", "write {in}/link-to-nothing WRONLY,CREAT"),
        out("truncate through a symlink", "truncate {in}/link-to-file"),
        out("remove through a symlinked directory", "unlink {in}/link-to-directory/file"),
        // Where the workspace is read-only, the link itself is refused already.
        out("through a symlink of its own", "through-new-link {out}/file {in}/own-link"),
        out("by /proc/self/root", "write /proc/self/root{out}/file WRONLY"),
        out("by /proc/self/cwd", "write /proc/self/cwd/../outside/file WRONLY"),
        out("by /proc/thread-self/root", "write /proc/thread-self/root{out}/file WRONLY"),
        out("by another's root", "write /proc/{pid}/root{out}/file WRONLY").isolated(ENOENT),
        out("by another's directory", "write /proc/{pid}/cwd/file WRONLY").isolated(ENOENT),
        out("create in another's directory", "write /proc/{pid}/cwd/new WRONLY,CREAT").isolated(ENOENT),
        refused("by a handle", "by-handle {out}/file", EPERM, "outside").isolated(EPERM).root_only(),
    ]
}

/// The same acts on what is within.
#[rustfmt::skip]
pub(crate) fn ways_within() -> Vec<Row> {
    vec![
        within("open to write", "write {in}/file WRONLY"),
        within("append", "write {in}/file WRONLY,APPEND"),
        within("truncate on opening", "write {in}/file WRONLY,TRUNC"),
        within("truncate by path", "truncate {in}/file"),
        within("create", "write {in}/new WRONLY,CREAT,EXCL"),
        within("create in a directory", "write {in}/directory/new WRONLY,CREAT"),
        within("write by a relative path", "write file WRONLY"),
        within("write from within", "write-from {in}/directory new"),
        within("take hold, then open", "reopen-path {in}/file"),
        within("create without a name, then link", "link-unnamed {in} {in}/new"),
        within("remove a file", "unlink {in}/file"),
        within("remove a directory", "rmdir {in}/directory"),
        within("make a directory", "mkdir {in}/new"),
        within("make a symlink", "symlink nowhere {in}/new"),
        within("make a fifo", "mkfifo {in}/new"),
        within("make a node, socket", "mknod {in}/new socket"),
        within("rename", "rename {in}/file {in}/new"),
        within("rename over another", "rename {in}/file {in}/other"),
        within("rename a directory", "rename {in}/full {in}/renamed"),
        within("exchange two", "exchange {in}/file {in}/other"),
        within("link", "link {in}/file {in}/new"),
        refused("move into another directory", "rename {in}/file {in}/directory/file", EACCES_OR_EXDEV, "workspace"),
        refused("move a directory", "rename {in}/full {in}/directory/full", EACCES_OR_EXDEV, "workspace"),
        refused("link into another directory", "link {in}/file {in}/directory/file", EACCES_OR_EXDEV, "workspace"),
        within("by /proc/self/root", "write /proc/self/root{in}/file WRONLY"),
        within("by /proc/self/cwd", "write /proc/self/cwd/file WRONLY"),
    ]
}
