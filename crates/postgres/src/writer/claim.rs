//! Claiming entries.
//!
//! A claim locks rows of `states` and reads them in the next statement: what is joined to a row in the statement that
//! waited for it may be old. It holds no order keys, since a head that is claimed stays the head.

use std::collections::{HashMap, HashSet};

use baldur_core::{
    EntryId, FailedOp, Timestamp,
    command::{ClaimBatch, ClaimSelect, ClaimTerms, Claimed},
    decide::{self, ClaimRefusal},
    port::{ClaimBatchOutcome, ClaimError},
};
use sqlx::types::Uuid;

use super::{
    Answers, Session, Work,
    candidate::Candidate,
    due::{self, Wanted},
    effects::Effects,
    heads,
};
use crate::{error::StepError, sql::uuids};

/// Claims, each of many entries.
pub(crate) struct Claiming;

impl Work for Claiming {
    type Item = ClaimBatch;
    type Answer = ClaimBatchOutcome;
    type Error = ClaimError;

    const OPERATION: &'static str = "claim";

    async fn run(session: &mut Session, items: &[ClaimBatch]) -> Result<Answers<Self>, StepError> {
        let mut answers = Vec::with_capacity(items.len());
        for claim in items {
            answers.push(match claim.check() {
                Ok(()) => Ok(run_one(session, claim).await?),
                Err(problem) => Err(ClaimError::Invalid(problem)),
            });
        }
        Ok(answers)
    }
}

async fn run_one(
    session: &mut Session,
    claim: &ClaimBatch,
) -> Result<ClaimBatchOutcome, StepError> {
    let ClaimBatch { select, terms } = claim;
    match select {
        ClaimSelect::Due { domains, dependency, limit } => {
            let wanted = Wanted { domains, dependency: dependency.as_ref(), most: *limit };
            let due = due::lock(session, wanted).await?;
            let mut outcome = claim_each(session, &due, &due, terms).await?;
            outcome.refused.clear();
            Ok(outcome)
        }
        ClaimSelect::Ids(ids) => {
            let locked = lock(session, ids).await?;
            claim_each(session, &locked, ids, terms).await
        }
    }
}

/// By id, whoever comes.
pub(crate) const LOCK: &str = "SELECT s.id FROM \
     (SELECT DISTINCT u.id FROM unnest($2::uuid[]) u(id) ORDER BY u.id) v CROSS JOIN LATERAL \
     (SELECT x.id FROM baldur.states x WHERE x.ns = $1 AND x.id = v.id FOR NO KEY UPDATE OF x) s";

/// Locks those of these entries that are there.
async fn lock(session: &mut Session, ids: &[EntryId]) -> Result<Vec<EntryId>, StepError> {
    let ns = session.ns;
    let locked = sqlx::query_scalar(LOCK).bind(ns).bind(uuids(ids.iter().copied()));
    let locked: Vec<Uuid> = locked.fetch_all(session.conn()).await?;
    Ok(locked.into_iter().map(|id| EntryId::from_bytes(id.into_bytes())).collect())
}

/// Claims locked entries in the order of `asked`.
async fn claim_each(
    session: &mut Session,
    locked: &[EntryId],
    asked: &[EntryId],
    terms: &ClaimTerms,
) -> Result<ClaimBatchOutcome, StepError> {
    session.locked.extend(locked);
    let found = if locked.is_empty() {
        Vec::new()
    } else {
        Candidate::load(session, locked.iter().copied()).await?
    };
    session.catch_up(found.iter().map(|found| found.op.state.updated_at).max()).await?;
    let waiting: HashSet<_> = found
        .iter()
        .filter(|found| !found.standing.order_head)
        .filter_map(|found| found.standing.order_key.clone())
        .collect();
    let heads = heads::of(session, &Vec::from_iter(waiting)).await?;
    let mut effects = Effects::default();
    let mut ops: HashMap<EntryId, FailedOp> = HashMap::with_capacity(found.len());
    for Candidate { standing, op } in found {
        effects.track(standing);
        ops.insert(op.id, op);
    }
    let mut outcome = ClaimBatchOutcome::default();
    for id in asked {
        match claim_one(&mut effects, &heads, *id, terms, session.now) {
            Ok(()) => {
                // Claimed once only, so its operation is still here.
                if let (Some(mut op), Some(standing)) = (ops.remove(id), effects.standing(*id)) {
                    op.state = standing.state.clone();
                    outcome.claimed.push(Claimed { op });
                }
            }
            Err(error) => outcome.refused.push((*id, error)),
        }
    }
    effects.write(session).await?;
    Ok(outcome)
}

fn claim_one(
    effects: &mut Effects,
    heads: &HashMap<String, EntryId>,
    id: EntryId,
    terms: &ClaimTerms,
    now: Timestamp,
) -> Result<(), ClaimError> {
    let standing = effects.standing(id).ok_or(ClaimError::NotFound(id))?;
    let change =
        decide::claim(id, &standing.state, terms, now).map_err(|refusal| match refusal {
            ClaimRefusal::Status(status) => ClaimError::NotClaimable { id, status },
            ClaimRefusal::NotReplayable => ClaimError::NotReplayable(id),
            ClaimRefusal::Changed => ClaimError::Changed(id),
        })?;
    let head = standing.order_key.as_ref().filter(|_| !standing.order_head);
    if let Some(by) = head.and_then(|key| heads.get(key.as_str())) {
        return Err(ClaimError::Blocked { id, by: *by });
    }
    effects.change(id, change);
    Ok(())
}
