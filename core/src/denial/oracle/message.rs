//! Reading what programs say when something fails: which object, which error, and who says so.
//!
//! The text is anybody's. Nothing here believes it: what is read is compared with the policy afterwards.

use nix::errno::Errno;

use super::super::judge::Operation;
use super::hosts::{hosts_of, url_of};
use super::words::{ERRORS, LOOKUPS, Named, SILENT, VAGUE, VERBS};

/// Longer lines are data, and longer names no paths.
const LONGEST_LINE: usize = 4096;
const LONGEST_PATH: usize = 1024;
/// How many candidates of one line are looked at.
const MOST_IN_A_LINE: usize = 8;
/// How many lines above an error may name the host that it is about, and how many below it the file.
const CHAIN: usize = 8;
/// What node says where a directory could not be made on the way to others, whatever the kernel's error was.
const NODES_MKDIR: &str = "enoent: no such file or directory, mkdir";

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file, as it is named.
    Path(String),
    /// Two names, of which one was to be given to what has the other.
    Two(String, String),
    /// A file that only the arguments name: behind one of these options, or anywhere.
    Typed(&'static [&'static str]),
    /// A host, and a port where one is named.
    Host {
        /// By name or number.
        host: String,
        /// The port.
        port: Option<u16>,
    },
    /// A socket for whomever.
    Unnamed,
}

/// One failure that a program speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Of what.
    pub target: Target,
    /// What the line says was tried, where it does.
    pub operation: Option<Operation>,
    /// The error. `None` where a name could not be looked up, or the line keeps it to itself. `ENOENT` where a directory could not be
    /// made though its parent may well be there.
    pub errno: Option<Errno>,
    /// Whether it is about looking up a name.
    pub lookup: bool,
    /// Who says so.
    pub program: Option<String>,
}

impl Said {
    /// What may have been tried, the likeliest first.
    #[must_use]
    pub fn operations(&self) -> &'static [Operation] {
        use Operation::{Create, Metadata, Read, Remove, Rename, Unix, Write};
        match self.operation {
            // Git and others write beside a file, and then rename: that it is busy is said of the name, whatever the words.
            Some(Write | Create | Metadata) if self.errno == Some(Errno::EBUSY) => &[Rename],
            Some(Write | Create) => &[Write, Create],
            Some(Remove) => &[Remove],
            Some(Rename) => &[Rename, Create],
            Some(Metadata) => &[Metadata],
            Some(Read) => &[Read],
            Some(Unix) => &[Unix],
            Some(Operation::Connect | Operation::Signal | Operation::Call | Operation::Use) => &[],
            // A message does not always say what was tried; the error and the policy leave little choice.
            None => match self.errno {
                Some(Errno::EBUSY) => &[Remove, Rename],
                Some(Errno::EROFS) => &[Write, Create, Metadata],
                _ => &[Unix, Write, Create, Metadata, Read],
            },
        }
    }
}

/// Everything that a text speaks of, in its order.
#[must_use]
pub fn read(text: &str) -> Vec<Said> {
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    // Lines that only point at the one above say nothing, nor do headings of a chain of causes.
    lines.retain(|line| {
        let bare = line.trim_matches([' ', '~', '^']);
        line.len() <= LONGEST_LINE && !bare.is_empty() && bare != "Caused by:"
    });
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let (above, rest) = lines.split_at(index);
        let above = above.get(above.len().saturating_sub(CHAIN)..).unwrap_or_default();
        let below = rest.get(1..rest.len().min(CHAIN + 1)).unwrap_or_default();
        found.extend(of_line(line, above, below));
    }
    found
}

/// What a line speaks of. Some name the object on a line before or after.
fn of_line(line: &str, above: &[&str], below: &[&str]) -> Vec<Said> {
    let before = above.last().copied().unwrap_or_default();
    let after = below.first().copied().unwrap_or_default();
    let lower = line.to_ascii_lowercase();
    let program = program_of(line);
    let said = |target, operation, errno, lookup| Said {
        target,
        operation,
        errno,
        lookup,
        program: program.clone(),
    };
    let connect = Some(Operation::Connect);
    let to_host = |host: Option<(String, Option<u16>)>, errno, lookup| {
        let target = host.map_or(Target::Unnamed, |(host, port)| Target::Host { host, port });
        vec![said(target, connect, errno, lookup)]
    };
    if let Some(text) = LOOKUPS.iter().find(|text| find_word(&lower, text).is_some()) {
        let host = hosts_of(line, text).or_else(|| hosts_of(before, ""));
        return to_host(host.or_else(|| above.iter().rev().find_map(|line| url_of(line))), None, true);
    }
    if VAGUE.iter().any(|text| lower.contains(text)) {
        // Who says no more than that names the host.
        return hosts_of(line, "").map(|host| to_host(Some(host), None, false)).unwrap_or_default();
    }
    // What is mounted is not written: a call was refused, of which `calls` knows.
    if matches!(program.as_deref(), Some("mount" | "umount")) {
        return Vec::new();
    }
    if lower.contains(NODES_MKDIR) {
        let made = quoted(line).into_iter().filter(|path| path.starts_with('/'));
        let made = made.map(|path| Target::Path(path.to_owned()));
        return made.map(|path| said(path, Some(Operation::Create), Some(Errno::ENOENT), false)).collect();
    }
    let errors = ERRORS.iter();
    let Some((at, errno)) =
        errors.filter_map(|(text, errno)| Some((find_word(&lower, text)?, *errno))).next()
    else {
        let Some((_, operation, named)) = SILENT.iter().find(|(text, ..)| lower.contains(text)) else {
            return Vec::new();
        };
        let targets = match named {
            Named::Here => paths_of(line, line.len()).into_iter().map(Target::Path).collect(),
            Named::Below(mark) => {
                let named = below.iter().find_map(|line| line.strip_prefix(mark));
                let path = named.map(|path| path.strip_prefix("file://").unwrap_or(path).to_owned());
                path.map(Target::Path).into_iter().collect()
            }
            Named::Typed(options) => vec![Target::Typed(options)],
        };
        return targets.into_iter().map(|target| said(target, Some(*operation), None, false)).collect();
    };
    if matches!(errno, Errno::ECONNREFUSED | Errno::ENETUNREACH) {
        let host = hosts_of(line, "")
            .or_else(|| hosts_of(before, ""))
            .or_else(|| hosts_of(after, "").filter(|_| after.contains("/dev/tcp/")));
        return to_host(host, Some(errno), false);
    }
    if errno == Errno::EXDEV {
        let bare = || match paths_of(line, at).as_slice() {
            [from, to] => Some((from.clone(), to.clone())),
            _ => None,
        };
        let (from, to) = match pair(line).or_else(bare) {
            Some((from, to)) => (from, to),
            None => return Vec::new(),
        };
        // `ln` names the new one first.
        let target = if line.contains("' => '") { Target::Two(to, from) } else { Target::Two(from, to) };
        let is_a_link = ["hard link", "link '", "link /"].iter().any(|word| lower.contains(word));
        let operation = if is_a_link { Operation::Create } else { Operation::Rename };
        return vec![said(target, Some(operation), Some(errno), false)];
    }
    let traced = lower.contains("error: [errno") && !before.is_empty();
    let context = if traced { before.to_ascii_lowercase() } else { lower.clone() };
    let mut verb = verb_in(&context);
    if errno == Errno::EPERM
        && ["socket", "connect", "urlopen", "network", "/dev/tcp/"]
            .iter()
            .any(|word| lower.contains(word) || (traced && context.contains(word)))
    {
        let mut all = paths_of(line, at);
        all.retain(|path| path.contains('/'));
        let mut all: Vec<Said> = all
            .into_iter()
            .map(|path| said(Target::Path(path), Some(Operation::Unix), Some(errno), false))
            .collect();
        // A socket by its path needs no network.
        if all.is_empty() || line.contains("://") || line.contains("/dev/tcp/") {
            all.extend(to_host(hosts_of(line, ""), Some(errno), false));
        }
        return all;
    }
    let mut paths = paths_of(line, at);
    if !paths.iter().any(|path| path.contains('/')) {
        for neighbour in [before, after] {
            let mut there = paths_of(neighbour, 0);
            there.retain(|path| path.contains('/'));
            if find_error(neighbour).is_none() && !there.is_empty() {
                paths.extend(there);
                verb = verb.or_else(|| verb_in(&neighbour.to_ascii_lowercase()));
            }
        }
    }
    paths.truncate(MOST_IN_A_LINE);
    if let Some((from, to)) = pair(line) {
        return vec![
            said(
                Target::Path(from),
                Some(verb.filter(|verb| *verb == Operation::Remove).unwrap_or(Operation::Rename)),
                Some(errno),
                false,
            ),
            said(Target::Path(to), Some(Operation::Create), Some(errno), false),
        ];
    }
    if paths.is_empty() && errno == Errno::EROFS {
        return vec![said(Target::Typed(&[]), verb, Some(errno), false)];
    }
    paths.into_iter().map(|path| said(Target::Path(path), verb, Some(errno), false)).collect()
}

/// Two names of one act: `'a' to 'b'`, `'a' -> 'b'`.
fn pair(line: &str) -> Option<(String, String)> {
    ["' to '", "' -> '", "' => '"].iter().find_map(|between| {
        let (left, right) = line.split_once(between)?;
        let from = left.rsplit('\'').next()?;
        let to = right.split('\'').next()?;
        (!from.is_empty() && !to.is_empty()).then(|| (from.to_owned(), to.to_owned()))
    })
}

fn verb_in(lower: &str) -> Option<Operation> {
    VERBS.iter().find(|(verb, _)| lower.contains(verb)).map(|(_, operation)| *operation)
}

fn find_error(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    ERRORS.iter().find_map(|(text, _)| find_word(&lower, text))
}

/// Where a text stands that is no part of a longer word.
fn find_word(line: &str, text: &str) -> Option<usize> {
    line.match_indices(text).map(|(at, _)| at).find(|at| {
        let before = line.get(..*at).and_then(|before| before.chars().next_back());
        let after = line.get(at + text.len()..).and_then(|after| after.chars().next());
        let joins =
            |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        // Java writes the name of an exception after its package.
        !joins(before) && !joins(after)
    })
}

/// The program that a line begins with: `cp: cannot …`.
pub(super) fn program_of(line: &str) -> Option<String> {
    let (name, _) = line.split_once(':')?;
    let name = name.trim_start_matches('/').rsplit('/').next()?;
    // How bad it is, is nobody.
    if ["error", "fatal", "warning", "note", "cause"].iter().any(|word| name.eq_ignore_ascii_case(word)) {
        return None;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    (!name.is_empty() && name.len() <= 32 && name.chars().all(plain)).then(|| name.to_owned())
}

/// The paths that a line names: what stands in quotes, else what begins with `/`, `./` or `../`, else what stands right
/// before the error.
fn paths_of(line: &str, error: usize) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut push = |path: &str| {
        let path = path.trim();
        if !path.is_empty() && path.len() <= LONGEST_PATH && !found.iter().any(|known| known == path) {
            found.push(path.to_owned());
        }
    };
    for quoted in quoted(line) {
        // `code: 'EROFS'`, `cannot lock ref 'refs/heads/x'`
        let is_an_error = find_error(quoted) == Some(0) && !quoted.contains(['/', ' ', '.']);
        if !is_an_error && !line.contains(&format!("lock ref '{quoted}'")) {
            push(quoted);
        }
    }
    let mut words = line.split(|c: char| c.is_whitespace() || "'\"`‘’“”()[]{},;<>=".contains(c)).peekable();
    // A program that names itself by its path.
    let names_itself = words.peek().is_some_and(|word| word.starts_with('/') && word.ends_with(':'))
        && error > words.peek().map_or(0, |word| word.len() + 1);
    if names_itself {
        words.next();
    }
    for word in words {
        let word = word.trim_end_matches([':', '.']).trim_start_matches(':');
        let word = word.strip_prefix("file://").unwrap_or(word);
        if word.starts_with('/') && !word.starts_with("//")
            || word.starts_with("./")
            || word.starts_with("../")
        {
            push(word);
            // Some put a line, or what comes next, behind a colon.
            if let Some((path, _)) = word.split_once(':') {
                push(path);
            }
        }
    }
    if found.is_empty() {
        found.extend(line.get(..error).and_then(bare_name));
    }
    found
}

/// A name without quotes right before the error: `tee: NAME: Permission denied`, `sh: 1: cannot create NAME: …`,
/// `tar: NAME: Cannot open: …`.
fn bare_name(before: &str) -> Option<String> {
    let before = before.trim_end().trim_end_matches(['(', '[', ':']).trim_end();
    let mut segments = before.rsplit(": ");
    let mut segment = segments.next()?;
    if segment.starts_with("Cannot ") || segment.starts_with("cannot ") && !segment.contains("create ") {
        segment = segments.next()?;
    }
    let name = match segment.rsplit_once(' ') {
        Some((phrase, name)) => {
            let says_so = ["create", "open", "file", "directory", "touch", "write"];
            says_so.iter().any(|word| phrase.ends_with(word)).then_some(name)?
        }
        // A program that names nothing but itself.
        None => segments.next().map(|_program| segment)?,
    };
    let is_one = name.chars().any(char::is_alphanumeric) && !name.ends_with("Error");
    (is_one && name.len() <= LONGEST_PATH).then(|| name.to_owned())
}

/// What stands in quotes of one kind.
fn quoted(line: &str) -> Vec<&str> {
    const PAIRS: [(char, char); 5] = [('\'', '\''), ('"', '"'), ('`', '`'), ('‘', '’'), ('`', '\'')];
    let mut found = Vec::new();
    for (open, close) in PAIRS {
        let mut rest = line;
        while let Some((_, after)) = rest.split_once(open)
            && let Some((inner, behind)) = after.split_once(close)
            && found.len() < MOST_IN_A_LINE
        {
            found.push(inner);
            rest = behind;
        }
    }
    found
}
