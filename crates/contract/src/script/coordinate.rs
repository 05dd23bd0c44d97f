//! Steps of what processes agree on: breakers and pace.

use std::time::Duration;

use baldur_core::{
    policy::PaceTerms,
    port::{ForcedBreaker, ForcedState, SaveBreaker, TakePermits},
};

use super::{Saved, Shown, Taken, Text};
use crate::{answer, build::evidence, case::Failure, store::StoreUnderTest};

impl Shown {
    /// The number that is shown where this one is there.
    pub(super) fn of(self, current: u64) -> u64 {
        match self {
            Self::Current => current,
            Self::Older => current.saturating_sub(1),
            Self::Newer => current.saturating_add(1),
            Self::Absurd => u64::MAX,
        }
    }
}

/// The version that the reference has of a breaker; 0 for none.
pub(super) async fn version(reference: &StoreUnderTest, name: &Text) -> Result<u64, Failure> {
    let loaded = reference.breakers.load(vec![name.parsed()]).await?;
    Ok(loaded.into_iter().flatten().next().map_or(0, |breaker| breaker.version))
}

pub(super) async fn save(
    store: &StoreUnderTest,
    saved: &Saved,
    expected: u64,
) -> Result<Vec<String>, Failure> {
    let Saved { name, version: _, state, open_for, reopenings, forced, reason } = saved;
    let save = SaveBreaker {
        name: name.parsed(),
        expected,
        state: *state,
        open_for: open_for.map(Duration::from_secs),
        reopenings: *reopenings,
        forced: forced.map(|(open, lasts)| ForcedBreaker {
            state: if open { ForcedState::Open } else { ForcedState::Closed },
            lasts: lasts.map(Duration::from_secs),
        }),
        evidence: evidence(&store.clock).because(reason.as_ref().map(Text::parsed)),
    };
    match store.breakers.save(save).await {
        Ok(saved) => Ok(vec![format!("{saved:?}")]),
        Err(error) => answer::breaker_error(&error).map(|refused| vec![refused]),
    }
}

pub(super) async fn load(store: &StoreUnderTest, names: &[Text]) -> Result<Vec<String>, Failure> {
    let loaded = store.breakers.load(names.iter().map(Text::parsed).collect()).await?;
    Ok(loaded.iter().map(|breaker| format!("{breaker:?}")).collect())
}

pub(super) async fn list(
    store: &StoreUnderTest,
    after: Option<&Text>,
    limit: usize,
) -> Result<Vec<String>, Failure> {
    match store.breakers.list(after.map(Text::parsed), limit).await {
        Ok(listed) => Ok(listed.iter().map(|breaker| format!("{breaker:?}")).collect()),
        Err(error) => answer::breaker_error(&error).map(|refused| vec![refused]),
    }
}

pub(super) async fn take(store: &StoreUnderTest, taken: &Taken) -> Result<Vec<String>, Failure> {
    let per_second = |eighths: u32| f64::from(eighths) / 8.0;
    let Taken { name, permits, eighths, burst, ramp } = taken;
    let terms = PaceTerms {
        per_second: per_second(*eighths),
        burst: *burst,
        ramp: ramp.map(|(from, over)| (per_second(from), Duration::from_secs(over))),
    };
    match store.pace.take(TakePermits { name: name.parsed(), permits: *permits, terms }).await {
        Ok(paced) => Ok(vec![format!("{paced:?}")]),
        Err(error) => answer::pace_error(&error).map(|refused| vec![refused]),
    }
}
