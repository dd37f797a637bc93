//! What was tried and refused, and where it is kept: in a file in memory, which whoever wants to know reads at any time.
//!
//! ```text
//! untold NUL
//! count NUL act NUL errno NUL process NUL first NUL program NUL target NUL second NUL place NUL place NUL    (once more for each)
//! ```
//!
//! Both counts have so many digits always, so that they are counted in place. The first is of what there was no room for.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;

use nix::errno::Errno;

use super::call::Act;

/// How many different ones are kept. A flood tells nothing more after the first few.
pub const MOST_ATTEMPTS: usize = 512;
/// How long a text in one may be: a path has at most as many bytes.
const LONGEST: usize = 4096;
const DIGITS: usize = 20;
const FIELDS: usize = 10;

/// Something that was tried, and failed with an error by which a sandbox may refuse.
///
/// Nothing of it is a judgement. It was read from a process that can have lied: who tells of it compares it with the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried.
    pub act: Act,
    /// On what: an absolute path as the process names it, links not followed but the kernel's own about the process; or what
    /// [`Act`] says.
    pub target: OsString,
    /// The other path of a rename or a link.
    pub second: Option<OsString>,
    /// Where both led, links followed, as far as that was looked up then: they may lead elsewhere since.
    pub places: [Option<OsString>; 2],
    /// The kernel's answer.
    pub errno: Errno,
    /// The process that tried first, by its number where it was seen from.
    pub process: i32,
    /// Its program, by the kernel's short name for it.
    pub program: OsString,
    /// How often it was tried.
    pub count: u64,
    /// When first, in nanoseconds since whoever saw it was started.
    pub first: u64,
}

/// What was tried, on what: the fields of an [`Attempt`] of these names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct What {
    pub(crate) act: Act,
    pub(crate) target: OsString,
    pub(crate) second: Option<OsString>,
    pub(crate) places: [Option<OsString>; 2],
}

impl What {
    /// On one thing, of which no more is known.
    pub(crate) const fn new(act: Act, target: OsString) -> Self {
        Self { act, target, second: None, places: [None, None] }
    }
}

/// What makes two attempts the same.
type Key = (What, i32);

/// The file, for who writes it.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    end: u64,
    known: HashMap<Key, (u64, u64)>,
    untold: u64,
}

impl Log {
    pub(crate) fn new(file: File) -> Self {
        let mut log = Self { file, end: 0, known: HashMap::new(), untold: 0 };
        log.write_untold();
        log.end = DIGITS as u64 + 1;
        log
    }

    fn write_untold(&mut self) {
        let text = digits(self.untold) + "\0";
        // There is nobody to tell of a full memory; what is there stays.
        if let Err(_full) = self.file.write_all_at(text.as_bytes(), 0) {}
    }

    /// Counts an attempt, where there is room for it. Who made it is asked for the first of its kind alone: that takes longer
    /// than all the rest.
    pub(crate) fn add(
        &mut self,
        what: What,
        errno: Errno,
        first: u64,
        who: impl FnOnce() -> (i32, OsString),
    ) {
        let key = (what, errno as i32);
        if let Some((place, count)) = self.known.get_mut(&key) {
            *count += 1;
            // As above.
            if let Err(_full) = self.file.write_all_at(digits(*count).as_bytes(), *place) {}
            return;
        }
        if self.known.len() >= MOST_ATTEMPTS {
            self.untold += 1;
            return self.write_untold();
        }
        let (process, program) = who();
        let (What { act, target, second, places: [place, second_place] }, errno) = &key;
        let mut entry = Vec::new();
        let or_empty = |path: &Option<OsString>| path.clone().unwrap_or_default();
        for text in [
            digits(1).as_bytes(),
            act.name().as_bytes(),
            errno.to_string().as_bytes(),
            process.to_string().as_bytes(),
            first.to_string().as_bytes(),
            program.as_bytes(),
            target.as_bytes(),
            or_empty(second).as_bytes(),
            or_empty(place).as_bytes(),
            or_empty(second_place).as_bytes(),
        ] {
            entry.extend(text.iter().take(LONGEST).filter(|byte| **byte != 0));
            entry.push(0);
        }
        if self.file.write_all_at(&entry, self.end).is_ok() {
            let place = self.end;
            self.end += entry.len() as u64;
            self.known.insert(key, (place, 1));
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn digits(count: u64) -> String {
    format!("{count:0DIGITS$}")
}

impl Attempt {
    /// Reads what was written so far, and how often there was no room. What can't be understood ends it: it may be on its way.
    #[must_use]
    pub fn read_all(bytes: &[u8]) -> (Vec<Self>, u64) {
        let mut fields = bytes.split(|byte| *byte == 0);
        let mut attempts = Vec::new();
        let untold = fields.next().and_then(number).unwrap_or_default();
        while attempts.len() < MOST_ATTEMPTS {
            let texts: Vec<&[u8]> = fields.by_ref().take(FIELDS).collect();
            let Some(attempt) = Self::read(&texts) else { break };
            attempts.push(attempt);
        }
        (attempts, untold)
    }

    fn read(texts: &[&[u8]]) -> Option<Self> {
        let [count, act, errno, process, first, program, target, second, place, second_place] = texts else {
            return None;
        };
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let path = |bytes: &[u8]| (!bytes.is_empty()).then(|| text(bytes));
        Some(Self {
            act: Act::ALL.into_iter().find(|known| known.name().as_bytes() == *act)?,
            target: text(target),
            second: path(second),
            places: [path(place), path(second_place)],
            errno: Errno::from_raw(i32::try_from(number(errno)?).ok()?),
            process: i32::try_from(number(process)?).ok()?,
            program: text(program),
            count: number(count)?,
            first: number(first)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;

    use nix::errno::Errno;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use proptest::prelude::*;

    use super::{Act, Attempt, Log, MOST_ATTEMPTS, What};

    fn attempt(target: &str) -> Attempt {
        Attempt {
            act: Act::Create,
            target: target.into(),
            second: None,
            places: [None, None],
            errno: Errno::EROFS,
            process: 7,
            program: "sh".into(),
            count: 1,
            first: 12,
        }
    }

    fn add(log: &mut Log, attempt: Attempt) {
        let Attempt { act, target, second, places, errno, process, program, first, .. } = attempt;
        log.add(What { act, target, second, places }, errno, first, || (process, program));
    }

    fn log() -> (Log, File) {
        let file = File::from(memfd_create(c"log", MFdFlags::MFD_CLOEXEC).unwrap());
        (Log::new(file.try_clone().unwrap()), file)
    }

    fn read(mut file: &File) -> Vec<u8> {
        use std::io::Seek as _;
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read_and_counted_in_place() {
        let (mut log, file) = log();
        add(&mut log, attempt("/a"));
        add(&mut log, Attempt { act: Act::Rename, second: Some("/c".into()), ..attempt("/b\n") });
        add(&mut log, attempt("/a"));
        // Where it leads is a part of what it is.
        let placed = Attempt { places: [Some("/p".into()), Some("/q".into())], ..attempt("/a") };
        add(&mut log, placed.clone());
        let (read, untold) = Attempt::read_all(&read(&file));
        assert_eq!(read[0], Attempt { count: 2, ..attempt("/a") });
        assert_eq!(read[1], Attempt { act: Act::Rename, second: Some("/c".into()), ..attempt("/b\n") });
        assert_eq!(read[2], placed);
        assert_eq!((read.len(), untold), (3, 0));
    }

    #[test]
    fn a_flood_is_bounded() {
        let (mut log, file) = log();
        for index in 0..3 * MOST_ATTEMPTS {
            add(&mut log, attempt(&format!("/{index}")));
        }
        // What is known is counted on.
        add(&mut log, attempt("/0"));
        let (read, untold) = Attempt::read_all(&read(&file));
        assert_eq!((read.len(), untold), (MOST_ATTEMPTS, 2 * MOST_ATTEMPTS as u64));
        assert_eq!(read[0].count, 2);
    }

    proptest! {
        #[test]
        fn what_is_cut_anywhere_is_a_shorter_list(length in 0_usize..200) {
            let (mut log, file) = log();
            (0..3).for_each(|index| add(&mut log, attempt(&format!("/{index}"))));
            let bytes = read(&file);
            let (all, _) = Attempt::read_all(&bytes);
            let (cut, _) = Attempt::read_all(&bytes[..length.min(bytes.len())]);
            prop_assert!(all.starts_with(&cut) || cut.len() <= all.len());
        }

        #[test]
        fn anything_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Attempt::read_all(&bytes).0.len() <= MOST_ATTEMPTS);
        }
    }
}
