//! Which source wins, and what origin it leaves.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Fixture;
use crate::config::{ConfigSources, FlagLayer, Isolation, Loaded, Origin, Settings, Sourced, load, rows};
use crate::enforcement::Guarantee;
use crate::limits::Limit;
use crate::policy::{NAMES, NetworkAccess, SandboxMode, SandboxPolicy};

const EVERYTHING: &str = r#"
sandbox_mode = "workspace-write"
model = "m"
model_provider = "a.b"
approval_policy = "on-request"
model_context_window = 65536
codex_linux_sandbox_exe = "/opt/helper"

[sandbox_workspace_write]
writable_roots = ["/data", "~/cache", "~//etc"]
network_access = true
exclude_tmpdir_env_var = true
exclude_slash_tmp = true

[shell_environment_policy]
inherit = "core"
ignore_default_excludes = true
exclude = ["AWS_*"]
include_only = ["PATH", "HOME"]
[shell_environment_policy.set]
CI = "1"
"A.B" = "it's \"q\""

[sandbox]
isolation = "landlock"
require = ["P2", "network", "writes"]
git = "read-only"
protect = ["Makefile", "ci//run"]
unprotect = [".husky"]
deny_read = ["~/.ssh", "/srv/keys"]
allow_read = ["~/.ssh/known_hosts"]
private_tmp = true
allow_unix_sockets = ["/run/docker.sock"]
allow_hosts = ["Crates.io:443", "*.crates.io"]
explain = "always"

[exec_server]
max_policy = "read-only"
writable_roots = ["~/work"]
network_access = true
http_allow = ["localhost:8080", "[::1]:80"]

[audit]
file = "/var/log/codex"
max_bytes = 1_000

[model_providers."a.b"]
name = "A"
base_url = "https://a/v1"
env_key = "A_KEY"
wire_api = "chat"
http_headers = { X = "secret" }
env_http_headers.Y = "Y_KEY"
query_params = { version = "1" }
request_max_retries = 0
stream_max_retries = 0x10
stream_idle_timeout_ms = 5_000
model_context_window = 32768

[approvals]
forbid = ["git  push"]
allow = ["cargo test"]
prompt = ["npm"]
unsandboxed = ["git fetch"]
write = ["~/cache"]
read = ["/srv/keys/public"]
network_access = true
hosts = ["10.0.0.1"]

[profiles.ci]
sandbox_mode = "read-only"
sandbox_workspace_write.writable_roots = []
shell_environment_policy.set.CI = "2"
"#;

fn listing(settings: &Settings, home: &Path) -> Vec<String> {
    let prefix = format!("{}/", home.display());
    rows(settings)
        .into_iter()
        .map(|row| format!("{} = {}  {}", row.key, row.value, row.origin.to_string().replace(&prefix, "")))
        .collect()
}

fn flags(mode: SandboxMode) -> FlagLayer {
    FlagLayer { sandbox_mode: Some(Sourced::from_flag(mode, "--sandbox")), ..FlagLayer::default() }
}

fn overridden(overrides: &[&str]) -> Loaded {
    Fixture::new().load_with(overrides, None, FlagLayer::default()).unwrap()
}

#[test]
fn every_key_is_read_and_listed() {
    let fixture = Fixture::user(EVERYTHING);
    let settings = fixture.load().unwrap().settings;
    assert_eq!(
        listing(&settings, &fixture.home()),
        [
            "sandbox_mode = \"workspace-write\"  config.toml:2",
            "sandbox_workspace_write.writable_roots = [\"/data\", \"/home/me/cache\", \"/home/me/etc\"]  \
             config.toml:10",
            "sandbox_workspace_write.network_access = true  config.toml:11",
            "sandbox_workspace_write.exclude_tmpdir_env_var = true  config.toml:12",
            "sandbox_workspace_write.exclude_slash_tmp = true  config.toml:13",
            "shell_environment_policy.inherit = \"core\"  config.toml:16",
            "shell_environment_policy.ignore_default_excludes = true  config.toml:17",
            "shell_environment_policy.exclude = [\"AWS_*\"]  config.toml:18",
            "shell_environment_policy.set.\"A.B\" = \"it's \\\"q\\\"\"  config.toml:22",
            "shell_environment_policy.set.CI = \"1\"  config.toml:21",
            "shell_environment_policy.include_only = [\"PATH\", \"HOME\"]  config.toml:19",
            "codex_linux_sandbox_exe = \"/opt/helper\"  config.toml:7",
            "sandbox.isolation = \"landlock\"  config.toml:25",
            "sandbox.require = [\"network\", \"inner-sockets\", \"writes\"]  config.toml:26",
            "sandbox.git = \"read-only\"  config.toml:27",
            "sandbox.protect = [\"Makefile\", \"ci/run\"]  config.toml:28",
            "sandbox.unprotect = [\".husky\"]  config.toml:29",
            "sandbox.deny_read = [\"/home/me/.ssh\", \"/srv/keys\"]  config.toml:30",
            "sandbox.allow_read = [\"/home/me/.ssh/known_hosts\"]  config.toml:31",
            "sandbox.private_tmp = true  config.toml:32",
            "sandbox.allow_unix_sockets = [\"/run/docker.sock\"]  config.toml:33",
            "sandbox.allow_hosts = [\"crates.io:443\", \"*.crates.io\"]  config.toml:34",
            "sandbox.explain = \"always\"  config.toml:35",
            "exec_server.max_policy = \"read-only\"  config.toml:38",
            "exec_server.writable_roots = [\"/home/me/work\"]  config.toml:39",
            "exec_server.network_access = true  config.toml:40",
            "exec_server.http_allow = [\"localhost:8080\", \"[::1]:80\"]  config.toml:41",
            "audit.file = \"/var/log/codex\"  config.toml:44",
            "audit.max_bytes = 1000  config.toml:45",
            "model = \"m\"  config.toml:3",
            "model_provider = \"a.b\"  config.toml:4",
            "model_context_window = 65536  config.toml:6",
            "model_providers.\"a.b\".name = \"A\"  config.toml:48",
            "model_providers.\"a.b\".base_url = \"https://a/v1\"  config.toml:49",
            "model_providers.\"a.b\".env_key = \"A_KEY\"  config.toml:50",
            "model_providers.\"a.b\".wire_api = \"chat\"  config.toml:51",
            "model_providers.\"a.b\".http_headers.X = \"…\"  config.toml:52",
            "model_providers.\"a.b\".query_params.version = \"…\"  config.toml:54",
            "model_providers.\"a.b\".env_http_headers.Y = \"Y_KEY\"  config.toml:53",
            "model_providers.\"a.b\".request_max_retries = 0  config.toml:55",
            "model_providers.\"a.b\".stream_max_retries = 16  config.toml:56",
            "model_providers.\"a.b\".stream_idle_timeout_ms = 5000  config.toml:57",
            "model_providers.\"a.b\".model_context_window = 32768  config.toml:58",
            "approval_policy = \"on-request\"  config.toml:5",
            "approvals.allow = [\"cargo test\"]  config.toml:62",
            "approvals.prompt = [\"npm\"]  config.toml:63",
            "approvals.forbid = [\"git push\"]  config.toml:61",
            "approvals.unsandboxed = [\"git fetch\"]  config.toml:64",
            "approvals.write = [\"/home/me/cache\"]  config.toml:65",
            "approvals.read = [\"/srv/keys/public\"]  config.toml:66",
            "approvals.network_access = true  config.toml:67",
            "approvals.hosts = [\"10.0.0.1\"]  config.toml:68",
        ]
    );
    assert_eq!(
        settings.policy(),
        SandboxPolicy::WorkspaceWrite {
            writable_roots: ["/data", "/home/me/cache", "/home/me/etc"].map(PathBuf::from).to_vec(),
            network: NetworkAccess::Enabled,
            exclude_tmpdir_env_var: true,
            exclude_slash_tmp: true,
        }
    );
}

#[test]
fn the_defaults_are_listed_as_such() {
    let listed = rows(&Settings::default());
    assert!(listed.iter().all(|row| row.origin == Origin::Default));
    let shown: Vec<String> = listed.iter().map(|row| format!("{} = {}", row.key, row.value)).collect();
    assert_eq!(shown[0], "sandbox_mode = \"read-only\"");
    assert!(shown.contains(&"shell_environment_policy.ignore_default_excludes = false".to_owned()));
    assert!(shown.contains(&"sandbox_workspace_write.writable_roots = []".to_owned()));
}

#[test]
fn flags_beat_overrides_beat_profile_beat_file() {
    let fixture = Fixture::user(
        "sandbox_mode = \"danger-full-access\"\n[profiles.p]\nsandbox_mode = \"workspace-write\"\n",
    );
    let typed = "sandbox_mode=external-sandbox";
    let mode = |overrides: &[&str], profile, flags| {
        fixture.load_with(overrides, profile, flags).unwrap().settings.sandbox_mode
    };
    let path = fixture.user_file();

    let by_file = mode(&[], None, FlagLayer::default());
    assert_eq!(by_file.value, SandboxMode::DangerFullAccess);
    assert_eq!(by_file.origin, Origin::File { path: path.clone(), line: 1 });

    let by_profile = mode(&[], Some("p"), FlagLayer::default());
    assert_eq!(by_profile.value, SandboxMode::WorkspaceWrite);
    assert_eq!(by_profile.origin.to_string(), format!("profile p ({}:3)", path.display()));

    let by_override = mode(&[typed], Some("p"), FlagLayer::default());
    assert_eq!(by_override.value, SandboxMode::ExternalSandbox);
    assert_eq!(by_override.origin.to_string(), "-c sandbox_mode=external-sandbox");

    let by_flag = mode(&[typed], Some("p"), flags(SandboxMode::ReadOnly));
    assert_eq!(by_flag.value, SandboxMode::ReadOnly);
    assert_eq!(by_flag.origin.to_string(), "--sandbox");
}

#[test]
fn tables_merge_and_lists_replace() {
    let fixture = Fixture::user(EVERYTHING);
    let settings = fixture.load_with(&[], Some("ci"), FlagLayer::default()).unwrap().settings;
    let environment = &settings.shell_environment_policy;
    assert_eq!(environment.set["CI"].value, "2");
    assert_eq!(environment.set["A.B"].value, "it's \"q\"");
    let roots = &settings.workspace_write.writable_roots;
    assert!(roots.is_empty());
    assert!(matches!(&roots.origin, Origin::Profile { name, line: 72, .. } if name == "ci"), "{roots:?}");
}

#[test]
fn the_profile_is_chosen_by_flag_then_override_then_file() {
    let fixture = Fixture::user("profile = \"a\"\n[profiles.a]\n[profiles.b]\n[profiles.c]\n");
    let chosen = |overrides: &[&str], flag| {
        let loaded = fixture.load_with(overrides, flag, FlagLayer::default()).unwrap();
        loaded.profile.unwrap().value
    };
    assert_eq!(chosen(&[], None), "a");
    assert_eq!(chosen(&["profile=c", "profile=b"], None), "b");
    assert_eq!(chosen(&["profile=b"], Some("c")), "c");
    assert_eq!(chosen(&["profiles.d.sandbox_mode=workspace-write", "profile=d"], None), "d");
}

#[test]
fn later_overrides_win() {
    let loaded = overridden(&["sandbox_mode=workspace-write", "sandbox_mode=\"external-sandbox\""]);
    assert_eq!(loaded.settings.sandbox_mode.value, SandboxMode::ExternalSandbox);
}

#[test]
fn text_needs_no_quotes_in_an_override() {
    for (typed, name, value) in [
        ("PORT=8080", "PORT", "8080"),
        ("\"A.B\"= x=y ", "A.B", "x=y"),
        ("'A B'=x", "A B", "x"),
        ("E=", "E", ""),
        ("Q=\"a b \"", "Q", "a b "),
        ("L=[\"a\"]", "L", "[\"a\"]"),
    ] {
        let loaded = overridden(&[&format!("shell_environment_policy.set.{typed}")]);
        let set = &loaded.settings.shell_environment_policy.set;
        assert_eq!(set.get(name).map(|set| &*set.value), Some(value), "{typed}");
    }
}

#[test]
fn an_override_may_set_a_whole_table_and_merges_it() {
    let fixture = Fixture::user("[sandbox_workspace_write]\nexclude_slash_tmp = true\n");
    let settings = fixture
        .load_with(&["sandbox_workspace_write={network_access=true}"], None, FlagLayer::default())
        .unwrap()
        .settings;
    assert!(settings.workspace_write.network_access.value);
    assert!(settings.workspace_write.exclude_slash_tmp.value);
}

#[test]
fn added_directories_are_appended_and_need_not_be_utf8() {
    let fixture = Fixture::user("sandbox_workspace_write.writable_roots = [\"/data\"]");
    let odd = PathBuf::from(OsStr::from_bytes(b"/\xff"));
    let flags = FlagLayer {
        writable_roots: vec![Sourced::from_flag(odd.clone(), "--add-dir")],
        ..flags(SandboxMode::WorkspaceWrite)
    };
    let settings = fixture.load_with(&[], None, flags).unwrap().settings;
    let roots = &settings.workspace_write.writable_roots;
    assert_eq!(roots.values().cloned().collect::<Vec<_>>(), [PathBuf::from("/data"), odd]);
    let listed = listing(&settings, &fixture.home());
    assert_eq!(
        listed[1..3],
        [
            "sandbox_workspace_write.writable_roots = [\"/data\"]  config.toml:1",
            "sandbox_workspace_write.writable_roots = [\"/\u{fffd}\"]  --add-dir",
        ]
    );
}

#[test]
fn a_relative_directory_of_a_flag_is_refused() {
    let flags = FlagLayer {
        writable_roots: vec![Sourced::from_flag(PathBuf::from("x"), "--add-dir")],
        ..FlagLayer::default()
    };
    let error = Fixture::new().load_with(&[], None, flags).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--add-dir: `sandbox_workspace_write.writable_roots`: expected an absolute path, found `x`"
    );
}

#[test]
fn without_a_home_the_tilde_is_refused() {
    let overrides = ["sandbox_workspace_write.writable_roots=[\"~/x\"]".to_owned()];
    for home in [None, Some(Path::new("relative"))] {
        let sources = ConfigSources { home, overrides: &overrides, ..ConfigSources::default() };
        let error = load(&sources).unwrap_err().to_string();
        assert!(error.ends_with("cannot expand `~/x`: the home directory is not known"), "{error}");
    }
}

#[test]
fn limits_are_laid_over_one_another_one_by_one() {
    let flags = FlagLayer {
        limits: [(Limit::Shm, Sourced::from_flag(std::num::NonZeroU64::MIN, "--limit"))].into(),
        ..FlagLayer::default()
    };
    let fixture = Fixture::user("[sandbox.limits]\nmemory = 1048576\nprocesses = 8\nshm = \"1MiB\"\n");
    let typed = ["sandbox.limits.memory=2MiB", "sandbox.limits.cpu_time='1500ms'"];
    let loaded = fixture.load_with(&typed, None, flags).unwrap();
    let rows = crate::config::rows(&loaded.settings);
    let rows =
        rows.iter().filter_map(|row| Some((row.key.strip_prefix("sandbox.limits.")?, row.value.as_str())));
    let expected = [("memory", "\"2MiB\""), ("processes", "8"), ("cpu_time", "\"1500ms\""), ("shm", "\"1\"")];
    assert_eq!(rows.collect::<Vec<_>>(), expected);
}

#[test]
fn network_access_counts_in_workspace_write_and_the_flag_everywhere() {
    let key = "sandbox_workspace_write.network_access=true";
    let network = FlagLayer {
        network: Some(Sourced::from_flag(true, "--network")),
        isolation: Some(Sourced::from_flag(Isolation::Landlock, "--isolation")),
        ..FlagLayer::default()
    };
    for mode in SandboxMode::ALL {
        let typed = format!("sandbox_mode={mode}");
        let full = |overrides: &[&str], flags: &FlagLayer| {
            let loaded = Fixture::new().load_with(overrides, None, flags.clone()).unwrap();
            loaded.settings.policy().has_full_network_access()
        };
        let unrestricted = mode == SandboxMode::DangerFullAccess;
        assert_eq!(full(&[&typed], &FlagLayer::default()), unrestricted, "{mode}");
        let by_key = unrestricted || mode == SandboxMode::WorkspaceWrite;
        assert_eq!(full(&[&typed, key], &FlagLayer::default()), by_key, "{mode}");
        assert!(full(&[&typed], &network), "{mode}");
    }
}

#[test]
fn protected_names_are_the_built_in_ones_less_some_and_more() {
    let loaded = overridden(&[
        "sandbox.unprotect=[\".husky\", \".envrc\"]",
        "sandbox.protect=[\"Makefile\", \".envrc\", \".vscode\"]",
    ]);
    let protection = loaded.settings.sandbox.protection();
    let paths = protection.paths();
    assert!(paths.contains(&PathBuf::from(".vscode")) && !paths.contains(&PathBuf::from(".husky")));
    // What is named in `protect` holds, whatever `unprotect` says.
    assert_eq!(paths[paths.len() - 2..], ["Makefile", ".envrc"].map(PathBuf::from));
    assert_eq!(paths.len(), NAMES.len());
}

#[test]
fn required_guarantees_appear_once() {
    let loaded = overridden(&["sandbox.require=[\"P1\", \"metadata\", \"p1\"]"]);
    let required: Vec<Guarantee> = loaded.settings.sandbox.require.values().copied().collect();
    assert_eq!(required, [Guarantee::Writes, Guarantee::Metadata]);
}
