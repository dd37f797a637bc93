//! Text from files and arguments, made safe to show on one line of a terminal.

use std::path::Path;

use codex_linux_sandbox::shown;

/// More than this of a key or a value says nothing more to a reader.
const SHOWN_CHARS: usize = 120;

/// `text` with everything escaped that would move the cursor, reorder what is shown or start a new line, and cut where
/// it is very long. A project's file is written by strangers, and its keys end up on the user's terminal.
pub(super) fn printable(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        None => shown(text),
        Some((end, _)) => shown(text.get(..end).unwrap_or_default()) + "…",
    }
}

/// A path as [`printable`] text, never cut: a shortened path names another file.
pub(super) fn printable_path(path: &Path) -> String {
    shown(path)
}

/// `text` as a basic string of TOML, on one line.
pub(crate) fn toml_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\'' => quoted.push('\''),
            other if other.escape_debug().count() == 1 => quoted.push(other),
            other => quoted.push_str(&format!("\\U{:08X}", u32::from(other))),
        }
    }
    quoted.push('"');
    quoted
}

/// A dotted key of TOML, with the segments quoted that need it.
pub(super) fn toml_key<S: AsRef<str>>(segments: &[S]) -> String {
    let shown: Vec<String> = segments
        .iter()
        .map(|segment| {
            let segment = segment.as_ref();
            let bare = !segment.is_empty()
                && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
            if bare { segment.to_owned() } else { toml_string(segment) }
        })
        .collect();
    shown.join(".")
}

#[cfg(test)]
mod tests {
    use super::{printable, toml_key, toml_string};

    #[test]
    fn control_and_bidirectional_characters_are_escaped() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{202e}\u{9b}d"), "a\\u{1b}[2Jb\\nc\\u{202e}\\u{9b}d");
        assert_eq!(printable("it's \"é\" C:\\x"), "it's \"é\" C:\\x");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(printable(&"x".repeat(500)).chars().count(), 121);
    }

    #[test]
    fn a_rendered_string_parses_back() {
        for text in ["", "a\"b\\c", "line\nbreak\ttab\r", "\u{1}\u{7f}\u{202e}\u{9b}", "é'ü"] {
            let document = format!("x = {}", toml_string(text));
            let table: toml::Table = document.parse().unwrap();
            assert_eq!(table["x"].as_str(), Some(text), "{document}");
            assert_eq!(document.lines().count(), 1);
        }
    }

    #[test]
    fn keys_are_quoted_where_needed() {
        assert_eq!(toml_key(&["a", "b-c", "d.e", ""]), "a.b-c.\"d.e\".\"\"");
    }
}
