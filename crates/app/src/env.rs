//! What every use case is given: time, ids, and who acts.

use std::sync::Arc;

use baldur_core::{
    Clock, Evidence, IdGen, SystemClock, TraceContext,
    name::{Actor, Namespace, Reason, ServiceName, WorkerName},
};

/// The surroundings of the use cases. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Env {
    /// The deployment.
    pub namespace: Namespace,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from.
    pub ids: Arc<dyn IdGen>,
    /// Who reports failures that name no origin.
    pub origin_service: ServiceName,
    /// Under which name this process claims.
    pub worker: WorkerName,
}

impl Env {
    /// The real surroundings: the machine's clock and randomness.
    pub fn system(namespace: Namespace, worker: WorkerName) -> Self {
        Self {
            namespace,
            clock: Arc::new(SystemClock),
            ids: Arc::new(OsIdGen),
            origin_service: ServiceName::unknown(),
            worker,
        }
    }

    /// Evidence of what `who` does now.
    pub fn evidence(&self, who: &Who) -> Evidence {
        let Who { actor, reason, trace } = who;
        Evidence {
            actor: actor.clone(),
            at: self.clock.now(),
            reason: reason.clone(),
            trace: trace.clone(),
        }
    }
}

/// Random bytes as a number in `[0, 1)`, for jitter.
pub(crate) fn unit([a, b, c, d, ..]: [u8; 8]) -> f64 {
    f64::from(u32::from_le_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

/// Who acts, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Who.
    pub actor: Actor,
    /// Why, in the actor's words.
    pub reason: Option<Reason>,
    /// The trace in which it happens.
    pub trace: Option<TraceContext>,
}

impl Who {
    /// Somebody, without a reason.
    pub fn new(actor: Actor) -> Self {
        Self { actor, reason: None, trace: None }
    }

    /// Baldur itself.
    pub fn system() -> Self {
        Self::new(Actor::system())
    }
}

/// Random bytes from the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsIdGen;

impl IdGen for OsIdGen {
    fn entropy(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        // The system's randomness fails only before the machine has booted; a time-based value keeps ids
        // apart even then, since the id carries milliseconds besides.
        if getrandom::fill(&mut bytes).is_err() {
            bytes = SystemClock.mono().as_nanos().to_le_bytes()[..8].try_into().unwrap_or_default();
        }
        bytes
    }
}
