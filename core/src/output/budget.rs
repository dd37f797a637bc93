//! How much of a stream is kept, and how much text a reader gets.

/// How much of one stream is kept by a [`Capture`](super::Capture).
///
/// Both numbers bound what is kept *of the stream*: the line that reports a gap comes on top, and so does what
/// U+FFFD takes more than the invalid bytes it stands for (three bytes of text for at least one of the stream). What
/// bounds the text as a whole is a [`TextBudget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OutputBudget {
    /// Bytes kept, the first half from the start of the stream and the second from its end.
    pub bytes: usize,
    /// Lines of the stream that the text shows, likewise. One that is shown in part counts, and counts once.
    pub lines: usize,
}

impl Default for OutputBudget {
    /// 40 KiB and 1000 lines: what [`TextBudget::default`] has room for.
    fn default() -> Self {
        Self { bytes: 40 * 1024, lines: 1000 }
    }
}

/// How long a text may be, what we add to it included.
///
/// All three bounds hold; [`UNBOUNDED`](Self::UNBOUNDED) leaves out those that don't matter:
///
/// ```
/// use codex_core::output::TextBudget;
///
/// let budget = TextBudget { tokens: 10_000, ..TextBudget::UNBOUNDED };
/// assert!(budget.holds("a short text"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TextBudget {
    /// Bytes of UTF-8.
    pub bytes: usize,
    /// Lines. A last line without a newline is one too.
    pub lines: usize,
    /// Tokens, as [`estimated_tokens`] counts them.
    pub tokens: usize,
}

impl TextBudget {
    /// No bound.
    pub const UNBOUNDED: Self = Self { bytes: usize::MAX, lines: usize::MAX, tokens: usize::MAX };

    /// Whether a text is within all bounds.
    #[must_use]
    pub fn holds(&self, text: &str) -> bool {
        Cost::of(text.as_bytes()).within(Cost::limit(*self))
    }
}

impl Default for TextBudget {
    /// 40 KiB, 1000 lines, and 10 000 tokens: a tool result that tells a model what happened and leaves it room to think.
    fn default() -> Self {
        Self { bytes: 40 * 1024, lines: 1000, tokens: 10_000 }
    }
}

/// About how many tokens a model makes of a text, rather too many than too few.
///
/// A quarter of a token for each byte of ASCII, half a token for each other byte: English and code take about four
/// bytes a token, other scripts one or two tokens a character. Text that is mostly digits or punctuation takes up to
/// twice as many tokens as this says. It needs no model's vocabulary, costs one pass, and never decreases as text
/// is added.
#[must_use]
pub fn estimated_tokens(text: &str) -> usize {
    Cost::of(text.as_bytes()).quarters.div_ceil(4)
}

/// What a text takes of a [`TextBudget`]. Costs of parts add up, but for a line that is in two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) bytes: usize,
    pub(super) lines: usize,
    /// Quarters of a token.
    pub(super) quarters: usize,
}

impl Cost {
    /// Of text, which is given as its bytes.
    pub(super) fn of(text: &[u8]) -> Self {
        Self { bytes: text.len(), lines: lines(text), quarters: quarters(text) }
    }

    pub(super) const fn limit(budget: TextBudget) -> Self {
        Self { bytes: budget.bytes, lines: budget.lines, quarters: budget.tokens.saturating_mul(4) }
    }

    pub(super) const fn within(self, limit: Self) -> bool {
        self.bytes <= limit.bytes && self.lines <= limit.lines && self.quarters <= limit.quarters
    }

    /// The budget that allows so much.
    pub(super) const fn budget(self) -> TextBudget {
        TextBudget { bytes: self.bytes, lines: self.lines, tokens: self.quarters / 4 }
    }

    /// What is left of a limit, or `None` where this is more than all of it.
    pub(super) const fn left_of(self, limit: Self) -> Option<Self> {
        if self.within(limit) { Some(self.saturating_left_of(limit)) } else { None }
    }

    pub(super) const fn saturating_left_of(self, limit: Self) -> Self {
        Self {
            bytes: limit.bytes.saturating_sub(self.bytes),
            lines: limit.lines.saturating_sub(self.lines),
            quarters: limit.quarters.saturating_sub(self.quarters),
        }
    }

    pub(super) const fn half(self) -> Self {
        Self { bytes: self.bytes / 2, lines: self.lines / 2, quarters: self.quarters / 2 }
    }

    pub(super) fn min(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.min(other.bytes),
            lines: self.lines.min(other.lines),
            quarters: self.quarters.min(other.quarters),
        }
    }
}

/// A byte of ASCII is a quarter of a token, another one two.
pub(super) fn quarters(text: &[u8]) -> usize {
    text.len() + text.iter().filter(|byte| !byte.is_ascii()).count()
}

/// Whether the last line has no newline.
pub(super) fn is_mid_line(bytes: &[u8]) -> bool {
    bytes.last().is_some_and(|last| *last != b'\n')
}

/// How many lines have at least one byte here.
pub(super) fn lines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count() + usize::from(is_mid_line(bytes))
}

#[cfg(test)]
mod tests {
    use super::{TextBudget, estimated_tokens};

    #[test]
    fn tokens_are_estimated_by_bytes() {
        assert_eq!(estimated_tokens(""), 0);
        assert_eq!(estimated_tokens("a"), 1);
        assert_eq!(estimated_tokens(&"word".repeat(10)), 10);
        assert_eq!(estimated_tokens("äß"), 2);
        assert_eq!(estimated_tokens("漢字"), 3);
        assert_eq!(estimated_tokens("😀"), 2);
    }

    #[test]
    fn every_bound_of_a_budget_holds_by_itself() {
        let text = "aaaa\nbbb";
        assert!(TextBudget { bytes: 8, lines: 2, tokens: 2 }.holds(text));
        assert!(!TextBudget { bytes: 7, ..TextBudget::UNBOUNDED }.holds(text));
        assert!(!TextBudget { lines: 1, ..TextBudget::UNBOUNDED }.holds(text));
        assert!(!TextBudget { tokens: 1, ..TextBudget::UNBOUNDED }.holds(text));
    }
}
