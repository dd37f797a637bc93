//! As much of Seatbelt's language as the policy uses, to ask it questions on any machine.
//!
//! The last rule that matches an operation and a path decides.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A term of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    Symbol(String),
    Text(String),
    List(Vec<Term>),
}

/// The terms of a text, or `None` where parentheses or quotes don't match.
pub(super) fn parse(text: &str) -> Option<Vec<Term>> {
    let mut open = vec![Vec::new()];
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            ';' => rest.find('\n')?,
            '(' => {
                open.push(Vec::new());
                1
            }
            ')' => {
                let list = open.pop()?;
                open.last_mut()?.push(Term::List(list));
                1
            }
            '"' => {
                let (content, _) = rest[1..].split_once('"')?;
                open.last_mut()?.push(Term::Text(content.to_owned()));
                content.len() + 2
            }
            // A regular expression: the mark in front of its string means nothing to this parser.
            '#' | ' ' | '\n' => 1,
            _ => {
                let length = rest.find(['(', ')', '"', ' ', '\n']).unwrap_or(rest.len());
                open.last_mut()?.push(Term::Symbol(rest[..length].to_owned()));
                length
            }
        };
        rest = &rest[length..];
    }
    let terms = open.pop()?;
    open.is_empty().then_some(terms)
}

impl Term {
    fn list(&self) -> (&str, &[Term]) {
        match self {
            Self::List(terms) => match terms.split_first() {
                Some((Self::Symbol(name), rest)) => (name, rest),
                _ => panic!("a list without a name: {terms:?}"),
            },
            other => panic!("not a list: {other:?}"),
        }
    }

    /// The names of all parameters that the term refers to.
    pub(super) fn parameters(&self) -> Vec<String> {
        match self {
            Self::List(terms) => match terms.as_slice() {
                [Self::Symbol(param), Self::Text(name)] if param == "param" => vec![name.clone()],
                terms => terms.iter().flat_map(Self::parameters).collect(),
            },
            _ => Vec::new(),
        }
    }
}

/// Whether a policy allows an operation on a path.
pub(super) fn allows(
    rules: &[Term],
    parameters: &BTreeMap<String, PathBuf>,
    operation: &str,
    path: &Path,
) -> bool {
    let mut allowed = false;
    for rule in rules {
        let (action, terms) = rule.list();
        let symbols = terms.iter().take_while(|term| matches!(term, Term::Symbol(_))).count();
        let (operations, filters) = terms.split_at(symbols);
        let concerned = operations.iter().any(|term| match term {
            Term::Symbol(name) => match name.strip_suffix('*') {
                Some(prefix) => operation.starts_with(prefix),
                None => name == operation || name == "default",
            },
            _ => false,
        });
        let world = World { parameters, path };
        if concerned && (filters.is_empty() || filters.iter().any(|filter| world.matches(filter))) {
            allowed = action == "allow";
        }
    }
    allowed
}

struct World<'a> {
    parameters: &'a BTreeMap<String, PathBuf>,
    path: &'a Path,
}

impl World<'_> {
    fn matches(&self, filter: &Term) -> bool {
        let (name, terms) = filter.list();
        match name {
            "require-all" => terms.iter().all(|term| self.matches(term)),
            "require-any" => terms.iter().any(|term| self.matches(term)),
            "require-not" => !self.matches(&terms[0]),
            // `Path` compares what a trailing slash would make different.
            "literal" => self.path.as_os_str() == self.value(&terms[0]).as_os_str(),
            "subpath" => self.path.starts_with(self.value(&terms[0])),
            "regex" => self.matches_regex(&terms[0]),
            // The paths of the tests are plain files, and devices where they are in `/dev`.
            "vnode-type" => self.path.starts_with("/dev"),
            "extension" => false,
            other => panic!("unknown filter {other}"),
        }
    }

    fn value(&self, term: &Term) -> PathBuf {
        match term {
            Term::Text(text) => PathBuf::from(text),
            term => match term.list() {
                ("param", [Term::Text(name)]) => self.parameters[name].clone(),
                other => panic!("no value: {other:?}"),
            },
        }
    }

    /// Only what the policy uses: `^`, a parameter, `/`, a class a letter, and the end or a slash.
    fn matches_regex(&self, term: &Term) -> bool {
        let Term::List(_) = term else { return false };
        let ("string-append", [Term::Text(start), quote, Term::Text(pattern)]) = term.list() else {
            panic!("unknown pattern {term:?}")
        };
        assert_eq!((start.as_str(), quote.list().0), ("^", "regex-quote"));
        let root = self.value(&quote.list().1[0]);
        let Some(rest) = self.path.as_os_str().as_bytes().strip_prefix(root.as_os_str().as_bytes()) else {
            return false;
        };
        let classes = pattern.strip_prefix('/').unwrap().strip_suffix("(/|$)").unwrap();
        let mut rest = rest.iter().copied().peekable();
        rest.next() == Some(b'/')
            && classes.split_terminator(']').all(|class| {
                let letters = class.strip_prefix('[').unwrap().as_bytes();
                rest.next().is_some_and(|byte| letters.contains(&byte))
            })
            && matches!(rest.next(), None | Some(b'/'))
    }
}
