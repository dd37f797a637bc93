//! What is written to a server, by a task of its own: a network that takes nothing keeps nobody from reading, nor from seeing that
//! nothing comes any more.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::transport::Writer;

/// How long what was said last may take to be written.
const LAST: Duration = Duration::from_secs(10);

/// Something to write.
#[derive(Debug)]
enum Said {
    Message(String),
    /// A question whether the server is there.
    Ping,
}

/// A connection's end that is written.
#[derive(Debug)]
pub(super) struct Writing {
    said: mpsc::UnboundedSender<Said>,
    task: JoinHandle<std::io::Result<()>>,
    pings: bool,
}

impl Writing {
    pub(super) fn new(mut writer: Writer) -> Self {
        let (said, mut waiting) = mpsc::unbounded_channel();
        let pings = writer.pings();
        let task = tokio::spawn(async move {
            while let Some(first) = waiting.recv().await {
                let mut next = Some(first);
                while let Some(said) = next {
                    match said {
                        Said::Message(text) => writer.put(text).await?,
                        Said::Ping => writer.ping().await?,
                    }
                    next = waiting.try_recv().ok();
                }
                writer.flush().await?;
            }
            Ok(())
        });
        Self { said, task, pings }
    }

    /// Has a message written behind those before it. Waits for nothing; what comes of it shows in [`Self::failed`].
    pub(super) fn put(&self, text: String) {
        self.say(Said::Message(text));
    }

    /// Has it asked whether the server is there.
    pub(super) fn ping(&self) {
        self.say(Said::Ping);
    }

    fn say(&self, said: Said) {
        if self.said.send(said).is_err() {
            tracing::debug!("a message for a connection that can't be written to");
        }
    }

    /// Whether a server that is asked answers by itself.
    pub(super) const fn pings(&self) -> bool {
        self.pings
    }

    /// Waits until something can't be written. May be dropped halfway; after its end it is not to be asked again.
    pub(super) async fn failed(&mut self) -> std::io::Error {
        match (&mut self.task).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => std::io::ErrorKind::BrokenPipe.into(),
            Err(error) => std::io::Error::other(error),
        }
    }

    /// Writes what was said, where the server takes it in time.
    pub(super) async fn finish(self) {
        let Self { said, mut task, .. } = self;
        drop(said);
        if timeout(LAST, &mut task).await.is_err() {
            task.abort();
        }
    }

    /// Lets go of the connection, whatever is still to be written.
    pub(super) async fn abandon(self) {
        self.task.abort();
        // It is given back once the task is gone.
        if let Ok(Err(error)) = self.task.await {
            tracing::debug!("the connection could not be written to: {error}");
        }
    }
}
