//! Output of anybody, cut to any budget and cut again: the budget holds, the counts add up, both ends are real, and doing
//! it twice is doing it once.
//!
//! An input begins with what is captured, and two budgets.

#![cfg_attr(fuzzing, no_main)]

use codex_core::output::{Capture, OutputBudget, StreamText, TextBudget};
use libfuzzer_sys::fuzz_target;

fn budget(bytes: u8, lines: u8, tokens: u8) -> TextBudget {
    let bound = |number: u8| if number == u8::MAX { usize::MAX } else { usize::from(number) * 3 };
    TextBudget { bytes: bound(bytes), lines: bound(lines) / 9, tokens: bound(tokens) }
}

fn check(text: &StreamText, stream: &[u8]) {
    assert_eq!(text.bytes_total, stream.len() as u64);
    assert!(text.bytes_omitted <= text.bytes_total && text.lines_omitted <= text.lines_total);
    if text.bytes_omitted == 0 {
        assert_eq!(text.text, String::from_utf8_lossy(stream));
    } else if !stream.contains(&b'[') && !stream.windows(3).any(|bytes| bytes == "…".as_bytes()) {
        // Nothing that looks like the line that we add.
        assert!(text.text.matches("[…").count() <= 1);
        if let (Some((first, _)), Some((_, last))) =
            (text.text.split_once("[…"), text.text.split_once("…]\n"))
            && !text.lossy_utf8
        {
            let first = first.as_bytes();
            assert!(
                stream.starts_with(first) || stream.starts_with(first.strip_suffix(b"\n").unwrap_or(first))
            );
            assert!(stream.ends_with(last.as_bytes()));
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let [kept, lines, a, b, c, d, e, f, stream @ ..] = input else { return };
    let mut capture =
        Capture::new(OutputBudget { bytes: usize::from(*kept) * 4, lines: usize::from(*lines) });
    stream.chunks(7).for_each(|chunk| capture.push(chunk));
    let mut text = capture.finish().text();
    check(&text, stream);
    for budget in [budget(*a, *b, *c), budget(*d, *e, *f)] {
        let before = text.bytes_omitted;
        text = text.within(&budget);
        assert!(budget.holds(&text.text));
        assert_eq!(text.within(&budget), text);
        assert!(text.bytes_omitted >= before);
        check(&text, stream);
    }
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
