//! The command's process up to its own first instruction, on memory that the process that stays has lent it.

use std::convert::Infallible;
use std::path::PathBuf;

use nix::sys::signal::{SigmaskHow, pthread_sigmask};
use nix::unistd::{getpid, setsid};

use super::{Around, Keeper, end_with};
use crate::broker::{Broker, UnixSockets};
use crate::enforce;
use crate::error::{Failure, SetupError, Step};
use crate::handoff::{EnvironmentBlock, become_command};
use crate::observe::be_observed;
use crate::plan::{Invocation, Plan, Terminal, Writes};
use crate::report::{Enforced, Observation, Record};
use crate::run::{Reports, confine, join};
use crate::sys;

impl Keeper {
    /// Starts the command in namespaces, where this process is confined already, with signals as the caller has them, and
    /// tells what is enforced.
    pub(crate) fn start_inside(
        &mut self,
        invocation: &Invocation,
        environment: &EnvironmentBlock,
        enforced: &mut Enforced,
        reports: &mut Reports,
    ) -> Result<(), Failure> {
        self.viewed = first_view(&invocation.plan);
        if enforced.unix_sockets == UnixSockets::Broker {
            let prepared = Broker::prepare(&invocation.plan, &self.all)?;
            if let Around::Namespaces { broker } = &mut self.around {
                *broker = Some(prepared);
            }
        }
        self.start(invocation, |keeper| {
            let listener = enforce::finish(&invocation.plan, enforced)?;
            if let (Around::Namespaces { broker: Some(broker) }, Some(listener)) =
                (&mut keeper.around, listener)
            {
                broker.listen_to(listener);
            }
            enforce::limit(&invocation.plan.limits)?;
            have_observed(invocation, enforced)?;
            reports.tell(&Record::Enforced(enforced.clone()))?;
            Ok(become_command(&invocation.command, environment)?)
        })
    }

    /// Starts the command, which confines itself on the way, with signals as the caller has them, and tells what is enforced.
    pub(crate) fn start_beside(
        &mut self,
        invocation: &Invocation,
        environment: &EnvironmentBlock,
        reports: &mut Reports,
    ) -> Result<(), Failure> {
        let keeper = getpid().as_raw();
        self.start(invocation, |_| {
            // Should somebody kill the process that keeps all of them, the command at least does not go on.
            end_with(keeper, libc::SIGKILL)?;
            join(invocation)?;
            let mut enforced = confine(invocation)?;
            enforce::limit(&invocation.plan.limits)?;
            have_observed(invocation, &mut enforced)?;
            reports.tell(&Record::Enforced(enforced))?;
            Ok(become_command(&invocation.command, environment)?)
        })
    }

    /// The command's process up to its own first instruction. All memory and descriptors are still those of this one.
    fn start(
        &mut self,
        invocation: &Invocation,
        mut go_on: impl FnMut(&mut Self) -> Result<Infallible, Failure>,
    ) -> Result<(), Failure> {
        let mut failure = None;
        let started = sys::run_vforked(|| {
            let Err(error) = self.take_place(invocation).and_then(|()| go_on(self));
            let code = error.exit_code();
            failure = Some(error);
            code
        });
        let pid = started.map_err(|errno| SetupError::call(Step::Start, "clone", errno))?;
        self.command = pid;
        failure.map_or(Ok(()), Err)
    }

    /// The command's place among processes: its signals, its session, its terminal.
    fn take_place(&self, invocation: &Invocation) -> Result<(), Failure> {
        let unable = |call: &'static str| move |errno| SetupError::call(Step::Start, call, errno);
        sys::set_sigchld_ignored(self.signals.sigchld_ignored).map_err(unable("sigaction"))?;
        if self.leads_session {
            setsid().map_err(unable("setsid"))?;
        }
        if invocation.terminal == Terminal::Take {
            sys::take_terminal(libc::STDIN_FILENO).map_err(unable("ioctl(TIOCSCTTY)"))?;
        }
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.signals.mask), None)
            .map_err(unable("rt_sigprocmask"))?;
        Ok(())
    }
}

/// Has the command's process observed, where somebody is there to do it.
fn have_observed(invocation: &Invocation, enforced: &mut Enforced) -> Result<(), SetupError> {
    if let Some(socket) = invocation.observer {
        enforced.observation = be_observed(socket, &invocation.plan, enforced.unix_sockets)?;
        if let (Observation::Refused(errno), Some(_)) = (enforced.observation, invocation.plan.view) {
            let error = SetupError::call(Step::Start, "ptrace", errno);
            return Err(error.hint("a view is there to be observed in, which is refused here"));
        }
    }
    Ok(())
}

fn first_view(plan: &Plan) -> Option<PathBuf> {
    match (&plan.writes, plan.view) {
        (Writes::Beneath(trees), Some(_)) => trees.first().map(|tree| tree.path().to_owned()),
        _ => None,
    }
}
