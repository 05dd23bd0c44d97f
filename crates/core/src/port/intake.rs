//! Operations that were captured inside a host's own transaction.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::{
    command::Capture,
    error::{BackendError, Outcome, Retry},
    id::EntryId,
    time::Timestamp,
};

/// Hands out operations that were captured inside a host's own transaction and are committed, so that somebody makes
/// entries of them.
///
/// Until then they are in no list and nobody replays them: what a host wrote by SQL may hold secrets, and no limit, dedup key
/// or order key was looked at while the host's transaction was open.
#[cfg_attr(feature = "test-util", mockall::automock)]
#[async_trait]
pub trait Intake: fmt::Debug + Send + Sync + 'static {
    /// Takes operations, those first that were enlisted first. What is taken is given to nobody else for as long as the hold
    /// lasts, by the store's clock; then it comes again, so that nothing is lost with whoever took it.
    ///
    /// # Errors
    ///
    /// [`IntakeError::Invalid`] for a limit or a hold out of range; else when the backend failed.
    async fn take(&self, take: TakeEnlisted) -> Result<Vec<Enlisted>, IntakeError>;

    /// Removes operations that became entries, and puts aside those that never can. Finishing one that is not there changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// When the backend failed.
    async fn finish(&self, finished: Vec<Finished>) -> Result<(), IntakeError>;

    /// How many operations there are.
    ///
    /// # Errors
    ///
    /// When the backend failed.
    async fn status(&self) -> Result<IntakeStatus, IntakeError>;
}

/// How many operations one [`Intake::take`] answers at most.
pub const MAX_ENLISTED_TAKEN: usize = 1000;

/// Take operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeEnlisted {
    /// How many at most: 1 to [`MAX_ENLISTED_TAKEN`].
    pub limit: usize,
    /// For how long nobody else is given them: 1 second to 1 hour.
    pub hold: Duration,
}

impl TakeEnlisted {
    /// Whether both are in range.
    ///
    /// # Errors
    ///
    /// Says what is not.
    pub fn check(&self) -> Result<(), IntakeError> {
        let Self { limit, hold } = self;
        if !(1..=MAX_ENLISTED_TAKEN).contains(limit) {
            return Err(IntakeError::Invalid(format!(
                "{limit} operations; 1 to {MAX_ENLISTED_TAKEN} are allowed"
            )));
        }
        if !(Duration::from_secs(1)..=Duration::from_hours(1)).contains(hold) {
            return Err(IntakeError::Invalid(format!(
                "a hold of {hold:?}; 1 second to 1 hour are allowed"
            )));
        }
        Ok(())
    }
}

/// An operation that waits to become an entry.
#[derive(Clone, Debug)]
pub struct Enlisted {
    /// Its place in line.
    pub position: u64,
    /// The id that its entry will have.
    pub id: EntryId,
    /// When it was captured, by the store's clock.
    pub at: Timestamp,
    /// What is known of it.
    pub form: EnlistedForm,
}

/// What is known of an operation that waits.
#[derive(Clone, Debug)]
pub enum EnlistedForm {
    /// A host prepared it: redacted and complete.
    Prepared(Box<Capture>),
    /// SQL described it, in JSON: nothing is redacted yet.
    Described(String),
    /// It can't be read, for this reason.
    Unreadable(String),
}

/// What became of an operation that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its place in line.
    pub position: u64,
    /// Why it can't become an entry, without secrets; `None` when it did.
    pub refused: Option<String>,
}

/// What an intake holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntakeStatus {
    /// Operations that wait.
    pub waiting: u64,
    /// When the first of them was enlisted.
    pub oldest: Option<Timestamp>,
    /// Operations that were put aside.
    pub refused: u64,
}

/// Why an intake did not answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IntakeError {
    /// The question itself is wrong; nothing was changed.
    #[error("{0}")]
    Invalid(String),
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl IntakeError {
    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Invalid(_) => Retry::Never,
            Self::Backend(error) => error.retry(),
        }
    }

    /// What is known about the effect.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Invalid(_) => Outcome::NotApplied,
            Self::Backend(error) => error.outcome(),
        }
    }
}
