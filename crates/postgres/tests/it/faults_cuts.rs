//! Connections that are cut at each point of each write, before and after what was sent.

use baldur_contract::proxy::{FaultProxy, Pattern, Trap};
use baldur_core::{BackendKind, Outcome, Retry};

use crate::{
    faults_lab::{FaultLab, ends},
    faults_trial::{Trial, Write},
};

/// More requests than a write makes, connecting included.
const MOST: u64 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    BeforeSend,
    AfterSend,
}

impl Cut {
    fn trap(self, request: Pattern) -> Trap {
        match self {
            Self::BeforeSend => Trap::cut_before_send(request),
            Self::AfterSend => Trap::cut_after_send(request),
        }
    }

    fn count(self, proxy: &FaultProxy) -> u64 {
        let faults = proxy.counters().faults;
        match self {
            Self::BeforeSend => faults.cut_before_send,
            Self::AfterSend => faults.cut_after_send,
        }
    }
}

/// What callers were told, over all cuts of one kind of write.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    not_applied: u32,
    unknown_and_done: u32,
    unknown_and_not: u32,
}

/// Cuts the connection at the first request of the write, then at the second, and so on until there are no more.
async fn sweep(cut: Cut, write: Write) -> Told {
    let lab = FaultLab::new().await;
    let mut told = Told::default();
    for nth in 1..=MOST {
        let trial = Trial::prepare(&lab, write, &format!("{nth}")).await;
        let before = cut.count(&lab.proxy);
        lab.proxy.arm(cut.trap(Pattern::any()).nth(nth));
        let answer = ends("a write", trial.ask(&lab, &lab.store)).await;
        let sprung = cut.count(&lab.proxy) > before;
        lab.proxy.disarm();
        let applied = trial.is_applied(&lab).await;
        match answer {
            Ok(()) => {
                assert!(applied, "{write:?} was answered and not done, {cut:?} {nth}");
                if !sprung {
                    lab.close().await;
                    return told;
                }
            }
            Err(error) => {
                let what = format!("{write:?}, {cut:?} {nth}: {error:?}");
                assert_eq!(error.kind(), BackendKind::Unavailable, "{what}");
                assert_eq!(error.retry(), Retry::Backoff, "{what}");
                match (error.outcome(), applied) {
                    (Outcome::NotApplied, false) => told.not_applied += 1,
                    (Outcome::NotApplied, true) => panic!("done all the same: {what}"),
                    (Outcome::Unknown, true) => told.unknown_and_done += 1,
                    (Outcome::Unknown, false) => told.unknown_and_not += 1,
                }
                // The next call works, at once: connections that are broken are not handed out.
                ends("recovering", trial.recover(&lab, &lab.store, applied)).await;
            }
        }
    }
    panic!("{write:?} makes more than {MOST} requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_before_it_is_sent_is_not_done_and_never_said_to_be() {
    for write in Write::ALL {
        let told = sweep(Cut::BeforeSend, write).await;
        assert!(told.not_applied >= 3, "{write:?}: {told:?}");
        // Of the commit it can't be known; the server did not see it. A ping of the pool that comes late is counted among
        // the requests, so that two cuts may meet the commit.
        assert!(told.unknown_and_not >= 1 && told.unknown_and_done == 0, "{write:?}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_after_it_was_sent_is_unknown_only_for_the_commit_and_done_once() {
    for write in Write::ALL {
        let told = sweep(Cut::AfterSend, write).await;
        assert!(told.not_applied >= 3, "{write:?}: {told:?}");
        assert!(told.unknown_and_not == 0 && told.unknown_and_done >= 1, "{write:?}: {told:?}");
    }
}
