//! The verbs.

mod apply_patch;
mod audit;
mod completion;
mod doctor;
mod exec;
mod exec_server;
mod explain;
mod learn;
mod policy;
mod remote;
mod sandbox;
mod spill;
mod why;

pub(crate) use apply_patch::apply_patch;
pub(crate) use audit::verify_audit;
pub(crate) use completion::completion;
pub(crate) use doctor::{Examination, doctor};
pub(crate) use exec::exec;
pub(crate) use exec_server::exec_server;
pub(crate) use explain::explain;
pub(crate) use policy::policy;
pub(crate) use remote::remote;
pub(crate) use sandbox::{Begun, sandbox};
pub(crate) use why::why;
