//! Sockets that whoever has started this program listens at for it, as systemd does (`sd_listen_fds(3)`).

use std::os::fd::OwnedFd;

use codex_linux_sandbox::take_listeners;
use nix::errno::Errno;

use crate::world;

/// Why there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PassedError {
    #[error(
        "--listen systemd: no socket was passed to this process (LISTEN_PID, LISTEN_FDS); a socket unit passes some"
    )]
    None,
    #[error("--listen systemd: what was passed is no socket that listens: {}", .0.desc())]
    Listener(Errno),
}

/// Takes all of them, each with its name (`FileDescriptorName=`), or an empty one. To be called once, before anything is opened
/// whose number could be one of theirs.
pub(crate) fn passed_sockets() -> Result<Vec<(String, OwnedFd)>, PassedError> {
    let Some(said) = world::passed().filter(|said| said.process == std::process::id() && said.count > 0)
    else {
        return Err(PassedError::None);
    };
    let sockets = take_listeners(said.count).map_err(PassedError::Listener)?;
    let names = said.names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
    Ok(names.zip(sockets).collect())
}
