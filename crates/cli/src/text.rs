//! Words and numbers for people.

use std::{borrow::Cow, time::Duration};

use baldur::Timestamp;
use baldur_http::forms;

pub(crate) use baldur_http::forms::service;

use crate::exit::{Code, Failure};

/// A text without control characters: what others wrote must not move the cursor of a terminal.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let unsafe_char =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if text.contains(unsafe_char) {
        return text.chars().map(|c| if unsafe_char(c) { ' ' } else { c }).collect();
    }
    Cow::Borrowed(text)
}

/// At most so many characters, with a sign that something is missing.
pub(crate) fn short(text: &str, most: usize) -> String {
    let text = plain(text);
    if text.chars().count() <= most {
        return text.into_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// How long ago, in one unit: `12s`, `5m`, `3h`, `9d`.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A number in groups of three digits: `12 345`.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1 entry`, `2 entries`.
pub(crate) fn entries(count: u64) -> String {
    format!("{} {}", number(count), if count == 1 { "entry" } else { "entries" })
}

/// A point in time: RFC 3339, or so long ago (`2h`).
pub(crate) fn point(option: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    forms::point(text, now).ok_or_else(|| {
        let text = short(text, 64);
        Failure::new(Code::Usage, format!("`{option} {text}` is no point in time"))
            .hint("write RFC 3339, such as 2026-01-31T12:00:00Z, or how long ago, such as 2h")
    })
}

/// A duration with its unit, for clap.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "write a duration with its unit, such as 500ms, 30s, 5m or 2h".to_owned())
}

/// Two words with a sign between them, such as `order:4711`, for clap.
pub(crate) fn pair(sign: char) -> impl Fn(&str) -> Result<(String, String), String> + Clone {
    move |text| {
        forms::pair(text, sign)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .ok_or_else(|| format!("write two words with `{sign}` between them"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_texts_cannot_steer_a_terminal() {
        assert_eq!(plain("a\x1b[2Jb\nc\u{202e}d"), "a [2Jb c d");
        assert_eq!(short("abcdef", 4), "abc…");
        assert_eq!(short("äöü", 3), "äöü");
    }

    #[test]
    fn numbers_are_grouped() {
        for (given, shown) in [(0, "0"), (999, "999"), (1_000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(number(given), shown);
        }
    }

    #[test]
    fn points_in_time_are_absolute_or_ago() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().expect("a time");
        let ago = point("--since", "2h", now).expect("a duration");
        assert_eq!(ago.to_string(), "2026-01-01T10:00:00.000000Z");
        assert_eq!(point("--since", "2026-01-01T10:00:00Z", now).expect("a time"), ago);
        assert!(point("--since", "yesterday", now).is_err());
        assert!(point("--since", "-2h", now).is_err());
    }
}
