//! Claiming entries, settling them, and moving them by hand.

use std::collections::BTreeSet;

use async_trait::async_trait;
use baldur_core::{
    EntryId, OpState, Timestamp,
    command::{Act, ClaimBatch, ClaimRef, ClaimSelect, ClaimTerms, Claimed, Extend, Lapse, Settle},
    decide::{self, ClaimRefusal, NotAllowed, Settlement},
    name::{Domain, ServiceName},
    port::{ClaimBatchOutcome, ClaimError, ClaimStore, Lapsed, Settled},
};

use crate::{
    MemoryStore,
    table::{Row, Table},
};

#[async_trait]
impl ClaimStore for MemoryStore {
    async fn claim_batch(&self, claim: ClaimBatch) -> Result<ClaimBatchOutcome, ClaimError> {
        claim.check().map_err(ClaimError::Invalid)?;
        let ClaimBatch { select, terms } = claim;
        let outcome = self.step("claim", |table| {
            let now = self.clock.now();
            match select {
                ClaimSelect::Due { domains, dependency, limit } => {
                    claim_due(table, &domains, dependency.as_ref(), limit, &terms, now)
                }
                ClaimSelect::Ids(ids) => claim_ids(table, ids, &terms, now),
            }
        })?;
        Ok(outcome)
    }

    async fn extend(&self, extend: Extend) -> Vec<Result<(), ClaimError>> {
        let Extend { claims, lease } = extend;
        self.each("extend", claims, |table, ClaimRef { id, token }, now| {
            let row = existing(table, id)?;
            match decide::extend(&row.op.state, token, lease, now) {
                Some(state) => {
                    table.replace_state(id, state);
                    Ok(())
                }
                None => Err(stale(row, token)),
            }
        })
    }

    async fn settle_batch(&self, settles: Vec<Settle>) -> Vec<Result<Settled, ClaimError>> {
        self.each("settle", settles, |table, settle, now| {
            settle.check().map_err(ClaimError::Invalid)?;
            let row = existing(table, settle.id)?;
            match decide::settle(&row.op.state, &settle, now) {
                Settlement::Settled(change) => {
                    let settled = settled(&change.state, false);
                    table.change(settle.id, change);
                    Ok(settled)
                }
                Settlement::Repeated => Ok(settled(&row.op.state, true)),
                Settlement::Stale(refusal) => {
                    let error = stale(row, settle.token);
                    table.change(settle.id, refusal);
                    Err(error)
                }
            }
        })
    }

    async fn lapse(&self, lapse: Lapse) -> Result<Lapsed, ClaimError> {
        let Lapse { limit, retry_in, evidence } = lapse;
        let lapsed = self.step("lapse", |table| {
            let now = self.clock.now();
            let mut lapsed = Vec::new();
            while lapsed.len() < limit
                && let Some(id) = table.indexes().first_run_out(now)
                && let Some(row) = table.row(id)
                && let Some(change) =
                    decide::lapse(id, &row.op.state, retry_in, evidence.clone(), now)
            {
                lapsed.push((id, change.state.status));
                table.change(id, change);
            }
            Lapsed { lapsed, more: table.indexes().first_run_out(now).is_some() }
        })?;
        Ok(lapsed)
    }

    async fn apply(&self, acts: Vec<Act>) -> Vec<Result<OpState, ClaimError>> {
        self.each("apply", acts, |table, act, now| {
            act.check().map_err(ClaimError::Invalid)?;
            let row = existing(table, act.id)?;
            let change = decide::apply(&row.op.state, &act, now).map_err(
                |NotAllowed { status, cause }| ClaimError::NotAllowed { id: act.id, status, cause },
            )?;
            let state = change.state.clone();
            table.change(act.id, change);
            Ok(state)
        })
    }
}

impl MemoryStore {
    /// Does one thing after the other in one step, each answered by itself.
    fn each<C, T>(
        &self,
        operation: &'static str,
        commands: Vec<C>,
        mut run: impl FnMut(&mut Table, C, Timestamp) -> Result<T, ClaimError>,
    ) -> Vec<Result<T, ClaimError>> {
        let asked = commands.len();
        if asked == 0 {
            return Vec::new();
        }
        let answers = self.step(operation, |table| {
            let now = self.clock.now();
            commands.into_iter().map(|command| run(table, command, now)).collect()
        });
        answers.unwrap_or_else(|error| {
            std::iter::repeat_with(|| Err(error.clone().into())).take(asked).collect()
        })
    }
}

fn claim_due(
    table: &mut Table,
    domains: &[Domain],
    dependency: Option<&ServiceName>,
    limit: usize,
    terms: &ClaimTerms,
    now: Timestamp,
) -> ClaimBatchOutcome {
    let domains: BTreeSet<&Domain> = domains.iter().collect();
    let mut outcome = ClaimBatchOutcome::default();
    while outcome.claimed.len() < limit
        && let Some(id) = table.indexes().longest_due(&domains, dependency, now)
        // Queues hold claimable entries only, so this never refuses.
        && let Ok(claimed) = claim_one(table, id, terms, now)
    {
        outcome.claimed.push(claimed);
    }
    outcome
}

fn claim_ids(
    table: &mut Table,
    ids: Vec<EntryId>,
    terms: &ClaimTerms,
    now: Timestamp,
) -> ClaimBatchOutcome {
    let mut outcome = ClaimBatchOutcome::default();
    for id in ids {
        match claim_one(table, id, terms, now) {
            Ok(claimed) => outcome.claimed.push(claimed),
            Err(error) => outcome.refused.push((id, error)),
        }
    }
    outcome
}

fn claim_one(
    table: &mut Table,
    id: EntryId,
    terms: &ClaimTerms,
    now: Timestamp,
) -> Result<Claimed, ClaimError> {
    let row = existing(table, id)?;
    let change = decide::claim(id, &row.op.state, terms, now).map_err(|refusal| match refusal {
        ClaimRefusal::Status(status) => ClaimError::NotClaimable { id, status },
        ClaimRefusal::NotReplayable => ClaimError::NotReplayable(id),
        ClaimRefusal::Changed => ClaimError::Changed(id),
    })?;
    if let Some(by) = table.blocker_of(&row.op) {
        return Err(ClaimError::Blocked { id, by });
    }
    table.change(id, change);
    existing(table, id).map(|row| Claimed { op: row.op.clone() })
}

fn existing(table: &Table, id: EntryId) -> Result<&Row, ClaimError> {
    table.row(id).ok_or(ClaimError::NotFound(id))
}

fn stale(row: &Row, held: baldur_core::ClaimToken) -> ClaimError {
    let OpState { status, claim_token, .. } = row.op.state;
    ClaimError::Stale { id: row.op.id, held, current: claim_token, status }
}

fn settled(state: &OpState, repeated: bool) -> Settled {
    Settled { status: state.status, retry_count: state.retry_count, repeated }
}
