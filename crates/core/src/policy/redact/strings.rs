//! Strings: JSON, text, or text with JSON in it.

use super::detector::Detector;
use super::facts::{self, Facts};
use super::json::{Depth, redact_embedded, rewrite};
use super::rules::RedactionRules;
use super::text::{self, Rewritten};
use super::{REDACTED, RedactError};

/// Redacts a decoded string: as JSON if it is a JSON object, array or string, as plain text otherwise.
///
/// `None` means that there is nothing to redact.
pub(super) fn redact_string(
    decoded: &str,
    rules: &RedactionRules,
    depth: Depth,
) -> Result<Option<Rewritten>, RedactError> {
    let Some(first) = redact_json_or_text(decoded, rules, depth)? else { return Ok(None) };
    // The second round only finds something where redacted text has become JSON.
    match redact_json_or_text(&first.text, rules, depth)? {
        None => Ok(Some(first)),
        Some(second) => Ok(Some(Rewritten {
            text: REDACTED.to_owned(),
            redactions: first.redactions.saturating_add(second.redactions),
        })),
    }
}

fn redact_json_or_text(
    decoded: &str,
    rules: &RedactionRules,
    depth: Depth,
) -> Result<Option<Rewritten>, RedactError> {
    let facts = Facts::of(decoded);
    let is_json = looks_like_json(decoded);
    let has_brackets = facts.has(facts::BRACKET);
    if !rules.has(Detector::NestedJson) || !(is_json || has_brackets) {
        return Ok(text::redact_with(decoded, &facts, rules));
    }
    let inner = depth.within_string()?;
    if is_json {
        match rewrite(decoded, rules, inner) {
            Err(RedactError::Invalid { .. }) => {}
            rewritten => return rewritten,
        }
    }
    let embedded = if has_brackets { redact_embedded(decoded, rules, inner)? } else { None };
    let Some(embedded) = embedded else { return Ok(text::redact_with(decoded, &facts, rules)) };
    Ok(Some(match text::redact(&embedded.text, rules) {
        None => embedded,
        Some(Rewritten { text, redactions }) => {
            Rewritten { text, redactions: redactions.saturating_add(embedded.redactions) }
        }
    }))
}

fn looks_like_json(text: &str) -> bool {
    let text = text.trim_ascii().as_bytes();
    matches!((text.first(), text.last()), (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')))
        || (text.len() > 1 && text.first() == Some(&b'"') && text.last() == Some(&b'"'))
}
