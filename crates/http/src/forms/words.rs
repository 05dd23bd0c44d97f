//! Words that people and programs write: names of services, points in time, pairs.

use baldur_core::{
    Timestamp,
    name::ServiceName,
    policy::{NameChange, normalize_service},
};

/// The name of a service, spelled as capture keeps it, so that `Payment-Gateway` finds what it captured.
///
/// # Errors
///
/// For a text without a letter or a digit.
pub fn service(text: &str) -> Result<ServiceName, String> {
    let name = normalize_service(text);
    match name.change {
        NameChange::Unchanged | NameChange::Canonicalised => {
            ServiceName::parse(&name.canonical).map_err(|error| error.to_string())
        }
        NameChange::Replaced => Err("the name of a service has a letter or a digit".to_owned()),
    }
}

/// A point in time: RFC 3339, or so long ago (`2h`).
pub fn point(text: &str, now: Timestamp) -> Option<Timestamp> {
    match humantime::parse_duration(text) {
        Ok(ago) => Some(now.saturating_sub(ago)),
        Err(_) => text.parse().ok(),
    }
}

/// Two words with a sign between them, such as `order:4711`.
pub fn pair(text: &str, sign: char) -> Option<(&str, &str)> {
    text.split_once(sign).filter(|(name, value)| !name.is_empty() && !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_absolute_or_ago() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().expect("a time");
        let ago = point("2h", now).expect("a duration");
        assert_eq!(ago.to_string(), "2026-01-01T10:00:00.000000Z");
        assert_eq!(point("2026-01-01T10:00:00Z", now), Some(ago));
        assert_eq!((point("yesterday", now), point("-2h", now)), (None, None));
    }

    #[test]
    fn a_pair_has_both_halves() {
        assert_eq!(pair("order:47:11", ':'), Some(("order", "47:11")));
        for bad in ["order", ":1", "order:", ""] {
            assert_eq!(pair(bad, ':'), None, "{bad}");
        }
    }
}
