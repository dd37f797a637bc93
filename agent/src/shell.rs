//! Commands, read as a shell reads them.
//!
//! ```text
//! argv ─▶ programs: `sh -c`, `env`, `xargs`, `find -exec` … ─┬▶ read: every simple command, words known or not ─▶ rules
//!                                                            └▶ plain: only what nobody can read otherwise   ─▶ known, allow
//! ```
//!
//! What is read here decides whether somebody is asked, and never what a command may do. Therefore two readers: a rule that
//! forbids has to see as much as possible, and one that lets pass has to be sure of all that it sees. [`read`] finds
//! the simple commands of everything that it understands, and says so where it does not; [`plain`] takes plain words and
//! nothing else. Both take time in proportion to the text, and nest to a bound: a model writes what they read.

pub mod known;
pub mod plain;
pub mod programs;
pub mod read;

/// Shells, by the names of their programs.
const SHELLS: [&str; 6] = ["ash", "bash", "dash", "ksh", "sh", "zsh"];

/// The last part of a program's path.
pub(crate) fn base(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// Whether a program is named so that it is the system's own: by its name alone or below `/bin` or `/usr/bin`. A name is
/// looked up on the user's `PATH`; any other path may be a file that the model has made.
pub(crate) fn is_the_systems(program: &str) -> bool {
    !program.is_empty()
        && match program.rsplit_once('/') {
            None => true,
            Some((directory, _)) => matches!(directory, "/bin" | "/usr/bin"),
        }
}

/// Characters that make a line look like another one: no word with them is plain.
pub(crate) fn is_misleading(character: char) -> bool {
    !matches!(character, '\n' | '\t' | '"' | '\'' | '\\' | ' ')
        && (character.is_control() || (!character.is_ascii() && character.escape_debug().count() > 1))
}
