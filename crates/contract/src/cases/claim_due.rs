//! The due selection: which entries, in which order.

use std::time::Duration;

use baldur_core::{
    Clock, EntryId, Status,
    command::{Action, ClaimSelect, ClaimTerms},
};

use crate::{
    build::parsed,
    case::{CaseResult, cases, ensure, ensure_eq},
    drive::{BACKOFF, deferred, failed},
    harness::Lab,
};

cases!(
    "claim_due",
    None,
    [
        entries_come_in_due_order,
        ties_go_to_the_smaller_position,
        an_entry_is_due_when_the_clock_says_so,
        a_failed_replay_waits_its_delay,
        only_the_named_domains_are_claimed,
        domains_are_compared_to_the_letter,
        no_domain_claims_nothing,
        only_the_named_dependency_is_claimed,
        the_limit_holds,
        force_does_not_widen_a_due_selection,
        a_clock_that_goes_back_harms_nothing,
        resolved_entries_are_not_in_the_way,
    ]
);

async fn entries_come_in_due_order(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut expected: Vec<(u64, EntryId)> = Vec::new();
    for delay in [5, 1, 4, 2, 3] {
        let op = captures.an_op().next_attempt_in(Duration::from_secs(delay));
        expected.push((delay, store.keep_new(op.build()).await?));
    }
    expected.sort_unstable();
    store.clock.advance(Duration::from_secs(10));
    let expected: Vec<EntryId> = expected.into_iter().map(|(_, id)| id).collect();
    ensure_eq!(store.due_ids(3).await?, expected[..3]);
    ensure_eq!(store.due_ids(3).await?, expected[3..]);
    ensure!(store.due_ids(3).await?.is_empty(), "nothing was left");
    Ok(())
}

async fn ties_go_to_the_smaller_position(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let now = store.clock.now();
    let mut batch = captures.ops(6);
    for (capture, seconds) in batch.iter_mut().zip([3_u64, 1, 2, 1, 3, 2]) {
        capture.op.created_at = now.saturating_sub(Duration::from_secs(seconds));
    }
    let mut expected: Vec<_> = batch.iter().map(|capture| capture.op.position()).collect();
    expected.sort_unstable();
    store.keep_all(batch).await?;
    let expected: Vec<EntryId> = expected.into_iter().map(|(_, id)| id).collect();
    ensure_eq!(store.due_ids(10).await?, expected);
    Ok(())
}

async fn an_entry_is_due_when_the_clock_says_so(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let wait = Duration::from_secs(5);
    let id = store.keep_new(captures.an_op().next_attempt_in(wait).build()).await?;
    ensure!(store.due_ids(1).await?.is_empty(), "claimed at once");
    store.clock.advance(wait.saturating_sub(Duration::from_micros(1)));
    ensure!(store.due_ids(1).await?.is_empty(), "claimed a microsecond early");
    store.clock.advance(Duration::from_micros(1));
    ensure_eq!(store.due_ids(1).await?, [id]);
    Ok(())
}

async fn a_failed_replay_waits_its_delay(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    for outcome in [failed(), deferred()] {
        let claimed = store.claim_due(1).await?;
        ensure_eq!(claimed.len(), 1);
        store.settle(&claimed[0], outcome).await?;
        ensure!(store.due_ids(1).await?.is_empty(), "claimed in a loop");
        store.clock.advance(BACKOFF);
    }
    ensure_eq!(store.due_ids(1).await?, [id]);
    Ok(())
}

async fn only_the_named_domains_are_claimed(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let a = store.keep_new(captures.an_op().domain("a").build()).await?;
    let b = store.keep_new(captures.an_op().domain("b").build()).await?;
    let c = store.keep_new(captures.an_op().domain("c").build()).await?;
    let claimed = store.claim_due_of(&["c", "unknown", "a", "a"], None, 10).await?;
    let mut ids: Vec<EntryId> = claimed.iter().map(|op| op.id).collect();
    ids.sort_unstable();
    let mut expected = [a, c];
    expected.sort_unstable();
    ensure_eq!(ids, expected);
    ensure_eq!(store.status(b).await?, Status::Pending);
    Ok(())
}

/// Neither prefixes nor the wildcards of SQL and of Redis mean anything.
async fn domains_are_compared_to_the_letter(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for domain in ["pay", "payment", "payment.card", "payment_card", "paymentxcard"] {
        store.keep_new(captures.an_op().domain(domain).build()).await?;
    }
    for domain in ["payment_card", "payment", "payment.card"] {
        let claimed = store.claim_due_of(&[domain], None, 10).await?;
        let domains: Vec<&str> = claimed.iter().map(|op| op.domain.as_str()).collect();
        ensure_eq!(domains, [domain]);
    }
    Ok(())
}

async fn no_domain_claims_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_new(captures.an_op().build()).await?;
    ensure!(store.claim_due_of(&[], None, 10).await?.is_empty(), "something was claimed");
    Ok(())
}

async fn only_the_named_dependency_is_claimed(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let names = ["gateway", "Gateway", "gateway_", "gateway%", "gateways"];
    for name in names {
        store.keep_new(captures.an_op().dependency(name).build()).await?;
        store.keep_new(captures.an_op().dependency(name).domain("other").build()).await?;
    }
    for name in names {
        let claimed = store.claim_due_of(&["payment"], Some(name), 10).await?;
        let found: Vec<_> =
            claimed.iter().map(|op| (op.domain.as_str(), op.dependency.as_str())).collect();
        ensure_eq!(found, [("payment", name)]);
    }
    Ok(())
}

async fn the_limit_holds(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_all(captures.ops(25)).await?;
    for expected in [10, 10, 5, 0] {
        ensure_eq!(store.claim_due(10).await?.len(), expected);
    }
    Ok(())
}

async fn force_does_not_widen_a_due_selection(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let reviewed = store.keep_new(captures.an_op().build()).await?;
    store.act(reviewed, Action::Escalate).await?;
    let wait = Duration::from_mins(1);
    store.keep_new(captures.an_op().next_attempt_in(wait).build()).await?;
    let domains = vec![parsed("payment")];
    let select = ClaimSelect::Due { domains, dependency: None, limit: 10 };
    let terms = ClaimTerms { force: true, ..store.terms() };
    ensure!(store.claim(select, terms).await?.claimed.is_empty(), "force claimed what is not due");
    ensure_eq!(store.status(reviewed).await?, Status::RequiresReview);
    Ok(())
}

async fn a_clock_that_goes_back_harms_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let start = store.clock.now();
    let id = store.keep_new(captures.an_op().build()).await?;
    let claimed = store.claim_one(id).await?;
    store.clock.jump_back(Duration::from_hours(1));
    store.extend(&claimed, Duration::from_secs(1)).await??;
    let held = store.op(id).await?.state.hold.map(|hold| hold.expires_at);
    ensure_eq!(held, claimed.state.hold.as_ref().map(|hold| hold.expires_at));
    ensure!(store.lapse(10).await?.lapsed.is_empty(), "a running claim lapsed");
    store.settle(&claimed, failed()).await?;
    // Later captures are due by the store's time, which is now earlier.
    let other = store.keep_new(captures.an_op().build()).await?;
    ensure_eq!(store.due_ids(10).await?, [other]);
    store.clock.set(start);
    ensure_eq!(store.due_ids(10).await?, [id]);
    store.ensure_sound().await
}

async fn resolved_entries_are_not_in_the_way(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_all(captures.ops(200)).await?;
    for op in store.claim_due(200).await? {
        store.settle(&op, crate::drive::succeeded()).await?;
    }
    store.clock.advance(Duration::from_secs(1));
    let id = store.keep_new(captures.an_op().build()).await?;
    ensure_eq!(store.due_ids(10).await?, [id]);
    Ok(())
}
