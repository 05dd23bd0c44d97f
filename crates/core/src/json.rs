//! Payloads: JSON that is kept as the text it came as.

use std::{fmt, sync::Arc};

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// JSON text, kept to the letter: key order, duplicate keys, digits of numbers and white space stay as they came.
///
/// Cloning is cheap. Equality is that of the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Arc<str>);

/// A text that is no JSON. The text itself is not repeated: it may hold secrets.
#[derive(Debug, thiserror::Error)]
#[error("not valid JSON at line {line}, column {column}")]
pub struct JsonError {
    line: usize,
    column: usize,
}

impl Json {
    /// The empty object, `{}`.
    pub fn empty_object() -> Self {
        Self(Arc::from("{}"))
    }

    /// Takes a text that is one JSON value (RFC 8259); white space around it is cut.
    ///
    /// Any depth of nesting is taken: the check needs no stack. Who reads the value sets limits of its own.
    ///
    /// # Errors
    ///
    /// When the text is not exactly one JSON value.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        let text = text.trim_ascii();
        serde_json::from_str::<IgnoredAny>(text)
            .map_err(|error| JsonError { line: error.line(), column: error.column() })?;
        Ok(Self(Arc::from(text)))
    }

    /// A JSON string with this content.
    pub fn string(content: &str) -> Self {
        // Writing a text cannot fail; were it to, an empty string is still JSON.
        let text = serde_json::to_string(content).unwrap_or_else(|_| "\"\"".to_owned());
        Self(Arc::from(text))
    }

    /// Takes text that is known to be JSON: it was parsed before and kept by a store.
    ///
    /// Only adapters call this, on what they stored themselves. Nothing unsafe follows from a wrong text,
    /// but readers of the entry would meet it.
    pub fn from_trusted(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Length of the text in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this is `{}` (with white space or without), `null`, or no text at all.
    pub fn is_empty(&self) -> bool {
        let mut chars = self.0.chars().filter(|c| !c.is_ascii_whitespace());
        match (chars.next(), chars.next(), chars.next()) {
            (None, _, _) | (Some('{'), Some('}'), None) => true,
            _ => &*self.0 == "null",
        }
    }
}

impl Default for Json {
    fn default() -> Self {
        Self::empty_object()
    }
}

impl fmt::Debug for Json {
    /// The length only: payloads don't belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

impl serde::Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(&self.0) {
            Ok(raw) => raw.serialize(serializer),
            // Only `from_trusted` can hold such a text. As a string it stays visible, where an error would lose it.
            Err(_) => serializer.serialize_str(&self.0),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Json {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(raw.get()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_to_the_letter() {
        let text = r#"{"b":1, "a":12345678901234567890123.450, "a":2}"#;
        let json = Json::parse(text).expect("valid");
        assert_eq!(json.as_str(), text);
        assert_eq!(serde_json::to_string(&json).expect("serialises"), text);
        assert_eq!(serde_json::from_str::<Json>(text).expect("reads"), json);
    }

    #[test]
    fn junk_is_refused_at_any_depth() {
        for junk in ["", "{", "{} {}", "NaN", "{'a':1}", &"[".repeat(200_000)] {
            assert!(Json::parse(junk).is_err());
        }
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(Json::parse(&deep).expect("valid").len(), 400_000);
    }

    #[test]
    fn any_text_becomes_a_json_string() {
        let json = Json::string("a\"\\\0\u{1f}é");
        assert_eq!(json.as_str(), r#""a\"\\\u0000\u001fé""#);
        assert_eq!(Json::parse(json.as_str()).expect("valid"), json);
    }

    #[test]
    fn a_text_that_was_wrongly_trusted_is_shown_and_not_lost() {
        let json = Json::from_trusted("{broken");
        assert_eq!(serde_json::to_string(&json).expect("serialises"), r#""{broken""#);
    }

    #[test]
    fn emptiness_looks_at_the_value() {
        for empty in ["{}", "{ }", "null"] {
            assert!(Json::parse(empty).expect("valid").is_empty(), "{empty}");
        }
        for full in ["[]", "{\"a\":1}", "0", "\"\""] {
            assert!(!Json::parse(full).expect("valid").is_empty(), "{full}");
        }
    }

    #[test]
    fn debug_does_not_show_the_payload() {
        assert_eq!(format!("{:?}", Json::parse(r#""secret""#).expect("valid")), "Json(8 bytes)");
    }
}
