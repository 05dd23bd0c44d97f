//! Captures that no store keeps. Each fails alone.

use std::time::Duration;

use baldur_core::{
    ClaimToken, Filter, Hold, Json, NotReplayable, Status,
    admission::MAX_ENTRY_BYTES,
    command::Capture,
    port::{CaptureError, Disposition},
};

use crate::{
    build::{Captures, OpBuilder, parsed},
    case::{CaseResult, cases, ensure, ensure_eq, ensure_matches},
    drive::only,
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "capture_refused",
    None,
    [
        a_bad_capture_fails_alone,
        an_operation_of_another_namespace_is_refused,
        more_than_sixteen_labels_are_refused,
        a_state_with_a_past_is_refused,
        a_budget_out_of_range_is_refused,
        an_oversized_entry_is_refused_and_alone,
        a_nul_character_in_a_text_is_refused,
        a_refused_capture_does_not_use_up_its_keys,
    ]
);

async fn refused(store: &StoreUnderTest, capture: Capture, why: &str) -> CaseResult {
    let id = capture.op.id;
    let answer = only(store.capture.capture_batch(vec![capture]).await)?;
    ensure!(matches!(answer, Err(CaptureError::Invalid(_))), "{why}: {answer:?}");
    ensure_eq!(store.find(id).await?, None, "{why}");
    Ok(())
}

fn labelled(captures: &Captures, labels: usize) -> Capture {
    (0..labels).fold(captures.an_op(), |op, n| op.label(&format!("l{n}"), "x")).build()
}

async fn a_bad_capture_fails_alone(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let [a, b, c] = [captures.an_op(), captures.an_op(), captures.an_op()].map(OpBuilder::build);
    let ids = [a.op.id, b.op.id, c.op.id];
    let batch = vec![a, labelled(&captures, 17), b, labelled(&captures, 18), c];
    let answers = store.capture.capture_batch(batch).await;
    ensure_eq!(
        answers.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, false, true, false, true]
    );
    ensure_matches!(answers[1], Err(CaptureError::Invalid(_)));
    for id in ids {
        store.op(id).await?;
    }
    ensure_eq!(store.walk_ids(&Filter::default()).await?.len(), 3);
    store.ensure_sound().await
}

async fn an_operation_of_another_namespace_is_refused(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let foreign = captures.an_op().with(|c| c.op.namespace = parsed("elsewhere")).build();
    refused(&store, foreign, "another namespace").await
}

async fn more_than_sixteen_labels_are_refused(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_new(labelled(&captures, 16)).await?;
    refused(&store, labelled(&captures, 17), "17 labels").await
}

/// Gives a new entry's state a past.
type Past = fn(&mut baldur_core::OpState);

async fn a_state_with_a_past_is_refused(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let now = baldur_core::Clock::now(&*store.clock);
    let holder = parsed("worker");
    let hold = Hold { holder, claimed_at: now, expires_at: now };
    let pasts: [(&str, Past); 11] = [
        ("replaying", |state| state.status = Status::Replaying),
        ("resolved", |state| state.status = Status::Resolved),
        ("for review without a reason", |state| state.status = Status::RequiresReview),
        ("pending though not replayable", |state| {
            state.not_replayable = Some(NotReplayable::RequestTooLarge);
        }),
        ("retried", |state| state.retry_count = 1),
        ("claimed before", |state| state.claim_token = ClaimToken(1)),
        ("redriven", |state| state.force_redrive_count = 1),
        ("written off", |state| state.previous_total_retries = 1),
        ("with a resolution note", |state| state.resolution_note = String::from("done")),
        ("seen twice", |state| state.occurrences = 2),
        ("with evidence", |state| state.evidence_count = 1),
    ];
    for (why, change) in pasts {
        let capture = captures.an_op().with(|c| change(&mut c.op.state)).build();
        refused(&store, capture, why).await?;
    }
    let running = captures.an_op().with(|c| c.op.state.hold = Some(hold)).build();
    refused(&store, running, "held").await
}

async fn a_budget_out_of_range_is_refused(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for budget in [1, 1_000] {
        store.keep_new(captures.an_op().max_retries(budget).build()).await?;
    }
    for budget in [0, 1_001, u32::MAX] {
        let capture = captures.an_op().max_retries(budget).build();
        refused(&store, capture, "a budget out of range").await?;
    }
    Ok(())
}

async fn an_oversized_entry_is_refused_and_alone(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let half = Json::from_trusted(&format!("\"{}\"", "x".repeat(MAX_ENTRY_BYTES / 2)));
    let large = captures
        .an_op()
        .with(|c| (c.op.request_data, c.op.snapshot_data) = (half.clone(), half))
        .build();
    let small = captures.an_op().build();
    let (large_id, small_id) = (large.op.id, small.op.id);
    let answers = store.capture.capture_batch(vec![large, small]).await;
    ensure_eq!(answers.len(), 2);
    ensure_matches!(answers[0], Err(CaptureError::Invalid(_)));
    ensure_matches!(answers[1], Ok(_));
    ensure_eq!(store.find(large_id).await?, None);
    store.op(small_id).await.map(|_| ())
}

async fn a_nul_character_in_a_text_is_refused(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let texts: [fn(&mut Capture) -> &mut String; 3] =
        [|c| &mut c.op.error_code, |c| &mut c.op.error_message, |c| &mut c.op.next_action_hint];
    for text in texts {
        let capture = captures.an_op().with(|c| *text(c) = String::from("a\0b")).build();
        refused(&store, capture, "NUL").await?;
    }
    // As an escape in JSON it is an ordinary character.
    let id = store.keep_new(captures.an_op().request_data(r#""a\u0000b""#).build()).await?;
    ensure_eq!(store.op(id).await?.request_data.as_str(), r#""a\u0000b""#);
    Ok(())
}

async fn a_refused_capture_does_not_use_up_its_keys(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let op = captures.an_op().dedup_key("d").order_key("o");
    let bad = op.clone().max_retries(0).build();
    refused(&store, bad, "a budget of nothing").await?;
    store.clock.advance(Duration::from_secs(1));
    let good = store.keep(op.build()).await?;
    ensure_eq!(good.disposition, Disposition::New);
    ensure_eq!(store.due_ids(10).await?, [good.id]);
    Ok(())
}
