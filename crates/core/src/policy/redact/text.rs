//! Secrets in plain text: detectors, and the rewriting of what they find.

use std::ops::Range;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::rules::RedactionRules;
use super::{REDACTED, cards, pairs};
use crate::policy::bound;

/// After this many rounds a text that still changes is replaced as a whole.
const MAX_ROUNDS: usize = 8;

/// Labels of PEM blocks are shorter (RFC 7468 §4).
const MAX_PEM_LABEL: usize = 64;

/// `Basic` is an English word. Without a colon inside, text of this length is still taken for a credential.
const LONG_BASIC: usize = 24;

/// The end tag of an element that follows a word directly is looked for this far, in bytes.
const MAX_NEAR: usize = 256;

/// User names in URLs of this length are access tokens.
const LONG_USER: usize = 20;

/// A text with its secrets replaced, and how many there were.
pub(super) struct Rewritten {
    pub(super) text: String,
    pub(super) redactions: u32,
}

/// The secrets found so far.
pub(super) struct Spans<'t> {
    text: &'t str,
    ranges: Vec<Range<usize>>,
}

impl Spans<'_> {
    /// Adds a secret; nothing, and what is redacted already, is none.
    pub(super) fn add(&mut self, range: Range<usize>) {
        let secret = &self.text[range.clone()];
        if !secret.is_empty() && secret != REDACTED {
            self.ranges.push(range);
        }
    }
}

/// Which ASCII bytes a text has.
struct Present(u128);

impl Present {
    fn in_text(text: &str) -> Self {
        Self(text.bytes().filter(u8::is_ascii).fold(0, |set, byte| set | 1 << byte))
    }

    fn any(&self, bytes: &[u8]) -> bool {
        bytes.iter().any(|byte| self.0 & (1 << byte) != 0)
    }
}

/// Replaces every secret that a detector finds; `None` means that there is none.
///
/// Rounds go on until no detector finds anything, so the result is stable by construction.
pub(super) fn redact(text: &str, rules: &RedactionRules) -> Option<Rewritten> {
    let mut rewritten = redact_once(text, rules)?;
    for _ in 1..MAX_ROUNDS {
        let Some(next) = redact_once(&rewritten.text, rules) else { return Some(rewritten) };
        let redactions = rewritten.redactions.saturating_add(next.redactions);
        rewritten = Rewritten { text: next.text, redactions };
    }
    Some(Rewritten { text: REDACTED.to_owned(), redactions: rewritten.redactions })
}

fn redact_once(text: &str, rules: &RedactionRules) -> Option<Rewritten> {
    let mut spans = Spans { text, ranges: Vec::new() };
    // Most texts are short words. One look at their bytes spares them the detectors that can't find anything.
    let present = Present::in_text(text);
    if present.any(b":=%") || present.any(b"-") {
        pairs::find(text, rules, &mut spans);
    }
    if present.any(b"0123456789") {
        cards::find(text, rules.text_cards, |range| spans.add(range));
    }
    if present.any(b":") && present.any(b"/") {
        find_url_passwords(text, &mut spans);
    }
    if present.any(b"bB") {
        find_credentials(text, &mut spans);
    }
    if present.any(b"J") {
        find_jwts(text, &mut spans);
    }
    if present.any(b"-") {
        find_private_keys(text, &mut spans);
    }
    if present.any(b"<") {
        find_elements(text, rules, &mut spans);
    }

    let mut ranges = spans.ranges;
    if ranges.is_empty() {
        return None;
    }
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            Some(_) | None => merged.push(range),
        }
    }
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for range in &merged {
        out.push_str(&text[copied..range.start]);
        out.push_str(REDACTED);
        copied = range.end;
    }
    out.push_str(&text[copied..]);
    Some(Rewritten { text: out, redactions: u32::try_from(merged.len()).unwrap_or(u32::MAX) })
}

/// `scheme://user:password@host`: the password, or a user name that is long enough to be a token.
fn find_url_passwords(text: &str, spans: &mut Spans<'_>) {
    let mut at = 0;
    while let Some(start) = find_from(text, at, "://").map(|colon| colon + 3) {
        // Up to the next URL, so that no byte is looked at for more than one.
        let rest = &text[start..find_from(text, start, "://").unwrap_or(text.len())];
        let ends_word = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>');
        let ends_host = |c: char| ends_word(c) || matches!(c, '/' | '?' | '#');
        let mut authority = &rest[..rest.find(ends_host).unwrap_or(rest.len())];
        if !authority.contains('@') && may_hold_password(&text[at..start - 3], authority) {
            // Passwords with `/`, `?` or `#` are wrong there, but people write them.
            authority = &rest[..rest.find(ends_word).unwrap_or(rest.len())];
        }
        if let Some(host) = authority.rfind('@') {
            match authority[..host].find(':') {
                Some(colon) => spans.add(start + colon + 1..start + host),
                None if host >= LONG_USER => spans.add(start..start + host),
                None => {}
            }
        }
        at = start;
    }
}

/// Whether an authority without `@` may be the first half of `user:password`, not `host:port`.
fn may_hold_password(before: &str, authority: &str) -> bool {
    let is_web = before.ends_with("http") || before.ends_with("https");
    match authority.split_once(':') {
        // An IPv6 address is in brackets.
        Some((host, _)) if host.starts_with('[') => false,
        Some((_, port)) => !is_web || port.bytes().any(|b| !b.is_ascii_digit()),
        None => false,
    }
}

/// `Bearer <token>` (RFC 6750) and `Basic <credentials>` (RFC 7617).
fn find_credentials(text: &str, spans: &mut Spans<'_>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let starts_word = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        let scheme = match bytes[at] {
            b'b' | b'B' if starts_word => scheme_at(&bytes[at..]),
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
                Scheme::Bearer => true,
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

fn is_basic(token: &[u8]) -> bool {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = GeneralPurpose::new(&STANDARD, config).decode(token);
    decoded.is_ok_and(|decoded| decoded.contains(&b':')) || token.len() >= LONG_BASIC
}

/// JSON Web Tokens (RFC 7519): `eyJ…` with three segments, or two that are cut off.
fn find_jwts(text: &str, spans: &mut Spans<'_>) {
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
fn find_private_keys(text: &str, spans: &mut Spans<'_>) {
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
fn find_elements(text: &str, rules: &RedactionRules, spans: &mut Spans<'_>) {
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

fn find_from(text: &str, from: usize, needle: &str) -> Option<usize> {
    text[from..].find(needle).map(|found| from + found)
}

pub(super) fn skip_blanks(bytes: &[u8], from: usize) -> usize {
    run_end(bytes, from, |b| matches!(b, b' ' | b'\t'))
}

pub(super) fn run_end(bytes: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|b| !belongs(*b)).map_or(bytes.len(), |len| from + len)
}

fn is_base64url(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')
}
