//! The filter against a strict reading of its own output, against known attacks, and against what programs send.

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
use proptest::strategy::{Just, Union};

use super::{Display, Dropped, LONGEST_DATA, LONGEST_SEQUENCE, LONGEST_WORDS, allowed};

mod attacks;
mod grammar;
mod programs;

/// What is displayed of these bytes, and what was dropped.
fn filtered(bytes: &[u8]) -> (Vec<u8>, Dropped) {
    in_chunks(&[bytes])
}

fn in_chunks(chunks: &[&[u8]]) -> (Vec<u8>, Dropped) {
    let (mut display, mut out) = (Display::new(), Vec::new());
    for chunk in chunks {
        display.push(chunk, &mut out);
    }
    display.finish(&mut out);
    (out, display.dropped())
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8(filtered(bytes).0).unwrap()
}

/// Bytes with more control functions in them than chance would have.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&[u8]> = attacks::ATTACKS.iter().map(|(_, bytes)| *bytes).chain(programs::SEEN).collect();
    let pieces = Union::new([
        prop::sample::select(known).prop_map(<[u8]>::to_vec).boxed(),
        prop::collection::vec(any::<u8>(), 0..6).boxed(),
        prop::sample::select(
            b"\x1b[]P_X^k?;:0123456789 !\"$'*#hlmqrstcnJH\x07\x18\x9b\xc2\xe2\x80\\".to_vec(),
        )
        .prop_map(|byte| vec![byte])
        .boxed(),
        "\\PC{0,4}".prop_map(String::into_bytes).boxed(),
        Just(b"\x1b[".to_vec()).boxed(),
        Just(b"\x1b[?".to_vec()).boxed(),
    ]);
    prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn chunks_make_no_difference(bytes in streams(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let (mut chunks, mut start) = (Vec::new(), 0);
        for cut in cuts {
            chunks.push(&bytes[start..cut]);
            start = cut;
        }
        chunks.push(&bytes[start..]);
        prop_assert_eq!(in_chunks(&chunks), filtered(&bytes));
        let single: Vec<_> = bytes.chunks(1).collect();
        prop_assert_eq!(in_chunks(&single), filtered(&bytes));
    }

    #[test]
    fn nothing_but_what_is_allowed_comes_out(bytes in streams()) {
        let (out, _) = filtered(&bytes);
        prop_assert_eq!(grammar::violation(&out), None);
        prop_assert!(std::str::from_utf8(&out).is_ok());
    }

    #[test]
    fn what_came_out_passes_as_it_is(bytes in streams()) {
        let (out, _) = filtered(&bytes);
        prop_assert_eq!(filtered(&out), (out.clone(), Dropped::default()));
    }

    #[test]
    fn what_is_put_back_is_allowed_and_leaves_nothing(bytes in streams()) {
        let (mut display, mut out) = (Display::new(), Vec::new());
        display.push(&bytes, &mut out);
        for more in [display.restoration(), display.resumption()] {
            prop_assert_eq!(grammar::violation(&more), None);
        }
        let mut after = Display::new();
        after.push(&out, &mut Vec::new());
        after.push(&display.restoration(), &mut Vec::new());
        prop_assert_eq!(after.resumption(), b"");
        // What is set again is what was set.
        after.push(&display.resumption(), &mut Vec::new());
        prop_assert_eq!(after.resumption(), display.resumption());
    }

    #[test]
    fn text_is_not_touched(text in "[^\\p{Cc}]{0,200}") {
        prop_assert_eq!(filtered(text.as_bytes()), (text.into_bytes(), Dropped::default()));
    }
}

#[test]
fn a_sequence_of_modes_loses_those_that_are_not_allowed() {
    let (out, dropped) = filtered(b"\x1b[?1049;1001;25h");
    assert_eq!((out.as_slice(), dropped.sequences), (b"\x1b[?1049;25h".as_slice(), 1));
    assert_eq!(filtered(b"\x1b[?025;7l").0, b"\x1b[?25;7l");
}

#[test]
fn characters_that_are_none_are_replaced_and_never_split() {
    assert_eq!(shown(b"a\xffb\xe2\x82"), "a\u{fffd}b\u{fffd}");
    assert_eq!(shown(b"\xe2\x82\x1b[0mx"), "\u{fffd}\x1b[0mx");
    assert_eq!(shown(b"\xf0\x9f\x98\x1b\xf0\x9f\x98\x80"), "\u{fffd}😀");
    assert_eq!(in_chunks(&[b"\xe2", b"\x82", b"\xac"]).0, "€".as_bytes());
}

#[test]
fn a_control_character_works_within_a_sequence_as_in_a_terminal() {
    assert_eq!(shown(b"\x1b[3\n1mred"), "\n\x1b[31mred");
    assert_eq!(shown(b"\x1b[3\x051mred"), "\x1b[31mred");
    assert_eq!(shown(b"\x1b[3\x18mno"), "mno");
    assert_eq!(shown(b"\x1b[3\x1b[1mbold"), "\x1b[1mbold");
}

#[test]
fn strings_end_as_they_end_in_a_terminal_and_anyhow() {
    for end in ["\x07", "\x1b\\", "\x18", "\x1a"] {
        assert_eq!(shown(format!("a\x1b]0;title{end}b").as_bytes()), "ab");
    }
    assert_eq!(shown(b"a\x1bPdata\x1b[1mb"), "a\x1b[1mb");
    for (kind, longest) in [
        (']', LONGEST_DATA),
        ('P', LONGEST_DATA),
        ('_', LONGEST_DATA),
        ('X', LONGEST_WORDS),
        ('k', LONGEST_WORDS),
    ] {
        let stream = format!("a\x1b{kind}{}b", "x".repeat(longest));
        assert_eq!(shown(stream.as_bytes()), "ab");
    }
    // Linux's console has strings without an end.
    assert_eq!(shown(b"\x1b]Ra\x1b]P7ffffffb"), "ab");
}

#[test]
fn a_sequence_that_is_too_long_is_dropped_whole() {
    let longest = format!("\x1b[{}m", "1;".repeat(LONGEST_SEQUENCE / 2));
    assert_eq!(shown(longest.as_bytes()), longest);
    assert_eq!(shown(format!("\x1b[{};1mx", "1;".repeat(LONGEST_SEQUENCE / 2)).as_bytes()), "x");
}

#[test]
fn every_row_of_the_lists_passes() {
    for ((between, function, parameters), why) in allowed::SEQUENCES {
        let numbers: &[u8] = match parameters {
            allowed::Parameters::Numbers(0) => b"",
            allowed::Parameters::Numbers(_) | allowed::Parameters::Styles => b"1",
            allowed::Parameters::UpTo(_) if matches!(function, b'h' | b'l') => b"4",
            allowed::Parameters::UpTo(_) => b"2",
        };
        let bytes = [b"\x1b[", numbers, between, &[function]].concat();
        assert_eq!(filtered(&bytes), (bytes.clone(), Dropped::default()), "{why}");
    }
    for (mode, why) in allowed::MODES {
        for letter in ['h', 'l'] {
            let bytes = format!("\x1b[?{}{letter}", mode.number).into_bytes();
            assert_eq!(filtered(&bytes), (bytes.clone(), Dropped::default()), "{why}");
        }
    }
}

#[test]
fn what_was_changed_is_put_back() {
    let mut display = Display::new();
    display.push(
        b"\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[?1002;1006h\x1b[2;20r\x1b=\x1b[4 q\x1b(0\x1b[1;31m\x1b[4h",
        &mut Vec::new(),
    );
    let restored = String::from_utf8(display.restoration()).unwrap();
    for part in [
        "\x1b[?1049l",
        "\x1b[?25h",
        "\x1b[?2004l",
        "\x1b[?1002l",
        "\x1b[?1006l",
        "\x1b7\x1b[r\x1b8",
        "\x1b>",
        "\x1b[0 q",
        "\x1b(B",
        "\x1b[0m",
        "\x1b[4l",
    ] {
        assert!(restored.contains(part), "{part:?} in {restored:?}");
    }
    assert!(Display::new().restoration().is_empty());
    // A screen that was left is not left once more: that would move the cursor.
    display.push(b"\x1b[?1049l", &mut Vec::new());
    assert!(!display.restoration().windows(5).any(|part| part == b"?1049"));
}
