//! The verbs.

mod apply_patch;
mod completion;
mod doctor;
mod exec;
mod policy;
mod sandbox;

pub(crate) use apply_patch::apply_patch;
pub(crate) use completion::completion;
pub(crate) use doctor::{Examination, doctor};
pub(crate) use exec::exec;
pub(crate) use policy::policy;
pub(crate) use sandbox::{Begun, sandbox};
