//! Circuit breakers that processes share.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::{
    error::{BackendError, Outcome, Retry},
    evidence::Evidence,
    name::{Actor, Reason, ServiceName},
    policy::{BreakerState, breaker::ForcedState},
    time::Timestamp,
};

/// Keeps the state of circuit breakers where all processes of a namespace see it.
///
/// It is an aid, never a condition: a process whose store is away goes on with its own breaker. It keeps what it is told
/// and decides nothing: who may override whom is up to those who save.
#[cfg_attr(feature = "test-util", mockall::automock)]
#[async_trait]
pub trait CircuitBreakerStore: fmt::Debug + Send + Sync + 'static {
    /// The breakers with these names, in this order; `None` for one that nobody saved. A name may be asked for twice.
    ///
    /// Remaining times are those of the store's clock, at the moment of reading. An order whose time is over is not
    /// there; an open state whose time is over still is, with no time remaining.
    ///
    /// # Errors
    ///
    /// When the backend failed.
    async fn load(
        &self,
        names: Vec<ServiceName>,
    ) -> Result<Vec<Option<SharedBreaker>>, BreakerStoreError>;

    /// Saves a breaker if its version is still the expected one (0 for one that nobody saved), and answers what is
    /// stored now. Its version grows by one. Of several saves that expect one version, one succeeds.
    ///
    /// The count of trips grows by one with a save that makes it open, and with one that leaves it open and names
    /// more reopenings. Remaining times start at the store's now, and keep microseconds.
    ///
    /// # Errors
    ///
    /// - [`BreakerStoreError::Conflict`] with what is there, when somebody else was first.
    /// - [`BreakerStoreError::NotFound`] when a version is expected of a breaker that nobody saved.
    /// - [`BreakerStoreError::Invalid`] when [`SaveBreaker::check`] says so.
    ///
    /// Nothing changes then.
    async fn save(&self, save: SaveBreaker) -> Result<SharedBreaker, BreakerStoreError>;

    /// Breakers in order of name (by its bytes), after this one, at most `limit` (1 to 1000). As many as `limit` may
    /// mean that there are more.
    ///
    /// # Errors
    ///
    /// [`BreakerStoreError::Invalid`] for a limit out of range; else when the backend failed.
    async fn list(
        &self,
        after: Option<ServiceName>,
        limit: usize,
    ) -> Result<Vec<SharedBreaker>, BreakerStoreError>;
}

/// How many breakers one [`CircuitBreakerStore::list`] answers at most.
pub const MAX_BREAKERS_LISTED: usize = 1000;

/// Whether a list may be so long.
///
/// # Errors
///
/// When it may not.
pub fn check_breaker_limit(limit: usize) -> Result<(), BreakerStoreError> {
    if (1..=MAX_BREAKERS_LISTED).contains(&limit) {
        return Ok(());
    }
    Err(BreakerStoreError::Invalid(format!(
        "a list of {limit} breakers; 1 to {MAX_BREAKERS_LISTED} are allowed"
    )))
}

/// A breaker as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedBreaker {
    /// The dependency.
    pub name: ServiceName,
    /// Grows with each save, from 1.
    pub version: u64,
    /// What the breaker does by itself.
    pub state: BreakerState,
    /// How long it stays open; zero when its time is over, `None` when it is not open.
    pub open_for: Option<Duration>,
    /// How often it opened in a row without closing, less one.
    pub reopenings: u32,
    /// What a person ordered, as long as that lasts.
    pub forced: Option<ForcedBreaker>,
    /// How often it opened, in all.
    pub trips: u64,
    /// Who changed it last.
    pub changed_by: Actor,
    /// When, by the store's clock.
    pub changed_at: Timestamp,
    /// Why.
    pub reason: Option<Reason>,
}

/// An order of a person that overrides a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ForcedBreaker {
    /// Open or closed.
    pub state: ForcedState,
    /// How long the order lasts: above zero, at most a year; until it is lifted when absent.
    pub lasts: Option<Duration>,
}

/// Save this breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveBreaker {
    /// The dependency.
    pub name: ServiceName,
    /// The version that was read; 0 for none.
    pub expected: u64,
    /// What the breaker does by itself.
    pub state: BreakerState,
    /// How long it stays open from the store's now: up to a day. An open breaker has it, no other one.
    pub open_for: Option<Duration>,
    /// How often it opened in a row without closing, less one.
    pub reopenings: u32,
    /// The order of a person, from the store's now; `None` lifts it.
    pub forced: Option<ForcedBreaker>,
    /// Who, when, why.
    pub evidence: Evidence,
}

impl SaveBreaker {
    /// Whether it can be saved at all.
    ///
    /// # Errors
    ///
    /// Says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        const DAY: Duration = Duration::from_hours(24);
        const YEAR: Duration = Duration::from_hours(365 * 24);
        if self.open_for.is_some() != (self.state == BreakerState::Open) {
            return Err("an open breaker has an open time, and no other one".to_owned());
        }
        if let Some(time) = self.open_for
            && time > DAY
        {
            return Err(format!("open time is {time:?}; up to a day is allowed"));
        }
        if let Some(ForcedBreaker { lasts: Some(lasts), .. }) = self.forced
            && (lasts < Duration::from_micros(1) || lasts > YEAR)
        {
            return Err(format!("an order of {lasts:?}; 1 microsecond to a year is allowed"));
        }
        Ok(())
    }
}

/// Why a breaker was not loaded or saved.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BreakerStoreError {
    /// Somebody else saved it first.
    #[error("breaker {} has version {} now", current.name, current.version)]
    Conflict {
        /// What is there.
        current: Box<SharedBreaker>,
    },
    /// The breaker was expected and is not there.
    #[error("nobody saved a breaker {0}")]
    NotFound(ServiceName),
    /// The command itself is wrong; nothing was changed.
    #[error("{0}")]
    Invalid(String),
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl BreakerStoreError {
    /// Whether trying again, after looking again, can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Conflict { .. } | Self::NotFound(_) => Retry::Backoff,
            Self::Invalid(_) => Retry::Never,
            Self::Backend(error) => error.retry(),
        }
    }

    /// What is known about the effect.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Conflict { .. } | Self::NotFound(_) | Self::Invalid(_) => Outcome::NotApplied,
            Self::Backend(error) => error.outcome(),
        }
    }
}
