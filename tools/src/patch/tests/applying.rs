//! Where hunks go.

use std::fs;

use super::{patch, scene};

/// What becomes of a file.
fn become_of(old: &str, hunks: &str) -> Result<String, String> {
    let (_directory, root) = scene(&[("f", old)]);
    patch(&root, &format!("*** Update File: f\n{hunks}"))?;
    Ok(fs::read_to_string(root.join("f")).unwrap())
}

#[test]
fn hunks_go_where_their_lines_are() {
    let cases = [
        // Several hunks, and the second of two equal places by its context.
        ("f\nx\ng\nx\n", "@@ g\n-x\n+y", "f\nx\ng\ny\n"),
        ("a\nb\nc\nd\ne\n", "@@\n-a\n+A\n@@\n-e\n+E", "A\nb\nc\nd\nE\n"),
        ("c\n  m\n    x\nd\n  m\n    x\n", "@@ d\n@@   m\n-    x\n+    y", "c\n  m\n    x\nd\n  m\n    y\n"),
        // The line that `@@` names, once more.
        ("def f\n  a\n", "@@ def f\n def f\n-  a\n+  b", "def f\n  b\n"),
        // With less regard to space, what is kept is the file's.
        ("\tif x {  \n\t\ty\n", "@@\n if x {\n-y\n+\t\tz", "\tif x {  \n\t\tz\n"),
        (
            "say \u{201c}hi\u{201d} \u{2013} now\n1\n",
            "@@\n say \"hi\" - now\n-1\n+2",
            "say \u{201c}hi\u{201d} \u{2013} now\n2\n",
        ),
        // Exactly comes before nearly.
        (" x\nx\n", "@@\n-x\n+y", " x\ny\n"),
        // Only insertions: at the end, or after the context.
        ("a\n", "@@\n+b", "a\nb\n"),
        ("a\nc\n", "@@ a\n+b", "a\nb\nc\n"),
        // The end of the file.
        ("x\ny\nx\n", "@@\n-x\n+z\n*** End of File", "x\ny\nz\n"),
        ("a\n\nb\n", "@@\n-a\n+A\n\n@@\n-b\n+B", "A\n\nB\n"),
        // Line ends.
        ("a\r\nb\r\n", "@@\n a\n+n\n b", "a\r\nn\r\nb\r\n"),
        ("a\nb", "@@\n-a\n+A", "A\nb"),
        ("a\nb", "@@\n b\n+c", "a\nb\nc\n"),
        ("a\nb", "@@\n-b\n+c", "a\nc\n"),
        ("", "@@\n+a", "a\n"),
        ("a\r\nb", "@@\n b\n+c", "a\r\nb\r\nc\r\n"),
        // Of several kinds of ends, what is replaced has its own.
        ("a\r\nb\nc\r\n", "@@\n a\n-b\n+B\n+n\n c\n+d", "a\r\nB\nn\nc\r\nd\r\n"),
        // A byte order mark stays, seen or not, in whichever line comes first, unless it is taken away by its name.
        ("\u{feff}a\nb\n", "@@\n-a\n+A\n b", "\u{feff}A\nb\n"),
        ("\u{feff}a\nb\n", "@@\n-\u{feff}a\n+\u{feff}A\n b", "\u{feff}A\nb\n"),
        ("\u{feff}a\nb\n", "@@\n-\u{feff}a\n+A\n b", "A\nb\n"),
        ("\u{feff}a\nb\n", "@@\n+z\n a", "\u{feff}z\na\nb\n"),
        ("\u{feff}a\nb\n", "@@\n-a\n b", "\u{feff}b\n"),
        ("\u{feff}", "@@\n+a", "\u{feff}a\n"),
    ];
    for (old, hunks, expected) in cases {
        assert_eq!(become_of(old, hunks).as_deref(), Ok(expected), "{old:?} {hunks:?}");
    }
}

#[test]
fn a_hunk_without_a_place_says_which_and_what_comes_nearest() {
    let old = "fn a() {\n    one();\n    two();\n}\n";
    let cases = [
        (
            "@@\n fn a() {\n-    one();\n-    zwei();\n+    x();",
            "hunk 1 of 1 (line 3 of the patch): its lines are not in the file; the closest match begins at line 1, where 2 of 3 \
             lines agree; line 3 is `    two();`, where the patch has `    zwei();`",
        ),
        (
            "@@\n-}\n+]\n@@\n-    one();\n+    x();",
            "hunk 2 of 2 (line 6 of the patch): its lines are at line 2, before",
        ),
        ("@@ fn b() {\n-    one();", "no line after line 0 is `fn b() {`, which `@@` names"),
        ("@@\n-    drei();\n+    two();", "what it would make of them is there already"),
        ("@@\n-    one();\n*** End of File", "not at its end"),
        ("@@\n-    two();\n-}\n-more", "the file ends before line 5, where the patch has `more`"),
    ];
    for (hunks, expected) in cases {
        let error = become_of(old, hunks).unwrap_err();
        assert!(error.contains(expected), "{hunks:?}: {error}");
    }
}

#[test]
fn lines_that_are_no_text_are_kept() {
    let (_directory, root) = scene(&[]);
    fs::write(root.join("f"), b"\xff\xfe\na\n\x80").unwrap();
    patch(&root, "*** Update File: f\n@@\n-a\n+b").unwrap();
    assert_eq!(fs::read(root.join("f")).unwrap(), b"\xff\xfe\nb\n\x80");
}

/// What becomes of a file of bytes, with what is said of it, and the whole refusal where nothing does.
fn bytes_become(old: &[u8], hunks: &str) -> Result<(Vec<u8>, String), String> {
    let (_directory, root) = scene(&[]);
    fs::write(root.join("f"), old).unwrap();
    let outcome = patch(&root, &format!("*** Update File: f\n{hunks}"));
    let new = fs::read(root.join("f")).unwrap();
    assert!(outcome.is_ok() || new == old, "a refusal changed something");
    outcome.map(|said| (new, said))
}

#[test]
fn bytes_that_are_no_text_are_kept_or_removed_and_never_made_up() {
    let latin = b"caf\xe9 one\ntwo\n";
    let (new, said) = bytes_become(latin, "@@\n caf\u{fffd} one\n-two\n+zw\u{f6}lf").unwrap();
    assert_eq!(new, b"caf\xe9 one\nzw\xc3\xb6lf\n");
    assert!(said.ends_with("\nnote: f: what was put in is UTF-8, and not all of the file is\n"), "{said}");
    let (new, said) = bytes_become(latin, "@@\n-caf\u{fffd} one\n+coffee").unwrap();
    assert_eq!((&new[..], said.contains("note")), (&b"coffee\ntwo\n"[..], false));
    let why = bytes_become(latin, "@@\n-caf\u{fffd} one\n+caf\u{fffd} two").unwrap_err();
    assert!(why.contains("hunk 1 of 1 (line 3 of the patch): it would write U+FFFD"), "{why}");
    // In a text it is a sign like any other.
    let (new, said) = bytes_become("a \u{fffd}\n".as_bytes(), "@@\n-a \u{fffd}\n+b \u{fffd}").unwrap();
    assert_eq!((&new[..], said.contains("note")), ("b \u{fffd}\n".as_bytes(), false));
    for (old, expected) in [
        (&latin[..], "not all of the file is UTF-8"),
        (b"\xff\xfeo\0n\0e\0\n\0", "the file is UTF-16"),
        (b"one\rtwo\r", "end with a carriage return alone"),
    ] {
        let why = bytes_become(old, "@@\n-caf\u{e9} one\n+x").unwrap_err();
        assert!(why.contains("its lines are not in the file") && why.contains(expected), "{why}");
    }
    let why = bytes_become(b"one\n", "@@\n-other\n+x").unwrap_err();
    assert!(why.ends_with("its lines are not in the file"), "{why}");
}

#[test]
fn a_name_that_is_no_text_is_said_to_be_none_that_a_patch_can_have() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let (_directory, root) = scene(&[("lit\u{fffd}ral", "one\n")]);
    fs::write(root.join(OsStr::from_bytes(b"n\xe9")), "one\n").unwrap();
    fs::create_dir(root.join(OsStr::from_bytes(b"d\xe9"))).unwrap();
    let before = super::tree(&root);
    for body in [
        "*** Update File: n\u{fffd}\n@@\n-one\n+two",
        "*** Delete File: n\u{fffd}",
        "*** Add File: new\u{fffd}\n+x",
        "*** Add File: d\u{fffd}/new\n+x",
        "*** Update File: lit\u{fffd}ral\n*** Move to: d\u{fffd}/new\n",
    ] {
        let why = patch(&root, body).unwrap_err();
        assert!(why.contains("not UTF-8, and a patch can't name these"), "{body}: {why}");
    }
    assert_eq!(super::tree(&root), before);
    patch(&root, "*** Update File: lit\u{fffd}ral\n@@\n-one\n+two").unwrap();
    assert_eq!(fs::read_to_string(root.join("lit\u{fffd}ral")).unwrap(), "two\n");
}
