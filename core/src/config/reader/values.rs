//! Single values: of the right type, of the words that are known, as paths.

use std::num::NonZeroU64;
use std::path::{Component, Path, PathBuf};

use toml::de::DeValue;

use super::super::nearest::nearest;
use super::super::problem::ProblemKind;
use super::super::sourced::{Sourced, SourcedList};
use super::{Reader, Value};
use crate::enforcement::Guarantee;
use crate::limits::{Limit, parse_amount};
use crate::policy::{HostGrant, NAMES};

impl Reader<'_> {
    pub(in crate::config) fn wrong_type(&mut self, value: &Value<'_>, expected: &'static str) {
        let found = type_name(value.get_ref());
        self.report(value.span().start, |key| ProblemKind::WrongType { key, expected, found });
    }

    pub(in crate::config) fn sourced<T>(&self, content: T, value: &Value<'_>) -> Sourced<T> {
        Sourced { value: content, origin: self.source.origin(value.span().start, self.profile.as_deref()) }
    }

    pub(in crate::config) fn sourced_text(
        &mut self,
        value: &Value<'_>,
        expected: &'static str,
    ) -> Option<Sourced<String>> {
        self.text(value, expected).map(|text| self.sourced(text.to_owned(), value))
    }

    pub(in crate::config) fn text<'v>(
        &mut self,
        value: &'v Value<'_>,
        expected: &'static str,
    ) -> Option<&'v str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(value, expected);
        }
        text
    }

    pub(super) fn boolean(&mut self, value: &Value<'_>, expected: &'static str) -> Option<Sourced<bool>> {
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type(value, expected);
        }
        boolean.map(|boolean| self.sourced(boolean, value))
    }

    /// A whole number, or text that says more.
    pub(super) fn amount(
        &mut self,
        limit: Limit,
        value: &Value<'_>,
        expected: &'static str,
    ) -> Option<Sourced<NonZeroU64>> {
        let text = match value.get_ref() {
            // Written as a person would write it: what TOML takes as well (`0x10`, `1_000`) is a number by then.
            DeValue::Integer(number) => {
                i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
            }
            DeValue::String(text) => Some(text.clone().into_owned()),
            _ => None,
        };
        let Some(text) = text else {
            self.wrong_type(value, expected);
            return None;
        };
        match parse_amount(limit, &text) {
            Ok(amount) => Some(self.sourced(amount, value)),
            Err(error) => {
                self.report(value.span().start, |key| ProblemKind::Amount { key, found: text, error });
                None
            }
        }
    }

    pub(in crate::config) fn word<T: Copy>(
        &mut self,
        value: &Value<'_>,
        all: &[T],
        name: fn(T) -> &'static str,
    ) -> Option<Sourced<T>> {
        let text = self.text(value, "a string")?;
        let word = all.iter().copied().find(|word| name(*word) == text);
        if word.is_none() {
            let known = all.iter().map(|word| name(*word)).collect();
            self.unknown_word(text, known, value);
        }
        word.map(|word| self.sourced(word, value))
    }

    pub(super) fn unknown_word(&mut self, text: &str, known: Vec<&'static str>, value: &Value<'_>) {
        self.report(value.span().start, |key| ProblemKind::UnknownWord {
            key,
            found: text.to_owned(),
            suggestion: nearest(text, known.iter().copied()).map(|near| format!("`{near}`")),
            known,
        });
    }

    /// Reads an array of strings; `convert` makes any number of items of each.
    pub(super) fn list<T>(
        &mut self,
        value: &Value<'_>,
        expected: &'static str,
        mut convert: impl FnMut(&mut Self, &str, &Value<'_>, &mut Vec<T>),
    ) -> Option<SourcedList<T>> {
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(value, expected);
            return None;
        };
        let mut items: Vec<Sourced<T>> = Vec::new();
        for element in array {
            let Some(text) = self.text(element, expected) else { continue };
            let mut converted = Vec::new();
            convert(self, text, element, &mut converted);
            for item in converted {
                items.push(self.sourced(item, element));
            }
        }
        Some(SourcedList { items, origin: self.sourced((), value).origin })
    }

    pub(super) fn pattern(&mut self, text: &str, _: &Value<'_>, patterns: &mut Vec<String>) {
        patterns.push(text.to_owned());
    }

    /// The first words of a command. Quotes and the like would be read as a shell does, and are not wanted here.
    pub(super) fn first_words(&mut self, text: &str, value: &Value<'_>, prefixes: &mut Vec<Vec<String>>) {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let plain = |word: &String| {
            word.chars().all(|character| character.is_alphanumeric() || "-_./=:,@%+".contains(character))
        };
        if words.is_empty() || !words.iter().all(plain) {
            return self.report(value.span().start, |key| ProblemKind::NotPlainWords {
                key,
                found: text.to_owned(),
            });
        }
        prefixes.push(words);
    }

    pub(super) fn host_grant(&mut self, text: &str, value: &Value<'_>, grants: &mut Vec<HostGrant>) {
        match text.parse() {
            Ok(grant) => grants.push(grant),
            Err(error) => self.report(value.span().start, |key| ProblemKind::NotAServer {
                key,
                found: text.to_owned(),
                error,
            }),
        }
    }

    pub(super) fn guarantees(&mut self, text: &str, value: &Value<'_>, guarantees: &mut Vec<Guarantee>) {
        let named = Guarantee::named(text);
        if named.is_empty() {
            self.unknown_word(text, guarantee_words(), value);
        }
        guarantees.extend(named);
    }

    /// A path that is followed from a directory chosen later, and leads nowhere but below it.
    pub(super) fn relative_path(&mut self, text: &str, value: &Value<'_>, paths: &mut Vec<PathBuf>) {
        let offset = value.span().start;
        if text.contains('\0') {
            return self.report(offset, |key| ProblemKind::Nul { key });
        }
        let path = Path::new(text);
        let plain = path.components().all(|component| matches!(component, Component::Normal(_)));
        if text.is_empty() || !plain {
            return self.report(offset, |key| ProblemKind::NotRelative { key, found: text.to_owned() });
        }
        paths.push(path.components().collect());
    }

    pub(super) fn built_in_name(&mut self, text: &str, value: &Value<'_>, names: &mut Vec<String>) {
        if NAMES.iter().any(|name| name.path == text) {
            names.push(text.to_owned());
        } else {
            self.report(value.span().start, |key| ProblemKind::NotBuiltIn {
                key,
                found: text.to_owned(),
                suggestion: nearest(text, NAMES.iter().map(|name| name.path)).map(|near| format!("`{near}`")),
            });
        }
    }

    pub(super) fn absolute_paths(
        &mut self,
        value: &Value<'_>,
        expected: &'static str,
    ) -> Option<SourcedList<PathBuf>> {
        self.list(value, expected, |reader, text, item, paths: &mut Vec<_>| {
            paths.extend(reader.absolute_path(text, item, true));
        })
    }

    pub(super) fn absolute_path(&mut self, text: &str, value: &Value<'_>, home: bool) -> Option<PathBuf> {
        let offset = value.span().start;
        if text.contains('\0') {
            self.report(offset, |key| ProblemKind::Nul { key });
            return None;
        }
        if home && let Some(below) = text.strip_prefix("~/") {
            let Some(directory) = self.home else {
                self.report(offset, |key| ProblemKind::NoHome { key, found: text.to_owned() });
                return None;
            };
            // Joining what starts with a slash would leave the home directory behind.
            return Some(directory.join(below.trim_start_matches('/')));
        }
        if !text.starts_with('/') {
            self.report(offset, |key| ProblemKind::NotAbsolute { key, found: text.to_owned(), home });
            return None;
        }
        Some(PathBuf::from(text))
    }
}

/// The same guarantees, each once: the words of promises overlap with those of their parts.
pub(super) fn without_repeats(list: SourcedList<Guarantee>) -> SourcedList<Guarantee> {
    let mut seen = Vec::new();
    let mut items = list.items;
    items.retain(|item| {
        let fresh = !seen.contains(&item.value);
        if fresh {
            seen.push(item.value);
        }
        fresh
    });
    SourcedList { items, origin: list.origin }
}

/// The words that `sandbox.require` takes: each guarantee, then each promise.
fn guarantee_words() -> Vec<&'static str> {
    let mut words: Vec<&'static str> = Guarantee::ALL.into_iter().map(Guarantee::name).collect();
    words.extend(Guarantee::ALL.into_iter().map(Guarantee::promise));
    // The guarantees of one promise stand next to one another.
    words.dedup();
    words
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
