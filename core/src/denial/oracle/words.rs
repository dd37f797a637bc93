//! What programs say, as tables: texts of errors, of names that could not be looked up, and words for what was tried.

use nix::errno::Errno;

use super::super::judge::Operation;

/// The texts of errors, in the words of the C library, and as names. Matched without regard to case.
pub(super) const ERRORS: &[(&str, Errno)] = &[
    ("read-only file system", Errno::EROFS),
    ("permission denied", Errno::EACCES),
    ("operation not permitted", Errno::EPERM),
    ("device or resource busy", Errno::EBUSY),
    ("resource busy", Errno::EBUSY),
    ("cross-device link", Errno::EXDEV),
    ("connection refused", Errno::ECONNREFUSED),
    ("network is unreachable", Errno::ENETUNREACH),
    ("erofs", Errno::EROFS),
    ("eacces", Errno::EACCES),
    ("eperm", Errno::EPERM),
    ("ebusy", Errno::EBUSY),
    ("econnrefused", Errno::ECONNREFUSED),
    ("enetunreach", Errno::ENETUNREACH),
    ("os error 30", Errno::EROFS),
    ("os error 13", Errno::EACCES),
    ("os error 1)", Errno::EPERM),
    ("os error 16", Errno::EBUSY),
    ("errno 30", Errno::EROFS),
    ("errno 13", Errno::EACCES),
    ("accessdeniedexception", Errno::EACCES),
];

/// Texts of names that could not be looked up.
pub(super) const LOOKUPS: &[&str] = &[
    "could not resolve hostname",
    "could not resolve host",
    "couldn't resolve host",
    "unable to resolve host address",
    "temporary failure in name resolution",
    "name or service not known",
    "unknownhostexception",
    "eai_again",
    "enotfound",
    "failed to lookup address information",
    "no such host",
    "unknown server host",
    "unknown mysql server host",
    "bad hostname",
    // Go names the name server as well, which is not the one that is wanted.
    "dial tcp: lookup",
    "could not resolve proxy",
];

/// Texts that hide why a file could not be written, and what was tried. The file is named by the line, or as the table says.
pub(super) const SILENT: &[(&str, Operation, Named)] = &[
    ("could not create local repository at", Operation::Create, Named::Here),
    // Poetry, which tells nothing of it when it is made well.
    ("creating virtualenv", Operation::Create, Named::Here),
    ("error while writing", Operation::Create, Named::Here),
    ("unable to open database \"", Operation::Create, Named::Here),
    ("unable to create temporary object directory", Operation::Write, Named::Below("To ")),
    ("attempt to write a readonly database", Operation::Write, Named::Typed(&[])),
    ("curl: (23)", Operation::Create, Named::Typed(&["-o", "--output"])),
];

/// Where a file is named that a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// In the line.
    Here,
    /// In a line below that begins so: a repository in whose objects something was to be made.
    Below(&'static str),
    /// In the arguments alone, behind one of these options. Without any, anywhere.
    Typed(&'static [&'static str]),
}

/// Texts that hide why nobody could be reached.
pub(super) const VAGUE: &[&str] =
    &["couldn't connect to server", "could not connect to server", "failed to connect to"];

/// Words that say what was tried, in the order in which they decide.
pub(super) const VERBS: &[(&str, Operation)] = &[
    ("remove", Operation::Remove),
    ("unlink", Operation::Remove),
    ("rmdir", Operation::Remove),
    ("delete", Operation::Remove),
    ("rename", Operation::Rename),
    ("cannot move", Operation::Rename),
    ("permissions of", Operation::Metadata),
    ("ownership of", Operation::Metadata),
    ("setting times of", Operation::Metadata),
    ("chmod", Operation::Metadata),
    ("chown", Operation::Metadata),
    ("utime", Operation::Metadata),
    ("setxattr", Operation::Metadata),
    ("mkdir", Operation::Create),
    ("create", Operation::Create),
    ("symlink", Operation::Create),
    ("failed to open", Operation::Write),
    ("for reading", Operation::Read),
    ("cannot open directory", Operation::Read),
    ("scandir", Operation::Read),
    ("for writing", Operation::Write),
    ("write", Operation::Write),
    ("touch", Operation::Create),
    ("connect", Operation::Unix),
];
