//! How deep a message is nested and how many values it holds, told without parsing it.
//!
//! A parser that builds values takes many times the memory of the text: `[[[[…` or `[0,0,0,…` within the size limit would
//! be a way to make the server pay. One pass over the bytes says what would come.

/// How deep arrays and objects may be nested.
pub const MOST_LEVELS: usize = 127;
/// How many values a message may hold: the whole, each element, each member's value.
pub const MOST_VALUES: usize = 262_144;

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StructureError {
    /// Nesting.
    #[error("nested deeper than {MOST_LEVELS} levels")]
    TooDeep,
    /// Values.
    #[error("more than {MOST_VALUES} values")]
    TooMany,
}

/// Checks a text that may be JSON. One that is not may pass, and is left to the parser.
///
/// # Errors
///
/// [`StructureError`].
pub fn check(text: &[u8]) -> Result<(), StructureError> {
    let (mut levels, mut values) = (0_usize, 1_usize);
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'"' => rest = after_string(after),
            b'[' | b'{' => {
                levels += 1;
                // What is not empty has one value more than it has commas.
                let inside = after.iter().find(|byte| !byte.is_ascii_whitespace());
                values += usize::from(!matches!(inside, Some(b']' | b'}') | None));
            }
            b']' | b'}' => levels = levels.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if levels > MOST_LEVELS {
            return Err(StructureError::TooDeep);
        }
        if values > MOST_VALUES {
            return Err(StructureError::TooMany);
        }
    }
    Ok(())
}

/// What follows a string, whose opening quote was taken.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        let escaped = rest.get(at) == Some(&b'\\');
        rest = rest.get(at + 1 + usize::from(escaped)..).unwrap_or_default();
        if !escaped {
            return rest;
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
    use serde_json::Value;

    use super::{MOST_LEVELS, MOST_VALUES, StructureError, check};

    #[test]
    fn the_bounds_are_exact() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(check(nested(MOST_LEVELS).as_bytes()), Ok(()));
        assert_eq!(check(nested(MOST_LEVELS + 1).as_bytes()), Err(StructureError::TooDeep));
        // The array is a value as well.
        let many = |elements: usize| format!("[{}0]", "0,".repeat(elements - 1));
        assert_eq!(check(many(MOST_VALUES - 1).as_bytes()), Ok(()));
        assert_eq!(check(many(MOST_VALUES).as_bytes()), Err(StructureError::TooMany));
        let hidden = format!("\"{}\\\"{}\"", "[".repeat(1000), ",".repeat(MOST_VALUES));
        assert_eq!(check(hidden.as_bytes()), Ok(()));
    }

    fn values(value: &Value) -> usize {
        1 + match value {
            Value::Array(elements) => elements.iter().map(values).sum(),
            Value::Object(members) => members.values().map(values).sum(),
            _ => 0,
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        // Each case is a text of megabytes.
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn values_are_counted_as_a_parser_counts_them(value in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.unwrap();
            // As many copies as make the bound, and one more value.
            let each = values(&value);
            let copies = (MOST_VALUES - 1) / each;
            let room = MOST_VALUES - 1 - copies * each;
            let array = |rest: usize| {
                let elements = std::iter::repeat_n(text.as_str(), copies).chain(std::iter::repeat_n("0", rest));
                format!("[{}]", elements.collect::<Vec<_>>().join(","))
            };
            if text.len() * copies < 4_000_000 {
                assert_eq!(check(array(room).as_bytes()), Ok(()));
                assert_eq!(check(array(room + 1).as_bytes()), Err(StructureError::TooMany));
            }
        }

    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in any::<Vec<u8>>()) {
            assert_eq!(check(&bytes), Ok(()));
        }
    }
}
