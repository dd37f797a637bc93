//! The arguments of a tool call, read by hand: a mistake gets an answer that a model can do better with.

use serde_json::{Map, Value};

use codex_linux_sandbox::shown;

/// The arguments of one call.
#[derive(Debug)]
pub struct Arguments {
    tool: &'static str,
    map: Map<String, Value>,
    known: &'static [&'static str],
}

impl Arguments {
    /// Reads arguments, of which these are known.
    ///
    /// # Errors
    ///
    /// Says what is wrong, as all of these do: for a model.
    pub fn read(tool: &'static str, text: &str, known: &'static [&'static str]) -> Result<Self, String> {
        let text = if text.trim().is_empty() { "{}" } else { text };
        let map = match serde_json::from_str(text) {
            Ok(Value::Object(map)) => map,
            Ok(_) => return Err(format!("the arguments of {tool} have to be a JSON object")),
            Err(error) => return Err(format!("the arguments of {tool} are no valid JSON: {error}")),
        };
        Self::of(tool, map, known)
    }

    /// Arguments that are an object already.
    ///
    /// # Errors
    ///
    /// Names what is unknown.
    pub fn of(
        tool: &'static str,
        map: Map<String, Value>,
        known: &'static [&'static str],
    ) -> Result<Self, String> {
        let unknown: Vec<String> = map
            .keys()
            .filter(|key| !known.contains(&key.as_str()))
            .map(|key| format!("`{}`", shown(key)))
            .collect();
        if !unknown.is_empty() {
            let known = known.join("`, `");
            return Err(format!(
                "{tool} has no argument {}; it has `{known}`. Nothing was run.",
                unknown.join(", ")
            ));
        }
        Ok(Self { tool, map, known })
    }

    fn get(&self, key: &'static str) -> Option<&Value> {
        debug_assert!(self.known.contains(&key));
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&self, key: &str, expected: &str) -> String {
        format!("the argument `{key}` of {} has to be {expected}. Nothing was run.", self.tool)
    }

    /// A text.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub fn text(&self, key: &'static str) -> Result<Option<String>, String> {
        self.get(key)
            .map(|value| value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(key, "a string")))
            .transpose()
    }

    /// A text that has to be there.
    ///
    /// # Errors
    ///
    /// Where it is not.
    pub fn needed_text(&self, key: &'static str) -> Result<String, String> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    /// What is said where an argument is missing.
    #[must_use]
    pub fn missing(&self, key: &str) -> String {
        format!("the argument `{key}` of {} is missing. Nothing was run.", self.tool)
    }

    /// Whether a flag is there and true, in whatever form.
    #[must_use]
    pub fn is_set(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)))
    }

    /// A flag.
    ///
    /// # Errors
    ///
    /// Where it is neither true nor false.
    pub fn flag(&self, key: &'static str) -> Result<Option<bool>, String> {
        self.get(key).map(|value| value.as_bool().ok_or_else(|| self.wrong(key, "true or false"))).transpose()
    }

    /// A number that is not negative. Some models write whole numbers with a fraction of zero.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub fn number(&self, key: &'static str) -> Result<Option<u64>, String> {
        let read = |value: &Value| {
            value.as_u64().or_else(|| {
                let number = value.as_f64().filter(|number| *number >= 0.0 && number.fract() == 0.0)?;
                format!("{number:.0}").parse().ok()
            })
        };
        self.get(key)
            .map(|value| read(value).ok_or_else(|| self.wrong(key, "a whole number that is not negative")))
            .transpose()
    }

    /// An array.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub fn list(&self, key: &'static str) -> Result<Option<&Vec<Value>>, String> {
        self.get(key).map(|value| value.as_array().ok_or_else(|| self.wrong(key, "an array"))).transpose()
    }

    /// An object.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub fn object(&self, key: &'static str) -> Result<Option<&Map<String, Value>>, String> {
        self.get(key)
            .map(|value| value.as_object().ok_or_else(|| self.wrong(key, "a JSON object")))
            .transpose()
    }

    /// Whether an argument is one of those that there are.
    #[must_use]
    pub fn knows(&self, key: &str) -> bool {
        self.known.contains(&key)
    }

    /// An array of texts.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub fn texts(&self, key: &'static str) -> Result<Option<Vec<String>>, String> {
        let Some(list) = self.list(key)? else { return Ok(None) };
        let texts: Option<Vec<String>> = list.iter().map(|value| value.as_str().map(str::to_owned)).collect();
        texts.map(Some).ok_or_else(|| self.wrong(key, "an array of strings"))
    }
}
