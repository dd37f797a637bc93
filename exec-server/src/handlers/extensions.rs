//! What is ours on top of the protocol, for clients that have asked for it.

use std::sync::Arc;

use codex_core::exec::TerminalSize;
use codex_core::policy::{NetworkAccess, ResolvedWrites};

use super::process::{unknown_process, with_process};
use super::{Answer, Context, Params, Rest, answer, granted, joined, now};
use crate::process::{Following, stream};
use crate::protocol::{
    AttachParams, Base64, ExplainParams, ExplainResult, FileUri, ListResult, ProcessParams, ReadSpillParams,
    ReadSpillResult, ResizeParams, RpcError, SpillChunk, WriteResult, WriteStatus,
};

pub(super) fn resize(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let ResizeParams { process_id, size } = params.read()?;
    let size = TerminalSize { rows: size.rows, columns: size.columns };
    with_process(context, &process_id, move |process| process.resize(size))
}

/// Ends the input behind what was written before.
pub(super) fn close_stdin(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let ProcessParams { process_id } = params.read()?;
    let status = match context.session.find(&process_id) {
        None => WriteStatus::UnknownProcess,
        Some(entry) => match &entry.input {
            Some(lane) if lane.close() => WriteStatus::Accepted,
            Some(_) | None => WriteStatus::StdinClosed,
        },
    };
    now(WriteResult { status })
}

pub(super) fn list(context: &Context, _params: Params) -> Result<Rest, RpcError> {
    let mut processes: Vec<_> = context.session.processes().iter().map(|entry| entry.listed()).collect();
    processes.sort_by_key(|process| process.started_at_ms);
    now(ListResult { processes })
}

/// Follows a process of another session, whose id is the right to do so.
pub(super) fn attach(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let AttachParams { session_id, process_id, after_seq } = params.read()?;
    let session = context.server.sessions.find(&session_id)?;
    let entry = session.find(&process_id).ok_or_else(|| unknown_process(&process_id))?;
    let after = after_seq.unwrap_or(0);
    Ok(Box::pin(async move {
        // Where it stands, once it is there.
        let state = entry.read(u64::MAX, 0, std::future::ready(()), true).await;
        let answer = answer(state.ok_or_else(|| unknown_process(&process_id))?)?;
        let following =
            Following { entry, after: Some(after), extended: true, session: Some(session_id), reader: None };
        Ok(Answer { then: Some(following), ..answer })
    }))
}

/// The most that is read of a file at a time, and what is where nobody says.
const LARGEST_PIECE: usize = 1 << 20;
const USUAL_PIECE: usize = 256 << 10;

/// A piece of all that a process wrote. The id of another session is the right to its.
pub(super) fn read_spill(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let ReadSpillParams { process_id, session_id, offset, max_bytes } = params.read()?;
    let entry = match session_id {
        Some(session) => context.server.sessions.find(&session)?.find(&process_id),
        None => context.session.find(&process_id),
    };
    let entry = entry.ok_or_else(|| unknown_process(&process_id))?;
    let Some(spill) = &entry.spill else {
        return Err(RpcError::invalid("the process was not started with `spill`: its output is in no file"));
    };
    let tap = Arc::clone(&spill.tap);
    let most = max_bytes.unwrap_or(USUAL_PIECE).clamp(1, LARGEST_PIECE);
    Ok(Box::pin(async move {
        let piece = joined(tokio::task::spawn_blocking(move || tap.read(offset, most))).await?;
        let piece = piece.map_err(|errno| {
            RpcError::internal(format!("the file of the output can't be read: {}", errno.desc()))
        })?;
        let chunks = piece
            .chunks
            .into_iter()
            .map(|(of, bytes)| SpillChunk { stream: of.map(stream), chunk: Base64(bytes) });
        let chunks: Vec<SpillChunk> = chunks.collect();
        let read: usize = chunks.iter().map(|chunk| chunk.chunk.0.len()).sum();
        answer(ReadSpillResult {
            chunks,
            next_offset: offset.saturating_add(read as u64),
            written: piece.written,
            ended: piece.ended,
            stopped: piece.stop.map(|stop| stop.to_string()),
        })
    }))
}

pub(super) fn explain(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let ExplainParams { sandbox, policy } = params.read()?;
    let context = context.clone();
    Ok(Box::pin(async move {
        answer(match granted(&context, sandbox, policy, false).await? {
            Err(refusal) => ExplainResult {
                allowed: false,
                reason: Some(refusal.to_string()),
                mode: None,
                writable_roots: None,
                network: None,
                enforcement: None,
            },
            Ok(sandbox) => {
                let policy = sandbox.policy();
                let roots = match &policy.writes {
                    ResolvedWrites::Everywhere => None,
                    ResolvedWrites::Beneath(roots) => {
                        Some(roots.iter().filter_map(|root| FileUri::of(&root.path)).collect())
                    }
                };
                ExplainResult {
                    allowed: true,
                    reason: None,
                    mode: Some(policy.mode.name().to_owned()),
                    writable_roots: roots,
                    network: Some(policy.network == NetworkAccess::Enabled),
                    enforcement: serde_json::value::to_raw_value(sandbox.expected()).ok(),
                }
            }
        })
    }))
}
