//! Fingerprints: which failures are the same one again.
//!
//! A fingerprint is a pure function of stored fields, so that it can be computed again. Any change to what goes in
//! or to how messages are normalised is a new [`FINGERPRINT_VERSION`].

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use thiserror::Error;

pub use self::message::{MAX_MESSAGE_BYTES, normalize_message};

mod message;

/// The version of the function, which stands in front of each fingerprint.
pub const FINGERPRINT_VERSION: u16 = 1;

const PREFIX: &str = "v1:";

/// What a fingerprint is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FingerprintInput<'a> {
    /// The caller's own grouping key within a domain. It replaces everything below `domain`.
    pub explicit: Option<&'a str>,
    /// The domain.
    pub domain: &'a str,
    /// What failed.
    pub dependency: &'a str,
    /// The class of failure.
    pub failure_type: &'a str,
    /// The code that the dependency gave.
    pub error_code: Option<&'a str>,
    /// The redacted message, of which only the shape counts ([`normalize_message`]).
    pub error_message: Option<&'a str>,
}

/// The identity of a kind of failure: the first 128 bits of a SHA-256, written as `v1:` and 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

/// A text that is no fingerprint of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a fingerprint: expected `v1:` and 32 lower-case hexadecimal digits")]
pub struct ParseFingerprintError;

/// The fingerprint of a failure.
///
/// With an explicit key it depends on the domain and the key only; otherwise on domain, dependency, failure type,
/// error code and normalised message. Each field is hashed with its length, so `("ab", "c")` and `("a", "bc")` differ,
/// and an absent code differs from an empty one.
pub fn fingerprint(input: &FingerprintInput<'_>) -> Fingerprint {
    let FingerprintInput { explicit, domain, dependency, failure_type, error_code, error_message } =
        *input;
    let mut hasher = Sha256::new();
    hasher.update(b"baldur.fingerprint.v1");
    if let Some(key) = explicit {
        hash_fields(&mut hasher, &[Some("explicit"), Some(domain), Some(key)]);
    } else {
        let message = error_message.map(normalize_message);
        let fields = [
            Some("derived"),
            Some(domain),
            Some(dependency),
            Some(failure_type),
            error_code,
            message.as_deref(),
        ];
        hash_fields(&mut hasher, &fields);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    Fingerprint(half)
}

fn hash_fields(hasher: &mut Sha256, fields: &[Option<&str>]) {
    for field in fields {
        hasher.update([u8::from(field.is_some())]);
        let field = field.unwrap_or_default();
        hasher.update((field.len() as u64).to_be_bytes());
        hasher.update(field.as_bytes());
    }
}

impl Fingerprint {
    /// The 128 bits.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.strip_prefix(PREFIX).ok_or(ParseFingerprintError)?;
        let is_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex.len() != 32 || !is_hex {
            return Err(ParseFingerprintError);
        }
        let bits = u128::from_str_radix(hex, 16).map_err(|_| ParseFingerprintError)?;
        Ok(Self(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: FingerprintInput<'_> = FingerprintInput {
        explicit: None,
        domain: "payment",
        dependency: "bank",
        failure_type: "TimeoutError",
        error_code: Some("504"),
        error_message: Some("order 17 timed out after 2.5s"),
    };

    /// Stored entries carry these values: a change here needs a new version.
    #[test]
    fn golden_values_are_frozen() {
        let empty = FingerprintInput::default();
        let explicit = FingerprintInput { explicit: Some("bank-down"), ..BASE };
        for (input, golden) in [
            (BASE, "v1:19788cad4158993401fdf19236d58211"),
            (empty, "v1:937314e008773510e043f23e1ed9b863"),
            (explicit, "v1:4dd38e32a1f5d1f6d6a43299a0176810"),
        ] {
            assert_eq!(fingerprint(&input).to_string(), golden);
        }
    }

    #[test]
    fn every_field_counts() {
        let mut all = vec![
            BASE,
            FingerprintInput { explicit: Some(""), ..BASE },
            FingerprintInput { explicit: Some("a"), ..BASE },
            FingerprintInput { domain: "paymentb", dependency: "ank", ..BASE },
            FingerprintInput { dependency: "", ..BASE },
            FingerprintInput { failure_type: "TimeoutError5", error_code: Some("04"), ..BASE },
            FingerprintInput { error_code: None, ..BASE },
            FingerprintInput { error_code: Some(""), ..BASE },
            FingerprintInput { error_message: None, ..BASE },
            FingerprintInput { error_message: Some("order timed out"), ..BASE },
        ];
        all.sort_by_key(fingerprint);
        assert!(all.windows(2).all(|pair| fingerprint(&pair[0]) != fingerprint(&pair[1])));
    }

    #[test]
    fn an_explicit_key_outweighs_what_failed() {
        let key = FingerprintInput { explicit: Some("k"), ..BASE };
        let other = FingerprintInput { failure_type: "x", error_message: None, ..key };
        assert_eq!(fingerprint(&key), fingerprint(&other));
        assert_ne!(fingerprint(&key), fingerprint(&FingerprintInput { domain: "x", ..key }));
    }

    #[test]
    fn a_wrong_text_is_no_fingerprint() {
        let right = fingerprint(&BASE).to_string();
        for wrong in [&right[3..], &right[..34], &right.to_uppercase(), "v1:", &format!("{right}0")]
        {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(ParseFingerprintError));
        }
    }

    fn uuid() -> impl Strategy<Value = String> {
        "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    }

    fn message() -> impl Strategy<Value = String> {
        let time =
            "20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?Z";
        let ip = "(1[0-9]{0,2}\\.){3}[1-9]";
        let number = "-?[0-9]{1,12}(\\.[0-9]{1,4})?";
        let hex = "[0-9][0-9a-f]{7,40}";
        (uuid(), time, ip, number, hex, "[a-z]{1,9}", "[a-z]{1,9}@[a-z]{2,5}\\.org").prop_map(
            |(uuid, time, ip, number, hex, word, mail)| {
                format!(
                    "{time} order {uuid} of /users/{number}/carts/{uuid}/x at {ip}:80, '{word}' \
                     commit {hex} (took {number}s) by <{mail}>"
                )
            },
        )
    }

    proptest! {
        #[test]
        fn ids_numbers_and_times_do_not_matter(a in message(), b in message()) {
            prop_assert_eq!(normalize_message(&a), normalize_message(&b));
        }

        #[test]
        fn a_fingerprint_is_read_back(domain in any::<String>(), message in any::<String>()) {
            let input = FingerprintInput { domain: &domain, error_message: Some(&message), ..BASE };
            let fingerprint = fingerprint(&input);
            prop_assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        }

        #[test]
        fn different_types_differ(a in "[A-Za-z]{1,12}", b in "[A-Za-z]{1,12}") {
            prop_assume!(a != b);
            let (a, b) = (
                FingerprintInput { failure_type: &a, ..BASE },
                FingerprintInput { failure_type: &b, ..BASE },
            );
            prop_assert_ne!(fingerprint(&a), fingerprint(&b));
        }

        #[test]
        fn any_message_is_normalised_within_bounds(text in any::<String>()) {
            let shape = normalize_message(&text);
            prop_assert!(shape.len() <= MAX_MESSAGE_BYTES);
            prop_assert!(!shape.contains("  ") && shape.trim() == shape);
        }
    }
}
