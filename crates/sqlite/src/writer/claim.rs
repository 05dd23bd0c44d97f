//! Claiming entries, and ending claims that ran out.

use std::collections::{BTreeSet, HashMap};

use baldur_core::{
    EntryId, FailedOp, Timestamp,
    command::{ClaimBatch, ClaimSelect, ClaimTerms, Claimed, Lapse},
    decide::{self, ClaimRefusal},
    name::{Domain, Namespace, ServiceName},
    port::{ClaimBatchOutcome, ClaimError, Lapsed},
};

use sqlx::sqlite::SqliteRow;

use super::{Answers, Session, Work, effects::Effects, heads};
use crate::{
    columns::Columns,
    error::StepError,
    rows::{self, Standing, op_columns, standing_columns},
    sql::{json_ids, json_integers, limit},
};

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
    let now = session.clock.now();
    let ClaimBatch { select, terms } = claim;
    match select {
        ClaimSelect::Due { domains, dependency, limit } => {
            let due = due(session, domains, dependency.as_ref(), *limit, now).await?;
            let loaded = load(session, BY_SEQ, json_integers(due.iter().copied())).await?;
            let mut by_seq: HashMap<i64, Candidate> =
                loaded.into_iter().map(|found| (found.standing.seq, found)).collect();
            let in_order = due.iter().filter_map(|seq| by_seq.remove(seq));
            let in_order = in_order.map(|found| (found.standing.id, found)).collect();
            let mut outcome = claim_each(session, in_order, None, terms, now).await?;
            outcome.refused.clear();
            Ok(outcome)
        }
        ClaimSelect::Ids(ids) => {
            let loaded = load(session, BY_ID, json_ids(ids.iter().copied())).await?;
            let found = loaded.into_iter().map(|found| (found.standing.id, found)).collect();
            claim_each(session, found, Some(ids), terms, now).await
        }
    }
}

/// A stored entry with all that is kept of it.
pub(super) struct Candidate {
    pub(super) standing: Standing,
    pub(super) op: FailedOp,
}

impl Candidate {
    /// Reads [`op_columns`], the facet key and the order head.
    pub(super) fn read(row: &SqliteRow, namespace: &Namespace) -> Result<Self, StepError> {
        let (seq, op, mut rest) = rows::op(row, namespace)?;
        let standing = Standing {
            seq,
            id: op.id,
            domain: op.domain.clone(),
            facet_key: rest.get()?,
            order_key: op.order_key.clone(),
            order_head: rest.get()?,
            state: op.state.clone(),
        };
        Ok(Self { standing, op })
    }
}

pub(crate) const BY_SEQ: &str = concat!(
    "SELECT ",
    op_columns!(),
    ", e.facet_key, e.order_head FROM json_each(?1) j CROSS JOIN entries e ON e.seq = j.value \
     AND e.ns = ?2 CROSS JOIN payloads p ON p.seq = e.seq"
);

pub(crate) const BY_ID: &str = concat!(
    "SELECT ",
    op_columns!(),
    ", e.facet_key, e.order_head FROM json_each(?1) j CROSS JOIN entries e INDEXED BY entries_id \
     ON e.ns = ?2 AND e.id = unhex(j.value) CROSS JOIN payloads p ON p.seq = e.seq"
);

pub(super) async fn load(
    session: &mut Session,
    sql: &'static str,
    keys: String,
) -> Result<Vec<Candidate>, StepError> {
    let (ns, namespace) = (session.ns, session.namespace().clone());
    let rows = sqlx::query(sql).bind(keys).bind(ns).fetch_all(session.conn()?).await?;
    rows.iter().map(|row| Candidate::read(row, &namespace)).collect()
}

/// The due heads of one domain.
pub(crate) const DUE: &str = "SELECT e.seq, e.next_attempt_at, e.created_at, e.id \
     FROM entries e INDEXED BY entries_due \
     WHERE e.ns = ?1 AND e.domain = ?2 AND e.status = 'pending' AND e.order_head = 1 \
     AND e.not_replayable IS NULL AND e.next_attempt_at <= ?3 \
     ORDER BY e.next_attempt_at, e.created_at, e.id LIMIT ?4";

/// The due heads of one domain and dependency.
pub(crate) const DUE_OF_DEPENDENCY: &str = "SELECT e.seq, e.next_attempt_at, e.created_at, e.id \
     FROM entries e INDEXED BY entries_due_dependency \
     WHERE e.ns = ?1 AND e.domain = ?2 AND e.dependency = ?5 AND e.status = 'pending' \
     AND e.order_head = 1 AND e.not_replayable IS NULL AND e.next_attempt_at <= ?3 \
     ORDER BY e.next_attempt_at, e.created_at, e.id LIMIT ?4";

/// The numbers of the entries that have been due longest.
async fn due(
    session: &mut Session,
    domains: &[Domain],
    dependency: Option<&ServiceName>,
    most: usize,
    now: Timestamp,
) -> Result<Vec<i64>, StepError> {
    let ns = session.ns;
    let domains: BTreeSet<&Domain> = domains.iter().collect();
    let mut due = Vec::new();
    for domain in domains {
        let sql = if dependency.is_some() { DUE_OF_DEPENDENCY } else { DUE };
        let query = sqlx::query(sql)
            .bind(ns)
            .bind(domain.as_str().to_owned())
            .bind(now.as_micros())
            .bind(limit(most));
        let query = match dependency {
            Some(dependency) => query.bind(dependency.as_str().to_owned()),
            None => query,
        };
        for row in query.fetch_all(session.conn()?).await? {
            let mut columns = Columns::of(&row, "entries");
            let seq: i64 = columns.get()?;
            let at: (i64, i64, EntryId) = (columns.get()?, columns.get()?, columns.id()?);
            due.push((at, seq));
        }
    }
    due.sort_unstable();
    due.truncate(most);
    Ok(due.into_iter().map(|(_, seq)| seq).collect())
}

/// Claims the candidates in the order of `ids`, or in their own.
async fn claim_each(
    session: &mut Session,
    found: Vec<(EntryId, Candidate)>,
    ids: Option<&[EntryId]>,
    terms: &ClaimTerms,
    now: Timestamp,
) -> Result<ClaimBatchOutcome, StepError> {
    let order: Vec<EntryId> =
        ids.map_or_else(|| found.iter().map(|(id, _)| *id).collect(), <[EntryId]>::to_vec);
    let waiting: Vec<_> = found
        .iter()
        .filter(|(_, candidate)| !candidate.standing.order_head)
        .filter_map(|(_, candidate)| candidate.standing.order_key.clone())
        .collect();
    let heads =
        if waiting.is_empty() { HashMap::new() } else { heads::marked(session, &waiting).await? };
    let mut effects = Effects::on(found.iter().map(|(_, candidate)| candidate.standing.clone()));
    let mut ops: HashMap<EntryId, FailedOp> =
        found.into_iter().map(|(id, candidate)| (id, candidate.op)).collect();
    let mut outcome = ClaimBatchOutcome::default();
    for id in order {
        match claim_one(&mut effects, &heads, id, terms, now) {
            Ok(()) => {
                // Claimed once only, so its operation is still here.
                if let (Some(mut op), Some(standing)) = (ops.remove(&id), effects.standing(id)) {
                    op.state = standing.state.clone();
                    outcome.claimed.push(Claimed { op });
                }
            }
            Err(error) => outcome.refused.push((id, error)),
        }
    }
    effects.write(session).await?;
    Ok(outcome)
}

fn claim_one(
    effects: &mut Effects,
    heads: &HashMap<String, heads::Marked>,
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
    if let Some(head) = head.and_then(|key| heads.get(key.as_str())) {
        return Err(ClaimError::Blocked { id, by: head.position.1 });
    }
    effects.change(id, change);
    Ok(())
}

/// Ends claims that ran out.
pub(crate) struct Lapsing;

impl Work for Lapsing {
    type Item = Lapse;
    type Answer = Lapsed;
    type Error = ClaimError;

    const OPERATION: &'static str = "lapse";

    async fn run(session: &mut Session, items: &[Lapse]) -> Result<Answers<Self>, StepError> {
        let mut answers = Vec::with_capacity(items.len());
        for lapse in items {
            answers.push(Ok(lapse_one(session, lapse).await?));
        }
        Ok(answers)
    }
}

pub(crate) const RUN_OUT: &str = concat!(
    "SELECT ",
    standing_columns!(),
    " FROM entries e INDEXED BY entries_lease \
     WHERE e.ns = ?1 AND e.status = 'replaying' AND e.hold_expires_at <= ?2 \
     ORDER BY e.hold_expires_at, e.created_at, e.id LIMIT ?3"
);

async fn lapse_one(session: &mut Session, lapse: &Lapse) -> Result<Lapsed, StepError> {
    let now = session.clock.now();
    let Lapse { limit: most, retry_in, evidence } = lapse;
    let ns = session.ns;
    // One more than asked for shows whether any remain.
    let rows = sqlx::query(RUN_OUT)
        .bind(ns)
        .bind(now.as_micros())
        .bind(limit(most.saturating_add(1)))
        .fetch_all(session.conn()?)
        .await?;
    let more = rows.len() > *most;
    let standings = rows.iter().take(*most).map(Standing::read).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<EntryId> = standings.iter().map(|standing| standing.id).collect();
    let mut effects = Effects::on(standings);
    let mut lapsed = Vec::with_capacity(ids.len());
    for id in ids {
        let change = effects.standing(id).and_then(|standing| {
            decide::lapse(id, &standing.state, *retry_in, evidence.clone(), now)
        });
        if let Some(change) = change {
            lapsed.push((id, change.state.status));
            effects.change(id, change);
        }
    }
    effects.write(session).await?;
    Ok(Lapsed { lapsed, more })
}
