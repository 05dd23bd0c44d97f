//! Secrets in text that stand encoded in another text.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::escape::unescape;
use super::facts::{self, Facts};
use super::text::{Spans, run_end};

/// How many times a word may be percent-encoded.
const MAX_PERCENT_LEVELS: usize = 3;

/// Shorter runs of Base64 hold no key and value.
const SHORTEST_BASE64: usize = 16;

/// As much of a run is decoded first: what is no text there is left alone.
const PROBE: usize = 16;

/// Finds words that hold a secret once they are decoded. Such a word goes as a whole, and a text with JSON escapes too.
pub(super) fn find(
    text: &str,
    facts: &Facts,
    has_secret: impl Fn(&str) -> bool,
    spans: &mut Spans<'_>,
) {
    if facts.has(facts::BACKSLASH) && text.contains("\\u") && has_secret(&unescape_loosely(text)) {
        spans.add(0..text.len());
        return;
    }
    if facts.has(facts::PERCENT) {
        for word in words(text, |b| !b.is_ascii_whitespace() && !b"\"'`<>".contains(&b)) {
            if is_secret_percent(&text[word.clone()], &has_secret) {
                spans.add(word);
            }
        }
    }
    if facts.longest >= SHORTEST_BASE64 {
        let belongs = |b: u8| b.is_ascii_alphanumeric() || b"+/-_=".contains(&b);
        for word in words(text, belongs).filter(|word| word.len() >= SHORTEST_BASE64) {
            // The end of a key before is no part of the code.
            let code = text[word.clone()].trim_end_matches('=');
            let code = code.rsplit('=').next().unwrap_or_default();
            if decoded_base64(code).is_some_and(|decoded| has_secret(&decoded)) {
                spans.add(word);
            }
        }
    }
}

fn words(text: &str, belongs: impl Fn(u8) -> bool + Copy) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = run_end(bytes, at, |b| !belongs(b));
        at = run_end(bytes, start, belongs);
        (start < at).then_some(start..at)
    })
}

fn is_secret_percent(word: &str, has_secret: impl Fn(&str) -> bool) -> bool {
    let mut word = Cow::Borrowed(word);
    for _ in 0..MAX_PERCENT_LEVELS {
        let Some(decoded) = decoded_percent(&word) else { return false };
        if has_secret(&decoded) {
            return true;
        }
        word = Cow::Owned(decoded);
    }
    // Deeper than is followed: nobody knows what is in there.
    decoded_percent(&word).is_some()
}

/// `None` where nothing is encoded.
fn decoded_percent(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let byte = code.and_then(|code| Some(hex(code[0])? << 4 | hex(code[1])?));
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    (decoded.len() < bytes.len()).then(|| String::from_utf8_lossy(&decoded).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Decodes what is a JSON escape and keeps every other backslash.
fn unescape_loosely(text: &str) -> String {
    let mut valid = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(backslash) = rest.find('\\') {
        valid.push_str(&rest[..backslash]);
        let escape = &rest[backslash..];
        let is_unicode = escape.get(1..2) == Some("u")
            && escape.as_bytes().get(2..6).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        valid.push_str(if is_unicode { "\\" } else { "\\\\" });
        rest = &escape[1..];
    }
    valid.push_str(rest);
    unescape(&valid)
}

/// The text in a run of Base64; `None` where it is none.
fn decoded_base64(code: &str) -> Option<String> {
    let alphabet = if code.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(alphabet, config);
    let mut probe = [0; PROBE];
    let probed = engine.decode_slice(code.get(..PROBE)?, &mut probe).ok()?;
    let is_text = |b: &u8| matches!(b, b' '..=b'~' | b'\n' | b'\r' | b'\t');
    if !probe[..probed].iter().all(is_text) {
        return None;
    }
    // A run may have lost its end.
    let whole = code.len() - usize::from(code.len() % 4 == 1);
    String::from_utf8(engine.decode(&code[..whole]).ok()?).ok()
}
