//! A key as words: `apiKey`, `API_KEY` and `api key` are the same two.

use super::keys::{Rule, Tail, Within};

/// A key as lower-case words without anything between them, and where each word starts.
pub(super) struct Words {
    pub(super) flat: String,
    /// One entry per byte of `flat` and one for its end, which counts as a start.
    pub(super) starts: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Separator,
    Digit,
    Lower,
    Upper,
}

impl Class {
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

impl Words {
    pub(super) fn of(key: &str) -> Self {
        let mut flat = String::with_capacity(key.len());
        let mut starts = Vec::with_capacity(key.len() + 1);
        let mut previous = Class::Separator;
        let mut chars = key.chars().peekable();
        while let Some(c) = chars.next() {
            let class = Class::of(c);
            if class != Class::Separator {
                let is_start = match (previous, class) {
                    // `APIKey` is `API` and `Key`.
                    (Class::Upper, Class::Upper) => {
                        chars.peek().is_some_and(|next| Class::of(*next) == Class::Lower)
                    }
                    (Class::Upper, Class::Lower) => false,
                    (before, now) => before != now,
                };
                starts.push(is_start);
                flat.extend(c.to_lowercase());
                starts.resize(flat.len(), false);
            }
            previous = class;
        }
        starts.push(true);
        Self { flat, starts }
    }

    /// Where a rule that matches at `start` ends, its plural `s` included.
    pub(super) fn end_of(&self, start: usize, rule: &Rule, within: Within) -> Option<usize> {
        if !self.flat.as_bytes()[start..].starts_with(rule.flat.as_bytes()) {
            return None;
        }
        let end = start + rule.flat.len();
        if self.is_end(end, rule, within) {
            return Some(end);
        }
        let plural = self.flat.as_bytes().get(end) == Some(&b's');
        (plural && self.is_end(end + 1, rule, within)).then_some(end + 1)
    }

    /// Whether a phrase of whole words covers this part of the key.
    pub(super) fn are_covered(&self, start: usize, end: usize, phrase: &str) -> bool {
        self.flat.match_indices(phrase).any(|(at, _)| {
            let phrase_end = at + phrase.len();
            at <= start && end <= phrase_end && self.starts[at] && self.starts[phrase_end]
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
