//! Servers and networks that don't answer: every call ends, says what is known, and the next one works.

use std::time::Duration;

use baldur_contract::proxy::{Admission, Direction, Ending, Flow, Latency, Pattern, Scope, Trap};
use baldur_core::{BackendError, BackendKind, Filter, ListQuery, Outcome, port::EntryReader};
use baldur_postgres::PostgresStore;
use futures_util::future::join_all;

use crate::{
    faults_lab::{COMMIT, FaultLab, ends},
    faults_trial::{Answer, Trial, Write},
};

/// A read of each kind.
async fn reads(store: &PostgresStore, trial: &Trial) -> Vec<Answer> {
    let backend = |error| {
        let baldur_core::port::ReadError::Backend(error) = error else {
            panic!("no fault of the store: {error}")
        };
        error
    };
    let (find, list, count) = tokio::join!(
        store.find(trial.ids()),
        store.list(ListQuery::default()),
        store.count(Filter::default(), 1_000),
    );
    vec![
        find.map(drop).map_err(backend),
        list.map(drop).map_err(backend),
        count.map(drop).map_err(backend),
    ]
}

/// A trial of each write.
async fn prepared(lab: &FaultLab, name: &str) -> Vec<Trial> {
    prepared_of(lab, name, &Write::ALL).await
}

async fn prepared_of(lab: &FaultLab, name: &str, writes: &[Write]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for &write in writes {
        trials.push(Trial::prepare(lab, write, &format!("{name}_{write:?}").to_lowercase()).await);
    }
    trials
}

/// Asks for all writes and reads at once, and waits until each of them has ended.
async fn ask_all(lab: &FaultLab, trials: &[Trial]) -> (Vec<Answer>, Vec<Answer>) {
    let writes = join_all(trials.iter().map(|trial| trial.ask(lab, &lab.store)));
    ends("a call", async { tokio::join!(writes, reads(&lab.store, &trials[0])) }).await
}

fn is_honest(error: &BackendError) -> bool {
    matches!(error.kind(), BackendKind::Timeout | BackendKind::Unavailable | BackendKind::Busy)
        && error.retry() == baldur_core::Retry::Backoff
}

/// Everything failed, and what was said not to be applied is not.
async fn failed(lab: &FaultLab, trials: &[Trial], answers: (Vec<Answer>, Vec<Answer>)) {
    let (writes, reads) = answers;
    for (trial, answer) in trials.iter().zip(writes) {
        let error = answer.expect_err("nothing answers");
        assert!(is_honest(&error), "{error:?}");
        assert!(!trial.is_applied(lab).await, "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotApplied, "nothing was committed: {error:?}");
    }
    for answer in reads {
        assert!(is_honest(&answer.expect_err("nothing answers")));
    }
}

/// The network is well again: each call works, the first time that it is asked.
async fn well(lab: &FaultLab, trials: &[Trial]) {
    for trial in trials {
        let applied = trial.is_applied(lab).await;
        ends("recovering", trial.recover(lab, &lab.store, applied)).await;
    }
    for read in ends("a read", reads(&lab.store, &trials[0])).await {
        read.expect("the network is well again");
    }
}

/// Connections that were used before, so that the pool has some at hand.
async fn warm(lab: &FaultLab) {
    let trials = prepared(lab, "warm").await;
    let (writes, reads) = ask_all(lab, &trials).await;
    assert!(writes.iter().chain(&reads).all(Result::is_ok));
}

/// What lies between the last request and the next, whatever the connections did before.
async fn hang(flow: Flow) {
    let lab = FaultLab::new().await;
    warm(&lab).await;
    let trials = prepared(&lab, "hang").await;
    lab.proxy.set(Scope::All, Direction::Both, flow);
    let answers = ask_all(&lab, &trials).await;
    failed(&lab, &trials, answers).await;
    lab.proxy.set(Scope::All, Direction::Both, Flow::Pass);
    well(&lab, &trials).await;
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_ends_every_call_and_is_over_when_it_heals() {
    hang(Flow::Stall).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blackhole_ends_every_call_and_is_over_when_it_is_gone() {
    hang(Flow::Blackhole).await;
}

/// Each write is held at the same point: when its reply comes, or doesn't.
async fn held(at: &str, trap: fn(Pattern) -> Trap, writes: &[Write], may_be_applied: bool) {
    let lab = FaultLab::new().await;
    let trials = prepared_of(&lab, "held", writes).await;
    // Folding of counters commits too, and may spring some.
    let traps = trials.len() as u64 + 16;
    for nth in 1..=traps {
        lab.proxy.arm(trap(Pattern::bytes(at)).nth(nth));
    }
    let asked = trials.iter().map(|trial| trial.ask(&lab, &lab.store));
    let answers = ends("a write", join_all(asked)).await;
    for (trial, answer) in trials.iter().zip(answers) {
        let error = answer.expect_err("nothing answers");
        assert_eq!(error.kind(), BackendKind::Timeout, "{error:?}");
        let applied = trial.is_applied(&lab).await;
        assert_eq!(applied, may_be_applied, "{error:?}");
        let certain = error.outcome() == Outcome::NotApplied;
        assert_eq!(certain, at != COMMIT, "{error:?}");
    }
    let counted = lab.proxy.counters().faults.held;
    assert!(counted >= trials.len() as u64, "each write was held: {counted}");
    lab.proxy.disarm();
    // Held connections are let go of by the store; the server ends their transactions by itself.
    well(&lab, &trials).await;
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_not_answered_is_unknown_and_done_once() {
    held(COMMIT, Trap::hold_reply, &Write::ALL, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_does_not_arrive_is_unknown_and_done_once_it_is_asked_for_again() {
    held(COMMIT, Trap::hold_before_send, &Write::ALL, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_not_answered_is_not_applied_and_its_locks_go() {
    // Heartbeats leave no evidence; everyone else does, under the locks of the entries.
    let writes: Vec<Write> =
        Write::ALL.into_iter().filter(|write| *write != Write::Extend).collect();
    held("INTO baldur.evidence", Trap::hold_reply, &writes, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_accepts_and_says_nothing_ends_every_call() {
    let lab = FaultLab::new().await;
    let trials = prepared(&lab, "half").await;
    lab.proxy.end(Ending::Reset);
    lab.proxy.admit(Admission::HalfOpen).await.expect("admission");
    let answers = ask_all(&lab, &trials).await;
    failed(&lab, &trials, answers).await;
    lab.proxy.admit(Admission::Forward).await.expect("admission");
    lab.proxy.end(Ending::Reset);
    well(&lab, &trials).await;
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_ends_every_call() {
    for admission in [Admission::Refuse, Admission::End(Ending::Reset)] {
        let lab = FaultLab::new().await;
        warm(&lab).await;
        let trials = prepared(&lab, "down").await;
        lab.proxy.admit(admission).await.expect("admission");
        lab.proxy.end(Ending::Reset);
        let answers = ask_all(&lab, &trials).await;
        failed(&lab, &trials, answers).await;
        lab.proxy.admit(Admission::Forward).await.expect("admission");
        well(&lab, &trials).await;
        lab.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_end_between_calls_are_not_noticed_by_callers() {
    let lab = FaultLab::new().await;
    for (ending, name) in [(Ending::Reset, "reset"), (Ending::Close, "close")] {
        warm(&lab).await;
        let trials = prepared(&lab, name).await;
        assert!(lab.proxy.end(ending) > 0, "the pool had connections");
        well(&lab, &trials).await;
    }
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_network_only_takes_longer() {
    let lab = FaultLab::new().await;
    let latency = Latency::between(Duration::from_millis(1), Duration::from_millis(20), 5);
    lab.proxy.set(Scope::All, Direction::Both, Flow::Delay(latency));
    let trials = prepared(&lab, "slow").await;
    let (writes, reads) = ask_all(&lab, &trials).await;
    for answer in writes.into_iter().chain(reads) {
        answer.expect("it is only slow");
    }
    for trial in &trials {
        assert!(trial.is_applied(&lab).await);
    }
    lab.close().await;
}
