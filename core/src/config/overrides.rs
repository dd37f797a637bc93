//! `-c dotted.key=value`: a setting on the command line, as strict as one in a file.

use std::borrow::Cow;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::layer::Document;
use super::problem::{Place, Problem, ProblemKind};
use super::reader::{Reader, Value};
use super::schema::{self, Key, Node};
use super::source::Source;

/// Reads one override: what it says, and what is wrong with it.
pub(super) fn read_override(typed: &str, home: Option<&Path>) -> (Document, Vec<Problem>) {
    let malformed = |reason: &str| {
        let kind = ProblemKind::OverrideForm { reason: reason.to_owned() };
        (Document::default(), vec![Problem { place: Place::Override(typed.to_owned()), kind }])
    };
    let Some((key, value)) = split(typed) else {
        return malformed("there is no `=` after the key");
    };
    let segments = match segments(key) {
        Ok(segments) => segments,
        Err(reason) => return malformed(&reason),
    };
    let source = Source::Override(typed);
    let mut reader = Reader::new(&source, home);
    let mut document = Document::default();
    reader.assignment(&schema::ROOT, &segments, value.trim(), &mut document);
    (document, reader.finish())
}

/// Splits at the first `=` that isn't inside a quoted segment of the key.
fn split(typed: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in typed.char_indices() {
        match (quote, character) {
            _ if escaped => escaped = false,
            (None, '=') => return Some((&typed[..at], &typed[at + 1..])),
            (None, '"' | '\'') => quote = Some(character),
            (Some('"'), '\\') => escaped = true,
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
    }
    None
}

/// The segments of a dotted key, by TOML's own rules for them.
fn segments(key: &str) -> Result<Vec<String>, String> {
    // On a line of its own the key could be a table's header or a comment instead.
    if key.contains(['\n', '\r']) {
        return Err("the key holds a line break".to_owned());
    }
    let line = format!("{key}=0");
    let tree = DeTable::parse(&line).map_err(|error| format!("the key is not TOML: {}", error.message()))?;
    let mut segments = Vec::new();
    let mut table = tree.into_inner();
    while let Some((name, value)) = table.into_iter().next() {
        segments.push(name.into_inner().into_owned());
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            _ => return Ok(segments),
        }
    }
    Err("there is no key".to_owned())
}

/// `text` as the value of a setting that takes a string: what a TOML string spells, else the text itself.
fn string_value(text: &str) -> Value<'_> {
    match DeValue::parse(text) {
        Ok(value) if value.get_ref().is_str() => value,
        Ok(_) | Err(_) => Spanned::new(0..text.len(), DeValue::String(Cow::Borrowed(text))),
    }
}

impl Reader<'_> {
    /// Reads the value, given as `text`, of the dotted key `segments` among `keys`.
    fn assignment(&mut self, keys: &[Key], segments: &[String], text: &str, document: &mut Document) {
        let Some((name, rest)) = segments.split_first() else { return };
        self.path.push(name.clone());
        if let Some(node) = self.step(keys, name, 0) {
            self.assign(node, rest, text, document);
        }
        self.path.pop();
    }

    fn assign(&mut self, node: Node, rest: &[String], text: &str, document: &mut Document) {
        match (node, rest) {
            (node, []) if node.is_text() => self.node(node, &string_value(text), document),
            (node, []) => match DeValue::parse(text) {
                Ok(value) => self.node(node, &value, document),
                Err(_) if node.may_be_text() => self.node(node, &string_value(text), document),
                Err(error) => self.report(0, |key| ProblemKind::ValueSyntax {
                    key,
                    expected: node.expected(),
                    message: error.message().to_owned(),
                }),
            },
            (Node::Table(inner), rest) => self.assignment(inner, rest, text, document),
            (Node::Variables, [name]) => {
                self.path.push(name.clone());
                self.variable(name, 0, &string_value(text), &mut document.layer);
                self.path.pop();
            }
            (Node::Providers, [name, rest @ ..]) => {
                self.path.push(name.clone());
                self.provider = Some(name.clone());
                self.assign(Node::Table(&schema::PROVIDER), rest, text, document);
                self.provider = None;
                self.path.pop();
            }
            (Node::Provider(key), [name]) if key.is_table() => {
                self.path.push(name.clone());
                self.provider_entry(key, name, &string_value(text), &mut document.layer);
                self.path.pop();
            }
            (Node::Profiles, [name, rest @ ..]) => {
                self.path.push(name.clone());
                self.in_profile(name, document, |reader, inner| {
                    reader.assign(Node::Table(schema::PROFILE), rest, text, inner);
                });
                self.path.pop();
            }
            (Node::Setting(_) | Node::ProfileName | Node::Variables | Node::Provider(_), _) => {
                self.report(0, |key| ProblemKind::WrongType {
                    key,
                    expected: node.expected(),
                    found: "a key below it",
                });
            }
        }
    }
}
