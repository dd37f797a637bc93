//! What a mistake is answered with.

use super::{Fixture, override_error};
use crate::config::FlagLayer;

fn error(text: &str) -> String {
    Fixture::user(text).error()
}

#[test]
fn an_unknown_key_names_the_nearest() {
    assert_eq!(
        error("\n  sandbox_mod = \"read-only\"\n"),
        "config.toml:2:3: unknown key `sandbox_mod`; did you mean `sandbox_mode`?"
    );
    assert_eq!(
        error("[sandbox_workspace_write]\nwriteable_roots = []"),
        "config.toml:2:1: unknown key `sandbox_workspace_write.writeable_roots`; \
         did you mean `writable_roots`?"
    );
}

#[test]
fn a_key_of_another_table_is_pointed_to() {
    assert_eq!(
        error("network_access = true"),
        "config.toml:1:1: unknown key `network_access`; \
         did you mean `sandbox_workspace_write.network_access`?"
    );
    assert_eq!(
        error("[sandbox]\nsandbox_mode = \"read-only\""),
        "config.toml:2:1: unknown key `sandbox.sandbox_mode`; did you mean `sandbox_mode` at the top level?"
    );
    assert_eq!(
        error("[profiles.ci]\nprofile = \"x\""),
        "config.toml:2:1: unknown key `profiles.ci.profile`; did you mean `profile` at the top level?"
    );
}

#[test]
fn a_key_that_is_near_nothing_lists_what_there_is() {
    assert_eq!(
        error("[sandbox]\nxyzzy = 1"),
        "config.toml:2:1: unknown key `sandbox.xyzzy`; known here: `isolation`, `require`, `git`, `protect`, \
         `unprotect`, `deny_read`, `allow_read`, `private_tmp`, `allow_unix_sockets`, `allow_hosts`, `explain`, `limits`"
    );
}

#[test]
fn a_limit_is_an_amount_of_what_it_limits() {
    let key = |line: &str| error(&format!("[sandbox.limits]\n{line}"));
    assert_eq!(
        key("memroy = 1"),
        "config.toml:2:1: unknown key `sandbox.limits.memroy`; did you mean `memory`?"
    );
    assert_eq!(
        key("memory = \"1M\""),
        "config.toml:2:10: `sandbox.limits.memory`: expected a number of bytes, or a size such as \"512MiB\" (kB, MB, GB, \
         TB, KiB, MiB, GiB, TiB), found `1M`"
    );
    assert_eq!(
        key("cpu_time = 1.5"),
        "config.toml:2:12: `sandbox.limits.cpu_time`: expected a number of seconds, or a time such as \"90s\" (ms, s, m, h), \
         found a float"
    );
    assert_eq!(
        key("processes = -4"),
        "config.toml:2:13: `sandbox.limits.processes`: expected a whole number above 0, found `-4`"
    );
    assert_eq!(
        key("shm = 0"),
        "config.toml:2:7: `sandbox.limits.shm`: 0 would let nothing run; leave it out for no limit, found `0`"
    );
    assert_eq!(
        error("memory = 1"),
        "config.toml:1:1: unknown key `memory`; did you mean `sandbox.limits.memory`?"
    );
}

#[test]
fn a_wrong_type_says_what_was_expected() {
    assert_eq!(
        error("sandbox_workspace_write.network_access = \"yes\""),
        "config.toml:1:42: `sandbox_workspace_write.network_access`: \
         expected a boolean (true or false), found a string"
    );
    assert_eq!(error("sandbox = 1"), "config.toml:1:11: `sandbox`: expected a table, found an integer");
    assert_eq!(
        error("[[profiles]]\nname = \"x\""),
        "config.toml:1:1: `profiles`: expected a table, found an array"
    );
    assert_eq!(
        error("[shell_environment_policy]\nexclude = [\"A\", 7]"),
        "config.toml:2:17: `shell_environment_policy.exclude`: \
         expected an array of strings, found an integer"
    );
    assert_eq!(
        error("[shell_environment_policy.set]\nPORT = 8080"),
        "config.toml:2:8: `shell_environment_policy.set.PORT`: expected a string, found an integer"
    );
}

#[test]
fn an_unknown_word_lists_the_known() {
    assert_eq!(
        error("sandbox_mode = \"workspace_write\""),
        "config.toml:1:16: `sandbox_mode`: expected `read-only`, `workspace-write`, `external-sandbox` or \
         `danger-full-access`, found `workspace_write`; did you mean `workspace-write`?"
    );
    assert_eq!(
        error("[sandbox]\nrequire = [\"P1\", \"netwrok\"]"),
        "config.toml:2:18: `sandbox.require`: expected `writes`, `metadata`, `network`, `inner-sockets`, \
         `processes`, `protected-metadata`, `survivors`, `privilege`, `secrets`, `P1`, `P2`, `P3`, `P4`, `P5`, \
         `P6` or `P10`, found `netwrok`; did you mean `network`?"
    );
}

#[test]
fn paths_have_to_be_absolute() {
    assert_eq!(
        error("[sandbox_workspace_write]\nwritable_roots = [\n  \"/a\",\n  \"b/c\",\n  \"~root/x\"]"),
        "config.toml:4:3: `sandbox_workspace_write.writable_roots`: \
         expected an absolute path or one below `~/`, found `b/c`\n\
         config.toml:5:3: `sandbox_workspace_write.writable_roots`: \
         expected an absolute path or one below `~/`, found `~root/x`"
    );
    assert_eq!(
        error("codex_linux_sandbox_exe = \"~/x\""),
        "config.toml:1:27: `codex_linux_sandbox_exe`: expected an absolute path, found `~/x`"
    );
    assert_eq!(
        error("codex_linux_sandbox_exe = \"/a\\u0000\""),
        "config.toml:1:27: `codex_linux_sandbox_exe`: the value holds a NUL character"
    );
}

#[test]
fn protected_names_are_relative_and_those_taken_out_are_known() {
    assert_eq!(
        error("[sandbox]\nprotect = [\"a/b\", \"/a\", \"../a\", \"\", \".\", \"a\\u0000\"]"),
        "config.toml:2:19: `sandbox.protect`: expected a name or a relative path without `.` and `..`, found `/a`\n\
         config.toml:2:25: `sandbox.protect`: expected a name or a relative path without `.` and `..`, found `../a`\n\
         config.toml:2:33: `sandbox.protect`: expected a name or a relative path without `.` and `..`, found ``\n\
         config.toml:2:37: `sandbox.protect`: expected a name or a relative path without `.` and `..`, found `.`\n\
         config.toml:2:42: `sandbox.protect`: the value holds a NUL character"
    );
    assert_eq!(
        error("sandbox.unprotect = [\".vscod\", \"src\"]"),
        "config.toml:1:22: `sandbox.unprotect`: `.vscod` is none of the built-in protected names; \
         did you mean `.vscode`?\n\
         config.toml:1:32: `sandbox.unprotect`: `src` is none of the built-in protected names"
    );
    assert_eq!(
        error("sandbox.git = \"readonly\"\nsandbox.deny_read = [\"x\"]"),
        "config.toml:1:15: `sandbox.git`: expected `read-only`, `commit` or `open`, found `readonly`; \
         did you mean `read-only`?\n\
         config.toml:2:22: `sandbox.deny_read`: expected an absolute path or one below `~/`, found `x`"
    );
}

#[test]
fn variables_that_cannot_exist_are_refused() {
    assert_eq!(
        error("[shell_environment_policy.set]\n\"A=B\" = \"x\"\nC = \"\\u0000\""),
        "config.toml:2:1: `shell_environment_policy.set.\"A=B\"`: \
         a variable's name is not empty and holds no `=` and no NUL character\n\
         config.toml:3:5: `shell_environment_policy.set.C`: the value holds a NUL character"
    );
}

#[test]
fn a_syntax_error_is_one_line_and_stops_the_rest() {
    assert_eq!(
        error("nonsense = 1\nsandbox_mode = read-only\n"),
        "config.toml:2:16: string values must be quoted, expected literal string"
    );
    assert_eq!(
        error("sandbox_mode = \"read-only\"\n[sandbox\n"),
        "config.toml:2:9: unclosed table, expected `]`"
    );
}

#[test]
fn a_key_twice_is_an_error() {
    assert_eq!(
        error("sandbox_mode = \"read-only\"\nsandbox_mode = \"danger-full-access\"\n"),
        "config.toml:2:1: duplicate key"
    );
}

#[test]
fn columns_count_characters() {
    assert_eq!(
        error("shell_environment_policy = { set = { \"äöü\" = 1 } }"),
        "config.toml:1:46: `shell_environment_policy.set.\"äöü\"`: expected a string, found an integer"
    );
}

#[test]
fn every_mistake_is_told_in_order_of_place() {
    let message =
        error("zzz = 1\nsandbox_mode = 1\naaa = 2\n[profiles.unused.sandbox]\nisolation = \"none\"\n");
    let places: Vec<&str> = message.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["config.toml:1:1", "config.toml:2:16", "config.toml:3:1", "config.toml:5:13"]);
}

#[test]
fn a_thousand_mistakes_are_counted_not_listed() {
    let text: String = (0..1000).map(|number| format!("k{number} = 1\n")).collect();
    let message = error(&text);
    assert_eq!(message.lines().count(), 21);
    assert_eq!(message.lines().last(), Some("config.toml: 980 more problems"));
}

#[test]
fn what_was_found_cannot_drive_the_terminal() {
    let message = error("\"\\u001b[2J\\nx\" = 1\nsandbox_mode = \"\\u001b]0;\\u0007\\u202e\"");
    assert_eq!(message.lines().count(), 2);
    assert!(!message.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{message:?}");
}

#[test]
fn an_unknown_profile_lists_those_defined() {
    let text = "profile = \"cj\"\n[profiles.ci]\n[profiles.deploy]\n";
    assert_eq!(error(text), "config.toml:1:11: no profile is called `cj`; defined: `ci`, `deploy`");
    assert_eq!(error("profile = \"ci\"\n"), "config.toml:1:11: no profile is called `ci`; none is defined");
    let by_flag = Fixture::user(text).load_with(&[], Some("deplyo"), FlagLayer::default()).unwrap_err();
    assert_eq!(
        by_flag.to_string(),
        "-p: no profile is called `deplyo`; did you mean `deploy`?; defined: `ci`, `deploy`"
    );
}

#[test]
fn overrides_are_as_strict_and_named_as_typed() {
    assert_eq!(
        override_error("sandbox_mod=read-only"),
        "-c sandbox_mod=read-only: unknown key `sandbox_mod`; did you mean `sandbox_mode`?"
    );
    assert_eq!(
        override_error("sandbox_workspace_write.network_access=yes"),
        "-c sandbox_workspace_write.network_access=yes: `sandbox_workspace_write.network_access`: \
         expected a boolean (true or false) in TOML: string values must be quoted, expected literal string"
    );
    assert_eq!(
        override_error("sandbox_mode.x=1"),
        "-c sandbox_mode.x=1: `sandbox_mode`: expected a string, found a key below it"
    );
    assert_eq!(
        override_error("sandbox_workspace_write={network=true}"),
        "-c sandbox_workspace_write={network=true}: unknown key `sandbox_workspace_write.network`; \
         known here: `writable_roots`, `network_access`, `exclude_tmpdir_env_var`, `exclude_slash_tmp`"
    );
}

#[test]
fn an_override_has_to_be_an_assignment() {
    for typed in ["", "sandbox_mode", "=x", "a b=1", "#x=1", "[x]=1", "\"a=1", "a..b=1", "[x]\ny=1"] {
        let message = override_error(typed);
        assert!(message.contains("expected `key=value`: "), "{typed:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{message:?}");
    }
}
