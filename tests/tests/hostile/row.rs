//! One hostile act as data: what it does outside, and what the sandbox answers.

use codex_tests::harness::{Expect, Identity, Level, Policy};
use nix::errno::Errno;

/// How the control shows that the act is one.
#[derive(Clone, Copy)]
pub(crate) enum Control {
    /// It succeeds, and what is watched has changed.
    Harms,
    /// It succeeds. For what only looks.
    Succeeds,
    /// It gives this, which is not what the sandbox gives.
    Gives(Expect),
    /// There is none: it would do harm, or has no meaning outside.
    None,
}

/// A hostile act.
pub(crate) struct Row {
    /// The act in words, unique in its table.
    pub(crate) name: &'static str,
    /// The probe's arguments, with places to be filled in.
    pub(crate) words: String,
    /// What it does without the sandbox.
    pub(crate) control: Control,
    /// Whether the machine may lack what the control takes. The sandbox's answer counts all the same.
    pub(crate) machine_may_lack: bool,
    /// The only identity for which the row means anything.
    pub(crate) identity: Option<Identity>,
    landlock: Option<Expect>,
    namespaces: Expect,
    read_only: Option<Expect>,
}

/// What the kernel answers where the mount is read-only.
pub(crate) const EROFS: Expect = Expect::Fails(&[Errno::EROFS]);
pub(crate) const EACCES: Expect = Expect::Fails(&[Errno::EACCES]);
pub(crate) const EPERM: Expect = Expect::Fails(&[Errno::EPERM]);
pub(crate) const ENOENT: Expect = Expect::Fails(&[Errno::ENOENT]);
pub(crate) const ESRCH: Expect = Expect::Fails(&[Errno::ESRCH]);
pub(crate) const EXDEV: Expect = Expect::Fails(&[Errno::EXDEV]);
pub(crate) const ECONNREFUSED: Expect = Expect::Fails(&[Errno::ECONNREFUSED]);

impl Row {
    /// An act that changes something outside, and finds a read-only mount inside; not promised at level landlock.
    pub(crate) fn new(name: &'static str, words: impl Into<String>) -> Self {
        Self {
            name,
            words: words.into(),
            control: Control::Harms,
            machine_may_lack: false,
            identity: None,
            landlock: None,
            namespaces: EROFS,
            read_only: None,
        }
    }

    /// What level landlock answers, where it promises anything.
    pub(crate) fn landlock(mut self, expected: Expect) -> Self {
        self.landlock = Some(expected);
        self
    }

    /// What level namespaces answers.
    pub(crate) fn namespaces(mut self, expected: Expect) -> Self {
        self.namespaces = expected;
        self
    }

    /// What level namespaces answers where nothing is writable, if not the same.
    pub(crate) fn read_only(mut self, expected: Expect) -> Self {
        self.read_only = Some(expected);
        self
    }

    /// What both answer.
    pub(crate) fn refused(self, expected: Expect) -> Self {
        self.landlock(expected).namespaces(expected)
    }

    /// What the act does without the sandbox.
    pub(crate) fn control(mut self, control: Control) -> Self {
        self.control = control;
        self
    }

    /// For one identity only.
    pub(crate) fn only(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Needs something that not every machine has.
    pub(crate) fn if_present(mut self) -> Self {
        self.machine_may_lack = true;
        self
    }

    /// What the sandbox is to answer; `None` where it promises nothing at `level`.
    pub(crate) fn at(&self, level: Level, policy: Policy) -> Option<Expect> {
        let read_only = self.read_only.filter(|_| policy == Policy::ReadOnly);
        level.choose(self.landlock, Some(read_only.unwrap_or(self.namespaces)))
    }
}

/// The words of a system call.
pub(crate) fn call(number: i64, words: &str) -> String {
    format!("syscall {number} {words}")
}

/// Rows that differ in their words only.
pub(crate) fn each(rows: &[(&'static str, &str)], finish: impl Fn(Row) -> Row) -> Vec<Row> {
    rows.iter().map(|(name, words)| finish(Row::new(name, *words))).collect()
}
