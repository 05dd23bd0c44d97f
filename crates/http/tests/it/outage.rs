//! A store that fails, or says nothing: never a good answer, never a zero.

use std::time::Duration;

use baldur_http::Limits;

use crate::{
    failing::Failing,
    server::{Server, Setup, memory, op},
};

const READS: [&str; 3] =
    ["/api/v1/entries", "/api/v1/entries/01890a5d-ac96-774b-bcce-000000000001", "/api/v1/facets"];

#[tokio::test]
async fn an_outage_is_told_by_every_route() {
    let store = Failing::new(memory());
    let server = Server::with(store.clone(), Setup::default()).await;
    assert_eq!(server.get("/readyz").await.status, 200);
    store.down();
    for path in READS {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (503, "unavailable"), "{path}");
        assert!(answer.has("retry-after: "), "{answer:?}");
        assert!(!answer.body.contains("secret"), "{answer:?}");
    }
    let one = server.post_json(&op(1)).await;
    assert_eq!((one.status, one.problem().as_str()), (503, "unavailable"));
    assert_eq!(one.json()["outcome"], "not_applied");
    assert_eq!(one.json()["id"], "01890a5d-ac96-774b-bcce-000000000001");
    let many = server.post_lines(&[op(1), op(2)].join("\n")).await;
    assert_eq!((many.status, many.problem().as_str()), (503, "unavailable"));
    assert!(!one.body.contains("secret") && !many.body.contains("secret"));
    // The process lives all the same.
    assert_eq!(server.get("/healthz").await.status, 200);
    let metrics = server.get("/metrics").await;
    assert!(metrics.body.contains("\nbaldur_store_up 0\n"), "{metrics:?}");
    assert!(!metrics.body.contains("baldur_store_entries{"), "{metrics:?}");
}

#[tokio::test]
async fn readiness_says_which_part_is_not() {
    let store = Failing::new(memory());
    store.down();
    let server = Server::with(store, Setup::default()).await;
    let answer = server.get("/readyz").await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "not_ready"));
    assert_eq!(answer.json()["parts"]["store"], "unavailable");
    assert_eq!(answer.json()["parts"]["server"], "ok");
    server.state.drain();
    assert_eq!(server.get("/readyz").await.json()["parts"]["server"], "shutting_down");
}

#[tokio::test]
async fn a_store_that_says_nothing_is_not_waited_for() {
    let store = Failing::new(memory());
    store.silent();
    let soon = Duration::from_millis(50);
    let limits = Limits { request_timeout: soon, probe_timeout: soon, ..Limits::default() };
    let server = Server::with(store, Setup { limits, ..Setup::default() }).await;
    for path in READS {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (503, "timeout"), "{path}");
    }
    let one = server.post_json(&op(1)).await;
    assert_eq!((one.status, one.problem().as_str()), (503, "timeout"));
    // It may have been kept: the id makes it safe to send it again.
    assert_eq!(one.json()["outcome"], "unknown");
    assert_eq!(one.json()["id"], "01890a5d-ac96-774b-bcce-000000000001");
    assert_eq!(server.post_lines(&op(1)).await.problem(), "timeout");
    assert_eq!(server.get("/readyz").await.json()["parts"]["store"], "timeout");
    assert!(server.get("/metrics").await.body.contains("\nbaldur_store_up 0\n"));
}
