//! What git reads and what is read here are the same, and nothing that git would run is left.

use std::process::{Command, Stdio};

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{Disarmed, Entry, disarm, parse, write};

fn names_and_values(text: &[u8]) -> Vec<(String, Option<String>)> {
    let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let entries = parse(text).unwrap();
    entries.iter().map(|entry| (utf8(&entry.name()), entry.value.as_deref().map(utf8))).collect()
}

fn one(text: &str) -> (String, Option<String>) {
    let mut all = names_and_values(text.as_bytes());
    assert_eq!(all.len(), 1, "{text:?}: {all:?}");
    all.remove(0)
}

/// What the real git reads: `None` where it refuses, and where there is no git.
fn by_git(text: &[u8]) -> Option<Vec<(String, Option<String>)>> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    std::fs::write(&file, text).unwrap();
    let output = Command::new("git")
        .args(["config", "--no-includes", "--null", "--list", "--file"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    let split = |item: &str| match item.split_once('\n') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (item.to_owned(), None),
    };
    output.status.success().then(|| list.split_terminator('\0').map(split).collect())
}

#[test]
fn odd_forms_mean_what_they_mean_to_git() {
    let value = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    for (text, expected) in [
        ("[core]hooksPath=x", value("core.hookspath", "x")),
        ("[CORE]\n\tHooksPath = \"a b\" c ; comment\n", value("core.hookspath", "a b c")),
        ("[core]\nhooksPath = a\\\n  b\n", value("core.hookspath", "a  b")),
        ("[core]\nhooksPath = a\\tb\\\"\\\\\n", value("core.hookspath", "a\tb\"\\")),
        ("\u{feff}[core] # comment [alias]\r\n x = y\r\n", value("core.x", "y")),
        ("# comment \\\n[core]\nx=y", value("core.x", "y")),
        ("[a.B.c] x = y", value("a.b.c.x", "y")),
        ("[filter \"A\\\"\\\\\\x\"]\nclean = y", value("filter.A\"\\x.clean", "y")),
        ("[a] x = \" y \" \n", value("a.x", " y ")),
        ("[a]\nx", ("a.x".to_owned(), None)),
        // Blanks before a line that goes on belong to the value, also where the file ends there.
        ("[a]\nx=y \\", value("a.x", "y ")),
        ("[a]\nx=y\r\\", value("a.x", "y\r")),
        ("[a]\nx=y \\\n \t", value("a.x", "y ")),
    ] {
        assert_eq!(one(text), expected, "{text:?}");
        if let Some(read) = by_git(text.as_bytes()) {
            assert_eq!(read, [expected], "{text:?}");
        }
    }
}

#[test]
fn what_git_refuses_is_refused() {
    for text in [
        "[a\n]x=y",
        "[a \"b\" ]x=y",
        "[a \"b\n\"]",
        "[a]\nx y",
        "[a]\nx = \"y\n",
        "[a]\nx = \\y",
        "[a]\n=y",
        "[a",
        "[a]\n1=y",
        "[a \"b\"",
        "[a b]",
        "[a]\nx_y=z",
        "[a]x\u{b}=y",
    ] {
        assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        assert_eq!(by_git(text.as_bytes()), None, "{text:?}");
    }
    assert!(parse(b"[a]\nx=y\0z").is_err());
}

#[test]
fn what_runs_something_is_taken_out() {
    for armed in [
        "[core]hooksPath=x",
        "[core]\n\tfsmonitor = ./x",
        "[CORE]\n\tSSHCOMMAND = x",
        "[core]\n\tpager = x",
        "[core]\n\teditor = x",
        "[core]\n\tgitproxy = x",
        "[core]\n\taskpass = x",
        "[core]\n\tattributesFile = x",
        "[core]\n\talternateRefsCommand = x",
        "[filter \"f\"]\n\tclean = x",
        "[diff \"d\"]\n\ttextconv = x",
        "[diff]\n\texternal = x",
        "[merge \"m\"]\n\tdriver = x",
        "[alias]\n\tst = !x",
        "[include]\n\tpath = x",
        "[includeIf \"gitdir:/\"]\n\tpath = x",
        "[gpg]\n\tprogram = x",
        "[gpg \"ssh\"]\n\tprogram = x",
        "[credential]\n\thelper = !x",
        "[url \"ext::x\"]\n\tinsteadOf = https://",
        "[protocol \"ext\"]\n\tallow = always",
        "[remote \"o\"]\n\turl = ext::sh -c x",
        "[remote \"o\"]\n\tvcs = x",
        "[remote \"o\"]\n\tuploadpack = x",
        "[remote \"o\"]\n\treceivepack = x",
        "[remote \"o\"]\n\turl = --upload-pack=x",
        "[branch \"b\"]\n\tremote = ext::x",
        "[branch \"b\"]\n\tmergeOptions = --strategy=x",
        "[submodule \"s\"]\n\tupdate = !x",
        "[http]\n\tproxy = x",
        "[sequence]\n\teditor = x",
        "[interactive]\n\tdiffFilter = x",
        "[pager]\n\tlog = x",
        "[safe]\n\tdirectory = *",
        "[trailer \"t\"]\n\tcmd = x",
        "[uploadpack]\n\tpackObjectsHook = x",
        "[man \"m\"]\n\tcmd = x",
        "[core]\n\tworktree = /home/me",
        "[core]\n\tworktree = a/../../../..",
        "[help]\n\tautocorrect = immediate",
        "[extensions]\n\trefStorage = x://y",
        "[init]\n\ttemplateDir = x",
        "[lfs \"customtransfer.x\"]\n\tpath = x",
        "[core]\n\teol = lf\\\n[alias]x=!y",
    ] {
        let text = format!("[core]\n\tbare = false\n{armed}\n");
        let Disarmed::Replace { text, removed } = disarm(text.as_bytes()) else {
            panic!("{armed:?} is left")
        };
        if !armed.contains("eol") {
            assert_eq!(removed.len(), 1, "{armed:?}");
        }
        let kept = names_and_values(&text);
        assert!(
            kept.iter().all(|(name, _)| name == "core.bare" || name == "core.eol"),
            "{armed:?}: {kept:?}"
        );
    }
}

#[test]
fn what_git_writes_itself_is_left_alone() {
    for text in [
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n",
        "[remote \"origin\"]\n\turl = git@example.org:a/b.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
        "[remote \"origin\"]\n\turl = https://[::1]:8080/a\n[branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n",
        "[core]\n\tworktree = ../../../sub\n[submodule \"sub\"]\n\tactive = true\n\turl = ../sub\n",
        "[extensions]\n\tobjectformat = sha256\n\trefstorage = reftable\n[user]\n\tname = M\u{fc}ller\n",
        "",
    ] {
        assert_eq!(disarm(text.as_bytes()), Disarmed::Harmless, "{text:?}");
    }
}

#[test]
fn what_cannot_be_read_is_emptied() {
    let nothing = Disarmed::Replace { text: Vec::new(), removed: Vec::new() };
    assert_eq!(disarm(b"[core\n\tx = y\n"), nothing);
    assert_eq!(disarm(b"[core]\n\tbare = false\0\n"), nothing);
}

/// Pieces that configuration is made of, and what stands between them.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "[core]",
        "[a.b]",
        "[filter \"x\"]",
        "[x \"a\\\"b\"]",
        "\n",
        "\r\n",
        "\r",
        " ",
        "\t",
        "=",
        "\"",
        "\\",
        "\\\n",
        "#",
        ";",
        "bare",
        "hooksPath",
        "url",
        "true",
        "ext::x",
        "é",
        "[",
        "]",
        "\\n",
        "\u{b}",
    ];
    let piece = prop_oneof![
        20 => proptest::sample::select(pieces.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..3),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(text in text()) {
        if let Ok(entries) = parse(&text) {
            // A key before any section can't be written, and is never kept.
            let entries: Vec<Entry> = entries.into_iter().filter(|entry| !entry.section.is_empty()).collect();
            let plain = |entry: &Entry| !entry.section.contains(&b'.');
            if entries.iter().all(plain) {
                prop_assert_eq!(parse(&write(&entries)), Ok(entries));
            }
        }
    }

    #[test]
    fn disarming_leaves_nothing_to_disarm(text in text()) {
        if let Disarmed::Replace { text, .. } = disarm(&text) {
            for entry in parse(&text).unwrap() {
                prop_assert!(super::inert::is_inert(&entry), "{:?}", entry);
            }
        }
    }

    #[test]
    fn it_reads_as_git_does(text in text()) {
        // Git shows values with bytes that we compare as text, and treats a NUL byte as the end.
        if std::str::from_utf8(&text).is_ok() && !text.contains(&0) {
            let ours = parse(&text).ok().map(|_| names_and_values(&text));
            let theirs = by_git(&text);
            // Where git is missing, or reads less, nothing is compared; where it reads, we have to read the same.
            if theirs.is_some() {
                prop_assert_eq!(ours, theirs);
            }
        }
    }
}
