//! Room for live entries.

use crate::{
    command::{Capture, LiveLimits, WhenFull},
    evidence::{Digest, Evidence, EvidenceEvent, EvidenceRecord},
    failed_op::FailedOp,
    name::Reason,
    port::{CaptureError, Evicted, LimitScope, LiveCounts},
    time::Timestamp,
};

/// The most entries that make room for one capture. A limit that was lowered is reached step by step.
pub const MAX_EVICTIONS: usize = 8;

/// Whether there is room for one more live entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Enough,
    /// Not before the oldest evictable entry of this scope is gone. When there is none, and none went for this capture
    /// before, it is refused with this, made a [`CaptureError`]; when some went before, it takes their place.
    Evict(LimitReached),
    /// There is none.
    None(LimitReached),
}

/// The limit that is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// Which one.
    pub scope: LimitScope,
    /// How many live entries there are.
    pub live: u64,
    /// How many there may be.
    pub limit: u64,
}

impl From<LimitReached> for CaptureError {
    fn from(reached: LimitReached) -> Self {
        let LimitReached { scope, live, limit } = reached;
        Self::LimitReached { scope, live, limit }
    }
}

/// Whether `limits` leave room for one more live entry beside `live`, after `evicted` ones made room for it.
///
/// The domain's limit is looked at first: what makes room there makes room in all.
pub fn room(limits: &LiveLimits, live: LiveCounts, evicted: usize) -> Room {
    let LiveLimits { in_domain, in_all, when_full } = limits;
    let reached =
        [(LimitScope::Domain, live.in_domain, *in_domain), (LimitScope::All, live.in_all, *in_all)]
            .into_iter()
            .find_map(|(scope, live, limit)| {
                let limit = limit?.get();
                (live >= limit).then_some(LimitReached { scope, live, limit })
            });
    match (reached, when_full) {
        (None, _) => Room::Enough,
        // It takes the place of those that went: the number does not grow.
        (Some(_), WhenFull::DropOldest) if evicted >= MAX_EVICTIONS => Room::Enough,
        (Some(reached), WhenFull::DropOldest) => Room::Evict(reached),
        (Some(reached), WhenFull::Reject) => Room::None(reached),
    }
}

/// The last record of an entry that goes to make room for `newcomer`, and what is told of it. The adapter removes
/// the entry in the same step, keeps its evidence, and remembers its id.
///
/// The record names who captured the newcomer, for whom the policy acts, and says which limit was reached.
pub fn evict(
    entry: &FailedOp,
    newcomer: &Capture,
    reached: LimitReached,
    now: Timestamp,
) -> (Evicted, EvidenceRecord) {
    let LimitReached { scope, live, limit } = reached;
    let scope = match scope {
        LimitScope::Domain => "in its domain",
        LimitScope::All => "in all",
    };
    let why =
        format!("made room for {}: {live} live entries {scope}, limit {limit}", newcomer.op.id);
    let Evidence { actor, at: _, reason: _, trace } = newcomer.evidence.clone();
    let record = EvidenceRecord {
        entry: entry.id,
        counter: entry.state.evidence_count + 1,
        event: EvidenceEvent::Evicted,
        from: Some(entry.state.status),
        to: None,
        claim_token: entry.state.claim_token,
        // A newcomer may come late, from a spool; the eviction happens now.
        evidence: Evidence { actor, at: now, reason: Reason::parse(&why).ok(), trace },
        digest: Some(Digest::of(entry.request_data.as_str().as_bytes())),
    };
    let evicted = Evicted {
        id: entry.id,
        domain: entry.domain.clone(),
        failure_type: entry.failure_type.clone(),
        dependency: entry.dependency.clone(),
        status: entry.state.status,
        captured_at: entry.created_at,
        occurrences: entry.state.occurrences,
    };
    (evicted, record)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    fn limits(in_domain: u64, in_all: u64, when_full: WhenFull) -> LiveLimits {
        LiveLimits {
            in_domain: NonZeroU64::new(in_domain),
            in_all: NonZeroU64::new(in_all),
            when_full,
        }
    }

    fn at(in_domain: u64, in_all: u64) -> LiveCounts {
        LiveCounts { in_domain, in_all }
    }

    #[test]
    fn below_every_limit_there_is_room() {
        for when_full in [WhenFull::Reject, WhenFull::DropOldest] {
            assert_eq!(room(&limits(10, 20, when_full), at(9, 19), 0), Room::Enough);
            assert_eq!(room(&limits(0, 0, when_full), at(u64::MAX, u64::MAX), 0), Room::Enough);
        }
    }

    #[test]
    fn the_limit_of_the_domain_comes_first() {
        let domain = LimitReached { scope: LimitScope::Domain, live: 10, limit: 10 };
        let all = LimitReached { scope: LimitScope::All, live: 20, limit: 20 };
        let reject = limits(10, 20, WhenFull::Reject);
        assert_eq!(room(&reject, at(10, 20), 0), Room::None(domain));
        assert_eq!(room(&reject, at(9, 20), 0), Room::None(all));
        let drop_oldest = limits(10, 20, WhenFull::DropOldest);
        assert_eq!(room(&drop_oldest, at(10, 20), 0), Room::Evict(domain));
        assert_eq!(room(&drop_oldest, at(9, 20), 0), Room::Evict(all));
    }

    #[test]
    fn a_capture_removes_a_bounded_number_of_others() {
        let drop_oldest = limits(10, 0, WhenFull::DropOldest);
        assert!(matches!(room(&drop_oldest, at(50, 50), MAX_EVICTIONS - 1), Room::Evict(_)));
        assert_eq!(room(&drop_oldest, at(50, 50), MAX_EVICTIONS), Room::Enough);
    }
}
