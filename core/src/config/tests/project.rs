//! A project's file tightens, tells, and never fails.

use std::path::PathBuf;

use super::Fixture;
use crate::config::{FlagLayer, Origin, Settings, Sourced};
use crate::enforcement::Guarantee;
use crate::limits::Limit;
use crate::policy::{GitProtection, NetworkAccess, SandboxMode, SandboxPolicy};

const LOOSE: &str = r#"
sandbox_mode = "workspace-write"
[sandbox_workspace_write]
writable_roots = ["/a", "/b"]
network_access = true
[shell_environment_policy]
ignore_default_excludes = true
exclude = ["X_*"]
[sandbox]
require = ["network"]
"#;

fn tightened(user: &str, project: &str) -> (Settings, Vec<String>) {
    let fixture = Fixture::user(user).with_project(project);
    (fixture.load().unwrap().settings, fixture.notices())
}

#[test]
fn everything_that_can_be_tightened_is() {
    let fixture = Fixture::user(LOOSE).with_project(
        r#"
sandbox_mode = "workspace-write"
[sandbox_workspace_write]
writable_roots = ["/b"]
network_access = false
exclude_slash_tmp = true
exclude_tmpdir_env_var = true
[shell_environment_policy]
inherit = "core"
ignore_default_excludes = false
exclude = ["x_*", "Y_*"]
include_only = ["PATH"]
[sandbox]
require = ["network", "writes"]
"#,
    );
    let loaded = fixture.load().unwrap();
    assert_eq!(loaded.notices, []);
    let settings = loaded.settings;
    assert_eq!(
        settings.policy(),
        SandboxPolicy::WorkspaceWrite {
            writable_roots: vec![PathBuf::from("/b")],
            network: NetworkAccess::Restricted,
            exclude_tmpdir_env_var: true,
            exclude_slash_tmp: true,
        }
    );
    let environment = &settings.shell_environment_policy;
    assert_eq!(environment.inherit.value.name(), "core");
    assert!(!environment.ignore_default_excludes.value);
    assert_eq!(environment.exclude.values().collect::<Vec<_>>(), ["X_*", "Y_*"]);
    assert_eq!(environment.include_only.values().collect::<Vec<_>>(), ["PATH"]);
    let required: Vec<Guarantee> = settings.sandbox.require.values().copied().collect();
    assert_eq!(required, [Guarantee::Network, Guarantee::Writes]);
    let origins: Vec<&Origin> = settings.sandbox.require.iter().map(|item| &item.origin).collect();
    assert!(matches!(origins[..], [Origin::File { .. }, Origin::Project { line: 14, .. }]), "{origins:?}");
}

#[test]
fn what_would_loosen_is_ignored_and_told() {
    let (settings, notices) = tightened(
        "",
        r#"sandbox_mode = "danger-full-access"
sandbox_workspace_write.network_access = true
sandbox_workspace_write.writable_roots = ["/etc"]
shell_environment_policy.ignore_default_excludes = true
"#,
    );
    assert_eq!(settings, Settings::default());
    assert_eq!(
        notices,
        [
            ".codex/config.toml:1: ignored: `sandbox_mode = danger-full-access` \
             would allow more than your own settings do",
            ".codex/config.toml:2: ignored: `sandbox_workspace_write.network_access = true` \
             would allow more than your own settings do",
            ".codex/config.toml:3: ignored: `sandbox_workspace_write.writable_roots = [\"/etc\"]` \
             would allow more than your own settings do",
            ".codex/config.toml:4: ignored: `shell_environment_policy.ignore_default_excludes = true` \
             would allow more than your own settings do",
        ]
    );
}

#[test]
fn what_is_for_the_user_alone_is_ignored_and_told() {
    let (settings, notices) = tightened(
        "",
        r#"profile = "x"
codex_linux_sandbox_exe = "/repo/evil"
shell_environment_policy.set.LD_PRELOAD = "/repo/evil.so"
sandbox.isolation = "landlock"
profiles.x.sandbox_mode = "danger-full-access"
model = "x"
sandbox_mode = 1
"#,
    );
    assert_eq!(settings, Settings::default());
    let for_user = |line: usize, key: &str| {
        format!(".codex/config.toml:{line}: ignored: `{key}` is for the user to set, not for a project")
    };
    assert_eq!(notices[0], for_user(1, "profile"));
    assert_eq!(notices[1], for_user(2, "codex_linux_sandbox_exe"));
    assert_eq!(notices[2], for_user(3, "shell_environment_policy.set"));
    assert_eq!(notices[3], for_user(4, "sandbox.isolation"));
    assert_eq!(notices[4], for_user(5, "profiles"));
    assert_eq!(notices[5], for_user(6, "model"));
    assert_eq!(
        notices[6],
        ".codex/config.toml:7: ignored: `sandbox_mode`: expected a string, found an integer"
    );
}

#[test]
fn protection_grows_and_never_shrinks() {
    let (settings, notices) = tightened(
        "sandbox = { protect = [\"a\"], deny_read = [\"/k\"] }",
        r#"[sandbox]
git = "read-only"
protect = ["a", "b"]
deny_read = ["/k", "~/l"]
private_tmp = true
unprotect = [".husky"]
allow_read = ["/k"]
allow_unix_sockets = ["/run/docker.sock"]
"#,
    );
    let sandbox = &settings.sandbox;
    assert_eq!(sandbox.git.value, GitProtection::ReadOnly);
    assert_eq!(
        sandbox.protect.values().collect::<Vec<_>>(),
        ["a", "b"].map(PathBuf::from).iter().collect::<Vec<_>>()
    );
    let denied = ["/k", "/home/me/l"].map(PathBuf::from);
    assert_eq!(sandbox.deny_read.values().collect::<Vec<_>>(), denied.iter().collect::<Vec<_>>());
    assert!(sandbox.private_tmp.value);
    assert!(
        sandbox.unprotect.is_empty()
            && sandbox.allow_read.is_empty()
            && sandbox.allow_unix_sockets.is_empty()
    );
    for (notice, (line, key)) in
        notices.iter().zip([(6, "unprotect"), (7, "allow_read"), (8, "allow_unix_sockets")])
    {
        let expected = format!(
            ".codex/config.toml:{line}: ignored: `sandbox.{key}` is for the user to set, not for a project"
        );
        assert_eq!(*notice, expected);
    }
    assert_eq!(notices.len(), 3);

    let user = "sandbox = { git = \"read-only\", private_tmp = true }";
    let (settings, notices) = tightened(user, "sandbox = { git = \"open\", private_tmp = false }");
    assert_eq!(settings.sandbox.git.value, GitProtection::ReadOnly);
    assert!(settings.sandbox.private_tmp.value);
    assert_eq!(
        notices,
        [
            ".codex/config.toml:1: ignored: `sandbox.git = open` would allow more than your own settings do",
            ".codex/config.toml:1: ignored: `sandbox.private_tmp = false` would allow more than your own settings do",
        ]
    );
}

#[test]
fn a_project_adds_no_more_paths_than_a_start_can_bear() {
    let names: Vec<String> = (0..1000).map(|number| format!("\"n{number}\"")).collect();
    let (settings, notices) = tightened("", &format!("sandbox.protect = [{}]", names.join(",")));
    assert_eq!(settings.sandbox.protect.items.len(), 100);
    assert_eq!(
        notices,
        [".codex/config.toml:1: ignored: a project may add no more than 100 items to `sandbox.protect`"]
    );
}

#[test]
fn a_syntax_error_takes_the_whole_file_out() {
    let (settings, notices) = tightened(LOOSE, "sandbox_mode = \"read-only\"\noops\n");
    assert_eq!(settings.sandbox_mode.value, SandboxMode::WorkspaceWrite);
    assert_eq!(notices.len(), 1);
    assert!(notices[0].starts_with(".codex/config.toml:2: ignored: "), "{notices:?}");
}

#[test]
fn a_narrower_mode_does_not_bring_the_network_along() {
    let user = "sandbox_mode = \"external-sandbox\"\nsandbox_workspace_write.network_access = true\n";
    let before = Fixture::user(user).load().unwrap().settings.policy();
    assert!(!before.has_full_network_access());
    let (settings, notices) = tightened(user, "sandbox_mode = \"workspace-write\"\n");
    assert_eq!(settings.sandbox_mode.value, SandboxMode::WorkspaceWrite);
    assert!(!settings.policy().has_full_network_access());
    assert_eq!(notices, [] as [&str; 0]);
}

#[test]
fn a_root_below_the_users_is_not_a_narrower_root() {
    let (settings, notices) =
        tightened(LOOSE, "sandbox_workspace_write.writable_roots = [\"/a/link\", \"/b\"]");
    let roots: Vec<_> = settings.workspace_write.writable_roots.values().collect();
    assert_eq!(roots, ["/b"].map(PathBuf::from).iter().collect::<Vec<_>>());
    assert_eq!(notices.len(), 1, "{notices:?}");
}

#[test]
fn include_only_narrows_by_the_users_own_patterns_only() {
    let user = "shell_environment_policy.include_only = [\"PATH\", \"LC_*\"]\n";
    for (theirs, kept, told) in [
        (r#"["path"]"#, vec!["path"], 0),
        (r#"["PATH", "LC_*"]"#, vec!["PATH", "LC_*"], 0),
        (r#"["LC_ALL"]"#, vec!["PATH", "LC_*"], 1),
        (r#"["*"]"#, vec!["PATH", "LC_*"], 1),
        ("[]", vec!["PATH", "LC_*"], 1),
    ] {
        let (settings, notices) =
            tightened(user, &format!("shell_environment_policy.include_only = {theirs}\n"));
        let include_only = &settings.shell_environment_policy.include_only;
        assert_eq!(include_only.values().collect::<Vec<_>>(), kept, "{theirs}");
        assert_eq!(notices.len(), told, "{theirs}: {notices:?}");
    }
}

#[test]
fn narrowing_what_this_run_asked_for_is_told() {
    let fixture = Fixture::new()
        .with_project("sandbox_mode = \"read-only\"\nsandbox_workspace_write.network_access = false");
    let flags = FlagLayer {
        sandbox_mode: Some(Sourced::from_flag(SandboxMode::DangerFullAccess, "--sandbox")),
        network: Some(Sourced::from_flag(true, "--network")),
        ..FlagLayer::default()
    };
    let loaded = fixture.load_with(&[], None, flags).unwrap();
    assert_eq!(loaded.settings.policy(), SandboxPolicy::ReadOnly { network: NetworkAccess::Restricted });
    let notices: Vec<String> = loaded.notices.iter().map(ToString::to_string).collect();
    assert!(
        notices[0].ends_with(":1: `sandbox_mode` is narrower here than --sandbox asks for, and holds"),
        "{notices:?}"
    );
    assert!(
        notices[1].ends_with(
            ":2: `sandbox_workspace_write.network_access` is narrower here than --network asks for, and holds"
        ),
        "{notices:?}"
    );
}

#[test]
fn notices_are_few_and_can_be_shown() {
    let text: String = (0..500).map(|number| format!("\"\\u001b[31m{number}\" = 1\n")).collect();
    let (_, notices) = tightened("", &text);
    assert!(notices.len() <= 22, "{}", notices.len());
    assert!(notices.iter().all(|notice| !notice.contains(['\u{1b}', '\n'])), "{notices:?}");
}

#[test]
fn a_file_full_of_patterns_costs_no_square() {
    let patterns: Vec<String> = (0..90_000).map(|number| format!("\"{number:x}\"")).collect();
    let text = format!("shell_environment_policy.exclude = [{}]", patterns.join(","));
    let (settings, notices) = tightened(LOOSE, &text);
    assert_eq!(settings.shell_environment_policy.exclude.items.len(), 90_001);
    assert_eq!(notices, [] as [&str; 0]);
}

#[test]
fn limits_get_tighter_and_never_looser() {
    let (settings, notices) = tightened(
        "sandbox.limits = { memory = \"1GiB\", processes = 64, cpu_time = \"1m\" }",
        "[sandbox.limits]\nmemory = \"2GiB\"\nprocesses = 32\ncpu_time = 60\nopen_files = 0x40\n",
    );
    let limits = settings.sandbox.limits();
    let amount = |limit| limits.get(limit).map(std::num::NonZeroU64::get);
    assert_eq!(amount(Limit::Memory), Some(1 << 30));
    assert_eq!(amount(Limit::Processes), Some(32));
    assert_eq!(amount(Limit::CpuTime), Some(60_000));
    assert_eq!(amount(Limit::OpenFiles), Some(64));
    assert_eq!(
        notices,
        [
            ".codex/config.toml:2: ignored: `sandbox.limits.memory = \"2GiB\"` would allow more than your own settings do"
        ]
    );
}
