//! Where repositories were found, kept from one call to the next: a file a root, in a directory that no command can
//! write. What can't be read is as good as not there, and what can't be written is found again next time.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::walk::{Kind, Place};

/// What the files start with. Another version is another format.
const MAGIC: &[u8] = b"codex repositories 1\0";
/// More than a tree holds that can be worked in: a record that is too long to be read would make every call a first one.
const MOST_BYTES: u64 = 256 << 20;

/// The repositories of one root, and how they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) root: PathBuf,
    /// When the whole tree was walked last, and how long that took.
    pub(crate) walked_at: SystemTime,
    pub(crate) cost: Duration,
    /// How many directories that walk saw, and whether they were all.
    pub(crate) directories: usize,
    pub(crate) complete: bool,
    pub(crate) places: Vec<Place>,
}

/// The directory of the files.
#[derive(Clone, Debug)]
pub(crate) struct Cache(PathBuf);

impl Cache {
    pub(crate) fn new(codex_home: &Path) -> Self {
        Self(codex_home.join("cache/repositories"))
    }

    pub(crate) fn load(&self, root: &Path) -> Option<Record> {
        let mut text = Vec::new();
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.file(root))
            .ok()?;
        file.take(MOST_BYTES).read_to_end(&mut text).ok()?;
        decode(&text).filter(|record| record.root == root)
    }

    pub(crate) fn save(&self, record: &Record) -> io::Result<()> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        fs::create_dir_all(&self.0)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let draft = self.0.join(format!(".{}-{number}", std::process::id()));
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| file.write_all(&encode(record)))
            .and_then(|()| fs::rename(&draft, self.file(&record.root)));
        if written.is_err() {
            // What is left of it would be in nobody's way but the next draft's of this name.
            drop(fs::remove_file(&draft));
        }
        written
    }

    fn file(&self, root: &Path) -> PathBuf {
        self.0.join(format!("{:016x}", hash(root.as_os_str().as_bytes())))
    }
}

/// FNV-1a. A file says which root it is for, so that two of one hash only push one another out.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn encode(record: &Record) -> Vec<u8> {
    let mut text = MAGIC.to_vec();
    let mut field = |bytes: &[u8]| {
        text.extend_from_slice(bytes);
        text.push(0);
    };
    let since = record.walked_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    field(record.root.as_os_str().as_bytes());
    field(since.as_micros().to_string().as_bytes());
    field(record.cost.as_micros().to_string().as_bytes());
    field(record.directories.to_string().as_bytes());
    field(if record.complete { b"complete" } else { b"bounded" });
    for place in &record.places {
        field(match place.kind {
            Kind::WorkTree => b"work tree",
            Kind::Bare => b"bare",
        });
        field(place.relative.as_os_str().as_bytes());
    }
    text
}

fn decode(text: &[u8]) -> Option<Record> {
    let text = text.strip_prefix(MAGIC)?.strip_suffix(b"\0")?;
    let mut fields = text.split(|byte| *byte == 0);
    let number = |fields: &mut dyn Iterator<Item = &[u8]>| -> Option<u64> {
        std::str::from_utf8(fields.next()?).ok()?.parse().ok()
    };
    let root = PathBuf::from(OsStr::from_bytes(fields.next()?));
    let walked_at = UNIX_EPOCH.checked_add(Duration::from_micros(number(&mut fields)?))?;
    let cost = Duration::from_micros(number(&mut fields)?);
    let directories = usize::try_from(number(&mut fields)?).ok()?;
    let complete = match fields.next()? {
        b"complete" => true,
        b"bounded" => false,
        _ => return None,
    };
    let mut places = Vec::new();
    while let Some(kind) = fields.next() {
        let kind = match kind {
            b"work tree" => Kind::WorkTree,
            b"bare" => Kind::Bare,
            _ => return None,
        };
        let relative = PathBuf::from(OsStr::from_bytes(fields.next()?));
        if !relative.components().all(|component| matches!(component, Component::Normal(_))) {
            return None;
        }
        places.push(Place { relative, kind });
    }
    Some(Record { root, walked_at, cost, directories, complete, places })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;

    use super::{Cache, Duration, Kind, OsStr, PathBuf, Place, Record, UNIX_EPOCH, decode, encode};

    fn record() -> Record {
        Record {
            root: PathBuf::from("/work"),
            walked_at: UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456),
            cost: Duration::from_millis(250),
            directories: 30_000,
            complete: true,
            places: vec![
                Place { relative: PathBuf::new(), kind: Kind::WorkTree },
                Place { relative: PathBuf::from(OsStr::from_bytes(b"a/\xff\n b")), kind: Kind::Bare },
            ],
        }
    }

    #[test]
    fn what_is_saved_is_loaded_for_its_root_only() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::new(scratch.path());
        assert_eq!(cache.load(Path::new("/work")), None);
        cache.save(&record()).unwrap();
        assert_eq!(cache.load(Path::new("/work")), Some(record()));
        std::fs::copy(cache.file(Path::new("/work")), cache.file(Path::new("/other"))).unwrap();
        assert_eq!(cache.load(Path::new("/other")), None);
        assert_eq!(std::fs::read_dir(scratch.path().join("cache/repositories")).unwrap().count(), 2);
    }

    #[test]
    fn what_is_broken_is_nothing() {
        let whole = encode(&record());
        assert_eq!(decode(&whole), Some(record()));
        for length in 0..whole.len() {
            // Cut after a place, it is a shorter record; the file is replaced as a whole, so that nobody sees that.
            if let Some(shorter) = decode(&whole[..length]) {
                assert!(shorter.places.len() < record().places.len(), "{length}");
            }
        }
        let mut upwards = record();
        upwards.places[1].relative = PathBuf::from("../out");
        assert_eq!(decode(&encode(&upwards)), None);
        assert_eq!(decode(b"codex repositories 2\0"), None);
    }
}
