//! Control functions in a stream of bytes: what they are, and which of them mean something to a row of text.

use super::binary::{Binary, Verdict};
use super::screen::{Erase, Screen};
use crate::output::counted;
use crate::output::truncate::boundary::before_open_character;

const BEL: u8 = 0x07;
const BACKSPACE: u8 = 0x08;
const SHIFT_OUT: u8 = 0x0e;
const SHIFT_IN: u8 = 0x0f;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
const ESC: u8 = 0x1b;
const DELETE: u8 = 0x7f;
/// What the characters of C1 start with in UTF-8.
const C1: u8 = 0xc2;

/// More parameters than a control sequence has that means something here.
const PARAMETERS: usize = 16;
/// A control sequence that is longer than any is none, and what follows is text.
const LONGEST: usize = 256;

/// Where in the stream we are.
#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Text,
    /// After a carriage return, which means nothing before a line feed.
    Return,
    /// After ESC.
    Escape,
    /// After ESC and bytes that announce a last one, as in `ESC ( B`.
    Announced,
    /// After ESC `[`: the parameters so far, and how many bytes these were.
    Control { parameters: [u8; PARAMETERS], length: usize },
    /// In a string that BEL or ESC `\` ends.
    String,
    /// After ESC in one.
    StringEscape,
}

/// Reads one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Parser {
    state: State,
    /// A character that has not come whole.
    open: Vec<u8>,
    escapes: u64,
    binary: Binary,
}

type Sink<'a> = &'a mut dyn FnMut(&[u8]);

impl Parser {
    pub(super) const fn escapes(&self) -> u64 {
        self.escapes
    }

    /// How many bytes of data were left out.
    pub(super) const fn skipped(&self) -> u64 {
        self.binary.total()
    }

    /// Takes the next bytes of the stream.
    pub(super) fn push(&mut self, chunk: &[u8], screen: &mut Screen, sink: Sink<'_>) {
        // Windows are small, and text is read faster in large pieces.
        let (mut text, mut at) = (0, 0);
        while let Some(rest) = chunk.get(at..).filter(|rest| !rest.is_empty()) {
            let (now, _) = rest.split_at(self.binary.next(rest));
            let verdict = self.binary.judge(now);
            if verdict != Verdict::Text {
                self.read(chunk.get(text..at).unwrap_or_default(), screen, sink);
                text = at + now.len();
            }
            if let Verdict::Ended { skipped, held } = verdict {
                self.leave_out(skipped, &held, screen, sink);
            }
            at += now.len();
        }
        self.read(chunk.get(text..).unwrap_or_default(), screen, sink);
    }

    /// Says how much data was left out, and goes on with what follows it.
    fn leave_out(&mut self, skipped: u64, held: &[u8], screen: &mut Screen, sink: Sink<'_>) {
        if skipped > 0 {
            self.end(screen, sink);
            screen.settle(sink);
            screen.text(format!("[… {} of data omitted …]\n", counted(skipped, "byte")).as_bytes(), sink);
        }
        self.read(held, screen, sink);
    }

    fn read(&mut self, chunk: &[u8], screen: &mut Screen, sink: Sink<'_>) {
        let mut rest = self.close_character(chunk, screen, sink);
        while let Some((byte, after)) = rest.split_first() {
            rest = match &mut self.state {
                State::Text => self.text(rest, screen, sink),
                State::Return => {
                    if *byte != b'\n' {
                        screen.move_to_column(0, sink);
                    }
                    self.state = State::Text;
                    rest
                }
                State::Escape => self.escape(*byte, after, rest, screen, sink),
                State::Announced => match *byte {
                    0x20..=0x2f => after,
                    0x30..=0x7e => {
                        self.state = State::Text;
                        after
                    }
                    _ => {
                        self.state = State::Text;
                        rest
                    }
                },
                State::Control { .. } => self.control(*byte, after, rest, screen, sink),
                State::String => match memchr::memchr3(BEL, ESC, b'\n', rest) {
                    Some(at) if rest[at] == ESC => {
                        self.state = State::StringEscape;
                        &rest[at + 1..]
                    }
                    Some(at) => {
                        self.state = State::Text;
                        &rest[at + usize::from(rest[at] == BEL)..]
                    }
                    None => &[],
                },
                State::StringEscape => {
                    self.state = State::Text;
                    if *byte == b'\\' {
                        after
                    } else {
                        self.state = State::Escape;
                        self.escapes += 1;
                        rest
                    }
                }
            };
        }
    }

    pub(super) fn finish(&mut self, screen: &mut Screen, sink: Sink<'_>) {
        if let Verdict::Ended { skipped, held } = self.binary.end() {
            self.leave_out(skipped, &held, screen, sink);
        }
        self.end(screen, sink);
    }

    /// Ends whatever is open.
    fn end(&mut self, screen: &mut Screen, sink: Sink<'_>) {
        let open = std::mem::take(&mut self.open);
        screen.text(&open, sink);
        self.state = State::Text;
    }

    /// Adds what is missing to a character that the last chunk ended in.
    fn close_character<'a>(&mut self, chunk: &'a [u8], screen: &mut Screen, sink: Sink<'_>) -> &'a [u8] {
        let mut rest = chunk;
        while let (false, Some((byte, after))) = (self.open.is_empty(), rest.split_first()) {
            self.open.push(*byte);
            if before_open_character(&self.open) == 0 {
                // Right so far, and still too short.
                rest = after;
                continue;
            }
            let open = std::mem::take(&mut self.open);
            if std::str::from_utf8(&open).is_ok() {
                rest = after;
                if !is_c1(&open) {
                    screen.text(&open, sink);
                }
            } else {
                // The last byte doesn't belong: what there was is no character.
                let broken = open.get(..open.len() - 1).unwrap_or_default();
                write_broken(broken, is_special(*byte), screen, sink);
            }
        }
        rest
    }

    /// Takes text up to what is none, or one control character.
    fn text<'a>(&mut self, bytes: &'a [u8], screen: &mut Screen, sink: Sink<'_>) -> &'a [u8] {
        let plain = plain(bytes);
        if plain == bytes.len() {
            let whole = before_open_character(bytes);
            let (text, open) = bytes.split_at(whole);
            screen.text(text, sink);
            self.open.extend_from_slice(open);
            return &[];
        }
        let (text, rest) = bytes.split_at(plain);
        let (text, broken) = text.split_at(before_open_character(text));
        screen.text(text, sink);
        write_broken(broken, true, screen, sink);
        let Some((byte, after)) = rest.split_first() else { return rest };
        match *byte {
            b'\r' => self.state = State::Return,
            ESC => {
                self.escapes += 1;
                if let Some(length) = colour(after) {
                    return after.get(length..).unwrap_or_default();
                }
                self.state = State::Escape;
            }
            BACKSPACE => screen.left(1, sink),
            C1 => return self.two_bytes(rest, screen, sink),
            BEL | SHIFT_OUT | SHIFT_IN | DELETE => {}
            control => {
                let run = alike(rest);
                screen.control(control, run as u64);
                return &rest[run..];
            }
        }
        after
    }

    fn two_bytes<'a>(&mut self, bytes: &'a [u8], screen: &mut Screen, sink: Sink<'_>) -> &'a [u8] {
        let Some((two, rest)) = bytes.split_at_checked(2) else {
            self.open.extend_from_slice(bytes);
            return &[];
        };
        if is_c1(two) {
            return rest;
        }
        // What follows may be a control character.
        if std::str::from_utf8(two).is_ok() {
            screen.text(two, sink);
            return rest;
        }
        let (broken, rest) = bytes.split_at(1);
        write_broken(broken, rest.first().is_some_and(|byte| is_special(*byte)), screen, sink);
        rest
    }

    fn escape<'a>(
        &mut self,
        byte: u8,
        after: &'a [u8],
        rest: &'a [u8],
        screen: &mut Screen,
        sink: Sink<'_>,
    ) -> &'a [u8] {
        self.state = State::Text;
        match byte {
            b'[' => self.state = State::Control { parameters: [0; PARAMETERS], length: 0 },
            b']' | b'P' | b'X' | b'^' | b'_' => self.state = State::String,
            0x20..=0x2f => self.state = State::Announced,
            // Up a row, and down to the start of one.
            b'M' => screen.up(1, sink),
            b'E' => screen.text(b"\n", sink),
            0x30..=0x7e => {}
            _ => return rest,
        }
        after
    }

    fn control<'a>(
        &mut self,
        byte: u8,
        after: &'a [u8],
        rest: &'a [u8],
        screen: &mut Screen,
        sink: Sink<'_>,
    ) -> &'a [u8] {
        let State::Control { parameters, length } = &mut self.state else { return rest };
        match byte {
            0x20..=0x3f if *length < LONGEST => {
                if let Some(place) = parameters.get_mut(*length) {
                    *place = byte;
                }
                *length += 1;
            }
            0x40..=0x7e => {
                // What is beyond is not looked at: the first number is what counts.
                let (parameters, length) = (*parameters, (*length).min(PARAMETERS));
                self.state = State::Text;
                perform(byte, parameters.get(..length).unwrap_or_default(), screen, sink);
            }
            CANCEL | SUBSTITUTE => self.state = State::Text,
            _ => {
                self.state = State::Text;
                return rest;
            }
        }
        after
    }
}

/// The length of what is behind ESC, where it is a colour and nothing else: by far the most frequent sequence.
fn colour(bytes: &[u8]) -> Option<usize> {
    let parameters = bytes.strip_prefix(b"[")?;
    let length = parameters.iter().take(24).position(|byte| !matches!(byte, b'0'..=b'9' | b';'))?;
    (parameters.get(length) == Some(&b'm')).then_some(length + 2)
}

/// Does what a control sequence asks for, if it is about the place of text in its neighbourhood.
fn perform(function: u8, parameters: &[u8], screen: &mut Screen, sink: Sink<'_>) {
    if !matches!(function, b'A'..=b'K' | b'`' | b'f') {
        return;
    }
    let Some(number) = number(parameters) else { return };
    let count = number.max(1);
    match function {
        b'A' => screen.up(count, sink),
        b'B' => screen.down(count, sink),
        b'C' => screen.right(count, sink),
        b'D' => screen.left(count, sink),
        b'E' => {
            screen.down(count, sink);
            screen.move_to_column(0, sink);
        }
        b'F' => {
            screen.up(count, sink);
            screen.move_to_column(0, sink);
        }
        b'G' | b'`' => screen.move_to_column(count - 1, sink),
        b'K' => match number {
            0 => screen.erase(Erase::ToEnd, sink),
            1 => screen.erase(Erase::FromStart, sink),
            _ => screen.erase(Erase::Row, sink),
        },
        b'J' if number == 0 => screen.erase(Erase::Below, sink),
        b'J' | b'H' | b'f' => screen.settle(sink),
        _ => {}
    }
}

/// The first parameter, 0 where there is none. Nothing where the sequence is a private one.
fn number(parameters: &[u8]) -> Option<usize> {
    let first = parameters.split(|byte| *byte == b';').next().unwrap_or_default();
    first.iter().try_fold(0_usize, |number, byte| {
        byte.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(usize::from(byte - b'0')))
    })
}

/// Writes the start of a character that has no end. With what stands behind it gone, the end of another one could come
/// to stand there; so bytes that start nothing take its place.
fn write_broken(bytes: &[u8], stands_alone: bool, screen: &mut Screen, sink: Sink<'_>) {
    if stands_alone {
        bytes.iter().for_each(|_| screen.text(b"\xff", sink));
    } else {
        screen.text(bytes, sink);
    }
}

fn is_c1(character: &[u8]) -> bool {
    matches!(character, [C1, 0x80..=0x9f])
}

/// How many bytes from the first on are the same.
fn alike(bytes: &[u8]) -> usize {
    let Some(first) = bytes.first() else { return 0 };
    const BLOCK: usize = 256;
    let pattern = [*first; BLOCK];
    let whole = bytes.chunks_exact(BLOCK).take_while(|block| **block == pattern).count() * BLOCK;
    whole + bytes[whole..].iter().take_while(|byte| *byte == first).count()
}

/// Whether a byte is a control character but for tabs and newlines, or may start one. Without branches, so that many bytes
/// are compared at once.
const fn is_special(byte: u8) -> bool {
    ((byte < 0x20) & (byte != b'\n') & (byte != b'\t')) | (byte == DELETE) | (byte == C1)
}

/// How many bytes from the first on are text.
fn plain(bytes: &[u8]) -> usize {
    let start = plain_blocks::<64>(bytes);
    let start = start + plain_blocks::<16>(bytes.get(start..).unwrap_or_default());
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len())
}

fn plain_blocks<const SIZE: usize>(bytes: &[u8]) -> usize {
    let blocks = bytes.chunks_exact(SIZE);
    blocks.take_while(|block| !block.iter().fold(false, |any, byte| any | is_special(*byte))).count() * SIZE
}
