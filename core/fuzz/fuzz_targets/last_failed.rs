//! What is remembered of the last command that failed, from anybody: no bytes may crash the reader, and what it reads is written so
//! that it is read as the same.

#![cfg_attr(fuzzing, no_main)]

use codex_core::denial::LastFailed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Some(failed) = LastFailed::parse(text) {
        assert!(failed.directory.is_absolute() && !failed.command.is_empty());
        let written = failed.to_json().expect("it can be written");
        assert_eq!(LastFailed::parse(&written), Some(failed));
    }
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
