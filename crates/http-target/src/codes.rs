//! Sets of HTTP status codes.

use std::{fmt, str::FromStr};

/// The codes that an answer can have: 1xx are never final, and nothing is defined from 600 on.
const LOWEST: u16 = 200;
const HIGHEST: u16 = 599;

/// A set of HTTP status codes, written as codes and ranges: `200-299,304`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeSet(Vec<(u16, u16)>);

/// A text that is no [`CodeSet`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no set of status codes; write codes of 200 to 599 and ranges, such as 200-299,304"
)]
pub struct CodeSetError(String);

impl CodeSet {
    /// No code at all.
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// These codes; `None` when one is outside 200 to 599.
    pub fn of(codes: &[u16]) -> Option<Self> {
        codes
            .iter()
            .map(|code| (LOWEST..=HIGHEST).contains(code).then_some((*code, *code)))
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    /// Whether the code belongs to the set.
    pub fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|(from, to)| (*from..=*to).contains(&code))
    }

    /// The lowest code that is in both sets.
    pub fn first_common(&self, other: &Self) -> Option<u16> {
        (LOWEST..=HIGHEST).find(|code| self.contains(*code) && other.contains(*code))
    }
}

impl FromStr for CodeSet {
    type Err = CodeSetError;

    /// Reads codes and ranges, separated by commas. An empty text is the empty set.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self::empty());
        }
        text.split(',')
            .map(|part| {
                let (from, to) = part.split_once('-').unwrap_or((part, part));
                let range = (code(from)?, code(to)?);
                (range.0 <= range.1).then_some(range)
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
            .ok_or_else(|| CodeSetError(text.chars().take(64).collect()))
    }
}

fn code(text: &str) -> Option<u16> {
    let text = text.trim();
    let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?.filter(|code| (LOWEST..=HIGHEST).contains(code))
}

impl fmt::Display for CodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (from, to)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if from == to {
                write!(f, "{comma}{from}")?;
            } else {
                write!(f, "{comma}{from}-{to}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_ranges_read_and_print() {
        let set: CodeSet = " 200 - 299, 304".parse().expect("valid");
        assert!(set.contains(200) && set.contains(299) && set.contains(304));
        assert!(!set.contains(300) && !set.contains(305));
        assert_eq!(set.to_string(), "200-299,304");
        assert_eq!("".parse(), Ok(CodeSet::empty()));
        assert_eq!(CodeSet::of(&[304]).and_then(|other| other.first_common(&set)), Some(304));
    }

    #[test]
    fn junk_is_refused() {
        for junk in ["x", "99", "600", "299-200", "200-", "-1", "200,,201", "+20", "2000"] {
            assert!(junk.parse::<CodeSet>().is_err(), "{junk}");
        }
        assert_eq!(CodeSet::of(&[99]), None);
    }
}
