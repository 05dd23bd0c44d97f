//! What programs read as answers, over HTTP and from the command.

use std::collections::BTreeMap;

use baldur_core::{
    Cursor, EntrySummary, EvidenceRecord, Facets, FailedOp, ListOrder, NotReplayable,
    port::Captured, wire,
};
use serde::Serialize;

/// What became of a captured operation.
#[derive(Clone, Debug, Serialize)]
pub struct CaptureAnswer {
    /// The number of the line that described it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The entry that stands for it.
    pub id: String,
    /// How safe it is: `stored`, `spooled`, `queued` or `enlisted`.
    pub durability: &'static str,
    /// Which occurrence of the failure this is.
    pub occurrence: u64,
    /// What happened: `new`, `repeated` or `merged`.
    pub disposition: &'static str,
}

impl CaptureAnswer {
    /// The answer for the operation of this line.
    pub fn of(line: Option<u64>, captured: &Captured) -> Self {
        let Captured { id, durability, occurrence, disposition, live: _, evicted: _ } = captured;
        Self {
            line,
            id: id.to_string(),
            durability: durability.as_str(),
            occurrence: *occurrence,
            disposition: disposition.as_str(),
        }
    }
}

/// A line that did not do what it should.
#[derive(Clone, Debug, Serialize)]
pub struct LineAnswer<'a> {
    /// The number of the line.
    pub line: u64,
    /// Under which id its operation would be kept: sent again with it, it is kept once. Where the store was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Why.
    pub error: ErrorAnswer<'a>,
}

/// What was wrong.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorAnswer<'a> {
    /// The stable name for programs.
    pub code: &'a str,
    /// The words for people.
    pub message: &'a str,
    /// What is known of the effect, where the store was asked: `not_applied` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
}

impl<'a> LineAnswer<'a> {
    /// A line that did nothing.
    pub fn refused(line: u64, code: &'a str, message: &'a str) -> Self {
        Self { line, id: None, error: ErrorAnswer { code, message, outcome: None } }
    }
}

/// An entry with its evidence on one line: the stored forms, as export writes and import reads them.
pub fn record(op: &FailedOp, trail: &[EvidenceRecord]) -> String {
    let evidence: Vec<String> = trail.iter().map(wire::encode_evidence).collect();
    format!("{{\"entry\":{},\"evidence\":[{}]}}", wire::encode_entry(op), evidence.join(","))
}

/// How many entries there are by each dimension.
#[derive(Clone, Debug, Serialize)]
pub struct Counts<'a> {
    /// By status.
    #[serde(rename = "by_status")]
    status: BTreeMap<&'static str, u64>,
    /// By domain.
    #[serde(rename = "by_domain")]
    domain: &'a BTreeMap<String, u64>,
    /// By failure type.
    #[serde(rename = "by_failure_type")]
    failure_type: &'a BTreeMap<String, u64>,
    /// By dependency.
    #[serde(rename = "by_dependency")]
    dependency: &'a BTreeMap<String, u64>,
}

impl<'a> Counts<'a> {
    /// The counts of these facets.
    pub fn of(facets: &'a Facets) -> Self {
        let Facets { by_status, by_domain, by_failure_type, by_dependency } = facets;
        Self {
            status: by_status.iter().map(|(status, count)| (status.as_str(), *count)).collect(),
            domain: by_domain,
            failure_type: by_failure_type,
            dependency: by_dependency,
        }
    }
}

/// An entry of a list, as programs read it. Times are RFC 3339 texts.
#[derive(Clone, Debug, Serialize)]
pub struct SummaryAnswer<'a> {
    id: String,
    status: &'static str,
    domain: &'a str,
    failure_type: &'a str,
    dependency: &'a str,
    origin_service: &'a str,
    retry_count: u32,
    max_retries: u32,
    error_code: &'a str,
    error_preview: &'a str,
    entity_type: Option<&'a str>,
    entity_id: Option<&'a str>,
    order_key: Option<&'a str>,
    dedup_key: Option<&'a str>,
    occurrences: u64,
    labels: BTreeMap<&'a str, &'a str>,
    fingerprint: &'a str,
    not_replayable: Option<&'static str>,
    created_at: String,
    updated_at: String,
    next_attempt_at: String,
    resolved_at: Option<String>,
    cursor: String,
}

impl<'a> SummaryAnswer<'a> {
    /// The form of an item of a list in this order.
    pub fn of(item: &'a EntrySummary, order: ListOrder) -> Self {
        let EntrySummary {
            id,
            domain,
            failure_type,
            dependency,
            origin_service,
            status,
            retry_count,
            max_retries,
            error_code,
            error_preview,
            entity_type,
            entity_id,
            order_key,
            dedup_key,
            occurrences,
            labels,
            fingerprint,
            not_replayable,
            created_at,
            updated_at,
            next_attempt_at,
            resolved_at,
        } = item;
        Self {
            id: id.to_string(),
            status: status.as_str(),
            domain: domain.as_str(),
            failure_type: failure_type.as_str(),
            dependency: dependency.as_str(),
            origin_service: origin_service.as_str(),
            retry_count: *retry_count,
            max_retries: *max_retries,
            error_code,
            error_preview,
            entity_type: entity_type.as_ref().map(AsRef::as_ref),
            entity_id: entity_id.as_ref().map(AsRef::as_ref),
            order_key: order_key.as_ref().map(AsRef::as_ref),
            dedup_key: dedup_key.as_ref().map(AsRef::as_ref),
            occurrences: *occurrences,
            labels: labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            fingerprint: fingerprint.text.as_str(),
            not_replayable: not_replayable.map(NotReplayable::as_str),
            created_at: created_at.to_string(),
            updated_at: updated_at.to_string(),
            next_attempt_at: next_attempt_at.to_string(),
            resolved_at: resolved_at.map(|at| at.to_string()),
            cursor: Cursor::at(order, item.position()).to_string(),
        }
    }
}
