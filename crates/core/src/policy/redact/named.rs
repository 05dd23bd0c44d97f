//! A name and its value side by side: `{"name":"password","value":"x"}`, `name="password" value="x"`, form parts.

use std::ops::Range;

use super::keys::Within;
use super::rules::RedactionRules;
use super::text::run_end;

/// What a key says of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It is the name of something.
    Name,
    /// It is what the name means.
    Value,
    /// Neither.
    Other,
}

/// Longer texts are no names.
pub(super) const MAX_NAME: usize = 64;

/// The value is looked for this far behind its name, in bytes.
pub(super) const MAX_GAP: usize = 128;

impl Role {
    /// Most keys are told by their last letter alone.
    pub(super) fn of(key: &str) -> Self {
        let is = |known: &str| key.eq_ignore_ascii_case(known);
        let ends = |known: &str| {
            let start = key.len().checked_sub(known.len());
            let end = start.and_then(|start| key.as_bytes().get(start..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(known.as_bytes()))
        };
        let Some(last) = key.as_bytes().last().map(u8::to_ascii_lowercase) else {
            return Self::Other;
        };
        let (is_name, is_value) = match last {
            b'a' => (false, is("data")),
            b'd' => (ends("field") || is("id") || is("kind"), false),
            b'e' => {
                (ends("name") || ends("variable") || is("type") || is("attribute"), ends("value"))
            }
            b'g' => (false, is("string")),
            b'k' | b'n' => (key.len() == 1, false),
            b'l' => (is("label"), is("val")),
            b'm' => (is("param"), false),
            b'r' => (ends("header") || ends("parameter") || is("attr") || is("var"), false),
            b's' => (false, ends("values") || is("contents")),
            b't' => (false, is("content") || is("default") || is("text")),
            b'v' => (false, key.len() == 1),
            b'w' => (false, is("raw")),
            b'y' => (ends("key") || ends("property"), is("body")),
            _ => (false, false),
        };
        match (is_name, is_value) {
            (true, _) => Self::Name,
            (false, true) => Self::Value,
            (false, false) => Self::Other,
        }
    }
}

/// Whether a text is the name of a secret. In several words it has to end with one: `API key`, not `token expired`.
pub(super) fn is_secret_name(text: &str, rules: &RedactionRules) -> bool {
    if text.len() > MAX_NAME {
        return false;
    }
    let within = if text.contains(char::is_whitespace) { Within::KeyEnd } else { Within::Key };
    rules.match_key(text, within).is_some()
}

/// The content of the part of a form whose header goes on at `from` (RFC 7578); `None` where it is no form.
pub(super) fn form_content(text: &str, from: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    // Bounded, so that a text full of names is no square of work.
    let near = &bytes[..bytes.len().min(from + 2 * MAX_GAP)];
    let floor = text.floor_char_boundary(from.saturating_sub(MAX_GAP));
    let line = text[floor..from].rfind('\n').map_or(floor, |at| floor + at);
    if !text[line..from].contains("form-data") {
        return None;
    }
    let mut at = from;
    loop {
        at = run_end(near, at, |b| b != b'\n') + 1;
        let is_far = at >= near.len();
        match near.get(at..) {
            Some([b'\r', b'\n', ..]) => {
                at += 2;
                break;
            }
            Some([b'\n', ..]) => {
                at += 1;
                break;
            }
            Some(_) | None if is_far => return None,
            Some(_) | None => {}
        }
    }
    let end = text[at..].find("\n--").map_or(bytes.len(), |end| at + end);
    let end = end - usize::from(end > at && bytes[end - 1] == b'\r');
    Some(at..end)
}
