//! Texts without secrets and within bounds, and who acts in the same way. Used by every use case that stores words.

use std::borrow::Cow;

use baldur_core::{
    Evidence, TraceContext,
    name::{Actor, NameError, Reason},
    policy::{
        bound::bound_text,
        redact::{RedactionRules, redact_text},
    },
};

use crate::env::{Env, Who};

/// What a person reads, without secrets and with at most `max_bytes` bytes.
///
/// Redaction comes before the cut: half a secret would not be recognised. NUL becomes U+FFFD, since not every
/// backend can hold it.
pub(crate) fn text(raw: &str, max_bytes: usize, rules: &RedactionRules) -> String {
    let raw = without_nul(raw);
    let redacted = redact_text(&raw, rules);
    bound_text(&redacted, max_bytes).into_owned()
}

/// One line of text that follows the rules of short names, without secrets; empty when nothing is left.
///
/// Control characters become `_`, blanks at the ends are cut. That is done before redaction too, since what a control
/// character separates may be one key without it; but first the text is redacted as it came, with its lines.
pub(crate) fn line(raw: &str, max_bytes: usize, rules: &RedactionRules) -> String {
    let redacted = redact_text(raw, rules);
    let printable: String =
        redacted.trim().chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    let redacted = if printable == redacted { redacted } else { redact_text(&printable, rules) };
    bound_text(&redacted, max_bytes).into_owned()
}

/// Whether redaction would change this text.
pub(crate) fn has_secret(text: &str, rules: &RedactionRules) -> bool {
    redact_text(text, rules) != text
}

/// The evidence of what `who` does now, without secrets in its words.
pub(crate) fn evidence(env: &Env, raw: &Who, rules: &RedactionRules) -> Evidence {
    env.evidence(&who(raw, rules))
}

/// The same person without secrets in the words.
pub(crate) fn who(raw: &Who, rules: &RedactionRules) -> Who {
    let Who { actor, reason, trace } = raw.clone();
    Who {
        // A redacted actor is still a valid one, so the system is never named in place of a person.
        actor: cleaned(actor, Actor::MAX_BYTES, Actor::parse, rules).unwrap_or_else(Actor::system),
        reason: reason.and_then(|reason| cleaned(reason, Reason::MAX_BYTES, Reason::parse, rules)),
        trace: trace.map(|trace| without_secret_state(trace, rules)),
    }
}

/// The same trace; its state is dropped when it holds a secret.
pub(crate) fn without_secret_state(trace: TraceContext, rules: &RedactionRules) -> TraceContext {
    if !trace.tracestate().is_some_and(|state| has_secret(state, rules)) {
        return trace;
    }
    TraceContext::parse(trace.traceparent(), None).unwrap_or(trace)
}

fn cleaned<T: AsRef<str>>(
    name: T,
    max_bytes: usize,
    parse: fn(&str) -> Result<T, NameError>,
    rules: &RedactionRules,
) -> Option<T> {
    if !has_secret(name.as_ref(), rules) {
        return Some(name);
    }
    parse(&line(name.as_ref(), max_bytes, rules)).ok()
}

fn without_nul(raw: &str) -> Cow<'_, str> {
    if raw.contains('\0') { Cow::Owned(raw.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(raw) }
}
