//! Canonical names: domains, failure types, dependencies and origin services.
//!
//! Capture never refuses an operation because of a name. Each function here turns any text into a
//! name of its grammar, says whether it had to change it, and is idempotent: normalising a result
//! again gives the same result, the fallback buckets included.

use std::borrow::Cow;

/// The one bucket for operations whose domain cannot be turned into a valid one.
///
/// It is itself a valid domain, and every spelling of it (`OTHER_DOMAIN`) leads here.
pub const OTHER_DOMAIN: &str = "other_domain";

/// The one fallback for failure types, dependencies and origin services that say nothing.
pub const UNKNOWN_NAME: &str = "unknown";

/// The longest domain, in bytes.
pub const MAX_DOMAIN_BYTES: usize = 64;

/// The longest failure type, dependency or origin service, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// Domains that say nothing, so that they would compete with [`OTHER_DOMAIN`].
const RESERVED_DOMAINS: [&str; 2] = ["unknown", "default"];

/// A domain in its canonical form, with what had to be done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalizedDomain<'a> {
    /// The valid domain.
    pub canonical: Cow<'a, str>,
    /// What was changed.
    pub change: DomainChange,
}

/// What [`normalize_domain`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainChange {
    /// The text was a canonical domain already.
    Unchanged,
    /// The text was trimmed, lower-cased, or had characters replaced by `_`.
    Canonicalised,
    /// The text could not be saved; the domain is [`OTHER_DOMAIN`].
    Replaced(DomainRejection),
}

/// Why a domain was replaced by [`OTHER_DOMAIN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainRejection {
    /// Nothing is left after trimming.
    Empty,
    /// More than [`MAX_DOMAIN_BYTES`] remain after salvage.
    TooLong,
    /// The first character is no letter, or a segment between dots is empty.
    InvalidCharset,
    /// The name is `unknown` or `default`, which name no domain.
    Reserved,
}

impl DomainRejection {
    /// The value for metric labels and log fields.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::InvalidCharset => "invalid_charset",
            Self::Reserved => "reserved",
        }
    }
}

/// Turns any text into a valid domain.
///
/// A domain is at most 64 bytes of dot-separated segments of `a`–`z`, `0`–`9` and `_`; the first
/// segment starts with a letter, and none is empty. Other texts are trimmed, lower-cased (ASCII) and
/// every other character becomes `_`; what is still no domain becomes [`OTHER_DOMAIN`].
/// The work is bounded by [`MAX_DOMAIN_BYTES`] however long the text is, trimming aside.
pub fn normalize_domain(raw: &str) -> NormalizedDomain<'_> {
    let salvaged = salvage(raw.trim(), MAX_DOMAIN_BYTES, |c| matches!(c, '_' | '.'));
    match check_domain(&salvaged) {
        Ok(()) if salvaged == raw => {
            NormalizedDomain { canonical: Cow::Borrowed(raw), change: DomainChange::Unchanged }
        }
        Ok(()) => NormalizedDomain {
            canonical: Cow::Owned(salvaged),
            change: DomainChange::Canonicalised,
        },
        Err(rejection) => NormalizedDomain {
            canonical: Cow::Borrowed(OTHER_DOMAIN),
            change: DomainChange::Replaced(rejection),
        },
    }
}

fn check_domain(text: &str) -> Result<(), DomainRejection> {
    if text.is_empty() {
        return Err(DomainRejection::Empty);
    }
    if text.len() > MAX_DOMAIN_BYTES {
        return Err(DomainRejection::TooLong);
    }
    let starts_with_letter = text.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts_with_letter || text.split('.').any(str::is_empty) {
        return Err(DomainRejection::InvalidCharset);
    }
    if RESERVED_DOMAINS.contains(&text) {
        return Err(DomainRejection::Reserved);
    }
    Ok(())
}

/// A name in its canonical form, with what had to be done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalizedName<'a> {
    /// The valid name.
    pub canonical: Cow<'a, str>,
    /// What was changed.
    pub change: NameChange,
}

/// What [`normalize_failure_type`] or [`normalize_service`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameChange {
    /// The text was canonical already.
    Unchanged,
    /// The text was trimmed, cut, lower-cased, or had characters replaced by `_`.
    Canonicalised,
    /// The text said nothing; the name is [`UNKNOWN_NAME`].
    Replaced,
}

/// Turns any text into a valid failure type.
///
/// Failure types are names from the host's code (`TimeoutError`, `http.503`), so case is kept. The
/// text is trimmed, control, line-breaking and text-direction characters become `_`, and it is cut
/// to [`MAX_NAME_BYTES`] at a character boundary. Empty text becomes [`UNKNOWN_NAME`].
pub fn normalize_failure_type(raw: &str) -> NormalizedName<'_> {
    let mut name = String::new();
    for c in raw.trim().chars() {
        let c = if is_hidden(c) { '_' } else { c };
        if name.len() + c.len_utf8() > MAX_NAME_BYTES {
            break;
        }
        name.push(c);
    }
    name.truncate(name.trim_end().len());
    let is_empty = name.is_empty();
    named(raw, name, is_empty)
}

/// Turns any text into a valid name of a dependency or of an origin service.
///
/// Such a name is at most [`MAX_NAME_BYTES`] of `a`–`z`, `0`–`9`, `_`, `.`, `-` and `/`. The text is
/// trimmed, lower-cased (ASCII), every other character becomes `_`, and it is cut. Text without any
/// letter or digit becomes [`UNKNOWN_NAME`].
pub fn normalize_service(raw: &str) -> NormalizedName<'_> {
    let mut name = salvage(raw.trim(), MAX_NAME_BYTES, |c| matches!(c, '_' | '.' | '-' | '/'));
    name.truncate(MAX_NAME_BYTES);
    let is_empty = !name.contains(|c: char| c.is_ascii_alphanumeric());
    named(raw, name, is_empty)
}

fn named(raw: &str, name: String, is_empty: bool) -> NormalizedName<'_> {
    if is_empty {
        NormalizedName { canonical: Cow::Borrowed(UNKNOWN_NAME), change: NameChange::Replaced }
    } else if name == raw {
        NormalizedName { canonical: Cow::Borrowed(raw), change: NameChange::Unchanged }
    } else {
        NormalizedName { canonical: Cow::Owned(name), change: NameChange::Canonicalised }
    }
}

/// Lower-cases ASCII and replaces what is not allowed; stops one byte past `max`, which shows that
/// the text is too long without walking all of it.
fn salvage(text: &str, max: usize, is_allowed: impl Fn(char) -> bool) -> String {
    text.chars()
        .take(max + 1)
        .map(|c| c.to_ascii_lowercase())
        .map(
            |c| {
                if c.is_ascii_lowercase() || c.is_ascii_digit() || is_allowed(c) { c } else { '_' }
            },
        )
        .collect()
}

/// Characters that change how a line of a terminal or a log reads without being seen.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn domain(raw: &str) -> (String, DomainChange) {
        let NormalizedDomain { canonical, change } = normalize_domain(raw);
        (canonical.into_owned(), change)
    }

    #[test]
    fn a_canonical_domain_is_kept() {
        for raw in ["payment", "payment.eu_west", "a", "a.1.b_2", "other_domain", "a._b"] {
            assert_eq!(domain(raw), (raw.to_owned(), DomainChange::Unchanged));
        }
    }

    #[test]
    fn a_fixable_domain_is_salvaged() {
        let uuid = "A50e8400-e29b-41d4-a716-446655440000";
        for (raw, canonical) in [
            ("payment-api", "payment_api"),
            ("  Payment\t", "payment"),
            ("zahlung für alle", "zahlung_f_r_alle"),
            ("OTHER_DOMAIN", OTHER_DOMAIN),
            (uuid, "a50e8400_e29b_41d4_a716_446655440000"),
        ] {
            assert_eq!(domain(raw), (canonical.to_owned(), DomainChange::Canonicalised));
        }
    }

    #[test]
    fn a_hopeless_domain_goes_to_the_one_bucket_with_its_reason() {
        use DomainRejection::{Empty, InvalidCharset, Reserved, TooLong};
        let long = "a".repeat(65);
        for (raw, reason) in [
            ("", Empty),
            (" \n ", Empty),
            (long.as_str(), TooLong),
            ("1payment", InvalidCharset),
            ("_payment", InvalidCharset),
            ("a..b", InvalidCharset),
            ("a.", InvalidCharset),
            ("Unknown", Reserved),
            ("default", Reserved),
        ] {
            assert_eq!(domain(raw), (OTHER_DOMAIN.to_owned(), DomainChange::Replaced(reason)));
        }
        assert_eq!(domain(&"a".repeat(64)).1, DomainChange::Unchanged);
    }

    #[test]
    fn a_failure_type_keeps_its_case_and_loses_hidden_characters() {
        let name = |raw| normalize_failure_type(raw).canonical.into_owned();
        assert_eq!(name(" TimeoutError "), "TimeoutError");
        assert_eq!(name("a\nb\u{202e}c"), "a_b_c");
        assert_eq!(name("\t"), UNKNOWN_NAME);
        assert_eq!(name(&"é".repeat(100)).len(), 128);
    }

    #[test]
    fn a_service_name_keeps_dashes_and_slashes() {
        let name = |raw| normalize_service(raw).canonical.into_owned();
        assert_eq!(name("Billing-API/v2"), "billing-api/v2");
        assert_eq!(name("pg main"), "pg_main");
        assert_eq!(name("!!!"), UNKNOWN_NAME);
        assert_eq!(name(&"x".repeat(500)).len(), MAX_NAME_BYTES);
    }

    /// Texts near the grammars as well as arbitrary ones.
    fn raw_name() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[ a-cA-C0-2_./é\\-\\x00]{0,12}",
            "[a-z._]{60,70}",
            "[a-zé ]{120,140}",
        ]
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing_more(raw in raw_name()) {
            let once = normalize_domain(&raw).canonical.into_owned();
            let twice = normalize_domain(&once);
            prop_assert_eq!(twice.change, DomainChange::Unchanged);
            prop_assert_eq!(twice.canonical.as_ref(), once.as_str());
            prop_assert_eq!(check_domain(&once), Ok(()));

            let once = normalize_failure_type(&raw).canonical.into_owned();
            prop_assert_eq!(normalize_failure_type(&once).change, NameChange::Unchanged);
            prop_assert!(!once.is_empty() && once.len() <= MAX_NAME_BYTES);

            let once = normalize_service(&raw).canonical.into_owned();
            prop_assert_eq!(normalize_service(&once).change, NameChange::Unchanged);
            prop_assert!(!once.is_empty() && once.len() <= MAX_NAME_BYTES);
        }
    }
}
