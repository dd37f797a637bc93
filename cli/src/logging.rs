//! Logs: off, unless `RUST_LOG` asks for them. They go to standard error, which stays free for the command otherwise.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::world::variable;

/// Which logs to write, in the syntax of tracing-subscriber.
const RUST_LOG: &str = "RUST_LOG";

pub(crate) fn start() {
    // Nothing is set up where nobody asked: it would cost every start.
    let Some(filter) = variable(RUST_LOG) else { return };
    let filter = EnvFilter::builder().parse_lossy(filter.to_string_lossy());
    let colours = std::io::stderr().is_terminal() && !crate::world::no_color();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}
