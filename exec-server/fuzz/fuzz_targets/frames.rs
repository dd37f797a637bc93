//! Arbitrary bytes as frames between a server and its worker for files, cut anywhere: the same frames however they are cut, and
//! orders and failures that survive being written.

#![cfg_attr(fuzzing, no_main)]

use codex_exec_server::files::{Decoder, Failure, Frame, FrameKind, LONGEST, Order, WireError};

fn read(bytes: &[u8], cut: usize) -> (Vec<Frame>, Option<WireError>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in bytes.chunks(cut) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = (usize::from(input.0) + 1, input.1);
    let (frames, error) = read(bytes, cut);
    assert_eq!((&frames, error), (&read(bytes, bytes.len().max(1)).0, read(bytes, 1).1));
    for frame in &frames {
        assert!(frame.payload.len() <= LONGEST);
        if frame.kind == FrameKind::Order
            && let Ok(order) = serde_json::from_slice::<Order>(&frame.payload)
        {
            let again = serde_json::to_vec(&order).expect("an order has a form in JSON");
            assert_eq!(serde_json::from_slice::<Order>(&again).expect("which can be read"), order);
        }
        if frame.kind == FrameKind::Failed
            && let Ok(failure) = serde_json::from_slice::<Failure>(&frame.payload)
        {
            let again = serde_json::to_vec(&failure).expect("a failure has a form in JSON");
            assert_eq!(serde_json::from_slice::<Failure>(&again).expect("which can be read"), failure);
        }
    }
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
