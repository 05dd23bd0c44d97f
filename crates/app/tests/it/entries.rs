//! Entry operations as operators meet them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use baldur_app::EntryService;
use baldur_core::{
    BackendError, BackendKind, ClaimToken, Count, EntryId, EvidenceEvent, FacetScope, Filter,
    ListQuery, OpState, Outcome, PageSize, Status,
    command::{Act, ClaimBatch, ClaimSelect, ClaimTerms, Extend, Lapse, Settle},
    name::Domain,
    policy::redact::RedactionRules,
    port::{ClaimBatchOutcome, ClaimError, ClaimStore, Lapsed, ReadError, Settled},
};

use crate::capture_setup::{Setup, payment, who};

async fn captured(setup: &Setup, entries: usize) -> Vec<EntryId> {
    let ops = (0..entries).map(|_| payment()).collect();
    let answers = setup.capture.capture_batch(ops, &who()).await;
    answers.into_iter().map(|answer| answer.expect("kept").id).collect()
}

fn unknown() -> EntryId {
    EntryId::from_bytes([9; 16])
}

#[tokio::test]
async fn many_entries_are_read_in_the_order_asked_also_the_repeated_and_the_unknown() {
    let setup = Setup::new();
    let ids = captured(&setup, 250).await;
    let mut asked = ids.clone();
    asked.reverse();
    asked.extend([unknown(), ids[7]]);
    let found = setup.entries.get_many(asked.clone()).await.expect("readable");
    assert_eq!(found.len(), asked.len());
    for (id, entry) in asked.iter().zip(&found) {
        let expected = (*id != unknown()).then_some(*id);
        assert_eq!(entry.as_ref().map(|entry| entry.id), expected);
    }
    assert!(setup.entries.get(unknown()).await.expect("readable").is_none());
}

#[tokio::test]
async fn lists_counts_and_facets_agree() {
    let setup = Setup::new();
    captured(&setup, 5).await;
    let limit = PageSize::new(3).expect("in range");
    let first =
        setup.entries.list(ListQuery { limit, ..ListQuery::default() }).await.expect("readable");
    let second = setup
        .entries
        .list(ListQuery { limit, after: first.next, ..ListQuery::default() })
        .await
        .expect("readable");
    assert_eq!((first.items.len(), second.items.len(), second.next), (3, 2, None));
    let count = setup.entries.count(Filter::default(), 100).await.expect("readable");
    assert_eq!(count, Count::Exactly(5));
    let facets = setup.entries.facets(FacetScope::default()).await.expect("readable");
    assert_eq!(facets.by_status.get(&Status::Pending), Some(&5));
}

#[tokio::test]
async fn acts_are_answered_in_order_and_a_repeated_id_is_acted_on_once() {
    let setup = Setup::new();
    let ids = captured(&setup, 230).await;
    let mut asked = ids.clone();
    asked.insert(120, unknown());
    asked.push(ids[0]);
    let answers = setup.entries.resolve(&asked, "paid by hand", &who()).await;
    assert_eq!(answers.len(), asked.len());
    for (id, answer) in asked.iter().zip(&answers) {
        match answer {
            Ok(state) => assert_eq!((state.status, *id == unknown()), (Status::Resolved, false)),
            Err(error) => {
                assert!(matches!(error, ClaimError::NotFound(_)), "{error}");
                assert_eq!(*id, unknown());
            }
        }
    }
    let trail = setup.entries.trail(ids[0]).await.expect("readable");
    assert_eq!(trail.len(), 2, "captured, and resolved once");
}

#[tokio::test]
async fn every_act_moves_the_entry_and_leaves_who_did_it() {
    let setup = Setup::new();
    let ids = captured(&setup, 1).await;
    let entries = &setup.entries;
    let status = async |answers: Vec<Result<OpState, ClaimError>>| {
        answers[0].as_ref().expect("allowed").status
    };
    assert_eq!(status(entries.review(&ids, &who()).await).await, Status::Reviewing);
    assert_eq!(status(entries.back(&ids, &who()).await).await, Status::Pending);
    assert_eq!(status(entries.escalate(&ids, &who()).await).await, Status::RequiresReview);
    assert_eq!(status(entries.reject(&ids, "no", &who()).await).await, Status::Rejected);
    assert_eq!(status(entries.reopen(&ids, &who()).await).await, Status::Pending);
    let refused = entries.back(&ids, &who()).await;
    assert!(matches!(refused[0], Err(ClaimError::NotAllowed { .. })), "{refused:?}");

    let trail = entries.trail(ids[0]).await.expect("readable");
    let events: Vec<&str> = trail.iter().map(|record| record.event.as_str()).collect();
    assert_eq!(events, ["captured", "review", "back", "escalate", "reject", "reopen"]);
    assert!(trail.iter().all(|record| record.evidence.actor.as_str() == "ann"));
}

#[tokio::test]
async fn notes_are_redacted_and_bounded() {
    let setup = Setup::new();
    let ids = captured(&setup, 3).await;
    setup.entries.resolve(&ids[..1], "used password=hunter2 \0", &who()).await;
    let note = setup.entry(ids[0]).await.state.resolution_note;
    assert_eq!(note, "used password=***REDACTED*** \u{fffd}");

    let trail = setup.entries.trail(ids[0]).await.expect("readable");
    let reason = trail[1].evidence.reason.as_ref().map(AsRef::as_ref);
    assert_eq!(reason, Some("used password=***REDACTED*** \u{fffd}"), "the note is the reason");

    let whole = "n".repeat(2_048);
    setup.entries.reject(&ids[1..2], &whole, &who()).await;
    assert_eq!(setup.entry(ids[1]).await.state.resolution_note, whole);
    setup.entries.reject(&ids[2..], &(whole + "n"), &who()).await;
    let cut = setup.entry(ids[2]).await.state.resolution_note;
    assert!(cut.ends_with("…[truncated, 2049 bytes]") && cut.len() <= 2_048, "{cut}");
}

#[tokio::test]
async fn a_long_trail_is_read_whole() {
    let setup = Setup::new();
    for _ in 0..1_100 {
        setup.capture.capture(payment().dedup_key("one"), &who()).await.expect("kept");
    }
    let page = setup.entries.list(ListQuery::default()).await.expect("readable");
    let trail = setup.entries.trail(page.items[0].id).await.expect("readable");
    assert_eq!(trail.len(), 1_100);
    assert!((1..).zip(&trail).all(|(n, record)| record.counter == n));
    assert_eq!(trail[1_099].event, EvidenceEvent::Merged);
    assert!(setup.entries.trail(unknown()).await.expect("readable").is_empty());
}

#[tokio::test]
async fn claims_of_dead_workers_end_in_steps_up_to_the_limit() {
    let setup = Setup::new();
    captured(&setup, 250).await;
    let lease = Duration::from_secs(30);
    let claim = ClaimBatch {
        select: ClaimSelect::Due {
            domains: vec![Domain::parse("payment").expect("valid")],
            dependency: None,
            limit: 250,
        },
        terms: ClaimTerms {
            holder: setup.env.worker.clone(),
            lease,
            force: false,
            unchanged_since: None,
            evidence: setup.env.evidence(&who()),
        },
    };
    let claimed = setup.store.claim_batch(claim).await.expect("claimable").claimed;
    assert_eq!(claimed.len(), 250);
    assert!(setup.entries.lapse(1_000).await.expect("asked").lapsed.is_empty(), "none ran out");

    setup.clock.advance(lease);
    assert!(setup.entries.lapse(0).await.expect("asked").lapsed.is_empty());
    let some = setup.entries.lapse(130).await.expect("asked");
    assert_eq!((some.lapsed.len(), some.more), (130, true));
    let rest = setup.entries.lapse(1_000).await.expect("asked");
    assert_eq!((rest.lapsed.len(), rest.more), (120, false));

    let entry = setup.entry(rest.lapsed[0].0).await;
    assert_eq!((entry.state.status, entry.state.retry_count), (Status::Pending, 1));
    assert_eq!(entry.state.claim_token, ClaimToken(2));
    let now = setup.env.clock.now();
    let waits = entry.state.next_attempt_at.since(now);
    assert!(waits >= Duration::from_millis(500) && waits <= Duration::from_secs(1), "{waits:?}");
}

#[tokio::test]
async fn a_store_that_is_down_is_not_asked_for_every_chunk() {
    let setup = Setup::new();
    let down = Arc::new(Down::default());
    let entries = EntryService::new(
        Arc::new(setup.store.clone()),
        Arc::clone(&down) as Arc<dyn ClaimStore>,
        Arc::new(setup.store.clone()),
        setup.env.clone(),
        RedactionRules::default(),
    );
    let ids: Vec<EntryId> = (0..1_000_u128).map(|n| EntryId::from_bytes(n.to_be_bytes())).collect();
    let answers = entries.resolve(&ids, "", &who()).await;
    assert_eq!(answers.len(), 1_000);
    assert_eq!(down.calls.load(Ordering::SeqCst), 1);
    let outcomes: Vec<Outcome> =
        answers.into_iter().map(|answer| answer.expect_err("down").outcome()).collect();
    assert_eq!(outcomes[..100], [Outcome::Unknown; 100], "these were asked for");
    assert!(outcomes[100..].iter().all(|outcome| *outcome == Outcome::NotApplied));
}

#[tokio::test]
async fn an_outage_is_an_error_for_every_entry_and_never_an_empty_answer() {
    let setup = Setup::new();
    let ids = captured(&setup, 250).await;
    setup.store.close().await;
    let answers = setup.entries.resolve(&ids, "", &who()).await;
    assert_eq!(answers.len(), 250);
    for answer in answers {
        let error = answer.expect_err("closed");
        assert!(matches!(error, ClaimError::Backend(_)), "{error}");
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
    let read = setup.entries.get_many(ids).await;
    assert!(matches!(read, Err(ReadError::Backend(_))));
    assert!(setup.entries.count(Filter::default(), 1).await.is_err());
    assert!(setup.entries.lapse(1).await.is_err());
}

/// A store that can't be reached.
#[derive(Debug, Default)]
struct Down {
    calls: AtomicUsize,
}

impl Down {
    fn error(&self) -> ClaimError {
        self.calls.fetch_add(1, Ordering::SeqCst);
        BackendError::new("down", "answer", BackendKind::Unavailable).retryable().into()
    }
}

#[async_trait]
impl ClaimStore for Down {
    async fn claim_batch(&self, _: ClaimBatch) -> Result<ClaimBatchOutcome, ClaimError> {
        Err(self.error())
    }

    async fn extend(&self, extend: Extend) -> Vec<Result<(), ClaimError>> {
        vec![Err(self.error()); extend.claims.len()]
    }

    async fn settle_batch(&self, settles: Vec<Settle>) -> Vec<Result<Settled, ClaimError>> {
        vec![Err(self.error()); settles.len()]
    }

    async fn lapse(&self, _: Lapse) -> Result<Lapsed, ClaimError> {
        Err(self.error())
    }

    async fn apply(&self, acts: Vec<Act>) -> Vec<Result<OpState, ClaimError>> {
        vec![Err(self.error()); acts.len()]
    }
}
