//! Writing a profile into the user's `config.toml`, the rest of which stays as it is, comments included.
//!
//! The text is edited as text, and then read: where it does not say what it said before and the profile beside it, nothing is
//! written. The file is replaced as a whole, by a new one beside it that is renamed, and no link is followed to it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use codex_linux_sandbox::shown;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstatat};
use nix::unistd::{Gid, UnlinkatFlags, fchown, fsync, unlinkat};

use super::escape::toml_key;
use super::source_file::{FILE_NAME, SIZE_LIMIT};

/// Why no profile was written.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It is in the way of a dotted key, or can't be typed.
    #[error("{0} is no name for a profile: letters, digits, `-` and `_` make one")]
    Name(String),
    /// There is one.
    #[error("{path} has a profile {name} already, which is left as it is; --replace-profile writes a new one in its place", path = shown(.path))]
    Exists {
        /// The file.
        path: PathBuf,
        /// The profile.
        name: String,
    },
    /// The profile can't be told from the rest by its lines.
    #[error("{path}: a profile can't be written there without changing something else: paste the lines by hand", path = shown(.0))]
    Form(PathBuf),
    /// Somebody could have put it there, or would lose it.
    #[error("{path}: {why}: nothing is written there; paste the lines by hand", path = shown(.path))]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Somebody wrote it meanwhile.
    #[error("{path} was changed meanwhile: nothing is written; try again", path = shown(.0))]
    Changed(PathBuf),
    /// It can't be read or written.
    #[error("{path}: {why}: no profile is written", path = shown(.path))]
    Io {
        /// The file, or its directory.
        path: PathBuf,
        /// The kernel's answer.
        why: io::Error,
    },
}

/// Writes the profile `name`, made of these lines, into the `config.toml` of a directory. One that is there already only where
/// `replace` says so. Returns the file. Waits for the disk.
///
/// # Errors
///
/// [`ProfileError`]: the file is as it was.
pub fn write_profile(
    codex_home: &Path,
    name: &str,
    lines: &str,
    replace: bool,
) -> Result<PathBuf, ProfileError> {
    let path = codex_home.join(FILE_NAME);
    let failed = |why: io::Error| ProfileError::Io { path: path.clone(), why };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(codex_home, flags, Mode::empty())
        .map_err(|errno| ProfileError::Io { path: codex_home.to_owned(), why: errno.into() })?;
    let found = read(&directory, &path)?;
    let (text, mode) = match &found {
        Some((text, status)) => (text.as_str(), status.mode() & 0o777),
        None => ("", 0o600),
    };
    let text = with_profile(text, name, lines, replace).map_err(|refused| match refused {
        Refused::Name => ProfileError::Name(shown(name)),
        Refused::Exists => ProfileError::Exists { path: path.clone(), name: name.to_owned() },
        Refused::Form => ProfileError::Form(path.clone()),
    })?;
    let beside = format!(".{FILE_NAME}-{}", std::process::id());
    let mut made = false;
    let written = (|| {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file =
            File::from(openat(&directory, beside.as_str(), flags, Mode::from_bits_truncate(0o600))?);
        made = true;
        // Its group first: what one may do by the mode is not for another.
        if let Some((_, status)) = &found {
            fchown(&file, None, Some(Gid::from_raw(status.gid())))?;
        }
        fchmod(&file, Mode::from_bits_truncate(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })();
    let renamed = written.map_err(failed).and_then(|()| {
        let now = fstatat(&directory, FILE_NAME, AtFlags::AT_SYMLINK_NOFOLLOW).ok();
        if !is_the_same(found.as_ref().map(|(_, status)| status), now.as_ref()) {
            return Err(ProfileError::Changed(path.clone()));
        }
        renameat(&directory, beside.as_str(), &directory, FILE_NAME).map_err(|errno| failed(errno.into()))
    });
    if renamed.is_err() {
        // What was planted there is not ours to take away.
        if made && let Err(_gone) = unlinkat(&directory, beside.as_str(), UnlinkatFlags::NoRemoveDir) {}
    }
    renamed?;
    // A file system that does not wait for a directory has written it all the same.
    if let Err(_unwaited) = fsync(&directory) {}
    Ok(path)
}

/// The file and what it is, where there is one and it is nobody else's.
fn read(
    directory: &impl std::os::fd::AsFd,
    path: &Path,
) -> Result<Option<(String, std::fs::Metadata)>, ProfileError> {
    let failed = |why: io::Error| ProfileError::Io { path: path.to_owned(), why };
    let foreign = |why| ProfileError::Foreign { path: path.to_owned(), why };
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = match openat(directory, FILE_NAME, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::ELOOP) => return Err(foreign("it is a symbolic link")),
        Err(errno) => return Err(failed(errno.into())),
    };
    let status = file.metadata().map_err(failed)?;
    if !status.is_file() {
        return Err(foreign("it is no file"));
    }
    if status.uid() != nix::unistd::geteuid().as_raw() {
        return Err(foreign("it belongs to another user"));
    }
    if status.nlink() > 1 {
        return Err(foreign("it has a second name, a hard link"));
    }
    let mut text = String::new();
    file.take(SIZE_LIMIT + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > SIZE_LIMIT {
        return Err(foreign("it is larger than 1 MiB"));
    }
    Ok(Some((text, status)))
}

fn is_the_same(then: Option<&std::fs::Metadata>, now: Option<&FileStat>) -> bool {
    match (then, now) {
        (None, None) => true,
        (Some(then), Some(now)) => {
            let identity = (then.dev(), then.ino()) == (now.st_dev, now.st_ino);
            let size = i64::try_from(then.size()).is_ok_and(|size| size == now.st_size);
            identity && size && (then.mtime(), then.mtime_nsec()) == (now.st_mtime, now.st_mtime_nsec)
        }
        _ => false,
    }
}

/// Why a text is not edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Name,
    Exists,
    Form,
}

/// The text with the profile at its end, and without the one of that name that it had.
fn with_profile(text: &str, name: &str, lines: &str, replace: bool) -> Result<String, Refused> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(Refused::Name);
    }
    let before: toml::Table = text.parse().map_err(|_not_toml| Refused::Form)?;
    let header = format!("[{}]", toml_key(&["profiles", name]));
    let block = format!("{header}\n{lines}");
    let wanted = profile(&block.parse().map_err(|_not_toml| Refused::Form)?, name).ok_or(Refused::Form)?;
    let mut whole = match profile(&before, name) {
        Some(_) if !replace => return Err(Refused::Exists),
        Some(_) => without_tables(text, name),
        None => text.to_owned(),
    };
    whole.truncate(whole.trim_end_matches(['\n', '\r']).len());
    if !whole.is_empty() {
        whole.push_str("\n\n");
    }
    whole.push_str(&block);
    let after: toml::Table = whole.parse().map_err(|_not_toml| Refused::Form)?;
    let is_whole = profile(&after, name) == Some(wanted)
        && without_profile(after, name) == without_profile(before, name);
    // What is longer nobody would read any more.
    let is_whole = is_whole && whole.len() as u64 <= SIZE_LIMIT;
    is_whole.then_some(whole).ok_or(Refused::Form)
}

fn profile(document: &toml::Table, name: &str) -> Option<toml::Value> {
    document.get("profiles")?.get(name).cloned()
}

fn without_profile(mut document: toml::Table, name: &str) -> toml::Table {
    let is_empty = match document.get_mut("profiles") {
        Some(toml::Value::Table(profiles)) => {
            profiles.remove(name);
            profiles.is_empty()
        }
        _ => false,
    };
    if is_empty {
        document.remove("profiles");
    }
    document
}

/// The text without the tables of a profile, from each header to the last line that says something. What stands behind that, or
/// anywhere else, stays.
fn without_tables(text: &str, name: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut inside = false;
    // What may belong to the header that comes next.
    let mut pending = String::new();
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if let Some(is_its) = header_of(trimmed, name) {
            inside = is_its;
        }
        match (inside, trimmed.is_empty() || trimmed.starts_with('#')) {
            (true, true) => pending.push_str(line),
            (true, false) => pending.clear(),
            (false, _) => {
                kept.push_str(&std::mem::take(&mut pending));
                kept.push_str(line);
            }
        }
    }
    kept.push_str(&pending);
    kept
}

/// Whether a line is the header of a table, and then whether of the profile's.
fn header_of(line: &str, name: &str) -> Option<bool> {
    let document: toml::Table = line.starts_with('[').then(|| line.parse().ok()).flatten()?;
    Some(profile(&document, name).is_some())
}

#[cfg(test)]
mod tests;
