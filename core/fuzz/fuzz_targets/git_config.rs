//! A git configuration from anybody: no bytes may crash the reader, and what is left of a file after it was disarmed is
//! read back as harmless.

#![cfg_attr(fuzzing, no_main)]

use codex_core::policy::protected::git_config::{Disarmed, disarm, parse, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let entries = parse(text);
    if let Disarmed::Replace { text: replacement, .. } = disarm(text) {
        let kept = parse(&replacement).expect("what was written can be read");
        assert_eq!(write(&kept), replacement);
        // Written in a form that git reads in one way; disarming it again may write it anew, and takes nothing out.
        if let Disarmed::Replace { text: again, removed } = disarm(&replacement) {
            assert_eq!((again, removed), (replacement, Vec::new()));
        }
    } else {
        entries.expect("what can't be read is never harmless");
    }
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
