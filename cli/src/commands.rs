//! The verbs.

mod completion;
mod policy;
mod sandbox;

pub(crate) use completion::completion;
pub(crate) use policy::policy;
pub(crate) use sandbox::sandbox;
