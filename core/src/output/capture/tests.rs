use proptest::prelude::*;

use super::{Capture, Captured, LEAD};
use crate::output::OutputBudget;

fn capture<'a>(bytes: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Captured {
    let mut capture = Capture::new(OutputBudget { bytes, lines: 256 });
    for chunk in chunks {
        capture.push(chunk);
    }
    capture.finish()
}

#[test]
fn keeps_all_of_a_stream_that_fits_exactly() {
    let captured = capture(7, [b"abc\nd".as_slice(), b"ef"]);
    assert_eq!(
        (captured.head.as_slice(), captured.tail.as_slice()),
        (b"abc\ndef".as_slice(), b"".as_slice())
    );
    assert_eq!((captured.bytes_total, captured.bytes_omitted, captured.lines_total), (7, 0, 2));
}

#[test]
fn keeps_both_ends_of_a_stream_with_one_byte_too_many() {
    let captured = capture(7, [b"abcd-efg".as_slice()]);
    assert_eq!((captured.head.as_slice(), captured.tail.as_slice()), (b"abcd".as_slice(), b"efg".as_slice()));
    assert_eq!((captured.bytes_total, captured.bytes_omitted, captured.lines_total), (8, 1, 1));
}

#[test]
fn counts_without_keeping_when_the_budget_is_zero() {
    let captured = capture(0, [b"a\nb".as_slice(), b"\n", b"c"]);
    assert_eq!((captured.head.len(), captured.tail.len()), (0, 0));
    assert_eq!((captured.bytes_total, captured.bytes_omitted, captured.lines_total), (5, 5, 3));
}

#[test]
fn an_empty_stream_has_no_line_and_a_newline_is_one() {
    assert_eq!(capture(10, []).lines_total, 0);
    assert_eq!(capture(10, [b"".as_slice()]), capture(10, []));
    assert_eq!(capture(10, [b"\n".as_slice()]).lines_total, 1);
    assert_eq!(capture(10, [b"\r\n\r\n".as_slice()]).lines_total, 2);
}

#[test]
fn a_snapshot_is_what_finishing_now_would_give() {
    let mut running = Capture::new(OutputBudget { bytes: 4, lines: 1 });
    running.push(b"0123456789");
    let snapshot = running.snapshot();
    running.push(b"abc");
    assert_eq!((snapshot.tail.as_slice(), snapshot.bytes_omitted), (b"89".as_slice(), 6));
    let end = running.finish();
    assert_eq!((end.tail.as_slice(), end.bytes_omitted), (b"bc".as_slice(), 9));
}

#[test]
fn memory_follows_the_budget_and_not_the_volume() {
    let budget = 100_000;
    let mut capture = Capture::new(OutputBudget { bytes: budget, lines: 256 });
    assert_eq!(capture.head.capacity() + capture.recent.bytes.capacity(), 0);
    let chunk = [b'x'; 8191];
    for _ in 0..1000 {
        capture.push(&chunk);
    }
    assert!(capture.head.capacity() + capture.recent.bytes.capacity() <= budget + LEAD);
}

#[test]
fn a_budget_without_bound_allocates_only_what_comes() {
    let captured = capture(usize::MAX, [b"little".as_slice()]);
    assert_eq!((captured.head.as_slice(), captured.bytes_omitted), (b"little".as_slice(), 0));
}

/// Bytes with many newlines, and a way to cut them into chunks.
fn chunked() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    let byte = prop_oneof![3 => any::<u8>(), 1 => Just(b'\n')];
    (prop::collection::vec(byte, 0..1500), prop::collection::vec(0..700usize, 0..12))
}

fn cut<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut chunks = Vec::new();
    for size in sizes {
        let (chunk, after) = rest.split_at((*size).min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks.push(rest);
    chunks
}

proptest! {
    #[test]
    fn chunks_make_no_difference((bytes, sizes) in chunked(), budget in 0..1600usize) {
        let whole = capture(budget, [bytes.as_slice()]);
        prop_assert_eq!(&capture(budget, cut(&bytes, &sizes)), &whole);
        prop_assert_eq!(&capture(budget, bytes.chunks(1)), &whole);
    }

    #[test]
    fn keeps_the_ends_and_counts_the_rest((bytes, sizes) in chunked(), budget in 0..1600usize) {
        let captured = capture(budget, cut(&bytes, &sizes));
        prop_assert!(bytes.starts_with(&captured.head));
        prop_assert!(bytes.ends_with(&captured.tail));
        let kept = captured.head.len() + captured.tail.len();
        prop_assert_eq!(kept, bytes.len().min(budget));
        prop_assert_eq!(captured.bytes_total, bytes.len() as u64);
        prop_assert_eq!(captured.bytes_omitted, (bytes.len() - kept) as u64);
        prop_assert_eq!(captured.lines_total, bytes.split_inclusive(|byte| *byte == b'\n').count() as u64);
        let before_tail = &bytes[..bytes.len() - captured.tail.len()];
        prop_assert!(before_tail.ends_with(&captured.lead));
        let lead = if captured.bytes_omitted == 0 { 0 } else { before_tail.len().min(LEAD) };
        prop_assert_eq!(captured.lead.len(), lead);
    }
}
