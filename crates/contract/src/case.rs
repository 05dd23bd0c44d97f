//! What a case is, and what becomes of it.

use std::{error::Error, fmt, sync::Arc};

use crate::{harness::Lab, store::BoxFuture};

/// Why a case failed, in words.
///
/// Cases return it instead of panicking, so that a program can run them and look at the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// A failure with this explanation.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// `Failure` is no `Error` itself: then this would collide with `From<T> for T`.
impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(format!("unexpected error: {}", baldur_core::Chain(&error)))
    }
}

/// What a case ends with.
pub(crate) type CaseResult = Result<(), Failure>;

/// A part of the contract that an adapter may decline, with a reason that is reported.
///
/// Everything else is the core of the contract: there is no way to decline it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// What was kept is there after the store was closed and opened again.
    Durability,
    /// Several namespaces share one backend and see nothing of each other.
    Isolation,
    /// More than [`MAX_FACET_KEYS`](baldur_core::query::MAX_FACET_KEYS) combinations are counted in the overflow
    /// bucket. Expensive to reach.
    FacetOverflow,
}

/// One fact about a store.
pub(crate) struct Case {
    /// Its group and name: `claim::a_stale_claim_is_refused`.
    pub(crate) name: &'static str,
    /// The topic under which it can be declined; `None` for the core.
    pub(crate) topic: Option<Topic>,
    /// Runs it.
    pub(crate) run: fn(Arc<Lab>) -> BoxFuture<'static, CaseResult>,
}

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The case.
    pub case: &'static str,
    /// Whether the fact holds.
    pub result: Result<(), Failure>,
}

/// Lists the cases of a group. A case that is missing here is dead code, which the compiler reports.
macro_rules! cases {
    ($group:literal, $topic:expr, [$($case:ident),* $(,)?]) => {
        pub(crate) const CASES: &[crate::case::Case] = &[
            $(crate::case::Case {
                name: concat!($group, "::", stringify!($case)),
                topic: $topic,
                run: |lab| Box::pin(async move { $case(&lab).await }),
            }),*
        ];
    };
}

/// Fails the case unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(crate::case::Failure::new(format!(
                "{}:{}: {}", file!(), line!(), format_args!($($why)+)
            )));
        }
    };
}

/// Fails the case unless both values are equal.
macro_rules! ensure_eq {
    ($actual:expr, $expected:expr) => {
        $crate::case::ensure_eq!($actual, $expected, "{}", stringify!($actual))
    };
    ($actual:expr, $expected:expr, $($what:tt)+) => {
        match (&$actual, &$expected) {
            (actual, expected) => $crate::case::ensure!(
                *actual == *expected,
                "{}: got {actual:?}, expected {expected:?}", format_args!($($what)+)
            ),
        }
    };
}

/// Fails the case unless the value matches the pattern.
macro_rules! ensure_matches {
    ($actual:expr, $pattern:pat $(if $guard:expr)?) => {
        match &$actual {
            $pattern $(if $guard)? => {}
            actual => $crate::case::ensure!(
                false,
                "{}: got {actual:?}, expected {}", stringify!($actual), stringify!($pattern)
            ),
        }
    };
}
pub(crate) use {cases, ensure, ensure_eq, ensure_matches};
