//! Lengths of time as people type them.

use std::time::Duration;

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60 * 1000), ("h", 60 * 60 * 1000)];

/// Why a text is no length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    #[error("write a whole number and a unit: 300ms, 10s, 2m or 1h")]
    Form,
    #[error("it must be longer than nothing")]
    Zero,
    #[error("it is longer than can be waited for")]
    TooLong,
}

/// A length of time, which may be none.
pub(crate) fn parse_or_none(text: &str) -> Result<Duration, DurationError> {
    match parse(text) {
        Err(DurationError::Zero) => Ok(Duration::ZERO),
        parsed => parsed,
    }
}

pub(crate) fn parse(text: &str) -> Result<Duration, DurationError> {
    let split = text.find(|character: char| !character.is_ascii_digit()).ok_or(DurationError::Form)?;
    let (number, unit) = text.split_at(split);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(DurationError::Form)?;
    if number.is_empty() {
        return Err(DurationError::Form);
    }
    // Nothing but digits is left, so that all that can go wrong is their number.
    let number: u64 = number.parse().map_err(|_too_many| DurationError::TooLong)?;
    match number.checked_mul(*factor) {
        None => Err(DurationError::TooLong),
        Some(0) => Err(DurationError::Zero),
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DurationError, parse, parse_or_none};

    #[test]
    fn a_number_and_a_unit() {
        assert_eq!(parse("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(parse("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse("1h"), Ok(Duration::from_secs(3600)));
    }

    #[test]
    fn nothing_else() {
        for text in ["", "10", "s", "1.5s", "-1s", "+1s", "1 s", "1S", "1d", "1s1", "\u{661}s"] {
            assert_eq!(parse(text), Err(DurationError::Form), "{text:?}");
        }
        assert_eq!(parse("0s"), Err(DurationError::Zero));
        assert_eq!(parse_or_none("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_or_none("s"), Err(DurationError::Form));
        assert_eq!(parse("99999999999999999999s"), Err(DurationError::TooLong));
        assert_eq!(parse("9999999999999999h"), Err(DurationError::TooLong));
    }
}
