//! What a stopped thread means by the arguments of its call, read from it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::attempt::What;
use super::call::{self, Act, Named, Object};
use super::own::own;
use super::place::place;
use crate::sys::trace::Called;

/// `PATH_MAX` of `linux/limits.h`: the kernel reads no longer path.
const LONGEST_PATH: usize = 4096;
/// `sizeof(struct sockaddr_storage)`: the kernel takes no longer address.
const LONGEST_ADDRESS: usize = 128;
/// Reading goes no further at a time: what follows a page may not be there.
const PAGE: usize = 4096;
/// Most paths are shorter.
const FIRST_PIECE: usize = 256;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    act: Act,
    seen: Seen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    File(File),
    Files(File, File),
    Address(Vec<u8>),
    Process(i32),
}

/// A file by its name and where that starts, or by what is open under a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum File {
    Named { directory: i32, path: Vec<u8> },
    Open(i32),
}

impl Look {
    /// Reads what a call names. Nothing where it can't be read, or the call is none that is watched.
    pub(super) fn at(thread: Pid, called: &Called) -> Option<Self> {
        let (act, object) = call::of(called)?;
        let seen = match object {
            Object::File(file) => Seen::File(File::at(thread, file)?),
            Object::Files(first, second) => Seen::Files(File::at(thread, first)?, File::at(thread, second)?),
            Object::Address { at, length } => {
                let length =
                    usize::try_from(call::lower(length)).ok().filter(|length| *length <= LONGEST_ADDRESS)?;
                Seen::Address(bytes_at(thread, at, length)?)
            }
            Object::Process(number) => Seen::Process(number),
            Object::ProcessOpen(number) => Seen::Process(process_open(thread, number)?),
        };
        Some(Self { act, seen })
    }

    /// The file or two that it is about.
    pub(super) const fn files(&self) -> Option<(&File, Option<&File>)> {
        match &self.seen {
            Seen::File(file) => Some((file, None)),
            Seen::Files(first, second) => Some((first, Some(second))),
            Seen::Address(_) | Seen::Process(_) => None,
        }
    }

    /// Where that is: absolute paths, as the thread would find them now. Links are followed where they may be gone later.
    pub(super) fn resolve(self, thread: Pid, links_go: bool) -> Option<What> {
        let Self { act, seen } = self;
        let follow = !matches!(act, Act::Remove | Act::Rename | Act::Link | Act::MetadataOfLink);
        // Whether looking goes to the link itself is not known.
        let leads = follow && act != Act::Read;
        let placed = |path: &OsString| place(thread, Path::new(path), follow).map(PathBuf::into_os_string);
        let placed = |path: &OsString| links_go.then(|| placed(path)).flatten();
        Some(match seen {
            Seen::File(file) => {
                let target = file.resolve(thread, leads)?;
                What { places: [placed(&target), None], ..What::new(act, target) }
            }
            Seen::Files(first, second) => {
                let (target, second) = (first.resolve(thread, leads)?, second.resolve(thread, leads)?);
                let places = [placed(&target), placed(&second)];
                What { second: Some(second), places, ..What::new(act, target) }
            }
            Seen::Address(address) => {
                let (act, target) = address_named(act, &address, thread)?;
                What::new(act, target)
            }
            Seen::Process(number) => What::new(act, number.to_string().into()),
        })
    }
}

impl File {
    fn at(thread: Pid, named: Named) -> Option<Self> {
        Some(match named {
            Named::Path { at } => Self::Named { directory: libc::AT_FDCWD, path: path_at(thread, at)? },
            Named::PathIn { directory, at } => match path_at(thread, at)? {
                // What is open itself (`AT_EMPTY_PATH`).
                path if path.is_empty() && directory >= 0 => Self::Open(directory),
                path => Self::Named { directory, path },
            },
            Named::Descriptor(number) => Self::Open(number),
        })
    }

    /// `leads`: whether a link that stands last is followed.
    fn resolve(&self, thread: Pid, leads: bool) -> Option<OsString> {
        match self {
            Self::Open(number) => link(thread, &format!("fd/{number}")).map(PathBuf::into_os_string),
            Self::Named { path, .. } if path.is_empty() => None,
            Self::Named { directory, path } => {
                Some(own(thread, absolute(thread, *directory, path)?, leads).into_os_string())
            }
        }
    }

    /// The directory that the last name stands in, by where that starts and what of the path is before it. Nothing where what
    /// comes last is no name but a way up, or a slash.
    pub(super) fn above(&self) -> Option<(i32, &[u8])> {
        let Self::Named { directory, path } = self else { return None };
        let length = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (above, name) = path.split_at_checked(length)?;
        (!matches!(name, b"" | b"." | b"..")).then_some((*directory, above))
    }

    /// Its name, if it has one.
    pub(super) fn path(&self) -> Option<&Path> {
        let Self::Named { path, .. } = self else { return None };
        Some(Path::new(OsStr::from_bytes(path)))
    }

    /// The kernel's link to the directory of the thread's that its name starts in, if it does not start at the root.
    pub(super) fn start(&self, thread: Pid) -> Option<PathBuf> {
        let Self::Named { directory, path } = self else { return None };
        (path.first() != Some(&b'/')).then(|| of(thread, &start(*directory)))
    }

    /// Its name as seen from the root.
    pub(super) fn whole(&self, thread: Pid) -> Option<PathBuf> {
        let Self::Named { directory, path } = self else { return None };
        absolute(thread, *directory, path)
    }
}

/// A path as seen from the root.
fn absolute(thread: Pid, directory: i32, path: &[u8]) -> Option<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path));
    if path.is_absolute() {
        return Some(path.to_owned());
    }
    Some(link(thread, &start(directory))?.join(path))
}

/// Where a path starts that is relative to a directory.
fn start(directory: i32) -> String {
    match directory {
        libc::AT_FDCWD => "cwd".to_owned(),
        number => format!("fd/{number}"),
    }
}

/// The number, as seen from here, of the process that a thread has open. Nothing where it is none, or has ended.
fn process_open(thread: Pid, number: i32) -> Option<i32> {
    let about = fs::read_to_string(format!("/proc/{thread}/fdinfo/{number}")).ok()?;
    let process = about.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (process > 0).then_some(process)
}

/// What a link of the kernel's says about a thread. Nothing where it is no path.
fn link(thread: Pid, name: &str) -> Option<PathBuf> {
    fs::read_link(of(thread, name)).ok().filter(|path| path.is_absolute())
}

fn of(thread: Pid, name: &str) -> PathBuf {
    format!("/proc/{thread}/{name}").into()
}

/// What is meant by an address: a host and a port, or the path of a unix socket.
pub(crate) fn address_named(act: Act, address: &[u8], thread: Pid) -> Option<(Act, OsString)> {
    let (family, rest) = address.split_first_chunk()?;
    let port = |rest: &[u8]| rest.first_chunk().map(|port| u16::from_be_bytes(*port));
    let host: SocketAddr = match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => (Ipv4Addr::from(*rest.get(2..)?.first_chunk::<4>()?), port(rest)?).into(),
        libc::AF_INET6 => (Ipv6Addr::from(*rest.get(6..)?.first_chunk::<16>()?), port(rest)?).into(),
        libc::AF_UNIX => {
            let path = rest.split(|byte| *byte == 0).next().filter(|path| !path.is_empty())?;
            let act = if act == Act::Connect { Act::Unix } else { Act::Create };
            return Some((act, absolute(thread, libc::AT_FDCWD, path)?.into_os_string()));
        }
        _ => return None,
    };
    (act == Act::Connect).then(|| (act, host.to_string().into()))
}

/// The process that a thread belongs to, and its program.
pub(super) fn who(thread: Pid) -> (i32, OsString) {
    let status = fs::read(format!("/proc/{thread}/status")).unwrap_or_default();
    let field = |name: &[u8]| {
        let mut lines = status.split(|byte| *byte == b'\n');
        lines.find_map(|line| line.strip_prefix(name)).map(<[u8]>::trim_ascii)
    };
    let process = field(b"Tgid:").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    let program = field(b"Name:").map(<[u8]>::to_vec).unwrap_or_default();
    (process.unwrap_or(thread.as_raw()), OsString::from_vec(program))
}

/// A path in the memory of a thread, without its NUL.
fn path_at(thread: Pid, address: u64) -> Option<Vec<u8>> {
    let mut path = Vec::new();
    while path.len() < LONGEST_PATH {
        let start = address.checked_add(path.len() as u64)?;
        let offset = usize::try_from(start % PAGE as u64).ok()?;
        let most = if path.is_empty() { FIRST_PIECE } else { PAGE };
        let piece = bytes_at(thread, start, most.min(PAGE - offset))?;
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            path.extend_from_slice(piece.get(..end)?);
            return Some(path);
        }
        path.extend_from_slice(&piece);
    }
    None
}

fn bytes_at(thread: Pid, address: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let remote = [RemoteIoVec { base: usize::try_from(address).ok()?, len: length }];
    let read = process_vm_readv(thread, &mut [IoSliceMut::new(&mut bytes)], &remote).ok()?;
    (read == length).then_some(bytes)
}
