//! What to look for in a stream, however it is cut into chunks.

use std::{fmt, sync::Arc};

/// What to look for in the bytes of one way of a connection.
///
/// A stream has no messages, only chunks as they were read, so a pattern also looks at the end of what came before.
#[derive(Clone)]
pub struct Pattern(Kind);

#[derive(Clone)]
enum Kind {
    Any,
    Bytes(Arc<[u8]>),
    Test { window: usize, test: Test },
}

type Test = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

impl Pattern {
    /// Matches each chunk once.
    pub const fn any() -> Self {
        Self(Kind::Any)
    }

    /// Matches each occurrence of these bytes, also where two chunks meet; occurrences don't overlap. No bytes match
    /// each chunk once.
    pub fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        if bytes.is_empty() { Self::any() } else { Self(Kind::Bytes(bytes.into())) }
    }

    /// Matches when `test` says so of a chunk together with up to `window` bytes before it. It matches a chunk at most
    /// once, and bytes of a chunk that matched are not shown again.
    pub fn test(window: usize, test: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Self {
        Self(Kind::Test { window, test: Arc::new(test) })
    }

    pub(super) fn matcher(&self) -> Matcher {
        Matcher { pattern: self.clone(), tail: Vec::new() }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Any => f.write_str("any"),
            Kind::Bytes(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
            Kind::Test { window, .. } => write!(f, "test({window})"),
        }
    }
}

/// A pattern on its way through one stream.
#[derive(Debug)]
pub(super) struct Matcher {
    pattern: Pattern,
    /// The end of what was seen, as far as a match could still begin in it.
    tail: Vec<u8>,
}

impl Matcher {
    /// How many matches end in this chunk.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> u64 {
        if chunk.is_empty() {
            return 0;
        }
        self.tail.extend_from_slice(chunk);
        let (matches, after, window) = match &self.pattern.0 {
            Kind::Any => (1, self.tail.len(), 0),
            Kind::Bytes(bytes) => {
                let (matches, after) = occurrences(&self.tail, bytes);
                (matches, after, bytes.len() - 1)
            }
            Kind::Test { window, test } => {
                let matches = test(&self.tail);
                (u64::from(matches), if matches { self.tail.len() } else { 0 }, *window)
            }
        };
        let keep_from = after.max(self.tail.len().saturating_sub(window));
        self.tail.drain(..keep_from);
        matches
    }
}

/// How often the needle occurs, and where the last occurrence ends.
fn occurrences(hay: &[u8], needle: &[u8]) -> (u64, usize) {
    let (mut count, mut after) = (0, 0);
    while let Some(at) = hay[after..].windows(needle.len()).position(|it| it == needle) {
        count += 1;
        after += at + needle.len();
    }
    (count, after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(pattern: &Pattern, chunks: &[&str]) -> Vec<u64> {
        let mut matcher = pattern.matcher();
        chunks.iter().map(|chunk| matcher.feed(chunk.as_bytes())).collect()
    }

    #[test]
    fn bytes_are_found_where_chunks_meet_and_counted_once() {
        let commit = Pattern::bytes("COMMIT");
        assert_eq!(feed(&commit, &["xCOM", "MI", "Tx", "COMMIT"]), [0, 0, 1, 1]);
        assert_eq!(feed(&commit, &["COMMITCOMMIT", "COMMI", "x", "T"]), [2, 0, 0, 0]);
        assert_eq!(feed(&Pattern::bytes("aa"), &["a", "aa", "a"]), [0, 1, 1]);
    }

    #[test]
    fn a_test_sees_the_window_and_never_what_matched_before() {
        let ends_in_ab = Pattern::test(1, |bytes| bytes.windows(2).any(|two| two == b"ab"));
        assert_eq!(feed(&ends_in_ab, &["a", "b", "b", "ab", "ab"]), [0, 1, 0, 1, 1]);
        let seen_two = Pattern::test(0, |bytes| bytes.len() > 1);
        assert_eq!(feed(&seen_two, &["a", "b", "ab"]), [0, 0, 1]);
    }

    #[test]
    fn any_chunk_matches_once_and_no_chunk_never() {
        assert_eq!(feed(&Pattern::any(), &["abc", "", "d"]), [1, 0, 1]);
        assert_eq!(feed(&Pattern::bytes(""), &["abc", "", "d"]), [1, 0, 1]);
    }

    proptest! {
        #[test]
        fn the_number_of_occurrences_does_not_depend_on_the_chunks(
            text in "[ab]{0,40}",
            needle in "[ab]{1,4}",
            cuts in proptest::collection::vec(1_usize..6, 0..40),
        ) {
            let mut matcher = Pattern::bytes(&needle).matcher();
            let (mut rest, mut found) = (text.as_bytes(), 0);
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                found += matcher.feed(chunk);
                rest = after;
            }
            found += matcher.feed(rest);
            prop_assert_eq!(found, text.matches(needle.as_str()).count() as u64);
        }
    }
}
