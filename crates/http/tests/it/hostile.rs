//! Anything at all as input: always an answer, never a panic.

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use tokio::runtime::Runtime;

use crate::server::{Answer, Server};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn check(answer: &Answer) {
    assert!(answer.status >= 200 && answer.status != 500, "{answer:?}");
    if answer.status >= 400 {
        answer.problem();
    }
}

/// Bytes, some of them almost JSON.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let json = r#"[{}\[\]":,a-z0-9 \\u\n-]{0,60}"#.prop_map(String::into_bytes);
    let op =
        r#"\{"domain":"[a-z\\"]{0,4}","failure_type":"x"(,"[a-z_]{1,12}":[a-z0-9"{}\[\]]{0,8})?\}"#
            .prop_map(String::into_bytes);
    prop_oneof![vec(any::<u8>(), 0..200), json, op]
}

#[test]
fn any_body_is_answered() {
    let runtime = runtime();
    let server = runtime.block_on(Server::start());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(300));
    let kinds = prop_oneof![Just("application/json"), Just("application/x-ndjson")];
    let result = runner.run(&(bodies(), kinds), |(body, kind)| {
        let kind = format!("content-type: {kind}");
        check(&runtime.block_on(server.send("POST", "/api/v1/entries", &[&kind], &body)));
        Ok(())
    });
    result.expect("always an answer");
}

#[test]
fn any_query_is_answered() {
    let runtime = runtime();
    let server = runtime.block_on(Server::start());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(300));
    let names = "(status|domain|limit|after|entity|label|since|order|[a-z%]{0,5})";
    let query = vec((names, "[!$-;=?-~]{0,24}"), 0..4);
    let paths =
        prop_oneof![Just("/api/v1/entries"), Just("/api/v1/facets"), Just("/api/v1/entries/x")];
    let result = runner.run(&(paths, query), |(path, pairs)| {
        let query: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        check(&runtime.block_on(server.get(&format!("{path}?{}", query.join("&")))));
        Ok(())
    });
    result.expect("always an answer");
}

#[test]
fn any_bytes_leave_the_server_alive() {
    let runtime = runtime();
    let server = runtime.block_on(Server::start());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(150));
    let heads = "(GET|POST|X) [!-~]{0,20} HTTP/1.[019]\r\n([a-z-]{0,8}: [ -~]{0,12}\r\n){0,3}\r\n";
    let bytes = prop_oneof![
        vec(any::<u8>(), 1..200).prop_map(|mut bytes| {
            bytes.extend(b"\r\n\r\n");
            bytes
        }),
        heads.prop_map(String::into_bytes),
    ];
    let result = runner.run(&bytes, |bytes| {
        runtime.block_on(async {
            use tokio::io::AsyncWriteExt as _;
            let mut stream = server.connect().await;
            let _ = stream.write_all(&bytes).await;
            drop(stream);
            assert_eq!(server.get("/healthz").await.status, 200);
        });
        Ok(())
    });
    result.expect("always alive");
}
