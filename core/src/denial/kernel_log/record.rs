//! One record of the kernel's audit log, as far as Landlock's refusals go.
//!
//! A record is `audit(SECONDS.MILLISECONDS:EVENT): ` and fields, `NAME=VALUE`, with blanks between them. What somebody else
//! chooses (a path, the name of a program) is in quotation marks, or, where it has a blank, a quotation mark or a control
//! character in it, in hexadecimal without them: so nothing in a value looks like a field.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

/// `AUDIT_SYSCALL` of `linux/audit.h`.
const CALL: u16 = 1300;
/// `AUDIT_LANDLOCK_ACCESS`.
const ACCESS: u16 = 1423;
/// `AUDIT_LANDLOCK_DOMAIN`.
const DOMAIN: u16 = 1424;

/// How many rights a refusal can name: more than there are.
const MOST_BLOCKERS: usize = 32;

/// A record, of a kind that is of use here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The event that it belongs to, with others of the same number.
    pub event: u64,
    /// When that was, since 1970.
    pub time: Duration,
    /// What it tells.
    pub body: Body,
}

/// What a record tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Landlock has refused something.
    Access {
        /// The domain that did.
        domain: u64,
        /// What.
        access: Access,
    },
    /// A domain has refused something for the first time.
    Domain {
        /// Its number.
        domain: u64,
        /// The process that took it on, by its number in the first PID namespace.
        process: i32,
        /// The program that this process ran then, by its path.
        program: OsString,
    },
    /// A domain that has refused something is gone: nobody is confined by it any more.
    Gone {
        /// Its number.
        domain: u64,
        /// How often it has refused something.
        refused: u64,
    },
    /// A system call has ended.
    Call {
        /// What it returned: less than zero for an error.
        exit: i32,
        /// The process that made it, by its number in the first PID namespace.
        process: i32,
        /// Its program, by the kernel's short name for it.
        program: OsString,
    },
}

/// What was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The rights that were missing, as the kernel names them: `fs.write_file`, `scope.signal`.
    pub blockers: Vec<String>,
    /// On what.
    pub object: Object,
}

/// On what something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A file, or the directory of a name: an absolute path, links followed.
    Path(OsString),
    /// A process, by its number in the first PID namespace.
    Process(i32),
}

impl Record {
    /// Reads a record. Nothing where it is of another kind, or of a form that is not known.
    #[must_use]
    pub fn parse(kind: u16, text: &[u8]) -> Option<Self> {
        if !matches!(kind, CALL | ACCESS | DOMAIN) {
            return None;
        }
        let text = text.strip_prefix(b"audit(")?;
        let end = text.iter().position(|byte| *byte == b')')?;
        let (stamp, fields) = text.split_at_checked(end)?;
        let (time, event) = stamped(stamp)?;
        let fields = fields.strip_prefix(b"): ")?;
        // The kernel ends some with a NUL byte.
        let fields = Fields(fields.strip_suffix(b"\0").unwrap_or(fields));
        let body = match kind {
            ACCESS => Body::Access { domain: fields.hexadecimal("domain")?, access: fields.access()? },
            CALL => Body::Call {
                exit: fields.number("exit")?,
                process: fields.number("pid")?,
                program: fields.text("comm")?,
            },
            _ => {
                let domain = fields.hexadecimal("domain")?;
                match fields.get("status")? {
                    b"allocated" => {
                        Body::Domain { domain, process: fields.number("pid")?, program: fields.text("exe")? }
                    }
                    b"deallocated" => Body::Gone { domain, refused: fields.number("denials")? },
                    _ => return None,
                }
            }
        };
        Some(Self { event, time, body })
    }
}

/// `SECONDS.MILLISECONDS:EVENT`.
fn stamped(stamp: &[u8]) -> Option<(Duration, u64)> {
    let (time, event) = std::str::from_utf8(stamp).ok()?.split_once(':')?;
    let (seconds, milliseconds) = time.split_once('.')?;
    let time = Duration::from_secs(seconds.parse().ok()?)
        .checked_add(Duration::from_millis(milliseconds.parse().ok()?))?;
    Some((time, event.parse().ok()?))
}

/// Fields with blanks between them.
#[derive(Clone, Copy)]
struct Fields<'t>(&'t [u8]);

impl<'t> Fields<'t> {
    /// The first value of this name.
    fn get(&self, name: &str) -> Option<&'t [u8]> {
        self.0
            .split(|byte| *byte == b' ')
            .find_map(|field| field.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        std::str::from_utf8(self.get(name)?).ok()?.parse().ok()
    }

    fn hexadecimal(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(std::str::from_utf8(self.get(name)?).ok()?, 16).ok()
    }

    /// What somebody else chose.
    fn text(&self, name: &str) -> Option<OsString> {
        let value = self.get(name)?;
        let bytes = match value.strip_prefix(b"\"") {
            Some(quoted) => quoted.strip_suffix(b"\"")?.to_vec(),
            None => bytes_of(value)?,
        };
        (!bytes.is_empty() && !bytes.contains(&0)).then(|| OsString::from_vec(bytes))
    }

    fn access(&self) -> Option<Access> {
        let blockers = std::str::from_utf8(self.get("blockers")?).ok()?;
        let blockers = blockers.split(',').take(MOST_BLOCKERS).map(str::to_owned).collect();
        let object = match self.text("path") {
            Some(path) if path.as_encoded_bytes().starts_with(b"/") => Object::Path(path),
            // A socket that is no file, or a path that is too long.
            Some(_) => return None,
            None => Object::Process(self.number("opid")?),
        };
        Some(Access { blockers, object })
    }
}

/// Two digits a byte.
fn bytes_of(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}
