//! Names and short texts: parsed once at the edge, right ever after.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use crate::policy::{
    domain::{OTHER_DOMAIN, UNKNOWN_NAME},
    fingerprint::Fingerprint,
};

/// Why a text is not accepted as a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {reason}")]
pub struct NameError {
    what: &'static str,
    reason: NameReason,
}

/// What is wrong with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NameReason {
    Empty,
    TooLong { bytes: usize, max: usize },
    Charset { allowed: &'static str },
}

impl fmt::Display for NameReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong { bytes, max } => {
                write!(f, "has {bytes} bytes; at most {max} are allowed")
            }
            Self::Charset { allowed } => {
                write!(f, "has characters that are not allowed; use {allowed}")
            }
        }
    }
}

impl NameError {
    /// What the text was meant to be: "domain", "order key".
    pub fn what(&self) -> &'static str {
        self.what
    }
}

fn check(
    what: &'static str,
    max: usize,
    allowed: &'static str,
    is_allowed: fn(&str) -> bool,
    text: &str,
) -> Result<(), NameError> {
    let reason = if text.is_empty() {
        NameReason::Empty
    } else if text.len() > max {
        NameReason::TooLong { bytes: text.len(), max }
    } else if is_allowed(text) {
        return Ok(());
    } else {
        NameReason::Charset { allowed }
    };
    Err(NameError { what, reason })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $allowed:literal, $is_allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest accepted text, in bytes.
            pub const MAX_BYTES: usize = $max;

            /// Accepts a text that follows the rules of this type.
            ///
            /// # Errors
            ///
            /// Says what is wrong and what is allowed.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check($what, $max, $allowed, $is_allowed, text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

fn plain(text: &str) -> bool {
    !text.chars().any(char::is_control) && text.trim() == text
}

fn header_safe(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

fn namespace(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

fn label_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    first
        && text.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-')
        })
}

fn domain(text: &str) -> bool {
    let mut segments = text.split('.');
    let starts_with_letter =
        segments.clone().next().is_some_and(|s| s.starts_with(|c: char| c.is_ascii_lowercase()));
    let word = |s: &str| {
        !s.is_empty()
            && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    starts_with_letter && segments.all(word)
}

name! {
    /// Separates deployments that share a store. Part of every key, table row and file.
    Namespace, "namespace", 64, "a-z, 0-9, `_` and `-`", namespace
}
name! {
    /// The business domain of an operation, such as `payment` or `payment.card`.
    Domain, "domain", 64,
    "segments of a-z, 0-9 and `_`, separated by dots, the first one starting with a letter", domain
}
name! {
    /// The class of a failure, such as `TIMEOUT` or `connection_refused`.
    FailureType, "failure type", 128, "printable characters, none of them blank at the ends", plain
}
name! {
    /// The name of a service: what failed (a dependency) or who reports (an origin).
    ServiceName, "service name", 128, "printable characters, none of them blank at the ends", plain
}
name! {
    /// A short free text that can be searched for exactly: entity kinds and ids, user ids, error codes.
    ShortText, "text", 256, "printable characters, none of them blank at the ends", plain
}
name! {
    /// The key under which the original call was made. It reaches the target unchanged on every replay, as a header.
    IdempotencyKey, "idempotency key", 255, "visible ASCII characters without spaces", header_safe
}
name! {
    /// Captures with the same key are one entry while that entry is live.
    DedupKey, "dedup key", 256, "printable characters, none of them blank at the ends", plain
}
name! {
    /// Entries with the same key are replayed one after the other, in capture order.
    OrderKey, "order key", 256, "printable characters, none of them blank at the ends", plain
}
name! {
    /// The name of a label, such as `tenant`.
    LabelName, "label name", 64, "a-z, 0-9, `_`, `.` and `-`, starting with a letter", label_name
}
name! {
    /// The value of a label.
    LabelValue, "label value", 128, "printable characters, none of them blank at the ends", plain
}
name! {
    /// Who holds a claim: a process, a host, a worker. For people; nothing is decided by it.
    WorkerName, "worker name", 128, "printable characters, none of them blank at the ends", plain
}
name! {
    /// Who acts: a person, a service, or `system`.
    Actor, "actor", 128, "printable characters, none of them blank at the ends", plain
}

name! {
    /// Why somebody acts, in a sentence.
    Reason, "reason", 500, "printable characters, none of them blank at the ends", plain
}

impl Namespace {
    /// The namespace of a deployment that names none.
    pub fn default_namespace() -> Self {
        Self(Arc::from("default"))
    }
}

impl Domain {
    /// The one domain for operations whose own can't be made valid; see [`OTHER_DOMAIN`].
    pub fn other() -> Self {
        Self(Arc::from(OTHER_DOMAIN))
    }
}

impl FailureType {
    /// The one class for failures that nobody classified.
    pub fn unknown() -> Self {
        Self(Arc::from(UNKNOWN_NAME))
    }
}

impl From<Fingerprint> for ShortText {
    /// The text of a fingerprint, `v1:…`.
    fn from(fingerprint: Fingerprint) -> Self {
        Self(Arc::from(fingerprint.to_string()))
    }
}

impl ServiceName {
    /// The one name for a service that nobody named.
    pub fn unknown() -> Self {
        Self(Arc::from(UNKNOWN_NAME))
    }
}

impl Actor {
    /// The actor of what Baldur does by itself.
    pub fn system() -> Self {
        Self(Arc::from("system"))
    }
}

impl IdempotencyKey {
    /// The default key of an operation whose caller had none: its entry id.
    pub fn of_entry(id: crate::id::EntryId) -> Self {
        Self(Arc::from(id.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_follow_the_grammar() {
        for good in ["payment", "payment.card_3ds", "a", "a.0.b", &"a".repeat(64)] {
            assert!(Domain::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "Payment", "0a", ".a", "a.", "a..b", "a-b", "a b", "ä", &"a".repeat(65)] {
            assert!(Domain::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fallback_names_follow_the_rules() {
        assert_eq!(Domain::parse(OTHER_DOMAIN), Ok(Domain::other()));
        assert_eq!(FailureType::parse(UNKNOWN_NAME), Ok(FailureType::unknown()));
        assert_eq!(ServiceName::parse(UNKNOWN_NAME), Ok(ServiceName::unknown()));
    }

    #[test]
    fn control_characters_are_refused_everywhere() {
        assert!(OrderKey::parse("a\0b").is_err());
        assert!(FailureType::parse("a\nb").is_err());
        assert!(LabelValue::parse("\u{85}").is_err());
        assert!(IdempotencyKey::parse("a b").is_err());
    }

    #[test]
    fn an_error_says_what_is_allowed() {
        let error = OrderKey::parse(&"x".repeat(257)).expect_err("too long");
        assert_eq!(error.to_string(), "order key has 257 bytes; at most 256 are allowed");
    }
}
