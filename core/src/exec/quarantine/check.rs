//! The check after a call: what stands where nothing may stand, and which links say something else now.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::{SFlag, fstatat};
use nix::unistd::symlinkat;

use super::closed::open_way;
use super::harmless::{Root, kind_of, root_of};
use super::journal::{Duties, Interval};
use super::keeper::{Keeper, Taken};
use super::{Quarantined, Why};
use crate::policy::protected::below::{open_place, open_root};
use crate::policy::protected::seen::Unchanged;
use crate::policy::protected::walk::Top;
use crate::policy::{AbsentNames, WatchedLink};

/// Opens the roots that are still there.
pub(super) fn open_roots(paths: &[PathBuf]) -> Vec<Root> {
    let open = |path: &PathBuf| Some(Root { path: path.clone(), place: open_root(path).ok()? });
    paths.iter().filter_map(open).collect()
}

/// Takes away what has come to be where nothing may be, and puts links back. Directories that are `unchanged` are not
/// looked into.
pub(super) fn check(
    duties: &Duties,
    interval: Interval,
    unchanged: &Unchanged,
    roots: &[Root],
    keeper: &mut Keeper,
) -> Vec<Quarantined> {
    let mut look = Look { interval, roots, keeper, found: Vec::new() };
    for absent in duties.absent.iter().filter(|absent| !unchanged.holds(&absent.directory)) {
        look.at(absent);
    }
    let Look { mut found, .. } = look;
    for link in &duties.links {
        found.extend(put_back(link, roots, keeper));
    }
    found
}

/// A look at what must not be there.
struct Look<'a> {
    interval: Interval,
    roots: &'a [Root],
    keeper: &'a mut Keeper,
    found: Vec<Quarantined>,
}

impl Look<'_> {
    fn at(&mut self, AbsentNames { directory, names }: &AbsentNames) {
        let Some(top) = self.open(directory) else { return };
        for name in names.iter().filter(|name| !name.iter().next().is_some_and(|first| top.1.lacks(first))) {
            match (name.parent(), name.file_name()) {
                (Some(above), Some(name)) if above.as_os_str().is_empty() => self.take(&top, directory, name),
                (Some(above), Some(name)) => {
                    let directory = directory.join(above);
                    if let Some(inner) = self.open(&directory) {
                        self.take(&inner, &directory, name);
                    }
                }
                _ => {}
            }
        }
    }

    /// Opens a directory that may not be what it was.
    fn open(&mut self, directory: &Path) -> Option<(OwnedFd, Top)> {
        let (root, relative) = root_of(self.roots, directory)?;
        match open_way(root, relative, &[self.interval]) {
            Ok(place) => {
                let top = Top::read(&place);
                return Some((place, top));
            }
            Err(Errno::ENOENT) => {}
            // Where this path was looked at before the call, no link was on it.
            Err(Errno::ELOOP | Errno::ENOTDIR) => {
                self.found.extend(take_link_on(root, relative, self.keeper));
            }
            Err(errno) => {
                let path = directory.to_owned();
                self.found.extend(Quarantined::of(path, Taken::Stuck(errno), Why::Appeared));
            }
        }
        None
    }

    fn take(&mut self, (place, top): &(OwnedFd, Top), directory: &Path, name: &OsStr) {
        if !top.lacks(name) && fstatat(place, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
            let taken = self.keeper.take(place.as_fd(), directory, name);
            self.found.extend(Quarantined::of(directory.join(name), taken, Why::Appeared));
        }
    }
}

/// Takes the first link on a way below a root.
fn take_link_on(root: &Root, relative: &Path, keeper: &mut Keeper) -> Option<Quarantined> {
    let mut so_far = PathBuf::new();
    for component in relative.components() {
        let Component::Normal(name) = component else { return None };
        let place = open_place(&root.place, &so_far).ok()?;
        let status = fstatat(&place, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        let directory = root.path.join(&so_far);
        so_far.push(name);
        if kind_of(status.st_mode) == SFlag::S_IFLNK {
            let taken = keeper.take(place.as_fd(), &directory, name);
            return Quarantined::of(root.path.join(&so_far), taken, Why::Appeared);
        }
    }
    None
}

fn put_back(link: &WatchedLink, roots: &[Root], keeper: &mut Keeper) -> Option<Quarantined> {
    let (root, relative) = root_of(roots, &link.path)?;
    let (parent, name) = (relative.parent()?, relative.file_name()?);
    let place = open_place(&root.place, parent).ok()?;
    if readlinkat(&place, name).is_ok_and(|target| target == link.target.as_os_str()) {
        return None;
    }
    let directory = link.path.parent().unwrap_or(&root.path);
    let taken = keeper.take(place.as_fd(), directory, name);
    if let Err(errno) = symlinkat::<_, OsStr, OsStr>(link.target.as_os_str(), &place, name) {
        return Quarantined::of(link.path.clone(), Taken::Stuck(errno), Why::LinkReplaced);
    }
    Some(Quarantined {
        path: link.path.clone(),
        kept_at: match taken {
            Taken::Kept(at) => Some(at),
            Taken::Gone | Taken::Stuck(_) => None,
        },
        why: Why::LinkReplaced,
        stuck: None,
    })
}
