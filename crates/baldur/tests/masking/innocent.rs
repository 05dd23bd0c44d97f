//! What looks a little like a secret and is none stays byte for byte.

use baldur::{
    CapturePolicy, Json, NewFailedOp, Oversize,
    policy::redact::{RedactionRules, redact_json, redact_text},
};

use crate::{twins, world::ann};

/// Keys whose values stay.
const KEYS: [&str; 78] = [
    "author",
    "authors",
    "authored_by",
    "authority",
    "authentic",
    "tokenizer",
    "tokenized",
    "tokenCount",
    "token_count",
    "max_tokens",
    "maxTokens",
    "total_tokens",
    "prompt_tokens",
    "completion_tokens",
    "token_type",
    "tokens_used",
    "token_limit",
    "tokenExpiresAt",
    "password_changed_at",
    "password_policy",
    "passwordless",
    "secretary",
    "secretariat",
    "keyboard",
    "monkey",
    "donkey",
    "key",
    "keys",
    "primary_key",
    "sort_key",
    "partition_key",
    "foreign_key",
    "routing_key",
    "idempotency_key",
    "order_key",
    "dedup_key",
    "public_key_id",
    "publicKey",
    "cache_key",
    "object_key",
    "passage",
    "passenger",
    "passenger_count",
    "passed",
    "pass_rate",
    "boarding_pass_count",
    "bypass",
    "compass",
    "pinned",
    "pin_count",
    "spinner",
    "pineapple",
    "opinion",
    "shipping",
    "cookiecutter",
    "session",
    "session_count",
    "account",
    "account_id",
    "card",
    "card_type",
    "cardinality",
    "number",
    "invoice_number",
    "signature",
    "design",
    "signal",
    "sign_up_at",
    "issn",
    "license",
    "license_plate",
    "tax",
    "tax_rate",
    "bearing",
    "code",
    "zip_code",
    "status_code",
    "postcode",
];

/// Texts that stay, under any key and in any field.
const TEXTS: [&str; 73] = [
    "018f6b1e-7a3c-7d4e-9b2a-1c2d3e4f5a6b",
    "41111111-1111-4111-9111-11111111111a",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "a4111111111111111bcdef0123456789abcdef01",
    "507f1f77bcf86cd799439011",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "ORD-2024-000123",
    "order 4711 of customer 815",
    "1700000000000",
    "1700000000000000",
    "2026-01-02T03:04:05.678901Z",
    "2026-01-02 03:04:05 +0100",
    "12:30:01",
    "+49 30 901820",
    "+1 (555) 010-9999",
    "555-010-9999",
    "1999.99 EUR",
    "-0.10",
    "$1,234,567.89",
    "EUR",
    "DE",
    "en-GB",
    "ISO-8859-1",
    "10.0.0.1:443",
    "2001:db8::1",
    "https://h.example:8080/a?b=c&d=e#f",
    "https://h.example/@ann/posts?page=2",
    "git@github.com:ann/repo.git",
    "mailto:ann@example.org",
    "ann@example.org",
    "s3://bucket/path/to/object_key.json",
    "C:\\Users\\ann\\file.txt",
    "/var/lib/shop/baldur.db",
    "std::auth::Error: expired",
    "Connection refused (os error 111)",
    "Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON",
    "unexpected token \"}\" in line 3",
    "secret \"db-creds\" not found",
    "the bearer token is missing",
    "Bearer of bad news",
    "Bearer realm=\"example\"",
    "the basic plan, a Basic idea",
    "basic training",
    "the author passed the authentic passage to the secretary",
    "token bucket is empty",
    "your password has expired",
    "password reset mail was sent",
    "a pin on the map, a pass over the mountain",
    "monkey=1; keyboard: yes; x = 1",
    "author: Ann; tokenizer=bpe",
    "prompt_tokens=12 completion_tokens=30 max_tokens=4096",
    "sk-SK",
    "sk-learn-something-long-name-here",
    "ghp_short",
    "npm_config_registry",
    "key-value store, key-by-key comparison",
    "xoxo, with love",
    "AKIA",
    "hf_hub",
    "docker run -u 1000:1000 image",
    "mkdir -p /var/lib/shop",
    "tar -p -u file",
    "VXNlcjoxMjM=",
    "T3JkZXI6NDcxMQ==",
    "aGVsbG8gd29ybGQsIGhvdyBhcmUgeW91",
    "100%25 sure, 50% off",
    "a%20b%2Fc",
    "caf\\u00e9",
    "<p>hello <b>world</b></p>",
    "Vec<Token> and Option<Secret>",
    "DE88370400440532013000",
    "000-12-3456",
];

/// Bare JSON that stays.
const VALUES: [&str; 7] =
    ["1700000000000000", "123456789012", "4222222222222", "1.5e300", "true", "null", "[1,2,3]"];

/// Lists and objects whose neighbours are no names and values.
const DOCUMENTS: [&str; 9] = [
    r#"["author","Ann","tokenizer","bpe"]"#,
    r#"["user","email","name"]"#,
    r#"["the password is old","change it"]"#,
    r#"{"name":"author","value":"Ann"}"#,
    r#"{"name":"Password reset","value":"sent"}"#,
    r#"{"key":"max_tokens","value":4096}"#,
    r#"{"type":"object","content":{"a":1}}"#,
    r#"{"field":"password","error":"is too short"}"#,
    r#"["--verbose","yes","--max-tokens","5"]"#,
];

fn documents() -> Vec<String> {
    let mut all: Vec<String> = DOCUMENTS.iter().map(|text| (*text).to_owned()).collect();
    for key in KEYS {
        all.push(format!(r#"{{"{key}":"plain value","x":[{{"{key}":17}}]}}"#));
    }
    for text in TEXTS {
        let quoted = Json::string(text);
        let quoted = quoted.as_str();
        all.push(format!(r#"{{"note":{quoted},"list":[{quoted}, {quoted}, 1]}}"#));
        all.push(Json::string(&format!(r#"{{"inner":{quoted}}}"#)).as_str().to_owned());
    }
    all.extend(VALUES.iter().map(|value| format!("{{\"n\": {value} }}")));
    all
}

#[test]
fn what_only_looks_like_a_secret_stays_byte_for_byte() {
    let rules = RedactionRules::default();
    let mut changed = Vec::new();
    for document in documents() {
        let redacted = redact_json(&document, &rules).expect("JSON").text;
        if redacted != document {
            changed.push(format!("{document}\n  {redacted}"));
        }
    }
    let pairs = KEYS.iter().map(|key| format!("{key}=plain, {key}: value; --{key} x"));
    for text in TEXTS.iter().map(|text| (*text).to_owned()).chain(pairs) {
        for text in [text.clone(), format!("before {text} after"), format!("{text}\n{text}")] {
            let redacted = redact_text(&text, &rules);
            if redacted != text {
                changed.push(format!("{text}\n  {redacted}"));
            }
        }
    }
    assert!(changed.is_empty(), "{} changed:\n{}", changed.len(), changed.join("\n"));
}

#[test]
fn captured_operations_keep_what_only_looks_like_a_secret() {
    let service = twins::service(CapturePolicy::default().redaction);
    for text in TEXTS {
        let quoted = Json::string(text);
        let document = format!(r#"{{"note":{0},"n":[{0}]}}"#, quoted.as_str());
        // Keys have a character set of their own.
        let key = if text.bytes().all(|b| b.is_ascii_graphic()) { text } else { "k" };
        let op = NewFailedOp::new("payment", "TIMEOUT")
            .entity("author", text)
            .request_data(&document)
            .response_data(&document)
            .metadata(&document)
            .error_message(text)
            .idempotency_key(key)
            .order_key(key)
            .label("token_count", text);
        let kept = service.prepare(op, &ann(), Oversize::Refuse).expect("acceptable").op;
        for data in [&kept.request_data, &kept.response_data, &kept.metadata] {
            assert_eq!(data.as_str(), document);
        }
        assert_eq!(kept.error_message, text);
        assert_eq!(kept.entity_id.as_ref().map(AsRef::as_ref), Some(text));
        assert_eq!(kept.idempotency_key.as_str(), key);
        assert_eq!(kept.order_key.as_ref().map(AsRef::as_ref), Some(key));
        assert_eq!(kept.labels.values().map(AsRef::as_ref).collect::<Vec<&str>>(), [text]);
    }
}
