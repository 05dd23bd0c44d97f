//! How transactions begin, end, and are told about.

use std::{sync::Arc, time::Duration};

use baldur_core::{
    BackendKind, Outcome,
    command::{Action, Extend},
    port::{CaptureError, ClaimError, ClaimStore, Disposition},
};
use futures_util::future::join_all;
use secrecy::SecretString;

use crate::{
    claiming::{claim, claim_ref, find, lock, number, run, until, until_blocked_by},
    database::Database,
    lab::{Lab, keep},
};

/// Whoever waited for a lock has to see what the one before did, whatever a database has as its default.
#[tokio::test(flavor = "multi_thread")]
async fn a_stricter_default_of_the_database_does_not_matter() {
    for level in ["repeatable read", "serializable"] {
        let database = Database::fresh().await;
        run(
            &mut database.connect().await,
            &format!(
                "ALTER DATABASE {} SET default_transaction_isolation = '{level}'",
                database.name
            ),
        )
        .await;
        let lab = Lab::on(SecretString::from(database.url()), |config| config).await;
        let other = lab.another().await;
        // A combination that is new would be in the way of the second one.
        for store in [&lab.store, &other] {
            keep(store, lab.captures.an_op().build()).await.expect("a capture");
        }
        let ns = lab.ns().await;
        let mut holder = lab.raw().await;
        let held = format!(
            "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('baldur.dedup.one', {ns}))"
        );
        run(&mut holder, &held).await;
        let asked = [lab.store.clone(), other.clone()].map(|store| {
            let capture = lab.captures.an_op().dedup_key("one").build();
            tokio::spawn(async move { keep(&store, capture).await })
        });
        let pid = number(&mut holder, "SELECT pg_backend_pid()::bigint").await;
        let waiting = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE {pid} = ANY(pg_blocking_pids(pid))"
        );
        until("two captures that wait", || async {
            number(&mut lab.raw().await, &waiting).await == 2
        })
        .await;
        run(&mut holder, "COMMIT").await;
        let kept = join_all(asked).await.into_iter();
        let mut kept: Vec<Disposition> =
            kept.map(|kept| kept.expect("no panic").expect("a capture").disposition).collect();
        kept.sort_by_key(|disposition| *disposition == Disposition::New);
        assert_eq!(kept, [Disposition::Merged, Disposition::New], "{level}");
        other.close().await;
        lab.store.close().await;
        database.remove().await;
    }
}

/// A constraint that is looked at late makes the commit itself fail. Nothing was applied then either.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_at_the_commit_is_done_again() {
    let database = Database::fresh().await;
    let lab = Lab::on(SecretString::from(database.url()), |config| config).await;
    run(
        &mut database.connect().await,
        "CREATE SEQUENCE turns; \
         CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('turns') = 1 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '40001'; END IF; \
         RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON baldur.entries DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION late()",
    )
    .await;
    let kept = lab.keep(lab.captures.an_op().build()).await.expect("it is done again");
    assert_eq!(kept.disposition, Disposition::New);
    let stats = lab.store.stats();
    assert_eq!((stats.commits, stats.conflicts, stats.failed), (1, 1, 0), "{stats:?}");
    lab.store.close().await;
    database.remove().await;
}

/// A session that began while the server took no writes goes on to take none.
#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_when_the_server_takes_them_again() {
    let database = Database::fresh().await;
    let lab = Lab::on(SecretString::from(database.url()), |config| config).await;
    let mut conn = database.connect().await;
    let set = format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name);
    run(&mut conn, &set).await;
    let refused = lab.keep(lab.captures.an_op().build()).await;
    let Err(CaptureError::Backend(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.kind(), BackendKind::ReadOnly, "{error:?}");
    let reset = format!("ALTER DATABASE {} RESET default_transaction_read_only", database.name);
    run(&mut conn, &reset).await;
    lab.keep(lab.captures.an_op().build()).await.expect("the server takes writes");
    lab.store.close().await;
    database.remove().await;
}

/// The time that a write waits for its turn is part of the time that it has. Here a lock takes three seconds to give up, and
/// all have four: who comes second does not wait for the lock until it gives up.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_turn_counts() {
    let kind = |answer: Result<(), ClaimError>| {
        let Err(ClaimError::Backend(error)) = answer else { panic!("{answer:?}") };
        (error.kind(), error.outcome())
    };
    for queued in [false, true] {
        let lab = Lab::with(|mut config| {
            // One writer.
            config.max_connections = 2;
            config.lock_timeout = Duration::from_secs(3);
            config.answer_timeout = Duration::from_secs(4);
            config
        });
        let lab = Arc::new(lab.await);
        let id = lab.entries(1).await[0];
        let mut other = lab.raw().await;
        run(&mut other, "BEGIN").await;
        lock(&lab, &mut other, id).await;
        let first = tokio::spawn({
            let lab = Arc::clone(&lab);
            async move { lab.store.claim_batch(lab.by_id(&[id])).await.map(|_| ()) }
        });
        until_blocked_by(&lab, &mut other).await;
        let second = if queued {
            lab.store.apply(vec![lab.act(id, Action::Review)]).await.remove(0).map(|_| ())
        } else {
            lab.store.claim_batch(lab.by_id(&[id])).await.map(|_| ())
        };
        let first = kind(first.await.expect("no panic"));
        assert_eq!(first, (BackendKind::Busy, Outcome::NotApplied));
        assert_eq!(kind(second), (BackendKind::Timeout, Outcome::NotApplied), "queued: {queued}");
        run(&mut other, "ROLLBACK").await;
    }
}

/// Heartbeats go together. One entry that somebody has locked does not make the others' claims run out.
#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_for_a_locked_entry_fails_alone() {
    let lab = Lab::with(|mut config| {
        config.lock_timeout = Duration::from_millis(300);
        config
    })
    .await;
    let ids = lab.entries(3).await;
    let claimed = claim(&lab.store, lab.by_id(&ids)).await;
    let before = claimed[0].state.hold.as_ref().expect("it is held").expires_at;
    let mut other = lab.raw().await;
    run(&mut other, "BEGIN").await;
    lock(&lab, &mut other, ids[1]).await;
    let claims = claimed.iter().map(claim_ref).collect();
    let answers = lab.store.extend(Extend { claims, lease: Duration::from_mins(5) }).await;
    for (n, answer) in answers.into_iter().enumerate() {
        if n == 1 {
            let Err(ClaimError::Backend(error)) = answer else { panic!("{answer:?}") };
            assert_eq!((error.kind(), error.outcome()), (BackendKind::Busy, Outcome::NotApplied));
        } else {
            answer.expect("nobody is in its way");
            let hold = find(&lab.store, ids[n]).await.state.hold.expect("it is held");
            assert!(hold.expires_at > before);
        }
    }
    run(&mut other, "ROLLBACK").await;
}
