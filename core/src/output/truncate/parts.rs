//! Which parts of a stream its text shows.

use super::boundary;
use crate::output::budget::{Cost, is_mid_line, lines, quarters};
use crate::output::capture::Captured;

/// What U+FFFD takes.
const REPLACED: Cost = Cost { bytes: 3, lines: 0, quarters: 6 };

/// What comes before the gap and what comes after it. Without a gap, all is before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) first: &'a [u8],
    pub(super) last: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn of(captured: &'a Captured) -> Self {
        let lines_total = captured.collapsed.map_or(captured.lines_total, |collapsed| collapsed.lines);
        let lines_fit = lines_total <= captured.line_budget as u64;
        if captured.bytes_omitted == 0 && lines_fit {
            return Self { first: &captured.head, last: &[] };
        }
        let (first, last) = if captured.bytes_omitted == 0 {
            // Only lines are too many, so both parts come from the whole stream, and can't meet.
            (captured.head.as_slice(), captured.head.as_slice())
        } else {
            (
                &captured.head[..boundary::end_of_first_part(&captured.head, &[])],
                &captured.tail[boundary::start_of_last_part(&captured.lead, &captured.tail)..],
            )
        };
        if lines_fit {
            return Self { first, last };
        }
        // Half of the lines for each part; what one part has no use for goes to the other.
        let half = captured.line_budget.div_ceil(2);
        let spare_of_last = captured.line_budget.saturating_sub(lines(last));
        let first_lines = half.max(spare_of_last).min(lines(first));
        Self {
            first: first_n_lines(first, first_lines),
            last: last_n_lines(last, captured.line_budget - first_lines),
        }
    }

    /// As much of both as a limit has room for, half of it each; what one has no use for goes to the other.
    ///
    /// Where there was no gap, the limit has to be less than all takes, so that the new parts can't meet.
    pub(super) fn within(self, room: Cost, gap: bool) -> Self {
        let (first, last) = (self.first, if gap { self.last } else { self.first });
        let for_last = cost(last).min(room.half());
        let first = first_within(first, for_last.saturating_left_of(room));
        Self { first, last: last_within(last, cost(first).saturating_left_of(room)) }
    }
}

/// What bytes take as text.
fn cost(bytes: &[u8]) -> Cost {
    let mut sum = Cost { lines: lines(bytes), ..Cost::default() };
    for chunk in bytes.utf8_chunks() {
        sum = plus(sum, of_valid(chunk.valid()));
        if !chunk.invalid().is_empty() {
            sum = plus(sum, REPLACED);
        }
    }
    sum
}

/// Bytes and tokens: lines don't add up.
fn of_valid(text: &str) -> Cost {
    Cost { bytes: text.len(), lines: 0, quarters: quarters(text.as_bytes()) }
}

const fn plus(one: Cost, other: Cost) -> Cost {
    Cost {
        bytes: one.bytes + other.bytes,
        lines: one.lines + other.lines,
        quarters: one.quarters + other.quarters,
    }
}

fn first_within(bytes: &[u8], limit: Cost) -> &[u8] {
    let mut taken = Cost::default();
    let mut end = 0;
    for chunk in bytes.utf8_chunks() {
        let with_chunk = plus(taken, of_valid(chunk.valid()));
        if !with_chunk.within(limit) {
            // It ends in here: only once are characters looked at one by one.
            for char in chunk.valid().chars() {
                taken = plus(taken, of_valid(char.encode_utf8(&mut [0; 4])));
                if !taken.within(limit) {
                    break;
                }
                end += char.len_utf8();
            }
            break;
        }
        end += chunk.valid().len();
        taken = with_chunk;
        if !chunk.invalid().is_empty() {
            taken = plus(taken, REPLACED);
            if !taken.within(limit) {
                break;
            }
            end += chunk.invalid().len();
        }
    }
    let (kept, gone) = bytes.split_at(end);
    let kept = if gone.is_empty() { kept } else { &kept[..boundary::end_of_first_part(kept, gone)] };
    first_n_lines(kept, limit.lines)
}

fn last_within(bytes: &[u8], limit: Cost) -> &[u8] {
    let mut left = Cost { lines: 0, ..cost(bytes) };
    let mut start = 0;
    for chunk in bytes.utf8_chunks() {
        if left.within(limit) {
            break;
        }
        let without_chunk = of_valid(chunk.valid()).saturating_left_of(left);
        if without_chunk.within(limit) {
            for char in chunk.valid().chars() {
                if left.within(limit) {
                    break;
                }
                left = of_valid(char.encode_utf8(&mut [0; 4])).saturating_left_of(left);
                start += char.len_utf8();
            }
            break;
        }
        start += chunk.valid().len();
        left = without_chunk;
        if !chunk.invalid().is_empty() {
            start += chunk.invalid().len();
            left = REPLACED.saturating_left_of(left);
        }
    }
    let (gone, kept) = bytes.split_at(start);
    let kept = if gone.is_empty() { kept } else { &kept[boundary::start_of_last_part(gone, kept)..] };
    last_n_lines(kept, limit.lines)
}

fn first_n_lines(bytes: &[u8], n: usize) -> &[u8] {
    let Some(nth) = n.checked_sub(1) else { return &[] };
    match memchr::memchr_iter(b'\n', bytes).nth(nth) {
        Some(newline) => &bytes[..=newline],
        None => bytes,
    }
}

fn last_n_lines(bytes: &[u8], n: usize) -> &[u8] {
    if n == 0 {
        return &[];
    }
    // The newline that ends the last line starts none.
    let nth = if is_mid_line(bytes) { n - 1 } else { n };
    match memchr::memrchr_iter(b'\n', bytes).nth(nth) {
        Some(newline) => &bytes[newline + 1..],
        None => bytes,
    }
}
