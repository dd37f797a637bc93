//! A server's answer: no bytes may crash the reader, what it keeps is bounded, and pieces are no matter.

#![cfg_attr(fuzzing, no_main)]

use codex_agent::provider::sse::{Event, Reader};
use libfuzzer_sys::fuzz_target;

fn read(bytes: &[u8], piece: usize) -> Option<Vec<Event>> {
    let mut reader = Reader::new(1 << 12);
    let mut events = Vec::new();
    for piece in bytes.chunks(piece) {
        events.extend(reader.push(piece).ok()?);
    }
    Some(events)
}

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else { return };
    let whole = read(bytes, bytes.len().max(1));
    assert_eq!(read(bytes, usize::from(*piece).max(1)), whole);
    for event in whole.into_iter().flatten() {
        assert!(event.data.len() <= 3 << 12 && event.event.len() <= 3 << 12);
    }
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
