//! Which keys are secret, and how far the rewriter goes.

use std::fmt;

use thiserror::Error;

use super::detector::{Detector, Detectors};
use super::keys::{
    HARMLESS_PHRASES, Head, INSIDE_KEYS, LAST_KEYS, LINE_KEYS, Reach, Rule, Tail, WORD_KEYS, Within,
};
use super::words::{Words, joined, with_words};

/// Which runs of digits are taken for payment-card numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CardDetection {
    /// None.
    Off,
    /// 13 to 19 digits that pass the Luhn check (ISO/IEC 7812-1) and begin and end as cards of a known
    /// issuer do (Visa, Mastercard, American Express, Discover, Diners, JCB, `UnionPay`, Maestro, Mir, `RuPay`).
    ///
    /// Of arbitrary 16-digit numbers about one in forty passes.
    KnownIssuers,
    /// 13 to 19 digits that pass the Luhn check. Of arbitrary numbers of that length one in ten passes,
    /// times in milliseconds included.
    AnyLuhn,
}

/// Rules with the same first byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ByHead {
    /// Those that match at the start of a word.
    at_word: Vec<Rule>,
    /// Those that match anywhere.
    inside: Vec<Rule>,
}

/// An extra key that has no letter or digit, so that it could match nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a redaction key needs at least one letter or digit")]
pub struct EmptyKeyError;

/// What is secret, and the limits of the work.
///
/// A key is split into words at everything that is no letter or digit, between letters and digits, and where
/// `camelCase`, `PascalCase` and `ALLCaps` start a word; case does not matter. A rule is a sequence of words
/// that matches consecutive whole words of a key, joined or not and with a plural `s` or without: `api key`
/// matches `apiKey`, `API_KEY`, `x-api-key` and `apikeys`; `auth` matches `authMethod`, not `author`. Unmistakable
/// words (`password`, `token`, `secret`, …) also match at the end of a longer word (`accesstoken`), and
/// `pass`, `pin` and `otp` match as the last word only. Phrases such as `max tokens` or `token count` are exempt: what is
/// counted is no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct RedactionRules {
    /// By first byte.
    rules: Box<[ByHead]>,
    /// Joined, as keys are.
    harmless: Box<[Box<str>]>,
    detectors: Detectors,
    pub(super) text_cards: CardDetection,
    pub(super) number_cards: CardDetection,
    pub(super) max_depth: usize,
    pub(super) max_bytes: usize,
}

impl RedactionRules {
    /// The default of [`with_limits`](Self::with_limits): containers within containers.
    pub const DEFAULT_MAX_DEPTH: usize = 128;

    /// The default of [`with_limits`](Self::with_limits): 4 MiB.
    pub const DEFAULT_MAX_BYTES: usize = 4 << 20;

    /// Adds keys, written as words in any spelling (`"employee number"`, `employeeNumber`).
    pub fn with_keys<'k>(
        mut self,
        keys: impl IntoIterator<Item = &'k str>,
    ) -> Result<Self, EmptyKeyError> {
        for key in keys {
            if joined(key).is_empty() {
                return Err(EmptyKeyError);
            }
            self.add(key, Head::Word, Tail::Word, Reach::Value);
        }
        Ok(self)
    }

    /// Says which digits are card numbers, in text and as bare JSON numbers.
    ///
    /// The default is [`CardDetection::KnownIssuers`] for both. A number has to have at least 15 digits, because
    /// numeric ids are common and a replay needs them.
    #[must_use]
    pub fn with_cards(mut self, in_text: CardDetection, in_numbers: CardDetection) -> Self {
        self.text_cards = in_text;
        self.number_cards = in_numbers;
        self
    }

    /// Sets how deeply containers may nest, JSON inside strings included, and how long a document may be.
    #[must_use]
    pub fn with_limits(mut self, max_depth: usize, max_bytes: usize) -> Self {
        self.max_depth = max_depth;
        self.max_bytes = max_bytes;
        self
    }

    /// The same rules without one detector, for hosts whose data it gets wrong. Whatever only that detector
    /// finds is stored from then on.
    #[must_use]
    pub fn without(mut self, detector: Detector) -> Self {
        self.detectors = self.detectors.without(detector);
        self
    }

    pub(super) fn has(&self, detector: Detector) -> bool {
        self.detectors.has(detector)
    }

    /// Whether the whole value of this key is secret.
    pub fn is_secret_key(&self, key: &str) -> bool {
        self.match_key(key, Within::Key).is_some()
    }

    pub(super) fn match_key(&self, key: &str, within: Within) -> Option<Reach> {
        with_words(key, |words| self.match_words(words, within))
    }

    fn match_words(&self, words: &Words<'_>, within: Within) -> Option<Reach> {
        let mut found = None;
        for (start, byte) in words.flat.iter().enumerate() {
            let by_head = &self.rules[usize::from(*byte)];
            let at_word = if words.starts[start] { &by_head.at_word[..] } else { &[] };
            for rule in by_head.inside.iter().chain(at_word) {
                let Some(end) = words.end_of(start, rule, within) else { continue };
                if self.harmless.iter().any(|phrase| words.are_covered(start, end, phrase)) {
                    continue;
                }
                // The longer reach wins, whichever rule is found first.
                match rule.reach {
                    Reach::Line => return Some(Reach::Line),
                    Reach::Value => found = Some(Reach::Value),
                }
            }
        }
        found
    }

    fn add(&mut self, key: &str, head: Head, tail: Tail, reach: Reach) {
        let flat = joined(key);
        if let Some(first) = flat.bytes().next() {
            let rule = Rule { flat: flat.into(), tail, reach };
            let by_head = &mut self.rules[usize::from(first)];
            match head {
                Head::Word => by_head.at_word.push(rule),
                Head::Inside => by_head.inside.push(rule),
            }
        }
    }
}

impl Default for RedactionRules {
    fn default() -> Self {
        let mut rules = Self {
            rules: vec![ByHead::default(); 256].into(),
            harmless: HARMLESS_PHRASES.iter().map(|phrase| joined(phrase).into()).collect(),
            detectors: Detectors::ALL,
            text_cards: CardDetection::KnownIssuers,
            number_cards: CardDetection::KnownIssuers,
            max_depth: Self::DEFAULT_MAX_DEPTH,
            max_bytes: Self::DEFAULT_MAX_BYTES,
        };
        for key in WORD_KEYS {
            rules.add(key, Head::Word, Tail::Word, Reach::Value);
        }
        for key in INSIDE_KEYS {
            rules.add(key, Head::Inside, Tail::Word, Reach::Value);
        }
        for key in LAST_KEYS {
            rules.add(key, Head::Word, Tail::Key, Reach::Value);
        }
        for key in LINE_KEYS {
            rules.add(key, Head::Inside, Tail::Word, Reach::Line);
        }
        rules
    }
}

impl fmt::Debug for RedactionRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rules, harmless: _, detectors, text_cards, number_cards, max_depth, max_bytes } =
            self;
        f.debug_struct("RedactionRules")
            .field("keys", &rules.iter().map(|r| r.at_word.len() + r.inside.len()).sum::<usize>())
            .field("detectors", detectors)
            .field("text_cards", text_cards)
            .field("number_cards", number_cards)
            .field("max_depth", max_depth)
            .field("max_bytes", max_bytes)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_keys_match_in_every_spelling() {
        let rules = RedactionRules::default();
        for key in [
            "apiKey",
            "API_KEY",
            "x-api-key",
            "apikey",
            "APIKey",
            "X-Api-Key",
            "api.key",
            "api key",
            "userPasswordHash",
            "PASSWORD2",
            "dbPassword",
            "userpassword",
            "passwd",
            "pwd",
            "Authorization",
            "proxy-authorization",
            "auth",
            "authMethod",
            "HTTP_AUTH",
            "accesstoken",
            "refreshToken",
            "tokens",
            "JWTToken",
            "idToken",
            "credentials",
            "clientsecret",
            "SSN",
            "SSNs",
            "social_security_number",
            "cvv2",
            "CVC",
            "iban",
            "card:number",
            "creditCard",
            "creditcardnumber",
            "bankAccountNumber",
            "routing_number",
            "passport",
            "driver's license",
            "taxID",
            "accessKeyId",
            "aws_secret_access_key",
            "session-id",
            "PHPSESSID",
            "Set-Cookie",
            "cookies",
            "pin",
            "cardPin",
            "pin_code",
            "db_pass",
            "$password",
            "user[password]",
            "private_key",
            "privateKeyPem",
            "otp",
        ] {
            assert!(rules.is_secret_key(key), "{key} is secret");
        }
    }

    #[test]
    fn harmless_keys_do_not_match() {
        let rules = RedactionRules::default();
        for key in [
            "",
            "author",
            "tokenizer",
            "authentic",
            "authority",
            "secretary",
            "passwordless",
            "pins",
            "pin_count",
            "spin",
            "pinned",
            "boarding_pass_count",
            "bypass",
            "compass",
            "passenger",
            "passed",
            "key",
            "card",
            "number",
            "account",
            "session",
            "cookiecutter",
            "classname",
            "issn",
            "caviban",
            "keyboard",
            "monkey",
            "***REDACTED***",
            "tax",
            "license",
        ] {
            let is_plural_of_a_last_word = key == "pins";
            assert_eq!(rules.is_secret_key(key), is_plural_of_a_last_word, "{key}");
        }
    }

    #[test]
    fn extra_keys_match_whole_words() {
        let rules = RedactionRules::default().with_keys(["employee number", "maidenName"]).unwrap();
        assert!(rules.is_secret_key("employeeNumber") && rules.is_secret_key("maiden_names"));
        assert!(!rules.is_secret_key("employee") && !rules.is_secret_key("bridesmaidenname"));
        assert_eq!(RedactionRules::default().with_keys(["--"]), Err(EmptyKeyError));
    }
}
