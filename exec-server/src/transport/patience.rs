//! A stream whose peer has to take what is written to it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long what is written may wait for the peer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Says that a peer may take its time from now on.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust(Arc<AtomicBool>);

impl Trust {
    /// Says so.
    pub(super) fn give(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A stream that fails where its peer takes nothing for a time, until that is trusted: somebody who may not even ask for anything could
/// keep a place among the connections for ever else.
#[derive(Debug)]
pub(super) struct Impatient<S> {
    stream: S,
    trust: Trust,
    waits: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    /// A stream, and whoever says that its peer is trusted.
    pub(super) fn new(stream: S, trust: Trust) -> Self {
        Self { stream, trust, waits: None }
    }

    /// What came of a write. One that waits is an error when it has waited long enough.
    fn patiently<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() || self.trust.0.load(Ordering::Relaxed) {
            self.waits = None;
            return written;
        }
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        ready!(waits.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.patiently(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.patiently(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.patiently(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_not_waited_for_unless_trusted() {
        let (ours, _theirs) = duplex(16);
        let mut stream = Impatient::new(ours, Trust::default());
        let began = Instant::now();
        let error = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, PATIENCE));

        // Who takes something, if slowly, is.
        let (ours, mut theirs) = duplex(16);
        let mut stream = Impatient::new(ours, Trust::default());
        let taking = tokio::spawn(async move {
            let mut taken = 0;
            while taken < 64 {
                sleep(PATIENCE * 2 / 3).await;
                taken += theirs.read(&mut [0; 16]).await.unwrap();
            }
        });
        stream.write_all(&[0; 64]).await.unwrap();
        taking.await.unwrap();

        let (ours, _theirs) = duplex(16);
        let trust = Trust::default();
        trust.give();
        let mut stream = Impatient::new(ours, trust);
        assert!(timeout(PATIENCE * 100, stream.write_all(&[0; 64])).await.is_err(), "it waits");
    }
}
