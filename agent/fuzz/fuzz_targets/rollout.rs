//! A session from the disk: no bytes may crash the reader, and what it gives is a conversation that a server takes.

#![cfg_attr(fuzzing, no_main)]

use std::collections::BTreeSet;

use codex_agent::conversation::Item;
use codex_agent::rollout::read;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (_, items) = read(input);
    let mut open = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for item in items {
        match item {
            Item::Call(call) => {
                assert!(seen.insert(call.call_id.clone()), "two calls of one name");
                open.insert(call.call_id);
            }
            Item::Output { call_id, .. } => assert!(open.remove(&call_id), "an answer to nothing"),
            Item::User { .. } | Item::Assistant { .. } | Item::Reasoning { .. } => {
                assert!(open.is_empty(), "a call without an answer");
            }
        }
    }
    assert!(open.is_empty(), "a call without an answer");
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
