//! Keys and labels.
//!
//! Keys decide what merges, what waits for what, and what a target takes for the same call. So a key is kept to the
//! letter, or refused, or, where nothing may be refused, replaced by its digest: equal keys stay equal.

use baldur_core::{
    Digest, EntryId, Labels,
    failed_op::MAX_LABELS,
    name::{DedupKey, IdempotencyKey, LabelName, LabelValue, NameError, OrderKey},
    policy::redact::{REDACTED, RedactionRules},
};

use super::{notes::Notes, policy::Oversize, refusal::Refusal, scrub};

const HASHED_INVALID: &str = "replaced by its SHA-256: it broke the rules of keys";
const HASHED_SECRET: &str = "replaced by its SHA-256: it looked like a secret";

/// What an idempotency key became.
#[derive(Debug)]
pub(super) enum CallKey {
    /// The caller gave none.
    Absent,
    /// Kept to the letter.
    Kept(IdempotencyKey),
    /// Replaced; the target would not recognise the call by it.
    Replaced(IdempotencyKey),
}

pub(super) fn order_key(
    raw: Option<&str>,
    oversize: Oversize,
    notes: &mut Notes<'_>,
    rules: &RedactionRules,
) -> Result<Option<OrderKey>, Refusal> {
    grouping_key("order_key", raw, oversize, OrderKey::parse, notes, rules)
        .map_err(Refusal::OrderKey)
}

pub(super) fn dedup_key(
    raw: Option<&str>,
    oversize: Oversize,
    notes: &mut Notes<'_>,
    rules: &RedactionRules,
) -> Result<Option<DedupKey>, Refusal> {
    grouping_key("dedup_key", raw, oversize, DedupKey::parse, notes, rules)
        .map_err(Refusal::DedupKey)
}

pub(super) fn idempotency_key(
    raw: Option<&str>,
    oversize: Oversize,
    notes: &mut Notes<'_>,
    rules: &RedactionRules,
) -> Result<CallKey, Refusal> {
    let Some(raw) = raw else { return Ok(CallKey::Absent) };
    let (refusal, note) = match IdempotencyKey::parse(raw) {
        Ok(key) if !looks_secret(raw, rules) => return Ok(CallKey::Kept(key)),
        Ok(_) => (Refusal::IdempotencyKeySecret, HASHED_SECRET),
        Err(error) => (Refusal::IdempotencyKey(error), HASHED_INVALID),
    };
    match oversize {
        Oversize::Refuse => Err(refusal),
        Oversize::KeepUnreplayable => {
            notes.add("idempotency_key", note);
            IdempotencyKey::parse(&hashed(raw)).map(CallKey::Replaced).or(Err(refusal))
        }
    }
}

/// A key of which only equality matters: its digest serves as well where the text can't be stored.
fn grouping_key<T>(
    field: &'static str,
    raw: Option<&str>,
    oversize: Oversize,
    parse: fn(&str) -> Result<T, NameError>,
    notes: &mut Notes<'_>,
    rules: &RedactionRules,
) -> Result<Option<T>, NameError> {
    let Some(raw) = raw else { return Ok(None) };
    let note = match (parse(raw), oversize) {
        (Ok(key), _) if !looks_secret(raw, rules) => return Ok(Some(key)),
        (Ok(_), _) => HASHED_SECRET,
        (Err(error), Oversize::Refuse) => return Err(error),
        (Err(_), Oversize::KeepUnreplayable) if raw.trim().is_empty() => {
            // The digest of nothing would tie operations together that have nothing in common.
            notes.add(field, "dropped: it was blank");
            return Ok(None);
        }
        (Err(_), Oversize::KeepUnreplayable) => HASHED_INVALID,
    };
    notes.add(field, note);
    parse(&hashed(raw)).map(Some)
}

fn hashed(raw: &str) -> String {
    format!("sha256:{}", Digest::of(raw.as_bytes()))
}

/// A UUID is never taken for a secret, even if its digits happen to look like a card number.
fn looks_secret(key: &str, rules: &RedactionRules) -> bool {
    key.parse::<EntryId>().is_err() && scrub::has_secret(key, rules)
}

/// Names of labels come from code, so a bad one is refused. Values come from data, so they are redacted and fitted;
/// a label without a value is dropped.
pub(super) fn labels(
    raw: &[(String, String)],
    oversize: Oversize,
    notes: &mut Notes<'_>,
    rules: &RedactionRules,
) -> Result<Labels, Refusal> {
    if raw.len() > MAX_LABELS && oversize == Oversize::Refuse {
        return Err(Refusal::TooManyLabels(raw.len()));
    }
    let mut labels = Labels::new();
    let (mut dropped, mut changed) = (0_usize, 0_usize);
    for (position, (name, value)) in (1..).zip(raw) {
        if labels.len() == MAX_LABELS {
            dropped += raw.len() + 1 - position;
            break;
        }
        let name = match (label_name(name, position, &labels, rules), oversize) {
            (Ok(name), _) => name,
            (Err(refusal), Oversize::Refuse) => return Err(refusal),
            (Err(_), Oversize::KeepUnreplayable) => {
                dropped += 1;
                continue;
            }
        };
        let fitted = label_value(&name, value, rules);
        match LabelValue::parse(&fitted) {
            Ok(kept) => {
                changed += usize::from(fitted != *value);
                labels.insert(name, kept);
            }
            Err(_) => dropped += 1,
        }
    }
    if dropped + changed > 0 {
        notes.add("labels", &format!("{dropped} dropped, {changed} changed"));
    }
    Ok(labels)
}

fn label_name(
    raw: &str,
    position: usize,
    before: &Labels,
    rules: &RedactionRules,
) -> Result<LabelName, Refusal> {
    let name = LabelName::parse(raw).map_err(|problem| Refusal::LabelName { position, problem })?;
    if scrub::has_secret(raw, rules) {
        return Err(Refusal::LabelNameSecret { position });
    }
    if before.contains_key(&name) {
        return Err(Refusal::LabelRepeated { position });
    }
    Ok(name)
}

fn label_value(name: &LabelName, raw: &str, rules: &RedactionRules) -> String {
    if rules.is_secret_key(name.as_str()) && !raw.trim().is_empty() {
        REDACTED.to_owned()
    } else {
        scrub::line(raw, LabelValue::MAX_BYTES, rules)
    }
}
