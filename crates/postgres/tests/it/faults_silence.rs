//! Connections that die without a word, as behind a firewall that forgot them, while new ones work.

use baldur_contract::proxy::{Direction, Ending, Flow, Pattern, Scope, Trap};
use baldur_core::{BackendKind, port::CaptureStore};
use futures_util::future::join_all;

use crate::{
    faults_lab::{FaultLab, becomes, ends, impatient},
    faults_trial::{Trial, Write},
};

/// `Sync` alone: how the pool asks whether a connection lives, when it hands it out and when it gets it back.
fn ping() -> Pattern {
    Pattern::test(0, |chunk| chunk == b"S\0\0\0\x04")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_that_died_silently_cost_time_and_no_call() {
    let lab = FaultLab::new().await;
    // As many at once as there may be writers, so that there are many connections.
    let many: Vec<_> = (0..8).map(|_| lab.captures.ops(1)).collect();
    for _ in 0..3 {
        join_all(many.iter().map(|captures| lab.store.capture_batch(captures.clone()))).await;
    }
    let idle = lab.proxy.counters().open;
    assert!(idle > 0, "the pool has connections");
    lab.proxy.set(Scope::Existing, Direction::Both, Flow::Blackhole);
    for n in 0..=idle {
        let trial = Trial::prepare(&lab, Write::Capture, &format!("idle_{n}")).await;
        ends("a capture", trial.ask(&lab, &lab.store)).await.expect("new connections work");
        assert!(trial.is_applied(&lab).await);
    }
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_die_on_their_way_back_don_t_block_the_pool() {
    let lab = FaultLab::with(|config| {
        let mut config = impatient(config);
        config.max_connections = 2;
        config
    })
    .await;
    lab.proxy.end(Ending::Close);
    for nth in 1..=2 {
        lab.proxy.arm(Trap::hold_before_send(ping()).nth(nth));
    }
    // Each is answered; its connection then never comes back.
    for n in 0..2 {
        let trial = Trial::prepare(&lab, Write::Capture, &format!("stuck_{n}")).await;
        ends("a capture", trial.ask(&lab, &lab.store)).await.expect("it was answered");
        lab.proxy.wait_for(|seen| seen.faults.held > n).await.expect("held");
    }
    lab.proxy.disarm();
    becomes("the pool has room again", || async {
        let trial = Trial::prepare(&lab, Write::Capture, "after").await;
        match ends("a capture", trial.ask(&lab, &lab.store)).await {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.kind(), BackendKind::Busy, "{error:?}");
                false
            }
        }
    })
    .await;
    lab.close().await;
}
