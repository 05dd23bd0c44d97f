//! The headers of a request.

use std::collections::BTreeMap;

use baldur_core::{FailedOp, port::ReplayContext};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::{WIRE_VERSION, error::HttpTargetError};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFIX: &str = "baldur-";
const ATTEMPT: HeaderName = HeaderName::from_static("baldur-attempt");
const CLAIM_TOKEN: HeaderName = HeaderName::from_static("baldur-claim-token");
const DOMAIN: HeaderName = HeaderName::from_static("baldur-domain");
const ENTRY_ID: HeaderName = HeaderName::from_static("baldur-entry-id");
const WIRE: HeaderName = HeaderName::from_static("baldur-wire-version");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What the contract or HTTP itself decides, besides everything that starts with [`PREFIX`].
const RESERVED: [HeaderName; 12] = [
    IDEMPOTENCY_KEY,
    TRACEPARENT,
    TRACESTATE,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The headers that the settings add, checked.
pub(crate) fn own_headers(
    given: &BTreeMap<String, SecretString>,
) -> Result<HeaderMap, HttpTargetError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let shown = || name.chars().take(64).collect::<String>();
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| HttpTargetError::HeaderName(shown()))?;
        if RESERVED.contains(&parsed) || parsed.as_str().starts_with(PREFIX) {
            return Err(HttpTargetError::HeaderReserved(parsed.as_str().to_owned()));
        }
        let mut value = HeaderValue::from_str(value.expose_secret())
            .map_err(|_| HttpTargetError::HeaderValue(parsed.as_str().to_owned()))?;
        value.set_sensitive(true);
        headers.insert(parsed, value);
    }
    Ok(headers)
}

/// The headers of the contract for this replay.
///
/// `None` when a value can't be a header, which the types of the entry's fields exclude.
pub(crate) fn contract_headers(op: &FailedOp, context: ReplayContext) -> Option<HeaderMap> {
    let text = |text: &str| HeaderValue::from_str(text).ok();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(IDEMPOTENCY_KEY, text(op.idempotency_key.as_str())?);
    headers.insert(WIRE, HeaderValue::from(WIRE_VERSION));
    headers.insert(ENTRY_ID, text(&op.id.to_string())?);
    headers.insert(DOMAIN, text(op.domain.as_str())?);
    headers.insert(ATTEMPT, HeaderValue::from(context.attempt));
    headers.insert(CLAIM_TOKEN, HeaderValue::from(context.claim_token.0));
    if let Some(trace) = &op.trace {
        headers.insert(TRACEPARENT, text(trace.traceparent())?);
        if let Some(state) = trace.tracestate() {
            headers.insert(TRACESTATE, text(state)?);
        }
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(name: &str, value: &str) -> Result<HeaderMap, HttpTargetError> {
        own_headers(&BTreeMap::from([(name.to_owned(), SecretString::from(value))]))
    }

    #[test]
    fn headers_of_the_contract_and_of_http_can_not_be_given() {
        for name in
            ["Idempotency-Key", "baldur-anything", "HOST", "content-length", "Transfer-Encoding"]
        {
            assert!(matches!(own(name, "x"), Err(HttpTargetError::HeaderReserved(_))), "{name}");
        }
    }

    #[test]
    fn a_header_can_not_smuggle_another() {
        assert!(matches!(own("x\r\ny", "x"), Err(HttpTargetError::HeaderName(_))));
        let error = own("x-key", "secret\r\nHost: evil").expect_err("refused");
        assert!(matches!(error, HttpTargetError::HeaderValue(_)));
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn values_are_marked_as_secret() {
        let headers = own("Authorization", "Bearer t").expect("valid");
        assert!(headers[header::AUTHORIZATION].is_sensitive());
    }
}
