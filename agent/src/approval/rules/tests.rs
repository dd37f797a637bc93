//! Rules, and the commands that fall under them.

use super::{Rules, Trust};

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
        list(&["find", ".", "-exec", "env", "-u", "+", "rm", "x", ";"]),
        list(&["xargs", "-n", "1", "rm"]),
        list(&["find", ".", "-name", "x", "-ok", "sh", "-c", "rm x", ";"]),
        list(&["watch", "-n", "1", "rm x"]),
        list(&["watch", "rm", "x"]),
        list(&["flock", "f", "-c", "rm x"]),
        list(&["flock", "f", "--command=rm x"]),
        list(&["flock", "f", "rm", "x"]),
        list(&["su", "me", "-crm x"]),
        list(&["sg", "staff", "rm x"]),
        list(&["runuser", "-u", "me", "rm", "x"]),
        list(&["zsh-5.9", "-c", "rm x"]),
        list(&["mksh", "-c", "rm x"]),
        list(&["busybox", "hush", "-c", "rm x"]),
        list(&["/lib64/ld-linux-x86-64.so.2", "/bin/rm", "x"]),
        list(&["setarch", "-R", "nsenter", "-t", "1", "rm", "x"]),
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
        "trap 'rm x' EXIT",
        "builtin eval 'rm x'",
        "zsh -c 'repeat 3 rm x'",
        "zsh -c 'noglob rm x'",
        "[[ a && $(rm x) ]]",
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
        "alias l=rm; l x",
        "dash -c '[[ a\nrm x ]]'",
        "sh -c '[[ a && rm x ]]'",
        "fish -c 'rm x'",
        "tcsh -c 'rm x'",
        "pwsh -Command 'rm x'",
        "env -S 'rm x'",
        "env -iS'rm x'",
        "env --split-string='rm x'",
        "env 'BASH_FUNC_ls%%=() { rm x; }' bash -c ls",
        "echo x | parallel",
        "parallel ::: 'rm x'",
        "echo 'rm x' | at now",
        "echo 'rm x' | su",
        "echo 'rm x' | sudo -s",
        "echo 'rm x' | unshare -r",
        "echo 'rm x' | chroot /",
        "echo rm | xargs -I{} {} x",
        "echo rm | xargs -I % sh -c %",
        "echo x | xargs bash -c",
        "echo rm | xargs -rI % % x",
        "echo rm | xargs -0I% % x",
        "echo rm | xargs --repl=% % x",
        "echo rm | xargs --max-a 1 -I % % x",
        "echo rm | xargs --max-lines -I % % x",
        "echo rm | xargs -- nice",
        "echo rm x | xargs -n 2 nice -n 5",
        "echo rm x | xargs env A=1",
        "echo rm x | xargs timeout 5",
        "echo rm x | xargs env -u X",
        "echo rm x | xargs timeout -s KILL 5",
        "echo rm x | xargs timeout infinity",
        "echo rm x | xargs sudo -u root",
        "echo rm x | xargs flock f",
        "echo rm x | xargs gosu u",
        "echo rm x | xargs nice env -u X -C d timeout -s KILL 5",
        "echo rm x | xargs nice -n 5 taskset ff",
        "echo rm x | xargs bwrap --ro-bind / /",
        "echo rm x | xargs watch -n 1",
        "echo rm x | xargs xargs",
        "echo rm x | xargs xargs -n 1",
        "echo -exec rm x ';' | xargs find",
        "echo 'rm x' | xargs flock f -c",
        "echo 'rm x' | xargs su root --command",
        "echo rm | xargs -I % env -u X % x",
        "echo rm | xargs -I % gosu u % x",
        "echo rm | xargs -I % timeout -s KILL 5 % x",
        "find /bin -name rm -exec env -u X {} x ';'",
        "find /bin -name rm -exec gosu u {} x ';'",
        "find . -exec sh -c {} ';'",
        "find . -exec nice bash -ec -- {} ';'",
        "echo rm | xargs -I % nice % x",
        "echo rm | xargs -I % nice -n 5 timeout 1 % x",
        "find /bin -name rm -exec nice -n 5 {} x ';'",
        "find /bin -name rm -exec {} x ';'",
        "find . $x",
        ". /dev/stdin",
        "source <(echo rm x)",
        "bash /dev/fd/3",
        "hash -p /bin/rm ls; ls x",
        "printf -v 'a[$(rm x)]' y",
        "test -v 'a[$(rm x)]'",
        "mapfile -C 'rm x' -c 1",
        "trap \"$x\" EXIT",
        "echo \"${x@P}\"",
    ] {
        assert!(rules().forbids(&script(text)).is_some_and(|why| why.contains("nobody can say")), "{text}");
        assert!(
            Rules { prompt: rules().forbid, ..Rules::default() }.prompts(&script(text)).is_some(),
            "{text}"
        );
    }
    // By an argument list as well.
    for words in [
        &["fish", "-c", "rm x"][..],
        &["parallel", "rm"],
        &["env", "-S", "rm x"],
        &["sh"],
        &["alias", "l=rm"],
    ] {
        assert!(rules().forbids(&list(words)).is_some_and(|why| why.contains("nobody can say")), "{words:?}");
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
        "[[ -f x && $y == z ]] || echo no",
        "bash -c '[[ a == b ]] && ls'",
        "[ -f x ] && ls",
        "trap 'ls x' EXIT; trap - INT",
        "env A=1 ls",
        "watch -n 1 'ls -l'",
        "flock f -c 'ls x'",
        "xargs -I{} mv {} x",
        "xargs -I % -n 1 cp % x",
        "xargs -0rI % timeout 5 cp % x",
        "xargs --max-args 1 --replace nice cp {} x",
        "xargs -n 1 -- nice -n 5 ls",
        "xargs env -u X ls",
        "xargs timeout -s KILL 5 ls",
        "xargs timeout -k 5 5 nice -n5 ls",
        "xargs sudo -u me ls -l",
        "xargs flock f ls",
        "xargs gosu u ls",
        "xargs bwrap --ro-bind / / ls",
        "xargs nice --adjustment=5 ls",
        "flock f wc -c",
        "xargs xargs -0 ls",
        "xargs watch ls",
        "xargs -I % timeout -s KILL 5 cp % x",
        "xargs -I % gosu u cp % x",
        "find . -exec env -u X grep x {} ';'",
        "find . -exec flock f grep -c x {} ';'",
        "find . -exec sh -c 'ls \"$1\"' _ {} ';'",
        "xargs",
        "xargs -r -0",
        "find . -name + -exec nice grep x {} +",
        "find . -name '*.rs' -exec grep x {} +",
        "fish x.fish",
        "source x.sh",
        "./script x",
        "sudo -u me ls",
        "setarch -R ls",
        "printf '%s' 'a[1]'",
        "hash -r",
        "echo \"${x:-y} ${x[0]}\"",
    ] {
        assert_eq!(rules().forbids(&script(text)), None, "{text}");
    }
    let by_path = Rules { forbid: vec![list(&["/usr/bin/rm"])], ..Rules::default() };
    assert!(by_path.forbids(&script("rm x")).is_some() && by_path.forbids(&script("ls rm")).is_none());
    assert_eq!(Rules::default().forbids(&script("$x")), None);
}

#[test]
fn the_strictest_counts_and_what_lets_pass_has_to_be_sure() {
    let rules = rules();
    assert!(rules.prompts(&script("ls && npm install")).is_some());
    assert!(rules.prompts(&script("ls")).is_none());
    for text in ["cargo test", "cargo test --all | tail -n 3", "cd x && cargo test; ls", "git push"] {
        assert_eq!(rules.trust(&script(text)), Trust::Whole, "{text}");
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
        assert_eq!(rules.trust(&script(text)), Trust::None, "{text}");
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
    assert!(rules.forbids(&script("git push")).is_some());
    assert_eq!(rules.trust(&script("git push")), Trust::Whole);
    // What `git` only shows is no harm as long as it is the user's `git`; what the user names is the user's matter.
    for text in ["git status", "ls && git log | head -n 1", "git status; git push"] {
        assert_eq!(rules.trust(&script(text)), Trust::OfGit, "{text}");
    }
    assert_eq!(rules.trust(&script("git status; rm x")), Trust::None);
}

#[test]
fn what_comes_to_more_than_it_is_long_is_not_understood() {
    let words = |count: usize| [vec!["nice".to_owned()], vec!["x".to_owned(); count]].concat();
    assert_eq!(rules().forbids(&words(255)), None);
    assert!(
        rules()
            .forbids(&[words(250), list(&["rm", "x"])].concat())
            .is_some_and(|why| why.contains("begin with"))
    );
    // The square of these would not fit into memory.
    for count in [256, 1_000_000] {
        assert!(rules().forbids(&words(count)).is_some_and(|why| why.contains("nobody can say")), "{count}");
    }
    // Nor would scripts in scripts come to an end.
    for word in ["env", "eval", "watch", "sh", "sudo", "xargs"] {
        let mut text = "true".to_owned();
        for _ in 0..4 {
            text = format!("env {}", format!("{word} -c \"{}\" ", text.replace(['"', '\\'], "")).repeat(4));
        }
        drop(rules().forbids(&script(&text)));
    }
    let nested = vec!["env".to_owned(); 255];
    assert!(rules().forbids(&nested).is_some());
}
