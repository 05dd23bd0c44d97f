//! Names that callers choose, as labels of metrics: only so many, since each makes a series that is kept as long as the
//! process lives.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use baldur_core::name::{Domain, ServiceName};

/// How many names of a kind have series of their own, in the order of their coming.
const MOST: usize = 1_000;

/// What all others share. No name has parentheses.
const OTHERS: &str = "(other)";

static DOMAINS: Names = Names::new();

static DEPENDENCIES: Names = Names::new();

/// The label of a domain, for what can be summed up.
pub(crate) fn domain(domain: &Domain) -> String {
    own_domain(domain.as_str()).unwrap_or_else(|| OTHERS.to_owned())
}

/// The label of a domain, if it has one of its own: for what can't be summed up.
pub(crate) fn own_domain(domain: &str) -> Option<String> {
    DOMAINS.admit(domain)
}

/// The label of a dependency, if it has one of its own.
pub(crate) fn own_dependency(dependency: &ServiceName) -> Option<String> {
    DEPENDENCIES.admit(dependency.as_str())
}

/// The names that came first.
struct Names(Mutex<BTreeSet<String>>);

impl Names {
    const fn new() -> Self {
        Self(Mutex::new(BTreeSet::new()))
    }

    fn admit(&self, name: &str) -> Option<String> {
        // A set is whole after each step, so a panic elsewhere doesn't spoil it.
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.contains(name);
        if !known && names.len() >= MOST {
            return None;
        }
        if !known {
            names.insert(name.to_owned());
        }
        Some(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_names_stay_and_no_more_are_admitted() {
        let names = Names::new();
        for number in 0..MOST + 10 {
            assert_eq!(names.admit(&format!("n{number}")).is_some(), number < MOST);
        }
        assert_eq!(names.admit("n0"), Some("n0".to_owned()));
    }
}
