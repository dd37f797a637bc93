//! The socket files that may be connected to.
//!
//! Each is held by a descriptor, and connections are made through that descriptor: whatever is looked up for a caller only
//! selects one of these. A wrong or outdated answer to "which file is this?" can lead to another socket of the sandbox's own,
//! and to no other. Held, a file's number can't be given to a new file either.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};

use crate::enforce::walk::Walk;
use crate::error::{SetupError, Step};
use crate::plan::PlanPath;

/// How many sockets of the sandbox's own are known at a time. The oldest is forgotten where there are more, after those
/// whose files are gone.
pub(super) const MOST: usize = 512;

/// A file by device and inode.
type Identity = (u64, u64);

/// The sockets.
#[derive(Debug)]
pub(super) struct Known {
    /// Sockets of the host that the plan names.
    allowed: BTreeMap<Identity, Arc<OwnedFd>>,
    /// Sockets that were bound inside, in the order in which they were.
    own: Mutex<Vec<(Identity, Arc<OwnedFd>)>>,
}

impl Known {
    /// Takes hold of the sockets that a plan names. One that is not there can't be connected to, even if it comes later.
    pub(super) fn allowed(places: &[PlanPath]) -> Result<Self, SetupError> {
        let mut walk = Walk::new(Step::Places);
        let mut allowed = BTreeMap::new();
        for place in places {
            let failed = |call| move |errno| SetupError::call(Step::Places, call, errno).on(place.path());
            let file = match walk.place(place.path()) {
                Ok(file) => file.try_clone_to_owned().map_err(|_full| failed("fcntl")(Errno::EMFILE))?,
                Err(error) if error.errno == Some(Errno::ENOENT) => continue,
                Err(error) => return Err(error),
            };
            match identity(&file).map_err(failed("fstat"))? {
                Some(identity) => allowed.insert(identity, Arc::new(file)),
                None => {
                    let error = SetupError::condition(Step::Places, "fstat", "this is no socket");
                    return Err(error.on(place.path()));
                }
            };
        }
        Ok(Self { allowed, own: Mutex::default() })
    }

    /// Adds a socket of the sandbox's own.
    pub(super) fn add(&self, file: OwnedFd) -> Result<(), Errno> {
        let Some(identity) = identity(&file)? else { return Err(Errno::ENOTSOCK) };
        let mut own = self.own();
        if own.iter().any(|(known, _)| *known == identity) {
            return Ok(());
        }
        if own.len() >= MOST {
            own.retain(|(_, file)| fstat(file).is_ok_and(|status| status.st_nlink > 0));
        }
        if own.len() >= MOST {
            own.remove(0);
        }
        own.push((identity, Arc::new(file)));
        Ok(())
    }

    /// The socket that is this file, if it may be connected to.
    pub(super) fn find(&self, file: &OwnedFd) -> Result<Option<Arc<OwnedFd>>, Errno> {
        let Some(wanted) = identity(file)? else {
            // What the kernel says to whoever connects to something else.
            return Err(Errno::ECONNREFUSED);
        };
        if let Some(file) = self.allowed.get(&wanted) {
            return Ok(Some(Arc::clone(file)));
        }
        Ok(self.own().iter().find(|(known, _)| *known == wanted).map(|(_, file)| Arc::clone(file)))
    }

    /// The descriptors that are held.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        self.allowed.values().map(AsRef::as_ref)
    }

    fn own(&self) -> MutexGuard<'_, Vec<(Identity, Arc<OwnedFd>)>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells a socket's file from all others, as long as it is held. Nothing for a file of another kind.
fn identity(file: impl AsFd) -> Result<Option<Identity>, Errno> {
    let status = fstat(file)?;
    let socket = SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFSOCK;
    Ok(socket.then_some((status.st_dev, status.st_ino)))
}
