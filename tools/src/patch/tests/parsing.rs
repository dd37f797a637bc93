//! The envelope.

use crate::patch::parse::{Change, Hunk, Line, ParseError, parse};

fn update(text: &str) -> Vec<Hunk> {
    let patch = parse(&format!("*** Begin Patch\n*** Update File: f\n{text}\n*** End Patch")).unwrap();
    match patch.changes.into_iter().next() {
        Some(Change::Update { hunks, .. }) => hunks,
        other => panic!("{other:?}"),
    }
}

#[test]
fn space_here_documents_and_carriage_returns_around_it_are_no_matter() {
    let inner = "*** Begin Patch\n*** Add File:  a b \n+x\n*** End Patch";
    let expected = parse(inner).unwrap();
    assert_eq!(expected.changes, [Change::Add { path: "a b".into(), lines: vec!["x".into()] }]);
    for text in [
        format!("\n\n  {inner}  \n\n"),
        format!("<<'EOF'\n{inner}\nEOF\n"),
        format!("apply_patch <<\"PATCH\"\n{inner}\nPATCH"),
        inner.replace('\n', "\r\n"),
        inner.replace("\n*** End", "\n\n*** End"),
    ] {
        assert_eq!(parse(&text).as_ref(), Ok(&expected), "{text:?}");
    }
}

#[test]
fn hunks_have_contexts_lines_and_an_end() {
    let hunks = update("@@ class A\n@@   def f\n x\n-y\n\n+z\n@@ -1,2 +3,4 @@ g\n+w\n*** End of File");
    assert_eq!(hunks.len(), 2);
    assert_eq!(hunks[0].contexts, ["class A", "  def f"]);
    let kept = |text: &str| Line::Keep(text.into());
    assert_eq!(hunks[0].lines, [kept("x"), Line::Remove("y".into()), kept(""), Line::Insert("z".into())]);
    assert_eq!((hunks[0].at, hunks[0].end_of_file), (3, false));
    assert_eq!((hunks[1].contexts.len(), hunks[1].end_of_file), (0, true));
    // The first hunk needs no mark.
    assert_eq!(update("-a\n+b")[0].lines.len(), 2);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let cases = [
        ("", "first line"),
        ("*** Begin Patch", "last line"),
        ("*** Begin Patch\n*** End Patch", "empty"),
        (
            "*** Begin Patch\n*** Frobnicate File: a\n*** End Patch",
            "line 2: `*** Frobnicate File: a` is not a valid hunk header",
        ),
        ("*** Begin Patch\n*** Add File:\n*** End Patch", "line 2: the path"),
        ("*** Begin Patch\n*** Add File: a\nx\n*** End Patch", "line 3: every line of an added file"),
        ("*** Begin Patch\n*** Update File: a\n*** End Patch", "line 2: the update of a has no hunk"),
        ("*** Begin Patch\n*** Update File: a\n@@\n*** End Patch", "line 3: the hunk has no line"),
        ("*** Begin Patch\n*** Update File: a\n@@\n-x\n?y\n*** End Patch", "line 5: every line of a hunk"),
    ];
    for (text, expected) in cases {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    assert_eq!(parse("diff --git a b"), Err(ParseError::NoBegin));
}

#[test]
fn blank_lines_are_looked_at_once() {
    // Were each of them followed to the end of all of them, this would not come back.
    let blank = "\n".repeat(400_000);
    let text = format!("*** Begin Patch\n*** Update File: a\n@@\n-x\n{blank}-y\n+z\n*** End Patch");
    let Change::Update { hunks, .. } = &parse(&text).unwrap().changes[0] else { panic!("no update") };
    assert_eq!(hunks[0].lines.len(), 400_003);
    let text =
        format!("*** Begin Patch\n*** Add File: a\n+x\n{blank}*** Delete File: b\n{blank}*** End Patch");
    assert_eq!(parse(&text).unwrap().changes.len(), 2);
}
