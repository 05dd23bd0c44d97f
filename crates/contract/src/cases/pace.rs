//! A pace that processes share.

use std::{collections::BTreeMap, time::Duration};

use baldur_core::{
    Clock,
    name::ServiceName,
    policy::{PaceTerms, Paced, pace},
    port::{PaceError, TakePermits},
};

use super::concurrency::at_once;
use crate::{
    build::parsed,
    case::{CaseResult, Failure, cases, ensure, ensure_eq, ensure_matches},
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "pace",
    None,
    [
        a_bucket_that_nobody_took_from_gives_its_burst_and_then_names_a_wait,
        the_wait_that_is_named_is_right,
        every_name_has_a_bucket_of_its_own,
        buckets_are_those_of_the_policy,
        a_bad_take_is_refused_and_changes_nothing,
        sixty_four_takers_together_keep_the_pace,
    ]
);

const SECOND: Duration = Duration::from_secs(1);

/// 100 a second, ten at once.
pub(super) const TERMS: PaceTerms = PaceTerms { per_second: 100.0, burst: 10, ramp: None };

pub(super) async fn take(
    store: &StoreUnderTest,
    name: &str,
    permits: u32,
    terms: PaceTerms,
) -> Result<Paced, Failure> {
    Ok(store.pace.take(TakePermits { name: parsed(name), permits, terms }).await?)
}

async fn a_bucket_that_nobody_took_from_gives_its_burst_and_then_names_a_wait(
    lab: &Lab,
) -> CaseResult {
    let (store, _) = lab.store().await;
    let first = take(&store, "a", 7, TERMS).await?;
    ensure_eq!(first, Paced { granted: 7, retry_in: Duration::ZERO });
    ensure_eq!(take(&store, "a", 7, TERMS).await?.granted, 3);
    let none = take(&store, "a", 7, TERMS).await?;
    ensure_eq!(none.granted, 0);
    ensure!(!none.retry_in.is_zero() && none.retry_in <= SECOND / 50, "{:?}", none.retry_in);
    Ok(())
}

async fn the_wait_that_is_named_is_right(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    take(&store, "a", 10, TERMS).await?;
    for _ in 0..50 {
        let Paced { granted, retry_in } = take(&store, "a", 1, TERMS).await?;
        ensure_eq!(granted, 0);
        // The clock of the suite counts microseconds.
        store.clock.advance(retry_in + Duration::from_micros(1));
        ensure_eq!(take(&store, "a", 1, TERMS).await?.granted, 1);
    }
    Ok(())
}

async fn every_name_has_a_bucket_of_its_own(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    for name in ["gateway", "Gateway", "gateway_", "g'%"] {
        ensure_eq!(take(&store, name, 10, TERMS).await?.granted, 10, "{name}");
        ensure_eq!(take(&store, name, 10, TERMS).await?.granted, 0, "{name}");
    }
    Ok(())
}

/// Takers of changing terms and pauses get exactly what [`pace`] says.
async fn buckets_are_those_of_the_policy(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    let ramp = Some((0.7, SECOND * 20));
    let terms = [
        TERMS,
        PaceTerms { per_second: 3.3, burst: 4, ramp: None },
        PaceTerms { per_second: 250.0, burst: 1_000, ramp },
    ];
    let mut levels = BTreeMap::new();
    // A walk over uneven steps, with pauses long enough for buckets to be forgotten.
    for step in 0_u32..400 {
        let mixed = step.wrapping_mul(2_654_435_761) >> 16;
        let name: ServiceName = parsed(["a", "b"][usize::from(mixed & 1 == 1)]);
        let terms = terms[usize::try_from(mixed / 2 % 3)?];
        let permits = 1 + mixed % 40;
        let pause = if step % 100 == 99 { SECOND * 25 } else { SECOND / 1_000 * (mixed % 90) };
        store.clock.advance(pause + Duration::from_micros(u64::from(mixed % 7)));
        let now = store.clock.now();
        let (level, paced) = pace(levels.get(&name).copied(), &terms, permits, now)?;
        levels.insert(name.clone(), level);
        let taken = store.pace.take(TakePermits { name, permits, terms }).await?;
        ensure_eq!(taken, paced, "step {step}");
    }
    Ok(())
}

async fn a_bad_take_is_refused_and_changes_nothing(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    for (permits, terms) in [
        (0, TERMS),
        (1_001, TERMS),
        (1, PaceTerms { per_second: 0.0, ..TERMS }),
        (1, PaceTerms { per_second: f64::NAN, ..TERMS }),
        (1, PaceTerms { burst: 0, ..TERMS }),
        (1, PaceTerms { ramp: Some((1.0, Duration::ZERO)), ..TERMS }),
    ] {
        let refused = store.pace.take(TakePermits { name: parsed("a"), permits, terms }).await;
        ensure_matches!(refused, Err(PaceError::Invalid(_)));
    }
    ensure_eq!(take(&store, "a", 10, TERMS).await?.granted, 10);
    Ok(())
}

async fn sixty_four_takers_together_keep_the_pace(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    let mut granted = 0;
    for round in 0_u32..10 {
        let answers = at_once(64, |n| {
            let store = store.clone();
            async move { take(&store, "a", 1 + u32::try_from(n % 3).unwrap_or(0), TERMS).await }
        })
        .await?;
        granted += answers.iter().map(|paced| paced.granted).sum::<u32>();
        // Ten at first, and 4.5 more in each round: all of that is wanted.
        ensure_eq!(granted, 10 + round * 9 / 2, "after round {round}");
        store.clock.advance(Duration::from_millis(45));
    }
    Ok(())
}
