//! Probes one dependency for as long as that matters.

use std::sync::Arc;

use baldur_core::{name::ServiceName, port::Probe};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Phase, ProbePolicy, Signal, parts::Parts, signal::Command};
use crate::metrics::RECOVERY_PROBES;

/// Asks while the dependency is known to be down, or entries wait for it.
///
/// It tells of the dependency once each time it comes back: at first, after a failed probe, and after a sweep that
/// stopped because the dependency failed. Also when entries wait after a sweep that left none: they came later, as what was
/// spooled during an outage does. Else entries whose replays fail would be brought forward with every answer.
pub(super) struct Probing {
    pub(super) parts: Arc<Parts>,
    pub(super) dependency: ServiceName,
    pub(super) probe: Arc<dyn Probe>,
    pub(super) policy: ProbePolicy,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) closing: CancellationToken,
    /// It was told that the dependency is back, and nothing has spoken against it since.
    pub(super) is_told: bool,
    /// Successes in a row.
    pub(super) successes: u32,
}

impl Probing {
    pub(super) async fn run(&mut self) {
        loop {
            // Spread, so that the processes of a deployment don't ask all at once.
            let pause = self.policy.every.mul_f64(0.5 + self.parts.unit());
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = sleep(pause) => {}
            }
            if !self.matters().await {
                self.successes = 0;
                continue;
            }
            let closing = self.closing.clone();
            tokio::select! {
                () = closing.cancelled() => return,
                () = self.ask() => {}
            }
        }
    }

    async fn matters(&mut self) -> bool {
        let status = self.parts.board.get(&self.dependency);
        if status.as_ref().is_some_and(|status| status.phase == Phase::Sweeping) {
            return false;
        }
        if status.as_ref().is_some_and(|status| status.is_down) {
            self.is_told = false;
            return true;
        }
        let at_rest = status.is_none_or(|status| status.phase == Phase::Idle);
        if at_rest && self.is_told {
            let domains = self.parts.armed_domains(&self.dependency);
            let waiting = self.parts.waiting(&self.dependency, Some(&domains)).await;
            self.is_told = waiting.is_none_or(|waiting| waiting == 0);
        }
        // A store that doesn't say how many wait is no reason to stop asking.
        self.parts.waiting(&self.dependency, None).await != Some(0)
    }

    async fn ask(&mut self) {
        let answer = match timeout(self.policy.timeout, self.probe.probe()).await {
            Ok(Ok(())) => "ok",
            Ok(Err(failure)) => {
                tracing::debug!(dependency = %self.dependency, reason = %failure, "recovery.probe_failed");
                "failed"
            }
            Err(_) => "timeout",
        };
        metrics::counter!(
            RECOVERY_PROBES.name,
            "dependency" => self.dependency.to_string(), "answer" => answer
        )
        .increment(1);
        if answer != "ok" {
            self.successes = 0;
            self.is_told = false;
            return;
        }
        self.successes = self.successes.saturating_add(1);
        if self.is_told || self.successes < self.policy.successes {
            return;
        }
        self.successes = 0;
        let back = Command::Back(self.dependency.clone(), Signal::ProbeOk);
        self.is_told = self.commands.try_send(back).is_ok();
    }
}
