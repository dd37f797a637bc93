//! What the loop waits for, where there may be nothing to wait for.

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use crate::exec::accounting::{Exceeded, Meter};
use crate::exec::input::Input;
use crate::exec::overheard::Hearing;
use crate::exec::request::Control;
use crate::exec::warden::Warden;

/// Never ready: what is to be done is done on the way.
pub(super) async fn tend(warden: &mut Option<Warden>) {
    match warden {
        Some(warden) => warden.tend().await,
        None => std::future::pending().await,
    }
}

/// Never ready where nothing is limited that has to be watched.
pub(super) async fn above(meter: &mut Option<Meter>) -> Exceeded {
    match meter {
        Some(meter) => meter.next().await,
        None => std::future::pending().await,
    }
}

/// Never ready where nothing is overheard.
pub(super) async fn hear(hearing: &mut Option<Hearing>) {
    match hearing {
        Some(hearing) => hearing.tend().await,
        None => std::future::pending().await,
    }
}

pub(super) async fn write(input: &mut Option<Input>) {
    match input {
        Some(input) => input.write().await,
        None => std::future::pending().await,
    }
}

pub(super) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Waits until the caller hands on a signal.
pub(super) async fn signalled(control: &mut Option<UnboundedReceiver<Control>>) {
    while !matches!(next(control).await, Control::Signal(_) | Control::Seen(_)) {}
}

/// What the caller wants next. Never ready where there is nothing to come.
pub(super) async fn next(control: &mut Option<UnboundedReceiver<Control>>) -> Control {
    if let Some(wishes) = control {
        if let Some(wish) = wishes.recv().await {
            return wish;
        }
        *control = None;
    }
    std::future::pending().await
}
