use std::collections::BTreeSet;

use super::{Answer, Denial, Test, denials};
use crate::broker::UnixSockets;
use crate::plan::{Isolation, Network, Plan, Writes};

fn restricted(network: Network) -> Vec<Denial> {
    denials(&Plan::new(Isolation::Landlock, Writes::Beneath(Vec::new()), network), UnixSockets::Refused)
}

#[test]
fn an_unrestricted_plan_denies_nothing() {
    assert_eq!(denials(&Plan::UNRESTRICTED, UnixSockets::Refused), Vec::new());
}

#[test]
fn a_plan_that_lets_everything_be_written_closes_as_much_as_one_that_does_not() {
    let external = Plan::new(Isolation::Landlock, Writes::Everywhere, Network::Off);
    assert_eq!(denials(&external, UnixSockets::Refused), restricted(Network::Off));
}

#[test]
fn no_line_stands_twice_or_behind_one_that_denies_the_whole_call() {
    for network in [Network::Off, Network::Full] {
        let denials = restricted(network);
        let whole: BTreeSet<_> =
            denials.iter().filter(|denial| denial.when.is_empty()).map(|denial| denial.call).collect();
        let mut seen = Vec::new();
        for denial in &denials {
            assert!(!seen.contains(&(denial.call, denial.when)), "{} stands twice", denial.name);
            assert!(denial.when.is_empty() || !whole.contains(&denial.call), "{} is behind", denial.name);
            seen.push((denial.call, denial.when));
        }
    }
}

#[test]
fn every_line_has_a_reason_and_a_promise() {
    for denial in restricted(Network::Off) {
        assert!(!denial.reason.is_empty(), "{}", denial.name);
        assert!(["P1", "P2", "P3", "P6"].contains(&denial.promise), "{}", denial.name);
        assert!(!denial.name.starts_with("SYS_"), "{}", denial.name);
    }
}

#[test]
fn only_calls_whose_callers_fall_back_pretend_to_be_missing() {
    let missing: BTreeSet<_> = restricted(Network::Off)
        .into_iter()
        .filter(|denial| denial.answer == Answer::NotImplemented)
        .map(|denial| denial.name)
        .collect();
    let expected = ["clone3", "openat2", "io_uring_setup", "io_uring_enter", "io_uring_register"];
    assert_eq!(missing, BTreeSet::from(expected));
}

#[test]
fn values_fit_the_width_that_is_compared() {
    for denial in restricted(Network::Off).into_iter().chain(restricted(Network::Full)) {
        for condition in denial.when {
            let value = match condition.test {
                Test::Is(value) | Test::IsNot(value) | Test::HasBits(value) => value,
                Test::Masked { mask, value } => {
                    assert_eq!(value & !mask, 0, "{}", denial.name);
                    value
                }
            };
            assert!(u32::try_from(value).is_ok(), "{}", denial.name);
        }
    }
}
