//! Asking a server, again where that helps.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::{sleep, timeout};

use codex_core::config::WireApi;

use super::error::{ModelError, words};
use super::sse::{Event, Reader};
use super::trust::distrust;
use super::{DEFAULT_PROVIDER, Provider, chat, responses};
use crate::conversation::{Answer, Request};

/// How long it may take to reach a server.
const CONNECT: Duration = Duration::from_secs(20);
/// How long the first wait is; each further one is twice as long, and up to a tenth longer, so that not everybody comes
/// back at the same moment.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// No wait of ours is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A server that asks for a longer wait is not waited for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);
/// How much of an answer that is no stream is read.
const LONGEST_REFUSAL: usize = 64 * 1024;

/// What is told while a model is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It is tried again.
    Retry {
        /// Why.
        why: ModelError,
        /// When.
        after: Duration,
        /// Which try comes, counted from 1, and how many there are.
        attempt: (u64, u64),
    },
}

/// Asks one server.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    provider: Provider,
    url: reqwest::Url,
}

impl Client {
    /// Makes a client. System proxies (`HTTPS_PROXY`, `NO_PROXY`, …) and the system's certificates (`SSL_CERT_FILE`,
    /// `SSL_CERT_DIR`) are honoured.
    ///
    /// # Errors
    ///
    /// Where a URL or a header can't be one, or the certificates can't be read.
    pub fn new(provider: Provider) -> Result<Self, ModelError> {
        // Somebody else may have chosen one already, which is as good.
        if let Err(_chosen) = rustls::crypto::ring::default_provider().install_default() {}
        let mut headers = HeaderMap::new();
        for (name, value) in &provider.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| ModelError::Request(format!("{} is no name of a header", words(name))))?;
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| ModelError::Request(format!("the value of the header {name} is none")))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let path = match provider.wire_api {
            WireApi::Responses => "responses",
            WireApi::Chat => "chat/completions",
        };
        let mut url = reqwest::Url::parse(&format!("{}/{path}", provider.base_url))
            .map_err(|error| ModelError::Request(format!("{}: {error}", words(&provider.base_url))))?;
        if !provider.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&provider.query);
        }
        let builder = || {
            reqwest::Client::builder()
                .default_headers(headers.clone())
                .connect_timeout(CONNECT)
                // Keys go where the user said, and nowhere else.
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("codex/", env!("CARGO_PKG_VERSION")))
        };
        let http = match builder().build() {
            // Where a machine has no certificates, nobody is trusted, and what is asked without them can be asked all the same.
            Err(_) if url.scheme() == "http" => builder().tls_certs_only([]).build(),
            built => built,
        };
        let http = http.map_err(|error| {
            ModelError::Request(format!(
                "{}; a package like ca-certificates has those by which https is trusted, and SSL_CERT_FILE may name others",
                chain(&error)
            ))
        })?;
        Ok(Self { http, provider, url })
    }

    /// The server.
    #[must_use]
    pub const fn provider(&self) -> &Provider {
        &self.provider
    }

    /// Asks, again where it failed in passing, until there is a whole answer.
    ///
    /// # Errors
    ///
    /// [`ModelError`] of the last try.
    pub async fn ask(
        &self,
        request: &Request<'_>,
        tell: &mut dyn FnMut(Notice),
    ) -> Result<Answer, ModelError> {
        let body = match self.provider.wire_api {
            WireApi::Responses => responses::body(request, self.provider.id == DEFAULT_PROVIDER),
            WireApi::Chat => chat::body(request),
        };
        let body = Bytes::from(body.to_string());
        let (mut requests, mut streams) = (0, 0);
        loop {
            let error = match self.attempt(body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let (tries, most) = if error.is_of_stream() {
                (&mut streams, self.provider.stream_max_retries)
            } else {
                (&mut requests, self.provider.request_max_retries)
            };
            let after = wait(*tries, &error);
            if !error.is_passing() || *tries >= most || after > LONGEST_RETRY_AFTER {
                return Err(error);
            }
            *tries += 1;
            tell(Notice::Retry { why: error, after, attempt: (*tries, most) });
            sleep(after).await;
        }
    }

    async fn attempt(&self, body: Bytes) -> Result<Answer, ModelError> {
        let idle = self.provider.idle_timeout;
        let request = self
            .http
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("accept", "text/event-stream")
            .body(body);
        let unreachable = |error: &reqwest::Error| {
            // Parameters may be keys.
            let mut url = self.url.clone();
            url.set_query(None);
            let (url, why) = (words(url.as_str()), chain(error));
            match distrust(error) {
                Some(distrust) => ModelError::Untrusted { url, why, distrust },
                None => ModelError::Unreachable { url, why },
            }
        };
        let response = timeout(idle, request.send()).await.map_err(|_| ModelError::Idle(idle))?;
        let response = response.map_err(|error| unreachable(&error))?;
        let status = response.status();
        if !status.is_success() {
            let retry_after = retry_after(response.headers(), SystemTime::now());
            let text = timeout(idle, refusal(response)).await.unwrap_or_default();
            return Err(ModelError::of_status(status.as_u16(), &text, retry_after));
        }
        let mut assembly = Assembly::new(self.provider.wire_api);
        let mut reader = Reader::default();
        let mut stream = response.bytes_stream();
        loop {
            let chunk = timeout(idle, stream.next()).await.map_err(|_| ModelError::Idle(idle))?;
            let Some(chunk) = chunk else {
                return assembly
                    .end()
                    .ok_or_else(|| ModelError::Stream("the connection was closed".to_owned()));
            };
            let chunk = match chunk {
                Ok(chunk) => chunk,
                // Where all has been said, a connection that ends badly took nothing with it.
                Err(error) => return assembly.end().ok_or_else(|| ModelError::Stream(chain(&error))),
            };
            for event in reader.push(&chunk).map_err(|error| ModelError::Stream(error.to_string()))? {
                if let Some(answer) = assembly.take(&event)? {
                    return Ok(answer);
                }
            }
        }
    }
}

/// An answer, of either API.
enum Assembly {
    Responses(responses::Assembly),
    Chat(chat::Assembly),
}

impl Assembly {
    fn new(api: WireApi) -> Self {
        match api {
            WireApi::Responses => Self::Responses(responses::Assembly::default()),
            WireApi::Chat => Self::Chat(chat::Assembly::default()),
        }
    }

    fn take(&mut self, event: &Event) -> Result<Option<Answer>, ModelError> {
        match self {
            Self::Responses(assembly) => assembly.take(event),
            Self::Chat(assembly) => assembly.take(event),
        }
    }

    fn end(&mut self) -> Option<Answer> {
        match self {
            Self::Responses(_) => None,
            Self::Chat(assembly) => assembly.end(),
        }
    }
}

/// The start of an answer that is no stream.
async fn refusal(response: reqwest::Response) -> String {
    let mut text = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(Ok(chunk)) = stream.next().await {
        text.extend_from_slice(&chunk);
        if text.len() > LONGEST_REFUSAL {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// How long to wait before the next try.
fn wait(tries: u64, error: &ModelError) -> Duration {
    if let Some(asked) = error.retry_after() {
        return asked;
    }
    let doubled =
        FIRST_WAIT.saturating_mul(1_u32.checked_shl(u32::try_from(tries).unwrap_or(31)).unwrap_or(u32::MAX));
    let waits = doubled.min(LONGEST_WAIT);
    // The clock's last digits are as good as dice here.
    let dice =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos() % 100);
    waits + waits / 1000 * dice
}

/// `retry-after-ms`, or `Retry-After` in seconds or as a date.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| text(name)?.parse::<f64>().ok();
    let until = || {
        Some(httpdate::parse_http_date(text("retry-after")?).ok()?.duration_since(now).unwrap_or_default())
    };
    match number("retry-after-ms").map(|milliseconds| milliseconds / 1e3).or_else(|| number("retry-after")) {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => until(),
    }
}

/// An error with what is behind it, without the URL.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    // The outermost one names the URL, with its parameters, and says little else.
    words(&if causes.is_empty() { error.to_string() } else { causes.join(": ") })
}
