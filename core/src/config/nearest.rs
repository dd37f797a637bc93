//! The known word nearest to one that isn't known.

/// Longer words are no slip of the fingers, and comparing them costs.
const LONGEST: usize = 64;

/// The candidate that `word` is most likely a misspelling of, if any is near.
pub(super) fn nearest<'k>(word: &str, candidates: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let length = word.chars().count();
    if length > LONGEST {
        return None;
    }
    let limit = match length {
        0..=2 => 0,
        3..=4 => 1,
        5..=7 => 2,
        _ => 3,
    };
    let word = spelling(word);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word, &spelling(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letter case and the choice between `-` and `_` count as no difference.
fn spelling(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["sandbox_mode", "sandbox", "writable_roots", "inherit"];
        assert_eq!(nearest("sandbox_mod", known), Some("sandbox_mode"));
        assert_eq!(nearest("Sandbox-Mode", known), Some("sandbox_mode"));
        assert_eq!(nearest("writeable_root", known), Some("writable_roots"));
        assert_eq!(nearest("inhreit", known), Some("inherit"));
        assert_eq!(nearest("model", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"sandbox".repeat(1000), known), None);
    }
}
