//! Descriptors that come over a socket (`unix(7)`, `SCM_RIGHTS`).

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// More than anybody sends: a space that is too small would lose some in silence.
const MOST: usize = 16;

/// Takes the descriptors that came with the next byte, close-on-exec; none where the other side has closed. Never waits:
/// `EAGAIN` where nothing has come. `EBADMSG` for another number of them.
pub(crate) fn receive_descriptors(socket: BorrowedFd<'_>, count: usize) -> Result<Vec<OwnedFd>, Errno> {
    let mut byte = [0];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; MOST]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut space), flags)?;
    let mut descriptors = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            for number in numbers {
                // JUSTIFICATION: nix gives them as numbers that nobody owns.
                // SAFETY: the kernel has just opened it for us, so that nobody else owns it.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    match descriptors.len() {
        0 if received.bytes == 0 => Ok(descriptors),
        number if number == count => Ok(descriptors),
        _ => Err(Errno::EBADMSG),
    }
}
