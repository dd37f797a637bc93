//! A worker as the server has it: what it is told, what it says, and how it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use codex_core::exec::{ExecError, ExecResult, Process, Quarantined};
use codex_core::output::{FeedReader, OutputStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::crew::{Counted, Held};
use super::order::{Changed, Failure, FailureKind, Order};
use super::wire::{Decoder, FrameKind, PIECE, WireError, put};
use crate::protocol::{FileUri, RpcError};

/// How long a worker may take to end that has nothing more to do.
const LONGEST_END: Duration = Duration::from_secs(60);
/// How much of what a worker says waits to be read here.
pub(super) const RETAINED: usize = 512 * 1024;

/// A program that waits for orders.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) process: Process,
    pub(super) reader: FeedReader,
    pub(super) decoder: Decoder,
    pub(super) began: Instant,
    pub(super) _place: OwnedSemaphorePermit,
    pub(super) _held: Option<Held>,
    pub(super) _count: Counted,
}

/// Why a worker can't go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("its result can't be read: {0}")]
    Result(#[from] serde_json::Error),
    #[error("it answers out of order")]
    Sequence,
    #[error("it says more than {0} bytes")]
    TooMuch(usize),
    #[error("it has ended")]
    Ended,
    #[error("it took longer than {} s", .0.as_secs())]
    Slow(Duration),
}

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum Undone {
    /// There is more of it than there is room for.
    TooLarge(RpcError),
    /// Everything else.
    Failed(RpcError),
}

impl From<RpcError> for Undone {
    fn from(error: RpcError) -> Self {
        Self::Failed(error)
    }
}

impl From<Failure> for Undone {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::TooLarge => Self::TooLarge(failure.into()),
            _ => Self::Failed(failure.into()),
        }
    }
}

impl From<Undone> for RpcError {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::TooLarge(error) | Undone::Failed(error) => error,
        }
    }
}

/// What a worker has said: pieces of a body, then its result.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) body: Vec<u8>,
    pub(super) result: Vec<u8>,
}

impl Said {
    /// Where something was changed.
    pub(super) fn at(&self) -> Option<PathBuf> {
        let changed: Changed = serde_json::from_slice(&self.result).ok()?;
        changed.at.map(FileUri::into_path)
    }

    /// A result that may have come in pieces.
    pub(crate) fn whole(mut self) -> Vec<u8> {
        self.body.append(&mut self.result);
        self.body
    }
}

impl Worker {
    /// Gives an order with what belongs to it, and takes the answer.
    pub(super) async fn converse(
        &mut self,
        order: &Order,
        body: &[u8],
        most: usize,
        deadline: Duration,
    ) -> Result<Result<Said, Failure>, Broken> {
        let both = async {
            self.give(order, body).await?;
            self.take(most).await
        };
        timeout(deadline, both).await.unwrap_or(Err(Broken::Slow(deadline)))
    }

    async fn give(&self, order: &Order, body: &[u8]) -> Result<(), Broken> {
        let mut frames = Vec::new();
        put(&mut frames, FrameKind::Order, &serde_json::to_vec(order)?);
        let ended = |_closed| Broken::Ended;
        if order.has_body() {
            for piece in body.chunks(PIECE) {
                put(&mut frames, FrameKind::Data, piece);
                self.process.write(&frames).await.map_err(ended)?;
                frames.clear();
            }
            put(&mut frames, FrameKind::End, &[]);
        }
        self.process.write(&frames).await.map_err(ended)
    }

    async fn take(&mut self, most: usize) -> Result<Result<Said, Failure>, Broken> {
        let mut said = Said::default();
        loop {
            while let Some(frame) = self.decoder.next_frame()? {
                match frame.kind {
                    FrameKind::Data if said.body.len() + frame.payload.len() > most => {
                        return Err(Broken::TooMuch(most));
                    }
                    FrameKind::Data => said.body.extend(frame.payload),
                    FrameKind::Done => {
                        said.result = frame.payload;
                        return Ok(Ok(said));
                    }
                    FrameKind::Failed => return Ok(Err(serde_json::from_slice(&frame.payload)?)),
                    FrameKind::Order | FrameKind::End => return Err(Broken::Sequence),
                }
            }
            let read = self.reader.next(RETAINED).await;
            if read.missed.is_some() {
                return Err(Broken::Sequence);
            }
            let said = read.chunks.iter().filter(|chunk| chunk.stream == OutputStream::Stdout);
            said.for_each(|chunk| self.decoder.push(&chunk.bytes));
            if read.closed.is_some() && read.chunks.is_empty() {
                return Err(Broken::Ended);
            }
        }
    }

    /// Ends it, and says whether what it has changed at a place stays so. What somebody else has done to protected names at the
    /// same time is moved away as well, and no concern of this request.
    pub(super) async fn finish(self, at: Option<&Path>) -> Result<(), RpcError> {
        self.process.close_input();
        match self.end().await.as_ref() {
            Ok(result) => {
                let concerns = |moved: &&Quarantined| {
                    at.is_some_and(|at| at.starts_with(&moved.path) || moved.path.starts_with(at))
                };
                match result.quarantined.iter().find(concerns) {
                    None => Ok(()),
                    Some(moved) => Err(RpcError::invalid(format!("refused: {moved}"))),
                }
            }
            Err(error) => Err(RpcError::internal(error.to_string())),
        }
    }

    /// Waits for its end, which is near; and brings it about where it is not.
    async fn end(&self) -> Arc<Result<ExecResult, ExecError>> {
        if let Ok(answer) = timeout(LONGEST_END, self.process.wait()).await {
            return answer;
        }
        self.process.terminate();
        self.process.wait().await
    }

    /// The same for a request that is no more than that.
    pub(super) async fn undone(self, broken: &Broken) -> Undone {
        match broken {
            Broken::TooMuch(most) => {
                self.process.terminate();
                Undone::TooLarge(RpcError::invalid(format!("an answer of more than {most} bytes")))
            }
            _ => Undone::Failed(self.failure(broken).await),
        }
    }

    /// Why it does not go on, in words.
    pub(super) async fn failure(self, broken: &Broken) -> RpcError {
        if !matches!(broken, Broken::Ended) {
            self.process.terminate();
            return RpcError::internal(format!("the request for a file was given up: {broken}"));
        }
        let why = match self.end().await.as_ref() {
            Ok(result) => result.outcome.sentence(),
            Err(error) => error.to_string(),
        };
        RpcError::internal(format!("the files can't be reached: {why}"))
    }
}
