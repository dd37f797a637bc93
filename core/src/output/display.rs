//! What of a command's terminal output a user's terminal may be given.
//!
//! A terminal does what it reads, and some of that is not about what is displayed: it answers as if somebody typed, keeps
//! things (the clipboard, what keys send), names windows, opens links, prints. [`Display`] lets text and the control
//! functions through that only display something, by [lists](allowed) with a reason a line, and nothing else.
//!
//! What it lets through is put together anew, in forms that no two terminals read differently: whatever was in between, a
//! terminal sees whole characters, single control characters, `ESC` with a byte or two, and complete control sequences of
//! seven-bit characters. So nothing depends on how well this parser and a terminal agree about what is dropped.
//!
//! How the stream is cut into chunks makes no difference. At the end, [`Display::restoration`] undoes the modes that were
//! let through.

pub mod allowed;
mod modes;

use allowed::Verdict;
use modes::Modes;

#[cfg(test)]
mod tests;

const BEL: u8 = 0x07;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
const ESC: u8 = 0x1b;
const DELETE: u8 = 0x7f;
/// What the characters of C1 start with in UTF-8.
const C1: u8 = 0xc2;
/// What stands for bytes that are no character, as a terminal would show them: U+FFFD.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// No control sequence that is let through is longer.
const LONGEST_SEQUENCE: usize = 256;
/// How long a string is that carries data, such as a picture or a clipboard: what follows is text again.
const LONGEST_DATA: usize = 1 << 20;
/// The same for strings that are said to hold words.
const LONGEST_WORDS: usize = 4096;

/// How much was kept from the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// Escape and control sequences. One that sets several modes counts once.
    pub sequences: u64,
    /// Strings: of the operating system (`OSC`), of the device (`DCS`), of an application (`APC`), and so on.
    pub strings: u64,
    /// Control characters, of C0 and C1.
    pub controls: u64,
    /// Runs of bytes that are no UTF-8. Each is shown as U+FFFD.
    pub invalid: u64,
}

impl Dropped {
    /// Whether everything was let through.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Where in the stream we are.
#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and bytes that announce a last one: the first of them, and whether there are more.
    Announced { first: u8, more: bool },
    /// After ESC `[`: what has come of the sequence. Nothing is kept of one that is too long.
    Sequence { body: Vec<u8>, length: usize },
    /// In a string: how much may still come, and whether it is all that a console's own form without an end has.
    String { left: usize, at_start: bool },
    /// After ESC in one.
    StringEscape,
}

/// Filters one stream.
///
/// ```
/// use codex_core::output::Display;
///
/// let mut display = Display::new();
/// let mut shown = Vec::new();
/// display.push(b"\x1b]0;a title\x07\x1b[31mred\x1b[6n", &mut shown);
/// display.finish(&mut shown);
/// assert_eq!(shown, b"\x1b[31mred");
/// assert_eq!((display.dropped().strings, display.dropped().sequences), (1, 1));
/// assert_eq!(display.restoration(), b"\x1b[0m");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Display {
    state: State,
    /// A character that has not come whole.
    open: Vec<u8>,
    modes: Modes,
    dropped: Dropped,
}

impl Display {
    /// A filter to which nothing has come yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was kept from the terminal up to now.
    #[must_use]
    pub const fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// What undoes the modes that were let through and still hold, and the colours, the character sets and the scrolling
    /// region: to be written when the command has ended, or a person leaves it for a while.
    #[must_use]
    pub fn restoration(&self) -> Vec<u8> {
        self.modes.restoration()
    }

    /// What sets these modes again, after [`Display::restoration`], where a person comes back.
    #[must_use]
    pub fn resumption(&self) -> Vec<u8> {
        self.modes.resumption()
    }

    /// Takes the next bytes, and adds to `out` what may be displayed.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        while let Some((byte, after)) = rest.split_first() {
            rest = match &mut self.state {
                State::Text if !self.open.is_empty() => self.close_character(*byte, after, rest, out),
                State::Text => self.text(rest, out),
                State::Escape => self.escape(*byte, after, rest, out),
                State::Announced { .. } => self.announced(*byte, after, rest, out),
                State::Sequence { .. } => self.sequence(*byte, after, rest, out),
                State::String { .. } => self.string(rest),
                State::StringEscape if *byte == b'\\' => self.back_to_text(after),
                State::StringEscape => {
                    self.state = State::Escape;
                    rest
                }
            };
        }
    }

    /// Ends the stream: nothing of what was begun can be completed any more.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.open).is_empty() {
            self.replace(out);
        }
        match std::mem::take(&mut self.state) {
            State::Escape | State::Announced { .. } | State::Sequence { .. } => self.dropped.sequences += 1,
            // A string was counted when it began.
            State::Text | State::String { .. } | State::StringEscape => {}
        }
    }

    fn back_to_text<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        self.state = State::Text;
        rest
    }

    /// The same for a sequence that comes to nothing.
    fn drop_sequence<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        self.dropped.sequences += 1;
        self.back_to_text(rest)
    }

    /// Takes text up to what is none, or one control character.
    fn text<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let (text, rest) = bytes.split_at(plain(bytes));
        let mut left = bytes.len();
        for part in text.utf8_chunks() {
            let invalid = part.invalid();
            left -= part.valid().len() + invalid.len();
            self.characters(part.valid().as_bytes(), out);
            if left == 0 && is_open(invalid) {
                self.open.extend_from_slice(invalid);
            } else if !invalid.is_empty() {
                self.replace(out);
            }
        }
        match rest.split_first() {
            Some((&ESC, after)) => {
                self.state = State::Escape;
                after
            }
            Some((control, after)) => {
                self.control(*control, out);
                after
            }
            None => rest,
        }
    }

    /// Adds the next byte to a character that has not come whole.
    fn close_character<'a>(
        &mut self,
        byte: u8,
        after: &'a [u8],
        rest: &'a [u8],
        out: &mut Vec<u8>,
    ) -> &'a [u8] {
        self.open.push(byte);
        if is_open(&self.open) {
            return after;
        }
        let open = std::mem::take(&mut self.open);
        if std::str::from_utf8(&open).is_ok() {
            self.characters(&open, out);
            return after;
        }
        // The last byte does not belong to it.
        self.replace(out);
        rest
    }

    /// Whole characters, none of which is one of C0.
    fn characters(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let mut rest = text;
        while let Some(at) = memchr::memchr(C1, rest) {
            let (before, from) = rest.split_at(at);
            out.extend_from_slice(before);
            let (character, after) = from.split_at(from.len().min(2));
            if matches!(character, [_, 0x80..=0x9f]) {
                self.dropped.controls += 1;
            } else {
                out.extend_from_slice(character);
            }
            rest = after;
        }
        out.extend_from_slice(rest);
    }

    fn replace(&mut self, out: &mut Vec<u8>) {
        self.dropped.invalid += 1;
        out.extend_from_slice(REPLACEMENT);
    }

    /// A control character, which means the same in the middle of a sequence.
    fn control(&mut self, byte: u8, out: &mut Vec<u8>) {
        if allowed::character(byte) {
            self.modes.character(byte);
            out.push(byte);
        } else {
            self.dropped.controls += 1;
        }
    }

    /// What a byte does in the middle of a sequence that it is no part of.
    fn interrupt<'a>(&mut self, byte: u8, after: &'a [u8], rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        match byte {
            ESC => {
                self.dropped.sequences += 1;
                self.state = State::Escape;
                after
            }
            CANCEL | SUBSTITUTE => self.drop_sequence(after),
            0..0x20 | DELETE => {
                self.control(byte, out);
                after
            }
            _ => self.drop_sequence(rest),
        }
    }

    fn escape<'a>(&mut self, byte: u8, after: &'a [u8], rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        match byte {
            b'[' => self.state = State::Sequence { body: Vec::new(), length: 0 },
            // The last one is a title, to terminals that are windows of a multiplexer.
            b']' | b'P' | b'_' | b'X' | b'^' | b'k' => {
                let left = if matches!(byte, b']' | b'P' | b'_') { LONGEST_DATA } else { LONGEST_WORDS };
                self.dropped.strings += 1;
                self.state = State::String { left, at_start: byte == b']' };
            }
            0x20..=0x2f => self.state = State::Announced { first: byte, more: false },
            0x30..=0x7e if allowed::escape(byte) => {
                self.modes.escape(byte);
                out.extend_from_slice(&[ESC, byte]);
                self.state = State::Text;
            }
            0x30..=0x7e => return self.drop_sequence(after),
            _ => return self.interrupt(byte, after, rest, out),
        }
        after
    }

    fn announced<'a>(&mut self, byte: u8, after: &'a [u8], rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let State::Announced { first, more } = &mut self.state else { return rest };
        match byte {
            0x20..=0x2f => {
                *more = true;
                after
            }
            0x30..=0x7e if !*more && allowed::character_set(*first, byte) => {
                out.extend_from_slice(&[ESC, *first, byte]);
                self.modes.character_set(*first, byte);
                self.back_to_text(after)
            }
            0x30..=0x7e => self.drop_sequence(after),
            _ => self.interrupt(byte, after, rest, out),
        }
    }

    fn sequence<'a>(&mut self, byte: u8, after: &'a [u8], rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let State::Sequence { body, length } = &mut self.state else { return rest };
        match byte {
            0x20..=0x3f => {
                *length += 1;
                if *length <= LONGEST_SEQUENCE {
                    body.push(byte);
                }
                after
            }
            0x40..=0x7e => {
                let verdict =
                    if *length <= LONGEST_SEQUENCE { allowed::sequence(body, byte) } else { Verdict::Drop };
                let body = std::mem::take(body);
                self.state = State::Text;
                self.perform(&body, byte, verdict, out);
                after
            }
            _ => self.interrupt(byte, after, rest, out),
        }
    }

    fn perform(&mut self, body: &[u8], function: u8, verdict: Verdict, out: &mut Vec<u8>) {
        match verdict {
            Verdict::Drop => self.dropped.sequences += 1,
            Verdict::Pass => {
                self.modes.sequence(body, function);
                out.extend_from_slice(b"\x1b[");
                out.extend_from_slice(body);
                out.push(function);
            }
            Verdict::Modes { kept, all } => {
                if !all {
                    self.dropped.sequences += 1;
                }
                let on = function == b'h';
                for mode in &kept {
                    self.modes.set(*mode, on);
                }
                out.extend(modes::sequence(&kept, on));
            }
        }
    }

    /// Takes what belongs to a string.
    fn string<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let State::String { left, at_start } = &mut self.state else { return bytes };
        if std::mem::take(at_start) {
            // Linux's console has two without an end: ESC ] R, and ESC ] P with seven digits (console_codes(4)).
            match bytes.first() {
                Some(b'R') => *left = 1,
                Some(b'P') => *left = 8,
                _ => {}
            }
        }
        let (within, beyond) = bytes.split_at(bytes.len().min(*left));
        let end = within.iter().position(|byte| matches!(*byte, BEL | ESC | CANCEL | SUBSTITUTE));
        let Some(end) = end else {
            *left -= within.len();
            if *left == 0 {
                self.state = State::Text;
            }
            return beyond;
        };
        self.state = if bytes[end] == ESC { State::StringEscape } else { State::Text };
        &bytes[end + 1..]
    }
}

/// Whether these bytes are the beginning of a character, and too few.
fn is_open(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

/// How many bytes from the first on are no control characters of C0, nor DEL.
fn plain(bytes: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let special = |byte: u8| (byte < 0x20) | (byte == DELETE);
    let mut start = 0;
    // Without branches, so that many bytes are compared at once.
    for block in bytes.chunks_exact(BLOCK) {
        if block.iter().fold(false, |any, byte| any | special(*byte)) {
            break;
        }
        start += BLOCK;
    }
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().position(|byte| special(*byte)).unwrap_or(rest.len())
}
