//! Locks that keep limits of live entries exact, while writers don't wait for one another as long as a limit is far.
//!
//! Each scope, a domain or all of a namespace, has a lock. Near its limit a writer takes it alone, so that the number
//! that it reads is the number there is. Far from the limit writers share it, and each takes one of a few slots too:
//! the slots bound how many rows can be on their way that a writer does not see, and as long as there is room for
//! these as well ([`RESERVE`]) nobody can pass the limit. Proof: of those that committed, look at the one that read the
//! number last. The others had committed before that, and are in the number, or held a slot then, and are in the reserve.
//!
//! A writer that finds out too late that a limit is near gives all locks back, and begins again ([`StepError::Again`]):
//! to hold a lock shared and wish it alone is how two of them would block each other.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{PoisonError, RwLock},
};

use baldur_core::{command::Capture, name::Domain};

use super::{engine::Engine, locks::lock_number, session::Session};
use crate::error::StepError;

/// How many writers of few rows share a limit that is far.
const SMALL_SLOTS: u64 = 16;
/// How many rows these are at most.
const SMALL_ROWS: u64 = 32;
/// How many writers of many rows do.
const LARGE_SLOTS: u64 = 2;
/// How many rows these are at most. More take the lock alone.
const LARGE_ROWS: u64 = 512;
/// How many rows can be on their way unseen.
const RESERVE: u64 = SMALL_SLOTS * SMALL_ROWS + LARGE_SLOTS * LARGE_ROWS;

/// What a limit is for. In the order in which locks are taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scope {
    /// One domain.
    Domain(Domain),
    /// The namespace.
    All,
}

impl Scope {
    /// What the number of its lock is made from. No domain has parentheses.
    fn key(&self) -> &str {
        match self {
            Self::Domain(domain) => domain.as_str(),
            Self::All => "(all)",
        }
    }
}

/// The scopes whose limits were near when somebody of this process last looked.
#[derive(Debug, Default)]
pub(crate) struct NearScopes {
    scopes: RwLock<HashSet<Scope>>,
}

impl NearScopes {
    fn contains(&self, scope: &Scope) -> bool {
        self.scopes.read().unwrap_or_else(PoisonError::into_inner).contains(scope)
    }

    fn set(&self, scope: &Scope, near: bool) {
        if self.contains(scope) != near {
            let mut scopes = self.scopes.write().unwrap_or_else(PoisonError::into_inner);
            if near {
                scopes.insert(scope.clone());
            } else {
                scopes.remove(scope);
            }
        }
    }
}

/// What a batch means to do in a scope.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// How many entries may come.
    rows: u64,
    /// The lowest limit that is named.
    limit: u64,
    /// Whether the lock is taken alone.
    near: bool,
}

/// The scopes of a batch, in the order of their locks.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    plans: BTreeMap<Scope, Plan>,
}

impl Scopes {
    /// The scopes in which these captures have a limit.
    pub(super) fn of(engine: &Engine, captures: &[&Capture]) -> Self {
        let mut plans = BTreeMap::new();
        let mut limited = |scope: Scope, limit: u64| {
            let plan = plans.entry(scope).or_insert(Plan { rows: 0, limit, near: false });
            plan.limit = plan.limit.min(limit);
        };
        for capture in captures {
            let Some(limits) = &capture.limits else { continue };
            if let Some(limit) = limits.in_domain {
                limited(Scope::Domain(capture.op.domain.clone()), limit.get());
            }
            if let Some(limit) = limits.in_all {
                limited(Scope::All, limit.get());
            }
        }
        if !plans.is_empty() {
            // Those without a limit count too.
            for capture in captures {
                for scope in [Scope::Domain(capture.op.domain.clone()), Scope::All] {
                    if let Some(plan) = plans.get_mut(&scope) {
                        plan.rows += 1;
                    }
                }
            }
        }
        for (scope, plan) in &mut plans {
            plan.near =
                plan.rows > LARGE_ROWS || !is_far(0, *plan, RESERVE) || engine.near.contains(scope);
        }
        Self { plans }
    }

    /// Takes the locks.
    pub(super) async fn lock(&self, session: &mut Session) -> Result<(), StepError> {
        if self.plans.is_empty() {
            return Ok(());
        }
        let ns = session.ns;
        sqlx::query(LOCK_SCOPES)
            .bind(ns)
            .bind(self.plans.keys().map(Scope::key).collect::<Vec<_>>())
            .bind(self.plans.values().map(|plan| plan.near).collect::<Vec<_>>())
            .bind(self.plans.values().map(|plan| plan.rows > SMALL_ROWS).collect::<Vec<_>>())
            .execute(session.conn())
            .await?;
        Ok(())
    }

    /// Whether the locks that were taken suffice, now that the numbers are known; otherwise it has to be done again.
    pub(super) fn check(
        &self,
        engine: &Engine,
        live: impl Fn(&Scope) -> u64,
    ) -> Result<(), StepError> {
        let mut again = false;
        for (scope, plan) in &self.plans {
            let count = live(scope);
            if plan.near {
                // Not at once, or it would go to and fro.
                if is_far(count, *plan, RESERVE * 2) {
                    engine.near.set(scope, false);
                }
            } else if !is_far(count, *plan, RESERVE) {
                engine.near.set(scope, true);
                again = true;
            }
        }
        if again { Err(StepError::Again) } else { Ok(()) }
    }
}

fn is_far(count: u64, plan: Plan, reserve: u64) -> bool {
    count.saturating_add(plan.rows).saturating_add(reserve) <= plan.limit
}

/// The lock of each scope, and a slot where it is shared: one that is free, or else any, for which it waits.
pub(crate) const LOCK_SCOPES: &str = concat!(
    "SELECT CASE WHEN w.near THEN pg_advisory_xact_lock(w.n) \
      ELSE pg_advisory_xact_lock_shared(w.n) END, \
     CASE WHEN NOT w.near THEN coalesce( \
      (SELECT 1 FROM generate_series(1, w.slots) i \
       WHERE pg_try_advisory_xact_lock(hashint8extended(w.n, w.first + (w.any + i) % w.slots)) \
       LIMIT 1), \
      (SELECT 2 FROM pg_advisory_xact_lock(hashint8extended(w.n, w.first + w.any)))) END \
     FROM (SELECT ",
    lock_number!("'limit'", "v.scope"),
    " AS n, v.near, CASE WHEN v.large THEN 2 ELSE 16 END AS slots, \
     CASE WHEN v.large THEN 16 ELSE 0 END AS first, \
     floor(random() * CASE WHEN v.large THEN 2 ELSE 16 END)::int AS any \
     FROM unnest($2::text[], $3::bool[], $4::bool[]) WITH ORDINALITY v(scope, near, large, nth) \
     ORDER BY v.nth) w"
);
