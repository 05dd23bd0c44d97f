//! What the rewriter remembers of the containers around a value.

use std::ops::Range;

use super::named::Role;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Object,
    Array,
}

/// What the text of a list's item says of the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Nothing.
    Nothing,
    /// It is the value of this name, if the list is one of names and values.
    Value,
    /// It is the value of this flag.
    Argument,
    /// It is `user:password`.
    Credentials,
}

/// A container that is still open.
pub(super) struct Frame {
    pub(super) container: Container,
    /// Where it starts.
    pub(super) start: usize,
    /// What the key of the current member says of its value.
    pub(super) role: Role,
    /// What the item before this one says of it.
    pub(super) before: Names,
    /// Whether a member has named a secret.
    names_secret: bool,
    items: usize,
    /// Values that are secret if the container turns out to name them.
    candidates: Vec<Candidate>,
}

struct Candidate {
    range: Range<usize>,
    is_sure: bool,
}

impl Frame {
    pub(super) fn new(container: Container, start: usize) -> Self {
        Self {
            container,
            start,
            role: Role::Other,
            before: Names::Nothing,
            names_secret: false,
            items: 0,
            candidates: Vec::new(),
        }
    }

    /// Whether the next item stands where a name does in a list of names and values.
    pub(super) fn is_at_name(&self) -> bool {
        self.items.is_multiple_of(2)
    }

    pub(super) fn name_secret(&mut self) {
        self.names_secret = true;
    }

    /// Notes a value that has ended; `names` is what its text says of the next item.
    #[inline]
    pub(super) fn end_value(&mut self, range: Range<usize>, names: Names) {
        self.items += 1;
        let is_sure = match (self.container, self.role, self.before) {
            (Container::Object, Role::Value, _) | (Container::Array, _, Names::Value) => false,
            (Container::Array, _, Names::Argument) => true,
            (Container::Object | Container::Array, _, _) => {
                self.before = names;
                return;
            }
        };
        self.before = Names::Nothing;
        self.candidates.push(Candidate { range, is_sure });
    }

    /// The values that are secret, now that all is known.
    pub(super) fn secrets(self) -> impl Iterator<Item = Range<usize>> {
        let is_named = match self.container {
            Container::Object => self.names_secret,
            Container::Array => self.items.is_multiple_of(2),
        };
        self.candidates
            .into_iter()
            .filter(move |candidate| candidate.is_sure || is_named)
            .map(|candidate| candidate.range)
    }
}
