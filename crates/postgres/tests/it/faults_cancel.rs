//! Callers that go away at any point: no connection comes back to the pool inside a transaction, and calls go on.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use baldur_contract::{
    SeededIdGen,
    proxy::{Direction, Flow, Latency, Scope},
};
use baldur_core::{Filter, IdGen as _, ListQuery, port::EntryReader};
use baldur_services::PostgresServer;
use futures_util::future::join_all;
use tokio::{task::block_in_place, time::timeout};

use crate::{
    faults_lab::{FaultLab, becomes, ends, impatient},
    faults_trial::{Trial, Write},
    support::own_server,
};

/// How often callers go away, and how many at a time.
const ROUNDS: u64 = 40;
const CALLERS: u64 = 5;

/// Polls a future so often at most, and then drops it. Whether it came to its end.
async fn polled(future: impl Future<Output = ()>, most: u64) -> bool {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|context| {
        polls += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if polls >= most => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// One call of a random kind. How it ends is nobody's business.
async fn call(lab: &FaultLab, trials: &[Trial], draw: u64) {
    let reads = 3;
    let kinds = trials.len() as u64 + reads;
    match usize::try_from(draw % kinds).ok().and_then(|n| trials.get(n)) {
        Some(trial) => drop(trial.ask(lab, &lab.store).await),
        None if draw.is_multiple_of(2) => drop(lab.store.list(ListQuery::default()).await),
        None if draw.is_multiple_of(3) => drop(lab.store.find(trials[0].ids()).await),
        None => drop(lab.store.count(Filter::default(), 1_000).await),
    }
}

async fn two_connections() -> (PostgresServer, FaultLab) {
    let server = own_server().await;
    let lab = FaultLab::on(server.url().clone(), |config| {
        let mut config = impatient(config);
        config.max_connections = 2;
        config
    })
    .await;
    (server, lab)
}

/// The trials that can be asked for again and again. Claims that nobody answers for hold none of their entries.
async fn repeatable(lab: &FaultLab, name: &str) -> Vec<Trial> {
    let mut trials = Vec::new();
    for write in [Write::Capture, Write::ClaimDue, Write::Extend, Write::Settle, Write::Lapse] {
        let name = format!("{name}_{write:?}").to_lowercase();
        trials.push(Trial::prepare(lab, write, &name).await);
    }
    trials
}

/// Nobody is inside a transaction, nothing warned of one, and everything works.
async fn is_well(lab: &FaultLab, server: &PostgresServer) {
    let mut raw = lab.raw().await;
    let mut open = Vec::new();
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..200 {
        open = sqlx::query_scalar::<_, String>(
            "SELECT state || ': ' || query FROM pg_stat_activity \
             WHERE application_name = $1 AND state <> 'idle'",
        )
        .bind(&lab.application)
        .fetch_all(&mut raw)
        .await
        .expect("the server answers");
        if open.is_empty() {
            break;
        }
        looks.tick().await;
    }
    assert_eq!(open, Vec::<String>::new(), "left open");
    for write in Write::ALL {
        let trial = Trial::prepare(lab, write, &format!("after_{write:?}").to_lowercase()).await;
        ends("a write", trial.ask(lab, &lab.store)).await.expect("all is well");
        assert!(trial.is_applied(lab).await);
    }
    ends("a read", lab.store.list(ListQuery::default())).await.expect("all is well");
    let log = server.log().expect("a log");
    for sign in ["already a transaction in progress", "no transaction in progress"] {
        assert!(!log.contains(sign), "a connection was handed out in the middle of a transaction");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_at_any_poll_leave_no_transaction_behind() {
    let (server, lab) = two_connections().await;
    // So that they go away in the middle of statements, and not only between them.
    let latency = Latency::between(Duration::ZERO, Duration::from_millis(2), 3);
    lab.proxy.set(Scope::All, Direction::Both, Flow::Delay(latency));
    let trials = repeatable(&lab, "polls").await;
    let random = SeededIdGen::new(11);
    let draw = |below: u64| u64::from_be_bytes(random.entropy()) % below;
    let mut gone = 0_u64;
    for _ in 0..ROUNDS {
        let callers = (0..CALLERS).map(|_| {
            let (kind, most) = (draw(u64::MAX), 1 + draw(12));
            polled(call(&lab, &trials, kind), most)
        });
        let ended = ends("callers", join_all(callers)).await;
        gone += ended.iter().map(|ended| u64::from(!ended)).sum::<u64>();
    }
    assert!(gone > ROUNDS, "{gone} went away");
    lab.proxy.set(Scope::All, Direction::Both, Flow::Pass);
    is_well(&lab, &server).await;
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_from_a_stopped_server_leave_no_transaction_behind() {
    let (mut server, lab) = two_connections().await;
    let trials = repeatable(&lab, "stopped").await;
    let random = SeededIdGen::new(12);
    let draw = |below: u64| u64::from_be_bytes(random.entropy()) % below;
    for round in 0..6 {
        // The calls begin while it runs, and meet it stopped wherever they then are.
        let callers = async {
            let callers = (0..20).map(|_| {
                let (kind, patience) = (draw(u64::MAX), Duration::from_millis(draw(200)));
                timeout(patience, call(&lab, &trials, kind))
            });
            join_all(callers).await
        };
        let stops = async {
            for _ in 0..draw(20) {
                tokio::task::yield_now().await;
            }
            block_in_place(|| server.pause()).expect("it stops");
        };
        let (ended, ()) = ends("callers", async { tokio::join!(callers, stops) }).await;
        assert!(ended.iter().any(Result::is_err), "round {round}: nobody went away");
        block_in_place(|| server.resume()).expect("it goes on");
    }
    becomes("the store works", || async { lab.store.list(ListQuery::default()).await.is_ok() })
        .await;
    is_well(&lab, &server).await;
    lab.close().await;
}
