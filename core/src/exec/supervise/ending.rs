//! The end of a run: what is left is ended, what was written is handed on, and what was seen is told.

use codex_linux_sandbox::{Ending, Record};
use tokio::time::Instant;

use super::waits::signalled;
use super::{KILL_PATIENCE, LAST_PATIENCE, Orders, Phase, Run};
use crate::exec::left_behind::LeftBehind;
use crate::exec::outcome::{ResourceUsage, Stop};
use crate::exec::request::Detach;
use crate::exec::streams::Kept;
use crate::output::SpillReport;

/// Everything that was seen of a run.
pub(in crate::exec) struct Seen {
    pub(in crate::exec) status: Option<(Ending, ResourceUsage)>,
    pub(in crate::exec) stopped: Option<Stop>,
    pub(in crate::exec) ended: Instant,
    pub(in crate::exec) kept: Kept,
    pub(in crate::exec) spill: Option<SpillReport>,
    pub(in crate::exec) streams_left_open: bool,
    pub(in crate::exec) left_behind: Vec<LeftBehind>,
    pub(in crate::exec) records: Vec<Record>,
}

impl Run<'_> {
    /// Whether something of the command's goes on, and is to.
    pub(in crate::exec) fn goes_on(&self) -> bool {
        self.orders.detach == Detach::Keep && self.phase == Phase::Running && !self.gone && self.others
    }

    /// What is known now, while something goes on.
    pub(in crate::exec) fn seen_so_far(&mut self) -> Seen {
        self.lingers = true;
        self.streams.take_what_is_there();
        Seen {
            status: None,
            stopped: self.phase.why(),
            ended: self.ended.unwrap_or_else(Instant::now),
            kept: self.streams.snapshot(),
            spill: None,
            streams_left_open: !self.streams.are_closed(),
            left_behind: self.child.others(),
            records: self.told.records().to_vec(),
        }
    }

    /// Hands on what the command has written to a reader who may be slow: as long as it takes, as the command would have waited
    /// without us. A command that was ended or asked to end, or a caller who wants to go on, leaves it.
    async fn hand_on_the_rest(&mut self) {
        // Whoever asked it to end waits for that, and need not be somebody who reads.
        let was_asked = self.asked_to_end.is_some_and(|asked| {
            self.ended.is_some_and(|ended| ended.duration_since(asked) <= KILL_PATIENCE)
        });
        let was_stopped = self.phase.why().is_some() || was_asked;
        let Orders { hearing: Some(hearing), control, cancellation, .. } = &mut *self.orders else { return };
        let enough = async {
            tokio::select! {
                () = tokio::time::sleep(KILL_PATIENCE), if was_stopped => {}
                () = cancellation.cancelled(), if !was_stopped => {}
                () = signalled(control) => {}
            }
        };
        tokio::select! {
            biased;
            () = hearing.rest() => {}
            () = enough => {}
        }
    }

    /// Ends what is left, and collects it.
    pub(in crate::exec) async fn finish(mut self) -> Seen {
        // Whatever ended the wait: what was written by now is read.
        self.streams.take_what_is_there();
        let streams_left_open = !self.streams.are_closed();
        let was_left = !self.gone && (self.others || streams_left_open);
        let left_behind =
            if self.phase == Phase::Running && was_left { self.child.others() } else { Vec::new() };
        if self.ended.is_some() && !self.gone {
            // Otherwise it is ending by itself.
            if was_left {
                self.child.kill_tree();
            }
            self.gone = tokio::time::timeout(KILL_PATIENCE, self.pidfd.readable()).await.is_ok();
            if !self.gone {
                self.child.kill_hard();
                self.gone = tokio::time::timeout(LAST_PATIENCE, self.pidfd.readable()).await.is_ok();
            }
        }
        // A process that could not be killed is collected when it lets itself be, by whoever the child is dropped to.
        let status = if self.gone { self.child.reap().ok() } else { None };
        self.hand_on_the_rest().await;
        self.told.read();
        // Where nothing has run it may begin anew, and those who follow with it.
        let failed = self.told.records().iter().any(|record| matches!(record, Record::Failed { .. }));
        let (kept, spill) = self.streams.finish(!failed).await;
        Seen {
            status,
            stopped: self.phase.why(),
            ended: self.ended.unwrap_or_else(Instant::now),
            kept,
            spill,
            streams_left_open,
            left_behind,
            records: self.told.into_records(),
        }
    }
}
