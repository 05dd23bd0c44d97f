//! Payloads: the request is kept whole or not at all, diagnostics are bounded.

use baldur_core::{
    Json, NotReplayable,
    policy::{
        bound::bound_json,
        redact::{REDACTED, RedactError, redact_json, redact_json_or_replace, redact_text},
    },
};

use super::{
    notes::Notes,
    policy::{CapturePolicy, Oversize},
    refusal::Refusal,
};

const NOT_JSON: &str = "not JSON; kept as a JSON string";

/// How many times as long redaction and escapes may make a request.
const MAX_GROWTH: usize = 3;

/// What a replay needs, or why there can be none.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) data: Json,
    pub(super) not_replayable: Option<NotReplayable>,
}

impl Request {
    fn replayable(data: Json) -> Self {
        Self { data, not_replayable: None }
    }

    /// In place of the data stands JSON that says why it is gone, and how long it was.
    fn not_kept(reason: NotReplayable, bytes: usize) -> Self {
        let marker = format!(r#"{{"_not_kept":"{}","original_size":{bytes}}}"#, reason.as_str());
        Self { data: Json::parse(&marker).unwrap_or_default(), not_replayable: Some(reason) }
    }
}

pub(super) fn request(
    raw: Option<&str>,
    oversize: Oversize,
    policy: &CapturePolicy,
    notes: &mut Notes<'_>,
) -> Result<Request, Refusal> {
    let Some(text) = raw.map(str::trim_ascii) else {
        return Ok(Request::replayable(Json::empty_object()));
    };
    match (checked_request(text, policy), oversize) {
        (Ok(data), _) => Ok(Request::replayable(data)),
        (Err(unfit), Oversize::Refuse) => Err(unfit.refusal(text.len(), policy)),
        (Err(unfit), Oversize::KeepUnreplayable) => {
            Ok(salvaged_request(text, unfit, policy, notes))
        }
    }
}

/// Any diagnostic field: redacted, then bounded. What is no JSON is kept as a JSON string.
pub(super) fn diagnostic(
    field: &'static str,
    raw: Option<&str>,
    policy: &CapturePolicy,
    notes: &mut Notes<'_>,
) -> Json {
    let Some(text) = raw.map(str::trim_ascii).filter(|text| !text.is_empty()) else {
        return Json::empty_object();
    };
    let rules = &policy.redaction;
    let redacted = match redact_json(text, rules) {
        Ok(redacted) => redacted.text.into_owned(),
        Err(RedactError::Invalid { .. }) => {
            notes.add(field, NOT_JSON);
            Json::string(&redact_text(text, rules)).as_str().to_owned()
        }
        Err(RedactError::TooLarge { .. } | RedactError::TooDeep { .. }) => {
            redact_json_or_replace(text, rules).into_text()
        }
    };
    Json::parse(&bound_json(&redacted, policy.max_field_bytes))
        .unwrap_or_else(|_| Json::string(REDACTED))
}

/// What stands for a field that was not even looked at, because the whole operation was too large.
pub(super) fn unread(bytes: usize) -> String {
    format!(r#"{{"_truncated":true,"original_size":{bytes},"preview":""}}"#)
}

/// Why a request can't be kept as it is.
#[derive(Clone, Copy, Debug)]
enum Unfit {
    TooLarge,
    NotJson { at: usize },
    NotRedactable(RedactError),
}

impl Unfit {
    fn refusal(self, bytes: usize, policy: &CapturePolicy) -> Refusal {
        match self {
            Self::TooLarge => Refusal::RequestTooLarge { bytes, max: policy.max_request_bytes },
            Self::NotJson { at } => Refusal::RequestNotJson { at },
            Self::NotRedactable(error) => Refusal::RequestNotRedactable(error),
        }
    }
}

fn checked_request(text: &str, policy: &CapturePolicy) -> Result<Json, Unfit> {
    if text.len() > policy.max_request_bytes {
        return Err(Unfit::TooLarge);
    }
    let redacted = redact_json(text, &policy.redaction).map_err(|error| match error {
        RedactError::Invalid { at } => Unfit::NotJson { at },
        RedactError::TooLarge { .. } | RedactError::TooDeep { .. } => Unfit::NotRedactable(error),
    })?;
    Json::parse(&redacted.text).map_err(|_| Unfit::NotJson { at: 0 })
}

/// Text that is no JSON reaches the handler as a JSON string: it knows what its host meant.
fn salvaged_request(
    text: &str,
    unfit: Unfit,
    policy: &CapturePolicy,
    notes: &mut Notes<'_>,
) -> Request {
    let not_kept = |reason| Request::not_kept(reason, text.len());
    match unfit {
        Unfit::TooLarge => not_kept(NotReplayable::RequestTooLarge),
        Unfit::NotRedactable(_) => not_kept(NotReplayable::RequestNotRedactable),
        Unfit::NotJson { .. } if text.is_empty() => Request::replayable(Json::empty_object()),
        Unfit::NotJson { .. } => {
            let data = Json::string(&redact_text(text, &policy.redaction));
            // Escapes make a string longer, and stores have limits too.
            if data.len() > policy.max_request_bytes.saturating_mul(MAX_GROWTH) {
                return not_kept(NotReplayable::RequestTooLarge);
            }
            notes.add("request_data", NOT_JSON);
            Request::replayable(data)
        }
    }
}
