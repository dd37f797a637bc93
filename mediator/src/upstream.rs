//! The proxy by which this machine reaches others, where its user has one: what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
//! `NO_PROXY` say to `codex` itself.
//!
//! Whoever is behind it resolves names: what a name leads to can't be compared with anything here.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use codex_core::policy::{Host, host_and_port};
use codex_linux_sandbox::shown;
use http_body_util::Empty;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::http::Uri;
use hyper::{Method, Request};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Why a host can't be reached by it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// Another protocol.
    #[error("the proxy that codex was given is {0}, and only http:// ones can be gone through")]
    Scheme(String),
    /// It has said no.
    #[error("the proxy that codex was given answered {0}")]
    Refused(hyper::StatusCode),
    /// The connection.
    #[error("the proxy that codex was given did not answer: {0}")]
    Http(#[from] hyper::Error),
    /// What can't be said to it.
    #[error("the proxy that codex was given can't be asked: {0}")]
    Request(#[from] hyper::http::Error),
}

/// Which proxy there is for whom. Read from the environment when it is asked for first; a clone is another name for the same.
#[derive(Clone, Default)]
pub(crate) struct Upstream(Arc<OnceLock<Matcher>>);

impl fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's URL may have a password in it.
        formatter.write_str("Upstream")
    }
}

/// One proxy, and what it wants to hear.
pub(crate) struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authorization: Option<HeaderValue>,
}

impl Upstream {
    #[cfg(test)]
    pub(crate) fn of(matcher: Matcher) -> Self {
        Self(Arc::new(OnceLock::from(matcher)))
    }

    /// The proxy for a host. Nothing where it is reached directly, as this machine itself always is.
    pub(crate) fn proxy(&self, scheme: &str, host: &str, port: u16) -> Result<Option<Proxy>, UpstreamError> {
        // What is no host is refused by whoever is asked for it here.
        let is_here = Host::named(host).is_none_or(|host| host.is_loopback());
        if is_here {
            return Ok(None);
        }
        let authority = host_and_port(host, port);
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build()?;
        let matcher = self.0.get_or_init(Matcher::from_env);
        matcher.intercept(&uri).map(|found| Proxy::of(&found)).transpose()
    }
}

impl Proxy {
    fn of(found: &Intercept) -> Result<Self, UpstreamError> {
        let uri = found.uri();
        let scheme = uri.scheme_str().unwrap_or("http");
        let host = uri.host().unwrap_or_default();
        if scheme != "http" || host.is_empty() {
            return Err(UpstreamError::Scheme(shown(format!("{scheme}://{host}"))));
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let authorization = found.basic_auth().cloned().map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Ok(Self { host: bare.to_owned(), port: uri.port_u16().unwrap_or(80), authorization })
    }

    /// A tunnel through it, over a connection with it.
    pub(crate) async fn tunnel(
        &self,
        stream: TcpStream,
        host: &str,
        port: u16,
        ended: &CancellationToken,
    ) -> Result<hyper::upgrade::Upgraded, UpstreamError> {
        let authority = host_and_port(host, port);
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(Uri::builder().authority(authority.as_str()).build()?)
            .header(HOST, &authority)
            .body(Empty::<Bytes>::new())?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let ended = ended.clone();
        tokio::spawn(async move {
            if let Some(Err(error)) = ended.run_until_cancelled(connection.with_upgrades()).await {
                tracing::debug!(%error, "a connection with a proxy has ended early");
            }
        });
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(UpstreamError::Refused(response.status()));
        }
        Ok(hyper::upgrade::on(response).await?)
    }
}
