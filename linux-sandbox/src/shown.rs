//! Paths and words of others in our messages.

use std::ffi::OsStr;

/// Writes a path, or any word that somebody else chose, so that it stays within its line and its place: control
/// characters, with which a name could end the line or drive the terminal, as escapes.
#[must_use]
pub fn shown(text: impl AsRef<OsStr>) -> String {
    let text = text.as_ref().to_string_lossy();
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        // The directional marks too: they can make a line read as something else.
        if character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn nothing_leaves_its_line_or_drives_the_terminal() {
        assert_eq!(shown("/a b/\u{fc}'\"\\"), "/a b/\u{fc}'\"\\");
        assert_eq!(shown("a\nb\u{1b}[2J\u{202e}"), "a\\nb\\u{1b}[2J\\u{202e}");
    }
}
