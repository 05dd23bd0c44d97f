//! What every use case is given: time, ids, and who acts.

use std::{cell::RefCell, fmt, sync::Arc};

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

/// Who acts, and why. `Debug` shows how long these texts are, and not what they say: nothing is redacted yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Who {
    /// Who.
    pub actor: Actor,
    /// Why, in the actor's words.
    pub reason: Option<Reason>,
    /// The trace in which it happens.
    pub trace: Option<TraceContext>,
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { actor, reason, trace } = self;
        f.debug_struct("Who")
            .field("actor", &format_args!("{} bytes", actor.as_str().len()))
            .field("reason", &reason.as_ref().map(|reason| reason.as_str().len()))
            .field("trace", &trace.is_some())
            .finish()
    }
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
///
/// Each thread asks for 1 KiB at a time, since asking costs more than all else that a protected call does.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsIdGen;

/// Random bytes that were not given away yet.
struct Pool {
    bytes: [u8; 1024],
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; 1024], used: 1024 }) };
}

impl Pool {
    fn take(&mut self) -> Option<[u8; 8]> {
        if self.used == self.bytes.len() {
            getrandom::fill(&mut self.bytes).ok()?;
            self.used = 0;
        }
        let taken = self.bytes[self.used..].first_chunk().copied();
        self.used += 8;
        taken
    }
}

impl IdGen for OsIdGen {
    fn entropy(&self) -> [u8; 8] {
        // The system's randomness fails only before the machine has booted; a time-based value keeps ids
        // apart even then, since the id carries milliseconds besides.
        POOL.with_borrow_mut(Pool::take).unwrap_or_else(|| {
            SystemClock.mono().as_nanos().to_le_bytes()[..8].try_into().unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_bytes_are_given_twice_by_any_thread() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..1_000).map(|_| OsIdGen.entropy()).collect()))
            .collect();
        let seen: Vec<Vec<[u8; 8]>> =
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        let different: BTreeSet<_> = seen.iter().flatten().collect();
        assert_eq!(different.len(), 4_000);
    }
}
