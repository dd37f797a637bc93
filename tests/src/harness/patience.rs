//! Limits that something has to happen before.

use std::time::Duration;

/// How often a limit is doubled.
const DOUBLED: u32 = 8;

/// Tries with a limit, and with twice of it where it was over before what was to happen first: how long a command takes to begin
/// is up to the machine. `attempt` says nothing where its limit was too short.
///
/// # Panics
///
/// Where the longest limit was too short as well.
pub fn with_longer_limits<T>(first: Duration, mut attempt: impl FnMut(Duration) -> Option<T>) -> T {
    (0..DOUBLED)
        .find_map(|doubled| attempt(first * 2_u32.pow(doubled)))
        .unwrap_or_else(|| panic!("limits from {first:?} on, doubled {DOUBLED} times, were all too short"))
}
