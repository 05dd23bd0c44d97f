//! Lists, single entries, counts.

use serde_json::{Value, json};

use crate::server::{Server, op};

/// A server with 25 entries: 20 of payment, 5 of mail.
async fn filled() -> Server {
    let server = Server::start().await;
    let mut lines: Vec<String> = (0..20).map(op).collect();
    lines.extend((20..25).map(|n| {
        format!(
            r#"{{"domain":"mail","failure_type":"BOUNCED","dependency":"SMTP-Relay","origin_service":"shop","entity_type":"order","entity_id":"{n}","user_id":"u 1","order_key":"o{n}","dedup_key":"d{n}","idempotency_key":"i{n}","labels":{{"tenant":"a&b"}}}}"#
        )
    }));
    let answer = server.post_lines(&lines.join("\n")).await;
    assert_eq!(answer.lines().len(), 25, "{answer:?}");
    server
}

async fn count(server: &Server, query: &str) -> usize {
    let answer = server.get(&format!("/api/v1/entries?limit=1000&{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    answer.json()["items"].as_array().expect("items").len()
}

#[tokio::test]
async fn every_filter_of_the_command_is_there() {
    let server = filled().await;
    for (query, wanted) in [
        ("", 25),
        ("status=pending", 25),
        ("status=resolved", 0),
        ("status=resolved&status=pending", 25),
        ("domain=mail", 5),
        ("failure_type=TIMEOUT", 20),
        ("dependency=smtp-relay", 5),
        ("dependency=SMTP-Relay", 5),
        ("origin=shop", 5),
        ("entity=order:21", 1),
        ("user=u+1", 5),
        ("user=u%201", 5),
        ("order_key=o22", 1),
        ("dedup_key=d23", 1),
        ("idempotency_key=i24", 1),
        ("label=tenant%3Da%26b", 5),
        ("since=1h", 25),
        ("until=1h", 0),
        ("since=2020-01-01T00:00:00Z&until=2021-01-01T00:00:00Z", 0),
        ("domain=mail&entity=order:21&order_key=o22", 0),
    ] {
        assert_eq!(count(&server, query).await, wanted, "{query}");
    }
    let first = server.get("/api/v1/entries?domain=mail&limit=1").await.json();
    let fingerprint = first["items"][0]["fingerprint"].as_str().expect("a fingerprint");
    assert_eq!(count(&server, &format!("fingerprint={fingerprint}")).await, 5);
}

#[tokio::test]
async fn pages_contain_each_entry_once_in_either_direction() {
    let server = filled().await;
    let mut walks: Vec<Vec<Value>> = Vec::new();
    for order in ["newest", "oldest"] {
        let mut walked = Vec::new();
        let mut path = format!("/api/v1/entries?order={order}&limit=7");
        loop {
            let page = server.get(&path).await.json();
            let items = page["items"].as_array().expect("items");
            walked.extend(items.iter().map(|item| item["id"].clone()));
            let last = items.last().map(|item| item["cursor"].clone());
            let Some(next) = page["next"].as_str() else { break };
            assert_eq!(last, Some(json!(next)));
            path = format!("/api/v1/entries?order={order}&limit=7&after={next}");
        }
        assert_eq!(walked.len(), 25);
        walks.push(walked);
    }
    walks[1].reverse();
    assert_eq!(walks[0], walks[1]);
}

#[tokio::test]
async fn a_parameter_that_is_wrong_is_refused_not_ignored() {
    let server = filled().await;
    let cursor = server.get("/api/v1/entries?limit=1").await.json()["next"].clone();
    let other_way = format!("order=oldest&after={}", cursor.as_str().expect("more"));
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit=1&limit=2",
        "page=2",
        "status=done",
        "status=",
        "domain=A%20B",
        "order=up",
        "after=secret",
        "entity=order",
        "label=tenant",
        "since=yesterday",
        "since=2026-13-01T00:00:00Z",
        "user=%ff",
        "dependency=%21",
        "domain=a&domain=b",
        other_way.as_str(),
    ] {
        let answer = server.get(&format!("/api/v1/entries?{query}")).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "bad_query"), "{query}");
        assert!(!answer.body.contains("secret"), "{answer:?}");
    }
    let detail = server.get("/api/v1/entries?page=2").await.json()["detail"].to_string();
    assert!(detail.contains("known are status, domain") && detail.contains("limit"), "{detail}");
    let detail = server.get("/api/v1/entries?status=done").await.json()["detail"].to_string();
    assert!(detail.contains("pending, "), "{detail}");
    for path in ["/api/v1/facets?limit=1", "/healthz?a=1", "/readyz?a=1", "/metrics?a=1"] {
        assert_eq!(server.get(path).await.problem(), "bad_query", "{path}");
    }
}

#[tokio::test]
async fn an_entry_is_shown_whole_with_its_evidence() {
    let server = filled().await;
    let path = "/api/v1/entries/01890a5d-ac96-774b-bcce-000000000003";
    let record = server.get(path).await.json();
    assert_eq!(record["entry"]["request_data"], json!({"n": 3}));
    assert_eq!(record["evidence"][0]["actor"], "http");
    let answer = server.get("/api/v1/entries/01890a5d-ac96-774b-bcce-0000000000ff").await;
    assert_eq!((answer.status, answer.problem().as_str()), (404, "not_found"));
    for path in ["/api/v1/entries/secret", "/api/v1/entries/%ff", "/api/v1/entries/..%2f"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "bad_id"), "{path}");
        assert!(!answer.body.contains("secret"), "{answer:?}");
    }
}

#[tokio::test]
async fn facets_count_by_each_dimension() {
    let server = filled().await;
    let counts = server.get("/api/v1/facets?domain=mail").await.json();
    assert_eq!(counts["by_status"], json!({"pending": 5}));
    assert_eq!(counts["by_domain"], json!({"mail": 5, "payment": 20}));
    assert_eq!(counts["by_failure_type"], json!({"BOUNCED": 5}));
    assert_eq!(server.get("/api/v1/facets?status=nope").await.problem(), "bad_query");
}
