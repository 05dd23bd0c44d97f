//! Credentials, tokens and keys that have a form of their own, and XML elements.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::rules::RedactionRules;
use super::text::{Spans, find_from, is_base64url, run_end, skip_blanks, starts_word};
use crate::policy::bound;

/// Labels of PEM blocks are shorter (RFC 7468 §4).
const MAX_PEM_LABEL: usize = 64;

/// `Basic` is an English word. Without a colon inside, text of this length is still taken for a credential.
const LONG_BASIC: usize = 24;

/// The end tag of an element that follows a word directly is looked for this far, in bytes.
const MAX_NEAR: usize = 256;

/// Words that follow `Bearer` where it is no scheme or no token follows.
const AFTER_BEARER: [&str; 18] = [
    "and",
    "auth",
    "authentication",
    "authorization",
    "error",
    "header",
    "is",
    "missing",
    "not",
    "of",
    "or",
    "realm",
    "required",
    "scheme",
    "scope",
    "token",
    "tokens",
    "was",
];

/// `Bearer <token>` (RFC 6750) and `Basic <credentials>` (RFC 7617).
pub(super) fn find_credentials(text: &str, spans: &mut Spans<'_>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let scheme = match bytes[at] {
            b'b' | b'B' if starts_word(bytes, at) => scheme_at(&bytes[at..]),
            _ => None,
        };
        let Some((scheme, len)) = scheme else {
            at += 1;
            continue;
        };
        let start = skip_blanks(bytes, at + len);
        let end = run_end(bytes, start, |b| is_base64url(b) || b"._~+/=%".contains(&b));
        let is_secret = start > at + len
            && match scheme {
                Scheme::Bearer => !is_prose(&bytes[start..end]),
                Scheme::Basic => is_basic(&bytes[start..end]),
            };
        if is_secret {
            spans.add(start..end);
        }
        at = end.max(at + len);
    }
}

enum Scheme {
    Bearer,
    Basic,
}

fn scheme_at(bytes: &[u8]) -> Option<(Scheme, usize)> {
    let is = |name: &[u8]| bytes.get(..name.len()).is_some_and(|b| b.eq_ignore_ascii_case(name));
    if is(b"bearer") {
        Some((Scheme::Bearer, 6))
    } else if is(b"basic") {
        Some((Scheme::Basic, 5))
    } else {
        None
    }
}

/// Whether what follows `Bearer` is a word of an error message, or the parameter of a challenge.
fn is_prose(token: &[u8]) -> bool {
    let word = token.strip_suffix(b".").unwrap_or(token);
    let word = word.strip_suffix(b"=").unwrap_or(word);
    AFTER_BEARER.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(word))
}

fn is_basic(token: &[u8]) -> bool {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = GeneralPurpose::new(&STANDARD, config).decode(token);
    decoded.is_ok_and(|decoded| decoded.contains(&b':')) || token.len() >= LONG_BASIC
}

/// JSON Web Tokens (RFC 7519): `eyJ…` with three segments, or two that are cut off.
pub(super) fn find_jwts(text: &str, spans: &mut Spans<'_>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(start) = find_from(text, at, "eyJ") {
        let segment_end = |from| run_end(bytes, from, is_base64url);
        let header_end = segment_end(start);
        at = header_end;
        if bytes.get(header_end) != Some(&b'.') {
            continue;
        }
        let claims = header_end + 1;
        let claims_end = segment_end(claims);
        let has_third =
            bytes.get(claims_end) == Some(&b'.') && segment_end(claims_end + 1) > claims_end + 1;
        if text[claims..].starts_with("eyJ") || (claims_end > claims && has_third) {
            // Encrypted tokens have five segments, so all that follow belong to it.
            let end = run_end(bytes, claims, |b| is_base64url(b) || b == b'.');
            spans.add(start..end);
            at = end;
        }
    }
}

/// PEM blocks of private keys (RFC 7468), up to their end or, where it is missing, to the end of the text.
pub(super) fn find_private_keys(text: &str, spans: &mut Spans<'_>) {
    let mut at = 0;
    while let Some(start) = find_from(text, at, "-----BEGIN ") {
        at = start + 11;
        let label = bound::cut(&text[at..], MAX_PEM_LABEL);
        let is_private =
            label.find("-----").is_some_and(|end| label[..end].contains("PRIVATE KEY"));
        if is_private {
            let end = find_from(text, at, "-----END ")
                .and_then(|end| find_from(text, end + 9, "-----"))
                .map_or(text.len(), |end| end + 5);
            spans.add(start..end);
            at = end;
        }
    }
}

/// The content of XML elements with a secret name, up to their end tag or, where it is cut off, the end of the text.
pub(super) fn find_elements(text: &str, rules: &RedactionRules, spans: &mut Spans<'_>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(open) = find_from(text, at, "<") {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"_-.:".contains(&b) || !b.is_ascii();
        let name = &text[open + 1..run_end(bytes, open + 1, is_name)];
        let tag_end = run_end(bytes, open + 1, |b| !matches!(b, b'<' | b'>'));
        at = tag_end;
        let is_start_tag = bytes.get(tag_end) == Some(&b'>') && bytes[tag_end - 1] != b'/';
        if !is_start_tag || !rules.is_secret_key(name) {
            continue;
        }
        let content = tag_end + 1;
        let end_tag = format!("</{name}");
        // Rust writes the same in `Option<Token>`, which no end tag follows. Looking for one to the end of the text,
        // each time in vain, would be quadratic.
        let is_type = open > 0 && bytes[open - 1].is_ascii_alphanumeric();
        let end = if is_type {
            let near = bound::cut(&text[content..], MAX_NEAR);
            let Some(len) = near.find(&end_tag) else { continue };
            content + len
        } else {
            find_from(text, content, &end_tag).unwrap_or(text.len())
        };
        spans.add(content..end);
        at = end;
    }
}
