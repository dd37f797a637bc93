//! Rules, and the commands that fall under them.

use super::Rules;

fn list(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn script(text: &str) -> Vec<String> {
    list(&["bash", "-c", text])
}

fn rules() -> Rules {
    Rules {
        allow: vec![list(&["cargo", "test"]), list(&["git", "push"])],
        prompt: vec![list(&["npm"])],
        forbid: vec![list(&["git", "push"]), list(&["rm"])],
        unsandboxed: vec![list(&["git", "fetch"])],
    }
}

#[test]
fn what_is_forbidden_stays_so_in_every_part_of_a_command() {
    for command in [
        list(&["git", "push", "origin"]),
        list(&["/usr/bin/git", "push"]),
        list(&["/bin/sh", "-lc", "ls | rm x"]),
        list(&["bash", "-euo", "pipefail", "-c", "rm x"]),
        list(&["bash", "-c", "--", "rm x"]),
        list(&["env", "-i", "A=1", "rm", "x"]),
        list(&["nice", "-n", "5", "rm", "x"]),
        list(&["timeout", "5", "bash", "-c", "rm x"]),
        list(&["find", ".", "-exec", "rm", "{}", ";"]),
        list(&["xargs", "-n", "1", "rm"]),
    ] {
        assert!(rules().forbids(&command).is_some_and(|why| why.contains("begin with")), "{command:?}");
    }
    for text in [
        "cd x && git push",
        "sudo nice 'rm' x",
        "bash -c 'git push'",
        "bash -c \"bash -c 'git push'\"",
        "(git push)",
        "{ rm x; }",
        "if true; then rm x; fi",
        "while git push; do :; done",
        "for f in a b; do rm \"$f\"; done",
        "echo \"$(git push)\"",
        "echo `git push`",
        "cat <(rm x)",
        "X=1 git push > f 2>&1",
        "> f git push",
        "cat <<E\n$(rm x)\nE",
        "ls | xargs rm -f",
        "eval 'git push'",
        "eval git push",
        "g''it pu\\sh",
        "git \\\n push",
        "time -p rm x",
        "exec rm x",
        "! rm x",
        "true & rm x",
        "busybox rm x",
        "x=$(rm y)",
    ] {
        assert!(rules().forbids(&script(text)).is_some_and(|why| why.contains("begin with")), "{text}");
    }
}

#[test]
fn what_may_be_forbidden_is_too() {
    for text in [
        "$x push",
        "git $x",
        "git \"$x\" push",
        "$(echo git) push",
        "gi? push",
        "{git,push}",
        "eval \"$x\"",
        "bash -c \"$x\"",
        "echo 'git push' | sh",
        "sh <<E\ngit push\nE",
        "f() { git push; }; f",
        "case a in a) git push;; esac",
        "echo $'a'",
    ] {
        assert!(rules().forbids(&script(text)).is_some_and(|why| why.contains("nobody can say")), "{text}");
    }
}

#[test]
fn what_has_nothing_to_do_with_it_is_not() {
    for text in [
        "git pull",
        "git",
        "echo git push",
        "echo rm; git status",
        "pushgit rm",
        "git status > f",
        "for f in *; do echo \"$f\"; done",
        "echo \"$x\" && cargo $y",
        "cat <<'E'\nrm x\nE",
        "python3 x.py && ./run.sh",
        "bash x.sh",
        "# rm x",
        "make -j$(nproc)",
    ] {
        assert_eq!(rules().forbids(&script(text)), None, "{text}");
    }
    assert_eq!(Rules::default().forbids(&script("$x")), None);
}

#[test]
fn the_strictest_counts_and_what_lets_pass_has_to_be_sure() {
    let rules = rules();
    assert!(rules.prompts(&script("ls && npm install")).is_some());
    assert!(rules.prompts(&script("ls")).is_none());
    for text in ["cargo test", "cargo test --all | tail -n 3", "cd x && cargo test; ls", "git push"] {
        assert!(rules.allows(&script(text)), "{text}");
    }
    for text in [
        "cargo",
        "cargo build",
        "cargo test && rm x",
        "cargo test > f",
        "cargo test $x",
        "cargo test $(rm x)",
        "X=1 cargo test",
        "./cargo test",
        "cargo\ttest\u{202e}",
        "env cargo test",
        "cargo testing",
        "",
    ] {
        assert!(!rules.allows(&script(text)), "{text}");
    }
    assert!(rules.frees(&script("git fetch origin")) && rules.frees(&list(&["git", "fetch"])));
    for text in
        ["git fetch; ls", "git fetch && git fetch $x", "git push", "cargo test", "ls", "/tmp/git fetch", ""]
    {
        assert!(!rules.frees(&script(text)), "{text}");
    }
    assert!(!rules.frees(&list(&["./bash", "-c", "git fetch"])));
    assert!(!rules.frees(&list(&["bash", "-lc", "git fetch"])));
    // What is forbidden is not let through by what allows it.
    assert!(rules.forbids(&script("git push")).is_some() && rules.allows(&script("git push")));
}
