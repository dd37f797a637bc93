//! What a command finds of arguments and variables.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use codex_core::exec::Sandbox;
use codex_core::policy::{NetworkAccess, SandboxPolicy};

use crate::runs::{READ_ONLY, read_only, request, run, sandbox, unrestricted, workspace_write};

type Variables = Vec<(OsString, OsString)>;

/// The environment of a command that was given these variables, as the kernel keeps it.
fn found(variables: Variables, sandbox: &Sandbox) -> Vec<u8> {
    let mut request = request(["/bin/cat", "/proc/self/environ"]);
    request.env = variables;
    run(request, sandbox).stdout.head
}

fn block(variables: &[(OsString, OsString)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in variables {
        block.extend([name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat());
    }
    block
}

fn variable(name: &[u8], value: &[u8]) -> (OsString, OsString) {
    (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()))
}

#[test]
fn variables_arrive_byte_for_byte_and_in_order() {
    let mut variables = vec![
        variable(b"PLAIN", b"value"),
        variable(b"EMPTY", b""),
        variable(b"EQUALS", b"a=b==c"),
        variable(b"LINES", b"one\ntwo\n\n"),
        variable(b"BYTES", b"\xff\xfe\x01\x80"),
        variable(b"\xe9\n name", b"not UTF-8"),
        variable(b"lower", b"case"),
        variable(b"LD_PRELOAD", b""),
        variable(b"TWICE", b"first"),
        variable(b"TWICE", b"second"),
    ];
    // 1 MiB: each value is below what the kernel takes of a single one, 128 KiB.
    variables.extend((0..10_u8).map(|number| variable(&[b'A' + number], &vec![b'a' + number; 105_000])));
    assert_eq!(found(variables.clone(), &unrestricted()), block(&variables));
    assert_eq!(found(variables.clone(), &read_only()), block(&read_only().environment(variables)));
}

#[test]
fn an_empty_environment_stays_empty() {
    assert_eq!(found(Vec::new(), &unrestricted()), b"");
}

#[test]
fn a_variable_can_not_reach_the_helper() {
    // These would change what a program of the C library does before its first own instruction.
    let hostile = vec![
        variable(b"LD_PRELOAD", b"/no/such/library.so"),
        variable(b"LD_DEBUG", b"all"),
        variable(b"MALLOC_PERTURB_", b"1"),
        variable(b"RUST_BACKTRACE", b"full"),
        variable(b"PATH", b"/no/such/directory"),
    ];
    let mut request = request(["/no/such/program"]);
    request.env = hostile;
    let result = run(request, &read_only());
    assert_eq!(result.outcome.sentence(), "/no/such/program: command not found");
    assert_eq!(
        String::from_utf8(result.stderr.head).unwrap(),
        "",
        "it says so to the caller, and to nobody else"
    );
}

#[test]
fn p2_the_two_variables_say_what_holds() {
    let enabled = |network| SandboxPolicy::ReadOnly { network };
    let mut workspace_with_network = workspace_write();
    if let SandboxPolicy::WorkspaceWrite { network, .. } = &mut workspace_with_network {
        *network = NetworkAccess::Enabled;
    }
    let level = ("CODEX_SANDBOX", crate::ISOLATION.name());
    let disabled = ("CODEX_SANDBOX_NETWORK_DISABLED", "1");
    let cases = [
        (READ_ONLY, vec![level, disabled]),
        (enabled(NetworkAccess::Enabled), vec![level]),
        (workspace_write(), vec![level, disabled]),
        (workspace_with_network, vec![level]),
        (SandboxPolicy::ExternalSandbox { network: NetworkAccess::Restricted }, vec![level, disabled]),
        (SandboxPolicy::ExternalSandbox { network: NetworkAccess::Enabled }, vec![]),
        (SandboxPolicy::DangerFullAccess, vec![]),
    ];
    let workspace = tempfile::tempdir().unwrap();
    for (policy, expected) in cases {
        // What a caller that is itself in a sandbox passes on says nothing about this one.
        let inherited =
            [("CODEX_SANDBOX", "seatbelt"), ("CODEX_SANDBOX_NETWORK_DISABLED", "0"), ("KEPT", "x")];
        let inherited = inherited.map(|(name, value)| (name.into(), value.into())).to_vec();
        let expected: Variables = [("KEPT", "x")]
            .iter()
            .chain(&expected)
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let found = found(inherited, &sandbox(&policy, workspace.path()));
        assert_eq!(String::from_utf8(found), String::from_utf8(block(&expected)), "{policy:?}");
    }
}

#[test]
fn arguments_arrive_byte_for_byte() {
    let words: [&[u8]; 9] = [
        b"/bin/cat",
        b"/proc/self/cmdline",
        b"--",
        b"",
        b"a b",
        b"\xff\xfe",
        b"\n",
        b"-s",
        b"--landlock-abi",
    ];
    let command = words.map(|word| OsString::from_vec(word.to_vec()));
    let expected: Vec<u8> = words.iter().flat_map(|word| [word, &b"\0"[..]].concat()).collect();
    for sandbox in [read_only(), unrestricted()] {
        assert_eq!(run(request(command.clone()), &sandbox).stdout.head, expected);
    }
}

#[test]
fn a_megabyte_of_arguments_arrives() {
    let words: Vec<String> = (0..10).map(|number| number.to_string().repeat(105_000)).collect();
    let command = ["sh", "-c", "printf %s \"$@\" | wc -c", "sh"].map(str::to_owned);
    let result = run(request(command.into_iter().chain(words)), &read_only());
    assert_eq!(String::from_utf8(result.stdout.head).unwrap().trim(), "1050000");
}

#[test]
fn a_command_can_bear_another_name() {
    for name in [&b"other-name"[..], b"", b"-dash", b"\xff"] {
        let mut request = request(["/bin/cat", "/proc/self/cmdline"]);
        request.arg0 = Some(OsString::from_vec(name.to_vec()));
        assert_eq!(run(request, &read_only()).stdout.head, [name, b"\0/proc/self/cmdline\0"].concat());
    }
    let result = run(request(["cat", "/proc/self/cmdline"]), &read_only());
    assert_eq!(result.stdout.head, b"cat\0/proc/self/cmdline\0", "the name as it was given, found in PATH");
}

#[test]
fn a_command_runs_where_it_shall() {
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join(OsString::from_vec(b"\xff new\nline".to_vec()));
    std::fs::create_dir(&odd).unwrap();
    for place in [Path::new("/"), directory.path(), &odd] {
        let mut request = request(["readlink", "-n", "/proc/self/cwd"]);
        request.cwd = Some(place.to_owned());
        assert_eq!(
            run(request, &read_only()).stdout.head,
            place.canonicalize().unwrap().as_os_str().as_bytes()
        );
    }
}

#[test]
fn what_is_inherited_of_a_process_stays() {
    let ask = "umask; ulimit -n; ulimit -c; nice; sed -n s/Cpus_allowed://p /proc/self/status";
    let outside = std::process::Command::new("sh").args(["-c", ask]).output().unwrap().stdout;
    for sandbox in [read_only(), unrestricted()] {
        assert_eq!(run(crate::runs::shell(ask), &sandbox).stdout.head, outside);
    }
}
