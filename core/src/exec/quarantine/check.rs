//! The check after a call: what stands where nothing may stand, and which links say something else now.

use std::collections::HashMap;
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
use crate::policy::WatchedLink;
use crate::policy::protected::below::{open_place, open_root};
use crate::policy::protected::walk::Top;

/// Opens the roots that are still there.
pub(super) fn open_roots(paths: &[PathBuf]) -> Vec<Root> {
    let open = |path: &PathBuf| Some(Root { path: path.clone(), place: open_root(path).ok()? });
    paths.iter().filter_map(open).collect()
}

/// Takes away what has come to be where nothing may be, and puts links back.
pub(super) fn check(
    duties: &Duties,
    interval: Interval,
    roots: &[Root],
    keeper: &mut Keeper,
) -> Vec<Quarantined> {
    let mut found = Vec::new();
    let mut directories: HashMap<&Path, Result<(OwnedFd, Top), Errno>> = HashMap::new();
    for path in &duties.absent {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let Some((root, relative)) = root_of(roots, parent) else { continue };
        let opened = directories.entry(parent).or_insert_with(|| {
            let place = open_way(root, relative, &[interval])?;
            let top = Top::read(&place);
            Ok((place, top))
        });
        match opened {
            Ok((place, top)) => {
                if !top.lacks(name) && fstatat(&*place, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
                    let taken = keeper.take(place.as_fd(), parent, name);
                    found.extend(Quarantined::of(path.clone(), taken, Why::Appeared));
                }
            }
            Err(Errno::ENOENT) => {}
            // Where this path was looked at before the call, no link was on it.
            Err(Errno::ELOOP | Errno::ENOTDIR) => found.extend(take_link_on(root, relative, keeper)),
            Err(errno) => {
                found.extend(Quarantined::of(path.clone(), Taken::Stuck(*errno), Why::Appeared));
            }
        }
    }
    for link in &duties.links {
        found.extend(put_back(link, roots, keeper));
    }
    found
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
