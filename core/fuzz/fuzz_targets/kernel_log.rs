//! Records of the kernel's audit log, in any order and any state: none may crash the reader, what it keeps is bounded, and
//! what it tells has a form that the policy can be asked about.

#![cfg_attr(fuzzing, no_main)]

use std::path::Path;
use std::time::Duration;

use codex_core::denial::kernel_log::{LoggedCall, MOST_LOGGED, Record};
use codex_linux_sandbox::Act;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut call = LoggedCall::new("/usr/bin/codex".into(), Duration::from_secs(1_795_783_312));
    let mut refusals = 0_u64;
    for (index, line) in input.split(|byte| *byte == b'\n').enumerate() {
        if index == 3 {
            call.belongs_to(2641);
        }
        let (kind, text) = line.split_at(line.len().min(5));
        let kind = std::str::from_utf8(kind).unwrap_or_default().trim_end().parse().unwrap_or_default();
        refusals += u64::from(kind == 1423 && Record::parse(kind, text).is_some());
        call.take(kind, text);
    }
    let (attempts, _) = call.finish(Some(Duration::from_secs(u64::from(u32::MAX))));
    assert!(attempts.len() <= MOST_LOGGED);
    assert!(attempts.iter().map(|attempt| attempt.count).sum::<u64>() <= refusals);
    for attempt in attempts {
        assert!(attempt.second.is_none());
        match attempt.act {
            Act::Signal => {
                let number = attempt.target.to_str().unwrap();
                assert!(number.parse::<i32>().is_ok());
            }
            Act::Write | Act::CreateIn | Act::RemoveIn | Act::RenameIn => {
                assert!(Path::new(&attempt.target).is_absolute());
                assert!(Path::new(attempt.places[0].as_ref().unwrap()).is_absolute());
            }
            other => panic!("{other:?}"),
        }
    }
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
