//! Numbers about what the server does, as Prometheus reads them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use codex_core::exec::{ExecError, ExecResult};
use tokio::sync::Notify;

use crate::telemetry::{Span, Spans};

/// The upper bounds of a latency histogram, in microseconds.
const BOUNDS: [u64; 10] =
    [100, 250, 1_000, 2_500, 10_000, 25_000, 100_000, 1_000_000, 10_000_000, 60_000_000];

/// A number that goes up.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Goes up where it is below a bound.
    pub(crate) fn up_below(&self, most: usize) -> bool {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let next = |now: i64| (now < most).then_some(now + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    pub(crate) fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Numbers that go up, by a word each.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<BTreeMap<&'static str, u64>>);

impl Counters {
    pub(crate) fn add(&self, word: &'static str, count: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(word).or_default() += count;
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum_us: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) connections: Gauge,
    pub(crate) connections_total: Counter,
    pub(crate) connections_refused: Counter,
    pub(crate) sessions: Gauge,
    pub(crate) processes: Gauge,
    /// Commands over MCP of which something is left, whoever still waits for them.
    unfinished: Gauge,
    /// One of either has ended.
    process_ended: Notify,
    pub(crate) processes_started: Counter,
    pub(crate) processes_refused: Counter,
    pub(crate) file_workers: Gauge,
    pub(crate) file_workers_started: Counter,
    pub(crate) file_workers_refused: Counter,
    pub(crate) output_bytes: Counter,
    pub(crate) missed_bytes: Counter,
    pub(crate) evicted_bytes: Counter,
    pub(crate) turns: Counter,
    /// By the bound, as `docs/exec-server.md` has them.
    pub(crate) limits_hit: Counters,
    /// By what was tried.
    pub(crate) denials: Counters,
    pub(crate) malformed: Counter,
    pub(crate) ignored: Counter,
    pub(crate) spans_dropped: Counter,
    requests: Mutex<BTreeMap<(&'static str, &'static str), Histogram>>,
    /// Where requests are told of one by one, where somebody wants that.
    pub(crate) spans: OnceLock<Spans>,
}

/// A command of which something is left.
#[derive(Debug)]
pub(crate) struct Unfinished(Arc<Metrics>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.unfinished.down();
        self.0.process_ended.notify_waiters();
    }
}

impl Metrics {
    /// Notes a request that was answered.
    pub(crate) fn answered(&self, method: &'static str, result: &'static str, took: Duration) {
        if let Some(spans) = self.spans.get() {
            let span = Span { method, result, ended: SystemTime::now(), took };
            // Nobody waits for a collector.
            if spans.try_send(span).is_err() {
                self.spans_dropped.add(1);
            }
        }
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = requests.entry((method, result)).or_default();
        histogram.count += 1;
        histogram.sum_us = histogram.sum_us.saturating_add(took);
        for (bucket, bound) in histogram.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(took <= bound);
        }
    }

    /// Notes that all of a process has ended.
    pub(crate) fn process_is_over(&self) {
        self.processes.down();
        self.process_ended.notify_waiters();
    }

    /// Something that the end of the server waits for, until it is dropped.
    pub(crate) fn begun(self: &Arc<Self>) -> Unfinished {
        self.unfinished.up();
        Unfinished(Arc::clone(self))
    }

    /// Waits until none runs, and nothing is left of any.
    pub(crate) async fn no_process(&self) {
        loop {
            // Before it is looked, so that none ends in between.
            let ended = self.process_ended.notified();
            if self.processes.get() <= 0 && self.unfinished.get() <= 0 {
                return;
            }
            ended.await;
        }
    }

    /// Notes what the sandbox of a command has refused it.
    pub(crate) fn ended(&self, result: &Result<ExecResult, ExecError>) {
        for denial in result.iter().flat_map(|result| &result.denials) {
            self.denials.add(denial.operation.name(), denial.count.max(1));
        }
    }

    /// The text format, version 0.0.4.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (name, help, gauge) in [
            ("connections_active", "Connections.", &self.connections),
            ("sessions_active", "Sessions, detached ones included.", &self.sessions),
            ("processes_active", "Processes that run.", &self.processes),
            ("file_workers_active", "Workers for files, those that wait included.", &self.file_workers),
        ] {
            put(&mut text, name, "gauge", help, gauge.get());
        }
        for (name, help, counter) in [
            ("connections_total", "Connections that were made.", &self.connections_total),
            ("connections_refused_total", "Connections that were refused.", &self.connections_refused),
            ("processes_started_total", "Processes that were started.", &self.processes_started),
            ("processes_refused_total", "Starts that were refused or failed.", &self.processes_refused),
            (
                "file_workers_started_total",
                "Workers for files that were started.",
                &self.file_workers_started,
            ),
            (
                "file_workers_refused_total",
                "Requests for files that found no worker.",
                &self.file_workers_refused,
            ),
            ("output_bytes_total", "Bytes of output that were sent.", &self.output_bytes),
            ("missed_bytes_total", "Bytes of output that readers were too slow for.", &self.missed_bytes),
            (
                "evicted_bytes_total",
                "Bytes of output that were not kept to the end of their process.",
                &self.evicted_bytes,
            ),
            ("turns_total", "Turns at setting something up that were taken.", &self.turns),
            ("malformed_messages_total", "Messages that were none.", &self.malformed),
            ("spans_dropped_total", "Spans that no collector took in time.", &self.spans_dropped),
            ("ignored_messages_total", "Notifications and answers that meant nothing.", &self.ignored),
        ] {
            put(&mut text, name, "counter", help, counter.0.load(Ordering::Relaxed));
        }
        for (name, help, label, counters) in [
            ("limits_hit_total", "How often a bound was met, by the bound.", "limit", &self.limits_hit),
            ("denials_total", "What sandboxes have refused, by what was tried.", "operation", &self.denials),
        ] {
            text +=
                &format!("# HELP codex_exec_server_{name} {help}\n# TYPE codex_exec_server_{name} counter\n");
            for (word, count) in &*counters.0.lock().unwrap_or_else(PoisonError::into_inner) {
                text += &format!("codex_exec_server_{name}{{{label}=\"{word}\"}} {count}\n");
            }
        }
        const NAME: &str = "codex_exec_server_request_duration_seconds";
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut lines = format!("# HELP {NAME} Requests by method and result.\n# TYPE {NAME} histogram\n");
        for ((method, result), histogram) in requests {
            let labels = format!("method=\"{method}\",result=\"{result}\"");
            for (bucket, bound) in histogram.buckets.iter().zip(BOUNDS) {
                let bound = Duration::from_micros(bound).as_secs_f64();
                lines += &format!("{NAME}_bucket{{{labels},le=\"{bound}\"}} {bucket}\n");
            }
            let (count, sum) = (histogram.count, Duration::from_micros(histogram.sum_us).as_secs_f64());
            lines += &format!("{NAME}_bucket{{{labels},le=\"+Inf\"}} {count}\n");
            lines += &format!("{NAME}_sum{{{labels}}} {sum}\n{NAME}_count{{{labels}}} {count}\n");
        }
        text + &lines
    }
}

fn put(text: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    let name = format!("codex_exec_server_{name}");
    *text += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
}
