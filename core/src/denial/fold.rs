//! Denials folded by what they are about, with counts, in bounded memory.

use super::record::Denial;

/// How many different denials a call keeps. A flood tells nothing more after the first few.
pub const MOST_TARGETS: usize = 64;

/// Folds denials as they come.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    kept: Vec<Denial>,
    dropped: u64,
}

impl Fold {
    /// Takes one. The same operation on the same object counts, by the place where that is known: a name can lead elsewhere a moment
    /// later. A new one beyond [`MOST_TARGETS`] is [dropped](Self::dropped).
    pub fn push(&mut self, denial: Denial) {
        let same = |known: &&mut Denial| {
            let places = known.resolved_target.as_ref().zip(denial.resolved_target.as_ref());
            known.operation == denial.operation
                && known.certainty == denial.certainty
                && places.map_or(known.target == denial.target, |(known, place)| known == place)
        };
        if let Some(known) = self.kept.iter_mut().find(same) {
            known.count = known.count.saturating_add(denial.count);
        } else if self.kept.len() < MOST_TARGETS {
            self.kept.push(denial);
        } else {
            self.dropped = self.dropped.saturating_add(denial.count);
        }
    }

    /// How often something was told that there was no room for.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What was folded, in the order in which it first came.
    #[must_use]
    pub fn finish(self) -> Vec<Denial> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Operation;
    use super::super::record::{Certainty, Denial};
    use super::{Fold, MOST_TARGETS};

    fn denial(target: &str) -> Denial {
        Denial {
            operation: Operation::Write,
            target: target.to_owned(),
            resolved_target: None,
            promise: None,
            rule: None,
            errno: None,
            certainty: Certainty::Likely,
            pid: None,
            program: None,
            count: 1,
            first_ms: None,
            allow: None,
            risk: None,
        }
    }

    #[test]
    fn the_same_is_counted_and_a_flood_is_bounded() {
        let mut fold = Fold::default();
        for index in 0..10 * MOST_TARGETS {
            fold.push(denial("/same"));
            fold.push(denial(&format!("/{index}")));
        }
        assert_eq!(fold.dropped(), 9 * MOST_TARGETS as u64 + 1);
        let kept = fold.finish();
        assert_eq!(kept.len(), MOST_TARGETS);
        assert_eq!(kept[0].count, 10 * MOST_TARGETS as u64);
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_another() {
        let at =
            |target: &str, place: &str| Denial { resolved_target: Some(place.to_owned()), ..denial(target) };
        let mut fold = Fold::default();
        for one in [at("way", "/cache"), at("way", "/secret"), at("other", "/cache"), denial("way")] {
            fold.push(one);
        }
        let kept: Vec<_> = fold.finish().into_iter().map(|one| (one.resolved_target, one.count)).collect();
        assert_eq!(kept, [(Some("/cache".to_owned()), 3), (Some("/secret".to_owned()), 1)]);
    }

    #[test]
    fn other_operations_stay_apart() {
        let mut fold = Fold::default();
        fold.push(denial("/same"));
        fold.push(Denial { operation: Operation::Remove, ..denial("/same") });
        fold.push(Denial { certainty: Certainty::Exact, ..denial("/same") });
        assert_eq!(fold.finish().len(), 3);
    }
}
