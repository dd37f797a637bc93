//! `fs/*`: what is asked for, as an order for a worker.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_core::exec::{NotedCommand, NotedRefusal};
use serde_json::value::RawValue;

use super::{Answer, Answered, Context, Params, Rest, answer, joined, labels, refused, short_id};
use crate::ceiling::{FilesGrant, Refusal};
use crate::files::{Crew, Errand, Order, Undone};
use crate::noted;
use crate::protocol::{
    ChangeParams, CopyParams, FileUri, HandleParams, OpenMode, OpenParams, PathParams, ReadBlockParams,
    RpcError, SandboxContext, WalkParams, WriteBlockParams, WriteFileParams,
};
use crate::room::{SMALL, Taken};

/// The longest path that is looked at. The kernel takes none that is longer than 4096 bytes.
const LONGEST_PATH: usize = 32 * 1024;
/// The largest block.
const BLOCK: u64 = 1024 * 1024;
/// How many names of a directory are listed.
const MOST_NAMES: u64 = 100_000;
/// How far a walk may go: depth, directories, entries.
const WALK: [(u64, &str); 3] = [(64, "maxDepth"), (10_000, "maxDirectories"), (50_000, "maxEntries")];

pub(super) fn short(path: &FileUri) -> Result<(), RpcError> {
    if path.path().as_os_str().len() > LONGEST_PATH {
        return Err(RpcError::invalid(format!(
            "a path of {} bytes, where {LONGEST_PATH} are the most",
            path.path().as_os_str().len()
        )));
    }
    Ok(())
}

/// Asks for the sandbox, which waits for the disk.
pub(super) async fn grant(
    context: &Context,
    sandbox: Option<SandboxContext>,
    changes: bool,
) -> Result<Result<FilesGrant, Refusal>, RpcError> {
    let server = Arc::clone(&context.server);
    let granted = tokio::task::spawn_blocking(move || {
        if changes {
            server.ceiling.grant_changes(sandbox.as_ref())
        } else {
            server.ceiling.grant_reading(sandbox.as_ref())
        }
    });
    joined(granted).await
}

/// Has something read that is JSON already.
fn read(
    context: &Context,
    sandbox: Option<SandboxContext>,
    path: &FileUri,
    order: Order,
) -> Result<Rest, RpcError> {
    short(path)?;
    let context = context.clone();
    Ok(Box::pin(async move {
        let (result, room) = fetch(&context, sandbox, |_most| order.clone(), Crew::run).await?;
        Ok(Answer { room: Some(room), ..raw(result)? })
    }))
}

/// What a worker says to an order, and the room that it takes. Few answers are large: what does not fit into the room of a small
/// one is asked for again with room for the largest, so that many small ones do not wait for one another.
async fn fetch(
    context: &Context,
    sandbox: Option<SandboxContext>,
    order: impl Fn(usize) -> Order,
    run: impl AsyncFn(&Arc<Crew>, Errand) -> Result<Vec<u8>, Undone>,
) -> Result<(Vec<u8>, Taken), RpcError> {
    let largest = context.server.limits.file_bytes;
    let mut most = largest.min(SMALL);
    loop {
        // Before the turn, and never while a worker waits for it.
        let mut room = context.files.room().take(most).await;
        let _turn = context.files.turn().await;
        let grant = grant(context, sandbox.clone(), false).await?.map_err(|refusal| refused(&refusal))?;
        let errand = Errand { grant, order: order(most), body: Vec::new(), changes: false, most };
        match run(context.files.crew(), errand).await {
            Ok(result) => {
                room.fit(result.len());
                return Ok((result, room));
            }
            Err(Undone::TooLarge(_)) if most < largest => most = largest,
            Err(undone) => return Err(undone.into()),
        }
    }
}

/// A result that is JSON already.
fn raw(result: Vec<u8>) -> Answered {
    let text = String::from_utf8(result).map_err(|error| RpcError::internal(error.to_string()))?;
    let result = RawValue::from_string(text).map_err(|error| RpcError::internal(error.to_string()))?;
    Ok(Answer { result, then: None, room: None, later: None })
}

/// Bytes in base64 as the only member, or followed by others.
fn bytes_in(name: &str, bytes: &[u8], more: &str) -> Answered {
    let mut text = String::with_capacity(bytes.len() / 3 * 4 + name.len() + more.len() + 16);
    text.push_str("{\"");
    text.push_str(name);
    text.push_str("\":\"");
    STANDARD.encode_string(bytes, &mut text);
    text.push('"');
    text.push_str(more);
    text.push('}');
    raw(text.into_bytes())
}

/// Has something changed: once it is begun to its end, whatever becomes of the request, since a change that is half done would be no
/// answer.
fn change(
    context: &Context,
    method: &'static str,
    sandbox: Option<SandboxContext>,
    paths: Vec<FileUri>,
    order: Order,
    body: Vec<u8>,
) -> Result<Rest, RpcError> {
    paths.iter().try_for_each(short)?;
    let context = context.clone();
    Ok(Box::pin(async move {
        let turn = context.files.turn().await;
        let granted = grant(&context, sandbox, true).await?;
        let grant = note(&context, method, &paths, granted).await?;
        let crew = Arc::clone(context.files.crew());
        let done = tokio::spawn(async move {
            let _turn = turn;
            crew.run(Errand { grant, order, body, changes: true, most: SMALL }).await
        });
        joined(done).await??;
        answer(serde_json::json!({}))
    }))
}

/// Says in the audit log who asks for a change and, where that is not granted, why. What is done says so itself.
async fn note(
    context: &Context,
    method: &'static str,
    paths: &[FileUri],
    granted: Result<FilesGrant, Refusal>,
) -> Result<FilesGrant, RpcError> {
    let labels = labels(context, None);
    let mut words = vec![method.to_owned()];
    words.extend(paths.iter().map(ToString::to_string));
    match granted {
        Ok(grant) => Ok(FilesGrant { labels, words, ..grant }),
        Err(refusal) => {
            tracing::info!(peer = &*context.peer, method, "refused: {refusal}");
            let command = NotedCommand::of(&words);
            let (cwd, why) = ("/".to_owned(), refusal.to_string());
            let noted = NotedRefusal { labels, command, cwd, refused: why };
            noted::note_refusal(&context.server.ceiling, noted).await.map_err(RpcError::internal)?;
            Err(refused(&refusal))
        }
    }
}

pub(super) fn read_file(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let PathParams { path, sandbox, follow_symlinks } = params.read()?;
    short(&path)?;
    let follow = follow_symlinks.unwrap_or(true);
    let context = context.clone();
    Ok(Box::pin(async move {
        let order = |most| Order::Read { path: path.clone(), follow, most: most as u64 };
        let (content, room) = fetch(&context, sandbox, order, Crew::content).await?;
        Ok(Answer { room: Some(room), ..bytes_in("dataBase64", &content, "")? })
    }))
}

pub(super) fn write_file(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let WriteFileParams { path, data_base64, sandbox, follow_symlinks } = params.read()?;
    let body = STANDARD
        .decode(data_base64)
        .map_err(|error| RpcError::invalid(format!("dataBase64 is no base64: {error}")))?;
    let order = Order::Write { path: path.clone(), follow: follow_symlinks.unwrap_or(true) };
    change(context, "fs/writeFile", sandbox, vec![path], order, body)
}

pub(super) fn create_directory(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let ChangeParams { path, recursive, sandbox, follow_symlinks, .. } = params.read()?;
    let (recursive, follow) = (recursive.unwrap_or(true), follow_symlinks.unwrap_or(true));
    let order = Order::CreateDirectory { path: path.clone(), recursive, follow };
    change(context, "fs/createDirectory", sandbox, vec![path], order, Vec::new())
}

pub(super) fn metadata(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let PathParams { path, sandbox, follow_symlinks } = params.read()?;
    let order = Order::Metadata { path: path.clone(), follow: follow_symlinks.unwrap_or(true) };
    read(context, sandbox, &path, order)
}

pub(super) fn canonicalize(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let PathParams { path, sandbox, .. } = params.read()?;
    read(context, sandbox, &path, Order::Canonicalize { path: path.clone() })
}

pub(super) fn read_directory(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let PathParams { path, sandbox, .. } = params.read()?;
    read(context, sandbox, &path, Order::List { path: path.clone(), most: MOST_NAMES })
}

pub(super) fn walk(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let WalkParams { path, options, sandbox } = params.read()?;
    let asked = [options.max_depth, options.max_directories, options.max_entries];
    for (asked, (most, name)) in asked.into_iter().zip(WALK) {
        if asked == 0 || asked > most {
            return Err(RpcError::invalid(format!("{name} has to be between 1 and {most}, and is {asked}")));
        }
    }
    read(context, sandbox, &path, Order::Walk { path: path.clone(), options })
}

pub(super) fn remove(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let ChangeParams { path, recursive, force, sandbox, follow_symlinks } = params.read()?;
    let order = Order::Remove {
        path: path.clone(),
        recursive: recursive.unwrap_or(true),
        force: force.unwrap_or(true),
        follow: follow_symlinks.unwrap_or(true),
    };
    change(context, "fs/remove", sandbox, vec![path], order, Vec::new())
}

pub(super) fn copy(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let CopyParams { source_path, destination_path, recursive, sandbox } = params.read()?;
    let order = Order::Copy { source: source_path.clone(), destination: destination_path.clone(), recursive };
    change(context, "fs/copy", sandbox, vec![source_path, destination_path], order, Vec::new())
}

/// `fs/open`: takes the id at once, so that what follows for it finds it. It is carried out to its end, so that the id is taken or
/// free and no file half open; where the request is given up meanwhile, the file is closed again.
pub(super) fn open(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let OpenParams { handle_id, path, mode, sandbox } = params.read()?;
    short_id("handleId", &handle_id)?;
    short(&path)?;
    let mode = mode.unwrap_or_default();
    let turn = context.files.reserve(&handle_id, mode)?;
    let unheard = context.files.unheard(&handle_id, &turn);
    let (context, id) = (context.clone(), handle_id.clone());
    let opened = tokio::spawn(async move {
        let _permit = context.files.turn().await;
        let changes = mode == OpenMode::Replace;
        let granted = match grant(&context, sandbox, changes).await {
            Ok(granted) if changes => note(&context, "fs/open", std::slice::from_ref(&path), granted).await,
            Ok(granted) => granted.map_err(|refusal| refused(&refusal)),
            Err(error) => Err(error),
        };
        context.files.open(&id, turn, path, granted).await
    });
    Ok(Box::pin(async move {
        let opened = joined(opened).await?;
        unheard.heard();
        opened?;
        answer(HandleParams { handle_id })
    }))
}

pub(super) fn read_block(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let ReadBlockParams { handle_id, offset, len } = params.read()?;
    if !(1..=BLOCK).contains(&len) {
        return Err(RpcError::invalid(format!("len has to be between 1 and {BLOCK}, and is {len}")));
    }
    let turn = context.files.find(&handle_id)?;
    let context = context.clone();
    Ok(Box::pin(async move {
        let mut room = context.files.room().take(usize::try_from(len).unwrap_or(usize::MAX)).await;
        // To its end: other files have the same worker.
        let done = tokio::spawn(async move {
            let order = |handle| Order::ReadBlock { handle, offset, length: len };
            context.files.act(&handle_id, turn, order, &[]).await
        });
        let (bytes, result) = joined(done).await??;
        let at_end = result == br#"{"eof":true}"#;
        let more = if at_end { ",\"eof\":true" } else { ",\"eof\":false" };
        room.fit(bytes.len());
        Ok(Answer { room: Some(room), ..bytes_in("chunk", &bytes, more)? })
    }))
}

pub(super) fn write_block(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let WriteBlockParams { handle_id, offset, chunk } = params.read()?;
    let body =
        STANDARD.decode(chunk).map_err(|error| RpcError::invalid(format!("chunk is no base64: {error}")))?;
    if body.len() as u64 > BLOCK {
        return Err(RpcError::invalid(format!(
            "a chunk of {} bytes, where {BLOCK} are the most",
            body.len()
        )));
    }
    let turn = context.files.find(&handle_id)?;
    let files = Arc::clone(&context.files);
    Ok(Box::pin(async move {
        let done = tokio::spawn(async move {
            let order = |handle| Order::WriteBlock { handle, offset };
            files.act(&handle_id, turn, order, &body).await
        });
        joined(done).await??;
        answer(serde_json::json!({}))
    }))
}

/// `fs/close`: the file is closed whatever becomes of the request, since its id is free at once.
pub(super) fn close(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let HandleParams { handle_id } = params.read()?;
    let closed = context.files.take(&handle_id).map(|turn| {
        let files = Arc::clone(&context.files);
        tokio::spawn(async move { files.close(turn).await })
    });
    Ok(Box::pin(async move {
        if let Some(closed) = closed {
            joined(closed).await??;
        }
        answer(serde_json::json!({}))
    }))
}
