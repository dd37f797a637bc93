use std::sync::Arc;

use proptest::prelude::*;

use crate::output::spill::SpillStop;
use crate::output::{Capture, OutputBudget, SpillReport, StreamText, TextBudget};

fn text_of(stream: &[u8], bytes: usize, lines: usize) -> StreamText {
    let mut capture = Capture::new(OutputBudget { bytes, lines });
    capture.push(stream);
    capture.finish().text()
}

#[track_caller]
fn assert_text(stream: &str, bytes: usize, lines: usize, expected: &str) {
    let text = text_of(stream.as_bytes(), bytes, lines);
    assert_eq!(text.text, expected);
    assert!(!text.lossy_utf8, "a cut must not break a character");
}

#[test]
fn what_fits_is_shown_as_it_is() {
    assert_text("", 0, 0, "");
    assert_text("a\nb", 3, 2, "a\nb");
    assert_text("a\r\nb\r\n", 6, 2, "a\r\nb\r\n");
    assert_eq!(text_of(b"a\nb", 3, 2).bytes_omitted, 0);
}

#[test]
fn one_byte_or_one_line_too_many_is_reported() {
    assert_text("abc", 2, 9, "a\n[… 1 byte omitted …]\nc");
    assert_text("a\nb\nc\n", 6, 2, "a\n[… 2 bytes and 1 line omitted …]\nc\n");
}

#[test]
fn without_a_budget_only_the_report_is_left() {
    assert_text("a\nb\n", 0, 9, "[… 4 bytes and 2 lines omitted …]\n");
    assert_text("a\nb\n", 9, 0, "[… 4 bytes and 2 lines omitted …]\n");
}

#[test]
fn a_budget_of_one_shows_the_start() {
    assert_text("abc", 1, 9, "a\n[… 2 bytes omitted …]\n");
    assert_text("a\nb\nc\n", 9, 1, "a\n[… 4 bytes and 2 lines omitted …]\n");
}

#[test]
fn cuts_between_lines_where_that_is_cheap() {
    assert_text(
        "first\nsecond\nthird\nfourth\n",
        18,
        9,
        "first\n[… 13 bytes and 2 lines omitted …]\nfourth\n",
    );
}

#[test]
fn a_line_that_the_tail_starts_with_is_kept() {
    assert_text("aa\nbb\ncc\n", 6, 9, "aa\n[… 3 bytes and 1 line omitted …]\ncc\n");
}

#[test]
fn cuts_inside_a_line_that_is_most_of_what_was_kept() {
    let stream = format!("ab\n{}\nyz", "x".repeat(100));
    let expected = format!("ab\n{}\n[… 84 bytes omitted …]\n{}\nyz", "x".repeat(8), "x".repeat(8));
    assert_text(&stream, 22, 9, &expected);
}

#[test]
fn keeps_characters_whole() {
    // Four bytes each, and both cuts fall after the second byte of one.
    assert_text("😀😁😂😃", 12, 9, "😀\n[… 8 bytes omitted …]\n😃");
}

#[test]
fn keeps_escape_sequences_whole() {
    // The budget cuts inside `\x1b[31m` at both ends.
    assert_text("0123456\x1b[31mred\x1b[31m6543210", 20, 9, "0123456\n[… 13 bytes omitted …]\n6543210");
    // A hyperlink's string ends with an escape sequence of its own.
    assert_text("0123\x1b]8;;u\x1b\\x\x1b]8;;u\x1b\\xyz4567", 20, 9, "0123\n[… 17 bytes omitted …]\nxyz4567");
}

#[test]
fn an_escape_sequence_wider_than_the_gap_goes_as_a_whole() {
    assert_text("ab\x1b]0;title\x1b\\cdefg", 14, 9, "ab\n[… 11 bytes omitted …]\ncdefg");
}

#[test]
fn an_endless_escape_sequence_is_cut() {
    let stream = format!("\x1b]{}", "x".repeat(1000));
    assert_eq!(text_of(stream.as_bytes(), 600, 9).bytes_omitted, 402);
}

#[test]
fn lines_that_one_part_does_not_need_go_to_the_other() {
    let stream = format!("{}\n1\n2\n3\n4\n", "x".repeat(50));
    let expected = format!("{}\n[… 43 bytes omitted …]\n1\n2\n3\n4\n", "x".repeat(8));
    assert_text(&stream, 16, 5, &expected);
    let expected = format!("{}\n[… 45 bytes and 1 line omitted …]\n2\n3\n4\n", "x".repeat(8));
    assert_text(&stream, 16, 4, &expected);
}

#[test]
fn bytes_that_are_not_utf8_are_replaced_and_reported() {
    let text = text_of(b"a\xffb", 10, 10);
    assert_eq!((text.text.as_str(), text.lossy_utf8, text.bytes_omitted), ("a\u{fffd}b", true, 0));
    // What the cut takes away does not count as broken.
    assert!(!text_of(b"ab\xff\xffyz", 4, 10).lossy_utf8);
}

#[test]
fn serializes_with_exactly_these_fields() {
    let json = serde_json::to_value(text_of(b"a\n", 10, 10)).unwrap();
    let expected = serde_json::json!({
        "text": "a\n", "bytes_total": 2, "bytes_omitted": 0, "lines_total": 1, "lines_omitted": 0, "lossy_utf8": false,
        "collapsed": null, "spill_path": null,
    });
    assert_eq!(json, expected);
}

/// A text taken apart again: what it shows before and after the report of the gap, and what that says.
struct Parts<'a> {
    first: &'a str,
    last: &'a str,
    bytes: u64,
    lines: u64,
}

fn take_apart(text: &str) -> Option<Parts<'_>> {
    let (first, rest) = text.split_once("[… ")?;
    let (report, last) = rest.split_once(" omitted …]\n")?;
    let mut numbers = report.split(' ').filter_map(|word| word.parse().ok());
    let bytes = numbers.next()?;
    Some(Parts { first, last, bytes, lines: numbers.next().unwrap_or(0) })
}

/// Output as commands write it: lines of any length, colours, characters of every width.
fn output() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z ]{0,30}",
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\x1b[1;31m".to_owned()),
        Just("\x1b]8;;http://a\x07".to_owned()),
        Just("\x1b]0;title\x1b\\".to_owned()),
        "[äß€😀]{1,4}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Bytes that are often the start or the middle of something.
fn noise() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), Just(0x1b), Just(b'['), Just(b'\n'), 0x80..=0xf4u8]
}

proptest! {
    #[test]
    fn valid_text_stays_valid_and_the_counts_add_up(stream in output(), bytes in 0..400usize, lines in 0..20usize) {
        let text = text_of(stream.as_bytes(), bytes, lines);
        prop_assert!(!text.lossy_utf8);
        prop_assert_eq!(text.text.matches("[… ").count(), usize::from(text.bytes_omitted > 0));
        let Some(parts) = take_apart(&text.text) else {
            prop_assert_eq!(text.bytes_omitted, 0);
            prop_assert_eq!(&text.text, &stream);
            return Ok(());
        };
        // A line break before the report that the stream doesn't have there is ours.
        let shown = text.bytes_total - text.bytes_omitted;
        let ours = (parts.first.len() + parts.last.len()) as u64 > shown;
        let first = if ours { parts.first.strip_suffix('\n').unwrap() } else { parts.first };
        prop_assert!(stream.starts_with(first));
        prop_assert!(stream.ends_with(parts.last));
        prop_assert_eq!(parts.bytes, text.bytes_omitted);
        prop_assert_eq!((first.len() + parts.last.len()) as u64 + text.bytes_omitted, text.bytes_total);
        prop_assert!(first.len() + parts.last.len() <= bytes);

        // Which lines the gap swallows whole, counted the slow way.
        let gap = first.len()..stream.len() - parts.last.len();
        let mut start = 0;
        let swallowed = stream.split_inclusive('\n').filter(|line| {
            let range = start..start + line.len();
            start = range.end;
            gap.start <= range.start && range.end <= gap.end
        });
        prop_assert_eq!(parts.lines, swallowed.count() as u64);
        prop_assert!(text.lines_total - parts.lines <= lines as u64);

        // No cut inside an escape sequence: what is left of each is whole.
        for part in [first, parts.last] {
            let mut rest = part;
            while let Some((_, escape)) = rest.split_once('\x1b') {
                let forms = ["[1;31m", "]8;;http://a\x07", "]0;title\x1b\\"];
                let whole = forms.iter().find(|form| escape.starts_with(**form));
                prop_assert!(whole.is_some(), "cut inside an escape sequence: {part:?}");
                rest = &escape[whole.unwrap().len()..];
            }
        }
    }

    #[test]
    fn any_bytes_and_any_budget_add_up(
        stream in prop::collection::vec(noise(), 0..600),
        bytes in 0..700usize,
        lines in 0..20usize,
    ) {
        let text = text_of(&stream, bytes, lines);
        prop_assert_eq!(text.bytes_total, stream.len() as u64);
        prop_assert!(text.bytes_total - text.bytes_omitted <= bytes as u64);
        prop_assert!(text.text.len() <= 3 * bytes + 100);
        if stream.len() <= bytes && text.lines_total <= lines as u64 {
            prop_assert_eq!(&text.text, &String::from_utf8_lossy(&stream));
            prop_assert_eq!(text.lossy_utf8, std::str::from_utf8(&stream).is_err());
        } else if std::str::from_utf8(&stream).is_ok() {
            prop_assert!(!text.lossy_utf8);
        }
    }
}

fn spilled(complete: bool) -> SpillReport {
    SpillReport {
        path: Some("/spill/1.out".into()),
        bytes: 20,
        complete,
        error: (!complete).then_some(SpillStop::Behind),
        lines: Arc::default(),
        streams: Arc::default(),
    }
}

#[test]
fn says_where_the_rest_is() {
    let text = text_of(b"first\nsecond\nthird\nfourth\n", 18, 9);
    let line = |text: StreamText| text.text.lines().nth(1).unwrap().to_owned();
    assert_eq!(
        line(text.spilled(&spilled(true), true)),
        "[… 13 bytes and 2 lines omitted: from byte 6 on in /spill/1.out …]"
    );
    assert_eq!(
        line(text.spilled(&spilled(false), true)),
        "[… 13 bytes and 2 lines omitted: from byte 6 to 20 in /spill/1.out …]"
    );
    assert_eq!(
        line(text.spilled(&spilled(true), false)),
        "[… 13 bytes and 2 lines omitted: all output is in /spill/1.out …]"
    );
    // Where there is no room for that, it goes first.
    let budget = TextBudget { bytes: 50, ..TextBudget::UNBOUNDED };
    let shorter = text.spilled(&spilled(true), true).within(&budget);
    assert_eq!(shorter.text, "first\n[… 16 bytes and 2 lines omitted …]\nurth\n");
    assert_eq!(shorter.spill_path, Some("/spill/1.out".into()));
}

#[test]
fn a_budget_without_room_for_the_report_still_holds() {
    let text = StreamText::whole(&b"0123456789\n".repeat(20));
    let within = |bytes| text.within(&TextBudget { bytes, ..TextBudget::UNBOUNDED });
    assert_eq!(within(42).text, "[… 220 bytes and 20 lines omitted …]\n");
    // Text is worth more than counts that stand beside it anyway.
    assert_eq!(within(40).text, "0123456789\n[…]\n0123456789\n0123456789\n");
    assert_eq!((within(7).text.as_str(), within(7).bytes_omitted), ("[…]\n", 220));
    assert_eq!((within(5).text.as_str(), within(5).lines_omitted), ("", 20));
}

#[test]
fn keeps_together_what_a_reader_sees_as_one() {
    let family = "👨\u{200d}👩\u{200d}👧";
    let text = StreamText::whole(family.repeat(20).as_bytes());
    let shown = text.within(&TextBudget { bytes: 100, ..TextBudget::UNBOUNDED });
    let (first, last) = shown.text.split_once("\n[… 306 bytes omitted …]\n").unwrap();
    assert_eq!((first, last), (family, family.repeat(2).as_str()));
    assert!(!shown.lossy_utf8);
}

#[test]
fn the_counts_of_what_was_not_text_are_of_the_stream() {
    let text = StreamText::whole(&b"\xff\n".repeat(100));
    let shown = text.within(&TextBudget { lines: 3, ..TextBudget::UNBOUNDED });
    assert_eq!(shown.text, "\u{fffd}\n[… 196 bytes and 98 lines omitted …]\n\u{fffd}\n");
    assert_eq!((shown.bytes_omitted, shown.lossy_utf8), (196, true));
}

fn text_budget() -> impl Strategy<Value = TextBudget> {
    let bound = |most: usize| prop_oneof![0..most, Just(usize::MAX)];
    (bound(500), bound(20), bound(120)).prop_map(|(bytes, lines, tokens)| TextBudget { bytes, lines, tokens })
}

/// Any text: as it was captured, with a place of the rest or without.
fn any_text() -> impl Strategy<Value = (Vec<u8>, StreamText)> {
    let stream = prop_oneof![
        output().prop_map(String::into_bytes),
        prop::collection::vec(noise(), 0..600),
        prop::collection::vec(prop_oneof!["[a-z]{0,9}\n", "\u{301}", "👨\u{200d}👩"], 0..60)
            .prop_map(|all| all.concat().into_bytes()),
    ];
    (stream, 0..700usize, any::<Option<bool>>()).prop_map(|(stream, bytes, place)| {
        let text = text_of(&stream, bytes, 100);
        let text = place.map_or(text.clone(), |offset| text.spilled(&spilled(true), offset));
        (stream, text)
    })
}

proptest! {
    #[test]
    fn cut_again_and_again_the_counts_add_up_and_the_budget_holds(
        (stream, text) in any_text(),
        budgets in prop::collection::vec(text_budget(), 1..4),
    ) {
        let mut text = text;
        for budget in budgets {
            let before = text.clone();
            text = text.within(&budget);
            prop_assert!(budget.holds(&text.text), "{budget:?}: {:?}", text.text);
            prop_assert_eq!(&text.within(&budget), &text, "twice is once");
            if budget.holds(&before.text) {
                prop_assert_eq!(&text, &before);
            }
            let super::parts::Parts { first, last } = text.parts();
            prop_assert!(stream.starts_with(first));
            prop_assert!(stream.ends_with(last));
            prop_assert_eq!((first.len() + last.len()) as u64 + text.bytes_omitted, stream.len() as u64);
            prop_assert!(text.text.matches("[…").count() <= 1, "{:?}", text.text);
            prop_assert!(text.bytes_omitted >= before.bytes_omitted);
            if std::str::from_utf8(&stream).is_ok() {
                prop_assert!(!text.lossy_utf8);
            }
            let lines = stream.split_inclusive(|byte| *byte == b'\n').count() as u64;
            let gap = first.len()..stream.len() - last.len();
            let mut start = 0;
            let swallowed = stream.split_inclusive(|byte| *byte == b'\n').filter(|line| {
                let range = start..start + line.len();
                start = range.end;
                text.bytes_omitted > 0 && gap.start <= range.start && range.end <= gap.end
            });
            prop_assert_eq!((text.lines_total, text.lines_omitted), (lines, swallowed.count() as u64));
        }
    }

    #[test]
    fn most_of_a_budget_is_used(bytes in 200..2000usize) {
        let text = StreamText::whole(&b"a line of text\n".repeat(1000));
        let shown = text.within(&TextBudget { bytes, ..TextBudget::UNBOUNDED });
        prop_assert!(shown.text.len() + 2 * 16 + 10 > bytes, "{} of {bytes}", shown.text.len());
    }
}
