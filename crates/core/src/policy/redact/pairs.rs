//! `key=value` and `key: value` in text, in URLs, in headers and in what is left of JSON or debug output.

use std::ops::Range;

use super::detector::Detector;
use super::keys::{Reach, Within};
use super::named::{self, Role};
use super::rules::RedactionRules;
use super::text::{Spans, run_end, skip_blanks};

/// How many words before the last one may belong to a key in prose (`social security number: …`).
const MORE_WORDS: usize = 3;

/// Authentication schemes, which are followed by the secret (IANA registry of HTTP authentication schemes).
const SCHEMES: [&str; 8] =
    ["bearer", "basic", "digest", "negotiate", "token", "apikey", "hmac", "dpop"];

/// Prefixes of string literals in the debug output of Rust and Python.
const STRING_PREFIXES: [&str; 6] = ["b", "u", "r", "f", "br", "rb"];

/// Finds the values of secret keys.
///
/// Keys may be quoted; values may be quoted (with the quotes escaped any number of times), bracketed, or bare.
/// A bare value ends at white space, at a quote, or at a delimiter after which something new begins. `--key value`
/// counts too. Keys are looked for between the last separator and this one only, so the work is linear.
pub(super) fn find(text: &str, rules: &RedactionRules, spans: &mut Spans<'_>) {
    let bytes = text.as_bytes();
    let mut finder = Finder { text, rules, floor: 0, named: 0 };
    let mut at = 0;
    while at < bytes.len() {
        let value = match step(bytes, at) {
            Step::Nothing => {
                at += 1;
                continue;
            }
            Step::Skip(next) => {
                (at, finder.floor) = (next, next);
                continue;
            }
            Step::Blank => {
                let value = finder.flag_value(at);
                at += 1;
                value
            }
            Step::Separator(next) => {
                let value = finder.value(at, next);
                (at, finder.floor) = (next, next);
                value
            }
        };
        if let Some(value) = value {
            (at, finder.floor) = (value.end, value.end);
            spans.add(value);
        }
    }
}

struct Finder<'t> {
    text: &'t str,
    rules: &'t RedactionRules,
    /// Keys start here or later.
    floor: usize,
    /// A secret was named, whose value is taken up to here.
    named: usize,
}

impl Finder<'_> {
    /// The secret behind a separator that ends at `next`.
    fn value(&mut self, separator: usize, next: usize) -> Option<Range<usize>> {
        let bytes = self.text.as_bytes();
        let key = Key::before(self.text, self.floor, separator)?;
        if self.rules.has(Detector::Pairs)
            && let Some(reach) = key.reach(self.rules)
        {
            return value_at(bytes, next, reach, key.opened_by);
        }
        if !self.rules.has(Detector::NamedValues) {
            return None;
        }
        match Role::of(key.word) {
            Role::Name => {
                // Bounded, since the search goes on within this value.
                let near = &bytes[..bytes.len().min(next + 2 * named::MAX_NAME)];
                let name = value_at(near, next, Reach::Value, key.opened_by)?;
                if named::is_secret_name(self.text.get(name.clone())?, self.rules) {
                    self.named = name.end + named::MAX_GAP;
                    return named::form_content(self.text, name.end);
                }
                None
            }
            Role::Value if next <= self.named => value_at(bytes, next, Reach::Value, key.opened_by),
            Role::Value | Role::Other => None,
        }
    }

    /// The value after a command-line flag such as `--password`.
    fn flag_value(&self, blank: usize) -> Option<Range<usize>> {
        let bytes = self.text.as_bytes();
        let start = run_start(bytes, self.floor, blank);
        let flag = &self.text[start..blank];
        if !flag.starts_with("--") || bytes.get(blank + 1).is_none_or(|b| b"-=:".contains(b)) {
            return None;
        }
        if !self.rules.has(Detector::Flags) {
            return None;
        }
        let reach = self.rules.match_key(flag, Within::Key)?;
        value_at(bytes, blank, reach, None)
    }
}

enum Step {
    Nothing,
    /// Two colons as in `auth::Error`, or `://`, which the detector of URLs knows better.
    Skip(usize),
    Blank,
    Separator(usize),
}

fn step(bytes: &[u8], at: usize) -> Step {
    match bytes[at] {
        b' ' => Step::Blank,
        b':' if bytes[at..].starts_with(b"::") => Step::Skip(at + 2),
        b':' if bytes[at..].starts_with(b"://") => Step::Skip(at + 3),
        // Also `:=`, `==` and `=>`.
        b'=' | b':' => match bytes.get(at + 1) {
            Some(b'=' | b'>') => Step::Separator(at + 2),
            Some(_) | None => Step::Separator(at + 1),
        },
        b'%' => match bytes.get(at + 1..at + 3) {
            Some([b'3', b'd' | b'D' | b'a' | b'A']) => Step::Separator(at + 3),
            Some(_) | None => Step::Nothing,
        },
        _ => Step::Nothing,
    }
}

/// What stands before a separator.
struct Key<'t> {
    /// The quoted text, or the last word.
    word: &'t str,
    /// The last word with those before it.
    phrase: Option<&'t str>,
    /// The quote before the key that the separator does not close (`-H "Cookie: …"`).
    opened_by: Option<u8>,
}

impl<'t> Key<'t> {
    fn before(text: &'t str, floor: usize, separator: usize) -> Option<Self> {
        let bytes = text.as_bytes();
        let end = last_end(bytes, floor, separator, |b| matches!(b, b' ' | b'\t'));
        if end > floor && is_quote(bytes[end - 1]) {
            let closing = bytes[end - 1];
            let end = last_end(bytes, floor, end - 1, |b| b == b'\\');
            let opening = bytes[floor..end].iter().rposition(|b| *b == closing);
            let start = match opening {
                Some(opening) => floor + opening + 1,
                None => run_start(bytes, floor, end),
            };
            return Some(Self { word: &text[start..end], phrase: None, opened_by: None });
        }
        let start = run_start(bytes, floor, end);
        if start == end {
            return None;
        }
        let mut first = start;
        for _ in 0..MORE_WORDS {
            if first == floor || bytes[first - 1] != b' ' {
                break;
            }
            let more = run_start(bytes, floor, first - 1);
            if more == first - 1 {
                break;
            }
            first = more;
        }
        let opened_by = start.checked_sub(1).map(|before| bytes[before]).filter(|b| is_quote(*b));
        let phrase = (first < start).then(|| &text[first..end]);
        Some(Self { word: &text[start..end], phrase, opened_by })
    }

    fn reach(&self, rules: &RedactionRules) -> Option<Reach> {
        rules
            .match_key(self.word, Within::Key)
            .or_else(|| rules.match_key(self.phrase?, Within::KeyEnd))
    }
}

/// The value that starts at or, after blanks, behind `from`; `None` if there is none.
fn value_at(
    bytes: &[u8],
    from: usize,
    reach: Reach,
    opened_by: Option<u8>,
) -> Option<Range<usize>> {
    let start = skip_blanks(bytes, from);
    let escapes = run_end(bytes, start, |b| b == b'\\') - start;
    let first = *bytes.get(start + escapes)?;
    if is_quote(first) && opened_by != Some(first) {
        let inner = start + escapes + 1;
        if escapes == 0 && bytes.get(inner..inner + 2) == Some(&[first, first]) {
            return Some(inner + 2..tripled_end(bytes, inner + 2, first));
        }
        return Some(inner..quoted_end(bytes, inner, first, escapes).0);
    }
    let end = match reach {
        Reach::Line => line_end(bytes, start, opened_by),
        Reach::Value => block_end(bytes, start).unwrap_or_else(|| bare_end(bytes, start)),
    };
    (start < end).then_some(start..end)
}

/// The end of text in tripled quotes (TOML, Python), or of the text where they are never closed.
fn tripled_end(bytes: &[u8], from: usize, quote: u8) -> usize {
    bytes[from..]
        .windows(3)
        .position(|three| *three == [quote; 3])
        .map_or(bytes.len(), |len| from + len)
}

/// The end of a block of YAML (`key: |`): the lines that are blank or begin with a blank.
fn block_end(bytes: &[u8], start: usize) -> Option<usize> {
    if !matches!(bytes.get(start), Some(b'|' | b'>')) {
        return None;
    }
    let mut end = run_end(bytes, start + 1, |b| b"+-0123456789 \r".contains(&b));
    if bytes.get(end) != Some(&b'\n') {
        return None;
    }
    while matches!(bytes.get(end..), Some([b'\n', b' ' | b'\t' | b'\r' | b'\n', ..])) {
        end = run_end(bytes, end + 1, |b| b != b'\n');
    }
    Some(end)
}

/// The end of quoted text and where the scan may go on; a quote that is never closed reaches to the end.
///
/// A quote that was escaped by `n` backslashes is closed by one with `n`, or with `n` more than a multiple of
/// `2 (n + 1)`: those before are escaped backslashes of the text.
pub(super) fn quoted_end(bytes: &[u8], from: usize, quote: u8, escapes: usize) -> (usize, usize) {
    let mut backslashes = 0;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        if *byte == quote && backslashes % (2 * (escapes + 1)) == escapes {
            return (at - escapes, at + 1);
        }
        backslashes = if *byte == b'\\' { backslashes + 1 } else { 0 };
    }
    (bytes.len(), bytes.len())
}

/// The end of bracketed text, quoted brackets aside; brackets that are never closed reach to the end.
fn bracketed_end(bytes: &[u8], from: usize) -> usize {
    let (mut depth, mut backslashes, mut at) = (0_usize, 0, from);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' if depth <= 1 => return at + 1,
            b'}' | b']' | b')' => depth -= 1,
            b'"' => {
                at = quoted_end(bytes, at + 1, b'"', backslashes).1;
                backslashes = 0;
                continue;
            }
            _ => {}
        }
        backslashes = if *byte == b'\\' { backslashes + 1 } else { 0 };
        at += 1;
    }
    at
}

fn line_end(bytes: &[u8], start: usize, opened_by: Option<u8>) -> usize {
    let end = run_end(bytes, start, |b| !matches!(b, b'\n' | b'\r') && Some(b) != opened_by);
    last_end(bytes, start, end, |b| matches!(b, b' ' | b'\t' | b'\\'))
}

/// The end of a value without quotes around it: a word, the secret after the name of a scheme (`Bearer x`), or a
/// value as debug output writes it (`Some("x")`, `Secret { … }`, `b"x"`).
fn bare_end(bytes: &[u8], start: usize) -> usize {
    let end = word_end(bytes, start);
    let word = &bytes[start..end];
    let is_one_of = |names: &[&str]| names.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(word));
    match bytes.get(end..) {
        Some([quote, ..]) if is_quote(*quote) && is_one_of(&STRING_PREFIXES) => {
            quoted_end(bytes, end + 1, *quote, 0).1
        }
        Some([b' ', b'{', ..]) if !word.is_empty() => bracketed_end(bytes, end + 1),
        Some([b' ', ..]) if is_one_of(&SCHEMES) => word_end(bytes, skip_blanks(bytes, end)),
        Some(_) | None => end,
    }
}

fn word_end(bytes: &[u8], start: usize) -> usize {
    let mut end = start;
    while end < bytes.len() && !ends_word(bytes, end) {
        match bytes[end] {
            b'{' | b'[' | b'(' => end = bracketed_end(bytes, end),
            _ => end += 1,
        }
    }
    // Backslashes before a quote escape that quote.
    if bytes.get(end).is_some_and(|b| is_quote(*b)) {
        return last_end(bytes, start, end, |b| b == b'\\');
    }
    end
}

/// Whether a bare value ends here. Secrets may hold delimiters, so these end it only before something new.
fn ends_word(bytes: &[u8], at: usize) -> bool {
    match bytes[at] {
        b'"' | b'\'' | b'`' | b'<' | b'>' => true,
        b',' | b';' | b'&' | b'|' | b')' | b']' | b'}' => match bytes.get(at + 1) {
            None => true,
            Some(next) if next.is_ascii_whitespace() || br#",;)]}{["'`\"#.contains(next) => true,
            Some(_) => {
                let key_end =
                    run_end(bytes, at + 1, |b| is_key_byte(b) && !matches!(b, b'[' | b']'));
                matches!(bytes.get(key_end), Some(b'=' | b':')) && key_end > at + 1
            }
        },
        byte => byte.is_ascii_whitespace(),
    }
}

pub(super) fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

/// Bytes of a key that is not quoted. All bytes of characters beyond ASCII belong to it.
fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.[]$@%".contains(&byte) || !byte.is_ascii()
}

fn run_start(bytes: &[u8], floor: usize, end: usize) -> usize {
    last_end(bytes, floor, end, is_key_byte)
}

/// Goes back from `end` over bytes that do not matter.
fn last_end(bytes: &[u8], floor: usize, end: usize, skip: impl Fn(u8) -> bool) -> usize {
    bytes[floor..end].iter().rposition(|b| !skip(*b)).map_or(floor, |last| floor + last + 1)
}
