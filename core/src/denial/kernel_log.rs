//! What the kernel's audit log tells of one call: Landlock's refusals, as attempts to be compared with the policy.
//!
//! Landlock writes two records: `1423` for each refusal, with the number of the domain that refused, and `1424` once for
//! each domain that did, with the process that took it on. By that, and by nothing that a command could choose, a refusal
//! belongs to a call. Where the kernel keeps account of system calls, a record `1300` of the same event says who made the
//! call and how it ended.
//!
//! ```text
//! audit(1795783313.074:1008): domain=1cfa31d3d blockers=fs.write_file path="/etc/motd" dev="vda" ino=2162695
//! audit(1795783313.074:1008): domain=1cfa31d3d status=allocated mode=enforcing pid=2885 uid=0 exe="/usr/bin/codex" comm="codex"
//! audit(1795783313.074:1008): arch=c000003e syscall=257 success=no exit=-13 … pid=2885 … comm="sh" exe="/usr/bin/dash" …
//! ```
//!
//! The log is the whole machine's. What is kept of it is bounded, whatever comes.

mod record;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::time::Duration;

use codex_linux_sandbox::{Act, Attempt};
use nix::errno::Errno;

pub use record::{Access, Body, Object, Record};

/// How many different refusals are kept. A flood tells nothing more after the first few.
pub const MOST_LOGGED: usize = 64;
/// How many refusals wait for the rest of their event, or to be known as ours.
const MOST_WAITING: usize = 64;
/// How many domains of the same program are kept until it is known which one is ours.
const MOST_DOMAINS: usize = 64;
/// A name of which no more is known than the directory that it stands in.
const SOME_NAME: &str = "…";

/// One call in the log. Records of other sandboxes, and of anything else, are passed over.
#[derive(Clone, Debug)]
pub struct LoggedCall {
    /// The program that confines itself, as the kernel names it.
    program: OsString,
    /// When the call began, since 1970.
    began: Duration,
    /// The process that took on our domain.
    process: Option<i32>,
    domains: Vec<Domain>,
    /// More than one domain could be ours.
    ambiguous: bool,
    waiting: VecDeque<Refusal>,
    attempts: Vec<Attempt>,
    /// How many records of our domain were read.
    read: u64,
    /// How many of them there was no room for.
    full: u64,
    /// How often the log has a gap.
    gaps: u64,
    /// How often our domain has refused something, when it is gone.
    refused: Option<u64>,
}

/// A domain that a process of the right program took on.
#[derive(Clone, Copy, Debug)]
struct Domain {
    number: u64,
    process: i32,
    introduced: Duration,
}

/// A refusal whose event may have more to say.
#[derive(Clone, Debug)]
struct Refusal {
    event: u64,
    time: Duration,
    domain: u64,
    access: Access,
    /// Who made the call, and the error it ended with; zero for none.
    call: Option<(i32, OsString, i32)>,
}

impl LoggedCall {
    /// A call that began at a time since 1970, and is confined by a process that runs a program, whose path has its links
    /// followed.
    #[must_use]
    pub const fn new(program: OsString, began: Duration) -> Self {
        Self {
            program,
            began,
            process: None,
            domains: Vec::new(),
            ambiguous: false,
            waiting: VecDeque::new(),
            attempts: Vec::new(),
            read: 0,
            full: 0,
            gaps: 0,
            refused: None,
        }
    }

    /// Says which process took on the domain of the call, by its number in the first PID namespace.
    pub fn belongs_to(&mut self, process: i32) {
        if self.process.is_none() {
            self.process = Some(process);
            let found = std::mem::take(&mut self.domains);
            found
                .into_iter()
                .filter(|domain| domain.process == process)
                .for_each(|domain| self.adopt(domain));
        }
    }

    /// Takes a record: its type, and its text.
    pub fn take(&mut self, kind: u16, text: &[u8]) {
        let Some(Record { event, time, body }) = Record::parse(kind, text) else { return };
        match body {
            Body::Access { domain, access } => {
                if self.may_be_ours(domain) {
                    self.wait(Refusal { event, time, domain, access, call: None });
                }
            }
            Body::Domain { domain, process, program } => {
                let introduced = Domain { number: domain, process, introduced: time };
                if program != self.program || self.process.is_some_and(|ours| ours != process) {
                    self.waiting.retain(|refusal| refusal.domain != domain);
                } else if self.process.is_some() {
                    self.adopt(introduced);
                } else if self.domains.len() < MOST_DOMAINS {
                    self.domains.push(introduced);
                }
            }
            Body::Gone { domain, refused } => {
                if self.ours() == Some(domain) {
                    self.refused = Some(refused);
                }
            }
            Body::Call { exit, process, program } => {
                for refusal in self.waiting.iter_mut().filter(|refusal| refusal.event == event) {
                    refusal.call = Some((process, program.clone(), exit));
                }
            }
        }
    }

    /// Notes that the kernel had no room for records, or that not all were read in time.
    pub const fn gap(&mut self) {
        self.gaps = self.gaps.saturating_add(1);
    }

    /// Whether something was refused, and the kernel has not said yet how often, as it does at the end.
    #[must_use]
    pub fn waits_for_the_count(&self) -> bool {
        self.ours().is_some() && self.refused.is_none()
    }

    /// What was refused to a call whose process has ended at a time since 1970, or is there still; and how often more.
    /// [`Attempt::first`] counts from when the call began.
    ///
    /// The number of a process that has ended can be given again: a domain that is first heard of afterwards is not ours.
    #[must_use]
    pub fn finish(mut self, ended: Option<Duration>) -> (Vec<Attempt>, u64) {
        let ours = self.domains.first().filter(|_| self.process.is_some());
        let is_sure = !self.ambiguous
            && ours.is_some_and(|domain| ended.is_none_or(|ended| domain.introduced <= ended));
        let Some(ours) = ours.map(|domain| domain.number) else { return (Vec::new(), self.gaps) };
        for refusal in std::mem::take(&mut self.waiting) {
            if refusal.domain == ours {
                self.keep(refusal);
            }
        }
        if !is_sure {
            return (Vec::new(), self.read.saturating_add(self.gaps));
        }
        // The kernel counts as well, what nobody had room for included.
        let missed = self.refused.map_or(self.gaps, |refused| refused.saturating_sub(self.read));
        (self.attempts, self.full.saturating_add(missed))
    }

    fn ours(&self) -> Option<u64> {
        self.process.and(self.domains.first()).map(|domain| domain.number)
    }

    /// Takes a domain for ours, which the process of ours took on.
    fn adopt(&mut self, domain: Domain) {
        match self.domains.first() {
            // Two processes can be the first to be refused something.
            Some(known) => self.ambiguous |= known.number != domain.number,
            None => {
                self.waiting.retain(|refusal| refusal.domain == domain.number);
                self.domains.push(domain);
            }
        }
    }

    fn may_be_ours(&self, domain: u64) -> bool {
        self.ours().is_none_or(|ours| ours == domain)
    }

    fn wait(&mut self, refusal: Refusal) {
        // Whatever more there is to say of the oldest comes too late, if it comes.
        if self.waiting.len() >= MOST_WAITING
            && let Some(oldest) = self.waiting.pop_front()
            && self.ours() == Some(oldest.domain)
        {
            self.keep(oldest);
        }
        self.waiting.push_back(refusal);
    }

    /// Keeps what is known of a refusal of ours, unless the call did what it was to do all the same.
    fn keep(&mut self, refusal: Refusal) {
        self.read = self.read.saturating_add(1);
        let Refusal { time, access, call, .. } = refusal;
        let Some((act, target, place)) = attempted(&access) else { return };
        let (process, program, errno) = match call {
            Some((_, _, exit)) if exit >= 0 => return,
            Some((process, program, exit)) => (process, program, Errno::from_raw(exit.saturating_neg())),
            // Landlock has one answer for each.
            None if act == Act::Signal => (0, OsString::new(), Errno::EPERM),
            None => (0, OsString::new(), Errno::EACCES),
        };
        let places = [place, None];
        let same = |known: &&mut Attempt| {
            known.act == act && known.target == target && known.places == places && known.errno == errno
        };
        if let Some(known) = self.attempts.iter_mut().find(same) {
            known.count = known.count.saturating_add(1);
        } else if self.attempts.len() < MOST_LOGGED {
            let first = u64::try_from(time.saturating_sub(self.began).as_nanos()).unwrap_or(u64::MAX);
            self.attempts.push(Attempt {
                act,
                target,
                second: None,
                places,
                errno,
                process,
                program,
                count: 1,
                first,
            });
        } else {
            self.full = self.full.saturating_add(1);
        }
    }
}

/// What was tried, by the rights that were missing, and where. Of names that were to be made or removed, the directory is
/// all that is known.
fn attempted(access: &Access) -> Option<(Act, OsString, Option<OsString>)> {
    let lacks = |right: &str| access.blockers.iter().any(|blocker| blocker == right);
    let lacks_some = |kind: &str| access.blockers.iter().any(|blocker| blocker.starts_with(kind));
    let path = match &access.object {
        Object::Process(number) => {
            return lacks("scope.signal").then(|| (Act::Signal, number.to_string().into(), None));
        }
        Object::Path(path) => path,
    };
    let (makes, removes, refers) = (lacks_some("fs.make_"), lacks_some("fs.remove_"), lacks("fs.refer"));
    let act = match (makes, removes) {
        (true, true) => Act::RenameIn,
        // Only what gets another name is taken from one directory to another.
        (false, true) if refers => Act::RenameIn,
        (false, true) => Act::RemoveIn,
        (true, false) => Act::CreateIn,
        (false, false) if lacks("fs.write_file") || lacks("fs.truncate") => {
            return Some((Act::Write, path.clone(), Some(path.clone())));
        }
        (false, false) => return None,
    };
    let mut target = path.clone();
    if target != "/" {
        target.push("/");
    }
    target.push(SOME_NAME);
    Some((act, target, Some(path.clone())))
}

#[cfg(test)]
mod tests;
