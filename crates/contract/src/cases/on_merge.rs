//! Whose payload a merge keeps.

use std::time::Duration;

use baldur_core::{
    Clock, EntryId, EntrySummary, EvidenceEvent, FailedOp, Filter, Json, ListOrder, NotReplayable,
    Status,
    command::{Action, Capture, OnMerge, WhenFull},
    evidence::Digest,
    port::Disposition,
};

use crate::{
    build::{Captures, OpBuilder, parsed},
    case::{CaseResult, Failure, cases, ensure, ensure_eq},
    drive::{permanent, succeeded},
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "on_merge",
    None,
    [
        the_last_payload_is_kept_when_asked_for,
        what_an_entry_is_grouped_by_stays,
        the_payload_version_grows_with_each_replacement,
        each_capture_says_for_itself_whose_payload_is_kept,
        the_evidence_has_the_digest_of_each_payload,
        a_claim_hands_out_the_last_payload,
        lists_show_the_last_error,
        a_payload_somebody_works_on_stays,
        an_entry_that_waits_for_a_person_gets_the_last_payload,
        a_capture_that_cannot_be_replayed_replaces_nothing,
        an_older_capture_replaces_nothing,
        a_repeated_capture_replaces_nothing,
        payloads_are_replaced_inside_one_batch,
        an_evicted_entry_had_its_last_payload,
    ]
);

/// The `n`th capture of a failure, that keeps its payload.
fn last(captures: &Captures, n: u32) -> OpBuilder {
    captures
        .an_op()
        .dedup_key("d")
        .request_data(&format!(r#"{{"n": {n}}}"#))
        .idempotency_key(&format!("call-{n}"))
        .on_merge(OnMerge::KeepLast)
        .with(|capture| capture.op.error_message = format!("failure {n}"))
}

async fn first(store: &StoreUnderTest, captures: &Captures) -> Result<EntryId, Failure> {
    store.keep_new(last(captures, 1).build()).await
}

/// Merges a capture made a second later, and answers the entry after it.
async fn merged(store: &StoreUnderTest, op: OpBuilder) -> Result<FailedOp, Failure> {
    store.clock.advance(Duration::from_secs(1));
    let kept = store.keep(op.created_at(store.clock.now()).build()).await?;
    ensure_eq!(kept.disposition, Disposition::Merged);
    store.op(kept.id).await
}

/// The payload's version, the request and the key of the call.
fn sent(op: &FailedOp) -> (u32, &str, &str) {
    (op.payload_version, op.request_data.as_str(), op.idempotency_key.as_str())
}

async fn the_last_payload_is_kept_when_asked_for(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = first(&store, &captures).await?;
    let before = store.op(id).await?;
    let full = super::capture::full(&captures);
    let newest = FailedOp { dedup_key: Some(parsed("d")), ..full.op.clone() };
    store.clock.advance(Duration::from_secs(1));
    let at = store.clock.now();
    let newest = FailedOp { created_at: at, ..newest };
    let mut capture = Capture { op: newest.clone(), on_merge: OnMerge::KeepLast, ..full };
    capture.op.state.last_occurred_at = at;
    let kept = store.keep(capture).await?;
    ensure_eq!((kept.id, kept.occurrence, kept.disposition), (id, 2, Disposition::Merged));
    let after = store.op(id).await?;
    let expected = FailedOp {
        entity_refs: newest.entity_refs,
        request_data: newest.request_data,
        payload_version: 2,
        snapshot_data: newest.snapshot_data,
        response_data: newest.response_data,
        metadata: newest.metadata,
        error_code: newest.error_code,
        error_message: newest.error_message,
        next_action_hint: newest.next_action_hint,
        idempotency_key: newest.idempotency_key,
        trace: newest.trace,
        state: after.state.clone(),
        ..before
    };
    ensure_eq!(after, expected);
    ensure_eq!((after.state.occurrences, after.state.last_occurred_at), (2, at));
    store.ensure_sound().await
}

async fn what_an_entry_is_grouped_by_stays(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(last(&captures, 1).order_key("o").label("l", "x").build()).await?;
    let before = store.op(id).await?;
    let other = last(&captures, 2).domain("stock").failure_type("REFUSED").dependency("bank");
    let other = other.origin_service("api").order_key("p").label("l", "y").label("m", "z");
    let after = merged(&store, other.entity_type("t").user_id("u").fingerprint("f")).await?;
    ensure_eq!(sent(&after), (2, r#"{"n": 2}"#, "call-2"));
    let kept = |op: &FailedOp| {
        let FailedOp { domain, failure_type, dependency, origin_service, labels, .. } = op.clone();
        let names = (domain, failure_type, dependency, origin_service, labels);
        let FailedOp { order_key, dedup_key, entity_type, user_id, fingerprint, .. } = op.clone();
        (names, order_key, dedup_key, entity_type, user_id, fingerprint, op.created_at)
    };
    ensure_eq!(kept(&after), kept(&before));
    let stock = Filter { domain: Some(parsed("stock")), ..Filter::default() };
    ensure_eq!(store.walk_ids(&stock).await?, []);
    store.ensure_sound().await
}

async fn the_payload_version_grows_with_each_replacement(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    first(&store, &captures).await?;
    for n in 2..5 {
        let after = merged(&store, last(&captures, n)).await?;
        ensure_eq!((after.payload_version, after.state.occurrences), (n, u64::from(n)));
    }
    Ok(())
}

async fn each_capture_says_for_itself_whose_payload_is_kept(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    first(&store, &captures).await?;
    let after = merged(&store, last(&captures, 2).on_merge(OnMerge::KeepFirst)).await?;
    ensure_eq!(sent(&after), (1, r#"{"n": 1}"#, "call-1"));
    let after = merged(&store, last(&captures, 3)).await?;
    ensure_eq!(sent(&after), (2, r#"{"n": 3}"#, "call-3"));
    let after = merged(&store, last(&captures, 4).on_merge(OnMerge::KeepFirst)).await?;
    ensure_eq!(sent(&after), (2, r#"{"n": 3}"#, "call-3"));
    ensure_eq!(after.error_message, "failure 3");
    Ok(())
}

async fn the_evidence_has_the_digest_of_each_payload(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = first(&store, &captures).await?;
    merged(&store, last(&captures, 2)).await?;
    let digests: Vec<_> = store.trail(id).await?.iter().map(|r| (r.event, r.digest)).collect();
    let digest = |json: &str| Some(Digest::of(json.as_bytes()));
    ensure_eq!(
        digests,
        [
            (EvidenceEvent::Captured, digest(r#"{"n": 1}"#)),
            (EvidenceEvent::Merged, digest(r#"{"n": 2}"#)),
        ]
    );
    Ok(())
}

async fn a_claim_hands_out_the_last_payload(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = first(&store, &captures).await?;
    merged(&store, last(&captures, 2)).await?;
    let claimed = store.claim_one(id).await?;
    ensure_eq!(sent(&claimed), (2, r#"{"n": 2}"#, "call-2"));
    Ok(())
}

async fn lists_show_the_last_error(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = first(&store, &captures).await?;
    let after = merged(&store, last(&captures, 2)).await?;
    let listed = store.walk(&Filter::default(), ListOrder::NewestFirst, 10).await?;
    ensure_eq!(listed, [EntrySummary::of(&after)]);
    ensure!(format!("{listed:?}").contains("failure 2"), "{listed:?}");
    let by_call = |key: &str| Filter { idempotency_key: Some(parsed(key)), ..Filter::default() };
    ensure_eq!(store.walk_ids(&by_call("call-2")).await?, [id]);
    ensure_eq!(store.walk_ids(&by_call("call-1")).await?, []);
    Ok(())
}

async fn a_payload_somebody_works_on_stays(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = first(&store, &captures).await?;
    let claimed = store.claim_one(id).await?;
    let after = merged(&store, last(&captures, 2)).await?;
    ensure_eq!(sent(&after), (1, r#"{"n": 1}"#, "call-1"));
    ensure_eq!((after.state.occurrences, after.state.status), (2, Status::Replaying));
    store.settle(&claimed, baldur_core::command::SettleOutcome::Released).await?;
    store.act(id, Action::Review).await?;
    let after = merged(&store, last(&captures, 3)).await?;
    ensure_eq!(sent(&after), (1, r#"{"n": 1}"#, "call-1"));
    store.act(id, Action::Back).await?;
    let after = merged(&store, last(&captures, 4)).await?;
    ensure_eq!(sent(&after), (2, r#"{"n": 4}"#, "call-4"));
    store.replay(id, succeeded()).await.map(|_| ())
}

async fn an_entry_that_waits_for_a_person_gets_the_last_payload(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = first(&store, &captures).await?;
    store.replay(id, permanent()).await?;
    let after = merged(&store, last(&captures, 2)).await?;
    ensure_eq!(sent(&after), (2, r#"{"n": 2}"#, "call-2"));
    ensure_eq!(after.state.status, Status::RequiresReview);
    Ok(())
}

async fn a_capture_that_cannot_be_replayed_replaces_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    first(&store, &captures).await?;
    let capture = last(&captures, 2).not_replayable(NotReplayable::RequestTooLarge);
    let after = merged(&store, capture.request_data("{}")).await?;
    ensure_eq!(sent(&after), (1, r#"{"n": 1}"#, "call-1"));
    ensure_eq!((after.state.occurrences, after.state.status), (2, Status::Pending));
    Ok(())
}

/// A record that was spooled comes later than what was captured after it.
async fn an_older_capture_replaces_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = first(&store, &captures).await?;
    let between = store.clock.now().saturating_add(Duration::from_millis(500));
    merged(&store, last(&captures, 3)).await?;
    let late = store.keep(last(&captures, 2).created_at(between).build()).await?;
    ensure_eq!((late.id, late.occurrence), (id, 3));
    ensure_eq!(sent(&store.op(id).await?), (2, r#"{"n": 3}"#, "call-3"));
    Ok(())
}

async fn a_repeated_capture_replaces_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = first(&store, &captures).await?;
    store.clock.advance(Duration::from_secs(1));
    let second = last(&captures, 2).created_at(store.clock.now()).build();
    store.keep(second.clone()).await?;
    merged(&store, last(&captures, 3)).await?;
    ensure_eq!(store.keep(second).await?.disposition, Disposition::Repeated);
    ensure_eq!(sent(&store.op(id).await?), (3, r#"{"n": 3}"#, "call-3"));
    Ok(())
}

async fn payloads_are_replaced_inside_one_batch(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let start = store.clock.now();
    let at = |n: u32| start.saturating_add(Duration::from_secs(u64::from(n)));
    let op = |n: u32| last(&captures, n).created_at(at(n)).build();
    // Into an entry that is new in the batch.
    let kept = store.keep_all(vec![op(1), op(2), op(3)]).await?;
    let after = store.op(kept[0].id).await?;
    ensure_eq!(sent(&after), (3, r#"{"n": 3}"#, "call-3"));
    // Into a stored one, with an older capture and one that keeps the first in between.
    let keeps_first = Capture { on_merge: OnMerge::KeepFirst, ..op(6) };
    store.keep_all(vec![op(5), op(4), keeps_first, op(7)]).await?;
    let after = store.op(kept[0].id).await?;
    ensure_eq!(sent(&after), (5, r#"{"n": 7}"#, "call-7"));
    ensure_eq!((after.state.occurrences, after.state.last_occurred_at), (7, at(7)));
    ensure_eq!(after.created_at, at(1));
    store.ensure_sound().await
}

async fn an_evicted_entry_had_its_last_payload(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = first(&store, &captures).await?;
    store.clock.advance(Duration::from_secs(1));
    let now = store.clock.now();
    let second = last(&captures, 2).created_at(now).build();
    let newcomer = captures.an_op().limits(1, 0, WhenFull::DropOldest).build();
    let kept = store.keep_all(vec![second, newcomer]).await?;
    ensure_eq!(kept[1].evicted.iter().map(|gone| gone.id).collect::<Vec<_>>(), [id]);
    let trail = store.evidence.trail(id, 0, 10).await?;
    let digest = trail.last().and_then(|record| record.digest);
    let expected = Json::parse(r#"{"n": 2}"#)?;
    ensure_eq!((trail.len(), digest), (3, Some(Digest::of(expected.as_str().as_bytes()))));
    store.ensure_sound().await
}
