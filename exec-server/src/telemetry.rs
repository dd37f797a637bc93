//! OpenTelemetry: a span for each request that was answered, sent in batches to a collector as OTLP over HTTP, in JSON.
//!
//! ```text
//! Metrics::answered ─▶ queue ─▶ batches ─▶ POST ENDPOINT/v1/traces
//! ```
//!
//! What a collector is told is what `/metrics` has: methods, results and times. No command, path, id or word of a client is in it.
//! The queue has an end, and what does not fit is dropped and counted: a collector that does not answer holds up nobody.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::http::{builder, read_certificates, shown};

/// How many spans wait to be sent. Beyond it, they are dropped.
const WAITING: usize = 2048;
/// How many are sent at a time.
const BATCH: usize = 512;
/// How long one waits for others, where nobody says.
const DELAY: Duration = Duration::from_secs(5);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The variables that may have a secret in them: no command's business.
pub const SECRET_VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
/// What the service is called, where nobody says.
const SERVICE: &str = "codex-exec-server";

/// Why spans can't be sent as the environment says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// It leads nowhere.
    #[error("{0} has to be an http: or https: URL")]
    Endpoint(&'static str),
    /// We speak one.
    #[error("{0} has to be http/json: this server sends spans in no other form")]
    Protocol(&'static str),
    /// It is no time.
    #[error("{0} has to be a number of milliseconds, and not 0")]
    Delay(&'static str),
    /// They can't be sent.
    #[error("{0} has to be NAME=VALUE, with commas in between")]
    Pairs(&'static str),
}

/// Where spans go, and what goes with them.
#[derive(Clone)]
pub struct TelemetryOptions {
    endpoint: Url,
    headers: HeaderMap,
    resource: BTreeMap<String, String>,
    delay: Duration,
}

impl std::fmt::Debug for TelemetryOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The rest may be a secret.
        write!(formatter, "TelemetryOptions({})", shown(&self.endpoint))
    }
}

impl TelemetryOptions {
    /// What variables say, by their names (opentelemetry.io, "OTLP Exporter Configuration"). Nothing where they name no endpoint, or
    /// that nothing be sent.
    ///
    /// # Errors
    ///
    /// [`TelemetryError`] where what they say can't be done.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, TelemetryError> {
        let given = |name: &'static str| variable(name).filter(|value| !value.trim().is_empty());
        let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, given(name)?)));
        let is_off = given("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || given("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let [base, own] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        let Some((named_by, endpoint)) = first([own, base]).filter(|_| !is_off) else { return Ok(None) };
        let endpoint =
            Url::parse(endpoint.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let mut endpoint = endpoint.ok_or(TelemetryError::Endpoint(named_by))?;
        // The one for traces is taken as it is, the one for all has a path for each kind below it.
        if named_by != own {
            let below = format!("{}/v1/traces", endpoint.path().trim_end_matches('/'));
            endpoint.set_path(&below);
        }
        let protocol = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
        if let Some((name, protocol)) = first(protocol)
            && protocol != "http/json"
        {
            return Err(TelemetryError::Protocol(name));
        }
        let mut headers = HeaderMap::new();
        if let Some((name, text)) = first(SECRET_VARIABLES) {
            for (header, value) in pairs(name, &text)? {
                let header = HeaderName::try_from(header).map_err(|_other| TelemetryError::Pairs(name))?;
                let value = HeaderValue::try_from(value).map_err(|_other| TelemetryError::Pairs(name))?;
                headers.insert(header, value);
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut resource = BTreeMap::from([
            ("service.name".to_owned(), SERVICE.to_owned()),
            ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ]);
        if let Some(text) = given("OTEL_RESOURCE_ATTRIBUTES") {
            resource.extend(pairs("OTEL_RESOURCE_ATTRIBUTES", &text)?);
        }
        if let Some(name) = given("OTEL_SERVICE_NAME") {
            resource.insert("service.name".to_owned(), name);
        }
        let delay = match given("OTEL_BSP_SCHEDULE_DELAY") {
            None => DELAY,
            Some(text) => {
                let delay = text.trim().parse().ok().filter(|delay| *delay > 0).map(Duration::from_millis);
                delay.ok_or(TelemetryError::Delay("OTEL_BSP_SCHEDULE_DELAY"))?
            }
        };
        Ok(Some(Self { endpoint, headers, resource, delay }))
    }
}

/// `NAME=VALUE` with commas in between, values percent-encoded.
fn pairs(variable: &'static str, text: &str) -> Result<Vec<(String, String)>, TelemetryError> {
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some((name.trim().to_owned(), value.into_owned()))
    });
    pairs.collect::<Option<Vec<_>>>().ok_or(TelemetryError::Pairs(variable))
}

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) method: &'static str,
    pub(crate) result: &'static str,
    pub(crate) ended: SystemTime,
    pub(crate) took: Duration,
}

/// The end of the queue that spans are put in.
pub(crate) type Spans = mpsc::Sender<Span>;

/// A queue, whose spans are sent by whoever awaits the second part: until it is told to stop, and what waits then as well.
pub(crate) fn exporter(
    options: TelemetryOptions,
    stop: CancellationToken,
) -> (Spans, impl Future<Output = ()> + Send) {
    let (spans, waiting) = mpsc::channel(WAITING);
    (spans, export(options, waiting, stop))
}

async fn export(options: TelemetryOptions, mut waiting: mpsc::Receiver<Span>, stop: CancellationToken) {
    let client = match builder(&options.endpoint, read_certificates()).await {
        Ok(builder) => builder.timeout(PATIENCE).build().map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let client = match client {
        Ok(client) => client,
        Err(error) => return tracing::error!("spans can't be sent: {error}"),
    };
    let mut ticks = interval(options.delay);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let room = BATCH - batch.len();
        tokio::select! {
            count = waiting.recv_many(&mut batch, room) => {
                if count > 0 && batch.len() < BATCH {
                    continue;
                }
                if count == 0 {
                    return send(&client, &options, &mut batch).await;
                }
            }
            _ = ticks.tick() => {}
            () = stop.cancelled() => {
                waiting.close();
                while waiting.recv_many(&mut batch, BATCH).await > 0 {
                    send(&client, &options, &mut batch).await;
                }
                return send(&client, &options, &mut batch).await;
            }
        }
        send(&client, &options, &mut batch).await;
    }
}

/// Sends spans. What a collector does not take is lost.
async fn send(client: &reqwest::Client, options: &TelemetryOptions, batch: &mut Vec<Span>) {
    if batch.is_empty() {
        return;
    }
    let body = body(&options.resource, batch).to_string();
    let count = batch.len();
    batch.clear();
    let request = client.post(options.endpoint.clone()).headers(options.headers.clone()).body(body);
    match request.send().await {
        Ok(answer) if answer.status().is_success() => {}
        Ok(answer) => tracing::warn!("{count} spans were not taken: {}", answer.status()),
        Err(error) => tracing::warn!("{count} spans could not be sent: {}", error.without_url()),
    }
}

/// Spans in the form of `ExportTraceServiceRequest`.
fn body(resource: &BTreeMap<String, String>, batch: &[Span]) -> Value {
    let attribute = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let attributes: Vec<Value> = resource.iter().map(|(key, value)| attribute(key, value)).collect();
    let spans: Vec<Value> = batch
        .iter()
        .map(|span| {
            let ended = span.ended.duration_since(UNIX_EPOCH).unwrap_or_default();
            let began = ended.saturating_sub(span.took);
            let (trace, own) = (uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple().to_string());
            json!({
                "traceId": trace.to_string(),
                "spanId": own.get(..16),
                "name": span.method,
                // Of a server.
                "kind": 2,
                "startTimeUnixNano": began.as_nanos().to_string(),
                "endTimeUnixNano": ended.as_nanos().to_string(),
                "attributes": [attribute("rpc.method", span.method), attribute("codex.result", span.result)],
                "status": { "code": if span.result == "ok" { 1 } else { 2 } },
            })
        })
        .collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes },
        "scopeSpans": [{ "scope": { "name": SERVICE, "version": env!("CARGO_PKG_VERSION") }, "spans": spans }],
    }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<TelemetryOptions>, TelemetryError> {
        TelemetryOptions::of(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/");

    #[test]
    fn nothing_is_sent_unless_somebody_says_where_to() {
        assert!(of(&[]).unwrap().is_none());
        assert!(of(&[("OTEL_SERVICE_NAME", "x"), ("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).unwrap().is_none());
        assert!(of(&[BASE, ("OTEL_SDK_DISABLED", "TRUE")]).unwrap().is_none());
        assert!(of(&[BASE, ("OTEL_TRACES_EXPORTER", "none")]).unwrap().is_none());
        let url = |variables: &[(&str, &str)]| of(variables).unwrap().unwrap().endpoint.to_string();
        assert_eq!(url(&[BASE]), "http://127.0.0.1:4318/v1/traces");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector/spans");
        assert_eq!(url(&[BASE, own]), "https://collector/spans");
    }

    #[test]
    fn what_can_not_be_done_is_refused() {
        let refused = |variables: &[(&str, &str)]| of(variables).unwrap_err();
        for url in ["127.0.0.1:4318", "grpc://x", "file:///x", "http://"] {
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", url);
            assert_eq!(refused(&[endpoint]), TelemetryError::Endpoint(endpoint.0), "{url}");
        }
        let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        assert_eq!(refused(&[BASE, protocol]), TelemetryError::Protocol(protocol.0));
        assert!(of(&[BASE, (protocol.0, "http/json")]).is_ok());
        for text in ["x", "a b=c", "a=%ff", "a=b%0ac", "=x"] {
            let headers = ("OTEL_EXPORTER_OTLP_HEADERS", text);
            assert_eq!(refused(&[BASE, headers]), TelemetryError::Pairs(headers.0), "{text:?}");
        }
        for text in ["0", "-1", "5s"] {
            let delay = ("OTEL_BSP_SCHEDULE_DELAY", text);
            assert_eq!(refused(&[BASE, delay]), TelemetryError::Delay(delay.0), "{text}");
        }
    }

    #[test]
    fn headers_and_attributes_are_read() {
        let options = of(&[
            BASE,
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20secret, x = y ,"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test,service.name=other"),
            ("OTEL_SERVICE_NAME", "mine"),
        ]);
        let options = options.unwrap().unwrap();
        assert_eq!(options.headers["api-key"], "a secret");
        assert_eq!(options.headers["x"], "y");
        assert_eq!(options.resource["service.name"], "mine");
        assert_eq!(options.resource["deployment.environment"], "test");
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[test]
    fn spans_have_the_form_that_collectors_read() {
        let ended = UNIX_EPOCH + Duration::from_secs(10);
        let span = Span { method: "process/start", result: "ok", ended, took: Duration::from_secs(1) };
        let failed = Span { result: "internal", ..span };
        let body = body(&BTreeMap::from([("service.name".to_owned(), "x".to_owned())]), &[span, failed]);
        let resource = &body["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "x");
        let spans = &resource["scopeSpans"][0]["spans"];
        assert_eq!((&spans[0]["name"], &spans[0]["kind"]), (&json!("process/start"), &json!(2)));
        assert_eq!(spans[0]["startTimeUnixNano"], "9000000000");
        assert_eq!(spans[0]["endTimeUnixNano"], "10000000000");
        assert_eq!((&spans[0]["status"]["code"], &spans[1]["status"]["code"]), (&json!(1), &json!(2)));
        let hex = |value: &Value, digits: usize| {
            let text = value.as_str().unwrap();
            text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        assert!(hex(&spans[0]["traceId"], 32) && hex(&spans[0]["spanId"], 16));
        assert_ne!(spans[0]["traceId"], spans[1]["traceId"]);
    }
}
