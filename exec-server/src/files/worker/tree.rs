//! What is in directories.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use codex_linux_sandbox::shown;
use nix::dir::Type;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, fstatat};

use super::place::{Follow, There, find, find_from, identity, kind, look, name_of, names};
use crate::files::order::{Failure, WalkOptions};
use crate::protocol::{
    DirectoryEntry, FileUri, ReadDirectoryResult, WalkEntry, WalkError, WalkKind, WalkResult,
};

fn directory(path: &Path) -> Result<There, Failure> {
    let failed = |errno| Failure::of(path, errno);
    let there = find(path, Follow::All).map_err(failed)?.there.ok_or_else(|| failed(Errno::ENOENT))?;
    if !there.is_directory() {
        return Err(Failure::invalid(format!("{} is no directory", shown(path))));
    }
    Ok(there)
}

/// The names in a directory, sorted. Links are what they lead to, and those that lead nowhere are left out.
pub(super) fn list(path: &Path, most: u64) -> Result<ReadDirectoryResult, Failure> {
    let failed = |errno| Failure::of(path, errno);
    let there = directory(path)?;
    let mut entries = Vec::new();
    for entry in names(&there).map_err(failed)?.iter() {
        let entry = entry.map_err(failed)?;
        let Some(name) = name_of(&entry) else { continue };
        let file_type = match entry.file_type() {
            Some(Type::Directory) => SFlag::S_IFDIR,
            Some(Type::File) => SFlag::S_IFREG,
            Some(Type::Symlink) | None => match fstatat(&there.handle, name.as_os_str(), AtFlags::empty()) {
                Ok(status) => kind(&status),
                Err(_gone_or_dangling) => continue,
            },
            Some(_) => SFlag::S_IFIFO,
        };
        if u64::try_from(entries.len()).unwrap_or(u64::MAX) >= most {
            return Err(Failure::invalid(format!(
                "{} has more than {most} entries, which are the most that are listed at once; fs/walk stops where it is told",
                shown(path)
            )));
        }
        entries.push(DirectoryEntry {
            file_name: name.to_string_lossy().into_owned(),
            is_directory: file_type == SFlag::S_IFDIR,
            is_file: file_type == SFlag::S_IFREG,
        });
    }
    entries.sort_by(|one, other| one.file_name.cmp(&other.file_name));
    Ok(ReadDirectoryResult { entries })
}

/// A walk under way.
struct Walk {
    options: WalkOptions,
    result: WalkResult,
    /// The directory that it began at, and its path as the client has it.
    path: PathBuf,
    /// Directories that are still to be read, by their paths below the first one, and how deep each lies.
    ahead: VecDeque<(PathBuf, u64)>,
    seen: HashSet<(u64, u64)>,
    read: u64,
}

/// What lies below a directory: breadth first, names sorted. Links to files are left out.
pub(super) fn walk(path: &Path, options: WalkOptions) -> Result<WalkResult, Failure> {
    let start = directory(path)?;
    let result = WalkResult { entries: Vec::new(), errors: Vec::new(), truncated: false };
    let mut walk = Walk {
        options,
        result,
        path: path.to_owned(),
        ahead: VecDeque::new(),
        seen: HashSet::from([identity(&start.status)]),
        read: 0,
    };
    walk.read(Path::new(""), &start, 0).map_err(|errno| Failure::of(path, errno))?;
    while let Some((path, depth)) = walk.ahead.pop_front() {
        if walk.result.truncated {
            break;
        }
        // Opened when it is its turn: as many directories as there are could not all be held.
        let follow = if walk.options.follow_directory_symlinks { Follow::All } else { Follow::Nothing };
        let again = start.handle.try_clone().map_err(|_full| Errno::EMFILE);
        let opened = again.and_then(|start| find_from(start, &path, follow));
        let read = match opened.and_then(|place| place.there.ok_or(Errno::ENOENT)) {
            // What was a directory may be something else by now.
            Ok(there) if there.is_directory() => walk.read(&path, &there, depth),
            Ok(_) => Ok(()),
            Err(errno) => Err(errno),
        };
        if let Err(errno) = read {
            walk.failed(&path, errno);
        }
    }
    Ok(walk.result)
}

impl Walk {
    fn failed(&mut self, path: &Path, errno: Errno) {
        if let Some(uri) = FileUri::of(&self.path.join(path)) {
            self.result
                .errors
                .push(WalkError { path: uri, message: std::io::Error::from(errno).to_string() });
        }
    }

    fn read(&mut self, path: &Path, directory: &There, depth: u64) -> Result<(), Errno> {
        if depth >= self.options.max_depth {
            return Ok(());
        }
        if self.read >= self.options.max_directories {
            self.result.truncated = true;
            return Ok(());
        }
        self.read += 1;
        let mut found = Vec::new();
        // Beyond what may be told, more names would only cost memory.
        let room = usize::try_from(self.options.max_entries).unwrap_or(usize::MAX).saturating_mul(4);
        for entry in names(directory)?.iter() {
            if let Some(name) = name_of(&entry?) {
                if found.len() >= room {
                    self.result.truncated = true;
                    break;
                }
                found.push(name);
            }
        }
        found.sort();
        for name in found {
            self.entry(path, directory, &name, depth + 1);
        }
        Ok(())
    }

    fn entry(&mut self, above: &Path, directory: &There, name: &OsStr, depth: u64) {
        // What has gone since is not there.
        let Ok(there) = look(directory.handle.as_fd(), name) else { return };
        let path = above.join(name);
        let status = if there.is_link() {
            if !self.options.follow_directory_symlinks {
                return;
            }
            match fstatat(&directory.handle, name, AtFlags::empty()) {
                Ok(status) if kind(&status) == SFlag::S_IFDIR => status,
                _ => return,
            }
        } else {
            there.status
        };
        let is_directory = kind(&status) == SFlag::S_IFDIR;
        if !is_directory && kind(&status) != SFlag::S_IFREG {
            return;
        }
        if is_directory && self.options.prune_hidden_directories && name.as_bytes().starts_with(b".") {
            return;
        }
        let told = u64::try_from(self.result.entries.len()).unwrap_or(u64::MAX);
        if told >= self.options.max_entries {
            self.result.truncated = true;
            return;
        }
        let kind = if is_directory { WalkKind::Directory } else { WalkKind::File };
        if let Some(path) = FileUri::of(&self.path.join(&path)) {
            self.result.entries.push(WalkEntry { path, kind });
        }
        // Each directory once, whatever leads to it.
        if is_directory && self.seen.insert(identity(&status)) {
            self.ahead.push_back((path, depth));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::{WalkOptions, list, walk};

    fn options() -> WalkOptions {
        WalkOptions {
            max_depth: 6,
            max_directories: 100,
            max_entries: 100,
            follow_directory_symlinks: true,
            prune_hidden_directories: true,
        }
    }

    #[test]
    fn a_walk_goes_no_further_than_it_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("b/deep/deeper")).unwrap();
        std::fs::create_dir(top.join(".hidden")).unwrap();
        std::fs::write(top.join("a"), "").unwrap();
        std::fs::write(top.join("b/deep/c"), "").unwrap();
        symlink("a", top.join("file-link")).unwrap();
        symlink(".", top.join("loop")).unwrap();
        symlink("b/deep", top.join("z")).unwrap();
        let names = |options| {
            let result = walk(&top, options).unwrap();
            let names: Vec<String> = result
                .entries
                .iter()
                .map(|entry| entry.path.path().strip_prefix(&top).unwrap().display().to_string())
                .collect();
            (names.join(" "), result.truncated)
        };
        // `b/deep` is read once, by the path that was come to first.
        assert_eq!(names(options()), ("a b loop z b/deep z/c z/deeper".to_owned(), false));
        let plain =
            WalkOptions { follow_directory_symlinks: false, prune_hidden_directories: false, ..options() };
        assert_eq!(names(plain), (".hidden a b b/deep b/deep/c b/deep/deeper".to_owned(), false));
        assert_eq!(names(WalkOptions { max_depth: 1, ..options() }), ("a b loop z".to_owned(), false));
        assert_eq!(names(WalkOptions { max_entries: 2, ..options() }), ("a b".to_owned(), true));
        assert_eq!(names(WalkOptions { max_directories: 1, ..options() }), ("a b loop z".to_owned(), true));
    }

    #[test]
    fn a_list_says_what_links_lead_to_and_is_bounded() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path();
        std::fs::create_dir(top.join("directory")).unwrap();
        symlink("directory", top.join("link")).unwrap();
        symlink("nowhere", top.join("dangling")).unwrap();
        nix::unistd::mkfifo(&top.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(top.join("file"), "").unwrap();
        let found: Vec<_> = list(top, 4).unwrap().entries;
        let found: Vec<_> =
            found.iter().map(|entry| (&*entry.file_name, entry.is_directory, entry.is_file)).collect();
        assert_eq!(
            found,
            [
                ("directory", true, false),
                ("fifo", false, false),
                ("file", false, true),
                ("link", true, false)
            ]
        );
        assert!(list(top, 3).unwrap_err().message.contains("more than 3 entries"));
        assert!(list(&top.join("file"), 3).unwrap_err().message.contains("is no directory"));
    }
}
