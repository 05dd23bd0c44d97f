//! Connections that are cut at each point of each write, before and after what was sent.

use baldur_contract::proxy::{Ending, FaultProxy, Pattern, Trap};
use baldur_core::{BackendKind, Outcome, Retry};

use crate::{
    faults_lab::{COMMIT, FaultLab, ends},
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

/// Asks for a write while a trap is armed, and looks whether its caller is told the truth and can go on. What was known,
/// where it failed, and whether the trap was sprung, perhaps by somebody else.
async fn cut_off(
    lab: &FaultLab,
    cut: Cut,
    write: Write,
    name: &str,
    trap: Trap,
) -> (Option<Outcome>, bool) {
    let trial = Trial::prepare(lab, write, name).await;
    // A new connection, on which nothing is prepared yet.
    lab.proxy.end(Ending::Close);
    let before = cut.count(&lab.proxy);
    lab.proxy.arm(trap);
    let answer = ends("a write", trial.ask(lab, &lab.store)).await;
    let sprung = cut.count(&lab.proxy) > before;
    lab.proxy.disarm();
    let applied = trial.is_applied(lab).await;
    let Err(error) = answer else {
        assert!(applied, "{write:?} was answered and not done, {cut:?} {name}");
        return (None, sprung);
    };
    let what = format!("{write:?}, {cut:?} {name}: {error:?}");
    assert_eq!(error.kind(), BackendKind::Unavailable, "{what}");
    assert_eq!(error.retry(), Retry::Backoff, "{what}");
    match error.outcome() {
        Outcome::NotApplied => assert!(!applied, "done all the same: {what}"),
        Outcome::Unknown => assert_eq!(applied, cut == Cut::AfterSend, "{what}"),
    }
    // The next call works, at once: connections that are broken are not handed out.
    ends("recovering", trial.recover(lab, &lab.store, applied)).await;
    (Some(error.outcome()), sprung)
}

/// Cuts the connection at the first request of the write, then at the second, and so on until there are no more; and
/// then at its commit.
async fn sweep(cut: Cut, write: Write) {
    let lab = FaultLab::new().await;
    let (mut not_applied, mut unsprung) = (0, 0);
    for nth in 1..=MOST {
        let trap = cut.trap(Pattern::any()).nth(nth);
        let (outcome, sprung) = cut_off(&lab, cut, write, &nth.to_string(), trap).await;
        not_applied += u32::from(outcome == Some(Outcome::NotApplied));
        unsprung = if sprung { 0 } else { unsprung + 1 };
        // How many requests there are differs a little: folding of counters comes between.
        if unsprung == 3 {
            break;
        }
    }
    assert_eq!(unsprung, 3, "{write:?} makes more than {MOST} requests");
    assert!(not_applied >= 3, "{write:?} failed {not_applied} times before its commit");
    for nth in 1..=MOST {
        let trap = cut.trap(Pattern::bytes(COMMIT));
        let (outcome, _) = cut_off(&lab, cut, write, &format!("commit_{nth}"), trap).await;
        // Where it went through, the commit was another one's.
        if let Some(outcome) = outcome {
            assert_eq!(outcome, Outcome::Unknown, "{write:?}, {cut:?} at its commit");
            return lab.close().await;
        }
    }
    panic!("{write:?} was never cut at its commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_before_it_is_sent_is_not_done_and_never_said_to_be() {
    for write in Write::ALL {
        sweep(Cut::BeforeSend, write).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_after_it_was_sent_is_unknown_only_for_the_commit_and_done_once() {
    for write in Write::ALL {
        sweep(Cut::AfterSend, write).await;
    }
}
