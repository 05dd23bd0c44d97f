//! Secrets in plain text: detectors, and the rewriting of what they find.

use std::ops::Range;

use super::detector::Detector;
use super::facts::{self, Facts};
use super::rules::RedactionRules;
use super::{REDACTED, cards, commands, encoded, numbers, pairs, tokens, urls, vendor};

/// After this many rounds a text that still changes is replaced as a whole.
const MAX_ROUNDS: usize = 8;

/// Tokens of vendors have a run of this many letters and digits at least.
const SHORTEST_TOKEN: usize = 14;

/// Account numbers are this long at least.
const SHORTEST_IBAN: usize = 15;

/// Numbers of accounts, persons and cards have this many digits at least.
const FEWEST_DIGITS: usize = 7;

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

/// Replaces every secret that a detector finds; `None` means that there is none.
///
/// Rounds go on until no detector finds anything, so the result is stable by construction.
pub(super) fn redact(text: &str, rules: &RedactionRules) -> Option<Rewritten> {
    redact_with(text, &Facts::of(text), rules)
}

/// The same for a text of which the facts are known.
pub(super) fn redact_with(text: &str, facts: &Facts, rules: &RedactionRules) -> Option<Rewritten> {
    let mut rewritten = redact_once(text, facts, rules)?;
    for _ in 1..MAX_ROUNDS {
        let facts = Facts::of(&rewritten.text);
        let Some(next) = redact_once(&rewritten.text, &facts, rules) else {
            return Some(rewritten);
        };
        let redactions = rewritten.redactions.saturating_add(next.redactions);
        rewritten = Rewritten { text: next.text, redactions };
    }
    Some(Rewritten { text: REDACTED.to_owned(), redactions: rewritten.redactions })
}

fn redact_once(text: &str, facts: &Facts, rules: &RedactionRules) -> Option<Rewritten> {
    let mut spans = Spans { text, ranges: Vec::new() };
    find_plain(text, facts, rules, &mut spans);
    if spans.ranges.is_empty() && rules.has(Detector::Encoded) {
        encoded::find(text, facts, |decoded| has_secret(decoded, rules), &mut spans);
    }
    replace(text, spans.ranges)
}

/// Whether a text that stood encoded in another has a secret. What is encoded in it in turn is not looked at.
fn has_secret(text: &str, rules: &RedactionRules) -> bool {
    let mut spans = Spans { text, ranges: Vec::new() };
    find_plain(text, &Facts::of(text), rules, &mut spans);
    !spans.ranges.is_empty()
}

fn find_plain(text: &str, facts: &Facts, rules: &RedactionRules, spans: &mut Spans<'_>) {
    let finds = |detector, bits| facts.has(bits) && rules.has(detector);
    if facts.has(facts::SEPARATOR) || (facts.has(facts::DASH | facts::BLANK) && text.contains("--"))
    {
        pairs::find(text, rules, spans);
    }
    if facts.digits >= FEWEST_DIGITS {
        find_numbers(text, facts, rules, spans);
    }
    if finds(Detector::Urls, facts::COLON | facts::SLASH) {
        urls::find(text, spans);
    }
    if finds(Detector::Urls, facts::COLON | facts::AT) {
        urls::find_others(text, spans);
    }
    if finds(Detector::Credentials, facts::LETTER_B) {
        tokens::find_credentials(text, spans);
    }
    if finds(Detector::Jwts, facts::LETTER_J) {
        tokens::find_jwts(text, spans);
    }
    if facts.longest >= SHORTEST_TOKEN && rules.has(Detector::VendorTokens) {
        vendor::find(text, spans);
        if facts.has(facts::TILDE) {
            vendor::find_azure(text, spans);
        }
    }
    if finds(Detector::Commands, facts::BLANK) && commands::may_be_in(text, facts) {
        commands::find(text, spans);
    }
    if finds(Detector::PrivateKeys, facts::DASH) {
        tokens::find_private_keys(text, spans);
    }
    if finds(Detector::Elements, facts::ANGLE) {
        tokens::find_elements(text, rules, spans);
    }
}

fn find_numbers(text: &str, facts: &Facts, rules: &RedactionRules, spans: &mut Spans<'_>) {
    if facts.digits >= cards::FEWEST_DIGITS && rules.has(Detector::Cards) {
        cards::find(text, rules.text_cards, |range| spans.add(range));
    }
    if text.len() >= SHORTEST_IBAN && rules.has(Detector::Ibans) {
        numbers::find_ibans(text, spans);
    }
    if facts.has(facts::DASH) && rules.has(Detector::SocialSecurity) {
        numbers::find_social_security(text, spans);
    }
}

/// Puts the marker in place of the ranges; `None` where there are none.
fn replace(text: &str, mut ranges: Vec<Range<usize>>) -> Option<Rewritten> {
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

pub(super) fn find_from(text: &str, from: usize, needle: &str) -> Option<usize> {
    text[from..].find(needle).map(|found| from + found)
}

pub(super) fn skip_blanks(bytes: &[u8], from: usize) -> usize {
    run_end(bytes, from, |b| matches!(b, b' ' | b'\t'))
}

pub(super) fn run_end(bytes: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|b| !belongs(*b)).map_or(bytes.len(), |len| from + len)
}

pub(super) fn is_base64url(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')
}

/// Whether a word of ASCII letters and digits starts here. The letter of an escape such as `\n` belongs to none.
pub(super) fn starts_word(bytes: &[u8], at: usize) -> bool {
    if !bytes[at].is_ascii_alphanumeric() {
        return false;
    }
    match bytes[..at] {
        [] | [.., b'\\', b'n' | b'r' | b't'] => true,
        [.., before] => !before.is_ascii_alphanumeric(),
    }
}
