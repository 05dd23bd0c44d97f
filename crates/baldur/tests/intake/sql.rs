//! `SELECT baldur.capture(…)`: what SQL described is redacted, kept, and gone from the intake.

use baldur::{EntryId, postgres::sqlx, replay::ReplayRequest};

use crate::World;

/// Whether any row of any table of the schema has this text, in any namespace.
async fn found_in(world: &mut World, text: &str) -> Vec<String> {
    let tables = "SELECT c.relname::text FROM pg_class c \
         WHERE c.relnamespace = 'baldur'::regnamespace AND c.relkind = 'r' ORDER BY 1";
    let tables: Vec<String> =
        sqlx::query_scalar(tables).fetch_all(&mut world.host).await.expect("names");
    assert!(tables.len() > 15, "{tables:?}");
    let mut found = Vec::new();
    for table in tables {
        let sql = format!("SELECT count(*) FROM baldur.{table} t WHERE t::text LIKE '%{text}%'");
        if world.number(&sql).await > 0 {
            found.push(table);
        }
    }
    found
}

#[tokio::test]
async fn secrets_that_sql_wrote_are_nowhere_once_it_is_an_entry() {
    let mut world = World::new().await;
    // One that no other test on this server has.
    let secret = world.namespace.replace("intake-", "hunter");
    let op = format!(
        r#"{{"domain":"payment","failure_type":"TIMEOUT","request_data":{{"password":"{secret}","n":1}},
            "error_message":"Authorization: Bearer {secret}","metadata":{{"api_key":"{secret}"}}}}"#
    );
    let id = world.capture(&op).await;
    assert_eq!(found_in(&mut world, &secret).await, ["intake"]);
    assert!(world.entries().await.is_empty(), "in no list");
    assert!(world.baldur.entries().get(id).await.expect("it answers").is_none());
    assert_eq!(world.replay(ReplayRequest::due()).await.claimed, 0, "nobody replays it");

    world.turns().await;
    assert_eq!(found_in(&mut world, &secret).await, Vec::<String>::new());
    assert_eq!(world.waiting().await, 0);
    let entry = world.entry(id).await;
    assert!(entry.request_data.as_str().contains("\"n\":1"));
    let trail = world.baldur.entries().trail(id).await.expect("a trail");
    assert_eq!((trail.len(), trail[0].evidence.actor.as_str()), (1, "sql"));
    assert_eq!(world.replay(ReplayRequest::due()).await.succeeded, 1);
    world.close().await;
}

#[tokio::test]
async fn what_can_never_be_an_entry_is_put_aside_with_a_reason_that_repeats_no_value() {
    let mut world = World::new().await;
    let with = |more: &str| format!(r#"{{"domain":"payment","failure_type":"T",{more}}}"#);
    let bad = [
        (with(r#""requst_data":"hunter2""#), "there is no field `requst_data`"),
        (with(r#""max_retries":"hunter2""#), "wrong type"),
        (with(r#""expires_in":"hunter2""#), "`expires_in` must be a duration"),
        (with(r#""domain":"hunter2""#), "the field `domain` is there twice"),
        (with(r#""labels":{"a":["hunter2"]}"#), "wrong type"),
    ];
    for (operation, _) in &bad {
        world.capture(operation).await;
    }
    let good = world.capture(&with(r#""request_data":{}"#)).await;
    world.turns().await;
    let reasons = world.refused().await;
    assert_eq!(reasons.len(), bad.len(), "{reasons:?}");
    for (reason, (_, words)) in reasons.iter().zip(&bad) {
        assert!(reason.contains(words) && !reason.contains("hunter2"), "{reason}");
    }
    assert_eq!(world.waiting().await, 0);
    assert_eq!(world.entries().await.len(), 1, "the others are not in its way");
    world.entry(good).await;

    let report = world.baldur.admin().check(baldur::port::CheckDepth::Quick).await;
    let problems = report.expect("a check").problems;
    let told = "5 operations of the intake can't become entries";
    assert!(problems.len() == 1 && problems[0].starts_with(told), "{problems:?}");
    // Once somebody has mended one, it is taken up.
    let mend = "UPDATE baldur.intake SET body = replace(body, 'requst', 'request'), refused = NULL \
         WHERE body LIKE '%requst%' AND ns = (SELECT ns FROM baldur.namespaces WHERE name = $1)";
    let mended = sqlx::query(mend).bind(&world.namespace).execute(&mut world.host).await;
    assert_eq!(mended.expect("changed").rows_affected(), 1);
    // As whoever had it would wait for, unless the hold is lifted too.
    let free = "UPDATE baldur.intake SET held_until = 0 \
         WHERE refused IS NULL AND ns = (SELECT ns FROM baldur.namespaces WHERE name = $1)";
    sqlx::query(free).bind(&world.namespace).execute(&mut world.host).await.expect("changed");
    world.turns().await;
    assert_eq!((world.waiting().await, world.entries().await.len()), (0, 2));
    world.close().await;
}

/// A transaction that is committed must not lose what it captured because a part of it is too long or too deep.
#[tokio::test]
async fn what_is_too_large_or_too_deep_is_kept_in_part() {
    let mut world = World::new().await;
    let with =
        |data: &str| format!(r#"{{"domain":"payment","failure_type":"T","request_data":{data}}}"#);
    let large = world.capture(&with(&format!("\"{}\"", "x".repeat(2 << 20)))).await;
    let nested = format!("{}{}", "[".repeat(1_500), "]".repeat(1_500));
    let deep = world.capture(&with(&nested)).await;
    world.turns().await;
    assert_eq!(world.refused().await, Vec::<String>::new());
    assert!(world.entry(large).await.state.not_replayable.is_some());
    let deep = world.entry(deep).await;
    let whole = deep.request_data.as_str() == nested;
    assert!(whole || deep.state.not_replayable.is_some());
    world.close().await;
}

#[tokio::test]
async fn one_id_is_one_entry_however_often_it_is_captured() {
    let mut world = World::new().await;
    let id = world.number("SELECT (random() * 1e12)::bigint").await;
    let id: EntryId = format!("01890a5d-ac96-774b-bcce-{id:012x}").parse().expect("an id");
    let op = format!(r#"{{"id":"{id}","domain":"payment","failure_type":"T"}}"#);
    for _ in 0..3 {
        assert_eq!(world.capture(&op).await, id);
    }
    world.turns().await;
    // Again, after it became an entry.
    world.capture(&op.replace('T', "U")).await;
    world.turns().await;
    let entries = world.entries().await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].id, id);
    assert_eq!(world.waiting().await, 0);
    world.close().await;
}

#[tokio::test]
async fn operations_of_one_order_key_come_in_the_order_of_their_capture() {
    let mut world = World::new().await;
    // One statement, so that the server's clock has no time to go on in between.
    let sql = "SELECT baldur.capture(json_build_object('domain', 'payment', 'failure_type', 'T', \
         'order_key', 'cart-' || (n % 3), 'labels', json_build_object('n', n::text)), $1)::text \
         FROM generate_series(1, 60) n";
    let ids: Vec<String> = sqlx::query_scalar(sql)
        .bind(&world.namespace)
        .fetch_all(&mut world.host)
        .await
        .expect("captured");
    let ids: Vec<EntryId> = ids.iter().map(|id| id.parse().expect("an id")).collect();
    // As a clock would that stood still.
    let still = "UPDATE baldur.intake SET at = (SELECT min(at) FROM baldur.intake i WHERE i.ns = intake.ns) \
         WHERE ns = (SELECT ns FROM baldur.namespaces WHERE name = $1)";
    sqlx::query(still).bind(&world.namespace).execute(&mut world.host).await.expect("changed");
    world.turns().await;
    let listed: Vec<EntryId> = world.entries().await.iter().map(|entry| entry.id).collect();
    assert_eq!(listed, ids);
    assert_eq!(world.replay(ReplayRequest::due()).await.succeeded, 60);
    let replayed = world.replayed.0.lock().expect("unbroken").clone();
    for key in 0..3 {
        let of = |all: &[EntryId]| -> Vec<EntryId> {
            let ours = |id: &&EntryId| ids.iter().position(|it| it == *id).unwrap_or(0) % 3 == key;
            all.iter().filter(ours).copied().collect()
        };
        assert_eq!(of(&replayed), of(&ids), "order key {key}");
    }
    world.close().await;
}
