//! A key as words: `apiKey`, `API_KEY` and `api key` are the same two.

use super::keys::{Rule, Tail, Within};

/// Keys of ASCII up to this length need no memory of their own.
const SHORT: usize = 48;

/// A key as lower-case words without anything between them, and where each word starts.
pub(super) struct Words<'b> {
    pub(super) flat: &'b [u8],
    /// One entry per byte of `flat` and one for its end, which counts as a start.
    pub(super) starts: &'b [bool],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Separator,
    Digit,
    Lower,
    Upper,
}

impl Class {
    /// Whether a character of this class starts a word after one of the class `previous`.
    fn starts_word(self, previous: Self, next: impl FnOnce() -> Option<Self>) -> bool {
        match (previous, self) {
            // `APIKey` is `API` and `Key`.
            (Self::Upper, Self::Upper) => next() == Some(Self::Lower),
            (Self::Upper, Self::Lower) => false,
            (before, now) => before != now,
        }
    }

    fn of(c: char) -> Self {
        match c {
            '0'..='9' => Self::Digit,
            'A'..='Z' => Self::Upper,
            'a'..='z' => Self::Lower,
            c if c.is_ascii() => Self::Separator,
            c if c.is_uppercase() => Self::Upper,
            c if c.is_numeric() => Self::Digit,
            c if c.is_alphabetic() => Self::Lower,
            _ => Self::Separator,
        }
    }
}

/// Splits a key and hands it to `f`.
pub(super) fn with_words<T>(key: &str, f: impl FnOnce(&Words<'_>) -> T) -> T {
    if key.len() > SHORT || !key.is_ascii() {
        let (flat, starts) = split(key);
        return f(&Words { flat: flat.as_bytes(), starts: &starts });
    }
    let (mut flat, mut starts) = ([0; SHORT], [false; SHORT + 1]);
    let mut len = 0;
    let mut previous = Class::Separator;
    let bytes = key.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let class = Class::of(char::from(*byte));
        if class != Class::Separator {
            let next = || bytes.get(at + 1).map(|byte| Class::of(char::from(*byte)));
            starts[len] = class.starts_word(previous, next);
            flat[len] = byte.to_ascii_lowercase();
            len += 1;
        }
        previous = class;
    }
    starts[len] = true;
    f(&Words { flat: &flat[..len], starts: &starts[..=len] })
}

/// The same for any key.
fn split(key: &str) -> (String, Vec<bool>) {
    let mut flat = String::with_capacity(key.len());
    let mut starts = Vec::with_capacity(key.len() + 1);
    let mut previous = Class::Separator;
    let mut chars = key.chars().peekable();
    while let Some(c) = chars.next() {
        let class = Class::of(c);
        if class != Class::Separator {
            starts.push(class.starts_word(previous, || chars.peek().map(|next| Class::of(*next))));
            flat.extend(c.to_lowercase());
            starts.resize(flat.len(), false);
        }
        previous = class;
    }
    starts.push(true);
    (flat, starts)
}

/// A phrase as keys are compared with it: lower-case, without anything between its words.
pub(super) fn joined(phrase: &str) -> String {
    split(phrase).0
}

impl Words<'_> {
    /// Where a rule that matches at `start` ends, its plural `s` included.
    pub(super) fn end_of(&self, start: usize, rule: &Rule, within: Within) -> Option<usize> {
        if !self.flat[start..].starts_with(rule.flat.as_bytes()) {
            return None;
        }
        let end = start + rule.flat.len();
        if self.is_end(end, rule, within) {
            return Some(end);
        }
        let plural = self.flat.get(end) == Some(&b's');
        (plural && self.is_end(end + 1, rule, within)).then_some(end + 1)
    }

    /// Whether a phrase of whole words covers this part of the key.
    pub(super) fn are_covered(&self, start: usize, end: usize, phrase: &str) -> bool {
        let len = phrase.len();
        (end.saturating_sub(len).min(start)..=start).any(|at| {
            at + len >= end
                && self.flat[at..].starts_with(phrase.as_bytes())
                && self.starts[at]
                && self.starts[at + len]
        })
    }

    fn is_end(&self, end: usize, rule: &Rule, within: Within) -> bool {
        match (rule.tail, within) {
            (Tail::Word, Within::Key) => self.starts[end],
            (Tail::Key, Within::Key | Within::KeyEnd) | (Tail::Word, Within::KeyEnd) => {
                end == self.flat.len()
            }
        }
    }
}
