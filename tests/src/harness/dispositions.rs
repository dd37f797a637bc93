//! What the tests ignore, whoever runs them.

#![expect(unsafe_code, reason = "what a signal does is a matter of the whole process")]

use std::sync::Once;

use nix::sys::signal::{SigHandler, Signal, signal};

/// Gives the signals of a terminal their usual effect, here and so in everything that is started from here: a shell that is not
/// interactive has its background jobs ignore some (`cargo test &`), as `nohup` does, and programs leave ignored what is.
///
/// # Panics
///
/// Never: each of these can be set.
pub(super) fn reset() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for number in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGTERM, Signal::SIGTSTP] {
            // JUSTIFICATION: there is no safe call for it.
            // SAFETY: no handler is set up, so nothing can run at a bad moment.
            unsafe { signal(number, SigHandler::SigDfl) }.expect("a signal can have its usual effect");
        }
    });
}
