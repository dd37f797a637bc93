//! A record as the bytes of a line.

use nix::errno::Errno;

use super::MAX_RECORD;

/// A line that is being written: what no longer fits is left out, and a text is only cut where it says so.
#[derive(Default)]
pub(super) struct Line(Vec<u8>);

impl Line {
    pub(super) fn word(&mut self, word: &str) {
        self.0.extend_from_slice(word.as_bytes());
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.text(name, value.to_string().as_bytes());
    }

    pub(super) fn errno(&mut self, errno: Option<Errno>) {
        if let Some(errno) = errno {
            self.number("errno", u64::from((errno as i32).unsigned_abs()));
        }
    }

    /// Adds a field. The message, which is for people, is cut where the line is full; half a path or half a number would
    /// be another one, so that they are left out.
    pub(super) fn text(&mut self, name: &str, value: &[u8]) {
        let field = [b" ", name.as_bytes(), b"=", percent_encode(value).as_slice()].concat();
        let free = (MAX_RECORD - 1).saturating_sub(self.0.len());
        if field.len() <= free {
            self.0.extend_from_slice(&field);
        } else if name == "message" {
            self.0.extend_from_slice(field.get(..free).unwrap_or_default());
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.push(b'\n');
        self.0
    }
}

/// Escapes what would end a word or a line.
fn percent_encode(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            0..=b' ' | b'%' | 0x7f => {
                let digit =
                    |nibble: u8| char::from_digit(u32::from(nibble), 16).map_or(b'?', |digit| digit as u8);
                text.extend([b'%', digit(byte >> 4), digit(byte & 0xf)]);
            }
            _ => text.push(*byte),
        }
    }
    text
}

/// Undoes [`percent_encode`]. An escape that was cut off by the limit on a record is dropped.
pub(super) fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let Some((digits, tail)) = rest.split_at_checked(2) else { break };
        rest = tail;
        let byte = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.extend(byte);
    }
    bytes
}
