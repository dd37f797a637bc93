//! Arguments from anybody: no bytes may crash the decoder, and what it understands it understands in one way only.
//!
//! An input is the helper's arguments, each ended by a NUL byte, as in `/proc/PID/cmdline`.

#![cfg_attr(fuzzing, no_main)]

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use codex_linux_sandbox::{Descriptors, Writes, wire};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let arguments = input.split(|byte| *byte == 0).map(|argument| OsString::from_vec(argument.to_vec()));
    match wire::decode(arguments, || Ok(PathBuf::from("/here"))) {
        Ok(invocation) => {
            let encoded = wire::encode(&invocation);
            assert!(encoded.iter().all(|argument| !argument.as_bytes().contains(&0)));
            // The current directory has become a tree like any other: it is not asked for a second time.
            assert_eq!(wire::decode(encoded, || Err("not asked for")), Ok(invocation.clone()));
            if let Writes::Beneath(trees) = &invocation.plan.writes {
                assert!(trees.iter().all(|tree| tree.path().is_absolute()));
                assert_eq!(invocation.descriptors, Descriptors::Close);
            }
            assert!(invocation.directory.is_none_or(|directory| directory.is_absolute()));
            assert!(invocation.status.is_none_or(|number| number > 2));
            assert!(invocation.cgroup.is_none_or(|number| number > 2));
            assert_eq!(invocation.plan.limits, invocation.plan.limits.that_hold(&invocation.plan));
            assert!(invocation.parent.is_none_or(|number| number > 0));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
