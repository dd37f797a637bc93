use proptest::prelude::*;

use super::{Collapse, CollapsedCapture};
use crate::output::{Capture, OutputBudget, OutputStream};

mod reference;

fn collapse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, super::Collapsed) {
    let mut text = Vec::new();
    let mut collapse = Collapse::new();
    for chunk in chunks {
        collapse.push(OutputStream::Stdout, chunk, &mut |bytes| text.extend_from_slice(bytes));
    }
    let collapsed = collapse.finish(&mut |bytes| text.extend_from_slice(bytes));
    (text, collapsed)
}

#[track_caller]
fn assert_collapsed(stream: &str, expected: &str) {
    let (text, _) = collapse([stream.as_bytes()]);
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

#[test]
fn plain_text_stays_as_it_is() {
    for text in ["", "a", "a\n", "a\tb  \n\n  c", "äöü 漢字 😀\n", "a\r\nb\r\n"] {
        assert_collapsed(text, &text.replace('\r', ""));
    }
    assert_eq!(collapse([b"\xff\xc3\n\xe2\x82".as_slice()]).0, b"\xff\xc3\n\xe2\x82");
    assert_eq!(collapse([b"\xc2+\x1b[D\x91".as_slice()]).0, b"\xff\xff");
    // Half of a character of C1 does not find its other half behind an escape sequence.
    assert_eq!(collapse([b"\xc2\x1b[m\x80".as_slice()]).0, b"\xff\x80");
}

#[test]
fn a_progress_bar_is_its_last_state() {
    assert_collapsed("get\n  1 %\r 50 %\r100 %\ndone\n", "get\n100 %\ndone\n");
    assert_collapsed("[=>  ]\r[===]\x1b[K\nend", "[===]\nend");
    assert_collapsed("working...\r          \rdone\n", "done\n");
    assert_collapsed("working\x1b[2K\rok\n", "ok\n");
    assert_collapsed("10%\x08\x08\x0820%\n", "20%\n");
    assert_collapsed("█░░\r██░\r███ ✓\n", "███ ✓\n");
    assert_collapsed("long line\rshort\n", "shortline\n");
}

#[test]
fn rows_further_up_can_be_drawn_over() {
    assert_collapsed("a: 0\nb: 0\n\x1b[2Aa: 9\n\x1b[1Bend\n", "a: 9\nb: 0\nend\n");
    assert_collapsed("one\ntwo\n\x1b[1A\x1b[2Knew\n", "one\nnew\n");
    assert_collapsed("one\ntwo\nthree\n\x1b[3F\x1b[Jonly\n", "only\n");
    assert_collapsed("a\nb\x1bMX\n\n", "aX\nb\n");
}

#[test]
fn a_full_row_takes_no_mark_however_it_comes() {
    let stream = "é\r\x1b[4095Gab\u{301}c\rd\n";
    assert_eq!(collapse(stream.as_bytes().chunks(1)), collapse([stream.as_bytes()]));
}

#[test]
fn a_row_that_is_filled_above_others_ends_the_drawing() {
    let stream = "a\nb\n\x1b[2A\x1b[4095Gxyz\0\0\0\n";
    let whole = collapse([stream.as_bytes()]);
    assert_eq!(String::from_utf8_lossy(&whole.0), format!("a{}xy\nb\nz^@^@^@\n", " ".repeat(4093)));
    assert_eq!(collapse(stream.as_bytes().chunks(1)), whole);
}

#[test]
fn clearing_the_screen_loses_nothing() {
    assert_collapsed("error: important\nhalf\x1b[2J\x1b[Hnext\n", "error: important\nhalf\nnext\n");
}

#[test]
fn escape_sequences_go() {
    assert_collapsed("\x1b[1;31merror\x1b[0m: \x1b[38;5;9mx\x1b(B\x1b[m\n", "error: x\n");
    assert_collapsed("\x1b]0;title\x07a\x1b]8;;http://h\x1b\\link\x1b]8;;\x1b\\b\n", "alinkb\n");
    assert_collapsed("\x1bP1;2q#0~~\x1b\\a\x1b_app\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\b\n", "ab\n");
    assert_collapsed("\x1b[?25l\x1b[?1049hx\x1b[?25h\x1b7\x1b8\x1b=\n", "x\n");
    assert_collapsed("a\u{9b}31mb\n", "a31mb\n");
    assert_eq!(collapse([b"\x1b[1mx\x1b[0m\r \r".as_slice()]).1.escapes, 2);
}

#[test]
fn a_string_without_an_end_takes_its_line_only() {
    assert_collapsed("a\x1b]0;title\nb\n", "a\nb\n");
    assert_collapsed("a\x1b]0;title\x1b[1mb\n", "ab\n");
}

#[test]
fn a_sequence_that_breaks_off_takes_no_text() {
    assert_collapsed("a\x1b\nb", "a\nb");
    assert_collapsed("a\x1b[1\nb", "a\nb");
    assert_collapsed("a\x1b[1ä\x1b", "aä");
    assert_collapsed("a\x1b[1\x18b\n", "ab\n");
}

#[test]
fn other_control_characters_are_visible_or_gone() {
    assert_collapsed("a\0b\x01\x0c\x1f\n", "a^@b^A^L^_\n");
    assert_collapsed("a\x07\x0e\x0f\x7fb\n", "ab\n");
    assert_collapsed(&format!("a{}b\n", "\0".repeat(1000)), "a^@[… repeated 999 more times …]b\n");
}

#[test]
fn repeated_lines_are_folded() {
    assert_collapsed(&"line\n".repeat(42), "line\n[… repeated 41 more times …]\n");
    assert_collapsed(
        &format!("a\n{}b\n", "warning: x is not used\n".repeat(3)),
        "a\nwarning: x is not used\n[… repeated 2 more times …]\nb\n",
    );
    // Where nothing is saved, nothing is folded.
    assert_collapsed("a\na\na\n\n\n\nb\nb", "a\na\na\n\n\n\nb\nb");
    assert_collapsed(&"\n".repeat(30), "\n[… repeated 29 more times …]\n");
    let (_, collapsed) = collapse([b"line\n".repeat(100).as_slice()]);
    assert_eq!(collapsed.lines_folded, 99);
    // The tail of a line that is too long to be compared is no line.
    let long = "x".repeat(4096);
    assert_collapsed(&format!("{long}tail\n{}", "tail\n".repeat(2)), &format!("{long}tail\ntail\ntail\n"));
}

#[test]
fn data_is_left_out_and_what_follows_it_is_not() {
    let data = (0..10_000_u32).flat_map(|number| {
        number.wrapping_mul(2_654_435_769).to_le_bytes().map(|byte| (byte & 0x1f) | (0x40 * (byte >> 7)))
    });
    let data: Vec<u8> = data.filter(|byte| *byte != 0x1b).collect();
    let data = data.repeat(10);
    let mut stream = b"before\n".to_vec();
    stream.extend_from_slice(&data);
    stream.extend_from_slice(b"\nerror: after\n");
    let (text, collapsed) = collapse([stream.as_slice()]);
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.starts_with("before\n"), "{text}");
    assert!(text.ends_with("\nerror: after\n"), "{text}");
    let line = format!("\n[… {} bytes of data omitted …]\n", collapsed.data_omitted);
    assert!(text.contains(&line), "{}", collapsed.data_omitted);
    assert!(collapsed.data_omitted > data.len() as u64 - 3 * 16 * 1024);
    assert_eq!(collapse(stream.chunks(1000)).0, text.as_bytes());
    // Text again, and long.
    let tail = "a line of text\n".repeat(5000);
    stream.extend_from_slice(tail.as_bytes());
    let (text, _) = collapse([stream.as_slice()]);
    assert!(
        String::from_utf8_lossy(&text)
            .ends_with("\nerror: after\na line of text\n[… repeated 4999 more times …]\n")
    );
}

#[test]
fn one_stream_does_not_swallow_what_the_other_writes() {
    let mut text = Vec::new();
    let mut collapse = Collapse::new();
    let mut push =
        |stream, bytes: &[u8]| collapse.push(stream, bytes, &mut |out| text.extend_from_slice(out));
    push(OutputStream::Stdout, b"\x1b]0;ti");
    push(OutputStream::Stderr, b"error\n\xe2\x82");
    push(OutputStream::Stdout, b"tle\x07out");
    push(OutputStream::Stderr, b"\xac\n");
    collapse.finish(&mut |out| text.extend_from_slice(out));
    assert_eq!(String::from_utf8(text).unwrap(), "error\nout€\n");
}

#[test]
fn a_progress_bar_of_megabytes_does_not_push_out_the_error() {
    let mut stream = b"start\n".to_vec();
    for step in 0..200_000 {
        stream.extend_from_slice(format!("\rcompiling {step} of 200000").as_bytes());
    }
    stream.extend_from_slice(b"\nerror: it failed\n");
    let budget = OutputBudget { bytes: 200, lines: 10 };
    let (mut raw, mut view) = (Capture::new(budget), CollapsedCapture::new(budget));
    raw.push(&stream);
    view.push(OutputStream::Stderr, &stream);
    let text = view.finish(&raw.finish()).text();
    assert_eq!(text.text, "start\ncompiling 199999 of 200000\nerror: it failed\n");
    assert_eq!((text.bytes_total, text.lines_total, text.bytes_omitted), (stream.len() as u64, 3, 0));
    assert_eq!(text.collapsed.map(|collapsed| (collapsed.lines, collapsed.redraws)), Some((3, 199_999)));
}

#[test]
fn what_is_cut_of_a_collapsed_text_is_counted_in_it() {
    let budget = OutputBudget { bytes: 8, lines: 10 };
    let (mut raw, mut view) = (Capture::new(budget), CollapsedCapture::new(budget));
    let stream = b"\x1b[1maa\nbb\ncc\ndd\nee\n\x1b[0m";
    raw.push(stream);
    view.push(OutputStream::Stdout, stream);
    let text = view.finish(&raw.finish()).text();
    assert_eq!(text.text, "aa\n[… 9 bytes and 3 lines omitted …]\nee\n");
    assert_eq!((text.bytes_total, text.bytes_omitted, text.lines_omitted), (23, 9, 3));
    assert_eq!(text.collapsed.map(|collapsed| collapsed.bytes), Some(15));
}

#[test]
fn memory_is_bounded_whatever_is_drawn() {
    let drawings: [&str; 6] = [
        "a long line that is never ended ",
        "\u{e9}\u{301}\u{301}\r\x1b[4000Gx\n",
        "\x1b[9A\u{6f22}\u{301}\u{1f600}\x1b[4000C\x08\x08x",
        "\x1b]0;title",
        "\0",
        "\u{e9}x\r\n\u{301}\x1b[K",
    ];
    for drawing in drawings {
        let mut collapse = Collapse::new();
        let stream = drawing.repeat(40_000 / drawing.len());
        let mut most = 0;
        for chunk in stream.as_bytes().chunks(8 * 1024 - 1) {
            collapse.push(OutputStream::Stdout, chunk, &mut |_| {});
            most = most.max(collapse.screen.memory());
        }
        assert!(most < 480 * 1024, "{drawing:?}: {most}");
    }
}

/// What is drawn and drawn over.
fn drawing() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-c ]{1,6}",
        2 => Just("\n".to_owned()),
        2 => Just("\r".to_owned()),
        1 => Just("\x08".to_owned()),
        1 => "[é漢😀\u{301}]{1,3}",
        1 => Just("\r\n".to_owned()),
        2 => "\x1b\\[[0-3]?[ABCDEFGKJ]",
        1 => Just("\x1b[1m".to_owned()),
        1 => Just("\x1b]0;t\x07".to_owned()),
        1 => "[\x00\x01\x07\u{80}-\u{a5}]",
    ];
    let valid = prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat().into_bytes());
    let byte = prop_oneof![any::<u8>(), Just(0x1b), Just(b'['), Just(b'\n'), Just(b'\r'), 0x80..=0xf4u8];
    prop_oneof![valid, prop::collection::vec(byte, 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn chunks_make_no_difference(stream in drawing(), cuts in prop::collection::vec(0..20usize, 0..20)) {
        let whole = collapse([stream.as_slice()]);
        prop_assert_eq!(&collapse(stream.chunks(1)), &whole);
        let mut rest = stream.as_slice();
        let mut chunks = Vec::new();
        for cut in cuts {
            let (chunk, after) = rest.split_at(cut.min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        chunks.push(rest);
        prop_assert_eq!(&collapse(chunks), &whole);
    }

    #[test]
    fn the_final_state_is_that_of_a_grid(stream in "([a-c ]{1,4}|\n|\r|\x08|\x1b\\[[0-3]?[ABCDGKJ]){0,40}") {
        let (text, _) = collapse([stream.as_bytes()]);
        let drawn = reference::grid(&stream);
        let (lines, rest) = drawn.rsplit_once('\n').map_or(("", drawn.as_str()), |(lines, rest)| (lines, rest));
        let lines: Vec<String> = if lines.len() + rest.len() == drawn.len() { Vec::new() } else { lines.split('\n').map(str::to_owned).collect() };
        prop_assert_eq!(String::from_utf8(text).unwrap(), reference::folded(&lines) + rest);
    }

    #[test]
    fn no_control_character_is_left(stream in drawing()) {
        let (text, _) = collapse([stream.as_slice()]);
        let text = String::from_utf8_lossy(&text).into_owned();
        prop_assert!(!text.chars().any(|char| char.is_control() && char != '\n' && char != '\t'), "{text:?}");
    }

}

proptest! {
    // Each case is hundreds of lines, or hundreds of kilobytes.
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn many_lines_fold_as_a_slow_reader_would(lines in prop::collection::vec("(a|bb|warning: long line){1}", 0..300)) {
        let stream: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let (text, collapsed) = collapse([stream.as_bytes()]);
        prop_assert_eq!(String::from_utf8(text).unwrap(), reference::folded(&lines));
        prop_assert!(collapsed.lines_folded <= lines.len() as u64);
    }

    #[test]
    fn long_lines_and_big_streams_come_through(lines in prop::collection::vec((0..9000usize, any::<bool>()), 1..100)) {
        let mut stream = Vec::new();
        for (number, (length, short)) in lines.iter().enumerate() {
            let length = if *short { length % 20 } else { *length };
            stream.extend_from_slice(format!("{number} {}\n", "x".repeat(length)).as_bytes());
        }
        prop_assert_eq!(&collapse([stream.as_slice()]).0, &stream);
        prop_assert_eq!(&collapse(stream.chunks(777)).0, &stream);
    }
}
