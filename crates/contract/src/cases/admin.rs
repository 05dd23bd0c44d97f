//! Checking a store, and moving entries between stores.

use std::time::Duration;

use baldur_core::{
    EntryId, Status,
    admission::MAX_IMPORTED_NUMBER,
    command::Action,
    port::{AdminError, CheckDepth, Disposition, ExportedEntry, Imported},
    wire,
};

use crate::{
    build::{Captures, parsed},
    case::{CaseResult, Failure, cases, ensure, ensure_eq, ensure_matches},
    drive::{BACKOFF, LEASE, deferred, failed, only, permanent, reject, resolve, succeeded},
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "admin",
    None,
    [
        an_empty_store_is_sound,
        a_store_with_a_past_is_sound,
        a_check_changes_nothing,
        exported_entries_are_imported_to_the_letter,
        importing_twice_changes_nothing,
        an_entry_twice_in_one_batch_is_imported_once,
        an_id_that_merged_here_is_left_alone,
        imported_entries_with_one_dedup_key_stay_apart,
        a_bad_entry_is_refused_alone,
        the_largest_numbers_are_imported_and_counted_on,
        an_imported_claim_runs_out_as_it_would_have,
        imported_entries_are_claimed_in_their_turn,
        captures_merge_into_imported_entries,
    ]
);

async fn an_empty_store_is_sound(lab: &Lab) -> CaseResult {
    lab.store().await.0.ensure_sound().await
}

/// Entries with everything that can have happened to them.
pub(crate) async fn a_past(store: &StoreUnderTest, captures: &Captures) -> CaseResult {
    store.keep_new(super::capture::full(captures)).await?;
    for n in 0..12_u32 {
        store.clock.advance(Duration::from_millis(1_001));
        let op = captures.an_op().max_retries(2).label("n", &n.to_string());
        let op = if n % 6 == 0 { op.order_key("line") } else { op };
        let op = if n % 4 == 0 { op.dedup_key("twin") } else { op };
        let kept = store.keep(op.build()).await?;
        let status = store.status(kept.id).await?;
        if kept.disposition != Disposition::New || status != Status::Pending {
            continue;
        }
        match n % 8 {
            1 => store.replay(kept.id, succeeded()).await.map(|_| ())?,
            2 => store.replay(kept.id, permanent()).await.map(|_| ())?,
            5 => store.replay(kept.id, deferred()).await.map(|_| ())?,
            7 => store.claim_one(kept.id).await.map(|_| ())?,
            _ => {}
        }
    }
    store.clock.advance(LEASE);
    store.lapse(1).await?;
    let rest = store.claim_due(3).await?;
    if let [first, second, ..] = rest.as_slice() {
        store.settle(first, failed()).await?;
        store.try_settle(first, succeeded()).await?.err();
        store.extend(second, LEASE * 2).await??;
    }
    for (action, capture) in
        [reject(), Action::Review, Action::Expire].into_iter().zip(captures.ops(3))
    {
        let id = store.keep_new(capture).await?;
        store.act(id, action).await?;
    }
    Ok(())
}

async fn a_store_with_a_past_is_sound(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    a_past(&store, &captures).await?;
    store.ensure_sound().await
}

async fn a_check_changes_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    a_past(&store, &captures).await?;
    let before = store.export().await?;
    for depth in [CheckDepth::Quick, CheckDepth::Deep] {
        store.admin.check(depth).await?;
    }
    ensure_eq!(store.export().await?, before);
    Ok(())
}

/// A copy of everything in a store of its own, with the same time.
async fn imported(lab: &Lab, from: &StoreUnderTest) -> Result<StoreUnderTest, Failure> {
    let (to, _) = lab.store().await;
    ensure_eq!(to.namespace, from.namespace, "the factory always serves one namespace");
    to.clock.set(baldur_core::Clock::now(&*from.clock));
    let answers = to.admin.import_batch(from.export().await?).await;
    for answer in answers {
        ensure_eq!(answer?, Imported::New);
    }
    Ok(to)
}

fn letters(entries: &[ExportedEntry]) -> Vec<String> {
    let entry = |entry: &ExportedEntry| {
        let evidence = entry.evidence.iter().map(wire::encode_evidence);
        std::iter::once(wire::encode_entry(&entry.op)).chain(evidence).collect::<Vec<_>>()
    };
    entries.iter().flat_map(entry).collect()
}

async fn exported_entries_are_imported_to_the_letter(lab: &Lab) -> CaseResult {
    let (from, captures) = lab.store().await;
    a_past(&from, &captures).await?;
    let to = imported(lab, &from).await?;
    ensure_eq!(letters(&to.export().await?), letters(&from.export().await?));
    let scope = baldur_core::FacetScope::default();
    ensure_eq!(to.reader.facets(scope.clone()).await?, from.reader.facets(scope).await?);
    ensure_eq!(to.evidence.backlog().await?, from.evidence.backlog().await?);
    to.ensure_sound().await
}

async fn importing_twice_changes_nothing(lab: &Lab) -> CaseResult {
    let (from, captures) = lab.store().await;
    a_past(&from, &captures).await?;
    let to = imported(lab, &from).await?;
    let exported = from.export().await?;
    // What happened here since the first import is not undone by the second.
    let reviewed = to.keep_new(captures.an_op().build()).await?;
    to.act(reviewed, resolve()).await?;
    let before = to.export().await?;
    for answer in to.admin.import_batch(exported).await {
        ensure_eq!(answer?, Imported::Present);
    }
    ensure_eq!(to.export().await?, before);
    to.ensure_sound().await
}

async fn an_entry_twice_in_one_batch_is_imported_once(lab: &Lab) -> CaseResult {
    let (from, captures) = lab.store().await;
    from.keep_new(captures.an_op().build()).await?;
    let exported = from.export().await?;
    let (to, _) = lab.store().await;
    let twice = [exported.clone(), exported.clone()].concat();
    let answers = to.admin.import_batch(twice).await;
    ensure_matches!(answers.as_slice(), [Ok(Imported::New), Ok(Imported::Present)]);
    ensure_eq!(to.export().await?, exported);
    to.ensure_sound().await
}

async fn an_id_that_merged_here_is_left_alone(lab: &Lab) -> CaseResult {
    let (from, captures) = lab.store().await;
    let id = from.keep_new(captures.an_op().build()).await?;
    let (to, others) = lab.store().await;
    let first = to.keep_new(others.an_op().id(EntryId::from_bytes([1; 16])).dedup_key("d").build());
    let first = first.await?;
    to.keep(others.an_op().id(id).dedup_key("d").build()).await?;
    let before = to.export().await?;
    let answer = only(to.admin.import_batch(from.export().await?).await)??;
    ensure_eq!(answer, Imported::Present);
    ensure_eq!(to.export().await?, before);
    let again = to.keep(others.an_op().id(id).build()).await?;
    ensure_eq!((again.id, again.occurrence), (first, 2));
    Ok(())
}

async fn imported_entries_with_one_dedup_key_stay_apart(lab: &Lab) -> CaseResult {
    let (from, captures) = lab.store().await;
    let older = from.keep_new(captures.an_op().dedup_key("d").build()).await?;
    let (to, others) = lab.store().await;
    to.clock.advance(Duration::from_secs(1));
    let newer = others.an_op().id(EntryId::from_bytes([1; 16])).dedup_key("d").build();
    let newer = to.keep_new(newer).await?;
    ensure_eq!(only(to.admin.import_batch(from.export().await?).await)??, Imported::New);
    let merged = to.keep(others.an_op().dedup_key("d").build()).await?;
    ensure_eq!((merged.id, merged.occurrence), (older, 2));
    ensure_eq!(to.op(newer).await?.state.occurrences, 1);
    to.ensure_sound().await
}

/// Makes an entry one that can't be imported.
type Spoil = fn(&mut ExportedEntry);

const TOO_LARGE: u64 = MAX_IMPORTED_NUMBER + 1;

async fn a_bad_entry_is_refused_alone(lab: &Lab) -> CaseResult {
    let (from, captures) = lab.store().await;
    let id = from.keep_new(captures.an_op().build()).await?;
    from.replay(id, failed()).await?;
    from.keep_new(captures.an_op().build()).await?;
    let [good, other]: [ExportedEntry; 2] =
        from.export().await?.try_into().map_err(|_| Failure::new("two entries were kept"))?;
    let (good, other) = if good.op.id == id { (good, other) } else { (other, good) };
    let spoil: [(&str, Spoil); 11] = [
        ("another namespace", |entry| entry.op.namespace = parsed("elsewhere")),
        ("the first record is missing", |entry| {
            entry.evidence.remove(0);
        }),
        ("the last record is missing", |entry| {
            entry.evidence.pop();
        }),
        ("no evidence at all", |entry| {
            entry.evidence.clear();
            entry.op.state.evidence_count = 0;
        }),
        ("records out of order", |entry| entry.evidence.reverse()),
        ("evidence of another entry", |entry| {
            entry.evidence[1].entry = EntryId::from_bytes([7; 16]);
        }),
        ("replaying without a claim", |entry| entry.op.state.status = Status::Replaying),
        ("a token that is too large", |entry| entry.op.state.claim_token.0 = TOO_LARGE),
        ("too many occurrences", |entry| entry.op.state.occurrences = u64::MAX),
        ("too many retries written off", |entry| {
            entry.op.state.previous_total_retries = TOO_LARGE;
        }),
        ("a NUL in a text", |entry| entry.op.error_code = String::from("\0")),
    ];
    let (to, _) = lab.store().await;
    for (why, spoil) in spoil {
        let mut bad = good.clone();
        spoil(&mut bad);
        let answer = only(to.admin.import_batch(vec![bad]).await)?;
        ensure!(matches!(answer, Err(AdminError::Invalid(_))), "{why}: {answer:?}");
        ensure_eq!(to.find(id).await?, None, "{why}");
    }
    let mut bad = good.clone();
    bad.evidence.clear();
    let answers = to.admin.import_batch(vec![bad, other, good]).await;
    ensure_matches!(
        answers.as_slice(),
        [Err(AdminError::Invalid(_)), Ok(Imported::New), Ok(Imported::New)]
    );
    to.ensure_sound().await
}

/// What is counted goes on from the largest number that may come in.
async fn the_largest_numbers_are_imported_and_counted_on(lab: &Lab) -> CaseResult {
    let (from, captures) = lab.store().await;
    let capture = captures.an_op().dedup_key("d").max_retries(1);
    let id = from.keep_new(capture.clone().build()).await?;
    from.replay(id, failed()).await?;
    let mut exported = from.export().await?;
    for entry in &mut exported {
        let state = &mut entry.op.state;
        state.claim_token.0 = MAX_IMPORTED_NUMBER;
        state.occurrences = MAX_IMPORTED_NUMBER;
        state.previous_total_retries = MAX_IMPORTED_NUMBER;
    }
    let (to, more) = lab.store().await;
    ensure_eq!(only(to.admin.import_batch(exported).await)??, Imported::New);
    let again = more.an_op().id(EntryId::from_bytes([9; 16])).dedup_key("d").build();
    ensure_eq!(to.keep(again).await?.occurrence, MAX_IMPORTED_NUMBER + 1);
    let claimed = to.claim_forced(id).await?;
    ensure_eq!(claimed.state.claim_token.0, MAX_IMPORTED_NUMBER + 1);
    ensure_eq!(claimed.state.previous_total_retries, MAX_IMPORTED_NUMBER + 1);
    to.settle(&claimed, succeeded()).await?;
    to.ensure_sound().await
}

async fn an_imported_claim_runs_out_as_it_would_have(lab: &Lab) -> CaseResult {
    let (from, captures) = lab.store().await;
    let id = from.keep_new(captures.an_op().max_retries(2).build()).await?;
    let claimed = from.claim_one(id).await?;
    from.clock.advance(LEASE / 2);
    let to = imported(lab, &from).await?;
    ensure!(to.lapse(10).await?.lapsed.is_empty(), "it ran out early");
    to.clock.advance(LEASE / 2);
    ensure_eq!(to.lapse(10).await?.lapsed, [(id, Status::Pending)]);
    ensure!(to.try_settle(&claimed, succeeded()).await?.is_err(), "the old claim still settles");
    Ok(())
}

async fn imported_entries_are_claimed_in_their_turn(lab: &Lab) -> CaseResult {
    let (from, captures) = lab.store().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        from.clock.advance(Duration::from_secs(1));
        ids.push(from.keep_new(captures.an_op().order_key("o").build()).await?);
    }
    from.replay(ids[0], failed()).await?;
    let to = imported(lab, &from).await?;
    ensure!(to.due_ids(10).await?.is_empty(), "the first one waits");
    to.clock.advance(BACKOFF);
    ensure_eq!(to.due_ids(10).await?, ids[..1]);
    to.ensure_sound().await
}

async fn captures_merge_into_imported_entries(lab: &Lab) -> CaseResult {
    let (from, captures) = lab.store().await;
    let id = from.keep_new(captures.an_op().dedup_key("d").build()).await?;
    let to = imported(lab, &from).await?;
    let merged = to.keep(captures.an_op().dedup_key("d").build()).await?;
    ensure_eq!((merged.id, merged.occurrence), (id, 2));
    to.trail(id).await.map(|_| ())
}
