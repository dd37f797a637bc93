//! The plain ways to start a command, read without the definitions of the options.
//!
//! Building those takes longer than everything else that is done with what was typed, and every command would wait for it.
//! What is read here is a part of what they allow, in the same sense; whatever is spelt otherwise, is a question or a
//! mistake, is left to them. A test compares the two.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::slice::Iter;

use codex_core::config::Isolation;
use codex_core::policy::SandboxMode;

use super::{LearnOptions, PolicyOptions, SandboxArgs};

/// Reads options, `--` and a command. Nothing where the definitions have to be asked.
pub(super) fn read(words: &[OsString]) -> Option<SandboxArgs> {
    let mut args = SandboxArgs {
        policy: PolicyOptions {
            sandbox: None,
            full_auto: false,
            cd: None,
            add_dir: Vec::new(),
            network: false,
            allow_host: Vec::new(),
            isolation: None,
            explain: false,
            limits: Vec::new(),
            overrides: Vec::new(),
            profile: None,
        },
        timeout: None,
        idle_timeout: None,
        max_output: None,
        grace: None,
        json: false,
        pty: false,
        passthrough: false,
        quiet: false,
        learn: LearnOptions::default(),
        print_plan: false,
        command: Vec::new(),
    };
    let policy = &mut args.policy;
    let mut words = words.iter();
    loop {
        let word = words.next()?.to_str()?;
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match (name, attached) {
            ("--", None) => break,
            ("--full-auto", None) => once(&mut policy.full_auto)?,
            ("--network", None) => once(&mut policy.network)?,
            ("--explain", None) => once(&mut policy.explain)?,
            ("--json", None) => once(&mut args.json)?,
            ("-q" | "--quiet", None) => once(&mut args.quiet)?,
            ("-s", None) | ("--sandbox", _) => {
                let name = value(attached, &mut words)?;
                set(&mut policy.sandbox, SandboxMode::ALL.into_iter().find(|mode| name == mode.name()))?;
            }
            ("--isolation", _) => {
                let name = value(attached, &mut words)?;
                set(&mut policy.isolation, Isolation::ALL.into_iter().find(|level| name == level.name()))?;
            }
            ("-C", None) | ("--cd", _) => {
                set(&mut policy.cd, value(attached, &mut words).map(PathBuf::from))?
            }
            ("--allow-host", _) => {
                policy.allow_host.push(value(attached, &mut words)?.to_str()?.parse().ok()?);
            }
            ("--add-dir", _) => policy.add_dir.push(value(attached, &mut words)?.into()),
            _ => return None,
        }
    }
    args.command = words.cloned().collect();
    let one_policy = !(policy.full_auto && policy.sandbox.is_some());
    (one_policy && !args.command.is_empty()).then_some(args)
}

/// A switch, which may be given once.
fn once(switch: &mut bool) -> Option<()> {
    (!std::mem::replace(switch, true)).then_some(())
}

/// An option, which may be given once.
fn set<T>(option: &mut Option<T>, value: Option<T>) -> Option<()> {
    option.replace(value?).is_none().then_some(())
}

/// The value of an option: in the same word, or the next one, where that can only be a value.
fn value<'w>(attached: Option<&'w str>, words: &mut Iter<'w, OsString>) -> Option<&'w OsStr> {
    let value = match attached {
        Some(value) => OsStr::new(value),
        None => words.next().filter(|word| !word.as_encoded_bytes().starts_with(b"-"))?,
    };
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    use clap::{Args as _, FromArgMatches as _};
    use proptest::prelude::*;

    use super::{SandboxArgs, read};

    /// What the definitions make of the words.
    fn defined(words: &[OsString]) -> Option<SandboxArgs> {
        let command = SandboxArgs::augment_args(clap::Command::new("sandbox").no_binary_name(true));
        let matches = command.try_get_matches_from(words).ok()?;
        SandboxArgs::from_arg_matches(&matches).ok()
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_usual_ways_are_read() {
        for line in [
            "-- true",
            "--full-auto -- make -j 2",
            "--full-auto --add-dir a --add-dir /b --network -- cargo build -- --json",
            "--allow-host crates.io:443 --allow-host=*.crates.io -- cargo build",
            "-s workspace-write -C /work -- ls",
            "--sandbox danger-full-access --quiet -- ls",
            "--isolation landlock --explain --json -- -s",
            "--sandbox=read-only --isolation=landlock --cd=/ --add-dir=-x -- true",
        ] {
            let words = words(line);
            let read = read(&words).unwrap();
            assert_eq!(format!("{read:?}"), format!("{:?}", defined(&words).unwrap()), "{line}");
        }
    }

    #[test]
    fn everything_else_is_left_to_the_definitions() {
        for line in [
            "true",
            "--",
            "--full-auto",
            "--help -- true",
            "--cd= -- true",
            "--network=true -- true",
            "-s=read-only -- true",
            "-sread-only -- true",
            "-s no-such-mode -- true",
            "-s -- true",
            "-s read-only -s read-only -- true",
            "--full-auto --full-auto -- true",
            "--full-auto -s read-only -- true",
            "--cd  -- true",
            "--allow-host a/b -- true",
            "--timeout 1s -- true",
            "--pty -- true",
            "-qs read-only -- true",
        ] {
            assert!(read(&words(line)).is_none(), "{line}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn what_is_read_is_what_the_definitions_say(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "--full-auto", "--network", "--explain", "--json", "-q", "--quiet", "-s", "--sandbox", "read-only",
                    "danger-full-access", "--isolation", "landlock", "auto", "-C", "--cd", "--add-dir", "--allow-host", "a:1", "--allow-host=*.a", "/", "a b", "",
                    "--sandbox=read-only", "--isolation=auto", "--cd=/", "--cd=", "--add-dir=-x", "--add-dir==",
                    "--network=true", "-s=auto", "-", "--", "--", "--", "--pty", "--print-plan", "-c", "a=b", "--tty", "--timeout", "true", "\u{fffd}",
                ]),
                0..9,
            )
        ) {
            // A byte that is no text stands in for the one character that means it does not know.
            let words: Vec<OsString> = words
                .into_iter()
                .map(|word| if word == "\u{fffd}" { OsString::from_vec(vec![0xff]) } else { word.into() })
                .collect();
            if let Some(read) = read(&words) {
                let defined = defined(&words);
                prop_assert!(defined.is_some(), "{words:?} is no command");
                prop_assert_eq!(format!("{read:?}"), format!("{:?}", defined.unwrap()));
            }
        }
    }
}
