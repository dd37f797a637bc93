//! Closing system calls with seccomp: the denials of [`table`], assembled into one filter and installed.

mod assemble;
mod table;

use std::collections::BTreeSet;

use nix::errno::Errno;
use seccompiler::apply_filter;

use crate::error::{SetupError, Step};
use crate::plan::Plan;
pub use table::{Answer, Denial, denials};

/// Assembles and installs the filter for a plan. Returns how many system calls it answers.
pub(super) fn install(plan: &Plan) -> Result<u32, SetupError> {
    let denials = denials(plan);
    let filter = assemble::assemble(&denials).map_err(|_unencodable| {
        SetupError::condition(Step::Seccomp, "assemble", "a denial can't be encoded")
    })?;
    apply_filter(&filter).map_err(|error| {
        let errno = match error {
            seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error.raw_os_error(),
            _ => None,
        };
        SetupError::call(Step::Seccomp, "seccomp", errno.map_or(Errno::UnknownErrno, Errno::from_raw))
            .hint("this kernel, or what runs us, refuses seccomp filters")
    })?;
    let calls: BTreeSet<_> = denials.iter().map(|denial| denial.call).collect();
    Ok(u32::try_from(calls.len()).unwrap_or(u32::MAX))
}
