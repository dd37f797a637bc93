//! The modes that were let through, and what undoes them.

use super::allowed::{INSERT, MODES};

/// What differs from a terminal that nobody has changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Modes {
    /// For each private mode of the list: what it was set to last.
    private: [Option<bool>; MODES.len()],
    insert: bool,
    keypad: bool,
    shape: Option<u8>,
    styled: bool,
    /// The character set at each of the four places, where it is not ASCII.
    sets: [Option<u8>; 4],
    shifted: bool,
    /// Whether another character set was ever chosen: what a terminal keeps with the cursor's place can bring it back.
    other_sets: bool,
    region: bool,
}

/// The modes that show another screen. To leave one that is not shown would move the cursor.
const SCREENS: [u16; 3] = [1049, 1047, 47];

/// A sequence that sets private modes, or nothing.
pub(super) fn sequence(modes: &[u16], on: bool) -> Vec<u8> {
    if modes.is_empty() {
        return Vec::new();
    }
    let numbers: Vec<_> = modes.iter().map(u16::to_string).collect();
    format!("\x1b[?{}{}", numbers.join(";"), if on { 'h' } else { 'l' }).into_bytes()
}

impl Modes {
    pub(super) fn character(&mut self, byte: u8) {
        match byte {
            0x0e => (self.shifted, self.other_sets) = (true, true),
            0x0f => self.shifted = false,
            _ => {}
        }
    }

    pub(super) fn escape(&mut self, byte: u8) {
        match byte {
            b'=' => self.keypad = true,
            b'>' => self.keypad = false,
            // What was kept may hold colours and character sets.
            b'8' => self.styled = true,
            _ => {}
        }
    }

    pub(super) fn character_set(&mut self, place: u8, set: u8) {
        if let Some(slot) = self.sets.get_mut(usize::from(place.saturating_sub(b'('))) {
            *slot = (set != b'B').then_some(set);
            self.other_sets |= slot.is_some();
        }
    }

    pub(super) fn set(&mut self, mode: u16, on: bool) {
        // The colours that were kept with the cursor's place come back.
        self.styled |= SCREENS.contains(&mode) && !on;
        for (slot, (known, _)) in self.private.iter_mut().zip(MODES) {
            if known.number == mode {
                *slot = Some(on);
            }
        }
    }

    /// A control sequence that was let through.
    pub(super) fn sequence(&mut self, body: &[u8], function: u8) {
        match function {
            b'm' => self.styled = !matches!(body, b"" | b"0"),
            b'r' => self.region = !body.is_empty(),
            b'q' => {
                self.shape = body.first().copied().filter(u8::is_ascii_digit).filter(|shape| *shape != b'0')
            }
            b'h' => self.insert = true,
            b'l' => self.insert = false,
            _ => {}
        }
    }

    pub(super) fn restoration(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (now, (mode, _)) in self.private.iter().zip(MODES) {
            // Some are kept with the cursor's place, and may have come back: what was ever set is set right.
            let due = now.is_some_and(|now| now || !SCREENS.contains(&mode.number));
            if due {
                out.extend(sequence(&[mode.number], mode.usually_on));
            }
        }
        if self.region {
            // It moves the cursor.
            out.extend_from_slice(b"\x1b7\x1b[r\x1b8");
        }
        if self.insert {
            out.extend(format!("\x1b[{INSERT}l").into_bytes());
        }
        if self.keypad {
            out.extend_from_slice(b"\x1b>");
        }
        if self.shape.is_some() {
            out.extend_from_slice(b"\x1b[0 q");
        }
        if self.other_sets {
            out.extend_from_slice(b"\x1b(B\x1b)B\x1b*B\x1b+B\x0f");
        }
        if self.styled {
            out.extend_from_slice(b"\x1b[0m");
        }
        out
    }

    /// What sets them again. Colours and the region are for whoever draws the screen anew.
    pub(super) fn resumption(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // The screen comes first, and is shown when it is whole.
        for (now, (mode, _)) in self.private.iter().zip(MODES) {
            if let Some(now) = now.filter(|now| *now != mode.usually_on && mode.number != 2026) {
                out.extend(sequence(&[mode.number], now));
            }
        }
        if self.insert {
            out.extend(format!("\x1b[{INSERT}h").into_bytes());
        }
        if self.keypad {
            out.extend_from_slice(b"\x1b=");
        }
        if let Some(shape) = self.shape {
            out.extend_from_slice(&[0x1b, b'[', shape, b' ', b'q']);
        }
        for (place, set) in (b'('..).zip(self.sets) {
            if let Some(set) = set {
                out.extend_from_slice(&[0x1b, place, set]);
            }
        }
        if self.shifted {
            out.push(0x0e);
        }
        out
    }
}
