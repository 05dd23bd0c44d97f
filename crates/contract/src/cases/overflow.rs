//! Limits of live entries: what counts, and what a capture that finds no room does not change.

use std::time::Duration;

use baldur_core::{
    Count, EntryId, Filter, NotReplayable, Status,
    command::{Action, Capture, WhenFull},
    port::{CaptureError, Disposition, LimitScope, LiveCounts},
};
use tokio::task::JoinSet;

use crate::{
    build::{Captures, OpBuilder},
    case::{CaseResult, Failure, cases, ensure, ensure_eq, ensure_matches},
    drive::{LEASE, deferred, failed, permanent, reject, resolve, succeeded},
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "overflow",
    None,
    [
        a_domain_takes_no_more_than_its_limit,
        the_namespace_takes_no_more_than_its_limit,
        the_limit_of_the_domain_is_told_first,
        a_refused_capture_changes_nothing,
        a_refusal_concerns_one_item_only,
        limits_hold_inside_one_batch,
        closed_entries_take_no_room,
        every_live_status_takes_room,
        a_replay_that_does_not_end_an_entry_frees_no_room,
        a_reopened_entry_takes_room_again,
        repeated_captures_need_no_room,
        merged_captures_need_no_room,
        what_cannot_be_replayed_needs_room_too,
        what_named_no_limits_takes_room,
        imported_entries_take_room,
        a_new_entry_tells_how_many_are_live,
        a_raised_limit_holds_at_once,
        concurrent_captures_never_exceed_a_limit,
    ]
);

fn limited(captures: &Captures, in_domain: u64, in_all: u64) -> OpBuilder {
    captures.an_op().limits(in_domain, in_all, WhenFull::Reject)
}

async fn fill(
    store: &StoreUnderTest,
    captures: &Captures,
    n: usize,
) -> Result<Vec<EntryId>, Failure> {
    let kept = store.keep_all(captures.ops(n)).await?;
    Ok(kept.into_iter().map(|kept| kept.id).collect())
}

async fn a_domain_takes_no_more_than_its_limit(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for _ in 0..3 {
        store.keep_new(limited(&captures, 3, 0).build()).await?;
    }
    let refused = store.no_room(limited(&captures, 3, 0).build()).await?;
    ensure_eq!(refused, (LimitScope::Domain, 3, 3));
    // A domain below another one in name is another domain, and so is one with another name.
    for domain in ["payment.card", "stock"] {
        for _ in 0..3 {
            store.keep_new(limited(&captures, 3, 0).domain(domain).build()).await?;
        }
        let refused = store.no_room(limited(&captures, 3, 0).domain(domain).build()).await?;
        ensure_eq!(refused, (LimitScope::Domain, 3, 3), "{domain}");
    }
    store.ensure_sound().await
}

async fn the_namespace_takes_no_more_than_its_limit(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for domain in ["payment", "stock", "mail"] {
        store.keep_new(limited(&captures, 2, 3).domain(domain).build()).await?;
    }
    for domain in ["payment", "invoice"] {
        let refused = store.no_room(limited(&captures, 2, 3).domain(domain).build()).await?;
        ensure_eq!(refused, (LimitScope::All, 3, 3), "{domain}");
    }
    Ok(())
}

async fn the_limit_of_the_domain_is_told_first(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    fill(&store, &captures, 2).await?;
    let refused = store.no_room(limited(&captures, 2, 1).build()).await?;
    ensure_eq!(refused, (LimitScope::Domain, 2, 2));
    let refused = store.no_room(limited(&captures, 2, 1).domain("stock").build()).await?;
    ensure_eq!(refused, (LimitScope::All, 2, 1));
    Ok(())
}

async fn a_refused_capture_changes_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    fill(&store, &captures, 2).await?;
    let before = (store.export().await?, store.evidence.backlog().await?);
    let refused = limited(&captures, 2, 0).dedup_key("d").order_key("o").label("l", "x").build();
    for _ in 0..2 {
        store.no_room(refused.clone()).await?;
    }
    ensure_eq!((store.export().await?, store.evidence.backlog().await?), before);
    ensure_eq!(store.find(refused.op.id).await?, None);
    store.ensure_sound().await?;
    // Its id was not remembered, and its keys stand for nothing.
    let unlimited = Capture { limits: None, ..refused };
    store.keep_new(unlimited).await?;
    Ok(())
}

async fn a_refusal_concerns_one_item_only(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let first = store.keep_new(captures.an_op().dedup_key("d").build()).await?;
    let batch = vec![
        limited(&captures, 2, 0).build(),
        limited(&captures, 2, 0).build(),
        limited(&captures, 2, 0).dedup_key("d").build(),
        limited(&captures, 2, 0).domain("stock").build(),
        captures.an_op().build(),
        limited(&captures, 9, 4).build(),
    ];
    let answers = store.capture.capture_batch(batch).await;
    let told: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Ok(kept) => kept.disposition.as_str(),
            Err(CaptureError::LimitReached { scope, .. }) => scope.as_str(),
            Err(_) => "another error",
        })
        .collect();
    ensure_eq!(told, ["new", "domain", "merged", "new", "new", "all"]);
    ensure_eq!(store.op(first).await?.state.occurrences, 2);
    ensure_eq!(store.walk_ids(&Filter::default()).await?.len(), 4);
    store.ensure_sound().await
}

async fn limits_hold_inside_one_batch(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let batch: Vec<_> = (0..6).map(|_| limited(&captures, 4, 0).build()).collect();
    let answers = store.capture.capture_batch(batch).await;
    ensure_eq!(
        answers.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, true, true, true, false, false]
    );
    ensure_matches!(
        answers.last(),
        Some(Err(CaptureError::LimitReached { live: 4, limit: 4, .. }))
    );
    Ok(())
}

async fn closed_entries_take_no_room(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = fill(&store, &captures, 4).await?;
    let mut closed = ids.into_iter();
    let mut next = || closed.next().ok_or_else(|| Failure::new("four entries were kept"));
    for action in [resolve(), reject(), Action::Expire] {
        store.no_room(limited(&captures, 4, 4).build()).await?;
        store.act(next()?, action).await?;
        store.keep_new(limited(&captures, 4, 4).build()).await?;
    }
    store.replay(next()?, succeeded()).await?;
    store.keep_new(limited(&captures, 4, 4).build()).await?;
    let refused = store.no_room(limited(&captures, 4, 4).build()).await?;
    ensure_eq!(refused, (LimitScope::Domain, 4, 4));
    store.ensure_sound().await
}

async fn every_live_status_takes_room(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = fill(&store, &captures, 4).await?;
    store.claim_one(ids[0]).await?;
    store.act(ids[1], Action::Review).await?;
    store.act(ids[2], Action::Escalate).await?;
    let statuses = [Status::Replaying, Status::Reviewing, Status::RequiresReview, Status::Pending];
    for (id, status) in ids.into_iter().zip(statuses) {
        ensure_eq!(store.status(id).await?, status);
    }
    let refused = store.no_room(limited(&captures, 4, 0).build()).await?;
    ensure_eq!(refused, (LimitScope::Domain, 4, 4));
    let refused = store.no_room(limited(&captures, 0, 4).domain("stock").build()).await?;
    ensure_eq!(refused, (LimitScope::All, 4, 4));
    store.ensure_sound().await
}

async fn a_replay_that_does_not_end_an_entry_frees_no_room(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = fill(&store, &captures, 4).await?;
    for (id, outcome) in ids.iter().zip([deferred(), failed(), permanent()]) {
        store.replay(*id, outcome).await?;
        store.no_room(limited(&captures, 4, 0).build()).await?;
    }
    store.claim_one(ids[3]).await?;
    store.clock.advance(LEASE);
    ensure_eq!(store.lapse(10).await?.lapsed.len(), 1);
    store.no_room(limited(&captures, 4, 0).build()).await?;
    store.ensure_sound().await
}

async fn a_reopened_entry_takes_room_again(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = fill(&store, &captures, 2).await?;
    store.act(ids[0], resolve()).await?;
    store.keep_new(limited(&captures, 2, 0).build()).await?;
    // A person may exceed the limit; captures then have to wait until there is room again.
    store.act(ids[0], Action::Reopen).await?;
    let refused = store.no_room(limited(&captures, 2, 0).build()).await?;
    ensure_eq!(refused, (LimitScope::Domain, 3, 2));
    store.act(ids[1], resolve()).await?;
    store.no_room(limited(&captures, 2, 0).build()).await?;
    store.act(ids[0], resolve()).await?;
    store.keep_new(limited(&captures, 2, 0).build()).await?;
    store.ensure_sound().await
}

async fn repeated_captures_need_no_room(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let kept = limited(&captures, 1, 1).build();
    store.keep_new(kept.clone()).await?;
    let again = store.keep(kept.clone()).await?;
    ensure_eq!((again.disposition, again.live), (Disposition::Repeated, None));
    store.act(kept.op.id, resolve()).await?;
    store.keep_new(limited(&captures, 1, 1).build()).await?;
    ensure_eq!(store.keep(kept).await?.disposition, Disposition::Repeated);
    Ok(())
}

async fn merged_captures_need_no_room(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let keyed = || limited(&captures, 1, 1).dedup_key("d").build();
    let first = store.keep_new(keyed()).await?;
    for occurrence in 2..5 {
        let merged = store.keep(keyed()).await?;
        ensure_eq!((merged.id, merged.occurrence, merged.live), (first, occurrence, None));
    }
    // Once it is closed there is nothing to merge into, but room.
    store.act(first, resolve()).await?;
    store.keep_new(keyed()).await?;
    Ok(())
}

async fn what_cannot_be_replayed_needs_room_too(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let unreplayable = || limited(&captures, 1, 0).not_replayable(NotReplayable::RequestTooLarge);
    store.keep_new(unreplayable().build()).await?;
    let refused = store.no_room(unreplayable().build()).await?;
    ensure_eq!(refused, (LimitScope::Domain, 1, 1));
    Ok(())
}

async fn what_named_no_limits_takes_room(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut batch = captures.ops(3);
    batch.push(limited(&captures, 3, 0).build());
    let answers = store.capture.capture_batch(batch).await;
    ensure_matches!(answers.last(), Some(Err(CaptureError::LimitReached { live: 3, .. })));
    fill(&store, &captures, 1).await?;
    let refused = store.no_room(limited(&captures, 0, 2).build()).await?;
    ensure_eq!(refused, (LimitScope::All, 4, 2));
    Ok(())
}

async fn imported_entries_take_room(lab: &Lab) -> CaseResult {
    let (from, captures) = lab.store().await;
    let ids = fill(&from, &captures, 3).await?;
    from.act(ids[0], resolve()).await?;
    from.claim_one(ids[1]).await?;
    let (to, _) = lab.store().await;
    for answer in to.admin.import_batch(from.export().await?).await {
        answer?;
    }
    ensure_eq!(to.no_room(limited(&captures, 2, 0).build()).await?, (LimitScope::Domain, 2, 2));
    to.keep_new(limited(&captures, 3, 3).build()).await?;
    to.ensure_sound().await
}

async fn a_new_entry_tells_how_many_are_live(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let live = |in_domain, in_all| Some(LiveCounts { in_domain, in_all });
    ensure_eq!(store.keep(captures.an_op().build()).await?.live, None);
    ensure_eq!(store.keep(limited(&captures, 9, 0).build()).await?.live, live(2, 2));
    let other = store.keep(limited(&captures, 0, 9).domain("stock").build()).await?;
    ensure_eq!((other.live, other.evicted.len()), (live(1, 3), 0));
    store.act(other.id, resolve()).await?;
    let batch = vec![
        limited(&captures, 0, 0).build(),
        captures.an_op().domain("stock").build(),
        limited(&captures, 9, 9).domain("stock").build(),
    ];
    let told: Vec<_> = store.keep_all(batch).await?.iter().map(|kept| kept.live).collect();
    ensure_eq!(told, [live(3, 3), None, live(2, 5)]);
    Ok(())
}

async fn a_raised_limit_holds_at_once(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    fill(&store, &captures, 2).await?;
    let capture = limited(&captures, 2, 0).build();
    store.no_room(capture.clone()).await?;
    let raised = limited(&captures, 3, 0).id(capture.op.id).build();
    store.keep_new(raised).await?;
    Ok(())
}

async fn concurrent_captures_never_exceed_a_limit(lab: &Lab) -> CaseResult {
    const TASKS: usize = 16;
    const LIMIT: u64 = 25;
    for when_full in [WhenFull::Reject, WhenFull::DropOldest] {
        let (store, captures) = lab.store().await;
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let capture = |_| captures.an_op().limits(LIMIT, 0, when_full).build();
            let (store, batch) = (store.clone(), (0..10).map(capture).collect::<Vec<_>>());
            tasks.spawn(async move {
                let mut answers = Vec::new();
                for pair in batch.chunks(2) {
                    answers.extend(store.capture.capture_batch(pair.to_vec()).await);
                    // No moment shows more than the limit.
                    let live = store.reader.count(live_of_all(), 1).await?;
                    ensure_matches!(live, Count::Exactly(n) if *n <= LIMIT);
                    store.clock.advance(Duration::from_micros(1));
                }
                Ok::<_, Failure>(answers)
            });
        }
        let (mut kept, mut refused, mut evicted) = (0_u64, 0_u64, 0_u64);
        while let Some(answers) = tasks.join_next().await {
            for answer in answers?? {
                match answer {
                    Ok(answer) => {
                        kept += 1;
                        evicted += answer.evicted.len() as u64;
                        let in_domain = answer.live.map(|live| live.in_domain);
                        ensure!(in_domain <= Some(LIMIT), "{in_domain:?} are live");
                    }
                    Err(CaptureError::LimitReached { .. }) => refused += 1,
                    Err(other) => return Err(other.into()),
                }
            }
        }
        ensure_eq!(kept + refused, TASKS as u64 * 10);
        ensure_eq!(kept - evicted, LIMIT, "{when_full:?}");
        ensure_eq!(refused == 0, when_full == WhenFull::DropOldest);
        ensure_eq!(store.walk_ids(&Filter::default()).await?.len() as u64, LIMIT);
        store.ensure_sound().await?;
    }
    Ok(())
}

fn live_of_all() -> Filter {
    Filter { statuses: Status::LIVE.to_vec(), ..Filter::default() }
}
