//! Stored forms: the only place where serde touches what is persisted or exported.
//!
//! Each form is JSON with a version `v`. All past versions are read, only the newest is written, an unknown
//! version or field is refused and never guessed. Fixtures under `tests/wire` are frozen: they are never edited.

mod capture;
mod entry;
mod evidence;
mod object;

use serde::{Deserialize, de::DeserializeOwned};

pub use capture::{decode_spooled, encode_spooled, spooled_room, write_spooled};
pub use entry::{
    decode_attempts, decode_entry, decode_labels, encode_attempts, encode_entry, encode_labels,
};
pub use evidence::{decode_evidence, encode_evidence};

/// Why a stored form can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It is no JSON of the expected shape.
    #[error("not a stored {form}: line {line}, column {column}: {problem}")]
    Malformed {
        /// Which form was expected.
        form: &'static str,
        /// Where.
        line: usize,
        /// Where.
        column: usize,
        /// What is wrong; names fields, never repeats values.
        problem: String,
    },
    /// It is of a version that this program doesn't know.
    #[error("a stored {form} of version {version}; this program reads up to {newest}")]
    UnknownVersion {
        /// Which form was expected.
        form: &'static str,
        /// The version found.
        version: u64,
        /// The newest one known.
        newest: u64,
    },
    /// A field has a value that is not allowed.
    #[error("a stored {form} with a bad `{field}`")]
    BadField {
        /// Which form was expected.
        form: &'static str,
        /// Which field.
        field: &'static str,
    },
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

fn malformed(form: &'static str, error: &serde_json::Error) -> WireError {
    // serde_json repeats values in data errors, and values may be secret: only name the kind of problem.
    let problem = match error.classify() {
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "no valid JSON",
        serde_json::error::Category::Data => "a field is missing, unknown, or of the wrong type",
        serde_json::error::Category::Eof => "the text ends too early",
    };
    WireError::Malformed {
        form,
        line: error.line(),
        column: error.column(),
        problem: problem.to_owned(),
    }
}

fn version(form: &'static str, text: &str) -> Result<u64, WireError> {
    serde_json::from_str::<Version>(text).map(|found| found.v).map_err(|e| malformed(form, &e))
}

fn read<T: DeserializeOwned>(form: &'static str, text: &str) -> Result<T, WireError> {
    serde_json::from_str(text).map_err(|error| malformed(form, &error))
}

fn bad<E>(form: &'static str, field: &'static str) -> impl FnOnce(E) -> WireError {
    move |_| WireError::BadField { form, field }
}
