//! What a first process is told to run, as bytes: the helper's arguments, then the command's environment.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use nix::errno::Errno;

use crate::error::{Failure, SetupError, Step};
use crate::handoff::EnvironmentBlock;
use crate::plan::Invocation;
use crate::wire;

/// The length of the arguments, which stands before them.
pub(crate) const HEAD: usize = size_of::<u64>();

/// Writes orders.
pub(crate) fn encode(invocation: &Invocation, environment: &EnvironmentBlock) -> Vec<u8> {
    let mut message = vec![0; HEAD];
    for argument in wire::encode(invocation) {
        message.extend_from_slice(argument.as_bytes());
        message.push(0);
    }
    let arguments = u64::try_from(message.len() - HEAD).unwrap_or(u64::MAX).to_le_bytes();
    for (place, byte) in message.iter_mut().zip(arguments) {
        *place = byte;
    }
    message.extend_from_slice(environment.as_bytes());
    message
}

/// Reads orders: how long the arguments are, and all that follows.
pub(crate) fn decode(
    arguments: [u8; HEAD],
    message: &[u8],
) -> Result<(Invocation, EnvironmentBlock), Failure> {
    let arguments = usize::try_from(u64::from_le_bytes(arguments)).ok();
    let Some((arguments, environment)) = arguments.and_then(|length| message.split_at_checked(length)) else {
        return Err(SetupError::call(Step::Namespaces, "read", Errno::EMSGSIZE).into());
    };
    // Each is ended by a NUL byte, so that nothing follows the last.
    let arguments = arguments.strip_suffix(&[0]).unwrap_or(arguments).split(|byte| *byte == 0);
    let arguments = arguments.map(|argument| OsString::from_vec(argument.to_vec()));
    let invocation = wire::decode(arguments, || Err("it was given as a directory"))?;
    Ok((invocation, EnvironmentBlock::parse(environment.to_vec())?))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::{HEAD, decode, encode};
    use crate::handoff::EnvironmentBlock;
    use crate::plan::{Command, Invocation, Isolation, Network, Plan, Writes};

    fn orders() -> (Invocation, EnvironmentBlock) {
        let command =
            Command { program: "true".into(), argv0: None, arguments: vec!["".into(), "a\n".into()] };
        let plan = Plan::new(Isolation::Namespaces, Writes::Beneath(Vec::new()), Network::Off);
        let mut environment = EnvironmentBlock::default();
        assert!(environment.push("A".as_ref(), "".as_ref()));
        assert!(environment.push("B".as_ref(), OsStr::from_bytes(b"\xff")));
        assert!(!environment.push("C".as_ref(), "a\0b".as_ref()));
        (Invocation::new(plan, command), environment)
    }

    fn head(message: &[u8]) -> [u8; HEAD] {
        message[..HEAD].try_into().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let (invocation, environment) = orders();
        let message = encode(&invocation, &environment);
        let (read, block) = decode(head(&message), &message[HEAD..]).ok().unwrap();
        assert_eq!((read, block), (invocation, environment));
    }

    #[test]
    fn what_is_cut_short_is_no_order() {
        let (invocation, environment) = orders();
        let message = encode(&invocation, &environment);
        let arguments = usize::try_from(u64::from_le_bytes(head(&message))).unwrap();
        for length in 0..message.len() - HEAD {
            let cut = decode(head(&message), &message[HEAD..HEAD + length]);
            // Cut after a whole entry of the environment, it is a shorter one; the pipe's end tells nobody.
            let whole = length == arguments || length == arguments + 3;
            assert_eq!(cut.is_ok(), whole, "{length}");
        }
    }
}
