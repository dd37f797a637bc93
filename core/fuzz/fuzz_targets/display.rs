//! A command's terminal output, whatever it is: nothing but text and what only displays something comes out, however it is
//! cut into chunks, and what came out passes as it is.

#![cfg_attr(fuzzing, no_main)]

use codex_core::output::Display;
use libfuzzer_sys::fuzz_target;

fn filtered<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Display) {
    let (mut display, mut out) = (Display::new(), Vec::new());
    chunks.for_each(|chunk| display.push(chunk, &mut out));
    display.finish(&mut out);
    (out, display)
}

/// Reads what came out by rules that know nothing of lists and states: an escape is followed by one of few bytes, a sequence
/// ends in none of those that make a terminal answer or act.
fn check(out: &[u8]) {
    let mut characters = std::str::from_utf8(out).expect("whole characters").chars();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => match characters.next() {
                Some('7' | '8' | 'D' | 'E' | 'M' | '=' | '>') => {}
                Some('(' | ')' | '*' | '+') => assert!(matches!(characters.next(), Some('0' | 'A' | 'B'))),
                Some('[') => {
                    let mut body = String::new();
                    let last = loop {
                        let next = characters.next().expect("a whole sequence");
                        if next.is_ascii_digit() || ";:? ".contains(next) {
                            body.push(next);
                        } else {
                            break next;
                        }
                    };
                    assert!(!"cinptxgyvwzR'|{}~".contains(last), "{body:?} {last}");
                    assert!(last.is_ascii_alphabetic() || "@`".contains(last), "{body:?} {last}");
                    assert!(!body.contains('?') || "hl".contains(last), "{body:?} {last}");
                    assert!(!body.contains(' ') || last == 'q', "{body:?} {last}");
                    assert!(last != 'J' || !body.contains('3'), "{body:?} {last}");
                }
                other => panic!("ESC {other:?}"),
            },
            '\x07'..='\x0f' => {}
            other => assert!(!other.is_control(), "{other:?}"),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    // The first byte says where it is cut.
    let (size, stream) =
        bytes.split_first().map_or((1, bytes), |(first, rest)| (usize::from(*first).max(1), rest));
    let (out, display) = filtered(std::iter::once(stream));
    let (chunked, other) = filtered(stream.chunks(size));
    assert_eq!((&chunked, other.dropped()), (&out, display.dropped()));
    check(&out);
    check(&display.restoration());
    check(&display.resumption());
    let (again, second) = filtered(std::iter::once(out.as_slice()));
    assert_eq!(again, out);
    assert!(second.dropped().is_nothing());
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
