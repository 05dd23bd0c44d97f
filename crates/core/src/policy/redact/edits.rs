//! What is changed in a document, until it is written out.

use std::borrow::Cow;
use std::ops::Range;

/// A part of the input and what stands in its place.
struct Edit {
    range: Range<usize>,
    text: Cow<'static, str>,
    redactions: u32,
}

/// Changes in the order of the input; none overlaps another.
#[derive(Default)]
pub(super) struct Edits(Vec<Edit>);

impl Edits {
    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a change behind all others.
    pub(super) fn push(&mut self, range: Range<usize>, text: Cow<'static, str>, redactions: u32) {
        self.0.push(Edit { range, text, redactions });
    }

    /// Replaces whole ranges, given in their order, and with them the changes inside.
    ///
    /// It looks at the changes behind the start of the first range only, once.
    pub(super) fn cover(&mut self, ranges: &[Range<usize>], text: &'static str) {
        let Some(first) = ranges.first() else { return };
        let kept = self.0.partition_point(|edit| edit.range.start < first.start);
        let behind = self.0.split_off(kept);
        let mut behind = behind.into_iter().peekable();
        for range in ranges {
            while let Some(edit) = behind.next_if(|edit| edit.range.start < range.start) {
                self.0.push(edit);
            }
            while behind.next_if(|edit| edit.range.start < range.end).is_some() {}
            self.push(range.clone(), Cow::Borrowed(text), 1);
        }
        self.0.extend(behind);
    }

    /// The input with all changes, and how many secrets they replace.
    pub(super) fn apply(self, input: &str) -> (String, u32) {
        let mut out = String::with_capacity(input.len());
        let (mut copied, mut redactions) = (0, 0_u32);
        for Edit { range, text, redactions: count } in self.0 {
            out.push_str(&input[copied..range.start]);
            out.push_str(&text);
            copied = range.end;
            redactions = redactions.saturating_add(count);
        }
        out.push_str(&input[copied..]);
        (out, redactions)
    }
}
