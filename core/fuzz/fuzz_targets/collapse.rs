//! Output of anybody: no bytes may crash collapsing, make it slow or large, leave a control character, or come out
//! differently for how they were cut into chunks.
//!
//! The first bytes of an input say how the rest is cut, and which chunks are standard error's.

#![cfg_attr(fuzzing, no_main)]

use codex_core::output::{Collapse, Collapsed, OutputStream};
use libfuzzer_sys::fuzz_target;

fn collapse<'a>(chunks: impl Iterator<Item = (OutputStream, &'a [u8])>) -> (Vec<u8>, Collapsed) {
    let mut text = Vec::new();
    let mut collapse = Collapse::new();
    for (stream, chunk) in chunks {
        collapse.push(stream, chunk, &mut |bytes| text.extend_from_slice(bytes));
    }
    let collapsed = collapse.finish(&mut |bytes| text.extend_from_slice(bytes));
    (text, collapsed)
}

fuzz_target!(|input: &[u8]| {
    let [size, mix, stream @ ..] = input else { return };
    let (size, mix) = (usize::from(*size).max(1), *mix);
    let (text, collapsed) = collapse([(OutputStream::Pty, stream)].into_iter());
    assert!(
        !String::from_utf8_lossy(&text).chars().any(|char| char.is_control() && char != '\n' && char != '\t')
    );
    // A tab stop away at most for each byte, and the lines that say what was left out.
    assert!(text.len() <= stream.len() * 4096 + 100);
    let chunks = stream.chunks(size).map(|chunk| (OutputStream::Pty, chunk));
    assert_eq!(collapse(chunks), (text, collapsed));

    // Two streams in one: by bytes, or by pieces.
    let of = |number: usize| {
        if mix >> (number % 8) & 1 == 0 { OutputStream::Stdout } else { OutputStream::Stderr }
    };
    let pieces = || stream.chunks(size).enumerate().map(move |(number, chunk)| (of(number), chunk));
    let bytes = pieces().flat_map(|(stream, chunk)| chunk.chunks(1).map(move |byte| (stream, byte)));
    assert_eq!(collapse(bytes), collapse(pieces()));
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
