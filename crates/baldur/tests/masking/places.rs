//! Operations with secrets in their fields.

use baldur::{
    Json, NewFailedOp, TraceContext, Who,
    name::{Actor, Reason},
};

use crate::dictionary::Planted;

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What stands around a secret.
#[derive(Clone, Debug, Default)]
pub(crate) struct Around {
    /// Text before it.
    pub(crate) before: &'static str,
    /// Text after it.
    pub(crate) after: &'static str,
    /// Containers around its JSON, from the innermost on.
    pub(crate) shells: Vec<u8>,
}

/// A secret as text. JSON stands alone: with words around it, it would be none.
pub(crate) fn text(planted: &Planted, around: &Around) -> String {
    if planted.is_json {
        planted.text.clone()
    } else {
        format!("{}{}{}", around.before, planted.text, around.after)
    }
}

/// A secret as JSON.
pub(crate) fn json(planted: &Planted, around: &Around) -> String {
    let leaf = if planted.is_json {
        planted.text.clone()
    } else {
        Json::string(&text(planted, around)).as_str().to_owned()
    };
    around.shells.iter().fold(leaf, |inner, shell| match shell % 6 {
        0 => format!("[1,{inner},null]"),
        1 => format!(r#"{{"note":{inner},"n":1}}"#),
        2 => format!("[[{inner}]]"),
        3 => format!(r#"{{ "Items" : [ {{"a":true}}, {inner} ] }}"#),
        4 => format!(r#"{{"a_b":"x","c-d":{inner},"e.f":null}}"#),
        _ => Json::string(&format!(r#"{{"inner":{inner}}}"#)).as_str().to_owned(),
    })
}

/// Which groups of fields hold the secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields(pub(crate) u16);

impl Fields {
    pub(crate) const ALL: Self = Self(u16::MAX);

    fn has(self, bit: u16) -> bool {
        self.0 & (1 << bit) != 0
    }
}

/// An operation with a secret in these fields.
pub(crate) fn op(planted: &Planted, around: &Around, fields: Fields) -> NewFailedOp {
    let words = |bit: u16| fields.has(bit).then(|| text(planted, around));
    let document = |bit: u16| fields.has(bit).then(|| json(planted, around));
    let name = |bit: u16, harmless: &str| words(bit).unwrap_or_else(|| harmless.to_owned());
    let mut labels = vec![("team".to_owned(), name(11, "a"))];
    if let Some(label) = words(12) {
        labels.push((label, "x".to_owned()));
    }
    NewFailedOp {
        domain: name(0, "payment"),
        failure_type: name(1, "TIMEOUT"),
        dependency: words(2),
        origin_service: words(2),
        entity_type: words(3),
        entity_id: words(4),
        user_id: words(4),
        request_data: document(5).or_else(|| Some("{}".to_owned())),
        snapshot_data: document(6),
        response_data: if fields.has(6) { words(7) } else { document(7) },
        metadata: document(8),
        entity_refs: document(8),
        error_code: words(9),
        error_message: words(9),
        next_action_hint: words(10),
        fingerprint_key: words(10),
        labels,
        idempotency_key: words(13),
        dedup_key: words(14),
        order_key: words(14),
        traceparent: Some(name(15, TRACEPARENT)),
        tracestate: words(10),
        ..NewFailedOp::default()
    }
}

/// A person who says the secret, as far as a name can hold it.
pub(crate) fn who(planted: &Planted) -> Who {
    Who {
        actor: Actor::parse(&planted.text).unwrap_or_else(|_| Actor::parse("ann").expect("a name")),
        reason: Reason::parse(&planted.text).ok(),
        trace: TraceContext::parse(TRACEPARENT, Some(&planted.text)).ok(),
    }
}
