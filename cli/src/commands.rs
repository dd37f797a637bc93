//! The verbs.

mod completion;
mod doctor;
mod exec_server;
mod policy;
mod sandbox;

pub(crate) use completion::completion;
pub(crate) use doctor::{Examination, doctor};
pub(crate) use exec_server::exec_server;
pub(crate) use policy::policy;
pub(crate) use sandbox::{Begun, sandbox};
