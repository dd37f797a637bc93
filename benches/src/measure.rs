//! Timing in turn, and what can be said of many timings.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::Outcome;

/// How often each start-up is timed, unless `ROUNDS` says otherwise.
const ROUNDS: usize = 200;
/// How many rounds are not counted: caches fill.
const WARM_UP: usize = 5;

/// Something to be timed, by its name in the table.
pub(crate) struct Case<'a> {
    /// The name.
    pub(crate) name: String,
    run: Box<dyn FnMut() -> Outcome<Duration> + 'a>,
}

impl<'a> Case<'a> {
    /// A case that times itself.
    pub(crate) fn new(name: impl Into<String>, run: impl FnMut() -> Outcome<Duration> + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// A command, from its start to its end, which has to be a success.
    pub(crate) fn command(name: impl Into<String>, mut command: Command) -> Self {
        let run = move || {
            let start = Instant::now();
            let status = command.spawn()?.wait()?;
            let taken = start.elapsed();
            if !status.success() {
                return Err(format!("{command:?}: {status}").into());
            }
            Ok(taken)
        };
        Self::new(name, run)
    }
}

/// The timings of one case, in the order of the rounds.
pub(crate) struct Timings {
    /// The name of the case.
    pub(crate) name: String,
    seconds: Vec<f64>,
}

impl Timings {
    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        middle(self.seconds.clone())
    }

    /// The shortest: what the machine can do while nobody disturbs it.
    pub(crate) fn minimum(&self) -> f64 {
        self.seconds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Timings that were taken elsewhere.
    pub(crate) fn of(name: impl Into<String>, seconds: Vec<f64>) -> Self {
        Self { name: name.into(), seconds }
    }

    /// What so many of a hundred were not longer than.
    pub(crate) fn percentile(&self, hundredths: usize) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() * hundredths).div_ceil(100);
        sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// How many times as long as another case, round by round; the middle of these.
    pub(crate) fn ratio(&self, to: &Self) -> f64 {
        middle(self.seconds.iter().zip(&to.seconds).map(|(own, other)| own / other).collect())
    }
}

/// Times every case once a round. The case that begins a round is another one each time, so that none always runs
/// after the same neighbour.
pub(crate) fn in_turn(rounds: usize, mut cases: Vec<Case<'_>>) -> Outcome<Vec<Timings>> {
    let mut timings: Vec<Timings> =
        cases.iter().map(|case| Timings { name: case.name.clone(), seconds: Vec::new() }).collect();
    let count = cases.len();
    // A few rounds would be all warm-up.
    let warm_up = WARM_UP.min(rounds / 4);
    for round in 0..warm_up + rounds {
        for step in 0..count {
            let place = (round + step) % count;
            let taken = (cases[place].run)()?;
            if round >= warm_up {
                timings[place].seconds.push(taken.as_secs_f64());
            }
        }
    }
    Ok(timings)
}

/// How often to time a start-up.
pub(crate) fn rounds() -> usize {
    std::env::var("ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .filter(|rounds| *rounds > 0)
        .unwrap_or(ROUNDS)
}

fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let half = numbers.len() / 2;
    match numbers.as_slice() {
        [] => f64::NAN,
        all if all.len() % 2 == 1 => all[half],
        all => f64::midpoint(all[half - 1], all[half]),
    }
}
