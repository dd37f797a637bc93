//! What a command and all below it use, where the kernel does not hold them to a limit: sampled from `/proc`.
//!
//! A sample is a look at processes that go on running. What is exact and what is not:
//!
//! - *Memory* is the sum of resident sizes, which counts shared pages once for each process. Only where that sum is above
//!   the limit, the proportional sizes are added up (`smaps_rollup`), which count them once in all, and decide. The kernel
//!   keeps sizes in batches of each processor, so that a process's may lag by some hundred KiB.
//! - *Processor time* is that of the living, with that of the children that they have waited for. What ended without being
//!   waited for (its parent ignores `SIGCHLD`, or went first and nobody of the tree adopted it) is not in it.
//! - *Processes* counts threads as well, as the kernel's own limits do.

mod process;

use std::sync::Arc;
use std::time::Duration;

use codex_linux_sandbox::tree::children;
use nix::unistd::Pid;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::cgroup::Cgroup;
use super::offload;
use super::request::Stdio;
use crate::limits::{Limit, ResourceLimits};
use process::{Usage, proportional_memory, usage};

/// Between two samples, by how near a limit is.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(100);
/// Sampling takes at most this part of one processor.
const SHARE: u32 = 50;
/// A sample that takes longer is taken on a thread of its own.
const LONG: Duration = Duration::from_millis(1);

/// Whose descendants a call's processes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// The command's own process: it and all below it.
    Command(Pid),
    /// The process that stays beside the command: all below it.
    Keeper(Pid),
    /// The process that stands for the command and whose one child is the first process of the PID namespace.
    Relay(Pid),
}

/// What is used at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Bytes of memory.
    pub memory: u64,
    /// Processor time so far.
    pub cpu_time: Duration,
    /// Processes and threads.
    pub processes: u64,
}

/// More of something than is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// What is limited.
    pub limit: Limit,
    /// What is allowed of it, in its [unit](Limit::unit).
    pub allowed: u64,
    /// What was seen of it.
    pub seen: u64,
}

/// Watches over limits that nothing else holds for all processes of a call together.
#[derive(Debug)]
pub struct Meter {
    look: Look,
    stdio: Stdio,
    due: Instant,
    cost: Duration,
    /// A sample that is being taken elsewhere.
    taken: Option<oneshot::Receiver<Sample>>,
    peak: Sample,
}

/// What to look at.
#[derive(Clone, Debug)]
struct Look {
    root: Root,
    limits: ResourceLimits,
    /// Counts processor time exactly, where there is one.
    cgroup: Option<Arc<Cgroup>>,
}

impl Meter {
    /// A meter for those of the limits that it is for. `None` where there is none of them: memory and processes that the
    /// cgroup holds are not sampled, and what belongs to one process or one file never is.
    #[must_use]
    pub fn new(
        root: Root,
        limits: &ResourceLimits,
        cgroup: Option<Arc<Cgroup>>,
        stdio: Stdio,
    ) -> Option<Self> {
        let held = cgroup.as_ref().map(|cgroup| cgroup.holds()).unwrap_or_default();
        let mut watched = ResourceLimits::NONE;
        for (limit, amount) in limits.iter() {
            match limit {
                Limit::Memory | Limit::Processes if held.contains(&limit) => {}
                Limit::Memory | Limit::Processes | Limit::CpuTime => watched.set(limit, amount),
                Limit::OpenFiles | Limit::FileSize | Limit::Shm => {}
            }
        }
        (!watched.is_empty()).then(|| Self {
            look: Look { root, limits: watched, cgroup },
            stdio,
            due: Instant::now() + SHORTEST,
            cost: Duration::ZERO,
            taken: None,
            peak: Sample::default(),
        })
    }

    /// Waits until a limit is exceeded. May be dropped and called again, as often as wanted: samples are taken at their own
    /// pace.
    pub async fn next(&mut self) -> Exceeded {
        loop {
            sleep_until(self.due).await;
            let begun = Instant::now();
            let sample = self.take().await;
            let now = Instant::now();
            self.cost = now - begun;
            self.note(&sample);
            if let Some(exceeded) = self.judge(&sample) {
                // Whoever does not end the call at once is told again.
                self.due = now + SHORTEST;
                return exceeded;
            }
            self.due = now + self.pause(&sample).max(self.cost * SHARE);
        }
    }

    /// Takes a sample: on a thread of its own where it takes long, so that other calls of the runtime don't wait, but where
    /// the process has to keep its one thread.
    async fn take(&mut self) -> Sample {
        if self.taken.is_none() && (self.cost < LONG || self.stdio == Stdio::Inherit) {
            return self.sample();
        }
        // Kept here and not on the way: whoever calls again goes on waiting for the same sample.
        let taken = match &mut self.taken {
            Some(taken) => taken,
            slot => {
                let look = self.look.clone();
                match offload::begin(move || look.sample()) {
                    Ok(taken) => slot.insert(taken),
                    Err(sample) => return sample(),
                }
            }
        };
        let sample = taken.await;
        self.taken = None;
        sample.unwrap_or_else(|_ended| self.sample())
    }

    /// The most of each that was seen. A peak between two samples is missed.
    #[must_use]
    pub const fn peak(&self) -> Sample {
        self.peak
    }

    fn note(&mut self, sample: &Sample) {
        self.peak.memory = self.peak.memory.max(sample.memory);
        // Who is gone without having been waited for takes its time along; it was used all the same.
        self.peak.cpu_time = self.peak.cpu_time.max(sample.cpu_time);
        self.peak.processes = self.peak.processes.max(sample.processes);
    }

    /// What is used now.
    #[must_use]
    pub fn sample(&self) -> Sample {
        self.look.sample()
    }

    fn judge(&self, sample: &Sample) -> Option<Exceeded> {
        let sample = Sample { cpu_time: sample.cpu_time.max(self.peak.cpu_time), ..*sample };
        self.look.limits.iter().find_map(|(limit, allowed)| {
            let (allowed, seen) = (allowed.get(), amount(limit, &sample));
            (seen > allowed.saturating_add(slack(limit))).then_some(Exceeded { limit, allowed, seen })
        })
    }

    /// How long nothing needs to be looked at: the nearer a limit, the shorter.
    fn pause(&self, sample: &Sample) -> Duration {
        let pauses = self.look.limits.iter().map(|(limit, allowed)| {
            let left = allowed.get().saturating_sub(amount(limit, sample));
            match limit {
                // No sooner than with all processors at work.
                Limit::CpuTime => Duration::from_millis(left) / processors(),
                _ if left > allowed.get() / 2 => LONGEST,
                _ if left > allowed.get() / 4 => LONGEST / 2,
                _ => SHORTEST,
            }
        });
        pauses.min().unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)
    }
}

impl Look {
    fn sample(&self) -> Sample {
        let mut all = Walk::of(self.root);
        let mut sample = all.total;
        if let Some(most) = self.limits.get(Limit::Memory)
            && sample.memory > most.get()
        {
            sample.memory = all.members.drain(..).map(proportional_memory).sum();
        }
        if self.limits.get(Limit::CpuTime).is_some()
            && let Some(counted) = self.cgroup.as_ref().and_then(|cgroup| cgroup.cpu_time())
        {
            sample.cpu_time = counted;
        }
        sample
    }
}

/// How far above a limit nothing is done yet. The kernel bounds the time of each process exactly, and tells it by a signal of
/// its own: it gets to do so first.
const fn slack(limit: Limit) -> u64 {
    match limit {
        Limit::CpuTime => 100,
        Limit::Memory | Limit::Processes | Limit::OpenFiles | Limit::FileSize | Limit::Shm => 0,
    }
}

fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

fn amount(limit: Limit, sample: &Sample) -> u64 {
    match limit {
        Limit::Memory => sample.memory,
        Limit::Processes => sample.processes,
        Limit::CpuTime => u64::try_from(sample.cpu_time.as_millis()).unwrap_or(u64::MAX),
        Limit::OpenFiles | Limit::FileSize | Limit::Shm => 0,
    }
}

/// One look at everybody.
struct Walk {
    total: Sample,
    members: Vec<Pid>,
}

impl Walk {
    fn of(root: Root) -> Self {
        let mut walk = Self { total: Sample::default(), members: Vec::new() };
        match root {
            Root::Command(command) => walk.visit(command),
            Root::Keeper(init) => walk.below_keeper(init),
            Root::Relay(relay) => children(relay).into_iter().for_each(|init| walk.below_keeper(init)),
        }
        walk
    }

    /// The first process of a namespace is ours, and adopts what lost its parent: it counts by those it has waited for.
    fn below_keeper(&mut self, init: Pid) {
        if let Some(usage) = usage(init) {
            self.total.cpu_time += usage.waited_for;
        }
        children(init).into_iter().for_each(|child| self.visit(child));
    }

    fn visit(&mut self, first: Pid) {
        let mut waiting = vec![first];
        while let Some(pid) = waiting.pop() {
            let Some(Usage { resident, own, waited_for, threads }) = usage(pid) else { continue };
            self.total.memory = self.total.memory.saturating_add(resident);
            self.total.cpu_time += own + waited_for;
            self.total.processes += threads;
            self.members.push(pid);
            // A process that has gone to another place meanwhile would be met twice, and one in between missed: a
            // number that is one off for the time of a sample.
            waiting.extend(children(pid));
        }
    }
}

#[cfg(test)]
mod tests;
