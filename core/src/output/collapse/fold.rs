//! Lines that are the same as the one before them, folded into one that says how many.

/// Longer lines are not compared: they are few.
const LONGEST: usize = 4096;
/// From this many on, repeated lines are folded even where that takes more bytes than it saves.
const MANY: u64 = 10;

type Sink<'a> = &'a mut dyn FnMut(&[u8]);

/// What stands for lines, or characters, that are the same as the one before.
pub(super) fn repeated(count: u64) -> String {
    format!("[… repeated {count} more times …]")
}

/// Takes whole lines, and pieces of long ones, and gives them on.
#[derive(Clone, Debug, Default)]
pub(super) struct Fold {
    /// The last line, with its newline, where it can be compared.
    last: Option<Vec<u8>>,
    /// How many lines like it have come after it and were not given on.
    repeats: u64,
    folded: u64,
}

impl Fold {
    /// Whole lines, each with its newline.
    pub(super) fn lines(&mut self, block: &[u8], sink: Sink<'_>) {
        // What is given on goes in one piece, as far as nothing is folded.
        let (mut given, mut at) = (0, 0);
        // Where in the block the last line is, where it is not the one remembered.
        let mut last: Option<&[u8]> = None;
        while let Some(newline) = block.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let rest = &block[at..];
            let line = &rest[..=newline];
            let same = match last {
                Some(last) => last == line,
                None => self.last.as_deref() == Some(line),
            };
            if same && line.len() <= LONGEST {
                sink(&block[given..at]);
                let more = common_prefix(rest, &rest[line.len()..]) / line.len();
                self.repeats += 1 + more as u64;
                at += line.len() * (1 + more);
                given = at;
            } else {
                if self.repeats > 0 {
                    let before = last.map(<[u8]>::to_vec);
                    self.tell(before.as_deref(), sink);
                }
                last = Some(line);
                at += line.len();
            }
        }
        sink(&block[given..at]);
        if let Some(last) = last {
            self.remember(last);
        }
    }

    /// Bytes that are not a whole line.
    pub(super) fn piece(&mut self, bytes: &[u8], sink: Sink<'_>) {
        if bytes.is_empty() {
            return;
        }
        self.tell(None, sink);
        self.last = None;
        sink(bytes);
    }

    /// Gives on what was held back, and says how many lines were folded.
    pub(super) fn finish(mut self, sink: Sink<'_>) -> u64 {
        self.tell(None, sink);
        self.folded
    }

    /// Gives on the lines that were held back, or the one that stands for them. They are like `last`, or like the one
    /// that is remembered.
    fn tell(&mut self, last: Option<&[u8]>, sink: Sink<'_>) {
        let repeats = std::mem::take(&mut self.repeats);
        let Some(line) = last.or(self.last.as_deref()).filter(|_| repeats > 0) else { return };
        let instead = repeated(repeats) + "\n";
        let length = (line.len() as u64).saturating_mul(repeats);
        if repeats > 1 && (repeats >= MANY || length > instead.len() as u64) {
            sink(instead.as_bytes());
            self.folded += repeats;
        } else {
            for _ in 0..repeats {
                sink(line);
            }
        }
    }

    fn remember(&mut self, line: &[u8]) {
        if line.len() > LONGEST {
            self.last = None;
            return;
        }
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(line);
    }
}

/// How many bytes two slices have in common from their start.
fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    const BLOCK: usize = 256;
    let blocks = one.chunks_exact(BLOCK).zip(other.chunks_exact(BLOCK));
    let whole = blocks.take_while(|(one, other)| one == other).count() * BLOCK;
    let rest = one[whole..].iter().zip(&other[whole..]);
    whole + rest.take_while(|(one, other)| one == other).count()
}
