//! What is found in scripts, and what is not understood.

use proptest::prelude::*;

use super::{Dialect, Word, commands};
use crate::shell::plain;

/// Each command with its words, unknown ones as `?`.
fn read(script: &str) -> Option<Vec<String>> {
    let show = |word: &Word| word.known().map_or_else(|| "?".to_owned(), str::to_owned);
    commands(script, Dialect::WithTests)
        .map(|found| found.iter().map(|words| words.iter().map(show).collect::<Vec<_>>().join("|")).collect())
}

#[test]
fn every_command_is_found_wherever_it_stands() {
    let cases: [(&str, &[&str]); 40] = [
        ("git push", &["git|push"]),
        ("a && b || c; d | e & f", &["a", "b", "c", "d", "e", "f"]),
        ("a |& b\n\nc", &["a", "b", "c"]),
        ("(a; b) && { c; }", &["a", "b", "c"]),
        ("if a; then b; elif c; then d; else e; fi", &["a", "b", "c", "d", "e"]),
        ("while ! a; do b; done", &["a", "b"]),
        ("for x in 1 $(a) *; do b \"$x\"; done", &["a", "b|?"]),
        ("echo \"$(git push)\"", &["git|push", "echo|?"]),
        ("echo `git push` x", &["git|push", "echo|?|x"]),
        ("echo \"x`git push`y\"", &["git|push", "echo|?"]),
        ("a $(b $(c \"$(d)\"))", &["d", "c|?", "b|?", "a|?"]),
        ("x=1 y+=2 a", &["a"]),
        ("x=$(a) b", &["a", "b"]),
        ("x=`a`", &["a"]),
        ("\"x=1\" a", &["x=1|a"]),
        ("a > f 2>&1 < g >> h >| i <> j", &["a"]),
        ("> f a b", &["a|b"]),
        ("2>/dev/null a", &["a"]),
        ("a &> f", &["a"]),
        ("a &>> f; b", &["a", "b"]),
        ("a <(b) >(c)", &["b", "c", "a"]),
        ("a <<< b c", &["a|c"]),
        ("cat <<'E' && b\n$(a)\nE\nc", &["cat", "b", "c"]),
        ("cat <<E\n$(a) \\$(b)\nE\nc", &["cat", "a", "c"]),
        ("cat <<-E\n\ta\n\tE\nb", &["cat", "b"]),
        ("cat <<A <<B\nx\nA\ny\nB\nz", &["cat", "z"]),
        ("a # git push\nb", &["a", "b"]),
        ("a#b", &["a#b"]),
        ("git \\\n  push", &["git|push"]),
        ("g\\\nit push", &["git|push"]),
        ("g'i't \"pu\"sh \\x", &["git|push|x"]),
        ("$x push", &["?|push"]),
        ("a ${x} ${x:-y} ${#x}", &["a|?|?|?"]),
        ("gi? p*h [ab]", &["?|?|?"]),
        ("{git,push}", &["?"]),
        ("~/git push", &["?|push"]),
        ("=git push", &["?|push"]),
        ("[ -f x ] && [[ a == b && -n $(c) ]] || d", &["[|-f|x|]", "c", "d"]),
        ("time -p a", &["time|-p|a"]),
        ("", &[]),
    ];
    for (script, expected) in cases {
        let expected: Vec<String> = expected.iter().map(|words| (*words).to_owned()).collect();
        assert_eq!(read(script), Some(expected), "{script}");
    }
}

#[test]
fn what_shells_read_differently_or_nobody_reads_here_is_not_understood() {
    for script in [
        "case a in b) c;; esac",
        "f() { a; }",
        "function f { a; }",
        "a=(b c) || d=(",
        "((a))",
        "echo $((1+1))",
        "select x in a; do b; done",
        "coproc a",
        "echo $'a\\'b'",
        "echo $\"a\"",
        "a &> f b",
        "'a",
        "\"a",
        "a )",
        "( a",
        "`a",
        "a `b \\`c\\``",
        "a $(cat <<E\nE\n)",
        "cat <<E\nx",
        "cat <<E 'a\nb'\nE",
        "cat <<E $(a\nb)\nE",
        "cat <<$x\n$x",
        "for ((;;)); do a; done",
        "for x do a; done",
        "a ;; b",
        "a ${x:-$(b)}",
        "a >",
        "[[ a",
        "[[ a\nrm x ]]",
        "[[ 'a[$(b)]' -eq 1 ]]",
        "x='$(a)' b",
        "x='`a`'",
        "PS4='$(a)'; set -x",
        "echo ${x@P}",
        "echo ${x[y]}",
        "echo ${x:y}",
        "echo ${ a}",
        "echo ${|a}",
        "foreach x (a) b; end",
    ] {
        assert_eq!(read(script), None, "{script}");
    }
    // To a shell that has no such words they are a program's, and commands after it.
    for script in ["[[ a && rm x ]]", "[[ a\nrm x ]]", "[[ a | rm x ]]", "[[ a ]]"] {
        assert_eq!(commands(script, Dialect::Plain), None, "{script}");
    }
    assert!(commands("[ a ] && b", Dialect::Plain).is_some());
    let parameters =
        "echo ${x} ${x[0]} ${x[@]} ${#x[@]} ${!x} ${x:-y z} ${x%%.*} ${x/a/b} ${x:1:2} ${x^^} $? ${?}";
    assert_eq!(read(parameters).map(|found| found.len()), Some(1));
    let deep = format!("{}a{}", "$(".repeat(40), ")".repeat(40));
    assert_eq!(read(&deep), None);
}

proptest! {
    #[test]
    fn whatever_the_strict_reader_takes_is_read_the_same(script in "[a-c =;|&'\"\n(){}$<>#~*\\\\`!\\[\\]-]{0,24}") {
        if let Some(strict) = plain::simple_commands(&script) {
            let strict: Vec<Vec<Word>> =
                strict.into_iter().map(|words| words.into_iter().map(Word::Known).collect()).collect();
            prop_assert_eq!(commands(&script, Dialect::WithTests), Some(strict));
        }
    }

    #[test]
    fn no_script_crashes_it(script in ".*") {
        drop(commands(&script, Dialect::WithTests));
    }
}

#[test]
fn a_long_script_takes_no_longer_than_it_is_long() {
    // What takes the square of the text's length, or nests without bound, does not come back from this.
    for open in
        ["(", "$(", "{ ", "if a; then ", "`", "\"$(", "[[ ", "<(", "a <<E\n", "a ", "a;", "'", "\\\n", "${"]
    {
        drop(commands(&open.repeat(300_000), Dialect::WithTests));
    }
}
