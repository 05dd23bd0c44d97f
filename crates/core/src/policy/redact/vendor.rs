//! Tokens that say themselves whose they are.

use super::text::{Spans, run_end, starts_word};

/// What a token may consist of behind its prefix.
#[derive(Clone, Copy)]
enum Class {
    /// Letters, digits, `_` and `-`.
    Url,
    /// Those, and dots, slashes and what else Base64 has.
    Any,
    /// Those of `Url`, and a short part with a digit in it is none: names written-like-this.
    Dense,
}

/// A prefix, and how many characters follow it at least.
struct Token {
    prefix: &'static str,
    min: usize,
    class: Class,
}

const fn url(prefix: &'static str, min: usize) -> Token {
    Token { prefix, min, class: Class::Url }
}

const fn any(prefix: &'static str, min: usize) -> Token {
    Token { prefix, min, class: Class::Any }
}

const fn dense(prefix: &'static str, min: usize) -> Token {
    Token { prefix, min, class: Class::Dense }
}

/// The longest part between `-` and `_` of a token of [`Class::Dense`] is at least this long.
const DENSE: usize = 16;

/// Tokens as their vendors document them, in the order of the first letter.
const TOKENS: [Token; 93] = [
    url("AKIA", 16),
    url("ASIA", 16),
    url("AIza", 30),
    url("AGE-SECRET-KEY-1", 40),
    any("ATATT3xFfGF0", 20),
    url("ATBB", 24),
    any("AQVN", 35),
    url("CFPAT-", 30),
    url("CLOJARS_", 50),
    any("EAAA", 40),
    url("GOCSPX-", 20),
    url("HRKU-", 30),
    url("LTAI", 16),
    url("NRAK-", 20),
    url("PMAK-", 30),
    any("SG.", 40),
    url("aio_", 24),
    url("bkua_", 30),
    url("cio", 32),
    url("dapi", 32),
    any("dckr_pat_", 20),
    any("discord.com/api/webhooks/", 20),
    any("discordapp.com/api/webhooks/", 20),
    url("doo_v1_", 40),
    url("dop_v1_", 40),
    url("dor_v1_", 40),
    any("dp.pt.", 30),
    any("dt0c01.", 40),
    any("fm1_", 30),
    any("fm2_", 30),
    url("figd_", 20),
    url("fo1_", 30),
    url("ghp_", 30),
    url("gho_", 30),
    url("ghu_", 30),
    url("ghs_", 30),
    url("ghr_", 30),
    url("github_pat_", 22),
    url("glpat-", 20),
    url("gldt-", 20),
    url("glrt-", 20),
    url("glcbt-", 20),
    url("glptt-", 20),
    url("glft-", 20),
    url("glsoat-", 20),
    url("glimt-", 20),
    url("glagent-", 20),
    url("glsa_", 30),
    any("glc_", 30),
    url("gsk_", 40),
    url("hf_", 30),
    any("hooks.slack.com/services/", 20),
    any("hooks.slack.com/workflows/", 20),
    any("hvb.", 20),
    any("hvs.", 20),
    url("key-", 32),
    url("lin_api_", 30),
    url("npm_", 30),
    url("ntn_", 30),
    url("nfp_", 30),
    url("oy2", 43),
    any("pat14.", 40),
    url("pscale_pw_", 30),
    url("pscale_tkn_", 30),
    url("pul-", 40),
    url("pypi-", 50),
    url("r8_", 30),
    url("rk_live_", 16),
    url("rk_test_", 16),
    url("rubygems_", 40),
    url("rzp_live_", 14),
    dense("sk-", 20),
    url("sk_live_", 16),
    url("sk_test_", 16),
    url("sq0atp-", 20),
    url("sq0csp-", 30),
    url("shpat_", 30),
    url("shpca_", 30),
    url("shppa_", 30),
    url("shpss_", 30),
    url("sbp_", 30),
    any("sntrys_", 40),
    url("sntryu_", 40),
    any("whsec_", 20),
    url("xapp-", 20),
    url("xoxa-", 20),
    url("xoxb-", 20),
    url("xoxe-", 20),
    any("xoxe.xox", 20),
    url("xoxp-", 20),
    url("xoxr-", 20),
    url("xoxs-", 20),
    any("ya29.", 20),
];

/// Where in [`TOKENS`] those with this first letter are.
const BY_LETTER: [(usize, usize); 128] = by_letter();

const fn by_letter() -> [(usize, usize); 128] {
    let mut index = [(0, 0); 128];
    let mut at = 0;
    while at < TOKENS.len() {
        let slot = &mut index[TOKENS[at].prefix.as_bytes()[0] as usize];
        if slot.1 == 0 {
            slot.0 = at;
        }
        at += 1;
        slot.1 = at;
    }
    index
}

/// The number of a Telegram bot, before the colon of its token.
const BOT_ID: std::ops::RangeInclusive<usize> = 8..=10;

/// What stands behind that colon.
const BOT_SECRET: usize = 35;

/// The length of an application secret of Azure, whose fourth to sixth characters are a digit and `Q~`.
const AZURE_SECRET: std::ops::RangeInclusive<usize> = 38..=44;

/// Finds tokens of known vendors where a word starts.
pub(super) fn find(text: &str, spans: &mut Spans<'_>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !starts_word(bytes, at) {
            at += 1;
            continue;
        }
        let end = token_end(text, at).or_else(|| bot_end(bytes, at));
        at = end.map_or(at + 1, |end| {
            spans.add(at..end);
            end
        });
    }
}

/// Finds application secrets of Azure, which have no prefix but a fixed place for `Q~`.
pub(super) fn find_azure(text: &str, spans: &mut Spans<'_>) {
    let bytes = text.as_bytes();
    for (mark, _) in text.match_indices("Q~") {
        let Some(start) = mark.checked_sub(4) else { continue };
        let is_tail = |b: u8| b.is_ascii_alphanumeric() || b"_~.-".contains(&b);
        let is_head = bytes[start..mark].iter().all(|b| is_tail(*b));
        let starts = start == 0 || !is_tail(bytes[start - 1]);
        if !is_head || !starts || !bytes[mark - 1].is_ascii_digit() {
            continue;
        }
        // Bounded, so that a text full of marks stays linear work.
        let limit = bytes.len().min(start + AZURE_SECRET.end() + 1);
        let end = run_end(&bytes[..limit], mark, is_tail);
        if AZURE_SECRET.contains(&(end - start)) {
            spans.add(start..end);
        }
    }
}

fn token_end(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let (first, end) = *BY_LETTER.get(usize::from(bytes[at]))?;
    let token = TOKENS[first..end].iter().find(|t| bytes[at..].starts_with(t.prefix.as_bytes()))?;
    let start = at + token.prefix.len();
    let end = run_end(bytes, start, |b| belongs(b, token.class));
    let is_long = end - start >= token.min;
    let is_token = match token.class {
        Class::Url | Class::Any => is_long,
        Class::Dense => is_long && is_dense(&bytes[start..end]),
    };
    is_token.then_some(end)
}

fn belongs(b: u8, class: Class) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(b, b'_' | b'-')
        || (matches!(class, Class::Any) && matches!(b, b'.' | b'/' | b'+' | b'=' | b':'))
}

fn is_dense(bytes: &[u8]) -> bool {
    bytes.iter().any(u8::is_ascii_digit)
        && bytes.split(|b| matches!(b, b'-' | b'_')).any(|part| part.len() >= DENSE)
}

fn bot_end(bytes: &[u8], at: usize) -> Option<usize> {
    if !bytes[at].is_ascii_digit() {
        return None;
    }
    // Bounded, so that a long run of digits is not read from each of its bytes.
    let limit = bytes.len().min(at + BOT_ID.end() + 1);
    let colon = run_end(&bytes[..limit], at, |b| b.is_ascii_digit());
    if !BOT_ID.contains(&(colon - at)) || bytes.get(colon) != Some(&b':') {
        return None;
    }
    let end = run_end(bytes, colon + 1, |b| belongs(b, Class::Url));
    (end - colon > BOT_SECRET).then_some(end)
}
