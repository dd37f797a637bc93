use std::collections::{BTreeMap, BTreeSet};

use codex_linux_sandbox::shown;
use proptest::prelude::*;

use super::super::judge::Operation;
use super::super::record::Allow;
use super::*;
use crate::config::SourcedList;
use crate::denial::TOOLS;

fn denial(operation: Operation, target: &str, opens: Option<Opens>) -> Denial {
    let allow = opens.map(|opens| Allow { setting: None, toml: None, flag: None, opens });
    Denial {
        operation,
        target: target.to_owned(),
        resolved_target: None,
        promise: None,
        rule: None,
        errno: None,
        certainty: Certainty::Exact,
        pid: None,
        program: None,
        count: 1,
        first_ms: None,
        allow,
        risk: None,
    }
}

fn write(target: &str, directory: &str) -> Denial {
    denial(Operation::Create, target, Some(Opens::Write(directory.into())))
}

fn writing(directory: &str) -> Opens {
    Opens::Write(directory.into())
}

fn at(first_ms: f64, denial: Denial) -> Denial {
    Denial { first_ms: Some(first_ms), ..denial }
}

const HOME: &str = "/home/u";

fn settings() -> Settings {
    let mode = Sourced { value: SandboxMode::WorkspaceWrite, origin: Origin::Flag("--full-auto") };
    Settings { sandbox_mode: mode, ..Settings::default() }
}

fn learner(words: &[&str]) -> Learner {
    with(settings(), words)
}

fn with(settings: Settings, words: &[&str]) -> Learner {
    let places = words.iter().filter(|word| word.starts_with('/')).map(PathBuf::from);
    let (directories, sockets): (Vec<_>, Vec<_>) = (places.clone().collect(), places.collect());
    let words =
        Words { directories, sockets, network: words.contains(&"network"), hosts: words.contains(&"hosts") };
    Learner::new(settings, Dwelling::at(Path::new(HOME)), words)
}

fn failed(denials: &[Denial]) -> Round<'_> {
    Round { passed: false, denials, untold: 0, observed: true }
}

const PASSED: Round<'static> = Round { passed: true, denials: &[], untold: 0, observed: true };

/// The settings that the lines say, by their dotted keys.
fn said(learner: &Learner) -> BTreeMap<String, toml::Value> {
    fn flat(table: &toml::Table, above: &str, into: &mut BTreeMap<String, toml::Value>) {
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) => flat(inner, &format!("{above}{key}."), into),
                other => drop(into.insert(format!("{above}{key}"), other.clone())),
            }
        }
    }
    let mut found = BTreeMap::new();
    flat(&learner.learned().toml.parse().unwrap(), "", &mut found);
    found
}

fn list(key: &str, items: &[&str]) -> (String, toml::Value) {
    (key.to_owned(), items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>().into())
}

const ROOTS: &str = "sandbox_workspace_write.writable_roots";

fn mode() -> (String, toml::Value) {
    ("sandbox_mode".to_owned(), "workspace-write".into())
}

/// Tries everything there is to try; what is named here can't go.
fn try_all(learner: &mut Learner, needed: &[&str]) {
    while learner.next_trial() {
        let settings = learner.settings();
        let has = |place: &&&str| {
            settings.workspace_write.writable_roots.values().any(|root| root == Path::new(place))
                || (**place == "mode" && settings.sandbox_mode.value == SandboxMode::WorkspaceWrite)
                || (**place == "network" && settings.workspace_write.network_access.value)
        };
        let passed = needed.iter().all(|place| has(&place));
        learner.tried(&if passed { PASSED } else { failed(&[]) });
    }
}

#[test]
fn caches_are_granted_one_by_one_the_last_refused_first() {
    let mut learner = learner(&[]);
    let (pip, npm) = ("/home/u/.cache/pip", "/home/u/.npm/_cacache");
    let denials = [at(1.0, write("/home/u/.cache/pip/x", pip)), at(2.0, write("/home/u/.npm/_cacache", npm))];
    assert_eq!(learner.learn(&failed(&denials)), Next::Again(writing(npm)));
    let roots: Vec<PathBuf> = learner.settings().workspace_write.writable_roots.values().cloned().collect();
    assert_eq!(roots, [PathBuf::from(npm)]);
    assert_eq!(learner.learn(&failed(&denials[..1])), Next::Again(writing(pip)));
    assert_eq!(learner.learn(&PASSED), Next::Stop(Stopped::Passed));
    assert!(!learner.learned().minimal);
    try_all(&mut learner, &[npm]);
    assert_eq!(said(&learner), [mode(), list(ROOTS, &[npm])].into());
    let learned = learner.learned();
    assert!(
        learned.toml.contains("    # create /home/u/.npm/_cacache\n    \"/home/u/.npm/_cacache\",\n"),
        "{}",
        learned.toml
    );
    assert_eq!(learned.unused, ["writing below /home/u/.cache/pip was refused, and it passes without"]);
    assert_eq!((learned.runs, learned.trials, learned.minimal), (3, 2, true));
}

#[test]
fn nothing_else_is_granted_without_a_word() {
    let secret = denial(Operation::Write, "/home/u/.ssh/id", None);
    let denials = [
        write("/data/x", "/data"),
        write("/home/u/.cache/pre-commit/x", "/home/u/.cache/pre-commit"),
        write("/home/u/.cargo/bin/x", "/home/u/.cargo/bin"),
        // Beside the packages lie programs that are run as they are.
        write("/home/u/.npm/_npx/x", "/home/u/.npm"),
        // Of another home, or of a judge that knew of none.
        write("/home/v/.npm/_cacache/x", "/home/v/.npm/_cacache"),
        write("/home/u/.aws/x", "/home/u/.aws"),
        secret.clone(),
        Denial { certainty: Certainty::Likely, ..write("/home/u/.npm/_cacache/x", "/home/u/.npm/_cacache") },
        Denial {
            resolved_target: Some("/home/u/.ssh/id".to_owned()),
            ..write("/home/u/.npm/_cacache/id", "/home/u/.npm/_cacache")
        },
        denial(Operation::Connect, "192.0.2.1:443", Some(Opens::Network)),
        denial(Operation::Unix, "/run/s", Some(Opens::UnixSocket("/run/s".into()))),
    ];
    let mut plain = learner(&[]);
    assert_eq!(plain.learn(&failed(&denials)), Next::Stop(Stopped::OnlyWithheld));
    let learned = plain.learned();
    assert_eq!((said(&plain), learned.withheld.len()), ([mode()].into(), denials.len()));
    assert!(learned.withheld[0].ends_with("; takes --learn-also /data"), "{:?}", learned.withheld);
    assert!(learned.withheld[9].ends_with("; takes --learn-also network"), "{:?}", learned.withheld);
    // Nobody is told how to open what has no grant.
    assert!(!learned.withheld[6].contains("takes"), "{:?}", learned.withheld);

    let words = ["/data", "/home/u/.ssh", "/run/s", "network"];
    let mut learner = learner(&words);
    for _ in words {
        assert!(matches!(learner.learn(&failed(&denials)), Next::Again(_)));
    }
    assert_eq!(learner.learn(&failed(&denials)), Next::Stop(Stopped::OnlyWithheld));
    let settings = learner.settings();
    assert!(settings.workspace_write.network_access.value);
    assert_eq!(settings.sandbox.allow_unix_sockets.items.len(), 1);
    let roots: Vec<&PathBuf> = settings.workspace_write.writable_roots.values().collect();
    assert!(
        roots.len() == 2 && roots.iter().all(|root| words.contains(&root.to_str().unwrap())),
        "{roots:?}"
    );
}

#[test]
fn the_narrowest_word_counts() {
    for words in [["/data", "/data/deep"], ["/data/deep", "/data"]] {
        let mut learner = learner(&words);
        let denials = [write("/data/deep/er/x", "/data/deep/er")];
        assert_eq!(learner.learn(&failed(&denials)), Next::Again(writing("/data/deep")));
    }
}

#[test]
fn a_word_that_is_told_can_be_pasted() {
    for (directory, told) in
        [("/data/x;curl evil", Some("; takes --learn-also '/data/x;curl evil'")), ("/data/x\ny", None)]
    {
        let mut learner = learner(&[]);
        let denials = [write(&format!("{directory}/new"), directory)];
        assert_eq!(learner.learn(&failed(&denials)), Next::Stop(Stopped::OnlyWithheld));
        let withheld = learner.learned().withheld;
        match told {
            Some(told) => assert!(withheld[0].ends_with(told), "{withheld:?}"),
            None => assert!(!withheld[0].contains("takes"), "{withheld:?}"),
        }
    }
}

#[test]
fn under_read_only_nothing_is_widened_but_sockets() {
    let mut learner = with(Settings::default(), &["/data", "network", "/run/s"]);
    let denials = [
        write("/home/u/.npm/_cacache/x", "/home/u/.npm/_cacache"),
        write("/data/x", "/data"),
        denial(Operation::Connect, "192.0.2.1:443", Some(Opens::Network)),
    ];
    assert_eq!(learner.learn(&failed(&denials)), Next::Stop(Stopped::OnlyWithheld));
    assert!(learner.learned().withheld.iter().all(|line| line.ends_with("; takes --full-auto")));
    assert_eq!(learner.settings(), Settings::default());
    let socket = Opens::UnixSocket("/run/s".into());
    let denials = [denial(Operation::Unix, "/run/s", Some(socket.clone()))];
    assert_eq!(learner.learn(&failed(&denials)), Next::Again(socket));
    assert_eq!(said(&learner), [list("sandbox.allow_unix_sockets", &["/run/s"])].into());
}

#[test]
fn what_was_said_is_tried_without_as_well() {
    let mut settings = settings();
    let file = Origin::File { path: "/c".into(), line: 3 };
    settings.sandbox_mode.origin = file.clone();
    let root = |path: &str| Sourced { value: PathBuf::from(path), origin: file.clone() };
    settings.workspace_write.writable_roots =
        SourcedList { items: vec![root("/used"), root("/unused")], origin: file.clone() };
    settings.workspace_write.network_access = Sourced { value: true, origin: file.clone() };
    let mut first = with(settings.clone(), &[]);
    assert_eq!(first.learn(&PASSED), Next::Stop(Stopped::Passed));
    try_all(&mut first, &["/used"]);
    // All that is left is what the file says.
    assert_eq!(first.learned().toml, "");
    assert_eq!(first.learned().unused, ["the network (/c:3)", "writing below /unused (/c:3)"]);
    // With a list of its own, it is in the lines.
    let mut second = with(settings, &["/more"]);
    second.learn(&failed(&[write("/more/x", "/more")]));
    second.learn(&PASSED);
    try_all(&mut second, &["/used", "/more"]);
    assert_eq!(said(&second), [list(ROOTS, &["/used", "/more"])].into());
}

#[test]
fn the_mode_goes_where_nothing_needs_it() {
    let mut needed = learner(&[]);
    needed.learn(&PASSED);
    try_all(&mut needed, &["mode"]);
    assert_eq!((said(&needed), needed.learned().minimal), ([mode()].into(), true));
    let mut not = learner(&[]);
    not.learn(&PASSED);
    try_all(&mut not, &[]);
    assert_eq!((said(&not), not.settings().sandbox_mode.value), (BTreeMap::new(), SandboxMode::ReadOnly));
    assert_eq!(not.learned().unused, ["workspace-write: it passes under read-only (--full-auto)"]);
}

#[test]
fn it_ends() {
    let mut learner = learner(&["/"]);
    let denials: Vec<Denial> =
        (0..40).map(|name| write(&format!("/d{name}/x"), &format!("/d{name}"))).collect();
    learner.words.directories = (0..40).map(|name| PathBuf::from(format!("/d{name}"))).collect();
    let mut runs = 0;
    let stopped = loop {
        runs += 1;
        match learner.learn(&failed(&denials)) {
            Next::Again(_) => {}
            Next::Stop(stopped) => break stopped,
        }
    };
    assert_eq!((runs, stopped), (MOST_LEARNING_RUNS, Stopped::TooManyRuns));
    // What did not pass is not tried with less.
    assert!(!learner.next_trial());
    let blind = Round { observed: false, ..failed(&denials) };
    assert_eq!(learner.learn(&blind), Next::Stop(Stopped::NotObserved));
    assert!(!learner.learned().complete);
    assert_eq!(learner.learn(&failed(&[])), Next::Stop(Stopped::NothingRefused));
    learner.learn(&Round { untold: 1, ..PASSED });
    assert!(!learner.learned().complete);
}

#[test]
fn no_name_says_a_setting_of_its_own() {
    let evil = "/a/\"]\nsandbox_mode = \"danger-full-access\"\n#\u{1b}[2J\u{202e}\r";
    let denials = [
        Denial {
            risk: Some(format!("everything below {}", shown(evil))),
            ..write(&format!("{evil}/x"), evil)
        },
        denial(Operation::Unix, evil, Some(Opens::UnixSocket(evil.into()))),
    ];
    let mut learner = learner(&[evil]);
    learner.learn(&failed(&denials));
    learner.learn(&failed(&denials));
    let sockets = list("sandbox.allow_unix_sockets", &[evil]);
    assert_eq!(said(&learner), [mode(), list(ROOTS, &[evil]), sockets].into());
    let learned = learner.learned();
    let is_plain = |text: &str| text.chars().all(|shown| !shown.is_control() && shown != '\u{202e}');
    assert!(
        learned.toml.lines().chain(learned.withheld.iter().map(String::as_str)).all(is_plain),
        "{learned:?}"
    );
}

/// A command that can't do without some caches, in this order, and is refused others that it does without.
fn runs(settings: &Settings, needed: &[usize], missed: &[usize]) -> (bool, Vec<Denial>) {
    let place = |cache: &usize| TOOLS.iter().filter(|tool| !tool.holds_programs).nth(*cache).unwrap().path;
    let refused = |cache: &&usize| {
        let place = Path::new(HOME).join(place(cache));
        !settings.workspace_write.writable_roots.values().any(|root| *root == place)
    };
    let denied = |time: usize, cache: &usize| {
        let place = format!("{HOME}/{}", place(cache));
        at(time as f64, write(&format!("{place}/x"), &place))
    };
    let mut denials: Vec<Denial> = missed.iter().filter(refused).map(|cache| denied(*cache, cache)).collect();
    let fatal = needed.iter().find(refused);
    denials.extend(fatal.map(|cache| denied(1000, cache)));
    (fatal.is_none(), denials)
}

proptest! {
    #[test]
    fn what_is_left_is_what_is_needed(
        needed in prop::sample::subsequence((0..12).collect::<Vec<_>>(), 0..8).prop_shuffle(),
        missed in prop::sample::subsequence((0..16).collect::<Vec<_>>(), 0..10),
    ) {
        let mut learner = learner(&[]);
        let run = |learner: &Learner| runs(&learner.settings(), &needed, &missed);
        loop {
            let (passed, denials) = run(&learner);
            let round = Round { passed, denials: &denials, untold: 0, observed: true };
            if learner.learn(&round) == Next::Stop(Stopped::Passed) {
                break;
            }
        }
        while learner.next_trial() {
            let (passed, denials) = run(&learner);
            learner.tried(&Round { passed, denials: &denials, untold: 0, observed: true });
        }
        let learned = learner.learned();
        prop_assert!(learned.minimal && learned.runs as usize == 1 + needed.len());
        let items: BTreeSet<&str> = learned.toml.lines().filter(|line| line.starts_with("    \"")).collect();
        prop_assert_eq!(items.len(), needed.len(), "{}", &learned.toml);
        prop_assert!(run(&learner).0);
    }
}
