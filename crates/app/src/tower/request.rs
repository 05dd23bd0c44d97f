//! A request as an entry keeps it.

use std::collections::BTreeMap;

use baldur_core::policy::redact::{REDACTED, RedactionRules, redact_text};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, Method, header, request::Parts};
use serde::Serialize;
use serde_json::value::RawValue;

/// Which headers are kept with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeaders(Vec<HeaderName>);

/// Headers that tell who sent a request. They are never kept, whatever a policy allows.
const NEVER: [HeaderName; 4] =
    [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE, header::SET_COOKIE];

impl RequestHeaders {
    /// These, but for `Authorization`, `Proxy-Authorization`, `Cookie` and `Set-Cookie`, which are never kept.
    pub fn of(names: impl IntoIterator<Item = HeaderName>) -> Self {
        Self(names.into_iter().filter(|name| !NEVER.contains(name)).collect())
    }

    fn kept<'p>(&self, parts: &'p Parts) -> BTreeMap<&'p str, Vec<&'p str>> {
        let mut kept: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in &parts.headers {
            if let (true, Ok(value)) = (self.0.contains(name), value.to_str()) {
                kept.entry(name.as_str()).or_default().push(value);
            }
        }
        kept
    }
}

/// The request data of a captured request, as JSON.
///
/// | field | holds |
/// |---|---|
/// | `method`, `path` | as sent |
/// | `host` | where to, with its port, if the request names it in its target |
/// | `query` | what follows the `?`, as sent; absent without one |
/// | `headers` | the allowed ones, by name in lower case, each with a list of its values |
/// | `body` | the body, if it is JSON and says so, or says nothing |
/// | `body_text` | any other body in UTF-8 |
/// | `body_base64` | any other body; replaced as a whole if there is a secret in it, since nobody would find it there later |
/// | `body_omitted` | how long a body was at least that was too long to be kept |
///
/// Fields are only ever added. Secrets are redacted by the capture, as everywhere.
#[derive(Debug, Serialize)]
pub struct RequestForm<'r> {
    method: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    path: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'r str>,
    headers: BTreeMap<&'r str, Vec<&'r str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'r RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_text: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_omitted: Option<&'static str>,
}

impl<'r> RequestForm<'r> {
    /// The form of a request; without a body where that was too long.
    pub(super) fn new(
        parts: &'r Parts,
        body: Option<&'r Bytes>,
        headers: &RequestHeaders,
        rules: &RedactionRules,
    ) -> Self {
        let authority = parts.uri.authority();
        let mut form = Self {
            method: parts.method.as_str(),
            // Without user and password, if there are any.
            host: authority.map(|host| match host.port() {
                Some(port) => format!("{}:{port}", host.host()),
                None => host.host().to_owned(),
            }),
            path: parts.uri.path(),
            query: parts.uri.query(),
            headers: headers.kept(parts),
            body: None,
            body_text: None,
            body_base64: None,
            body_omitted: body.is_none().then_some("too long to be kept"),
        };
        if let Some(body) = body.filter(|body| !body.is_empty()) {
            form.fill(parts, body, rules);
        }
        form
    }

    fn fill(&mut self, parts: &Parts, body: &'r Bytes, rules: &RedactionRules) {
        if says_json(parts)
            && let Ok(json) = serde_json::from_slice(body)
        {
            self.body = Some(json);
        } else if let Ok(text) = std::str::from_utf8(body) {
            self.body_text = Some(text);
        } else {
            let readable = String::from_utf8_lossy(body);
            let has_secret = redact_text(&readable, rules) != readable;
            let encoded = if has_secret { REDACTED.to_owned() } else { STANDARD.encode(body) };
            self.body_base64 = Some(encoded);
        }
    }

    /// The JSON.
    pub(super) fn to_json(&self) -> String {
        // Texts and raw JSON can always be written.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

fn says_json(parts: &Parts) -> bool {
    let Some(kind) = parts.headers.get(header::CONTENT_TYPE) else { return true };
    let kind = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let kind = kind.trim_ascii().to_ascii_lowercase();
    kind == b"application/json" || kind.ends_with(b"+json")
}

/// What a person reads of a request: its method and path.
pub(super) fn title(method: &Method, path: &str) -> String {
    format!("{method} {path}")
}
