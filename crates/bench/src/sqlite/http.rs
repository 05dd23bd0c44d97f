//! Capture over HTTP.

use std::{sync::Arc, time::Duration};

use baldur_app::{CapturePolicy, CaptureService, EntryService, Env};
use baldur_core::{
    Clock as _, SystemClock,
    name::{Namespace, WorkerName},
    policy::redact::RedactionRules,
};
use baldur_http::{ApiKeys, ApiState, Hosts, Limits, Parts, ServerConfig, serve};
use baldur_sqlite::SqliteStore;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use super::{BATCH, Pair, STORE, open, writes::lines};
use crate::{
    args::Plan,
    figures::{Figure, Rounds, per_second},
    load::Load,
    ours::Failure,
};

/// The name of the figure.
pub(super) const NAME: &str = "NDJSON over HTTP";

/// One stream of lines against the store's own batch rate: parsing, redaction and answers included, with the client on
/// the same processors.
pub(super) async fn ndjson(plan: &Plan) -> Result<Figure, Failure> {
    let mut rounds = Rounds::rate(STORE, NAME, "the store's own batches").target(0.5);
    let count = plan.batch_ops;
    for _ in 0..plan.rounds {
        let mut load = Load::new();
        let pair = Pair::fresh().await?;
        let limit = pair.ports().capture(load.take(count), BATCH).await?;
        let folder = pair.close().await?;
        let store = open(&folder.path().join("http.db")).await?;
        let ours = over_http(&store, lines(&mut load, count), count).await?;
        store.close().await;
        rounds.add(per_second(count, ours), per_second(count, limit));
    }
    Ok(rounds.done())
}

async fn over_http(store: &SqliteStore, lines: String, count: usize) -> Result<Duration, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let state = state(store, Hosts::loopback(address.ip(), []))?;
    let server = tokio::spawn(serve(listener, state, ServerConfig::default(), shutdown));
    let start = SystemClock.mono();
    let (mut reader, mut writer) = TcpStream::connect(address).await?.into_split();
    let sender = tokio::spawn(async move {
        let head = format!(
            "POST /api/v1/entries HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            lines.len()
        );
        writer.write_all(head.as_bytes()).await?;
        writer.write_all(lines.as_bytes()).await?;
        Ok::<_, std::io::Error>(writer)
    });
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).await?;
    drop(sender.await??);
    let took = SystemClock.mono().saturating_sub(start);
    let _ = stop.send(());
    server.await?;
    let stored = String::from_utf8(answer)?
        .lines()
        .filter(|line| line.contains(r#""durability":"stored""#))
        .count();
    if stored == count {
        Ok(took)
    } else {
        Err(format!("the server stored {stored} of {count} lines").into())
    }
}

fn state(store: &SqliteStore, hosts: Hosts) -> Result<ApiState, Failure> {
    let env = Env::system(Namespace::default_namespace(), WorkerName::parse("bench")?);
    let capture =
        CaptureService::new(Arc::new(store.clone()), env.clone(), CapturePolicy::default());
    let entries = EntryService::new(
        Arc::new(store.clone()),
        Arc::new(store.clone()),
        Arc::new(store.clone()),
        env.clone(),
        RedactionRules::default(),
    );
    Ok(ApiState::new(Parts {
        capture,
        entries,
        env,
        keys: ApiKeys::default(),
        hosts,
        limits: Limits::default(),
        metrics: None,
    }))
}
