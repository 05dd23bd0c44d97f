//! The handlers that a run has at work, each in a task of its own, and the leases of all its claims.

use std::{collections::HashMap, future, sync::Arc, time::Duration};

use baldur_core::{
    EntryId, FailedOp,
    command::ClaimRef,
    port::{ReplayContext, ReplayHandler, ReplayOutcome},
};
use tokio::{
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::Instant,
};

use super::attempt::{Attempted, Texts, attempt, panic_message};

/// A handler at work.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) claim: ClaimRef,
    pub(super) op: Arc<FailedOp>,
    pub(super) started: Instant,
    task: AbortHandle,
}

/// Handlers at work. Dropping it drops them.
#[derive(Debug, Default)]
pub(super) struct Work {
    tasks: JoinSet<Attempted>,
    flights: HashMap<Id, Flight>,
}

impl Work {
    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    pub(super) fn claims(&self) -> impl Iterator<Item = ClaimRef> {
        self.flights.values().map(|flight| flight.claim)
    }

    pub(super) fn start(
        &mut self,
        claim: ClaimRef,
        op: Arc<FailedOp>,
        handler: Arc<dyn ReplayHandler>,
        context: ReplayContext,
        texts: Arc<Texts>,
    ) {
        let started = Instant::now();
        let task = self.tasks.spawn(attempt(handler, Arc::clone(&op), context, texts));
        self.flights.insert(task.id(), Flight { claim, op, started, task });
    }

    /// The next replay that ends; never, when none is at work. Cancel-safe.
    pub(super) async fn next_ended(&mut self) -> (Flight, Attempted) {
        while let Some(joined) = self.tasks.join_next_with_id().await {
            if let Some(ended) = self.landed(joined) {
                return ended;
            }
        }
        future::pending().await
    }

    /// A replay that has ended already.
    pub(super) fn try_next_ended(&mut self) -> Option<(Flight, Attempted)> {
        while let Some(joined) = self.tasks.try_join_next_with_id() {
            if let Some(ended) = self.landed(joined) {
                return Some(ended);
            }
        }
        None
    }

    /// `None` for a handler that was dropped before.
    fn landed(
        &mut self,
        joined: Result<(Id, Attempted), JoinError>,
    ) -> Option<(Flight, Attempted)> {
        match joined {
            Ok((id, attempted)) => self.flights.remove(&id).map(|flight| (flight, attempted)),
            Err(error) => {
                let flight = self.flights.remove(&error.id())?;
                let took = flight.started.elapsed();
                // Panics of handlers are caught before; this one came from dropping a handler's future.
                let error = match error.try_into_panic() {
                    Ok(panic) => format!("the handler panicked: {}", panic_message(&*panic)),
                    Err(_) => "the runtime shut down while the handler was at work".to_owned(),
                };
                let outcome = ReplayOutcome::Failed { error, retry_after: None };
                Some((flight, Attempted { outcome, took }))
            }
        }
    }

    /// Drops the handlers of these claims.
    pub(super) fn drop_those(&mut self, gone: impl Fn(&ClaimRef) -> bool) -> Vec<Flight> {
        let dropped: Vec<Flight> = self
            .flights
            .extract_if(|_, flight| gone(&flight.claim))
            .map(|(_, flight)| flight)
            .collect();
        for flight in &dropped {
            flight.task.abort();
        }
        dropped
    }
}

/// Until when each claim of a run certainly holds, on tokio's monotonic clock.
#[derive(Debug)]
pub(super) struct Leases {
    lease: Duration,
    until: HashMap<ClaimRef, Instant>,
    /// When the claims are to be extended next.
    pub(super) heartbeat_at: Instant,
}

impl Leases {
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, until: HashMap::new(), heartbeat_at: Instant::now() }
    }

    pub(super) fn len(&self) -> usize {
        self.until.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    pub(super) fn claims(&self) -> Vec<ClaimRef> {
        self.until.keys().copied().collect()
    }

    pub(super) fn has_entry(&self, id: EntryId) -> bool {
        self.until.keys().any(|claim| claim.id == id)
    }

    /// Holds a claim whose lease counts from `asked`, which lies before the store's answer.
    pub(super) fn hold(&mut self, claim: ClaimRef, asked: Instant) {
        if self.until.is_empty() {
            self.heartbeat_at = asked + self.lease / 3;
        }
        self.until.insert(claim, asked + self.lease);
    }

    pub(super) fn extended(&mut self, claim: &ClaimRef, asked: Instant) {
        if let Some(until) = self.until.get_mut(claim) {
            *until = (*until).max(asked + self.lease);
        }
    }

    /// Plans the next heartbeat: sooner after a failure, so that there are several tries within a lease.
    pub(super) fn beat(&mut self, asked: Instant, failed: bool) {
        self.heartbeat_at =
            if failed { Instant::now() + self.lease / 9 } else { asked + self.lease / 3 };
    }

    pub(super) fn until(&self, claim: &ClaimRef) -> Option<Instant> {
        self.until.get(claim).copied()
    }

    /// Whether the claim may belong to somebody else by now.
    pub(super) fn is_over(&self, claim: &ClaimRef, now: Instant) -> bool {
        self.until.get(claim).is_none_or(|until| *until <= now)
    }

    pub(super) fn end(&mut self, claim: &ClaimRef) {
        self.until.remove(claim);
    }
}
