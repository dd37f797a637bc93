//! `fs/watchMissing`.

use super::files::{grant, short};
use super::{Answer, Context, Later, Params, Rest, answer, now, refused};
use crate::protocol::{MissingChangedParams, RpcError, WatchParams, WatchResult};

/// How many paths a watch may have, and how many bytes they may have together.
const MOST: (usize, usize) = (256, 64 * 1024);

/// Takes the place of the watch before at once, so that the last one that was asked for is the one that holds.
pub(super) fn watch_missing(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let WatchParams { watch_id, missing, present, sandbox } = params.read()?;
    let paths = || missing.iter().chain(&present);
    paths().try_for_each(short)?;
    let (count, bytes) = (paths().count(), paths().map(|path| path.path().as_os_str().len()).sum::<usize>());
    let (most, most_bytes) = MOST;
    if count > most || bytes > most_bytes {
        return Err(RpcError::invalid(format!(
            "{count} paths of {bytes} bytes, where {most} of {most_bytes} are the most that are watched"
        )));
    }
    let Some(replaced) = context.files.watches().begin(watch_id) else {
        return now(WatchResult { watching: false });
    };
    let context = context.clone();
    Ok(Box::pin(async move {
        let started = async {
            let _turn = context.files.turn().await;
            let grant = grant(&context, sandbox, false).await?.map_err(|refusal| refused(&refusal))?;
            context.files.watch(&grant, missing, present).await
        };
        let watcher = tokio::select! {
            watcher = started => watcher?,
            () = replaced.cancelled() => None,
        };
        let answered = answer(WatchResult { watching: watcher.is_some() })?;
        let Some(watcher) = watcher else { return Ok(answered) };
        let out = context.out.clone();
        let later = Later(Box::new(move |cancelled| {
            Box::pin(async move {
                // What is over tells nothing, whatever has happened at the same time.
                tokio::select! {
                    biased;
                    () = replaced.cancelled() => return,
                    () = cancelled.cancelled() => return,
                    () = out.gone() => return,
                    () = watcher.changed() => {}
                }
                if out.tell("fs/missingChanged", MissingChangedParams { watch_id }).await.is_err() {
                    tracing::debug!("a client that is gone does not hear what has changed");
                }
            })
        }));
        Ok(Answer { later: Some(later), ..answered })
    }))
}
