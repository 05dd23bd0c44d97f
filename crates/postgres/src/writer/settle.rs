//! Extending and settling claims, and moving entries by hand.

use std::{collections::HashMap, time::Duration};

use baldur_core::{
    ClaimToken, EntryId, OpState, Timestamp,
    command::{Act, ClaimRef, Settle},
    decide::{self, NotAllowed, Settlement},
    port::{ClaimError, Settled},
};

use super::{Answers, Session, Work, effects::Effects};
use crate::{error::StepError, rows::Standing};

/// Does one thing after the other to entries that are locked, and writes what came of it.
async fn each<C: Sync, T>(
    session: &mut Session,
    locked: HashMap<EntryId, Standing>,
    items: &[C],
    step: impl Fn(&mut Effects, &C, Timestamp) -> Result<T, ClaimError>,
) -> Result<Vec<Result<T, ClaimError>>, StepError> {
    let now = session.now;
    let mut effects = Effects::on(locked.into_values());
    let answers = items.iter().map(|item| step(&mut effects, item, now)).collect();
    effects.write(session).await?;
    Ok(answers)
}

fn existing(effects: &Effects, id: EntryId) -> Result<&Standing, ClaimError> {
    effects.standing(id).ok_or(ClaimError::NotFound(id))
}

fn stale(standing: &Standing, held: ClaimToken) -> ClaimError {
    let Standing { id, state, .. } = standing;
    ClaimError::Stale { id: *id, held, current: state.claim_token, status: state.status }
}

/// Makes claims last longer.
pub(crate) struct Extending;

impl Work for Extending {
    type Item = (ClaimRef, Duration);
    type Answer = ();
    type Error = ClaimError;

    const OPERATION: &'static str = "extend";
    const APART_WHEN_BLOCKED: bool = true;

    async fn run(session: &mut Session, items: &[Self::Item]) -> Result<Answers<Self>, StepError> {
        let locked = session.lock_rows(items.iter().map(|(claim, _)| claim.id)).await?;
        each(session, locked, items, |effects, (ClaimRef { id, token }, lease), now| {
            let standing = existing(effects, *id)?;
            let state = decide::extend(&standing.state, *token, *lease, now)
                .ok_or_else(|| stale(standing, *token))?;
            effects.replace_state(*id, state);
            Ok(())
        })
        .await
    }
}

/// Settles claims.
pub(crate) struct Settling;

impl Work for Settling {
    type Item = Settle;
    type Answer = Settled;
    type Error = ClaimError;

    const OPERATION: &'static str = "settle";
    const APART_WHEN_BLOCKED: bool = true;

    async fn run(session: &mut Session, items: &[Settle]) -> Result<Answers<Self>, StepError> {
        let locked = session.lock_standings(items.iter().map(|settle| settle.id)).await?;
        each(session, locked, items, settle_one).await
    }
}

fn settle_one(
    effects: &mut Effects,
    settle: &Settle,
    now: Timestamp,
) -> Result<Settled, ClaimError> {
    settle.check().map_err(ClaimError::Invalid)?;
    let standing = existing(effects, settle.id)?;
    match decide::settle(&standing.state, settle, now) {
        Settlement::Settled(change) => {
            let settled = settled(&change.state, false);
            effects.change(settle.id, change);
            Ok(settled)
        }
        Settlement::Repeated => Ok(settled(&standing.state, true)),
        Settlement::Stale(refusal) => {
            let error = stale(standing, settle.token);
            effects.change(settle.id, refusal);
            Err(error)
        }
    }
}

fn settled(state: &OpState, repeated: bool) -> Settled {
    Settled { status: state.status, retry_count: state.retry_count, repeated }
}

/// Moves entries by hand.
pub(crate) struct Acting;

impl Work for Acting {
    type Item = Act;
    type Answer = OpState;
    type Error = ClaimError;

    const OPERATION: &'static str = "apply";
    const APART_WHEN_BLOCKED: bool = true;

    async fn run(session: &mut Session, items: &[Act]) -> Result<Answers<Self>, StepError> {
        let locked = session.lock_standings(items.iter().map(|act| act.id)).await?;
        each(session, locked, items, act_one).await
    }
}

fn act_one(effects: &mut Effects, act: &Act, now: Timestamp) -> Result<OpState, ClaimError> {
    act.check().map_err(ClaimError::Invalid)?;
    let standing = existing(effects, act.id)?;
    let refused =
        |NotAllowed { status, cause }| ClaimError::NotAllowed { id: act.id, status, cause };
    let change = decide::apply(&standing.state, act, now).map_err(refused)?;
    let state = change.state.clone();
    effects.change(act.id, change);
    Ok(state)
}
