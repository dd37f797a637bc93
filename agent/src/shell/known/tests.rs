//! What is known to be harmless, and what must not be.

use proptest::prelude::*;

use super::is_harmless;

fn script(text: &str) -> bool {
    is_harmless(&["bash", "-c", text].map(str::to_owned))
}

fn words(words: &[&str]) -> bool {
    is_harmless(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
}

/// Each of these does more than read, may do more, or can't be told.
const HOSTILE: [&str; 140] = [
    "",
    "rm x",
    "ls; rm x",
    "ls && rm x",
    "ls || rm x",
    "ls | rm x",
    "ls & rm x",
    "ls &",
    "ls\nrm x",
    "ls $(rm x)",
    "ls `rm x`",
    "ls \"$(rm x)\"",
    "ls \"`rm x`\"",
    "ls $x",
    "ls ${x}",
    "ls \"$x\"",
    "ls $((x[$(rm y)]))",
    "ls > f",
    "ls >> f",
    "ls >| f",
    "ls > /dev/null > f",
    "ls 2> f",
    "ls &> f",
    "ls < f",
    "ls <(rm x)",
    "ls <<< x",
    "cat <<E\n$(rm x)\nE",
    "cat <<'E'\nx\nE",
    "ls *",
    "ls ?",
    "ls [a]",
    "ls ~",
    "ls {a,b}",
    "ls \\; rm x",
    "l\\s",
    "(ls)",
    "{ ls; }",
    "! ls",
    "if ls; then ls; fi",
    "while true; do ls; done",
    "for x in a; do ls; done",
    "case a in a) ls;; esac",
    "ls() { rm x; }; ls",
    "function ls { rm x; }; ls",
    "alias ls=rm",
    "alias ls=rm; ls",
    "unalias ls",
    "export PATH=.; ls",
    "PATH=. ls",
    "X=1",
    "LD_PRELOAD=x ls",
    "eval ls",
    "exec ls",
    "command ls",
    "builtin cd x",
    "source ls",
    ". ls",
    "trap 'rm x' EXIT",
    "env ls",
    "env -S 'rm x'",
    "xargs ls",
    "ls | xargs rm",
    "nice ls",
    "time ls",
    "sudo ls",
    "sh -c ls",
    "bash -c 'rm x'",
    "bash ls",
    "python3 -c 1",
    "perl -e 1",
    "awk 'BEGIN { system(\"rm x\") }'",
    "find . -exec rm x ';'",
    "find . -execdir rm x ';'",
    "find . -ok rm x ';'",
    "find . -delete",
    "find . -fprint f",
    "find . -fprintf f x",
    "find . -fls f",
    "find . -files0-from f",
    "sed -i s/a/b/ f",
    "sed -n w f",
    "sed -n 1w f",
    "sed -n '1e rm x' f",
    "sed -n 's/a/b/e' f",
    "sed s/a/b/ f",
    "sed -n 1p -i f",
    "sed -n 1p f -i",
    "sed --expression=1p f",
    "git -c core.pager=x status",
    "git -C x status",
    "git --exec-path=. status",
    "git --git-dir=x status",
    "git --paginate log",
    "git log --output=f",
    "git diff --output f",
    "git diff --ext-diff",
    "git diff -O f",
    "git log --show-signature",
    "git show --textconv",
    "git branch x",
    "git branch -D x",
    "git branch -m x",
    "git branch -- x",
    "git remote add x y",
    "git remote update",
    "git push",
    "git fetch",
    "git checkout .",
    "git stash",
    "git",
    "rg --pre rm x",
    "rg --pre=rm x",
    "rg -z x",
    "rg -nz x",
    "rg --search-zip x",
    "rg --hostname-bin rm x",
    "uniq a b",
    "uniq -c a b",
    "uniq - f",
    "uniq -c - f",
    "uniq -- - f",
    "sort --compress-program=x f",
    "sort --output=f",
    "tree -o f",
    "xxd a b",
    "date -s 0",
    "file -C -m f",
    "xargs",
    "awk 1 f",
    "find . -fprint0 f",
    "find . -okdir rm x ';'",
    "rg --pre-glob x --pre rm x",
    "base64 -o f",
    "sort -o f",
    "tee f",
    "./ls",
    "/tmp/ls",
    "bin/ls",
    "/usr/bin/../tmp/ls",
    "test -v 'a[$(rm x)]'",
];

const HARMLESS: [&str; 55] = [
    "ls",
    "ls -la src",
    "/bin/ls",
    "/usr/bin/wc -l x",
    "cat a b",
    "cat 'a b' \"c d\"",
    "head -n 5 x",
    "tail -n +3 x",
    "wc -l x",
    "grep -rn 'fn main' src",
    "grep -E \"a|b\" x",
    "pwd",
    "whoami",
    "id -u",
    "uname -a",
    "echo hello",
    "echo 'a; rm x'",
    "true",
    "false",
    "cd src && ls",
    "cd src; cat a | head -n 3",
    "ls || true",
    "ls\ncat a\n",
    "cut -d: -f1 x",
    "tr a b",
    "seq 3",
    "nl x",
    "rev x",
    "tac x",
    "paste a b",
    "stat x",
    "which cargo",
    "basename a/b",
    "dirname a/b",
    "realpath x",
    "du -sh x",
    "uniq -c x",
    "uniq -",
    "cat x | uniq -d",
    "base64 -d x",
    "find . -name x -type f",
    "find src -maxdepth 2 -not -path 'x/y' -print",
    "rg -n x src",
    "rg --files",
    "sed -n 3p x",
    "sed -n 1,20p x",
    "sed -n '5,$p' x",
    "git status",
    "git status --short",
    "git log --oneline -5",
    "git diff --stat",
    "git diff HEAD -- src",
    "git show HEAD",
    "git branch --show-current",
    "git rev-parse HEAD",
];

#[test]
fn what_may_do_more_than_read_is_not_harmless() {
    for text in HOSTILE {
        assert!(!script(text), "{text}");
    }
    for list in [
        &["rm", "x"][..],
        &["sh", "-c", "rm x"],
        &["bash", "-lc", "ls"],
        &["bash", "-c", "ls", "x"],
        &["bash", "ls"],
        &["./bash", "-c", "ls"],
        &["workspace/bash", "-c", "ls"],
        &["python3", "-c", "ls"],
        &["ls\u{202e}"],
        &["cat", "a\u{1b}[2K"],
        &["cat", "a\rb"],
        &["bash", "-c", "cat 'a\u{200b}b'"],
        &["find", ".", "-exec", "rm", "{}", "+"],
        &[""],
        &[],
    ] {
        assert!(!words(list), "{list:?}");
    }
}

#[test]
fn what_only_reads_is() {
    for text in HARMLESS {
        assert!(script(text), "{text}");
    }
    assert!(words(&["ls", "a b;c"]) && words(&["expr", "1", "+", "1"]) && words(&["sh", "-c", "ls"]));
}

proptest! {
    /// Outside of quotes, nothing that means something to a shell is ever let through.
    #[test]
    fn nothing_unquoted_gets_through(before in "[a-z /.]{0,8}", sign in "[$`<>(){}*?~\\[\\]\\\\!#&]", after in "[a-z ]{0,8}") {
        let text = format!("ls {before}{sign}{after}");
        prop_assert!(!script(&text));
    }

    /// Whatever is let through begins with a known program, in each of its parts.
    #[test]
    fn every_part_begins_with_a_known_program(text in "(ls|cat|rm|git|echo)( [a-z';|&\n]{0,6}){0,4}") {
        if script(&text) {
            let outside: String = text.split('\'').step_by(2).collect();
            prop_assert!(!outside.split([';', '|', '&', '\n']).any(|part| part.trim_start().starts_with("rm")), "{}", text);
        }
    }

    #[test]
    fn no_command_crashes_it(list in prop::collection::vec(".*", 0..4)) {
        prop_assert!(!is_harmless(&list) || !list.is_empty());
    }
}
