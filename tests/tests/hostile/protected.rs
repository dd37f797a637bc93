//! P4: what the host later runs or trusts, in a writable root. The control is the same act without the sandbox.
//!
//! Level landlock promises nothing here.

use codex_tests::harness::{Expect, Scene};
use nix::errno::Errno;

use crate::row::{EROFS, Row, call, each};

/// A repository with everything that git looks at, and what else is trusted beside it.
pub(crate) fn furnish(scene: &Scene) {
    for git in [".git", "deep/er/.git", ".git/modules/sub"] {
        for directory in ["hooks", "info", "objects", "refs"] {
            scene.directory(&format!("workspace/{git}/{directory}"));
        }
        scene.file(&format!("workspace/{git}/HEAD"), "ref: refs/heads/main\n");
        scene.file(&format!("workspace/{git}/config"), "[core]\n\trepositoryformatversion = 0\n");
        scene.file_with_mode(&format!("workspace/{git}/hooks/post-commit"), "#!/bin/sh\n", 0o755);
        scene.file_with_mode(&format!("workspace/{git}/hooks/idle"), "#!/bin/sh\n", 0o644);
        scene.file(&format!("workspace/{git}/info/attributes"), "* text=auto\n");
        scene.file(&format!("workspace/{git}/config.worktree"), "");
    }
    scene.directory("workspace/.git/worktrees/tree");
    for (name, content) in [
        ("HEAD", "ref: refs/heads/tree\n"),
        ("commondir", "../..\n"),
        ("gitdir", "../../../tree/.git\n"),
        ("config.worktree", ""),
    ] {
        scene.file(&format!("workspace/.git/worktrees/tree/{name}"), content);
    }
    scene.directory("workspace/tree");
    scene.file("workspace/tree/.git", "gitdir: ../.git/worktrees/tree\n");
    scene.directory("workspace/other");
    scene.file("workspace/file", "plain\n");
    for directory in [".codex", ".agents", ".claude", ".cursor", ".vscode", ".idea", ".husky"] {
        scene.directory(&format!("workspace/{directory}"));
        scene.file(&format!("workspace/{directory}/settings"), "as it was\n");
    }
    for file in [".mcp.json", ".envrc"] {
        scene.file(&format!("workspace/{file}"), "as it was\n");
    }
    scene.symlink(".git/hooks", "workspace/link-to-hooks");
    scene.symlink(scene.workspace(), "outside/link-to-workspace");
}

const TAKEN: Expect = Expect::Fails(&[Errno::EBUSY, Errno::EROFS]);
const EROFS_OR_EXDEV: Expect = Expect::Fails(&[Errno::EROFS, Errno::EXDEV]);

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    // Content and names below what is read-only.
    let mut rows = each(&[
        ("write a hook", "write {in}/.git/hooks/post-commit WRONLY"),
        ("append to a hook", "write {in}/.git/hooks/post-commit WRONLY,APPEND"),
        ("empty a hook", "truncate {in}/.git/hooks/post-commit"),
        ("add a hook", "write {in}/.git/hooks/pre-commit WRONLY,CREAT"),
        ("add a hook by a symlink", "symlink /tmp/anything {in}/.git/hooks/pre-commit"),
        ("remove a hook", "unlink {in}/.git/hooks/post-commit"),
        ("rename a hook", "rename {in}/.git/hooks/idle {in}/.git/hooks/pre-commit"),
        ("write the configuration", "write {in}/.git/config WRONLY"),
        ("empty the configuration", "write {in}/.git/config WRONLY,TRUNC"),
        ("write the worktree's configuration", "write {in}/.git/config.worktree WRONLY"),
        ("write the attributes", "write {in}/.git/info/attributes WRONLY"),
        ("write a module's hook", "write {in}/.git/modules/sub/hooks/post-commit WRONLY"),
        ("add a module's hook", "write {in}/.git/modules/sub/hooks/pre-push WRONLY,CREAT"),
        ("write a module's configuration", "write {in}/.git/modules/sub/config WRONLY"),
        ("write a worktree's own configuration", "write {in}/.git/worktrees/tree/config.worktree WRONLY"),
        ("move a worktree to another repository", "write {in}/.git/worktrees/tree/commondir WRONLY,TRUNC"),
        ("move a worktree's place", "write {in}/.git/worktrees/tree/gitdir WRONLY,TRUNC"),
        ("turn a pointer", "write {in}/tree/.git WRONLY,TRUNC"),
        ("write a hook of a repository below", "write {in}/deep/er/.git/hooks/post-commit WRONLY"),
        ("write the configuration of a repository below", "write {in}/deep/er/.git/config WRONLY"),
        ("write a hook by a symlink", "write {in}/link-to-hooks/post-commit WRONLY"),
        ("write a hook by a symlink outside", "write {out}/link-to-workspace/.git/hooks/post-commit WRONLY"),
        ("write a hook by /proc/self/root", "write /proc/self/root{in}/.git/hooks/post-commit WRONLY"),
        ("write a hook by /proc/self/cwd", "write /proc/self/cwd/.git/hooks/post-commit WRONLY"),
        ("write a hook that is held", "reopen-path {in}/.git/hooks/post-commit"),
        ("write a hook that was opened to read", "reopen-read {in}/.git/hooks/post-commit"),
        ("write a hook below a directory held", "write-below {in} .git/hooks/post-commit"),
        ("write a hook from a directory held", "write-from-held {in}/.git/hooks post-commit"),
        ("add a hook without a name first", "link-unnamed {in}/.git/hooks {in}/.git/hooks/pre-commit"),
        ("write .codex", "write {in}/.codex/settings WRONLY"),
        ("add to .codex", "write {in}/.codex/config.toml WRONLY,CREAT"),
        ("write .agents", "write {in}/.agents/settings WRONLY"),
        ("write .claude", "write {in}/.claude/settings WRONLY"),
        ("write .cursor", "write {in}/.cursor/settings WRONLY"),
        ("write .vscode", "write {in}/.vscode/settings WRONLY"),
        ("add to .vscode", "write {in}/.vscode/tasks.json WRONLY,CREAT"),
        ("write .idea", "write {in}/.idea/settings WRONLY"),
        ("write .husky", "write {in}/.husky/settings WRONLY"),
        ("write .mcp.json", "write {in}/.mcp.json WRONLY"),
        ("write .envrc", "write {in}/.envrc WRONLY"),
    ], |row| row.namespaces(EROFS));

    // Metadata: a hook that is not executable is not run.
    rows.push(Row::new("make a hook executable", call(libc::SYS_fchmodat, "-100 text:{in}/.git/hooks/idle 493")));

    // Names that are mount points keep their place.
    rows.extend(each(&[
        ("move the hooks away", "rename {in}/.git/hooks {in}/.git/hooks-away"),
        ("remove the configuration", "unlink {in}/.git/config"),
        ("move the repository away", "rename {in}/.git {in}/away"),
        ("exchange the repository", "exchange {in}/.git {in}/other"),
        ("move the modules away", "rename {in}/.git/modules {in}/.git/away"),
        ("move a module away", "rename {in}/.git/modules/sub {in}/.git/modules/away"),
        ("move the worktrees away", "rename {in}/.git/worktrees {in}/.git/away"),
        ("move an ancestor away", "rename {in}/deep {in}/shallow"),
        ("move the nearest ancestor away", "rename {in}/deep/er {in}/deep/away"),
        ("exchange an ancestor", "exchange {in}/deep {in}/other"),
        ("remove a pointer", "unlink {in}/tree/.git"),
        ("move .codex away", "rename {in}/.codex {in}/away"),
        ("move .vscode away", "rename {in}/.vscode {in}/away"),
        ("remove .mcp.json", "unlink {in}/.mcp.json"),
        ("replace .envrc", "rename {in}/file {in}/.envrc"),
    ], |row| row.namespaces(TAKEN)));

    // A second name would be writable where the first is not.
    rows.extend(each(&[
        ("a second name for a hook", "link-and-write {in}/.git/hooks/post-commit {in}/linked"),
        ("a second name for the configuration", "link-and-write {in}/.git/config {in}/linked"),
        ("a second name for .envrc", "link-and-write {in}/.envrc {in}/linked"),
        ("replace the configuration", "rename {in}/file {in}/.git/config"),
        ("replace the hooks", "exchange {in}/other {in}/.git/hooks"),
        ("replace a pointer", "rename {in}/file {in}/tree/.git"),
        ("take a hook out", "rename {in}/.git/hooks/post-commit {in}/taken"),
        ("put a hook in", "rename {in}/file {in}/.git/hooks/pre-commit"),
        ("link a hook in", "link {in}/file {in}/.git/hooks/pre-commit"),
        ("exchange a hook", "exchange {in}/file {in}/.git/hooks/post-commit"),
    ], |row| row.namespaces(EROFS_OR_EXDEV)));
    rows
}
