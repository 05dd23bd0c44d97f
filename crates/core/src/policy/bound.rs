//! Bounding of diagnostics: long texts are cut and say so.
//!
//! Redaction comes first. A preview is a piece of the text it is given, so it must be given text
//! that has no secrets left.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The most characters that the preview of [`bound_json`] shows.
pub const PREVIEW_CHARS: usize = 200;

/// Cuts a text to at most `max_bytes`, the marker ` …[truncated, N bytes]` included.
///
/// `N` is the size of the whole text. A text of exactly `max_bytes` is kept. The cut is at a character
/// boundary. Where `max_bytes` has no room for the marker, the text is cut without one.
pub fn bound_text(text: &str, max_bytes: usize) -> Cow<'_, str> {
    if text.len() <= max_bytes {
        return Cow::Borrowed(text);
    }
    let marker = format!(" …[truncated, {} bytes]", text.len());
    match max_bytes.checked_sub(marker.len()) {
        Some(room) => Cow::Owned(format!("{}{marker}", cut(text, room))),
        None => Cow::Borrowed(cut(text, max_bytes)),
    }
}

/// Replaces JSON text longer than `max_bytes` by `{"_truncated":true,"original_size":N,"preview":"…"}`.
///
/// A text of exactly `max_bytes` is kept. `N` is the size of the text in bytes, and the preview holds its
/// first [`PREVIEW_CHARS`] characters, fewer where the marker would be longer than `max_bytes`. Below
/// about 60 bytes the marker itself is longer than `max_bytes`; its preview is then empty.
pub fn bound_json(text: &str, max_bytes: usize) -> Cow<'_, str> {
    const TAIL: &str = "\"}";
    if text.len() <= max_bytes {
        return Cow::Borrowed(text);
    }
    let mut marker = format!(r#"{{"_truncated":true,"original_size":{},"preview":""#, text.len());
    for c in text.chars().take(PREVIEW_CHARS) {
        let before = marker.len();
        push_escaped(&mut marker, c);
        if marker.len() + TAIL.len() > max_bytes {
            marker.truncate(before);
            break;
        }
    }
    marker.push_str(TAIL);
    Cow::Owned(marker)
}

/// The longest start of a text that has at most `max_bytes` and ends at a character boundary.
pub(crate) fn cut(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

/// Appends a character as it stands inside a JSON string (RFC 8259 §7).
pub(crate) fn push_escaped(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\0'..='\u{1f}' => {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_text_at_the_limit_is_kept() {
        assert_eq!(bound_text("abcdef", 6), "abcdef");
        assert_eq!(bound_json("[1,2]", 5), "[1,2]");
    }

    #[test]
    fn a_longer_text_is_cut_and_says_how_long_it_was() {
        assert_eq!(
            bound_text(&"x".repeat(100), 40),
            format!("{} …[truncated, 100 bytes]", "x".repeat(14))
        );
        assert_eq!(bound_text("ééé", 3), "é");
    }

    #[test]
    fn longer_json_becomes_a_marker_with_a_preview() {
        let text = format!("[\"{}\"]", "a".repeat(500));
        let bounded = bound_json(&text, 400);
        let value: Value = serde_json::from_str(&bounded).unwrap();
        assert_eq!(value["_truncated"], true);
        assert_eq!(value["original_size"], 504);
        assert_eq!(value["preview"], text[..200]);
    }

    proptest! {
        #[test]
        fn a_bounded_text_fits(text in any::<String>(), max in 0_usize..200) {
            let bounded = bound_text(&text, max);
            prop_assert!(bounded.len() <= max);
            let again = bound_text(&bounded, max).into_owned();
            prop_assert_eq!(again, bounded);
        }

        #[test]
        fn a_json_marker_is_valid_and_fits(text in "[\"\\\\\\x00-\\x1fé𝄞a-z]{0,300}", max in 70_usize..600) {
            prop_assume!(text.len() > max);
            let bounded = bound_json(&text, max);
            prop_assert!(bounded.len() <= max);
            let value: Value = serde_json::from_str(&bounded).unwrap();
            prop_assert!(text.starts_with(value["preview"].as_str().unwrap()));
        }
    }
}
