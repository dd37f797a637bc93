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
