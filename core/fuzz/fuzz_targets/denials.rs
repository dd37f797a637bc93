//! What a failed command wrote, by anybody: no bytes may crash the reader, what it reads is bounded, and nothing is told that
//! the policy does not refuse.

#![cfg_attr(fuzzing, no_main)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::sync::LazyLock;

use codex_core::config::Settings;
use codex_core::denial::{Certainty, Ended, Judge, MOST_TARGETS, NOWHERE, Verdict, explain, oracle::message};
use codex_core::enforcement::Level;
use codex_core::exec::Outcome;
use codex_core::policy::{
    NetworkAccess, ResolvedPlaces, ResolvedPolicy, ResolvedWrites, RootOrigin, SandboxMode, Surroundings,
    WritableRoot,
};
use codex_linux_sandbox::UnixSockets;
use libfuzzer_sys::fuzz_target;

static POLICY: LazyLock<ResolvedPolicy> = LazyLock::new(|| ResolvedPolicy {
    mode: SandboxMode::WorkspaceWrite,
    writes: ResolvedWrites::Beneath(vec![WritableRoot {
        path: "/tmp".into(),
        asked: "/tmp".into(),
        origin: RootOrigin::SlashTmp,
    }]),
    network: NetworkAccess::Restricted,
    notes: Vec::new(),
    folded: Vec::new(),
});
static SETTINGS: LazyLock<Settings> = LazyLock::new(Settings::default);
static PLACES: LazyLock<ResolvedPlaces> = LazyLock::new(ResolvedPlaces::default);

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == 0xff);
    let (argument, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    for said in message::read(&String::from_utf8_lossy(text)) {
        if let message::Target::Path(path) = &said.target {
            assert!(!path.is_empty() && path.len() <= 1024);
        }
    }
    let argv = [OsString::from("sh"), OsString::from_vec(argument.to_vec())];
    let ended = Ended { outcome: &Outcome::Exited { code: 1 }, text, argv: &argv, cwd: Path::new("/tmp") };
    for level in [Level::Namespaces, Level::Landlock] {
        let judge = Judge {
            policy: &POLICY,
            places: &PLACES,
            protection: None,
            special: Vec::new(),
            level,
            unix_sockets: UnixSockets::Broker,
            settings: &SETTINGS,
            dwelling: &NOWHERE,
            surroundings: Surroundings {
                policy_cwd: Path::new("/tmp"),
                tmpdir: None,
                codex_home: None,
                named_in_files: &[],
            },
            root: false,
            viewed: false,
        };
        let denials = explain(&ended, &judge);
        assert!(denials.len() <= MOST_TARGETS);
        for denial in denials {
            assert_eq!(denial.certainty, Certainty::Likely);
            assert!(!denial.line().contains('\n'));
            if let Some(place) = &denial.resolved_target {
                // A name that is not UTF-8 was told with U+FFFD.
                if !place.contains('\u{fffd}') && denial.operation.name() != "unix" {
                    let again = judge.file(denial.operation, Path::new(place));
                    assert!(!place.starts_with("/tmp/"), "{denial:?} {again:?}");
                    assert!(!matches!(again, Ok(Verdict::Allowed { .. })), "{denial:?}");
                }
            }
        }
    }
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
