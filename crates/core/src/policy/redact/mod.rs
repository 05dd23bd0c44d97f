//! Redaction: no secret gets past capture.
//!
//! JSON is rewritten as text, in one pass. What is no secret stays byte-identical: numbers of any size, the order
//! of keys, duplicate keys, white space, escapes. These are redacted, each replaced by [`REDACTED`]:
//!
//! 1. the whole value of a secret key, whatever its type ([`RedactionRules`]), and a value beside its name as in
//!    `{"name":"password","value":"x"}`;
//! 2. secrets inside strings and keys, as far as a [`Detector`] knows them;
//! 3. all of that in JSON that a string contains, alone or between words, and secrets in text that are percent-encoded,
//!    escaped or in Base64.
//!
//! # Guarantees
//!
//! - Valid JSON stays valid JSON; invalid JSON is an error.
//! - Redacting twice is redacting once. (A result may be longer than its input, so a document near the size limit
//!   may be refused the second time.)
//! - Any error is a reason to replace the whole value; [`redact_json_or_replace`] does.
//! - The work is linear in the input, and depth cannot exhaust the thread's stack.
//!
//! # What falls through
//!
//! Text has no grammar: a secret without a key or a form of its own (`the code is hunter2`), the later words of an unquoted
//! secret that contains spaces, columns and values apart (`INSERT INTO users (name, password) VALUES ('a', 'b')`), and what is
//! compressed, encrypted or encoded twice in different ways are not recognised.

mod cards;
mod commands;
mod detector;
mod edits;
mod encoded;
mod escape;
mod facts;
mod frames;
mod json;
mod keys;
mod named;
mod numbers;
mod pairs;
mod rules;
mod strings;
mod text;
mod tokens;
mod urls;
mod vendor;
mod words;

use std::borrow::Cow;

use thiserror::Error;

pub use self::detector::Detector;
use self::json::Depth;
pub use self::rules::{CardDetection, EmptyKeyError, RedactionRules};
use self::text::Rewritten;

/// What stands in place of a secret.
pub const REDACTED: &str = "***REDACTED***";

/// A redacted text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted<'a> {
    /// The text without secrets; borrowed where there were none.
    pub text: Cow<'a, str>,
    /// How many secrets were replaced.
    pub redactions: u32,
}

/// Why a document could not be redacted. It says nothing of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RedactError {
    /// The document is longer than the rules allow.
    #[error("document of {size} bytes is longer than {max} bytes")]
    TooLarge {
        /// The size of the document, in bytes.
        size: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// Containers, or strings with JSON inside, nest deeper than is allowed.
    #[error("document nests deeper than {max} levels")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// The text is no JSON document (RFC 8259).
    #[error("invalid JSON at byte {at}")]
    Invalid {
        /// The offset in bytes.
        at: usize,
    },
}

/// A field that is safe to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedactedField<'a> {
    /// All of it was redacted.
    Complete(Redacted<'a>),
    /// It could not be redacted, so it is gone.
    Replaced {
        /// `{"_redaction_failed":true,"original_size":N}`, with the size in bytes.
        marker: String,
        /// Why.
        error: RedactError,
    },
}

impl RedactedField<'_> {
    /// The JSON text to store.
    pub fn into_text(self) -> String {
        match self {
            Self::Complete(Redacted { text, redactions: _ }) => text.into_owned(),
            Self::Replaced { marker, error: _ } => marker,
        }
    }
}

/// Redacts a JSON document.
pub fn redact_json<'a>(json: &'a str, rules: &RedactionRules) -> Result<Redacted<'a>, RedactError> {
    if json.len() > rules.max_bytes {
        return Err(RedactError::TooLarge { size: json.len(), max: rules.max_bytes });
    }
    Ok(match json::rewrite(json, rules, Depth::TOP)? {
        Some(Rewritten { text, redactions }) => Redacted { text: Cow::Owned(text), redactions },
        None => Redacted { text: Cow::Borrowed(json), redactions: 0 },
    })
}

/// Redacts a JSON document and replaces it as a whole where that fails.
pub fn redact_json_or_replace<'a>(json: &'a str, rules: &RedactionRules) -> RedactedField<'a> {
    match redact_json(json, rules) {
        Ok(redacted) => RedactedField::Complete(redacted),
        Err(error) => {
            let marker = format!(r#"{{"_redaction_failed":true,"original_size":{}}}"#, json.len());
            RedactedField::Replaced { marker, error }
        }
    }
}

/// Redacts text such as an error message or a note; text that is JSON is redacted as such.
///
/// Text that is longer than the rules allow, or that cannot be redacted, becomes [`REDACTED`] as a whole.
pub fn redact_text<'a>(text: &'a str, rules: &RedactionRules) -> Cow<'a, str> {
    if text.len() > rules.max_bytes {
        return Cow::Borrowed(REDACTED);
    }
    match strings::redact_string(text, rules, Depth::TOP) {
        Ok(None) => Cow::Borrowed(text),
        Ok(Some(Rewritten { text, redactions: _ })) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(REDACTED),
    }
}
