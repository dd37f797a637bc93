//! Secrets, kept out of what is written down.

/// What stands in the place of a secret.
const HIDDEN: &str = "[redacted]";
/// Shorter words are found everywhere, and protect nothing.
const SHORTEST: usize = 8;

/// Knows secrets, and takes them out of texts.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    /// As they are and as JSON writes them, the longest first: one may hold another.
    secrets: Vec<String>,
}

impl Redactor {
    /// Knows these.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut all: Vec<String> = Vec::new();
        for secret in secrets.into_iter().filter(|secret| secret.trim().len() >= SHORTEST) {
            let escaped = serde_json::Value::from(secret.as_str()).to_string();
            let escaped = escaped.trim_matches('"').to_owned();
            all.extend([secret, escaped]);
        }
        all.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        all.dedup();
        Self { secrets: all }
    }

    /// The text without them.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), HIDDEN) } else { text }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Redactor;

    #[test]
    fn secrets_go_in_every_form_and_short_words_stay() {
        let redactor = Redactor::new([
            "long-secret".into(),
            "long-secret-2".into(),
            "a\"quoted one".into(),
            "short".into(),
        ]);
        assert_eq!(redactor.redact("long-secret-2 long-secret short"), "[redacted] [redacted] short");
        assert_eq!(redactor.redact(r#"{"a":"a\"quoted one"}"#), r#"{"a":"[redacted]"}"#);
    }
}
