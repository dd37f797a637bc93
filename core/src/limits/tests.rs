use std::num::NonZeroU64;

use proptest::prelude::*;

use super::{AmountError, Limit, ResourceLimits, Unit, parse_amount};

fn amount(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

#[test]
fn sizes_times_and_counts_are_read() {
    for (limit, text, expected) in [
        (Limit::Memory, "1", 1),
        (Limit::Memory, "512MiB", 512 << 20),
        (Limit::FileSize, "1kB", 1000),
        (Limit::FileSize, "1KiB", 1024),
        (Limit::Shm, "3TB", 3_000_000_000_000),
        (Limit::Shm, "7B", 7),
        (Limit::CpuTime, "30", 30_000),
        (Limit::CpuTime, "1500ms", 1500),
        (Limit::CpuTime, "2m", 120_000),
        (Limit::CpuTime, "1h", 3_600_000),
        (Limit::Processes, "64", 64),
        (Limit::OpenFiles, "1024", 1024),
    ] {
        assert_eq!(parse_amount(limit, text), Ok(amount(expected)), "{text}");
    }
}

#[test]
fn what_is_no_amount_is_said_to_be_none() {
    for (limit, text) in [
        (Limit::Memory, ""),
        (Limit::Memory, "MiB"),
        (Limit::Memory, "1 MiB"),
        (Limit::Memory, "1M"),
        (Limit::Memory, "1mib"),
        (Limit::Memory, "-1"),
        (Limit::Memory, "+1"),
        (Limit::Memory, "1.5GiB"),
        (Limit::Memory, "10s"),
        (Limit::CpuTime, "1MiB"),
        (Limit::CpuTime, "1d"),
        (Limit::Processes, "1k"),
        (Limit::Processes, "\u{661}"),
    ] {
        assert_eq!(parse_amount(limit, text), Err(AmountError::Form(limit.unit())), "{text:?}");
    }
    assert_eq!(parse_amount(Limit::Memory, "0MiB"), Err(AmountError::Zero));
    assert_eq!(parse_amount(Limit::Memory, "99999999TiB"), Err(AmountError::TooLarge));
    assert_eq!(parse_amount(Limit::Processes, "99999999999999999999"), Err(AmountError::TooLarge));
}

prop_compose! {
    fn limits()(amounts in prop::array::uniform6(prop::option::of(1_u64..))) -> ResourceLimits {
        let mut limits = ResourceLimits::NONE;
        for (limit, given) in Limit::ALL.into_iter().zip(amounts) {
            if let Some(given) = given {
                limits.set(limit, amount(given));
            }
        }
        limits
    }
}

proptest! {
    #[test]
    fn what_is_shown_is_read_as_the_same(limit in prop::sample::select(Limit::ALL.to_vec()), given in 1_u64..) {
        let text = limit.shown(given);
        let read = parse_amount(limit, &text);
        prop_assert_eq!(read, Ok(amount(given)), "{}", text);
        prop_assert!(limit.unit() != Unit::Count || text == given.to_string());
    }

    #[test]
    fn two_together_are_as_tight_as_each(ours in limits(), theirs in limits()) {
        let both = ours.tightest(theirs);
        for limit in Limit::ALL {
            let most = [ours.get(limit), theirs.get(limit)].into_iter().flatten().min();
            prop_assert_eq!(both.get(limit), most);
        }
        prop_assert_eq!(both, theirs.tightest(ours));
        prop_assert_eq!(both.tightest(ours), both);
    }

    #[test]
    fn texts_of_any_kind_never_panic(limit in prop::sample::select(Limit::ALL.to_vec()), text in ".{0,12}") {
        let _read = parse_amount(limit, &text);
    }
}
