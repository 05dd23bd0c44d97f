//! `capture_in`: by the program, in a transaction of the host's own.

use baldur::{
    Baldur, CaptureFailure, NewFailedOp, Settings, Who,
    name::Actor,
    port::{CaptureError, Durability},
    postgres::sqlx::Connection as _,
    replay::ReplayRequest,
};

use crate::{PATIENCE, World};

fn op() -> NewFailedOp {
    NewFailedOp::new("payment", "TIMEOUT").request_data(r#"{"n":1,"password":"hunter2"}"#)
}

fn who() -> Who {
    Who::new(Actor::parse("checkout").expect("a name"))
}

#[tokio::test]
async fn what_was_captured_in_a_transaction_becomes_an_entry_after_the_commit() {
    let mut world = World::new().await;
    let mut host = world.host().await;
    let mut transaction = host.begin().await.expect("it begins");
    let kept = world.baldur.capture_in(&mut transaction, op(), &who()).await.expect("enlisted");
    assert_eq!(kept.durability, Durability::Enlisted);
    world.turns().await;
    assert!(world.entries().await.is_empty(), "the transaction is open");
    transaction.commit().await.expect("it commits");
    let body = "SELECT count(*) FROM baldur.intake WHERE {ns} AND body LIKE '%hunter2%'";
    assert_eq!((world.waiting().await, world.number(body).await), (1, 0), "redacted before");
    assert!(world.entries().await.is_empty(), "nobody took it up");
    assert_eq!(world.replay(ReplayRequest::due()).await.claimed, 0);

    world.turns().await;
    assert_eq!(world.waiting().await, 0);
    let entry = world.entry(kept.id).await;
    assert_eq!(entry.domain.as_str(), "payment");
    assert!(!entry.request_data.as_str().contains("hunter2"));
    let trail = world.baldur.entries().trail(kept.id).await.expect("a trail");
    assert_eq!((trail.len(), trail[0].evidence.actor.as_str()), (1, "checkout"));
    assert_eq!(world.replay(ReplayRequest::due()).await.succeeded, 1);
    world.close().await;
}

#[tokio::test]
async fn what_was_rolled_back_never_was() {
    let mut world = World::new().await;
    let mut transaction = world.host.begin().await.expect("it begins");
    world.baldur.capture_in(&mut transaction, op(), &who()).await.expect("enlisted");
    transaction.rollback().await.expect("it rolls back");
    world.turns().await;
    assert_eq!((world.waiting().await, world.entries().await.len()), (0, 0));
    world.close().await;
}

#[tokio::test]
async fn what_is_not_acceptable_is_refused_and_the_transaction_goes_on() {
    let mut world = World::new().await;
    let mut transaction = world.host.begin().await.expect("it begins");
    let bad = op().request_data("{");
    let refused = world.baldur.capture_in(&mut transaction, bad, &who()).await;
    assert!(matches!(refused, Err(CaptureFailure::Refused(_))), "{refused:?}");
    world.baldur.capture_in(&mut transaction, op(), &who()).await.expect("enlisted");
    transaction.commit().await.expect("it commits");
    assert_eq!(world.waiting().await, 1);
    world.close().await;
}

#[tokio::test]
async fn another_kind_of_store_refuses_it() {
    let mut world = World::new().await;
    let memory = Baldur::open(Settings::at("memory:")).await.expect("it opens");
    assert!(memory.intake().is_none());
    let mut transaction = world.host.begin().await.expect("it begins");
    let refused = memory.capture_in(&mut transaction, op(), &who()).await;
    assert!(matches!(refused, Err(CaptureFailure::Store(CaptureError::Backend(_)))), "{refused:?}");
    transaction.commit().await.expect("nothing was done in it");
    memory.shutdown(PATIENCE).await.expect("in order");
    world.close().await;
}
