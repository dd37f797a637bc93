//! Patches on real directories.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::{Bounds, apply, parse, plan};

mod applying;
mod parsing;

fn bounds(root: &Path) -> Bounds {
    Bounds { base: root.into(), roots: vec![root.into()], protected: Vec::new(), pinned: Vec::new() }
}

fn patch_in(bounds: &Bounds, text: &str) -> Result<String, String> {
    let patch = parse::parse(text).map_err(|error| error.to_string())?;
    let plan = plan(&patch, bounds).map_err(|error| error.to_string())?;
    apply(plan).map(|summary| summary.to_string()).map_err(|error| error.to_string())
}

fn patch(root: &Path, body: &str) -> Result<String, String> {
    patch_in(&bounds(root), &format!("*** Begin Patch\n{body}\n*** End Patch"))
}

/// Everything below a directory: path, mode, content or the target of a link.
fn tree(root: &Path) -> Vec<(String, u32, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in directory.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let status = path.symlink_metadata().unwrap();
            let content = if status.is_dir() {
                waiting.push(path.clone());
                String::new()
            } else if status.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else {
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
            };
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.push((name, status.permissions().mode(), content));
        }
    }
    found.sort();
    found
}

fn scene(files: &[(&str, &str)]) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    (directory, root)
}

#[test]
fn files_come_to_be_change_move_and_go_in_one_patch() {
    let (_directory, root) = scene(&[("a", "1\n2\n3\n"), ("b/c", "x\ny\n"), ("d", "gone\n")]);
    fs::set_permissions(root.join("b/c"), fs::Permissions::from_mode(0o751)).unwrap();
    let said = patch(
        &root,
        "*** Add File: n/e/w\n+one\n+\n+three\n*** Update File: a\n@@\n 1\n-2\n+zwei\n 3\n*** Update File: b/c\n\
         *** Move to: m/d\n@@\n x\n-y\n+z\n*** Delete File: d",
    );
    assert_eq!(said.unwrap(), "Success. Updated the following files:\nA n/e/w\nM a\nM m/d\nD d\n");
    assert_eq!(fs::read_to_string(root.join("n/e/w")).unwrap(), "one\n\nthree\n");
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "1\nzwei\n3\n");
    assert_eq!(fs::read_to_string(root.join("m/d")).unwrap(), "x\nz\n");
    assert_eq!(root.join("m/d").metadata().unwrap().permissions().mode() & 0o777, 0o751);
    // Nothing is left beside them.
    let names: Vec<_> = tree(&root).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["a", "b", "m", "m/d", "n", "n/e", "n/e/w"]);
}

#[test]
fn a_patch_that_fails_anywhere_changes_nothing() {
    let cases = [
        ("*** Update File: b\n@@\n-nowhere\n+x", "hunk 1 of 1"),
        ("*** Delete File: missing", "no such file to delete"),
        ("*** Update File: missing\n@@\n-a\n+b", "no such file to update"),
        ("*** Add File: b\n+x", "exists already"),
        ("*** Update File: b\n*** Move to: a", "exists already"),
        ("*** Delete File: directory", "a directory"),
        ("*** Add File: b/below\n+x", "is no directory"),
    ];
    for (second, expected) in cases {
        let (_directory, root) = scene(&[("a", "1\n"), ("b", "2\n"), ("directory/c", "3\n")]);
        let before = tree(&root);
        let said =
            patch(&root, &format!("*** Update File: a\n@@\n-1\n+eins\n*** Add File: n/w\n+x\n{second}"));
        let error = said.unwrap_err();
        assert!(error.contains(expected), "{second}: {error}");
        assert_eq!(tree(&root), before, "{second}");
    }
}

#[test]
fn what_was_done_is_taken_back_when_a_later_file_fails() {
    // Both are possible alone; together, the directory is in the way of the file.
    let (_directory, root) = scene(&[("a", "1\n"), ("d", "4\n")]);
    let before = tree(&root);
    let error = patch(
        &root,
        "*** Update File: a\n@@\n-1\n+eins\n*** Delete File: d\n*** Add File: x\n+file\n*** Add File: x/y\n+below",
    )
    .unwrap_err();
    assert!(error.contains("nothing was changed"), "{error}");
    assert_eq!(tree(&root), before);
}

#[test]
fn a_file_that_changed_since_it_was_read_stays_as_it_is() {
    let (_directory, root) = scene(&[("a", "1\n"), ("b", "2\n")]);
    let text =
        "*** Begin Patch\n*** Update File: a\n@@\n-1\n+x\n*** Update File: b\n@@\n-2\n+y\n*** End Patch";
    let patch = parse::parse(text).unwrap();
    for change in [&(|| fs::write(root.join("b"), "other\n").unwrap()) as &dyn Fn(), &|| {
        fs::remove_file(root.join("b")).unwrap()
    }] {
        fs::write(root.join("b"), "2\n").unwrap();
        let plan = plan(&patch, &bounds(&root)).unwrap();
        change();
        let before = tree(&root);
        let error = apply(plan).unwrap_err().to_string();
        assert!(error.contains("was changed by somebody else"), "{error}");
        assert_eq!(tree(&root), before);
    }
}

#[test]
fn no_path_leads_out_of_the_roots() {
    let (_outside, elsewhere) = scene(&[("secret", "s\n")]);
    let (_directory, root) = scene(&[("a", "1\n"), ("kept/x", "k\n")]);
    symlink(&elsewhere, root.join("link")).unwrap();
    symlink(elsewhere.join("secret"), root.join("file")).unwrap();
    symlink("a", root.join("inner")).unwrap();
    symlink(elsewhere.join("new"), root.join("dangling")).unwrap();
    let mut bounds = bounds(&root);
    bounds.protected = vec![root.join("kept"), root.join("absent")];
    bounds.pinned = vec![root.join("a")];
    let absolute = elsewhere.join("secret").display().to_string();
    let up = format!("link/../../{}/secret", elsewhere.file_name().unwrap().to_str().unwrap());
    let before = (tree(&root), tree(&elsewhere));
    let cases = [
        ("../x", "outside of the writable roots"),
        ("b/../../x", "outside of the writable roots"),
        (&absolute, "outside of the writable roots"),
        ("/etc/passwd", "outside of the writable roots"),
        (&up, "outside of the writable roots"),
        ("link/new", "is a symbolic link"),
        ("link/secret", "is a symbolic link"),
        ("file", "is a symbolic link"),
        ("inner", "is a symbolic link"),
        ("dangling", "is a symbolic link"),
        ("kept/x", "is protected"),
        ("kept", "is protected"),
        ("absent/deep/x", "is protected"),
        ("sub/../absent", "is protected"),
        ("a", "is protected"),
        (".", "is a directory"),
        ("", "the path is missing"),
        ("x\0y", "NUL"),
    ];
    for (path, expected) in cases {
        let change = |text: String| patch_in(&bounds, &format!("*** Begin Patch\n{text}\n*** End Patch"));
        for text in [
            format!("*** Add File: {path}\n+x"),
            format!("*** Delete File: {path}"),
            format!("*** Update File: {path}\n@@\n-s\n+x"),
            format!("*** Update File: {path}\n*** Move to: n"),
            format!("*** Add File: m\n+1\n*** Update File: m\n*** Move to: {path}"),
        ] {
            let error = change(text.clone()).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
    assert_eq!((tree(&root), tree(&elsewhere)), before);
}

#[test]
fn other_kinds_of_files_are_refused_without_waiting() {
    let (_directory, root) = scene(&[]);
    nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = patch(&root, "*** Update File: fifo\n@@\n-a\n+b").unwrap_err();
    assert!(error.contains("a FIFO"), "{error}");
}

#[test]
fn owner_and_links_of_other_names_are_as_a_rename_leaves_them() {
    let (_directory, root) = scene(&[("a", "1\n")]);
    fs::hard_link(root.join("a"), root.join("b")).unwrap();
    let inode = root.join("a").metadata().unwrap().ino();
    patch(&root, "*** Update File: a\n@@\n-1\n+2").unwrap();
    // The other name keeps what it had: a hard link out of the root is no way to write there.
    assert_eq!(fs::read_to_string(root.join("b")).unwrap(), "1\n");
    assert_eq!(root.join("b").metadata().unwrap().ino(), inode);
}

proptest! {
    #[test]
    fn any_difference_written_as_a_patch_gives_the_other_file(
        old in prop::collection::vec("[ab{} ]{0,3}", 1..12),
        edits in prop::collection::vec((0_usize..12, prop::option::of("[cd ]{0,3}")), 0..6),
        crlf in any::<bool>(), last_ends in any::<bool>(),
    ) {
        let ending = if crlf { "\r\n" } else { "\n" };
        let mut lines: Vec<String> = Vec::new();
        let mut expected: Vec<String> = Vec::new();
        for (index, line) in old.iter().enumerate() {
            match edits.iter().find(|(at, _)| *at == index) {
                Some((_, Some(new))) => {
                    lines.extend([format!("-{line}"), format!("+{new}")]);
                    expected.push(new.clone());
                }
                Some((_, None)) => lines.push(format!("-{line}")),
                None => {
                    lines.push(format!(" {line}"));
                    expected.push(line.clone());
                }
            }
        }
        // An empty last line without an end is none.
        let last_ends = last_ends || old.last().is_some_and(String::is_empty);
        let mut text = old.join(ending);
        if last_ends {
            text.push_str(ending);
        }
        let (_directory, root) = scene(&[("f", &text)]);
        patch(&root, &format!("*** Update File: f\n@@\n{}", lines.join("\n"))).unwrap();
        let result = fs::read_to_string(root.join("f")).unwrap();
        let got: Vec<&str> = result.lines().collect();
        prop_assert_eq!(&got, &expected.iter().map(String::as_str).collect::<Vec<_>>());
        if last_ends && !expected.is_empty() {
            prop_assert!(result.ends_with(ending));
        }
        // Every end that is left is of the file's own kind, and a file without a change is the same byte by byte. A file of
        // one line without an end says nothing of a kind.
        if crlf && old.len() > 1 {
            prop_assert_eq!(result.matches('\n').count(), result.matches("\r\n").count());
        }
        if edits.iter().all(|(at, _)| *at >= old.len()) {
            prop_assert_eq!(result, text);
        }
    }

    #[test]
    fn no_text_crashes_the_reader_and_what_it_reads_is_applied_wholly_or_not_at_all(
        lines in prop::collection::vec(
            prop_oneof![
                Just("*** Add File: n".to_owned()), Just("*** Update File: f".to_owned()),
                Just("*** Delete File: f".to_owned()), Just("*** Move to: g/h".to_owned()),
                Just("@@".to_owned()), Just("@@ a".to_owned()), Just("*** End of File".to_owned()),
                "[ +-][ab]?", ".{0,6}",
            ],
            0..14,
        ),
    ) {
        let (_directory, root) = scene(&[("f", "a\nb\na\n")]);
        let before = tree(&root);
        if patch(&root, &lines.join("\n")).is_err() {
            prop_assert_eq!(tree(&root), before);
        } else {
            prop_assert!(tree(&root).iter().all(|(name, ..)| !name.contains(".codex-patch")));
        }
    }
}
