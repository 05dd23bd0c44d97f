//! How transactions begin, end, and are told about.

use baldur_core::port::Disposition;
use futures_util::future::join_all;
use secrecy::SecretString;

use crate::{
    claiming::{number, run, until},
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
