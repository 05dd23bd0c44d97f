//! What capture changed, kept visibly with the entry.

use baldur_core::{Json, policy::redact::RedactionRules};

use super::scrub;

/// The key in `metadata` under which notes are kept.
pub const NOTES_KEY: &str = "_baldur";

/// The longest note, in bytes. There is at most one note per field, so that their sum is bounded too.
const MAX_NOTE_BYTES: usize = 256;

/// Notes on what was changed, by field.
#[derive(Debug)]
pub(super) struct Notes<'r> {
    rules: &'r RedactionRules,
    notes: Vec<(&'static str, String)>,
}

impl<'r> Notes<'r> {
    pub(super) fn new(rules: &'r RedactionRules) -> Self {
        Self { rules, notes: Vec::new() }
    }

    /// Notes something about a field. The text may be what a caller sent: it is redacted and bounded.
    pub(super) fn add(&mut self, field: &'static str, text: &str) {
        self.notes.push((field, scrub::line(text, MAX_NOTE_BYTES, self.rules)));
    }

    /// Notes what a caller sent, where it is not what was kept.
    pub(super) fn add_original(&mut self, field: &'static str, raw: &str, kept: &str) {
        if raw != kept {
            self.add(field, raw);
        }
    }

    /// The metadata with the notes: as the last member of an object, or beside any other value.
    pub(super) fn attach(self, metadata: &Json) -> Json {
        if self.notes.is_empty() {
            return metadata.clone();
        }
        let notes: Vec<String> = self
            .notes
            .iter()
            .map(|(field, text)| format!(r#""{field}":{}"#, Json::string(text).as_str()))
            .collect();
        let notes = format!(r#""{NOTES_KEY}":{{{}}}"#, notes.join(","));
        let text = match metadata.as_str() {
            _ if metadata.is_empty() => format!("{{{notes}}}"),
            object if object.starts_with('{') => {
                let open = object.strip_suffix('}').unwrap_or(object);
                format!("{},{notes}}}", open.trim_ascii_end())
            }
            other => format!(r#"{{"value":{other},{notes}}}"#),
        };
        // Both halves are JSON, and so is the whole; should that ever be wrong, the metadata are worth more.
        Json::parse(&text).unwrap_or_else(|_| metadata.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attach(metadata: &str) -> String {
        let rules = RedactionRules::default();
        let mut notes = Notes::new(&rules);
        notes.add("domain", "Was \"Pay\nment\"; password=hunter2");
        notes.attach(&Json::parse(metadata).expect("valid")).as_str().to_owned()
    }

    #[test]
    fn notes_join_any_metadata() {
        let notes = r#""_baldur":{"domain":"Was \"Pay_ment\"; password=***REDACTED***"}"#;
        assert_eq!(attach("{}"), format!("{{{notes}}}"));
        assert_eq!(attach("null"), format!("{{{notes}}}"));
        assert_eq!(attach(r#"{"a":{"b":{}} }"#), format!(r#"{{"a":{{"b":{{}}}},{notes}}}"#));
        assert_eq!(attach("[1]"), format!(r#"{{"value":[1],{notes}}}"#));
    }

    #[test]
    fn no_notes_change_nothing() {
        let metadata = Json::parse(r#"{"a":1}"#).expect("valid");
        assert_eq!(Notes::new(&RedactionRules::default()).attach(&metadata), metadata);
    }
}
