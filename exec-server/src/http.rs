//! `http/request`: what a client asks for over the server's network, and how far that reaches.
//!
//! Every hop is looked at before anything is sent. Its host is resolved once, where that may be asked for; each address is compared with
//! what is allowed, and the connection goes to one of those that were compared. No proxy is used, and redirects are followed here.
//!
//! - `gate`: who may be asked (by `codex_mediator`), and certificates

mod gate;

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{ClientBuilder, Method, Response, StatusCode, Url};
use rustls::ClientConfig;

pub(crate) use gate::{Gate, Gated, read_certificates};

/// How long it may take to reach a server.
const CONNECT: Duration = Duration::from_secs(20);
/// How many redirects are followed.
const MOST_HOPS: usize = 10;
/// What is about one connection, or what only we say.
const NOT_THE_CLIENTS: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];
/// What another origin is told as well. All else may be a secret of the first one.
const FOR_EVERYBODY: [&str; 4] = ["accept", "accept-language", "content-type", "user-agent"];

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// It may not be asked.
    #[error(transparent)]
    Gated(#[from] Gated),
    /// It has no address.
    #[error("{host} can't be resolved: {why}")]
    Unresolved { host: String, why: String },
    /// It leads to something that can't be asked.
    #[error("{0} leads to something that is no http: or https: URL")]
    Location(String),
    /// It goes on and on.
    #[error("more than {MOST_HOPS} redirects")]
    Redirects,
    /// The connection or the other side.
    #[error("{0}")]
    Failed(String),
}

/// A request, which goes on with each redirect.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    headers: HeaderMap,
    body: Bytes,
    follow: bool,
    hops: usize,
}

impl Request {
    /// A request without what is not the client's to say.
    pub(crate) fn new(method: Method, url: Url, mut headers: HeaderMap, body: Bytes, follow: bool) -> Self {
        for name in NOT_THE_CLIENTS {
            headers.remove(name);
        }
        Self { method, url, headers, body, follow, hops: 0 }
    }

    /// Sends it to where it has come.
    pub(crate) async fn hop(&self, gate: &Gate) -> Result<Response, HttpError> {
        let (host, port) = host_and_port(&self.url).ok_or_else(|| HttpError::Location(shown(&self.url)))?;
        let addresses = gate.addresses(&host, port).await?;
        let builder = builder(&self.url, gate.tls())
            .await?
            .connect_timeout(CONNECT)
            // To these and to no others; the port is the URL's.
            .resolve_to_addrs(&host, &addresses);
        let client = builder.build().map_err(|error| HttpError::Failed(chain(&error)))?;
        let request = client.request(self.method.clone(), self.url.clone()).headers(self.headers.clone());
        let request = if self.body.is_empty() { request } else { request.body(self.body.clone()) };
        request
            .send()
            .await
            .map_err(|error| HttpError::Failed(format!("{}: {}", shown(&self.url), chain(&error))))
    }

    /// Whether it goes on from a response, where redirects are followed. Then it is the next hop.
    pub(crate) fn goes_on(&mut self, response: &Response) -> Result<bool, HttpError> {
        let next = if self.follow { location(&self.url, response)? } else { None };
        let Some(next) = next else { return Ok(false) };
        if self.hops == MOST_HOPS {
            return Err(HttpError::Redirects);
        }
        self.hops += 1;
        self.turn_to(next, response.status());
        Ok(true)
    }

    fn turn_to(&mut self, next: Url, status: StatusCode) {
        let becomes_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body.clear();
            self.headers.remove("content-type");
        }
        if next.origin() != self.url.origin() {
            let others: Vec<HeaderName> =
                self.headers.keys().filter(|name| !FOR_EVERYBODY.contains(&name.as_str())).cloned().collect();
            for name in others {
                self.headers.remove(name);
            }
        }
        self.url = next;
    }
}

/// A client that goes where its URL leads and nowhere else: by no proxy, and not where it is redirected to.
pub(crate) async fn builder(
    url: &Url,
    certificates: impl Future<Output = Result<ClientConfig, HttpError>>,
) -> Result<ClientBuilder, HttpError> {
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    Ok(match url.scheme() {
        "https" => builder.tls_backend_preconfigured(certificates.await?),
        // No certificate is needed, and none looked for.
        _ => builder.tls_certs_only([]),
    })
}

/// Where a response leads on to. Nothing where it does not.
fn location(from: &Url, response: &Response) -> Result<Option<Url>, HttpError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.headers().get("location") else { return Ok(None) };
    let next = location.to_str().ok().and_then(|location| from.join(location).ok());
    match next.filter(|next| matches!(next.scheme(), "http" | "https")) {
        Some(next) => Ok(Some(next)),
        None => Err(HttpError::Location(shown(from))),
    }
}

fn host_and_port(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}

/// A URL without what may be a secret in it.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // A URL with a host takes both.
    url.set_username("").ok();
    url.set_password(None).ok();
    codex_linux_sandbox::shown(url.as_str())
}

/// An error with what is behind it.
fn chain(error: &reqwest::Error) -> String {
    // Its own words have the URL in it.
    let mut words = String::from("it could not be asked");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        words = format!("{words}: {error}");
        source = error.source();
    }
    codex_linux_sandbox::shown(words)
}
