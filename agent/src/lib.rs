//! A non-interactive agent: a model asks for commands and changes to files, and they run in the sandbox.

pub mod patch;
