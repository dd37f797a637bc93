//! A script, read for every simple command in it, wherever it stands.

mod word;

use std::iter::Peekable;
use std::str::Chars;

use word::Token;

/// How deep substitutions may nest. Deeper, nothing is understood.
const DEEPEST: usize = 16;
/// Words that stand before commands, or end them, and are none.
const JOINTS: [&str; 12] =
    ["!", "do", "done", "elif", "else", "fi", "if", "then", "until", "while", "{", "}"];
/// Words that begin what is not read here.
const UNREAD: [&str; 6] = ["case", "coproc", "esac", "foreach", "function", "select"];

/// A word of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// What the program gets.
    Known(String),
    /// Something that the shell puts in: nobody knows what, nor how many words that makes.
    Unknown,
}

impl Word {
    /// The word, where it is known.
    #[must_use]
    pub fn known(&self) -> Option<&str> {
        match self {
            Self::Known(word) => Some(word),
            Self::Unknown => None,
        }
    }
}

/// A simple command: its words, assignments and redirections left out. Never empty.
pub type Simple = Vec<Word>;

/// In what shells do not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// What every shell knows: `sh` may be any of them.
    Plain,
    /// `[[ … ]]` has a grammar of its own: bash, zsh, ksh. To others `[[` is a program, and what comes after a line end or a sign
    /// in there is a command.
    WithTests,
}

/// The simple commands of a script, those in substitutions, loops and groups too, as many as are understood. `None` where it
/// holds something that is not understood: then it may hold any command.
#[must_use]
pub fn commands(script: &str, dialect: Dialect) -> Option<Vec<Simple>> {
    let mut reader = Reader::new(script, dialect);
    reader.list(0, None)?;
    Some(reader.found)
}

struct Reader<'s> {
    text: Peekable<Chars<'s>>,
    dialect: Dialect,
    found: Vec<Simple>,
    /// Whether a backquote ends what is read.
    in_backquotes: bool,
    /// Whether the lines of a here-document come after this one. Shells do not agree on which line that is where this one
    /// goes on in quotes or a substitution.
    here_follows: bool,
}

/// A here-document whose lines are still to come.
struct Here {
    end: String,
    tabs: bool,
    quoted: bool,
}

impl<'s> Reader<'s> {
    fn new(text: &'s str, dialect: Dialect) -> Self {
        Self {
            text: text.chars().peekable(),
            dialect,
            found: Vec::new(),
            in_backquotes: false,
            here_follows: false,
        }
    }

    /// Reads commands up to an unquoted `end`, or to the end of the text.
    fn list(&mut self, depth: usize, end: Option<char>) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        let mut words: Simple = Vec::new();
        let mut heres: Vec<Here> = Vec::new();
        // How many groups `(` are open.
        let mut open = 0_usize;
        loop {
            let Some(&character) = self.text.peek() else {
                self.command(&mut words)?;
                return (end.is_none() && open == 0 && heres.is_empty()).then_some(());
            };
            match character {
                ')' if open == 0 => {
                    self.text.next();
                    self.command(&mut words)?;
                    return (end == Some(')') && heres.is_empty()).then_some(());
                }
                '`' if self.in_backquotes => {
                    self.text.next();
                    self.command(&mut words)?;
                    return (end == Some('`') && open == 0).then_some(());
                }
                ' ' | '\t' => drop(self.text.next()),
                '\n' => {
                    self.text.next();
                    self.command(&mut words)?;
                    if depth > 0 && self.here_follows {
                        return None;
                    }
                    self.here_follows = false;
                    for here in heres.drain(..) {
                        self.here(&here, depth)?;
                    }
                }
                '\\' if self.continues() => {}
                ';' | '|' | '&' => {
                    self.text.next();
                    if character == '&' && self.text.next_if_eq(&'>').is_some() {
                        self.text.next_if_eq(&'>');
                        self.target(depth)?;
                        // Where a shell does not know `&>`, a command comes after it, and in others its words.
                        self.blanks();
                        if !self.text.peek().is_none_or(|next| "\n;|&)`".contains(*next)) {
                            return None;
                        }
                        continue;
                    }
                    // `&&`, `||`, `|&`. What `;;` ends is not read here.
                    match (character, self.text.peek()) {
                        (';', Some(';' | '&')) => return None,
                        ('|', Some('|' | '&')) | ('&', Some('&')) => drop(self.text.next()),
                        _ => {}
                    }
                    self.command(&mut words)?;
                }
                '(' => {
                    self.text.next();
                    // A function, an array, an arithmetic command.
                    if !words.is_empty() || self.text.peek() == Some(&'(') {
                        return None;
                    }
                    open += 1;
                }
                ')' => {
                    self.text.next();
                    self.command(&mut words)?;
                    open -= 1;
                }
                '<' | '>' => {
                    self.text.next();
                    if let Some(here) = self.redirection(character, depth)? {
                        if depth > 0 {
                            return None;
                        }
                        heres.push(here);
                        self.here_follows = true;
                    }
                }
                '#' => while self.text.next_if(|character| *character != '\n').is_some() {},
                _ => self.place(&mut words, depth)?,
            }
        }
    }

    /// Reads a word to where it belongs.
    fn place(&mut self, words: &mut Simple, depth: usize) -> Option<()> {
        let Token { word, bare, assigns, deferred } = self.word(depth)?;
        // `2>file`: the number of a descriptor.
        if bare
            && matches!(self.text.peek(), Some('<' | '>'))
            && word.known().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return Some(());
        }
        if words.is_empty() {
            match word.known() {
                Some(word) if bare && UNREAD.contains(&word) => return None,
                Some(word) if bare && JOINTS.contains(&word) => return Some(()),
                // The words of a loop are no command.
                Some("for") if bare => return self.skip_for(depth),
                Some("[[") if bare && self.dialect == Dialect::Plain => return None,
                Some("[[") if bare => return self.skip_test(depth),
                // What is put into a variable may be run from there: `PS4`, a prompt, a number.
                _ if assigns && deferred => return None,
                _ if assigns => return Some(()),
                _ => {}
            }
        }
        words.push(word);
        Some(())
    }

    /// Ends a simple command.
    fn command(&mut self, words: &mut Simple) -> Option<()> {
        if !words.is_empty() {
            self.found.push(std::mem::take(words));
        }
        Some(())
    }

    /// The head of a loop: `for NAME in WORDS`, up to its end.
    fn skip_for(&mut self, depth: usize) -> Option<()> {
        self.blanks();
        self.word(depth)?.word.known()?;
        self.blanks();
        if self.word(depth)?.word.known()? != "in" {
            return None;
        }
        loop {
            match self.text.peek()? {
                ' ' | '\t' => drop(self.text.next()),
                ';' | '\n' => {
                    self.text.next();
                    return Some(());
                }
                '(' | ')' | '<' | '>' | '|' | '&' => return None,
                _ => drop(self.word(depth)?),
            }
        }
    }

    /// What stands in `[[ … ]]`: words and signs that mean something else there.
    fn skip_test(&mut self, depth: usize) -> Option<()> {
        loop {
            match self.text.peek()? {
                ' ' | '\t' | '<' | '>' | '|' | '&' | '(' | ')' | '!' => drop(self.text.next()),
                // A line can end in there, but not everywhere.
                ';' | '\n' => return None,
                _ => {
                    let Token { word, bare, deferred, .. } = self.word(depth)?;
                    if bare && word.known() == Some("]]") {
                        return Some(());
                    }
                    // A number can be a subscript, and that is looked at as a script is.
                    if deferred {
                        return None;
                    }
                }
            }
        }
    }

    /// What comes after `<` or `>`.
    fn redirection(&mut self, sign: char, depth: usize) -> Option<Option<Here>> {
        match (sign, self.text.peek()) {
            // `<(…)` runs a command.
            (_, Some('(')) => {
                self.text.next();
                self.list(depth + 1, Some(')'))?;
                return Some(None);
            }
            ('<', Some('<')) => {
                self.text.next();
                if self.text.next_if_eq(&'<').is_some() {
                    self.target(depth)?;
                    return Some(None);
                }
                let tabs = self.text.next_if_eq(&'-').is_some();
                self.blanks();
                return self.here_word(tabs).map(Some);
            }
            ('<', Some('>' | '&')) | ('>', Some('>' | '&' | '|')) => drop(self.text.next()),
            _ => {}
        }
        self.target(depth)?;
        Some(None)
    }

    fn blanks(&mut self) {
        while self.text.next_if(|character| matches!(character, ' ' | '\t')).is_some() {}
    }

    fn target(&mut self, depth: usize) -> Option<()> {
        self.blanks();
        match self.text.peek()? {
            '\n' | ';' | '|' | '&' | '<' | '>' | '(' | ')' | '#' => None,
            _ => self.word(depth).map(|_| ()),
        }
    }

    /// The word that ends a here-document: plain, in quotes or not.
    fn here_word(&mut self, tabs: bool) -> Option<Here> {
        let quote = self.text.next_if(|character| matches!(character, '\'' | '"'));
        let mut end = String::new();
        while let Some(character) =
            self.text.next_if(|character| character.is_ascii_alphanumeric() || *character == '_')
        {
            end.push(character);
        }
        if let Some(quote) = quote {
            self.text.next_if_eq(&quote)?;
        }
        let ends = self.text.peek().is_none_or(|next| " \t\n;|&<>()".contains(*next));
        (ends && !end.is_empty()).then_some(Here { end, tabs, quoted: quote.is_some() })
    }

    fn here(&mut self, here: &Here, depth: usize) -> Option<()> {
        let mut body = String::new();
        loop {
            let mut line = String::new();
            let mut whole = false;
            for character in self.text.by_ref() {
                if character == '\n' {
                    whole = true;
                    break;
                }
                line.push(character);
            }
            let stripped = if here.tabs { line.trim_start_matches('\t') } else { &line };
            if stripped == here.end {
                break;
            }
            if !whole {
                return None;
            }
            body.push_str(&line);
            body.push('\n');
        }
        if here.quoted || !body.contains(['$', '`', '\\']) {
            return Some(());
        }
        // The shell puts things in, and may run commands for that.
        let mut inner = Reader::new(&body, self.dialect);
        while let Some(character) = inner.text.next() {
            match character {
                '\\' => drop(inner.text.next()),
                '$' => inner.dollar(depth)?,
                '`' => inner.backquoted(depth)?,
                _ => {}
            }
        }
        self.found.append(&mut inner.found);
        Some(())
    }

    /// Goes over the end of a line that a sign before it takes away.
    fn continues(&mut self) -> bool {
        let mut ahead = self.text.clone();
        ahead.next();
        let continues = !self.in_backquotes && !self.here_follows && ahead.next() == Some('\n');
        if continues {
            self.text = ahead;
        }
        continues
    }
}

#[cfg(test)]
mod tests;
