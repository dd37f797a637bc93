//! Amounts of bytes as people type them.

const UNITS: [(&str, u64); 5] = [("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Why a text is no amount of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SizeError {
    #[error("write a whole number of bytes, or one with a unit: 4096, 64KiB, 10MiB or 1GiB")]
    Form,
    #[error("it is more than can be counted")]
    TooLarge,
}

pub(crate) fn parse(text: &str) -> Result<u64, SizeError> {
    let split = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(SizeError::Form)?;
    if number.is_empty() {
        return Err(SizeError::Form);
    }
    // Nothing but digits is left, so that all that can go wrong is their number.
    let number: u64 = number.parse().map_err(|_too_many| SizeError::TooLarge)?;
    number.checked_mul(*factor).ok_or(SizeError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::{SizeError, parse};

    #[test]
    fn a_number_and_perhaps_a_unit() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("1B", 1), ("64KiB", 65536), ("1GiB", 1 << 30)] {
            assert_eq!(parse(text), Ok(bytes));
        }
    }

    #[test]
    fn nothing_else() {
        for text in ["", "KiB", "1.5MiB", "-1", "+1", "1 KiB", "1kb", "1K", "0x10", "\u{661}"] {
            assert_eq!(parse(text), Err(SizeError::Form), "{text:?}");
        }
        assert_eq!(parse("99999999999999999999"), Err(SizeError::TooLarge));
        assert_eq!(parse("18014398509481984KiB"), Err(SizeError::TooLarge));
    }
}
