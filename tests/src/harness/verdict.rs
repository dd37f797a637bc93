//! What became of a probe, and what should have.

use std::fmt;

use nix::errno::Errno;
use nix::sys::signal::Signal;

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The act succeeded, with a detail that the probe describes.
    Ok(String),
    /// The act failed.
    Errno(Errno),
    /// A signal ended the probe.
    Signal(Signal),
    /// The probe gave no line: it was not run, or it is broken. Never what a test expects.
    Silent(String),
}

impl Verdict {
    /// Reads a probe's output.
    pub(super) fn read(stdout: &[u8], signal: Option<Signal>, ending: &str) -> Self {
        if let Some(signal) = signal {
            return Self::Signal(signal);
        }
        let text = String::from_utf8_lossy(stdout);
        let mut words = text.lines().last().unwrap_or_default().splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("ok"), detail, rest) => {
                Self::Ok([detail, rest].into_iter().flatten().collect::<Vec<_>>().join(" "))
            }
            (Some("errno"), Some(number), _) => match number.parse() {
                Ok(number) => Self::Errno(Errno::from_raw(number)),
                Err(_) => Self::Silent(text.into_owned()),
            },
            _ => Self::Silent(ending.to_owned()),
        }
    }

    /// Reads the output of a probe that ran on a server, and its exit code: 128 and the number of a signal.
    #[must_use]
    pub fn of_remote(stdout: &[u8], code: i32) -> Self {
        let signal = code.checked_sub(128).and_then(|number| Signal::try_from(number).ok());
        Self::read(stdout, signal, &format!("exit code {code}"))
    }

    /// Whether the act succeeded.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Ok(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok(detail) => write!(formatter, "ok {detail}"),
            Self::Errno(errno) => write!(formatter, "{errno:?}"),
            Self::Signal(signal) => write!(formatter, "{signal}"),
            Self::Silent(why) => write!(formatter, "no answer ({why})"),
        }
    }
}

/// What a verdict should be.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// Success, whatever the detail.
    Ok,
    /// One of these errors. More than one only where kernels differ.
    Fails(&'static [Errno]),
    /// Success or one of these errors: for controls of calls whose result depends on the kernel's configuration.
    OkOr(&'static [Errno]),
    /// This signal.
    Dies(Signal),
}

impl Expect {
    /// Whether `verdict` is as expected.
    #[must_use]
    pub fn admits(&self, verdict: &Verdict) -> bool {
        match (self, verdict) {
            (Self::Ok | Self::OkOr(_), Verdict::Ok(_)) => true,
            (Self::Fails(errors) | Self::OkOr(errors), Verdict::Errno(errno)) => errors.contains(errno),
            (Self::Dies(signal), Verdict::Signal(seen)) => signal == seen,
            _ => false,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |errors: &[Errno]| {
            errors.iter().map(|errno| format!("{errno:?}")).collect::<Vec<_>>().join(" or ")
        };
        match self {
            Self::Ok => formatter.write_str("ok"),
            Self::Fails(errors) => formatter.write_str(&list(errors)),
            Self::OkOr(errors) => write!(formatter, "ok or {}", list(errors)),
            Self::Dies(signal) => write!(formatter, "{signal}"),
        }
    }
}
