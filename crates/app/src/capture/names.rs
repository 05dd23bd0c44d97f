//! Names and short texts: no operation is lost for them.
//!
//! Secrets are looked for before and after a name is normalised: what separates the digits of a card number may be
//! what normalising replaces.

use baldur_core::{
    name::{Domain, FailureType, ServiceName, ShortText},
    policy::{
        domain::{normalize_domain, normalize_failure_type, normalize_service},
        redact::{RedactionRules, redact_text},
    },
};

use super::{notes::Notes, scrub};

pub(super) fn domain(raw: &str, notes: &mut Notes<'_>, rules: &RedactionRules) -> Domain {
    let normal = |raw: &str| normalize_domain(raw).canonical.into_owned();
    let name = normalized(raw, rules, normal);
    notes.add_original("original_domain", raw, &name);
    Domain::parse(&name).unwrap_or_else(|_| Domain::other())
}

pub(super) fn failure_type(
    raw: &str,
    notes: &mut Notes<'_>,
    rules: &RedactionRules,
) -> FailureType {
    let normal = |raw: &str| normalize_failure_type(raw).canonical.into_owned();
    let name = normalized(raw, rules, normal);
    notes.add_original("original_failure_type", raw, &name);
    FailureType::parse(&name).unwrap_or_else(|_| FailureType::unknown())
}

/// The name of a dependency or an origin.
pub(super) fn service(
    field: &'static str,
    raw: &str,
    notes: &mut Notes<'_>,
    rules: &RedactionRules,
) -> ServiceName {
    let name = normalized(raw, rules, |raw| normalize_service(raw).canonical.into_owned());
    notes.add_original(field, raw, &name);
    ServiceName::parse(&name).unwrap_or_else(|_| ServiceName::unknown())
}

/// A text that can be searched for exactly; absent when nothing but blanks was given.
pub(super) fn short_text(
    field: &'static str,
    raw: Option<&str>,
    notes: &mut Notes<'_>,
    rules: &RedactionRules,
) -> Option<ShortText> {
    let raw = raw?;
    let text = scrub::line(raw, ShortText::MAX_BYTES, rules);
    if !text.is_empty() {
        notes.add_original(field, raw, &text);
    }
    ShortText::parse(&text).ok()
}

/// The normal form of a name without its secrets; the fallback where normalising would make up a secret.
fn normalized(raw: &str, rules: &RedactionRules, normalize: impl Fn(&str) -> String) -> String {
    let redacted = redact_text(raw, rules);
    let name = normalize(&redacted);
    // What redaction left as it is has no secret; only a changed name may have got one.
    if name != redacted && scrub::has_secret(&name, rules) { normalize("") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_normalising_would_uncover_is_not_kept() {
        let rules = RedactionRules::default();
        let mut notes = Notes::new(&rules);
        // Too many digits for a card, until the name is cut to its length.
        let raw = format!("{} 411111111111111199999", "a".repeat(111));
        assert!(!scrub::has_secret(&raw, &rules));
        assert_eq!(failure_type(&raw, &mut notes, &rules).as_str(), "unknown");
        let service = service("original_dependency", "PASSWORD=Hunter2", &mut notes, &rules);
        assert_eq!(service.as_str(), "password____redacted___");
    }
}
