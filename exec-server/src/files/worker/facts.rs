//! What there is to say of a path.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use codex_linux_sandbox::shown;
use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::place::{Follow, Place, find, find_from, path_of};
use crate::files::order::{Failure, FailureKind};
use crate::protocol::{CanonicalizeResult, FileUri, MetadataResult};

/// Follows links, and says whether the path itself is one; without following, says what the last name is.
pub(super) fn metadata(path: &Path, follow: bool) -> Result<MetadataResult, Failure> {
    let failed = |errno| Failure::of(path, errno);
    let place = find(path, Follow::way(follow)).map_err(failed)?;
    let there = place.there.ok_or_else(|| failed(Errno::ENOENT))?;
    let is_symlink = there.is_link();
    let there = match (place.name, is_symlink && follow) {
        (Some((directory, name)), true) => {
            let led = find_from(directory, Path::new(&name), Follow::All).map_err(failed)?;
            led.there.ok_or_else(|| failed(Errno::ENOENT))?
        }
        _ => there,
    };
    let kind = there.kind();
    let file = File::from(there.handle);
    let details = file.metadata().map_err(|error| failed(errno(&error)))?;
    Ok(MetadataResult {
        is_directory: kind == SFlag::S_IFDIR,
        is_file: kind == SFlag::S_IFREG,
        is_symlink,
        size: details.len(),
        created_at_ms: details.created().map_or(0, milliseconds),
        modified_at_ms: details.modified().map_or(0, milliseconds),
    })
}

/// Before 1970 is below 0.
fn milliseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |before| -before),
    }
}

/// The path that the kernel knows what is there by.
pub(super) fn canonicalize(path: &Path) -> Result<CanonicalizeResult, Failure> {
    let failed = |errno| Failure::of(path, errno);
    let Place { there, .. } = find(path, Follow::All).map_err(failed)?;
    let there = there.ok_or_else(|| failed(Errno::ENOENT))?;
    let found = path_of(there.handle.as_fd());
    let path = found.as_deref().and_then(FileUri::of).ok_or_else(|| Failure {
        kind: FailureKind::Other,
        message: format!("{} has no path of its own", shown(path)),
    })?;
    Ok(CanonicalizeResult { path })
}

pub(super) fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
