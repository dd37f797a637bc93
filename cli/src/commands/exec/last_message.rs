//! `-o FILE`: where the last message is written, which is found before anything runs.
//!
//! This program is in no sandbox. Where a command can write, it could have put a link at a name that is written afterwards,
//! and the message, which the model writes, would go wherever that leads. Therefore the way is looked at before the run, no link
//! that a command could have made is followed, and from then on the directory is known by its descriptor.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use codex_core::policy::{Way, way};
use codex_linux_sandbox::shown;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl, openat};
use nix::sys::stat::Mode;
use tokio::sync::oneshot;

/// Directories on the way are opened to lead on, and for nothing else.
const ON_THE_WAY: OFlag =
    OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// Opening waits for nobody, and follows nothing.
const AT_THE_END: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_CREAT)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_CLOEXEC);

/// Why the last message can't be written to a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LastMessageError {
    #[error(
        "{path} leads through the link {link}, which a command could have made: name the place that it leads to",
        path = shown(.path), link = shown(.link)
    )]
    Link { path: PathBuf, link: PathBuf },
    #[error("{} is no regular file, and lies where commands can write", shown(.0))]
    NotAFile(PathBuf),
    #[error("{} has another name as well, and lies where commands can write", shown(.0))]
    OtherNames(PathBuf),
    #[error("{} is a pipe that nobody reads", shown(.0))]
    Unread(PathBuf),
    #[error("{} is a socket, which can't be opened as files are", shown(.0))]
    Socket(PathBuf),
    #[error("{path}: {error}", path = shown(.path))]
    Io { path: PathBuf, error: std::io::Error },
}

/// The place of the last message.
#[derive(Debug)]
pub(super) struct LastMessage {
    /// As it was named.
    path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A pipe, a terminal, `/dev/null`: nothing that could be exchanged.
    Open(File),
    /// A file, made where it is not there.
    Beneath { directory: OwnedFd, name: OsString, among_commands: bool },
}

impl LastMessage {
    /// Finds the place. Makes and changes nothing.
    ///
    /// `writable` are the places below which commands can write, or have been able to: absolute, without links. Where everything
    /// is, nothing is kept from them, and there are none.
    pub(super) fn find(path: &Path, writable: &[PathBuf]) -> Result<Self, LastMessageError> {
        let failed = |error: std::io::Error| LastMessageError::Io { path: path.to_owned(), error };
        let among_commands = |place: &Path| writable.iter().any(|root| place.starts_with(root));
        let absolute = std::path::absolute(path).map_err(failed)?;
        let Way { end, links } = way(&absolute).map_err(|errno| failed(errno.into()))?;
        if let Some(link) = links.into_iter().find(|link| among_commands(link)) {
            return Err(LastMessageError::Link { path: path.to_owned(), link });
        }
        let among_commands = among_commands(&end);
        match absolute.metadata() {
            Ok(status) if status.is_dir() => return Err(failed(Errno::EISDIR.into())),
            Ok(status) if !status.is_file() && among_commands => {
                return Err(LastMessageError::NotAFile(path.to_owned()));
            }
            Ok(status) if status.file_type().is_socket() => {
                return Err(LastMessageError::Socket(path.to_owned()));
            }
            // What a link in `/proc` names has no other way to it.
            Ok(status) if !status.is_file() => {
                // Nobody is waited for: a pipe that nobody reads is told of.
                let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
                let file = OpenOptions::new().write(true).custom_flags(flags.bits()).open(&absolute);
                let file = match file {
                    // A device that is not there is told of in the same way.
                    Err(error)
                        if status.file_type().is_fifo()
                            && error.raw_os_error() == Some(Errno::ENXIO as i32) =>
                    {
                        return Err(LastMessageError::Unread(path.to_owned()));
                    }
                    file => file.map_err(failed)?,
                };
                fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())).map_err(|errno| failed(errno.into()))?;
                return Ok(Self { path: path.to_owned(), place: Place::Open(file) });
            }
            Ok(_) | Err(_) => {}
        }
        let (Some(parent), Some(name)) = (end.parent(), end.file_name()) else {
            return Err(failed(Errno::EISDIR.into()));
        };
        let directory = directory(parent).map_err(|errno| failed(errno.into()))?;
        let place = Place::Beneath { directory, name: name.to_owned(), among_commands };
        Ok(Self { path: path.to_owned(), place })
    }

    /// Writes the message from a thread of its own: a pipe takes it as somebody reads it.
    pub(super) fn write_aside(
        self,
        message: String,
    ) -> Result<oneshot::Receiver<Result<(), LastMessageError>>, LastMessageError> {
        let path = self.path.clone();
        let (tell, written) = oneshot::channel();
        let writing = move || if let Err(_gone) = tell.send(self.write(&message)) {};
        match std::thread::Builder::new().name("last message".to_owned()).spawn(writing) {
            Ok(_thread) => Ok(written),
            Err(error) => Err(LastMessageError::Io { path, error }),
        }
    }

    /// Writes the message, in the place of what was there.
    fn write(self, message: &str) -> Result<(), LastMessageError> {
        let Self { path, place } = self;
        let mut file = match place {
            Place::Open(file) => file,
            Place::Beneath { directory, name, among_commands } => {
                let mode = Mode::from_bits_truncate(0o666);
                let opened = openat(directory.as_fd(), name.as_os_str(), AT_THE_END, mode);
                let file = match opened {
                    Ok(file) => File::from(file),
                    // A link, a socket, a pipe that nobody reads.
                    Err(Errno::ELOOP | Errno::ENXIO) => return Err(LastMessageError::NotAFile(path)),
                    Err(errno) => return Err(LastMessageError::Io { path, error: errno.into() }),
                };
                match file.metadata() {
                    Ok(status) if !status.is_file() => return Err(LastMessageError::NotAFile(path)),
                    // Its other name may be one that the host trusts.
                    Ok(status) if among_commands && status.nlink() > 1 => {
                        return Err(LastMessageError::OtherNames(path));
                    }
                    Ok(_) => {}
                    Err(error) => return Err(LastMessageError::Io { path, error }),
                }
                if let Err(error) = file.set_len(0) {
                    return Err(LastMessageError::Io { path, error });
                }
                file
            }
        };
        file.write_all(message.as_bytes()).map_err(|error| LastMessageError::Io { path, error })
    }
}

/// Opens a directory, one name after the other: its path has no links, and gets none on the way.
fn directory(path: &Path) -> Result<OwnedFd, Errno> {
    let mut deepest = openat(AT_FDCWD, "/", ON_THE_WAY, Mode::empty())?;
    for component in path.components() {
        if let Component::Normal(name) = component {
            deepest = openat(deepest.as_fd(), name, ON_THE_WAY, Mode::empty())?;
        }
    }
    Ok(deepest)
}
