//! `NAME=AMOUNT` as people type it.

use std::num::NonZeroU64;

use codex_core::limits::{AmountError, Limit, parse_amount};

/// Why a text is no limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitError {
    #[error("write NAME=AMOUNT: memory=512MiB, processes=64, cpu_time=30s")]
    Form,
    #[error("no limit is called {0}; there are memory, processes, cpu_time, open_files, file_size and shm")]
    Name(String),
    #[error("{0}")]
    Amount(#[from] AmountError),
}

pub(crate) fn parse(text: &str) -> Result<(Limit, NonZeroU64), LimitError> {
    let (name, amount) = text.split_once('=').ok_or(LimitError::Form)?;
    // Words of the command line have hyphens where keys of a file have underscores.
    let limit = Limit::named(&name.replace('-', "_"))
        .ok_or_else(|| LimitError::Name(codex_linux_sandbox::shown(name)))?;
    Ok((limit, parse_amount(limit, amount)?))
}

/// An amount of bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, AmountError> {
    Ok(parse_amount(Limit::FileSize, text)?.get())
}

#[cfg(test)]
mod tests {
    use codex_core::limits::{AmountError, Limit};

    use super::{LimitError, parse};

    #[test]
    fn a_name_and_an_amount() {
        let read = |text| parse(text).map(|(limit, amount)| (limit, amount.get()));
        assert_eq!(read("memory=1GiB"), Ok((Limit::Memory, 1 << 30)));
        assert_eq!(read("cpu-time=2s"), Ok((Limit::CpuTime, 2000)));
        assert_eq!(read("cpu_time=2s"), Ok((Limit::CpuTime, 2000)));
    }

    #[test]
    fn nothing_else() {
        assert_eq!(parse("memory"), Err(LimitError::Form));
        assert_eq!(parse("mem=1"), Err(LimitError::Name("mem".to_owned())));
        assert_eq!(parse("processes=0"), Err(LimitError::Amount(AmountError::Zero)));
        for limit in Limit::ALL {
            assert!(LimitError::Name(String::new()).to_string().contains(limit.name()));
            assert!(matches!(
                parse(&format!("{}=x", limit.name())),
                Err(LimitError::Amount(AmountError::Form(_)))
            ));
        }
    }
}
