//! P1: what can be read, and what can be written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::runs::{READ_ONLY, read_only, request, sandbox, shell, succeed, unrestricted, workspace_write};
use crate::tools::{act, python, result};

/// Every way to change the content or the names of a directory, which is the argument.
const CHANGES: [(&str, &str); 15] = [
    ("create", "os.close(os.open(sys.argv[1] + '/new', os.O_CREAT | os.O_WRONLY))"),
    ("create exclusively", "os.close(os.open(sys.argv[1] + '/new', os.O_CREAT | os.O_EXCL | os.O_RDWR))"),
    (
        "create without a name",
        "os.link(f'/proc/self/fd/{os.open(sys.argv[1], os.O_TMPFILE | os.O_RDWR)}', sys.argv[1] + '/new', src_dir_fd=0)",
    ),
    ("write", "os.write(os.open(sys.argv[1] + '/file', os.O_WRONLY), b'changed')"),
    ("append", "os.write(os.open(sys.argv[1] + '/file', os.O_WRONLY | os.O_APPEND), b'changed')"),
    ("empty at opening", "os.open(sys.argv[1] + '/file', os.O_RDONLY | os.O_TRUNC)"),
    ("truncate", "os.truncate(sys.argv[1] + '/file', 0)"),
    ("remove a file", "os.unlink(sys.argv[1] + '/file')"),
    ("make a directory", "os.mkdir(sys.argv[1] + '/new')"),
    ("remove a directory", "os.rmdir(sys.argv[1] + '/empty')"),
    ("rename", "os.rename(sys.argv[1] + '/file', sys.argv[1] + '/new')"),
    ("symbolic link", "os.symlink('file', sys.argv[1] + '/new')"),
    ("hard link", "os.link(sys.argv[1] + '/file', sys.argv[1] + '/new')"),
    ("named pipe", "os.mkfifo(sys.argv[1] + '/new')"),
    ("regular file by mknod", "os.mknod(sys.argv[1] + '/new', 0o100600)"),
];

/// A directory with something to change in it.
fn furnished(directory: &Path) -> PathBuf {
    fs::create_dir_all(directory.join("empty")).unwrap();
    fs::write(directory.join("file"), "content").unwrap();
    directory.to_owned()
}

/// Every name below a directory with its kind and its content.
fn contents(directory: &Path) -> BTreeMap<PathBuf, String> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let kind = entry.file_type().unwrap();
            let content =
                if kind.is_file() { fs::read_to_string(entry.path()).unwrap() } else { String::new() };
            (entry.path(), format!("{kind:?} {content}"))
        })
        .collect()
}

#[test]
fn p1_everything_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    furnished(directory.path());
    let file = directory.path().join("file");
    assert_eq!(succeed(request(["cat".as_ref(), file.as_os_str()]), &read_only()), "content");
    assert_eq!(
        succeed(request(["ls".as_ref(), directory.path().as_os_str()]), &read_only()),
        "empty\nfile\n"
    );
}

#[test]
fn p1_nothing_outside_the_roots_can_be_changed() {
    let Some(python) = python() else { return };
    let workspace = tempfile::tempdir().unwrap();
    let confined = [sandbox(&READ_ONLY, workspace.path()), sandbox(&workspace_write(), workspace.path())];
    for (name, change) in CHANGES {
        let free = tempfile::tempdir().unwrap();
        let before = contents(&furnished(free.path()));
        let path = free.path().to_str().unwrap();
        assert_eq!(
            result(act(&python, change, &[path]), &unrestricted()),
            "done",
            "{name}, without the sandbox"
        );
        assert_ne!(contents(free.path()), before, "{name}, without the sandbox");

        for confined in &confined {
            let outside = tempfile::tempdir().unwrap();
            let before = contents(&furnished(outside.path()));
            let path = outside.path().to_str().unwrap();
            assert_eq!(result(act(&python, change, &[path]), confined), "EACCES", "{name}");
            assert_eq!(contents(outside.path()), before, "{name}");
        }
    }
}

#[test]
fn p1_everything_below_a_root_can_be_changed() {
    let Some(python) = python() else { return };
    for (name, change) in CHANGES {
        let workspace = tempfile::tempdir().unwrap();
        let deep = furnished(&workspace.path().join("deep/er"));
        let before = contents(&deep);
        let confined = sandbox(&workspace_write(), workspace.path());
        assert_eq!(result(act(&python, change, &[deep.to_str().unwrap()]), &confined), "done", "{name}");
        assert_ne!(contents(&deep), before, "{name}");
    }
}

#[test]
fn p1_nothing_moves_out_of_a_root_or_into_it() {
    let Some(python) = python() else { return };
    // Landlock calls a move between trees with different rights a move between devices.
    let moves = [
        ("os.rename(sys.argv[1] + '/file', sys.argv[2] + '/new')", ["EACCES", "EXDEV"]),
        ("os.rename(sys.argv[2] + '/file', sys.argv[1] + '/new')", ["EACCES", "EXDEV"]),
        ("os.link(sys.argv[1] + '/file', sys.argv[2] + '/new')", ["EACCES", "EXDEV"]),
        ("os.link(sys.argv[2] + '/file', sys.argv[1] + '/new')", ["EACCES", "EXDEV"]),
    ];
    for (change, refusals) in moves {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [root, outside] = directories.each_ref().map(|directory| furnished(directory.path()));
        let words = [root.to_str().unwrap(), outside.to_str().unwrap()];
        let before = [contents(&root), contents(&outside)];
        let refused = result(act(&python, change, &words), &sandbox(&workspace_write(), &root));
        assert!(refusals.contains(&refused.as_str()), "{change}: {refused}");
        assert_eq!([contents(&root), contents(&outside)], before, "{change}");
        assert_eq!(
            result(act(&python, change, &words), &unrestricted()),
            "done",
            "{change}, without the sandbox"
        );
    }
}

#[test]
fn p1_a_link_in_a_root_leads_nowhere_else() {
    let Some(python) = python() else { return };
    let [workspace, outside] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let before = contents(&furnished(outside.path()));
    let link = workspace.path().join("link");
    std::os::unix::fs::symlink(outside.path(), &link).unwrap();
    let confined = sandbox(&workspace_write(), workspace.path());
    for (name, change) in CHANGES {
        let refused = result(act(&python, change, &[link.to_str().unwrap()]), &confined);
        assert_eq!(refused, "EACCES", "{name}");
    }
    assert_eq!(contents(outside.path()), before);
}

#[test]
fn p9_the_commands_own_directory_widens_nothing() {
    let Some(python) = python() else { return };
    let [workspace, elsewhere] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let before = contents(&furnished(elsewhere.path()));
    let mut write = act(&python, CHANGES[0].1, &["."]);
    write.cwd = Some(elsewhere.path().to_owned());
    assert_eq!(result(write, &sandbox(&workspace_write(), workspace.path())), "EACCES");
    assert_eq!(contents(elsewhere.path()), before);

    let mut write = act(&python, CHANGES[0].1, &["."]);
    write.cwd = Some(elsewhere.path().to_owned());
    assert_eq!(result(write, &sandbox(&workspace_write(), elsewhere.path())), "done");
}

#[test]
fn p1_the_usual_devices_can_be_written() {
    let Some(python) = python() else { return };
    let write = "os.write(os.open(sys.argv[1], int(sys.argv[2])), b'text')";
    for flags in
        [libc::O_WRONLY, libc::O_RDWR, libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT | libc::O_TRUNC]
    {
        for (device, expected) in [("/dev/null", "done"), ("/dev/zero", "done"), ("/dev/full", "ENOSPC")] {
            let write = || act(&python, write, &[device, &flags.to_string()]);
            assert_eq!(result(write(), &unrestricted()), expected, "{device}, without the sandbox");
            assert_eq!(result(write(), &read_only()), expected, "{device}");
        }
    }
    assert_eq!(
        succeed(shell("echo lost > /dev/null && echo lost >> /dev/null && echo kept"), &read_only()),
        "kept\n"
    );
    assert_eq!(succeed(shell("echo out > /dev/stdout; echo err > /dev/stderr"), &read_only()), "out\n");
}

#[test]
fn p1_other_names_of_a_file_outside_open_no_way() {
    let Some(python) = python() else { return };
    let outside = tempfile::tempdir().unwrap();
    furnished(outside.path());
    let file = outside.path().join("file");
    let again = "os.open(f'/proc/self/fd/{os.open(sys.argv[1], os.O_RDONLY)}', os.O_WRONLY)";
    let root = "os.open('/proc/self/root' + sys.argv[1], os.O_WRONLY)";
    for change in [again, root] {
        let change = || act(&python, change, &[file.to_str().unwrap()]);
        assert_eq!(result(change(), &unrestricted()), "done");
        assert_eq!(result(change(), &read_only()), "EACCES");
    }
}
