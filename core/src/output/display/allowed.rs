//! The control functions that only display something, as lists: what it is, and why it may pass.
//!
//! Not here, and so dropped: everything that makes a terminal answer (`DA`, `DSR`, `DECRQM`, `XTVERSION`, reports about the
//! window), that it keeps (clipboard, keys, titles, macros, tab stops), that acts on something else (windows, printers,
//! notifications, links, lamps), that changes how later bytes or keys are read (resets, VT52, 8-bit controls, character
//! encodings, keyboard protocols), and whatever nobody has looked at.

/// A control function: its last byte or number, and the reason.
pub type Row<T> = (T, &'static str);

/// Characters of C0.
pub const CHARACTERS: [Row<u8>; 9] = [
    (0x07, "BEL: a sound"),
    (0x08, "BS: one column to the left"),
    (b'\t', "HT: to the next tab stop"),
    (b'\n', "LF: down a line"),
    (0x0b, "VT: as LF"),
    (0x0c, "FF: as LF"),
    (b'\r', "CR: to the first column"),
    (0x0e, "SO: the second character set, undone at the end"),
    (0x0f, "SI: the first character set"),
];

/// ESC with one byte.
pub const ESCAPES: [Row<u8>; 7] = [
    (b'7', "DECSC: keeps the cursor's place until the next time"),
    (b'8', "DECRC: back to it"),
    (b'D', "IND: down a line"),
    (b'E', "NEL: to the start of the next line"),
    (b'M', "RI: up a line"),
    (b'=', "DECKPAM: what the keypad sends, undone at the end"),
    (b'>', "DECKPNM: undoes it"),
];

/// What ESC with two bytes may designate: the first is where to.
pub const DESIGNATIONS: [Row<u8>; 4] = [
    (b'(', "SCS: the first character set"),
    (b')', "SCS: the second"),
    (b'*', "SCS: the third"),
    (b'+', "SCS: the fourth"),
];

/// The character sets.
pub const CHARACTER_SETS: [Row<u8>; 3] =
    [(b'0', "lines and corners"), (b'A', "British: one character differs"), (b'B', "ASCII")];

/// Which parameters a control sequence may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameters {
    /// Any numbers, up to this many.
    Numbers(usize),
    /// Numbers and colons: colours and styles.
    Styles,
    /// One number up to this, or none.
    UpTo(u16),
}

use Parameters::{Numbers, Styles, UpTo};

/// Control sequences by their bytes between the parameters and the last one, and the last one.
pub const SEQUENCES: [Row<(&[u8], u8, Parameters)>; 32] = [
    ((b"", b'@', Numbers(1)), "ICH: insert columns"),
    ((b"", b'A', Numbers(1)), "CUU: up"),
    ((b"", b'B', Numbers(1)), "CUD: down"),
    ((b"", b'C', Numbers(1)), "CUF: right"),
    ((b"", b'D', Numbers(1)), "CUB: left"),
    ((b"", b'E', Numbers(1)), "CNL: down, to the first column"),
    ((b"", b'F', Numbers(1)), "CPL: up, to the first column"),
    ((b"", b'G', Numbers(1)), "CHA: to a column"),
    ((b"", b'H', Numbers(2)), "CUP: to a line and column"),
    ((b"", b'I', Numbers(1)), "CHT: over tab stops"),
    // 3 would take what was displayed before, and scrolled away.
    ((b"", b'J', UpTo(2)), "ED: erase in the screen"),
    ((b"", b'K', UpTo(2)), "EL: erase in the line"),
    ((b"", b'L', Numbers(1)), "IL: insert lines"),
    ((b"", b'M', Numbers(1)), "DL: delete lines"),
    ((b"", b'P', Numbers(1)), "DCH: delete columns"),
    ((b"", b'S', Numbers(1)), "SU: scroll up"),
    // With five it begins to track the mouse, and waits for an answer.
    ((b"", b'T', Numbers(1)), "SD: scroll down"),
    ((b"", b'X', Numbers(1)), "ECH: erase columns"),
    ((b"", b'Z', Numbers(1)), "CBT: back over tab stops"),
    ((b"", b'`', Numbers(1)), "HPA: to a column"),
    ((b"", b'a', Numbers(1)), "HPR: right"),
    ((b"", b'b', Numbers(1)), "REP: the last character again"),
    ((b"", b'd', Numbers(1)), "VPA: to a line"),
    ((b"", b'e', Numbers(1)), "VPR: down"),
    ((b"", b'f', Numbers(2)), "HVP: to a line and column"),
    ((b"", b'm', Styles), "SGR: colours and styles, undone at the end"),
    ((b"", b'r', Numbers(2)), "DECSTBM: the lines that scroll, undone at the end"),
    ((b"", b's', Numbers(0)), "SCOSC: keeps the cursor's place until the next time"),
    ((b"", b'u', Numbers(0)), "SCORC: back to it"),
    ((b" ", b'q', UpTo(6)), "DECSCUSR: the cursor's shape, undone at the end"),
    // With any other number: the keyboard locked, an echo, other line ends.
    ((b"", b'h', UpTo(4)), "SM: 4, IRM, insert what is written; undone at the end"),
    ((b"", b'l', UpTo(4)), "RM: 4, IRM, overwrite"),
];

/// The one mode of ECMA-48 that may be set: IRM.
pub(super) const INSERT: u16 = 4;

/// A private mode, and whether a terminal has it on of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Its number.
    pub number: u16,
    /// Whether it is on before anybody changes it.
    pub usually_on: bool,
}

const fn off(number: u16) -> Mode {
    Mode { number, usually_on: false }
}

const fn on(number: u16) -> Mode {
    Mode { number, usually_on: true }
}

/// Private modes (`CSI ? … h` and `l`). Each is put back at the end, in this order.
pub const MODES: [Row<Mode>; 16] = [
    (off(2026), "a picture that is displayed when it is whole"),
    (off(1049), "the alternate screen, with the cursor's place kept"),
    (off(1047), "the alternate screen"),
    (off(47), "the alternate screen"),
    (off(1), "DECCKM: what the arrow keys send"),
    (off(5), "DECSCNM: all in reverse"),
    (off(6), "DECOM: lines counted from the first one that scrolls"),
    (on(7), "DECAWM: a line that is full goes on in the next"),
    (off(12), "a cursor that blinks"),
    (on(25), "DECTCEM: a cursor that is seen"),
    (off(1000), "the mouse's buttons, sent as if typed: only when a person uses it"),
    (off(1002), "the mouse's way while a button is held"),
    (off(1003), "the mouse's way"),
    (off(1006), "these as numbers"),
    (off(2004), "pasted text in brackets, so that it is not taken for typed"),
    (off(1015), "the mouse as numbers, in an older form"),
];

/// What becomes of a control sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Drop,
    Pass,
    /// These of its modes pass; whether they are all.
    Modes {
        kept: Vec<u16>,
        all: bool,
    },
}

pub(super) fn character(byte: u8) -> bool {
    CHARACTERS.iter().any(|(allowed, _)| *allowed == byte)
}

pub(super) fn escape(byte: u8) -> bool {
    ESCAPES.iter().any(|(allowed, _)| *allowed == byte)
}

pub(super) fn character_set(place: u8, set: u8) -> bool {
    DESIGNATIONS.iter().any(|(allowed, _)| *allowed == place)
        && CHARACTER_SETS.iter().any(|(allowed, _)| *allowed == set)
}

/// Judges a control sequence by what stands between ESC `[` and its last byte, and by that.
pub(super) fn sequence(body: &[u8], function: u8) -> Verdict {
    if let (Some(modes), b'h' | b'l') = (body.strip_prefix(b"?"), function) {
        return private_modes(modes);
    }
    let between = body.iter().position(|byte| !(b'0'..=b';').contains(byte)).unwrap_or(body.len());
    let (parameters, between) = body.split_at(between);
    let row = SEQUENCES.iter().find(|((bytes, last, _), _)| (*bytes, *last) == (between, function));
    match row {
        Some(((.., allowed), _)) if fits(parameters, *allowed, function) => Verdict::Pass,
        _ => Verdict::Drop,
    }
}

fn fits(parameters: &[u8], allowed: Parameters, function: u8) -> bool {
    let numbers = || parameters.split(|byte| *byte == b';').map(number);
    match allowed {
        Styles => parameters.split(|byte| matches!(byte, b';' | b':')).all(|part| number(part).is_some()),
        Numbers(0) => parameters.is_empty(),
        Numbers(most) => numbers().count() <= most && numbers().all(|number| number.is_some()),
        UpTo(_) if matches!(function, b'h' | b'l') => number(parameters) == Some(INSERT),
        UpTo(most) => number(parameters).is_some_and(|number| number <= most),
    }
}

/// A number of at most four digits, 0 where there is none. What is larger is none that a screen has a use for, and has
/// kept terminals busy.
fn number(digits: &[u8]) -> Option<u16> {
    if digits.len() > 4 {
        return None;
    }
    digits
        .iter()
        .try_fold(0_u16, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u16::from(byte - b'0')))
}

fn private_modes(parameters: &[u8]) -> Verdict {
    let mut kept = Vec::new();
    let mut all = true;
    for part in parameters.split(|byte| *byte == b';') {
        match number(part).filter(|number| MODES.iter().any(|(mode, _)| mode.number == *number)) {
            Some(number) => kept.push(number),
            None => all = false,
        }
    }
    if kept.is_empty() { Verdict::Drop } else { Verdict::Modes { kept, all } }
}
