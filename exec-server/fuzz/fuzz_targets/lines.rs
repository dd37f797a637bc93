//! Arbitrary bytes as lines, through a buffer of arbitrary size: the same messages as by splitting.

#![cfg_attr(fuzzing, no_main)]

use codex_exec_server::framing::{Line, LineReader};
use tokio::io::BufReader;

libfuzzer_sys::fuzz_target!(|input: (u8, u8, &[u8])| {
    let (buffer, most, bytes) = (usize::from(input.0) + 1, usize::from(input.1), input.2);
    let expected: Vec<Line> = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| line.len() > most || !line.trim_ascii().is_empty())
        .map(|line| match line.len() > most {
            true => Line::TooLong(line.len() as u64),
            false => Line::Message(line.to_vec()),
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let found = runtime.block_on(async {
        let mut reader = LineReader::new(BufReader::with_capacity(buffer, bytes), most);
        let mut lines = Vec::new();
        while let Some(line) = reader.next().await.expect("memory can be read") {
            lines.push(line);
        }
        lines
    });
    assert_eq!(found, expected);
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
