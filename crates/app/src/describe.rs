//! A failed operation as JSON describes it: a line of NDJSON, a whole request, or what SQL captured.

use std::{fmt, time::Duration};

use baldur_core::{
    EntryId, NewFailedOp,
    policy::{RedactionRules, redact_text},
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};

/// Why a text describes no operation. Names fields, never repeats values: they may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpError {
    /// The stable name for programs: one of [`OP_CODES`].
    pub code: &'static str,
    /// The words for people.
    pub message: String,
}

/// Every code of [`OpError`].
pub const OP_CODES: [&str; 8] = [
    "not_an_object",
    "not_json",
    "missing_field",
    "unknown_field",
    "repeated_field",
    "wrong_type",
    "bad_id",
    "bad_expires_in",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpForm<'a> {
    domain: String,
    failure_type: String,
    id: Option<String>,
    dependency: Option<String>,
    origin_service: Option<String>,
    entity_type: Option<String>,
    entity_id: Option<String>,
    #[serde(borrow)]
    entity_refs: Option<&'a RawValue>,
    user_id: Option<String>,
    #[serde(borrow)]
    request_data: Option<&'a RawValue>,
    #[serde(borrow)]
    snapshot_data: Option<&'a RawValue>,
    #[serde(borrow)]
    response_data: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    error_code: Option<String>,
    error_message: Option<String>,
    next_action_hint: Option<String>,
    idempotency_key: Option<String>,
    dedup_key: Option<String>,
    order_key: Option<String>,
    #[serde(default)]
    labels: Pairs,
    fingerprint_key: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    max_retries: Option<u32>,
    expires_in: Option<String>,
}

/// The members of an object, repeated ones too, so that the service can refuse those.
#[derive(Default)]
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }

            fn visit_unit<E>(self) -> Result<Pairs, E> {
                Ok(Pairs::default())
            }
        }
        deserializer.deserialize_any(Members)
    }
}

/// Reads an operation from a JSON object. Unknown and repeated fields are refused; payloads are taken byte for byte.
///
/// # Errors
///
/// Says which field is wrong.
pub fn parse_op(text: &str) -> Result<NewFailedOp, OpError> {
    // Derived readers would also take an array of values in the order of the fields.
    if !text.trim_ascii_start().starts_with('{') {
        let message = "this is no JSON object".to_owned();
        return Err(OpError { code: "not_an_object", message });
    }
    let form: OpForm<'_> = serde_json::from_str(text).map_err(|error| explain(&error))?;
    let raw = |value: Option<&RawValue>| value.map(|value| value.get().to_owned());
    let OpForm {
        domain,
        failure_type,
        id,
        dependency,
        origin_service,
        entity_type,
        entity_id,
        entity_refs,
        user_id,
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
        labels: Pairs(labels),
        fingerprint_key,
        traceparent,
        tracestate,
        max_retries,
        expires_in,
    } = form;
    Ok(NewFailedOp {
        id: id.map(|id| parse_id(&id)).transpose()?,
        domain,
        failure_type,
        dependency,
        origin_service,
        entity_type,
        entity_id,
        entity_refs: raw(entity_refs),
        user_id,
        request_data: raw(request_data),
        snapshot_data: raw(snapshot_data),
        response_data: raw(response_data),
        metadata: raw(metadata),
        error_code,
        error_message,
        next_action_hint,
        idempotency_key,
        dedup_key,
        order_key,
        labels,
        fingerprint_key,
        traceparent,
        tracestate,
        max_retries,
        expires_in: expires_in.map(|text| parse_duration(&text)).transpose()?,
    })
}

fn parse_id(text: &str) -> Result<EntryId, OpError> {
    text.parse().map_err(|_| OpError {
        code: "bad_id",
        message: "`id` is not an entry id; ids are UUIDs".to_owned(),
    })
}

fn parse_duration(text: &str) -> Result<Duration, OpError> {
    humantime::parse_duration(text).map_err(|_| OpError {
        code: "bad_expires_in",
        message: "`expires_in` must be a duration with its unit, such as 30s, 5m or 7days"
            .to_owned(),
    })
}

/// Keeps the words of serde that name fields, and none that repeat values.
fn explain(error: &serde_json::Error) -> OpError {
    let at = error.column();
    let text = error.to_string();
    let rules = RedactionRules::default();
    let named = |start: &str| {
        let name = text.strip_prefix(start)?.split('`').next()?;
        // A line that went wrong may have a secret where a name should be; half of one would not be recognised.
        let name = redact_text(name, &rules);
        Some(name.chars().take(64).filter(|c| !c.is_control()).collect::<String>())
    };
    let (code, message) = match error.classify() {
        Category::Syntax | Category::Io => {
            ("not_json", format!("no valid JSON, from column {at} on"))
        }
        Category::Eof => ("not_json", "the JSON ends too early".to_owned()),
        Category::Data => {
            if let Some(name) = named("unknown field `") {
                ("unknown_field", format!("there is no field `{name}`"))
            } else if let Some(name) = named("missing field `") {
                ("missing_field", format!("the field `{name}` is missing"))
            } else if let Some(name) = named("duplicate field `") {
                ("repeated_field", format!("the field `{name}` is there twice"))
            } else {
                (
                    "wrong_type",
                    format!(
                        "the value that ends at column {at} is of the wrong type or out of range"
                    ),
                )
            }
        }
    };
    OpError { code, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read() {
        let text = r#"{"id":"01890a5d-ac96-774b-bcce-b302099a8057","domain":"payment","failure_type":"TIMEOUT",
            "dependency":"gateway","origin_service":"checkout","entity_type":"order","entity_id":"1","entity_refs":{"a":1},
            "user_id":"u","request_data":{"big":12345678901234567890.10,"a":1,"a":2},"snapshot_data":[],"response_data":"x",
            "metadata":null,"error_code":"504","error_message":"late","next_action_hint":"wait","idempotency_key":"k",
            "dedup_key":"d","order_key":"o","labels":{"tenant":"a"},"fingerprint_key":"f","traceparent":"t",
            "tracestate":"s","max_retries":3,"expires_in":"1h"}"#;
        let op = parse_op(text).expect("valid");
        assert_eq!(
            op.request_data.as_deref(),
            Some(r#"{"big":12345678901234567890.10,"a":1,"a":2}"#)
        );
        assert_eq!(op.metadata, None);
        assert_eq!(op.labels, [("tenant".to_owned(), "a".to_owned())]);
        assert_eq!(op.expires_in, Some(Duration::from_hours(1)));
        assert_eq!(op.max_retries, Some(3));
        assert!(op.id.is_some() && op.traceparent.is_some() && op.fingerprint_key.is_some());
    }

    #[test]
    fn a_secret_in_place_of_a_field_is_not_repeated() {
        for text in [r#"{"password=hunter2-x":1}"#, r#"{"Bearer hunter2-x":1}"#] {
            let error = parse_op(text).expect_err("no such field");
            assert_eq!(error.code, "unknown_field");
            assert!(!error.message.contains("hunter2"), "{}", error.message);
        }
    }

    #[test]
    fn mistakes_are_named_and_values_are_not_repeated() {
        for (text, code, words) in [
            ("{", "not_json", "ends too early"),
            ("secret", "not_an_object", "no JSON object"),
            ("[]", "not_an_object", "no JSON object"),
            ("{secret", "not_json", "column 2"),
            (r#"{"domain":"a"}"#, "missing_field", "`failure_type`"),
            (
                r#"{"domain":"a","failure_type":"b","requst_data":{}}"#,
                "unknown_field",
                "`requst_data`",
            ),
            (r#"{"domain":"a","domain":"b"}"#, "repeated_field", "`domain`"),
            (r#"{"domain":4711}"#, "wrong_type", "column 14"),
            (r#"{"domain":"a","failure_type":"b","max_retries":-1}"#, "wrong_type", "out of range"),
            (r#"{"domain":"a","failure_type":"b","id":"secret"}"#, "bad_id", "UUID"),
            (
                r#"{"domain":"a","failure_type":"b","expires_in":"secret"}"#,
                "bad_expires_in",
                "unit",
            ),
            (r#"{"domain":"a","failure_type":"b","labels":{"a":7}}"#, "wrong_type", "column"),
        ] {
            let error = parse_op(text).expect_err(text);
            assert_eq!(error.code, code, "{text}: {error:?}");
            assert!(OP_CODES.contains(&error.code), "{text}");
            assert!(error.message.contains(words), "{text}: {error:?}");
            assert!(
                !error.message.contains("secret") && !error.message.contains("4711"),
                "{error:?}"
            );
        }
    }
}
