//! Words: quotes, and what a shell puts in.

use super::{Reader, Word};

/// A word as it was written.
pub(super) struct Token {
    pub(super) word: Word,
    /// Without any quotes.
    pub(super) bare: bool,
    /// It begins with `NAME=`.
    pub(super) assigns: bool,
    /// It holds, quoted, what a shell would put in where it came to read it again.
    pub(super) deferred: bool,
}

impl Reader<'_> {
    /// What comes after `$`: something that is put in.
    pub(super) fn dollar(&mut self, depth: usize) -> Option<()> {
        match self.text.peek() {
            Some('(') => {
                self.text.next();
                // Arithmetic, in which names are not commands but may hold them.
                if self.text.peek() == Some(&'(') {
                    return None;
                }
                self.list(depth + 1, Some(')'))
            }
            Some('{') => {
                self.text.next();
                self.parameter()
            }
            // Shells do not agree on what these are.
            Some('\'' | '"' | '[') => None,
            _ => Some(()),
        }
    }

    /// What stands in `${…}`: a name, plain numbers in brackets, and a plain text after a sign. What is more can hold
    /// substitutions and quotes, is a number that is worked out, or has a value taken as a script (`@P`).
    fn parameter(&mut self) -> Option<()> {
        self.text.next_if(|sign| matches!(sign, '#' | '!'));
        let is_name = |character: &char| character.is_ascii_alphanumeric() || *character == '_';
        if self.text.next_if(is_name).is_some() {
            while self.text.next_if(is_name).is_some() {}
        } else {
            self.text.next_if(|sign| "@*?#-!$".contains(*sign));
        }
        if self.text.next_if_eq(&'[').is_some() {
            if self.text.next_if(|sign| matches!(sign, '@' | '*')).is_none() {
                while self.text.next_if(char::is_ascii_digit).is_some() {}
            }
            self.text.next_if_eq(&']')?;
        }
        let is_plain = |character: &char| {
            character.is_ascii_alphanumeric() || "_-+=:?#%/.,@*![]^~ ".contains(*character)
        };
        match self.text.next()? {
            '}' => return Some(()),
            // A default, or a part that begins at a number.
            ':' => {
                let number = self.text.next_if(|sign| matches!(sign, '-' | '+' | '=' | '?')).is_none();
                if number {
                    while self
                        .text
                        .next_if(|sign| sign.is_ascii_digit() || matches!(sign, ' ' | ':' | '-'))
                        .is_some()
                    {}
                } else {
                    while self.text.next_if(is_plain).is_some() {}
                }
            }
            '-' | '+' | '=' | '?' | '#' | '%' | '/' | '^' | ',' => {
                while self.text.next_if(is_plain).is_some() {}
            }
            _ => return None,
        }
        self.text.next_if_eq(&'}').map(|_| ())
    }

    /// A word. Nothing where there is none.
    pub(super) fn word(&mut self, depth: usize) -> Option<Token> {
        let mut text = String::new();
        let (mut known, mut bare, mut assigns) = (true, true, false);
        let (mut begun, mut bracket) = (false, false);
        while let Some(&character) = self.text.peek() {
            if matches!(character, ' ' | '\t' | '\n' | ';' | '|' | '&' | '<' | '>' | '(' | ')')
                || (character == '`' && self.in_backquotes)
            {
                break;
            }
            begun = true;
            match character {
                '\'' => {
                    self.text.next();
                    bare = false;
                    loop {
                        match self.text.next()? {
                            '\'' => break,
                            '\n' if self.here_follows => return None,
                            inner => text.push(inner),
                        }
                    }
                }
                '"' => {
                    self.text.next();
                    bare = false;
                    known &= self.quoted(&mut text, depth)?;
                }
                '\\' => {
                    self.text.next();
                    match self.text.next()? {
                        _ if self.in_backquotes => return None,
                        '\n' if self.here_follows => return None,
                        '\n' => {}
                        escaped => {
                            bare = false;
                            text.push(escaped);
                        }
                    }
                }
                '$' => {
                    self.text.next();
                    known = false;
                    self.dollar(depth)?;
                }
                '`' => {
                    self.text.next();
                    known = false;
                    self.backquoted(depth)?;
                }
                '*' | '?' | '[' => {
                    // `[` and `[[` alone are commands, and `]]` ends one.
                    self.text.next();
                    bracket |= character == '[' && text.is_empty();
                    text.push(character);
                    known &= character == '[' && text.chars().all(|character| character == '[');
                }
                '~' | '{' | '}' | '=' | '!' | '^' => {
                    self.text.next();
                    // A home directory, a program's path, or several words at once.
                    known &= !(matches!(character, '~' | '=') && text.is_empty());
                    assigns |= character == '=' && bare && known && is_name(&text);
                    text.push(character);
                    known &= !(character == '}' && (text.contains(',') || text.contains("..")));
                }
                other => {
                    self.text.next();
                    text.push(other);
                }
            }
        }
        // `[a]*`: a pattern, unless it is the name of a command.
        if bracket && !matches!(text.as_str(), "[" | "[[") {
            known = false;
        }
        let deferred = text.contains("$(") || text.contains('`');
        let word = if known { Word::Known(text) } else { Word::Unknown };
        begun.then_some(Token { word, bare, assigns, deferred })
    }

    /// A command in backquotes. Others in it are written with signs before them, and are not read.
    pub(super) fn backquoted(&mut self, depth: usize) -> Option<()> {
        if std::mem::replace(&mut self.in_backquotes, true) {
            return None;
        }
        let read = self.list(depth + 1, Some('`'));
        self.in_backquotes = false;
        read
    }

    /// What stands in double quotes; gives whether all of it is known.
    fn quoted(&mut self, text: &mut String, depth: usize) -> Option<bool> {
        let mut known = true;
        loop {
            match self.text.next()? {
                '"' => return Some(known),
                '\n' if self.here_follows => return None,
                '\\' | '`' if self.in_backquotes => return None,
                '\\' => match self.text.next()? {
                    '\n' => {}
                    escaped @ ('"' | '\\' | '$' | '`') => text.push(escaped),
                    other => text.extend(['\\', other]),
                },
                '$' => {
                    known = false;
                    // A sign at the end of the quotes is itself.
                    if self.text.peek() != Some(&'"') {
                        self.dollar(depth)?;
                    }
                }
                '`' => {
                    known = false;
                    self.backquoted(depth)?;
                }
                other => text.push(other),
            }
        }
    }
}

/// Whether a text is the name of a variable, with the sign of appending to it or not.
fn is_name(text: &str) -> bool {
    let name = text.strip_suffix('+').unwrap_or(text);
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}
