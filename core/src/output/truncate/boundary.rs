//! Where a stream may be cut: between lines, else between characters and outside escape sequences.

use unicode_segmentation::UnicodeSegmentation as _;

/// How far a cut looks for the escape sequence that it may be inside of. Colours and cursor moves are a tenth of this;
/// a longer one, say a hyperlink, may be cut.
const REACH: usize = 128;

/// How far a cut looks for the start of what a reader sees as one character: a flag or a family is 28 bytes.
const CLUSTER: usize = 64;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;

/// Where the part before a gap ends, given all that was kept of it and what follows, as far as that is known.
pub(in crate::output) fn end_of_first_part(kept: &[u8], following: &[u8]) -> usize {
    if let Some(newline) = memchr::memrchr(b'\n', kept)
        && newline + 1 >= kept.len().div_ceil(2)
    {
        return newline + 1;
    }
    let end = before_open_escape(kept);
    let end = before_open_character(&kept[..end]);
    // What an escape sequence was cut from stands by itself.
    let following = if end == kept.len() { following } else { &[] };
    before_open_cluster(&kept[..end], following)
}

/// Where the part after a gap starts, given all that was kept of it and some of the bytes before it.
pub(super) fn start_of_last_part(lead: &[u8], kept: &[u8]) -> usize {
    if lead.last() == Some(&b'\n') {
        return 0;
    }
    let lead = &lead[lead.len().saturating_sub(REACH)..];
    if let Some(newline) = memchr::memchr(b'\n', kept)
        && newline < kept.len() / 2
    {
        return newline + 1;
    }
    let start = after_open_escape(lead, kept);
    // A character has at most three bytes after its first. Where they belong to none, losing them is no loss.
    let continuation = kept[start..].iter().take(3).take_while(|byte| is_continuation(**byte)).count();
    if start + continuation > 0 { start + continuation } else { after_open_cluster(lead, kept) }
}

/// A mark, a joiner or a second half of a flag belongs to what precedes it. One that starts further back is cut.
fn before_open_cluster(bytes: &[u8], following: &[u8]) -> usize {
    let before = valid_end(&bytes[bytes.len().saturating_sub(CLUSTER)..]);
    let after = valid_start(&following[..following.len().min(CLUSTER)]);
    if after.is_empty() {
        return bytes.len();
    }
    let text = [before, after].concat();
    let at = before.len();
    let start = text.grapheme_indices(true).map(|(start, _)| start).take_while(|start| *start <= at).last();
    match start {
        // What the look back may have cut itself.
        Some(0) if before.len() < bytes.len() => bytes.len(),
        Some(start) => bytes.len() - (at - start),
        None => bytes.len(),
    }
}

fn after_open_cluster(lead: &[u8], kept: &[u8]) -> usize {
    let before = valid_end(&lead[lead.len().saturating_sub(CLUSTER)..]);
    let after = valid_start(&kept[..kept.len().min(CLUSTER)]);
    let text = [before, after].concat();
    let at = before.len();
    let start = text.grapheme_indices(true).map(|(start, _)| start).find(|start| *start >= at);
    start.map_or(0, |start| start - at)
}

/// The last bytes that are text.
fn valid_end(bytes: &[u8]) -> &str {
    bytes.utf8_chunks().last().filter(|chunk| chunk.invalid().is_empty()).map_or("", |chunk| chunk.valid())
}

/// The first bytes that are text.
fn valid_start(bytes: &[u8]) -> &str {
    bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
}

fn before_open_escape(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    // Twice, since the terminator of a string sequence is an escape sequence itself.
    for _ in 0..2 {
        let floor = end.saturating_sub(REACH);
        match memchr::memrchr(ESC, &bytes[floor..end]) {
            Some(at) if escape_length(&bytes[floor + at..end]).is_none() => end = floor + at,
            _ => break,
        }
    }
    end
}

fn after_open_escape(lead: &[u8], kept: &[u8]) -> usize {
    let Some(at) = memchr::memrchr(ESC, lead) else { return 0 };
    let mut bytes = lead[at..].to_vec();
    let before = bytes.len();
    bytes.extend_from_slice(&kept[..kept.len().min(REACH)]);
    // One that doesn't end within reach is left as it is, rather than searched for.
    escape_length(&bytes).map_or(0, |length| length.saturating_sub(before))
}

/// The length of the escape sequence that these bytes start with, or `None` if it doesn't end in them.
///
/// Forms as in ECMA-48: ESC and a final byte, with intermediate bytes (`ESC ( B`); control sequences (`ESC [ 1 m`);
/// and strings (`ESC ]`, `P`, `X`, `^`, `_`), which BEL or ESC `\` ends. A byte that doesn't belong ends a sequence.
fn escape_length(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'[' => final_byte(bytes, 2, 0x20..=0x3f, 0x40..=0x7e),
        b']' | b'P' | b'X' | b'^' | b'_' => {
            let end = 2 + memchr::memchr2(BEL, ESC, &bytes[2..])?;
            match (bytes[end], bytes.get(end + 1)) {
                (BEL, _) => Some(end + 1),
                (_, Some(b'\\')) => Some(end + 2),
                (_, Some(_)) => Some(end),
                (_, None) => None,
            }
        }
        _ => final_byte(bytes, 1, 0x20..=0x2f, 0x30..=0x7e),
    }
}

fn final_byte(
    bytes: &[u8],
    from: usize,
    before: std::ops::RangeInclusive<u8>,
    last: std::ops::RangeInclusive<u8>,
) -> Option<usize> {
    let end = from + bytes[from..].iter().position(|byte| !before.contains(byte))?;
    Some(if last.contains(&bytes[end]) { end + 1 } else { end })
}

pub(in crate::output) fn before_open_character(bytes: &[u8]) -> usize {
    let last_start = bytes.iter().rev().take(3).position(|byte| !is_continuation(*byte));
    let Some(back) = last_start else { return bytes.len() };
    let start = bytes.len() - 1 - back;
    match std::str::from_utf8(&bytes[start..]) {
        // No error length: the bytes are right, and too few.
        Err(error) if error.error_len().is_none() => start,
        _ => bytes.len(),
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}
