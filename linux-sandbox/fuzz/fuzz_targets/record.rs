//! Reports from anybody: whatever stands in the helper's place, no line may crash its parent, and a record that was
//! understood is written and read again as the same.

#![cfg_attr(fuzzing, no_main)]

use codex_linux_sandbox::{MAX_RECORD, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(record) = Record::parse(input) else { return };
    let line = record.to_line();
    assert!(line.len() <= MAX_RECORD);
    assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
    let again = Record::parse(&line[..line.len() - 1]);
    // One that has the greatest length may have been cut.
    if line.len() < MAX_RECORD {
        assert_eq!(again, Some(record));
    }
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
