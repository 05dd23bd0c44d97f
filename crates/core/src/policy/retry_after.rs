//! The HTTP header `Retry-After` (RFC 9110 §10.2.3).

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;

/// Longer values are no date of any format that we accept.
const MAX_HEADER_BYTES: usize = 64;

/// How long a `Retry-After` header asks to wait, at most `max`.
///
/// Accepts delta-seconds (`120`) and IMF-fixdate (`Sun, 06 Nov 1994 08:49:37 GMT`), which is compared with
/// `now_unix_seconds`, the caller's wall clock. A date in the past asks for no wait. Anything else is
/// `None`: a wrong header must not stop a retry.
pub fn parse_retry_after(value: &str, now_unix_seconds: i64, max: Duration) -> Option<Duration> {
    let value = value.trim();
    if value.is_empty() || value.len() > MAX_HEADER_BYTES {
        return None;
    }
    if value.bytes().all(|b| b.is_ascii_digit()) {
        // Only a number above u64 fails to parse here, and that is longer than any maximum.
        let asked = value.parse().map_or(max, Duration::from_secs);
        return Some(asked.min(max));
    }
    if !value.ends_with(" GMT") {
        return None;
    }
    let date = DateTimeParser::new().parse_timestamp(value).ok()?;
    let seconds = date.as_second().saturating_sub(now_unix_seconds);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(max))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: Duration = Duration::from_hours(1);
    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const THEN: i64 = 784_111_777;

    #[test]
    fn seconds_are_taken_up_to_the_maximum() {
        for (value, seconds) in [("0", 0), (" 120 ", 120), ("3600", 3600), ("3601", 3600)] {
            assert_eq!(parse_retry_after(value, THEN, MAX), Some(Duration::from_secs(seconds)));
        }
        assert_eq!(parse_retry_after(&"9".repeat(40), THEN, MAX), Some(MAX));
    }

    #[test]
    fn a_date_is_compared_with_the_given_now() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(parse_retry_after(date, THEN - 30, MAX), Some(Duration::from_secs(30)));
        assert_eq!(parse_retry_after(date, THEN + 30, MAX), Some(Duration::ZERO));
        assert_eq!(parse_retry_after(date, i64::MIN, MAX), Some(MAX));
    }

    #[test]
    fn a_wrong_header_asks_for_nothing() {
        for value in ["", "-1", "1.5", "soon", "Sun, 06 Nov 1994", "Xxx, 06 Nov 1994 08:49:37 GMT"]
        {
            assert_eq!(parse_retry_after(value, THEN, MAX), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_bounded(value in any::<String>(), now in any::<i64>()) {
            if let Some(wait) = parse_retry_after(&value, now, MAX) {
                prop_assert!(wait <= MAX);
            }
        }
    }
}
