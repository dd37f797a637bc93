//! The verbs.

mod completion;
mod doctor;
mod policy;
mod sandbox;
mod why;

pub(crate) use completion::completion;
pub(crate) use doctor::{Examination, doctor};
pub(crate) use policy::policy;
pub(crate) use sandbox::{Begun, sandbox};
pub(crate) use why::why;
