//! Rows of the tables, and the types of core that they hold.

use baldur_core::{
    Attempts, ClaimToken, EntryId, EntrySummary, FailedOp, Fingerprint, Hold, Json, Labels,
    NotReplayable, OpState, RecommendedAction, ResolutionType, Status, TraceContext,
    name::{
        Actor, DedupKey, Domain, FailureType, IdempotencyKey, Namespace, OrderKey, ServiceName,
        ShortText, WorkerName,
    },
    wire,
};
use sqlx::postgres::PgRow;

use crate::{columns::Columns, error::StepError};

/// The columns of [`OpState`], in the order in which [`state`] reads them, of `entries e`, `states s` and `attempts a`.
macro_rules! state_columns {
    () => {
        "s.status, s.retry_count, e.max_retries, s.last_retry_at, s.next_attempt_at, s.claim_token, \
         s.hold_holder, s.hold_claimed_at, s.hold_expires_at, a.body, s.force_redrive_count, \
         s.previous_total_retries, s.resolved_at, s.resolved_by_id, s.resolution_type, \
         s.resolution_note, s.recommended_action, e.not_replayable, s.occurrences, \
         s.last_occurred_at, s.evidence_count, s.updated_at, s.expires_at"
    };
}
pub(crate) use state_columns;

/// The columns of [`Standing`].
macro_rules! standing_columns {
    () => {
        concat!(
            "s.id, s.domain, s.facet_key, s.order_key, s.order_head, ",
            $crate::rows::state_columns!()
        )
    };
}
pub(crate) use standing_columns;

/// The tables that [`standing_columns`] come from, but for `states s`, which stands before. Each is looked up by id, whatever
/// the planner takes the sizes of the tables for.
macro_rules! standing_tables {
    () => {
        " CROSS JOIN LATERAL (SELECT x.* FROM baldur.entries x \
          WHERE x.ns = s.ns AND x.id = s.id OFFSET 0) e \
         LEFT JOIN LATERAL (SELECT x.body FROM baldur.attempts x \
          WHERE x.ns = s.ns AND x.id = s.id OFFSET 0) a ON true"
    };
}
pub(crate) use standing_tables;

/// The columns of [`FailedOp`], of `entries e`, `states s`, `attempts a` and `payloads p`.
macro_rules! op_columns {
    () => {
        concat!(
            "e.id, e.domain, e.failure_type, e.dependency, e.origin_service, e.entity_type, \
             e.entity_id, p.entity_refs, e.user_id, p.request_data, p.payload_version, \
             p.snapshot_data, p.response_data, p.metadata, e.error_code, p.error_message, \
             p.next_action_hint, e.idempotency_key, e.dedup_key, e.order_key, e.labels, \
             e.fingerprint_version, e.fingerprint, p.traceparent, p.tracestate, e.created_at, ",
            $crate::rows::state_columns!()
        )
    };
}
pub(crate) use op_columns;

/// The tables that [`op_columns`] come from, but for `states s`, which stands before.
macro_rules! op_tables {
    () => {
        concat!(
            $crate::rows::standing_tables!(),
            " CROSS JOIN LATERAL (SELECT x.* FROM baldur.payloads x \
             WHERE x.ns = s.ns AND x.id = s.id OFFSET 0) p"
        )
    };
}
pub(crate) use op_tables;

/// The states with ids `$2`, each once, as `states s`.
macro_rules! states_by_id {
    () => {
        "(SELECT DISTINCT u.id FROM unnest($2::uuid[]) u(id)) v CROSS JOIN LATERAL \
         (SELECT x.* FROM baldur.states x WHERE x.ns = $1 AND x.id = v.id OFFSET 0) s"
    };
}
pub(crate) use states_by_id;

/// The columns of [`EntrySummary`], of `entries e` and `states s`.
macro_rules! summary_columns {
    () => {
        "e.id, e.domain, e.failure_type, e.dependency, e.origin_service, s.status, \
         s.retry_count, e.max_retries, e.error_code, e.error_preview, e.entity_type, e.entity_id, \
         e.order_key, e.dedup_key, s.occurrences, e.labels, e.fingerprint_version, e.fingerprint, \
         e.not_replayable, e.created_at, s.updated_at, s.next_attempt_at, s.resolved_at"
    };
}
pub(crate) use summary_columns;

/// Where an entry stands, without what it is about: what a decision needs.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) id: EntryId,
    pub(crate) domain: Domain,
    pub(crate) facet_key: i64,
    pub(crate) order_key: Option<OrderKey>,
    /// Whether no other entry of its order key comes first.
    pub(crate) order_head: bool,
    pub(crate) state: OpState,
}

impl Standing {
    pub(crate) fn read(row: &PgRow) -> Result<Self, StepError> {
        Ok(Self::read_with_rest(row)?.0)
    }

    /// Also answers the columns that follow.
    pub(crate) fn read_with_rest(row: &PgRow) -> Result<(Self, Columns<'_>), StepError> {
        let mut columns = Columns::of(row, "entries");
        let standing = Self {
            id: columns.id()?,
            domain: columns.name("domain", Domain::parse)?,
            facet_key: columns.get()?,
            order_key: columns.name_opt("order_key", OrderKey::parse)?,
            order_head: columns.get()?,
            state: state(&mut columns)?,
        };
        Ok((standing, columns))
    }
}

/// Reads [`op_columns`]. Also answers the columns that follow.
pub(crate) fn op<'r>(
    row: &'r PgRow,
    namespace: &Namespace,
) -> Result<(FailedOp, Columns<'r>), StepError> {
    let mut columns = Columns::of(row, "entries");
    let c = &mut columns;
    let op = FailedOp {
        namespace: namespace.clone(),
        id: c.id()?,
        domain: c.name("domain", Domain::parse)?,
        failure_type: c.name("failure_type", FailureType::parse)?,
        dependency: c.name("dependency", ServiceName::parse)?,
        origin_service: c.name("origin_service", ServiceName::parse)?,
        entity_type: c.name_opt("entity_type", ShortText::parse)?,
        entity_id: c.name_opt("entity_id", ShortText::parse)?,
        entity_refs: json(c)?,
        user_id: c.name_opt("user_id", ShortText::parse)?,
        request_data: json(c)?,
        payload_version: c.unsigned("payload_version")?,
        snapshot_data: json(c)?,
        response_data: json(c)?,
        metadata: json(c)?,
        error_code: c.get()?,
        error_message: c.get()?,
        next_action_hint: c.get()?,
        idempotency_key: c.name("idempotency_key", IdempotencyKey::parse)?,
        dedup_key: c.name_opt("dedup_key", DedupKey::parse)?,
        order_key: c.name_opt("order_key", OrderKey::parse)?,
        labels: labels(c)?,
        fingerprint: fingerprint(c)?,
        trace: trace(c)?,
        created_at: c.time("created_at")?,
        state: state(c)?,
    };
    Ok((op, columns))
}

/// Reads [`summary_columns`].
pub(crate) fn summary(row: &PgRow) -> Result<EntrySummary, StepError> {
    let mut columns = Columns::of(row, "entries");
    let c = &mut columns;
    Ok(EntrySummary {
        id: c.id()?,
        domain: c.name("domain", Domain::parse)?,
        failure_type: c.name("failure_type", FailureType::parse)?,
        dependency: c.name("dependency", ServiceName::parse)?,
        origin_service: c.name("origin_service", ServiceName::parse)?,
        status: c.parsed("status", str::parse::<Status>)?,
        retry_count: c.unsigned("retry_count")?,
        max_retries: c.small("max_retries")?,
        error_code: c.get()?,
        error_preview: c.get()?,
        entity_type: c.name_opt("entity_type", ShortText::parse)?,
        entity_id: c.name_opt("entity_id", ShortText::parse)?,
        order_key: c.name_opt("order_key", OrderKey::parse)?,
        dedup_key: c.name_opt("dedup_key", DedupKey::parse)?,
        occurrences: c.unsigned("occurrences")?,
        labels: labels(c)?,
        fingerprint: fingerprint(c)?,
        not_replayable: c.word_opt("not_replayable", NotReplayable::from_name)?,
        created_at: c.time("created_at")?,
        updated_at: c.time("updated_at")?,
        next_attempt_at: c.time("next_attempt_at")?,
        resolved_at: c.time_opt("resolved_at")?,
    })
}

fn state(c: &mut Columns<'_>) -> Result<OpState, StepError> {
    Ok(OpState {
        status: c.parsed("status", str::parse::<Status>)?,
        retry_count: c.unsigned("retry_count")?,
        max_retries: c.small("max_retries")?,
        last_retry_at: c.time_opt("last_retry_at")?,
        next_attempt_at: c.time("next_attempt_at")?,
        claim_token: ClaimToken(c.unsigned("claim_token")?),
        hold: hold(c)?,
        attempts: attempts(c)?,
        force_redrive_count: c.unsigned("force_redrive_count")?,
        previous_total_retries: c.unsigned("previous_total_retries")?,
        resolved_at: c.time_opt("resolved_at")?,
        resolved_by_id: c.name_opt("resolved_by_id", Actor::parse)?,
        resolution_type: c.word_opt("resolution_type", ResolutionType::from_name)?,
        resolution_note: c.get()?,
        recommended_action: c.word_opt("recommended_action", RecommendedAction::from_name)?,
        not_replayable: c.word_opt("not_replayable", NotReplayable::from_name)?,
        occurrences: c.unsigned("occurrences")?,
        last_occurred_at: c.time("last_occurred_at")?,
        evidence_count: c.unsigned("evidence_count")?,
        updated_at: c.time("updated_at")?,
        expires_at: c.time_opt("expires_at")?,
    })
}

fn hold(c: &mut Columns<'_>) -> Result<Option<Hold>, StepError> {
    let holder = c.name_opt("hold_holder", WorkerName::parse)?;
    let claimed_at = c.time_opt("hold_claimed_at")?;
    let expires_at = c.time_opt("hold_expires_at")?;
    match (holder, claimed_at, expires_at) {
        (None, None, None) => Ok(None),
        (Some(holder), Some(claimed_at), Some(expires_at)) => {
            Ok(Some(Hold { holder, claimed_at, expires_at }))
        }
        (Some(_) | None, _, _) => Err(c.corrupt("hold_holder").into()),
    }
}

fn attempts(c: &mut Columns<'_>) -> Result<Attempts, StepError> {
    let text: Option<&str> = c.get()?;
    let attempts = text.map(wire::decode_attempts).transpose();
    Ok(attempts.map_err(|_| c.corrupt("attempts"))?.unwrap_or_default())
}

fn labels(c: &mut Columns<'_>) -> Result<Labels, StepError> {
    let text: Option<&str> = c.get()?;
    let labels = text.map(wire::decode_labels).transpose();
    Ok(labels.map_err(|_| c.corrupt("labels"))?.unwrap_or_default())
}

fn fingerprint(c: &mut Columns<'_>) -> Result<Fingerprint, StepError> {
    let version = c.small("fingerprint_version")?;
    Ok(Fingerprint { version, text: c.name("fingerprint", ShortText::parse)? })
}

fn trace(c: &mut Columns<'_>) -> Result<Option<TraceContext>, StepError> {
    let parent: Option<&str> = c.get()?;
    let state: Option<&str> = c.get()?;
    let trace = parent.map(|parent| TraceContext::parse(parent, state)).transpose();
    trace.map_err(|_| c.corrupt("traceparent").into())
}

fn json(c: &mut Columns<'_>) -> Result<Json, StepError> {
    let text: &str = c.get()?;
    // Damage is told here, as an error, and not by whoever writes the entry out later.
    Json::parse(text).map_err(|_| c.corrupt("a payload").into())
}
