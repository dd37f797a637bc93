//! Streamable HTTP: a session's messages as requests and events.

mod events;
mod sessions;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use hyper::body::Bytes;
use hyper::{Request, Response};
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::CancellationToken;

use crate::adapter::Adapter;
use crate::face::Face;
use sessions::Sessions;

pub use events::EventBounds;
pub use sessions::Lost;

/// How sessions over HTTP are kept.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// How long a session is kept without a message in either direction. Calls are messages at their beginning and end.
    pub idle: Duration,
    /// The longest body, in bytes.
    pub bytes: usize,
    /// How much is kept of what clients were told, or could not be told because their connection had broken off.
    pub events: EventBounds,
}

/// Answers requests.
#[derive(Clone)]
pub struct Http {
    service: StreamableHttpService<Adapter, Sessions>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Http")
    }
}

impl Http {
    /// Sessions whose faces `open` makes, until `stop` is cancelled. Where it makes none, there is no session. `lost` is told how many
    /// answers had to go before anybody had them.
    pub fn new(
        open: impl Fn() -> Result<Arc<dyn Face>, String> + Send + Sync + 'static,
        options: &HttpOptions,
        lost: Lost,
        stop: &CancellationToken,
    ) -> Self {
        let sessions = Sessions::new(options.idle, options.events, lost);
        let config = StreamableHttpServerConfig::default()
            .enforce_origin_validation()
            // Whoever listens knows at which addresses.
            .disable_allowed_hosts()
            // Ours begin with an event that can be resumed behind, which the crate's own does not.
            .with_sse_retry(None)
            .with_max_request_body_bytes(options.bytes)
            .with_cancellation_token(stop.child_token());
        let stop = stop.clone();
        let adapter = move || {
            let face = open().map_err(std::io::Error::other)?;
            Ok(Adapter { face, ended: stop.child_token() })
        };
        Self { service: StreamableHttpService::new(adapter, Arc::new(sessions), config) }
    }

    /// Answers a request whose body is here, and in bounds. That it is addressed to this server was looked at before.
    pub async fn answer(&self, request: Request<Full<Bytes>>) -> Response<BoxBody<Bytes, Infallible>> {
        self.service.handle(request).await
    }
}
