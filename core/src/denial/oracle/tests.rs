//! The corpus: what real programs said when something failed in the sandbox, and what is to be told of it.
//!
//! Each case was recorded from a run of its command at its level, in a scene as the one made here: `{ws}` is the one writable
//! root, `{out}` lies outside, at `{port}` somebody listens outside, at `{free}` nobody does. What a case expects was written
//! down before the run, by what the command was meant to do.

mod across;
mod hosts;
mod messages;
mod registries;

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use codex_linux_sandbox::UnixSockets;
use nix::errno::Errno;
use proptest::prelude::*;
use serde::Deserialize;

use super::{Ended, explain, message};
use crate::config::{Settings, Sourced};
use crate::denial::{Denial, Dwelling, Judge, NOWHERE, Opens, Operation, Verdict};
use crate::enforcement::Level;
use crate::exec::Outcome;
use crate::policy::{
    AbsentNames, NetworkAccess, Protection, ResolvedPlaces, ResolvedPolicy, ResolvedWrites, RootNote,
    RootOrigin, SandboxMode, Surroundings, WritableRoot,
};

#[derive(Deserialize)]
struct Case {
    level: String,
    argv: Vec<String>,
    code: i32,
    text: String,
    denials: Vec<String>,
}

const CORPUS: &str = include_str!("corpus.json");

/// A policy that a root and the network are all of.
struct World {
    workspace: PathBuf,
    policy: ResolvedPolicy,
    places: ResolvedPlaces,
    protection: Protection,
    settings: Settings,
}

impl World {
    fn new(top: &Path) -> Self {
        let ws = top.join("ws");
        Self {
            policy: ResolvedPolicy {
                mode: SandboxMode::WorkspaceWrite,
                writes: ResolvedWrites::Beneath(vec![WritableRoot {
                    path: ws.clone(),
                    asked: ws.clone(),
                    origin: RootOrigin::PolicyCwd,
                }]),
                network: NetworkAccess::Restricted,
                notes: Vec::new(),
                folded: Vec::new(),
            },
            places: ResolvedPlaces::default(),
            protection: Protection {
                read_only: vec![ws.join(".git/config"), ws.join(".git/hooks"), ws.join(".vscode")],
                pinned: vec![ws.join(".git")],
                absent: vec![AbsentNames { directory: ws.clone(), names: [".cursor".into()].into() }],
                ..Protection::default()
            },
            settings: Settings::default(),
            workspace: ws,
        }
    }

    fn judge(&self, level: Level) -> Judge<'_> {
        Judge {
            policy: &self.policy,
            places: &self.places,
            protection: Some(&self.protection),
            special: Vec::new(),
            level,
            unix_sockets: if level == Level::Namespaces { UnixSockets::Broker } else { UnixSockets::Refused },
            settings: &self.settings,
            dwelling: &NOWHERE,
            surroundings: Surroundings {
                policy_cwd: &self.workspace,
                tmpdir: None,
                codex_home: None,
                named_in_files: &[],
            },
            root: nix::unistd::geteuid().is_root(),
            viewed: false,
        }
    }
}

fn furnish(top: &Path) {
    for place in
        ["ws/.git/hooks", "ws/.git/objects", "ws/.git/refs", "ws/.vscode", "ws/sub", "out/dir", "out/empty"]
    {
        fs::create_dir_all(top.join(place)).unwrap();
    }
    for file in [
        "ws/file",
        "ws/.git/HEAD",
        "ws/.git/config",
        "ws/.git/hooks/pre-commit",
        "ws/.vscode/tasks.json",
        "out/file",
        "out/dir/entry",
    ] {
        fs::write(top.join(file), "x\n").unwrap();
    }
}

fn short(denial: &Denial) -> String {
    let target = denial.resolved_target.as_ref().unwrap_or(&denial.target);
    let errno = denial.errno.map_or_else(|| "-".to_owned(), |errno: Errno| format!("{errno:?}"));
    format!("{} {target} {errno}", denial.operation.name())
}

#[test]
fn the_corpus_is_told_as_it_is() {
    let cases: Vec<Case> = serde_json::from_str(CORPUS).unwrap();
    // Not in /tmp: a sandbox that runs beside the tests takes hooks away that come to be there.
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let top = directory.path().canonicalize().unwrap();
    furnish(&top);
    let _socket = UnixListener::bind(top.join("out/sock")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let filled = |text: &str| {
        let place = |name: &str| top.join(name).display().to_string();
        text.replace("{ws}", &place("ws"))
            .replace("{out}", &place("out"))
            .replace("{home}", &place("home"))
            .replace("{port}", &port)
            .replace("{free}", &free)
    };
    let world = World::new(&top);
    let (mut wrong, mut denied, mut silent) = (Vec::new(), 0, 0);
    for case in &cases {
        let level = if case.level == "namespaces" { Level::Namespaces } else { Level::Landlock };
        let argv: Vec<OsString> = case.argv.iter().map(|word| filled(word).into()).collect();
        let text = filled(&case.text);
        let ended = Ended {
            outcome: &Outcome::Exited { code: case.code },
            text: text.as_bytes(),
            argv: &argv,
            cwd: &top.join("ws"),
        };
        let mut found: Vec<String> = explain(&ended, &world.judge(level)).iter().map(short).collect();
        let mut expected: Vec<String> = case.denials.iter().map(|denial| filled(denial)).collect();
        found.sort();
        expected.sort();
        if expected.is_empty() {
            silent += 1
        } else {
            denied += 1
        }
        if found != expected {
            wrong.push(format!(
                "{} {:?}\n  found {found:?}\n  not {expected:?}\n{text}",
                case.level, case.argv
            ));
        }
    }
    assert!(denied > 120 && silent > 40, "{denied} with denials, {silent} without");
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn success_and_what_never_ran_are_not_explained() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().canonicalize().unwrap();
    furnish(&top);
    let world = World::new(&top);
    let text = format!("sh: 1: cannot create {}: Read-only file system", top.join("out/new").display());
    let told = |outcome: &Outcome| {
        let ended = Ended { outcome, text: text.as_bytes(), argv: &[], cwd: &top };
        explain(&ended, &world.judge(Level::Namespaces)).len()
    };
    assert_eq!(told(&Outcome::Exited { code: 2 }), 1);
    assert_eq!(told(&Outcome::Exited { code: 0 }), 0);
    assert_eq!(told(&Outcome::Cancelled), 0);
}

#[test]
fn grants_are_narrow_or_absent() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().canonicalize().unwrap();
    furnish(&top);
    let home = top.join("home");
    for place in [
        ".cargo/registry/index",
        ".cache/pip",
        ".ssh",
        ".config/app",
        ".config/autostart",
        ".local/bin",
        "project",
    ] {
        fs::create_dir_all(home.join(place)).unwrap();
    }
    let world = World::new(&top);
    let codex_home = home.join(".codex");
    let mut judge = world.judge(Level::Namespaces);
    let dwelling = Dwelling::at(&home);
    judge.dwelling = &dwelling;
    judge.surroundings.codex_home = Some(&codex_home);
    let flag = |path: &Path| proposed(&judge, path);
    let add = |path: &Path| Some(format!("--add-dir {}", path.display()));
    assert_eq!(flag(&home.join(".cargo/registry/index/a/b")), add(&home.join(".cargo/registry")));
    assert_eq!(flag(&home.join(".cache/pip/http/x")), add(&home.join(".cache/pip")));
    assert_eq!(flag(&home.join(".config/app/settings")), add(&home.join(".config/app")));
    assert_eq!(flag(&home.join("project/new")), add(&home.join("project")));
    for none in [
        ".ssh/config",
        ".bashrc",
        ".aws/credentials",
        ".codex/config.toml",
        ".newfile",
        ".local/bin/ls",
        ".config/autostart/x.desktop",
    ] {
        assert_eq!(flag(&home.join(none)), None, "{none}");
    }
    for none in ["/etc/hosts", "/usr/bin/new", "/new", "/proc/sys/kernel/x", "/dev/new"] {
        assert_eq!(flag(Path::new(none)), None, "{none}");
    }
}

/// What was put elsewhere is granted there, and nothing wider or more secret.
#[test]
fn variables_move_grants_and_widen_none() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().canonicalize().unwrap();
    furnish(&top);
    for place in ["home", "data/pip", "data/cargo/registry", "data/hf/hub", "data/real"] {
        fs::create_dir_all(top.join(place)).unwrap();
    }
    std::os::unix::fs::symlink(top.join("data/real"), top.join("data/link")).unwrap();
    let world = World::new(&top);
    let home = top.join("home");
    let at = |variables: &[(&str, PathBuf)]| {
        let set: Vec<_> = variables.iter().map(|(name, path)| (name.into(), path.clone().into())).collect();
        Dwelling::of(Some(&home), &set, &world.workspace)
    };
    let flag = |dwelling: &Dwelling, path: &str| {
        let mut judge = world.judge(Level::Namespaces);
        judge.dwelling = dwelling;
        proposed(&judge, &top.join(path))
    };
    let add = |path: &str| Some(format!("--add-dir {}", top.join(path).display()));
    let set = at(&[
        ("PIP_CACHE_DIR", top.join("data/pip")),
        ("CARGO_HOME", top.join("data/cargo")),
        ("HF_HOME", top.join("data/hf")),
        ("SCCACHE_DIR", top.join("data/link")),
    ]);
    for (path, expected) in [
        // Without the variable it would be the directory of the file alone.
        ("data/pip/http/a/b", add("data/pip")),
        ("data/cargo/registry/new", add("data/cargo/registry")),
        ("data/cargo/git/new", add("data/cargo/git")),
        ("data/link/0/a", add("data/real")),
        ("data/hf/hub/model", add("data/hf/hub")),
        ("data/hf/token", None),
        ("data/cargo/credentials.toml", None),
        ("data/cargo/bin/new", None),
        ("data/cargo/new", None),
    ] {
        assert_eq!(flag(&set, path), expected, "{path}");
    }
    assert_eq!(flag(&at(&[]), "data/pip/new"), add("data/pip"));
    assert_eq!(flag(&at(&[]), "data/cargo/new"), add("data/cargo"));
    // Neither the home directory nor what holds the workspace, nor what belongs to the system.
    for wide in ["", "home"] {
        let dwelling = at(&[("PIP_CACHE_DIR", top.join(wide))]);
        assert_eq!(flag(&dwelling, "home/new"), None, "{wide}");
        assert_eq!(flag(&dwelling, "data/pip/new"), add("data/pip"), "{wide}");
    }
    let dwelling = at(&[("PIP_CACHE_DIR", "/etc".into())]);
    assert_eq!(flag(&dwelling, "/etc/new"), None);
}

/// Where a tool would make the way to its cache, the cache is granted, or the way is named.
#[test]
fn a_way_that_is_missing_leads_to_a_grant() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().canonicalize().unwrap();
    furnish(&top);
    let home = top.join("home");
    fs::create_dir(&home).unwrap();
    let world = World::new(&top);
    let dwelling = Dwelling::at(&home);
    let mut judge = world.judge(Level::Namespaces);
    judge.dwelling = &dwelling;
    let told = |line: &str, argv: &[&str]| {
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        let text = line.replace("{home}", &home.display().to_string());
        let outcome = Outcome::Exited { code: 1 };
        let ended = Ended { outcome: &outcome, text: text.as_bytes(), argv: &argv, cwd: &world.workspace };
        let denials = explain(&ended, &judge);
        assert_eq!(denials.len(), 1, "{line}: {denials:?}");
        let Denial { allow, risk, .. } = denials.into_iter().next().unwrap();
        let first = risk.unwrap_or_default().rsplit_once("mkdir -p ").map(|(_, path)| path.to_owned());
        (allow.map(|allow| allow.opens), first)
    };
    let at = |path: &str| home.join(path);
    let shown = |path: &str| Some(at(path).display().to_string());
    let line = "mkdir: cannot create directory '{home}/.cache': Read-only file system";
    let granted = (Some(Opens::Write(at(".cache/pip"))), shown(".cache/pip"));
    assert_eq!(told(line, &["sh", "-c", "python3 -m pip install x"]), granted);
    assert_eq!(told(line, &["/usr/bin/pip3.12", "install", "x"]), granted);
    // Whose it is, nobody knows; the way is missing all the same.
    assert_eq!(told(line, &["sh", "-c", "build"]), (None, shown(".cache")));
    let cargo = line.replace(".cache", ".cargo");
    assert_eq!(told(&cargo, &["cargo", "build"]).0, Some(Opens::Write(at(".cargo/registry"))));
    // Npm keeps programs in its directory as well: what it keeps to read again is enough.
    let npm =
        "npm error enoent Invalid response body: ENOENT: no such file or directory, mkdir '{home}/.npm'";
    assert_eq!(
        told(npm, &["npm", "install"]),
        (Some(Opens::Write(at(".npm/_cacache"))), shown(".npm/_cacache"))
    );
    assert_eq!(told(npm, &["build"]), (Some(Opens::Write(at(".npm"))), shown(".npm")));
    // These make the way to their own place, and keep the error to themselves.
    let maven = "[ERROR] Could not create local repository at {home}/.m2/repository -> [Help 1]";
    assert_eq!(told(maven, &["mvn"]).0, Some(Opens::Write(at(".m2/repository"))));
    let poetry = "Creating virtualenv a-py3.11 in {home}/.cache/pypoetry/virtualenvs";
    assert_eq!(told(poetry, &["poetry", "add"]).0, Some(Opens::Write(at(".cache/pypoetry"))));
    // What leads to no tool's place has no grant, and no advice.
    assert_eq!(told(&line.replace(".cache", ".other"), &["pip", "install"]), (None, None));
    // Once it is there, the place itself is told.
    fs::create_dir(at(".cache")).unwrap();
    assert_eq!(told(&line.replace("'{home}/.cache'", "'{home}/.cache/pip'"), &["build"]), granted);
}

/// The options that are proposed for making a name.
fn proposed(judge: &Judge<'_>, path: &Path) -> Option<String> {
    match judge.file(Operation::Create, path).unwrap() {
        Verdict::Denied(refusal) => refusal.allow.and_then(|allow| allow.flag),
        Verdict::Allowed { .. } => Some("allowed".to_owned()),
    }
}

#[test]
fn the_configuration_is_not_granted_whatever_links_lead_there() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().canonicalize().unwrap();
    furnish(&top);
    fs::create_dir_all(top.join("real/codex/sessions")).unwrap();
    fs::create_dir(top.join("real/other")).unwrap();
    std::os::unix::fs::symlink(top.join("real"), top.join("link")).unwrap();
    let world = World::new(&top);
    let codex_home = top.join("link/codex");
    let mut judge = world.judge(Level::Namespaces);
    judge.surroundings.codex_home = Some(&codex_home);
    for none in ["real/codex/new", "real/codex/sessions/new", "link/codex/new", "real/new"] {
        assert_eq!(proposed(&judge, &top.join(none)), None, "{none}");
    }
    let other = top.join("real/other");
    assert_eq!(proposed(&judge, &other.join("new")), Some(format!("--add-dir {}", other.display())));
}

#[test]
fn a_usual_root_that_was_left_out_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().canonicalize().unwrap();
    furnish(&top);
    let mut world = World::new(&top);
    let codex_home = top.join("out/.codex");
    world.policy.notes.push(RootNote {
        asked: top.join("out"),
        origin: RootOrigin::SlashTmp,
        why: "it contains the configuration".to_owned(),
    });
    let mut judge = world.judge(Level::Namespaces);
    judge.surroundings.codex_home = Some(&codex_home);
    let Ok(Verdict::Denied(refusal)) = judge.file(Operation::Create, &top.join("out/new")) else {
        unreachable!("it is no root");
    };
    let why =
        format!("{} is no writable root here: it contains the configuration", top.join("out").display());
    assert_eq!((refusal.allow, refusal.risk), (None, Some(why)));
    // What lies deeper can be one.
    let deeper = top.join("out/dir");
    assert_eq!(proposed(&judge, &deeper.join("new")), Some(format!("--add-dir {}", deeper.display())));
}

#[test]
fn the_mode_alone_is_proposed_where_it_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().canonicalize().unwrap();
    furnish(&top);
    let mut world = World::new(&top);
    world.policy.mode = SandboxMode::ReadOnly;
    world.policy.writes = ResolvedWrites::Beneath(Vec::new());
    // Where temporary files lie is none of this.
    world.settings.workspace_write.exclude_slash_tmp.value = true;
    let outside = top.join("out/dir");
    let roots = &mut world.settings.workspace_write.writable_roots;
    roots.items.push(Sourced::from_flag(outside.clone(), "--add-dir"));
    let mut judge = world.judge(Level::Namespaces);
    let Ok(Verdict::Denied(refusal)) = judge.file(Operation::Create, &top.join("ws/sub/new")) else {
        unreachable!("nothing is writable");
    };
    let allow = refusal.allow.unwrap();
    assert_eq!(allow.flag.as_deref(), Some("--full-auto"));
    assert_eq!(allow.toml.as_deref(), Some("sandbox_mode = \"workspace-write\""));
    assert_eq!((allow.setting, allow.opens), (Some("sandbox_mode"), Opens::Write(top.join("ws/sub"))));
    assert_eq!(refusal.risk, Some(format!("everything below {}", world.workspace.display())));
    assert_eq!(proposed(&judge, &top.join("ws/.git/objects/new")).as_deref(), Some("--full-auto"));
    // What the mode keeps closed, which nobody has looked for.
    for none in ["ws/.git/hooks/pre-push", "ws/.git/config", "ws/.vscode/new", "ws/.cursor"] {
        assert_eq!(proposed(&judge, &top.join(none)), None, "{none}");
    }
    // What was typed is no part of the mode.
    let both = format!("--full-auto --add-dir {}", outside.display());
    assert_eq!(proposed(&judge, &outside.join("new")), Some(both));
    // Here the mode would be refused.
    judge.surroundings.policy_cwd = Path::new("/");
    assert_eq!(proposed(&judge, &top.join("ws/sub/new")), None);
    assert_eq!(proposed(&judge, &outside.join("new")), None);
}

#[test]
fn a_daemons_socket_is_a_risk_and_an_agents_is_not_granted() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(directory.path());
    let judge = world.judge(Level::Namespaces);
    let refused = |path: &str| match judge.unix(Path::new(path)).unwrap() {
        Verdict::Denied(refusal) => *refusal,
        Verdict::Allowed { .. } => unreachable!("{path} is not listed"),
    };
    let docker = refused("/nowhere/docker.sock");
    assert!(docker.allow.is_some() && docker.risk.unwrap().contains("root"));
    assert_eq!(refused("/nowhere/ssh-XX/agent.7").allow, None);
}

proptest! {
    #[test]
    fn any_text_is_read_within_bounds(text in ".{0,400}", error in prop::sample::select(vec![
        "Permission denied", "Read-only file system", "[Errno 1] Operation not permitted", "Connection refused", "EAI_AGAIN",
    ])) {
        let said = message::read(&format!("{text}: {error}\n{text}"));
        prop_assert!(said.len() <= 3 * 9);
    }
}
