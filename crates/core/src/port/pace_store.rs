//! A pace that processes share.

use std::fmt;

use async_trait::async_trait;

use crate::{
    error::{BackendError, Outcome, Retry},
    name::ServiceName,
    policy::{self, PaceLevel, PaceTerms, Paced},
    time::Timestamp,
};

/// Hands out permits for replays, so that all processes of a namespace together keep one pace per dependency.
#[cfg_attr(feature = "test-util", mockall::automock)]
#[async_trait]
pub trait PaceStore: fmt::Debug + Send + Sync + 'static {
    /// Takes up to `permits` at once of what the terms leave, by the store's clock. What becomes of a bucket stands at
    /// [`policy::pace`](crate::policy::pace()).
    ///
    /// However many take at once, they are never granted more together than the terms allow one. A permit that is not
    /// used is lost: the pace is a bound from above.
    ///
    /// # Errors
    ///
    /// [`PaceError::Invalid`] for a number of permits or terms out of range; else when the backend failed.
    async fn take(&self, take: TakePermits) -> Result<Paced, PaceError>;
}

/// Take permits.
#[derive(Clone, Debug, PartialEq)]
pub struct TakePermits {
    /// Which dependency is to be spared.
    pub name: ServiceName,
    /// How many at most: 1 to 1000.
    pub permits: u32,
    /// The pace.
    pub terms: PaceTerms,
}

impl TakePermits {
    /// Decides what is taken at `now`, by the store's clock, from a bucket; `None` is one that nobody took from.
    /// Answers what to store, too.
    ///
    /// # Errors
    ///
    /// [`PaceError::Invalid`] says what is out of range.
    pub fn decide(
        &self,
        level: Option<PaceLevel>,
        now: Timestamp,
    ) -> Result<(PaceLevel, Paced), PaceError> {
        let Self { name: _, permits, terms } = self;
        if !(1..=MAX_PERMITS).contains(permits) {
            let problem = format!("{permits} permits; 1 to {MAX_PERMITS} are allowed");
            return Err(PaceError::Invalid(problem));
        }
        policy::pace(level, terms, *permits, now)
            .map_err(|error| PaceError::Invalid(error.to_string()))
    }
}

/// How many permits may be taken at once.
const MAX_PERMITS: u32 = 1000;

/// Why no permits were taken.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PaceError {
    /// The command itself is wrong; nothing was changed.
    #[error("{0}")]
    Invalid(String),
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl PaceError {
    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Invalid(_) => Retry::Never,
            Self::Backend(error) => error.retry(),
        }
    }

    /// What is known about the effect. An unknown one costs permits, never more pace.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Invalid(_) => Outcome::NotApplied,
            Self::Backend(error) => error.outcome(),
        }
    }
}
