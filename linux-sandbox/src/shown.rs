//! Paths and words of others in our messages.

use std::ffi::OsStr;

/// Writes a path, or any word that somebody else chose, so that it stays within its line and its place: control
/// characters, with which a name could end the line or drive the terminal, as escapes.
#[must_use]
pub fn shown(text: impl AsRef<OsStr>) -> String {
    let text = text.as_ref().to_string_lossy();
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            // Marks of direction and characters without a shape too: they can make a line read as something else.
            other => shown.extend(other.escape_debug()),
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
