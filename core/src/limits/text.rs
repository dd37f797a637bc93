//! Amounts as people write them.

use std::num::NonZeroU64;

use super::{Limit, Unit};

/// What an amount may be followed by, the largest first where one is written.
const BYTES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// It is not written as one.
    #[error("{}", expected(*.0))]
    Form(Unit),
    /// Nothing could run.
    #[error("0 would let nothing run; leave it out for no limit")]
    Zero,
    /// More than can be counted.
    #[error("that is more than can be counted")]
    TooLarge,
}

/// What an amount looks like, for messages.
pub(crate) const fn expected(unit: Unit) -> &'static str {
    match unit {
        Unit::Bytes => "a number of bytes, or a size such as \"512MiB\" (kB, MB, GB, TB, KiB, MiB, GiB, TiB)",
        Unit::Milliseconds => "a number of seconds, or a time such as \"90s\" (ms, s, m, h)",
        Unit::Count => "a whole number above 0",
    }
}

/// Reads an amount: a whole number, followed by a unit where the limit has any. A number alone counts bytes, or seconds.
///
/// # Errors
///
/// [`AmountError`] says what an amount looks like.
pub fn parse_amount(limit: Limit, text: &str) -> Result<NonZeroU64, AmountError> {
    let unit = limit.unit();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at_checked(digits).ok_or(AmountError::Form(unit))?;
    let factor = match (unit, suffix) {
        (Unit::Bytes | Unit::Count, "") => Some(1),
        (Unit::Milliseconds, "") => Some(1_000),
        (Unit::Bytes, _) => factor(&BYTES, suffix),
        (Unit::Milliseconds, _) => factor(&TIMES, suffix),
        (Unit::Count, _) => None,
    };
    let factor = factor.filter(|_| digits > 0).ok_or(AmountError::Form(unit))?;
    let number: u64 = number.parse().map_err(|_beyond| AmountError::TooLarge)?;
    let amount = number.checked_mul(factor).ok_or(AmountError::TooLarge)?;
    NonZeroU64::new(amount).ok_or(AmountError::Zero)
}

fn factor(units: &[(&str, u64)], suffix: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == suffix).map(|(_, factor)| *factor)
}

/// An amount in the largest unit that leaves it a whole number; sizes in powers of two.
pub(super) fn shown(unit: Unit, amount: u64) -> String {
    let units: &[(&str, u64)] = match unit {
        Unit::Bytes => BYTES.split_at(4).0,
        Unit::Milliseconds => &TIMES,
        Unit::Count => &[],
    };
    match units.iter().find(|(_, factor)| amount > 0 && amount.is_multiple_of(*factor)) {
        Some((name, factor)) => format!("{}{name}", amount / factor),
        None => amount.to_string(),
    }
}
