//! What holds for any sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::{select, subsequence};

use super::Fixture;
use crate::config::layer::Layer;
use crate::config::project::tighten;
use crate::config::reader::read_text;
use crate::config::source::Source;
use crate::config::{EnvironmentInherit, FlagLayer, Place, Settings, Sourced, rows};
use crate::enforcement::Guarantee;
use crate::policy::{SandboxMode, SandboxPolicy};

const PATHS: [&str; 4] = ["/a", "/a/b", "/c", "/tmp/../d"];
const GLOBS: [&str; 4] = ["A*", "a*", "B", "*"];

/// A layer as the lines of a file: dotted key and value in TOML, each key at most once.
type Lines = Vec<(&'static str, String)>;

fn quoted(word: &'static str) -> String {
    format!("{word:?}")
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(quoted)
}

fn list(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    subsequence(words, 0..=words.len()).prop_map(|words| format!("{words:?}"))
}

fn boolean() -> impl Strategy<Value = String> {
    any::<bool>().prop_map(|value| value.to_string())
}

/// Any combination of settings, each valid by itself.
fn lines() -> impl Strategy<Value = Lines> {
    const MODES: &[&str] = &["read-only", "workspace-write", "external-sandbox", "danger-full-access"];
    const REQUIRE: &[&str] = &["P1", "network", "survivors", "P6"];
    let workspace = (
        option::weighted(0.75, list(&PATHS)),
        option::weighted(0.75, boolean()),
        option::weighted(0.75, boolean()),
        option::weighted(0.75, boolean()),
    );
    let environment = (
        option::weighted(0.75, word(&["all", "core", "none"])),
        option::weighted(0.75, boolean()),
        option::weighted(0.75, list(&GLOBS)),
        option::weighted(0.75, word(&["x", "y"])),
        option::weighted(0.75, list(&GLOBS)),
    );
    let rest = (
        option::weighted(0.75, word(MODES)),
        option::weighted(0.75, word(&["/opt/a", "/opt/b"])),
        option::weighted(0.75, word(&["auto", "namespaces", "landlock"])),
        option::weighted(0.75, list(REQUIRE)),
    );
    let files = (
        option::weighted(0.75, word(&["read-only", "commit", "open"])),
        option::weighted(0.75, list(&["a", "a/b", ".envrc"])),
        option::weighted(0.75, list(&[".envrc", ".husky"])),
        option::weighted(0.75, list(&PATHS)),
        option::weighted(0.75, list(&PATHS)),
        option::weighted(0.75, boolean()),
        option::weighted(0.75, list(&["/run/a", "/run/b"])),
        option::weighted(0.75, word(&["1GiB", "512MiB", "1024MiB"])),
        option::weighted(0.75, select(&["7", "8"][..]).prop_map(str::to_owned)),
        option::weighted(0.75, word(&["never", "on-failure", "always"])),
    );
    (workspace, environment, rest, files).prop_map(|(workspace, environment, rest, files)| {
        let keyed = [
            ("sandbox_workspace_write.writable_roots", workspace.0),
            ("sandbox_workspace_write.network_access", workspace.1),
            ("sandbox_workspace_write.exclude_tmpdir_env_var", workspace.2),
            ("sandbox_workspace_write.exclude_slash_tmp", workspace.3),
            ("shell_environment_policy.inherit", environment.0),
            ("shell_environment_policy.ignore_default_excludes", environment.1),
            ("shell_environment_policy.exclude", environment.2),
            ("shell_environment_policy.set.CI", environment.3),
            ("shell_environment_policy.include_only", environment.4),
            ("sandbox_mode", rest.0),
            ("codex_linux_sandbox_exe", rest.1),
            ("sandbox.isolation", rest.2),
            ("sandbox.require", rest.3),
            ("sandbox.git", files.0),
            ("sandbox.protect", files.1),
            ("sandbox.unprotect", files.2),
            ("sandbox.deny_read", files.3),
            ("sandbox.allow_read", files.4),
            ("sandbox.private_tmp", files.5),
            ("sandbox.allow_unix_sockets", files.6),
            ("sandbox.limits.memory", files.7),
            ("sandbox.limits.processes", files.8),
            ("sandbox.explain", files.9),
        ];
        keyed.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    })
}

fn text(lines: &Lines) -> String {
    lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}

fn layer(text: &str) -> Layer {
    let (document, problems) = read_text(text, &Source::user(Path::new("/u"), text), None);
    assert_eq!(problems, []);
    document.layer
}

fn flags() -> impl Strategy<Value = FlagLayer> {
    (option::of(select(&SandboxMode::ALL[..])), any::<bool>(), subsequence(&PATHS[..], 0..2)).prop_map(
        |(mode, network, roots)| FlagLayer {
            sandbox_mode: mode.map(|mode| Sourced::from_flag(mode, "--sandbox")),
            network: network.then_some(Sourced::from_flag(true, "--network")),
            writable_roots: roots
                .into_iter()
                .map(|root| Sourced::from_flag(PathBuf::from(root), "--add-dir"))
                .collect(),
            allow_hosts: Vec::new(),
            isolation: None,
            explain: None,
            limits: BTreeMap::new(),
        },
    )
}

/// A project's file: settings that are valid by themselves, and anything else.
fn project_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => lines().prop_map(|lines| text(&lines)),
        2 => (lines(), ".{0,40}", any::<proptest::sample::Index>()).prop_map(|(lines, noise, at)| {
            let mut text = text(&lines);
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            text.insert_str(*at.get(&places), &noise);
            text
        }),
        1 => "(?s).{0,80}",
        1 => Just("sandbox_mode = \"danger-full-access\"\nsandbox_mode = \"read-only\"\n".to_owned()),
    ]
}

fn contains_all<T: PartialEq>(mut all: impl Iterator<Item = T>, of: &[T]) -> bool {
    all.all(|item| of.contains(&item))
}

/// Whether `tight` allows nothing that `loose` does not.
fn allows_no_more(tight: &SandboxPolicy, loose: &SandboxPolicy) -> bool {
    let writes = match (tight, loose) {
        (_, SandboxPolicy::DangerFullAccess | SandboxPolicy::ExternalSandbox { .. })
        | (SandboxPolicy::ReadOnly { .. }, _) => true,
        (
            SandboxPolicy::WorkspaceWrite {
                writable_roots: inner,
                exclude_tmpdir_env_var: inner_tmpdir,
                exclude_slash_tmp: inner_tmp,
                ..
            },
            SandboxPolicy::WorkspaceWrite {
                writable_roots: outer,
                exclude_tmpdir_env_var: outer_tmpdir,
                exclude_slash_tmp: outer_tmp,
                ..
            },
        ) => {
            contains_all(inner.iter(), &outer.iter().collect::<Vec<_>>())
                && inner_tmpdir >= outer_tmpdir
                && inner_tmp >= outer_tmp
        }
        _ => false,
    };
    let network = tight.has_full_network_access() <= loose.has_full_network_access();
    tight.mode() <= loose.mode() && writes && network
}

/// Whether `tight` is at least as tight as `loose` in every single setting, and says the same where there is no tighter.
fn is_no_looser(tight: &Settings, loose: &Settings) -> Result<(), &'static str> {
    let inherited = |settings: &Settings| match settings.shell_environment_policy.inherit.value {
        EnvironmentInherit::None => 0,
        EnvironmentInherit::Core => 1,
        EnvironmentInherit::All => 2,
    };
    let (ours, theirs) = (&tight.shell_environment_policy, &loose.shell_environment_policy);
    let strings = |list: &crate::config::SourcedList<String>| {
        list.values().map(|pattern| pattern.to_lowercase()).collect::<Vec<_>>()
    };
    let (only, only_before) = (strings(&ours.include_only), strings(&theirs.include_only));
    let required: Vec<&Guarantee> = tight.sandbox.require.values().collect();
    let protected = |settings: &Settings| settings.sandbox.protection().paths();
    let denied: Vec<&PathBuf> = tight.sandbox.deny_read.values().collect();
    let roots_before: Vec<&PathBuf> = loose.workspace_write.writable_roots.values().collect();
    let checks = [
        (allows_no_more(&tight.policy(), &loose.policy()), "policy"),
        (contains_all(tight.workspace_write.writable_roots.values(), &roots_before), "roots"),
        (tight.network.value <= loose.network.value, "network"),
        (inherited(tight) <= inherited(loose), "inherit"),
        (ours.ignore_default_excludes.value <= theirs.ignore_default_excludes.value, "default excludes"),
        (contains_all(strings(&theirs.exclude).into_iter(), &strings(&ours.exclude)), "exclude"),
        (ours.set == theirs.set, "set"),
        (
            only_before.is_empty()
                || (!only.is_empty() && contains_all(only.clone().into_iter(), &only_before)),
            "include_only",
        ),
        (tight.codex_linux_sandbox_exe == loose.codex_linux_sandbox_exe, "helper"),
        (tight.sandbox.isolation == loose.sandbox.isolation, "isolation"),
        (contains_all(loose.sandbox.require.values(), &required), "require"),
        (tight.sandbox.git.value <= loose.sandbox.git.value, "git"),
        (contains_all(protected(loose).iter(), &protected(tight).iter().collect::<Vec<_>>()), "protected"),
        (tight.sandbox.unprotect == loose.sandbox.unprotect, "unprotect"),
        (contains_all(loose.sandbox.deny_read.values(), &denied), "deny_read"),
        (tight.sandbox.allow_read == loose.sandbox.allow_read, "allow_read"),
        (tight.sandbox.private_tmp.value >= loose.sandbox.private_tmp.value, "private_tmp"),
        (tight.sandbox.explain == loose.sandbox.explain, "explain"),
        (tight.sandbox.allow_unix_sockets == loose.sandbox.allow_unix_sockets, "allow_unix_sockets"),
        (loose.sandbox.limits().tightest(tight.sandbox.limits()) == tight.sandbox.limits(), "limits"),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, broken)| Err(broken))
}

/// What is listed, origins aside.
fn values(settings: &Settings) -> Vec<(String, String)> {
    rows(settings).into_iter().map(|row| (row.key, row.value)).collect()
}

proptest! {
    #[test]
    fn the_last_layer_that_speaks_wins(layers in vec(lines(), 0..5)) {
        let mut settings = Settings::default();
        for lines in &layers {
            layer(&text(lines)).lay_over(&mut settings);
        }
        // Each key once, with the value of the last layer that has it.
        let mut last: Lines = Vec::new();
        for (key, value) in layers.concat() {
            last.retain(|(known, _)| *known != key);
            last.push((key, value));
        }
        let mut expected = Settings::default();
        layer(&text(&last)).lay_over(&mut expected);
        prop_assert_eq!(values(&settings), values(&expected));
    }

    #[test]
    fn sources_are_laid_over_one_another_by_precedence(
        file in lines(), profile in lines(), overrides in lines(), flags in flags(),
    ) {
        let profile_text: String =
            profile.iter().map(|(key, value)| format!("profiles.p.{key} = {value}\n")).collect();
        let typed: Vec<String> = overrides.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        let fixture = Fixture::user(text(&file) + &profile_text);
        let settings = fixture.load_with(&typed, Some("p"), flags.clone()).unwrap().settings;

        let mut expected = Settings::default();
        for lines in [&file, &profile, &overrides] {
            layer(&text(lines)).lay_over(&mut expected);
        }
        flags.lay_over(&mut expected);
        prop_assert_eq!(values(&settings), values(&expected));
        prop_assert_eq!(settings.policy(), expected.policy());
    }

    #[test]
    fn positions_are_inside_the_text(
        noise in prop_oneof!["(?s).{0,80}", "[a-z_.\\[\\]{}\"'=\\n é\u{feff}]{0,80}", project_text()],
    ) {
        let path = Path::new("/u");
        let (_, problems) = read_text(&noise, &Source::user(path, &noise), None);
        let lines: Vec<&str> = noise.split('\n').collect();
        for problem in problems {
            let Place::Position { line, column, .. } = problem.place else { continue };
            prop_assert!(line >= 1 && line <= lines.len(), "{line} of {}", lines.len());
            prop_assert!(column >= 1 && column <= lines[line - 1].chars().count() + 1, "{line}:{column}");
        }
    }

    #[test]
    fn any_bytes_are_settings_or_lines_of_errors(
        user in vec(any::<u8>(), 0..60), project in vec(any::<u8>(), 0..60), typed in "(?s).{0,30}",
    ) {
        let fixture = Fixture::user(user).with_project(project);
        let problems = |error: crate::config::ConfigError| (error.problems.len(), error.to_string());
        if let Err((count, message)) = fixture.load_with(&[&typed], None, FlagLayer::default()).map_err(problems) {
            prop_assert!(count >= 1);
            prop_assert_eq!(message.lines().count(), count, "{:?}", message);
        }
    }
}

proptest! {
    // What loosens is mostly a combination of several settings, so that it takes many tries to meet one.
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_project_never_loosens(user in lines(), flags in flags(), project in project_text()) {
        let mut before = Settings::default();
        layer(&text(&user)).lay_over(&mut before);
        flags.lay_over(&mut before);
        let mut after = before.clone();
        tighten(&mut after, Path::new("/p/.codex/config.toml"), &project, Some(Path::new("/")));
        prop_assert_eq!(is_no_looser(&after, &before), Ok(()));
        // Saying it twice tightens no further.
        let mut again = after.clone();
        tighten(&mut again, Path::new("/p/.codex/config.toml"), &project, Some(Path::new("/")));
        prop_assert_eq!(again.policy(), after.policy());
    }
}
