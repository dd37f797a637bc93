//! The sandbox of macOS: a policy for Seatbelt, and the arguments of the program that applies it.
//!
//! All of it is text, so it compiles and is tested everywhere; only starting [`PROGRAM`] is for macOS.
//!
//! Paths reach the policy as parameters (`-DWRITABLE_ROOT_0=/path`) and never as text, so no name of a directory can
//! change what the policy says. The policy names files as the kernel does: a path through a symlink matches nothing.
//! So **the caller resolves every path**, most of all `/tmp`, `/var` and `/etc`, which are symlinks to `/private`.
//!
//! # What is protected inside writable roots
//!
//! `.git` and `.codex` right below each root, and the caller's `read_only` paths, whether or not they exist.
//!
//! - One exclusion holds for all roots: that `/private/tmp` is writable opens no way to `/private/tmp/repo/.git`.
//! - `.GIT` is the same file as `.git` on most Macs, and doesn't have the same path before it exists. The two names are
//!   excluded in any letter case.
//! - A directory above a protected path can't be renamed, removed or created, or the path could be led around: move
//!   `repo` away, change `.git` there, move it back.
//!
//! # What Seatbelt can't say
//!
//! - Without network there is none inside either: it can't tell the sandbox's own loopback and sockets from others.
//! - With network, sockets in the file system are open too, those of container engines and key agents included.
//! - Names of POSIX semaphores are shared with processes outside.
//! - With [`terminal`](SeatbeltInput::terminal), a command can put input into the terminal that it shares (TIOCSTI).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// The program that applies a policy and becomes a command. Never looked up by `PATH`, where a command could have put
/// another of that name.
pub const PROGRAM: &str = "/usr/bin/sandbox-exec";

/// Names right below each writable root that stay read-only, in any letter case.
pub const PROTECTED_NAMES: [&str; 2] = [".git", ".codex"];

const BASE: &str = include_str!("seatbelt/base.sbpl");
const READ: &str = include_str!("seatbelt/read.sbpl");
const WRITE_FULL: &str = include_str!("seatbelt/write_full.sbpl");
const TERMINAL: &str = include_str!("seatbelt/terminal.sbpl");
const NETWORK: &str = include_str!("seatbelt/network.sbpl");

/// What a command may do. Reading files is never restricted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatbeltInput {
    /// Which files it may change.
    pub write: WriteAccess,
    /// Whether it may reach the network.
    pub network: bool,
    /// Whether it shares the caller's terminal. With captured output it has no use for one.
    pub terminal: bool,
}

/// Which files a command may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteAccess {
    /// All, protected names too.
    Full,
    /// Those below these roots; none of them, and only devices are left.
    Roots(Vec<SeatbeltRoot>),
}

/// A directory that a command may write below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatbeltRoot {
    /// The directory: absolute, symlinks resolved, not `/`.
    pub root: PathBuf,
    /// Paths that stay read-only beside the [`PROTECTED_NAMES`], say the directory that a `.git` file points to:
    /// symlinks resolved; a relative one is below the root.
    pub read_only: Vec<PathBuf>,
}

/// The arguments for [`PROGRAM`], after its own name, that run a command under a policy.
///
/// The command's first element is looked up by `PATH` unless it has a slash in it. An empty command gives arguments that
/// the program refuses.
#[must_use]
pub fn arguments(policy: &SeatbeltInput, command: &[OsString]) -> Vec<OsString> {
    let mut text = [BASE, READ].concat();
    let mut parameters = Parameters::default();
    match &policy.write {
        WriteAccess::Full => text.push_str(WRITE_FULL),
        WriteAccess::Roots(roots) => push_write_rules(&mut text, &mut parameters, roots),
    }
    if policy.terminal {
        text.push_str(TERMINAL);
    }
    if policy.network {
        text.push_str(NETWORK);
    }
    let mut arguments = vec![OsString::from("-p"), OsString::from(text)];
    arguments.append(&mut parameters.definitions);
    arguments.push(OsString::from("--"));
    arguments.extend_from_slice(command);
    arguments
}

/// The definitions of a policy's parameters, as arguments.
#[derive(Default)]
struct Parameters {
    definitions: Vec<OsString>,
}

impl Parameters {
    /// Defines a parameter and gives the term that stands for it in the policy.
    fn define(&mut self, name: &str, path: &Path) -> String {
        let mut definition = OsString::from(format!("-D{name}="));
        definition.push(path);
        self.definitions.push(definition);
        format!("(param \"{name}\")")
    }
}

fn push_write_rules(text: &mut String, parameters: &mut Parameters, roots: &[SeatbeltRoot]) {
    if roots.is_empty() {
        return;
    }
    let mut allowed = Vec::new();
    let mut excluded = Vec::new();
    let mut protected = BTreeSet::new();
    for (number, root) in roots.iter().enumerate() {
        let directory = tidy(&root.root);
        let name = format!("WRITABLE_ROOT_{number}");
        let term = parameters.define(&name, &directory);
        allowed.push(format!("(subpath {term})"));
        for name in PROTECTED_NAMES.map(in_any_case) {
            let regex = format!("(regex (string-append \"^\" (regex-quote {term}) \"/{name}(/|$)\"))");
            excluded.push(format!("(require-not {regex})"));
        }
        let names = PROTECTED_NAMES.map(PathBuf::from);
        for (number, path) in names.iter().chain(&root.read_only).enumerate() {
            let path = tidy(&directory.join(path));
            let term = parameters.define(&format!("{name}_RO_{number}"), &path);
            excluded.push(format!("(require-not (literal {term}))"));
            excluded.push(format!("(require-not (subpath {term}))"));
            protected.insert(path);
        }
    }
    let (allowed, excluded) = (allowed.join("\n      "), excluded.join("\n    "));
    text.push_str(&format!(
        "\n; --- writing: below the roots, protected paths apart ---\n\n\
         (allow file-write*\n  (require-all\n    (require-any\n      {allowed})\n    {excluded}))\n"
    ));

    let pinned: Vec<String> = above(&protected, roots)
        .into_iter()
        .enumerate()
        .map(|(number, path)| format!("(literal {})", parameters.define(&format!("PINNED_{number}"), path)))
        .collect();
    if !pinned.is_empty() {
        text.push_str(&format!(
            "\n; The directories above them stay where they are.\n\
             (deny file-write-create file-write-unlink\n  {})\n",
            pinned.join("\n  ")
        ));
    }
}

/// The writable directories above protected paths.
fn above<'a>(protected: &'a BTreeSet<PathBuf>, roots: &[SeatbeltRoot]) -> BTreeSet<&'a Path> {
    let writable = |path: &&Path| roots.iter().any(|root| path.starts_with(&root.root));
    protected.iter().flat_map(|path| path.ancestors().skip(1).take_while(writable)).collect()
}

/// A pattern for a name in upper and lower case: `.git` gives `[.][gG][iI][tT]`.
fn in_any_case(name: &str) -> String {
    let class = |letter: char| match letter.is_ascii_alphabetic() {
        true => format!("[{}{}]", letter.to_ascii_lowercase(), letter.to_ascii_uppercase()),
        false => format!("[{letter}]"),
    };
    name.chars().map(class).collect()
}

/// Without trailing slashes and the like, which no path of the kernel's has.
fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}
