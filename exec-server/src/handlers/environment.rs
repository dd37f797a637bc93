//! `environment/*`.

use super::{Context, Params, Rest, now};
use crate::protocol::{RpcError, Status};

pub(super) fn info(context: &Context, _params: Params) -> Result<Rest, RpcError> {
    now(&context.server.info)
}

pub(super) fn status(_context: &Context, _params: Params) -> Result<Rest, RpcError> {
    now(Status { status: "ready".to_owned() })
}
