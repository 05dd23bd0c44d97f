//! Processes that complete what hosts captured: several at once, one that dies, and limits.

use std::{collections::BTreeSet, time::Duration};

use baldur::{
    EntryId, NewFailedOp, WhenFullSettings, Who,
    name::Namespace,
    port::{Intake as _, TakeEnlisted},
    postgres::{PostgresConfig, PostgresStore, sqlx},
};
use secrecy::ExposeSecret as _;
use tokio::time::timeout;

use crate::{PATIENCE, World};

const MANY: i64 = 2_000;

/// Captures so many operations in one transaction.
async fn captured(world: &mut World, count: i64) -> BTreeSet<EntryId> {
    let sql = "SELECT baldur.capture(json_build_object('domain', 'payment', 'failure_type', 'T', \
         'request_data', json_build_object('n', n)), $1)::text FROM generate_series(1, $2) n";
    let ids: Vec<String> = sqlx::query_scalar(sql)
        .bind(&world.namespace)
        .bind(count)
        .fetch_all(&mut world.host)
        .await
        .expect("captured");
    ids.iter().map(|id| id.parse().expect("an id")).collect()
}

/// Waits until the intake is empty.
async fn emptied(world: &mut World) {
    let empty = async { while world.waiting().await > 0 {} };
    timeout(PATIENCE, empty).await.expect("all is taken up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_complete_all_and_nothing_twice() {
    let mut world = World::new().await;
    let other = world.another().await;
    world.baldur.start_recovery().expect("it starts");
    other.start_recovery().expect("it starts");
    let ids = captured(&mut world, MANY).await;
    assert_eq!(i64::try_from(ids.len()), Ok(MANY));
    emptied(&mut world).await;
    let entries = world.entries().await;
    assert_eq!(i64::try_from(entries.len()), Ok(MANY));
    assert_eq!(entries.iter().map(|entry| entry.id).collect::<BTreeSet<_>>(), ids);
    // Nobody kept one that was there.
    let evidence = "SELECT count(*) FROM baldur.evidence WHERE {ns}";
    assert_eq!(world.number(evidence).await, MANY);
    assert_eq!(world.refused().await, Vec::<String>::new());
    let check = world.baldur.admin().check(baldur::port::CheckDepth::Deep).await;
    assert_eq!(check.expect("a check").problems, Vec::<String>::new());
    other.shutdown(PATIENCE).await.expect("in order");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_held_when_it_died_comes_to_another() {
    let mut world = World::new().await;
    let ids = captured(&mut world, 40).await;
    let url = world.url.expose_secret().parse().expect("a URL");
    let namespace = Namespace::parse(&world.namespace).expect("a name");
    let dying = PostgresStore::open(PostgresConfig::new(url, namespace)).await.expect("it opens");
    let hold = Duration::from_secs(1);
    let taken = dying.take(TakeEnlisted { limit: 30, hold }).await.expect("it answers");
    assert_eq!(taken.len(), 30);
    // It came as far as to keep one of them.
    let id = taken[0].id;
    let kept = NewFailedOp { id: Some(id), ..NewFailedOp::new("payment", "T") };
    world.baldur.capture().capture(kept, &Who::system()).await.expect("kept");
    drop(dying);

    world.baldur.start_recovery().expect("it starts");
    emptied(&mut world).await;
    let entries: Vec<EntryId> = world.entries().await.iter().map(|entry| entry.id).collect();
    assert_eq!(entries.len(), 40);
    assert_eq!(entries.into_iter().collect::<BTreeSet<_>>(), ids);
    world.close().await;
}

/// Its transaction is committed: nobody is left who could be told that there is no room.
#[tokio::test]
async fn limits_never_refuse_what_was_committed() {
    for when_full in [WhenFullSettings::Reject, WhenFullSettings::DropOldest] {
        let mut world = World::with(|settings| {
            settings.overflow.in_all = 5;
            settings.overflow.when_full = when_full;
        })
        .await;
        for _ in 0..5 {
            let op = NewFailedOp::new("payment", "T");
            world.baldur.capture().capture(op, &Who::system()).await.expect("kept");
        }
        // What somebody works on is not dropped, so nothing can make room.
        let busy = "UPDATE baldur.states SET status = 'reviewing' WHERE ns = \
             (SELECT ns FROM baldur.namespaces WHERE name = $1)";
        sqlx::query(busy).bind(&world.namespace).execute(&mut world.host).await.expect("changed");
        let ids = captured(&mut world, 20).await;
        world.turns().await;
        assert_eq!((world.waiting().await, world.refused().await.len()), (0, 0), "{when_full:?}");
        let entries: BTreeSet<EntryId> =
            world.entries().await.iter().map(|entry| entry.id).collect();
        match when_full {
            WhenFullSettings::Reject => assert!(entries.is_superset(&ids), "{when_full:?}"),
            // Later ones may drop earlier ones of their own; each was kept, and evicted by the policy.
            WhenFullSettings::DropOldest => {
                let evicted = "SELECT count(*) FROM baldur.gone WHERE {ns}";
                let gone = world.number(evicted).await;
                assert_eq!(gone + i64::try_from(entries.len()).unwrap_or(0), 25);
            }
        }
        world.close().await;
    }
}
