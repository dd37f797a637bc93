//! What an argument list runs: the commands of `sh -c`, and those that a program starts with the words after its own.

mod names;
mod open;

use super::base;
use super::read::{Dialect, Simple, Word, commands};
use names::{Starts, evaluates_subscripts, starts};
use open::is_left_open;

/// How deep commands may name others.
const DEEPEST: usize = 8;
/// How many words a program may have that starts another one: any of them may be that one's name, and no person looks
/// through more.
const MOST_WORDS: usize = 256;
/// How much is looked at beyond a few times the command itself: commands in commands come to far more than they are long.
const ROOM: usize = 1 << 20;

/// The simple commands that an argument list runs, as far as anybody sees: itself first, then those of a script or of a
/// program that starts others. `None` where it runs something that is not understood.
#[must_use]
pub fn simple_commands(command: &[String]) -> Option<Vec<Simple>> {
    let command: Simple = command.iter().map(|word| Word::Known(word.clone())).collect();
    let mut search = Search { found: Vec::new(), room: ROOM + DEEPEST * size(&command) };
    search.add(command, 0, Dialect::Plain)?;
    Some(search.found)
}

/// What a command is worth of the room: at least one for each word.
fn size(command: &[Word]) -> usize {
    command.iter().map(|word| word.known().map_or(1, |word| word.len() + 1)).sum()
}

fn name(command: &[Word]) -> Option<&str> {
    command.first().and_then(Word::known).map(base)
}

/// What a command's program does. A file of the project's own is no program of these names but a shell, whatever it is called.
fn kind(command: &[Word]) -> Starts {
    let program = command.first().and_then(Word::known).unwrap_or_default();
    match starts(base(program)) {
        Starts::Anything | Starts::Option { .. } if program.contains('/') && !program.starts_with('/') => {
            Starts::Nothing
        }
        kind => kind,
    }
}

/// The texts of words, where all of them are known.
fn texts(words: &[Word]) -> Option<Vec<&str>> {
    words.iter().map(Word::known).collect()
}

/// Whether a word is made of short options, one of which is this.
fn has_option(word: &str, letter: char) -> bool {
    word.strip_prefix('-').is_some_and(|letters| !letters.starts_with('-') && letters.contains(letter))
}

/// What nobody sees: descriptors, and what is written to the program meanwhile.
fn is_no_file(path: &str) -> bool {
    path == "-" || path.starts_with("/dev/") || path.starts_with("/proc/")
}

struct Search {
    found: Vec<Simple>,
    /// How much may still be looked at.
    room: usize,
}

impl Search {
    /// Adds a command that a shell of this dialect starts, or another program.
    fn add(&mut self, command: Simple, depth: usize, dialect: Dialect) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        self.room = self.room.checked_sub(size(&command) + 1)?;
        // A name that nobody knows may be that of a shell.
        let name = name(&command).unwrap_or_default();
        let arguments = command.get(1..).unwrap_or_default();
        match kind(&command) {
            Starts::Nothing => understood(name, arguments)?,
            Starts::Shell(dialect) => self.scripts(arguments, depth, dialect)?,
            Starts::OtherShell => match texts(arguments)?.as_slice() {
                // A file of commands, as any program may be.
                [file, ..] if !file.starts_with('-') && !is_no_file(file) => {}
                _ => return None,
            },
            Starts::Words => self.words(&command, depth, dialect)?,
            Starts::WordsOrShell => {
                let own = usize::from(name == "chroot");
                let named =
                    arguments.iter().filter(|word| !word.known().is_some_and(|word| word.starts_with('-')));
                if named.count() <= own {
                    return None;
                }
                self.words(&command, depth, dialect)?;
            }
            Starts::Eval => self.script(&texts(arguments)?.join(" "), depth, dialect)?,
            Starts::Trap => {
                for text in texts(arguments)? {
                    self.script(text, depth, dialect)?;
                }
            }
            Starts::Source => match arguments.first().map(Word::known) {
                Some(Some(file)) if !is_no_file(file) => {}
                _ => return None,
            },
            Starts::Env => {
                // `-S` takes a text apart, and a function can be handed to a shell.
                let takes_apart = |word: &str| has_option(word, 'S') || word.starts_with("--s");
                let unread = |word: &Word| {
                    word.known().is_some_and(|word| takes_apart(word) || word.starts_with("BASH_FUNC_"))
                };
                if arguments.iter().any(unread) {
                    return None;
                }
                self.words(&command, depth, dialect)?;
            }
            Starts::Find => self.find(arguments, depth, dialect)?,
            Starts::Xargs => {
                if runs_its_input(arguments) {
                    return None;
                }
                self.words(&command, depth, dialect)?;
            }
            Starts::Watch => {
                let texts = texts(arguments)?;
                self.enough(&command)?;
                for start in 0..texts.len() {
                    self.script(&texts.get(start..).unwrap_or_default().join(" "), depth, Dialect::Plain)?;
                }
            }
            Starts::Option { shell } => self.option(&command, depth, shell)?,
            Starts::Sudo => {
                let starts_a_shell = |word: &Word| {
                    word.known().is_some_and(|word| {
                        has_option(word, 's')
                            || has_option(word, 'i')
                            || matches!(word, "--shell" | "--login")
                    })
                };
                if arguments.iter().any(starts_a_shell) {
                    return None;
                }
                self.words(&command, depth, dialect)?;
            }
            Starts::Anything => return None,
        }
        self.found.push(command);
        Some(())
    }

    fn enough(&self, command: &[Word]) -> Option<()> {
        (command.len() <= MOST_WORDS).then_some(())
    }

    /// Which of the words is the program depends on the options before it: each of them may be.
    fn words(&mut self, command: &Simple, depth: usize, dialect: Dialect) -> Option<()> {
        self.enough(command)?;
        for start in 1..command.len() {
            let rest = command.get(start..).unwrap_or_default();
            match kind(rest) {
                // The words of the one are words of the other.
                Starts::Nothing | Starts::Words => {
                    self.room = self.room.checked_sub(size(rest) + 1)?;
                    understood(name(rest).unwrap_or_default(), rest.get(1..).unwrap_or_default())?;
                    self.found.push(rest.to_vec());
                }
                _ => self.add(rest.to_vec(), depth + 1, dialect)?,
            }
        }
        Some(())
    }

    /// The scripts among a shell's arguments: where an option holds `c`, each word after it may be the one.
    fn scripts(&mut self, arguments: &[Word], depth: usize, dialect: Dialect) -> Option<()> {
        let mut words = arguments.iter();
        let mut reads_input = true;
        while let Some(word) = words.next() {
            let word = word.known()?;
            let option = word.strip_prefix(['-', '+']);
            match option {
                Some(letters) if !letters.starts_with('-') && letters.contains('c') => {
                    // Where none comes, somebody else gives it.
                    let texts: Vec<&Word> = words.by_ref().collect();
                    if texts.is_empty() {
                        return None;
                    }
                    for text in texts {
                        self.script(text.known()?, depth, dialect)?;
                    }
                    return Some(());
                }
                Some(letters) if letters.contains('s') && !letters.starts_with('-') => return None,
                Some(_) => {}
                None if is_no_file(word) => return None,
                // The value of an option, or a file of commands: a program like any other.
                None => reads_input = false,
            }
        }
        // What a shell reads from its input, nobody sees.
        (!reads_input).then_some(())
    }

    fn script(&mut self, text: &str, depth: usize, dialect: Dialect) -> Option<()> {
        self.room = self.room.checked_sub(text.len() + 1)?;
        for command in commands(text, dialect)? {
            self.add(command, depth + 1, dialect)?;
        }
        Some(())
    }

    /// What `find` starts.
    fn find(&mut self, arguments: &[Word], depth: usize, dialect: Dialect) -> Option<()> {
        for (place, word) in arguments.iter().enumerate() {
            let rest = match word.known() {
                Some("-exec" | "-execdir" | "-ok" | "-okdir") => {
                    arguments.get(place + 1..).unwrap_or_default()
                }
                Some(_) => continue,
                // It may be one of these, with what comes after it.
                None => return None,
            };
            // A `+` alone is a word like any other.
            let ends = |place: usize, word: &Word| match word.known() {
                Some(";") => true,
                Some("+") => place.checked_sub(1).and_then(|before| rest.get(before)?.known()) == Some("{}"),
                _ => false,
            };
            let end = rest.iter().enumerate().position(|(place, word)| ends(place, word));
            let rest = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            // What was found is the program, or a script.
            let is_found = |word: &Word| word.known().is_some_and(|word| word.contains("{}"));
            if is_left_open(rest, is_found, false) || open::is_script(rest, is_found) {
                return None;
            }
            if !rest.is_empty() {
                self.add(rest.to_vec(), depth + 1, dialect)?;
            }
        }
        Some(())
    }

    /// A program that takes a script by `-c`, or the words of a command.
    fn option(&mut self, command: &Simple, depth: usize, shell: bool) -> Option<()> {
        self.enough(command)?;
        let texts = texts(command.get(1..).unwrap_or_default())?;
        let takes_script =
            |word: &&str| has_option(word, 'c') || word.starts_with("--c") || word.starts_with("--session-c");
        let group = name(command) == Some("sg");
        if group || texts.iter().any(takes_script) {
            for word in &texts {
                // `-cTEXT`, `--command=TEXT`.
                let text = match word.strip_prefix('-') {
                    Some(long) if long.starts_with('-') => long.split_once('=').map_or("", |(_, text)| text),
                    Some(letters) => letters.split_once('c').map_or("", |(_, text)| text),
                    None => word,
                };
                self.script(text, depth, Dialect::Plain)?;
            }
        } else if shell && !texts.iter().any(|word| has_option(word, 'u') || word.starts_with("--user")) {
            // Only with a user's name does one of them take the words of a command.
            return None;
        }
        self.words(command, depth, Dialect::Plain)
    }
}

/// Whether a program that starts no other is no danger for all that is in its arguments.
fn understood(name: &str, arguments: &[Word]) -> Option<()> {
    let any = |holds: &dyn Fn(&str) -> bool| arguments.iter().filter_map(Word::known).any(holds);
    let unread = (evaluates_subscripts(name) && any(&|word| word.contains("[$(") || word.contains("[`")))
        // A name is given to another program, and lines to one of the shell's own functions.
        || (name == "hash" && any(&|word| has_option(word, 'p')))
        || (name == "enable" && any(&|word| has_option(word, 'f')))
        || (matches!(name, "mapfile" | "readarray") && any(&|word| has_option(word, 'C')));
    (!unread).then_some(())
}

/// Options of `xargs` whose value is the next word, where it is not a part of theirs.
const WITH_VALUES: &str = "adELnPRsS";
/// The same, by their long names: any beginning of one will do.
const WITH_VALUES_LONG: [&str; 6] =
    ["arg-file", "delimiter", "max-args", "max-chars", "max-procs", "process-slot-var"];

/// Whether what `xargs` reads is the program that it starts, or may be a script.
fn runs_its_input(arguments: &[Word]) -> bool {
    let mut words = arguments.iter().map(|word| word.known().unwrap_or_default());
    let mut replaced = Vec::new();
    let mut started = arguments.len();
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            if name.is_empty() {
                started = words.len();
                break;
            }
            if "replace".starts_with(name) {
                replaced.push(value.unwrap_or("{}"));
            } else if value.is_none() && WITH_VALUES_LONG.iter().any(|option| option.starts_with(name)) {
                words.next();
            }
        } else if let Some(letters) = word.strip_prefix('-') {
            // What comes after one that takes a value is that.
            let Some(place) = letters.find(|letter| "IJeil".contains(letter) || WITH_VALUES.contains(letter))
            else {
                continue;
            };
            let (letter, value) = letters.split_at(place).1.split_at(1);
            match (letter, value) {
                ("I" | "J", "") => replaced.extend(words.next()),
                ("i", "") => replaced.push("{}"),
                ("I" | "J" | "i", sign) => replaced.push(sign),
                (_, "") if WITH_VALUES.contains(letter) => drop(words.next()),
                _ => {}
            }
        } else {
            started = words.len() + 1;
            break;
        }
    }
    let command = arguments.get(arguments.len().saturating_sub(started)..).unwrap_or_default();
    let put_in =
        |word: &Word| word.known().is_some_and(|word| replaced.iter().any(|sign| word.contains(sign)));
    let reads_scripts =
        |word: &Word| !matches!(kind(std::slice::from_ref(word)), Starts::Nothing | Starts::Words);
    // Where no place is named, what is read comes last.
    is_left_open(command, put_in, replaced.is_empty())
        || (arguments.iter().any(reads_scripts) && command.iter().skip(1).any(put_in))
}
