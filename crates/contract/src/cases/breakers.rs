//! Circuit breakers that processes share.

use std::time::Duration;

use baldur_core::{
    Clock, Outcome, Retry,
    name::{Reason, ServiceName},
    policy::BreakerState,
    port::{BreakerStoreError, ForcedBreaker, ForcedState, SaveBreaker, SharedBreaker},
};

use super::concurrency::at_once;
use crate::{
    build::{evidence, parsed},
    case::{CaseResult, Failure, cases, ensure, ensure_eq, ensure_matches},
    drive::only,
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "breakers",
    None,
    [
        a_breaker_that_nobody_saved_is_none,
        versions_begin_at_one_and_grow,
        every_field_of_a_breaker_is_kept_to_the_letter,
        names_of_breakers_are_compared_to_the_letter,
        a_save_that_expects_another_version_changes_nothing,
        a_version_of_a_breaker_that_nobody_saved_is_not_found,
        an_open_time_runs_down_by_the_stores_clock,
        an_order_ends_by_itself,
        an_order_without_an_end_lasts_until_it_is_lifted,
        trips_count_how_often_it_opened,
        breakers_are_listed_page_by_page_in_order_of_name,
        a_bad_save_or_limit_is_refused_and_changes_nothing,
        of_concurrent_saves_that_expect_one_version_one_wins,
    ]
);

const SECOND: Duration = Duration::from_secs(1);

fn name(text: &str) -> ServiceName {
    parsed(text)
}

/// A closed breaker, to be changed by the case.
fn closed(store: &StoreUnderTest, name: &str, expected: u64) -> SaveBreaker {
    SaveBreaker {
        name: parsed(name),
        expected,
        state: BreakerState::Closed,
        open_for: None,
        reopenings: 0,
        forced: None,
        evidence: evidence(&store.clock),
    }
}

fn open(store: &StoreUnderTest, name: &str, expected: u64, open_for: Duration) -> SaveBreaker {
    let state = BreakerState::Open;
    SaveBreaker { state, open_for: Some(open_for), ..closed(store, name, expected) }
}

async fn loaded(store: &StoreUnderTest, name: &str) -> Result<Option<SharedBreaker>, Failure> {
    only(store.breakers.load(vec![parsed(name)]).await?)
}

/// An open and forced breaker, for the cases of other groups.
pub(super) async fn saved(store: &StoreUnderTest, name: &str) -> Result<SharedBreaker, Failure> {
    let forced = Some(ForcedBreaker { state: ForcedState::Closed, lasts: Some(SECOND * 90) });
    let reopenings = 2;
    let save = SaveBreaker { forced, reopenings, ..open(store, name, 0, SECOND * 30) };
    Ok(store.breakers.save(save).await?)
}

async fn a_breaker_that_nobody_saved_is_none(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    let saved = store.breakers.save(closed(&store, "b", 0)).await?;
    let answer = store.breakers.load(["a", "b", "c", "b"].map(name).to_vec()).await?;
    ensure_eq!(answer, [None, Some(saved.clone()), None, Some(saved)]);
    ensure_eq!(store.breakers.load(Vec::new()).await?, []);
    Ok(())
}

async fn versions_begin_at_one_and_grow(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    for expected in 0..5 {
        let saved = store.breakers.save(closed(&store, "a", expected)).await?;
        ensure_eq!(saved.version, expected + 1);
        ensure_eq!(loaded(&store, "a").await?, Some(saved));
    }
    let other = store.breakers.save(closed(&store, "b", 0)).await?;
    ensure_eq!(other.version, 1);
    Ok(())
}

async fn every_field_of_a_breaker_is_kept_to_the_letter(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    let mut save = open(&store, "Zahlung/'%_\"ß", 0, Duration::from_micros(10_000_001));
    save.reopenings = u32::MAX;
    let lasts = Some(Duration::from_micros(60_000_007));
    save.forced = Some(ForcedBreaker { state: ForcedState::Closed, lasts });
    save.evidence.actor = parsed("ann O'Neill");
    save.evidence.reason = Some(parsed::<Reason>("gateway; DROP TABLE breakers"));
    // Who writes has a clock of its own; the store's is the one that counts.
    save.evidence.at = save.evidence.at.saturating_sub(SECOND * 3_600);
    let now = store.clock.now();
    let saved = store.breakers.save(save.clone()).await?;
    let expected = SharedBreaker {
        name: save.name.clone(),
        version: 1,
        state: save.state,
        open_for: save.open_for,
        reopenings: save.reopenings,
        forced: save.forced,
        trips: 1,
        changed_by: save.evidence.actor.clone(),
        changed_at: now,
        reason: save.evidence.reason.clone(),
    };
    ensure_eq!(saved, expected);
    ensure_eq!(loaded(&store, save.name.as_str()).await?, Some(expected));
    let state = BreakerState::HalfOpen;
    let half_open = SaveBreaker { state, ..closed(&store, save.name.as_str(), 1) };
    let saved = store.breakers.save(half_open).await?;
    ensure_eq!((saved.state, saved.open_for, saved.forced), (state, None, None));
    ensure_eq!((saved.reason.clone(), saved.trips), (None, 1));
    ensure_eq!(loaded(&store, save.name.as_str()).await?, Some(saved));
    Ok(())
}

async fn names_of_breakers_are_compared_to_the_letter(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    for name in ["gateway", "Gateway", "gateway_", "gateway2"] {
        ensure_eq!(store.breakers.save(closed(&store, name, 0)).await?.version, 1, "{name}");
    }
    ensure_eq!(loaded(&store, "GATEWAY").await?, None);
    Ok(())
}

async fn a_save_that_expects_another_version_changes_nothing(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    store.breakers.save(closed(&store, "a", 0)).await?;
    let there = store.breakers.save(open(&store, "a", 1, SECOND * 30)).await?;
    store.clock.advance(SECOND * 10);
    for expected in [0, 1, 3, u64::MAX] {
        let refused = store.breakers.save(closed(&store, "a", expected)).await;
        let Err(error) = refused else {
            return Err(Failure::new(format!("saved over version 2, expecting {expected}")));
        };
        ensure_eq!((error.retry(), error.outcome()), (Retry::Backoff, Outcome::NotApplied));
        let BreakerStoreError::Conflict { current } = error else { return Err(error.into()) };
        let seen = SharedBreaker { open_for: Some(SECOND * 20), ..there.clone() };
        ensure_eq!((*current, loaded(&store, "a").await?), (seen.clone(), Some(seen)));
    }
    Ok(())
}

async fn a_version_of_a_breaker_that_nobody_saved_is_not_found(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    let refused = store.breakers.save(closed(&store, "a", 1)).await;
    ensure_matches!(refused, Err(BreakerStoreError::NotFound(missing)) if *missing == name("a"));
    ensure_eq!(loaded(&store, "a").await?, None);
    Ok(())
}

async fn an_open_time_runs_down_by_the_stores_clock(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    store.breakers.save(open(&store, "a", 0, SECOND * 30)).await?;
    store.clock.advance(SECOND * 29);
    let remaining = |breaker: Option<SharedBreaker>| breaker.and_then(|b| b.open_for);
    ensure_eq!(remaining(loaded(&store, "a").await?), Some(SECOND));
    store.clock.advance(SECOND * 2);
    ensure_eq!(remaining(loaded(&store, "a").await?), Some(Duration::ZERO));
    let listed = only(store.breakers.list(None, 10).await?)?;
    ensure_eq!((listed.state, listed.open_for), (BreakerState::Open, Some(Duration::ZERO)));
    // A save starts the time anew.
    let saved = store.breakers.save(open(&store, "a", 1, SECOND * 5)).await?;
    ensure_eq!(saved.open_for, Some(SECOND * 5));
    Ok(())
}

async fn an_order_ends_by_itself(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    let forced = Some(ForcedBreaker { state: ForcedState::Open, lasts: Some(SECOND * 60) });
    store.breakers.save(SaveBreaker { forced, ..closed(&store, "a", 0) }).await?;
    let order = |breaker: Option<SharedBreaker>| breaker.and_then(|b| b.forced);
    store.clock.advance(SECOND * 45);
    let rest = ForcedBreaker { state: ForcedState::Open, lasts: Some(SECOND * 15) };
    ensure_eq!(order(loaded(&store, "a").await?), Some(rest));
    store.clock.advance(SECOND * 15);
    ensure_eq!(order(loaded(&store, "a").await?), None, "an order at its end");
    ensure_eq!(only(store.breakers.list(None, 10).await?)?.forced, None);
    let conflict = store.breakers.save(closed(&store, "a", 0)).await;
    ensure_matches!(
        conflict,
        Err(BreakerStoreError::Conflict { current }) if current.forced.is_none()
    );
    Ok(())
}

async fn an_order_without_an_end_lasts_until_it_is_lifted(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    let forced = Some(ForcedBreaker { state: ForcedState::Closed, lasts: None });
    store.breakers.save(SaveBreaker { forced, ..closed(&store, "a", 0) }).await?;
    store.clock.advance(SECOND * 86_400 * 400);
    ensure_eq!(loaded(&store, "a").await?.and_then(|b| b.forced), forced);
    let lifted = store.breakers.save(closed(&store, "a", 1)).await?;
    ensure_eq!(lifted.forced, None);
    ensure_eq!(loaded(&store, "a").await?, Some(lifted));
    Ok(())
}

async fn trips_count_how_often_it_opened(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    let half_open = BreakerState::HalfOpen;
    let steps = [
        (BreakerState::Closed, 0, 0),
        (BreakerState::Open, 0, 1),
        // The same opening, told again.
        (BreakerState::Open, 0, 1),
        (BreakerState::Open, 1, 2),
        (half_open, 1, 2),
        (BreakerState::Open, 2, 3),
        (half_open, 2, 3),
        (BreakerState::Closed, 0, 3),
        (BreakerState::Open, 0, 4),
    ];
    for (expected, (state, reopenings, trips)) in (0..).zip(steps) {
        let open_for = (state == BreakerState::Open).then_some(SECOND);
        let save = SaveBreaker { state, reopenings, open_for, ..closed(&store, "a", expected) };
        ensure_eq!(store.breakers.save(save).await?.trips, trips, "after save {expected}");
    }
    ensure_eq!(loaded(&store, "a").await?.map(|b| b.trips), Some(4));
    Ok(())
}

async fn breakers_are_listed_page_by_page_in_order_of_name(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    ensure_eq!(store.breakers.list(None, 1).await?, []);
    // By bytes: capitals before small letters, those before what is beyond ASCII.
    let names = ["B", "a", "a b", "ab", "b", "é"];
    for name in ["ab", "é", "B", "b", "a", "a b"] {
        store.breakers.save(closed(&store, name, 0)).await?;
    }
    for limit in [1, 2, 4, 6, 7, 1_000] {
        let mut walked = Vec::new();
        loop {
            let after = walked.last().map(|last: &SharedBreaker| last.name.clone());
            let page = store.breakers.list(after, limit).await?;
            ensure!(page.len() <= limit, "a page of {} for a limit of {limit}", page.len());
            if page.is_empty() {
                break;
            }
            walked.extend(page);
            ensure!(walked.len() <= names.len(), "a walk that does not end: {walked:?}");
        }
        let found: Vec<&str> = walked.iter().map(|breaker| breaker.name.as_str()).collect();
        ensure_eq!(found, names, "with a limit of {limit}");
        let all = store.breakers.load(names.map(name).to_vec()).await?;
        ensure_eq!(walked.into_iter().map(Some).collect::<Vec<_>>(), all);
    }
    let unknown = store.breakers.list(Some(name("aa")), 1).await?;
    ensure_eq!(only(unknown)?.name, name("ab"), "after a name that nobody saved");
    Ok(())
}

async fn a_bad_save_or_limit_is_refused_and_changes_nothing(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    let lasts = |lasts| Some(ForcedBreaker { state: ForcedState::Open, lasts: Some(lasts) });
    for bad in [
        SaveBreaker { open_for: None, ..open(&store, "a", 0, SECOND) },
        SaveBreaker { open_for: Some(SECOND), ..closed(&store, "a", 0) },
        open(&store, "a", 0, SECOND * 86_401),
        SaveBreaker { forced: lasts(Duration::ZERO), ..closed(&store, "a", 0) },
        SaveBreaker { forced: lasts(Duration::MAX), ..closed(&store, "a", 0) },
    ] {
        let refused = store.breakers.save(bad).await;
        ensure_matches!(refused, Err(BreakerStoreError::Invalid(_)));
    }
    ensure_eq!(loaded(&store, "a").await?, None);
    for limit in [0, 1_001] {
        let refused = store.breakers.list(None, limit).await;
        ensure_matches!(refused, Err(BreakerStoreError::Invalid(_)));
    }
    Ok(())
}

async fn of_concurrent_saves_that_expect_one_version_one_wins(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    for expected in 0..5 {
        let answers = at_once(16, |n| {
            let store = store.clone();
            async move {
                let seconds = u32::try_from(n).unwrap_or(0) + 1;
                let save = open(&store, "a", expected, SECOND * seconds);
                Ok(store.breakers.save(save).await)
            }
        })
        .await?;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        let winner = only(won)??;
        ensure_eq!(loaded(&store, "a").await?, Some(winner.clone()));
        for refused in lost {
            ensure_matches!(
                refused,
                Err(BreakerStoreError::Conflict { current }) if **current == winner
            );
        }
    }
    Ok(())
}
