//! One operation, described by options.

use std::{fs, time::Duration};

use baldur::{
    CaptureFailure, Chain, EntryId, NewFailedOp,
    port::{CaptureError, Disposition, Durability},
};
use baldur_http::forms::CaptureAnswer;
use clap::Args;

use crate::{
    exit::{Code, Failure, HasCode as _},
    out::Output,
    session::Session,
    text,
};

/// The longest file that `@FILE` reads: 64 MiB, as much as capture can be set to accept.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The operation. JSON is given as text, or as `@FILE`.
#[derive(Debug, Args)]
#[command(next_help_heading = "One operation")]
pub(super) struct OneArgs {
    /// The business domain, such as `payment`.
    #[arg(long, requires = "failure_type")]
    domain: Option<String>,
    /// The class of the failure, such as `TIMEOUT`.
    #[arg(long, value_name = "TYPE", requires = "domain")]
    failure_type: Option<String>,
    /// Its id; minted when absent. Capturing the same id again changes nothing.
    #[arg(long, requires = "domain")]
    id: Option<EntryId>,
    /// What failed.
    #[arg(long, value_name = "SERVICE", requires = "domain")]
    dependency: Option<String>,
    /// Who reports.
    #[arg(long, value_name = "SERVICE", requires = "domain")]
    origin_service: Option<String>,
    /// What it was about, such as `order:4711`.
    #[arg(long, value_name = "TYPE:ID", value_parser = text::pair(':'), requires = "domain")]
    entity: Option<(String, String)>,
    /// Further things that it was about.
    #[arg(long, value_name = "JSON", requires = "domain")]
    entity_refs: Option<String>,
    /// The user on whose behalf it ran.
    #[arg(long, value_name = "ID", requires = "domain")]
    user: Option<String>,
    /// What a replay needs.
    #[arg(long, value_name = "JSON", requires = "domain")]
    request_data: Option<String>,
    /// What was known when it failed.
    #[arg(long, value_name = "JSON", requires = "domain")]
    snapshot_data: Option<String>,
    /// What the dependency answered.
    #[arg(long, value_name = "JSON", requires = "domain")]
    response_data: Option<String>,
    /// Anything else worth keeping.
    #[arg(long, value_name = "JSON", requires = "domain")]
    metadata: Option<String>,
    /// The code of the failure.
    #[arg(long, value_name = "CODE", requires = "domain")]
    error_code: Option<String>,
    /// The words of the failure.
    #[arg(long, value_name = "TEXT", requires = "domain")]
    error_message: Option<String>,
    /// What an operator should do next.
    #[arg(long, value_name = "TEXT", requires = "domain")]
    next_action_hint: Option<String>,
    /// The key of the original call; the entry's id when absent.
    #[arg(long, value_name = "KEY", requires = "domain")]
    idempotency_key: Option<String>,
    /// Captures with this key are one entry while it is live.
    #[arg(long, value_name = "KEY", requires = "domain")]
    dedup_key: Option<String>,
    /// Entries with this key are replayed in capture order.
    #[arg(long, value_name = "KEY", requires = "domain")]
    order_key: Option<String>,
    /// A label; repeat it for several.
    #[arg(long, value_name = "NAME=VALUE", value_parser = text::pair('='), requires = "domain")]
    label: Vec<(String, String)>,
    /// Group by this key instead of the failure's own words.
    #[arg(long, value_name = "KEY", requires = "domain")]
    fingerprint_key: Option<String>,
    /// The W3C trace context of the call.
    #[arg(long, value_name = "TEXT", requires = "domain")]
    traceparent: Option<String>,
    /// The W3C trace state of the call.
    #[arg(long, value_name = "TEXT", requires = "traceparent")]
    tracestate: Option<String>,
    /// How many failed replays it may have, 1 to 1000.
    #[arg(long, value_name = "N", requires = "domain")]
    max_retries: Option<u32>,
    /// How long it may wait before it expires.
    #[arg(long, value_name = "DURATION", value_parser = text::duration, requires = "domain")]
    expires_in: Option<Duration>,
}

impl OneArgs {
    /// The operation; `None` when none is described.
    pub(super) fn op(self) -> Result<Option<NewFailedOp>, Failure> {
        let Self {
            domain,
            failure_type,
            id,
            dependency,
            origin_service,
            entity,
            entity_refs,
            user,
            request_data,
            snapshot_data,
            response_data,
            metadata,
            error_code,
            error_message,
            next_action_hint,
            idempotency_key,
            dedup_key,
            order_key,
            label,
            fingerprint_key,
            traceparent,
            tracestate,
            max_retries,
            expires_in,
        } = self;
        let (Some(domain), Some(failure_type)) = (domain, failure_type) else { return Ok(None) };
        let (entity_type, entity_id) = entity.unzip();
        Ok(Some(NewFailedOp {
            id,
            domain,
            failure_type,
            dependency,
            origin_service,
            entity_type,
            entity_id,
            entity_refs: read("--entity-refs", entity_refs)?,
            user_id: user,
            request_data: read("--request-data", request_data)?,
            snapshot_data: read("--snapshot-data", snapshot_data)?,
            response_data: read("--response-data", response_data)?,
            metadata: read("--metadata", metadata)?,
            error_code,
            error_message,
            next_action_hint,
            idempotency_key,
            dedup_key,
            order_key,
            labels: label,
            fingerprint_key,
            traceparent,
            tracestate,
            max_retries,
            expires_in,
        }))
    }
}

/// JSON as it was given, or what the named file holds.
fn read(option: &str, given: Option<String>) -> Result<Option<String>, Failure> {
    let Some(path) = given.as_ref().and_then(|given| given.strip_prefix('@')) else {
        return Ok(given);
    };
    let refused = |error| Failure::usage(&format!("`{option}`: {path} can't be read"), &error);
    if fs::metadata(path).map_err(refused)?.len() > MAX_FILE_BYTES {
        return Err(Failure::new(Code::Usage, format!("`{option}`: {path} is larger than 64 MiB")));
    }
    fs::read_to_string(path).map(Some).map_err(refused)
}

/// Says what to do where there was no room; any other failure says so itself.
fn without_room(failure: CaptureFailure) -> Failure {
    if !matches!(&failure, CaptureFailure::Store(CaptureError::LimitReached { .. })) {
        return failure.into();
    }
    let message = format!("{} ({})", Chain(&failure), failure.code());
    Failure::new(failure.exit_code(), message)
        .hint("close entries, or raise the limit: `overflow` in the settings")
}

pub(super) async fn run(op: NewFailedOp, session: &Session, out: &Output) -> Result<(), Failure> {
    let kept = session.baldur.capture().capture(op, &session.who).await;
    let captured = kept.map_err(without_room)?;
    if out.is_json() {
        return out.json(&CaptureAnswer::of(None, &captured));
    }
    let did = match captured.disposition {
        Disposition::New => "captured",
        Disposition::Repeated => "was there before:",
        Disposition::Merged => "merged into",
    };
    let safe = match &captured.durability {
        Durability::Stored { level } => format!("stored ({level})"),
        Durability::Spooled | Durability::Queued | Durability::Enlisted => {
            captured.durability.as_str().to_owned()
        }
    };
    let nth = match captured.occurrence {
        0 | 1 => String::new(),
        nth => format!(", occurrence {}", text::number(nth)),
    };
    out.line(&format!("{did} {}, {safe}{nth}", captured.id))
}
