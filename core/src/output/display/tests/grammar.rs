//! What may come out, read as strictly as can be, by nothing that the filter uses.

/// The first thing that is not allowed, if there is one.
pub(super) fn violation(out: &[u8]) -> Option<String> {
    let Ok(text) = std::str::from_utf8(out) else { return Some("no UTF-8".to_owned()) };
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\x07'..='\x0f' => {}
            '\x1b' => {
                let mut sequence = String::new();
                let known = loop {
                    let Some(next) = characters.next() else { break false };
                    sequence.push(next);
                    match sequence.as_bytes() {
                        [b'['] | [b'(' | b')' | b'*' | b'+'] => {}
                        [b'[', .., b'0'..=b'9' | b';' | b':' | b'?' | b' '] => {}
                        [b'[', body @ .., last] => break control(body, *last),
                        [_, b'0' | b'A' | b'B'] | [b'7' | b'8' | b'D' | b'E' | b'M' | b'=' | b'>'] => {
                            break true;
                        }
                        _ => break false,
                    }
                };
                if !known {
                    return Some(format!("ESC {sequence:?}"));
                }
            }
            control if control.is_control() => return Some(format!("{control:?}")),
            _ => {}
        }
    }
    None
}

fn control(body: &[u8], last: u8) -> bool {
    let text = std::str::from_utf8(body).unwrap();
    let most = |most: u32| {
        text.split(';')
            .all(|number| number.is_empty() || number.parse::<u32>().is_ok_and(|number| number <= most))
    };
    match last {
        b'h' | b'l' => match text.strip_prefix('?') {
            Some(modes) => modes.split(';').all(|mode| {
                [
                    "1", "5", "6", "7", "12", "25", "47", "1000", "1002", "1003", "1006", "1015", "1047",
                    "1049", "2004", "2026",
                ]
                .contains(&mode)
            }),
            None => text.parse() == Ok(4),
        },
        b'm' => text.bytes().all(|byte| byte.is_ascii_digit() || byte == b';' || byte == b':'),
        b'J' | b'K' => most(2) && !text.contains(';'),
        b'H' | b'f' | b'r' => most(9999) && text.matches(';').count() < 2,
        b'q' => text
            .strip_suffix(' ')
            .is_some_and(|shape| shape.is_empty() || shape.parse::<u8>().is_ok_and(|n| n < 7)),
        b's' | b'u' => text.is_empty(),
        b'@'
        | b'A'..=b'I'
        | b'L'
        | b'M'
        | b'P'
        | b'S'
        | b'T'
        | b'X'
        | b'Z'
        | b'`'
        | b'a'
        | b'b'
        | b'd'
        | b'e' => most(9999) && !text.contains(';'),
        _ => false,
    }
}
