//! Limits of live entries as callers and operators meet them.

use std::{collections::BTreeMap, num::NonZeroU64, sync::Arc};

use baldur_app::{
    CaptureFailure, CapturePolicy, CaptureService, Oversize,
    capture::{DedupPolicy, DomainLimit, DomainOverflow, OverflowPolicy, OverflowWatch},
    metrics::{
        OVERFLOW_ALARM_PERCENT, OVERFLOW_EVICTIONS, OVERFLOW_LIVE_ENTRIES, OVERFLOW_REFUSALS,
    },
};
use baldur_core::{
    NewFailedOp, Outcome, Retry, Status,
    command::{OnMerge, WhenFull},
    name::Domain,
    port::{Captured, Disposition},
};

use crate::{
    capture_setup::{Setup, json_of, payment, who},
    seen::Seen,
};

fn at_most(n: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(n)
}

fn policy(per_domain: u64, in_all: u64, when_full: WhenFull) -> CapturePolicy {
    let (per_domain, in_all) = (at_most(per_domain), at_most(in_all));
    let domains = BTreeMap::new();
    let overflow = OverflowPolicy { per_domain, in_all, when_full, domains };
    CapturePolicy { overflow, ..CapturePolicy::default() }
}

async fn code(service: &CaptureService, op: NewFailedOp) -> (&'static str, String) {
    let failure = service.capture(op, &who()).await.expect_err("no room");
    assert_eq!((failure.retry(), failure.outcome()), (Retry::Never, Outcome::NotApplied));
    (failure.code(), failure.to_string())
}

#[tokio::test]
async fn a_capture_without_room_is_refused_with_a_code_that_says_which_limit() {
    let setup = Setup::with(policy(2, 3, WhenFull::Reject));
    setup.kept(payment()).await;
    setup.kept(payment()).await;
    let (domain, text) = code(&setup.capture, payment()).await;
    assert_eq!(domain, "limit_reached_domain");
    assert_eq!(text, "no room for another live entry: 2 of 2 (domain) are there");
    setup.kept(NewFailedOp::new("stock", "TIMEOUT")).await;
    let (all, text) = code(&setup.capture, NewFailedOp::new("stock", "TIMEOUT")).await;
    assert_eq!(all, "limit_reached_all");
    assert_eq!(text, "no room for another live entry: 3 of 3 (all) are there");
}

#[tokio::test]
async fn what_has_nowhere_else_to_go_respects_limits_too() {
    let setup = Setup::with(policy(1, 0, WhenFull::Reject));
    let keep = async |op| {
        let capture = setup.capture.prepare(op, &who(), Oversize::KeepUnreplayable);
        setup.capture.keep(vec![capture.expect("never refused")]).await.remove(0)
    };
    let kept = keep(payment().request_data(json_of((1 << 20) + 1))).await.expect("room");
    assert_eq!(setup.entry(kept.id).await.state.status, Status::RequiresReview);
    let refused: CaptureFailure = keep(payment()).await.expect_err("no room");
    assert_eq!(refused.code(), "limit_reached_domain");
}

#[tokio::test]
async fn a_domain_can_have_rules_of_its_own() {
    let mut policy = policy(1, 0, WhenFull::Reject);
    let limit = at_most(2).map(DomainLimit::AtMost);
    let own = DomainOverflow { limit, when_full: Some(WhenFull::DropOldest) };
    policy.overflow.domains.insert(Domain::parse("log").expect("a domain"), own);
    let setup = Setup::with(policy);
    let first = setup.kept(NewFailedOp::new("log", "X")).await;
    setup.kept(NewFailedOp::new("log", "X")).await;
    let third = setup.capture.capture(NewFailedOp::new("log", "X"), &who()).await.expect("room");
    assert_eq!(third.evicted.iter().map(|gone| gone.id).collect::<Vec<_>>(), [first.id]);
    setup.kept(payment()).await;
    assert_eq!(code(&setup.capture, payment()).await.0, "limit_reached_domain");
}

#[tokio::test]
async fn the_last_payload_is_kept_where_the_policy_says_so() {
    let domains = BTreeMap::from([(Domain::parse("stock").expect("a domain"), OnMerge::KeepFirst)]);
    let dedup = DedupPolicy { keep: OnMerge::KeepLast, domains };
    let setup = Setup::with(CapturePolicy { dedup, ..CapturePolicy::default() });
    for (domain, expected) in [("payment", "2"), ("stock", "1")] {
        let op = |n| NewFailedOp::new(domain, "X").dedup_key(format!("d-{domain}")).request_data(n);
        let first = setup.kept(op("1")).await;
        let Captured { id, disposition, .. } =
            setup.capture.capture(op("2"), &who()).await.expect("it merges");
        assert_eq!((id, disposition), (first.id, Disposition::Merged));
        assert_eq!(setup.entry(id).await.request_data.as_str(), expected, "{domain}");
    }
}

#[tokio::test]
async fn what_was_acknowledged_before_is_kept_beyond_a_limit_that_refuses() {
    for (when_full, evicted) in [(WhenFull::Reject, 0), (WhenFull::DropOldest, 1)] {
        let setup = Setup::with(policy(1, 0, when_full));
        setup.kept(payment()).await;
        let mut spooled =
            setup.capture.prepare(payment(), &who(), Oversize::Refuse).expect("acceptable");
        // The stored form of a spooled capture has no limits.
        spooled.limits = None;
        setup.capture.policy().overflow.finish(&mut spooled);
        let kept = setup.capture.keep(vec![spooled]).await.remove(0).expect("never refused");
        assert_eq!((kept.disposition, kept.evicted.len()), (Disposition::New, evicted));
        assert_eq!(setup.everything().await.len(), 2 - evicted);
    }
}

#[tokio::test]
async fn what_goes_is_logged_and_counted() {
    let setup = Setup::with(policy(1, 0, WhenFull::DropOldest));
    let seen = Seen::start();
    let store = OverflowWatch::new(Arc::new(setup.store.clone()));
    let service =
        CaptureService::new(Arc::new(store), setup.env.clone(), setup.capture.policy().clone());
    let first = service.capture(payment(), &who()).await.expect("room");
    assert_eq!(seen.events("overflow.entry_evicted"), Vec::<String>::new());
    let second = service.capture(payment(), &who()).await.expect("room");
    let told = seen.events("overflow.entry_evicted");
    assert_eq!(told.len(), 1, "{told:?}");
    for fact in [
        format!("id={}", first.id),
        "domain=payment".to_owned(),
        "failure_type=TIMEOUT".to_owned(),
        "dependency=payment-gateway".to_owned(),
        "status=\"pending\"".to_owned(),
        "occurrences=1".to_owned(),
        format!("made_room_for={}", second.id),
    ] {
        assert!(told[0].contains(&fact), "{fact} is not in {told:?}");
    }
    assert_eq!(seen.metric(OVERFLOW_EVICTIONS.name, "payment"), Some(1.0));
}

#[tokio::test]
async fn alarms_rise_before_nothing_fits_and_clear_when_there_is_room() {
    let setup = Setup::with(policy(0, 20, WhenFull::Reject));
    let seen = Seen::start();
    let store = OverflowWatch::new(Arc::new(setup.store.clone()));
    let service =
        CaptureService::new(Arc::new(store), setup.env.clone(), setup.capture.policy().clone());
    let mut ids = Vec::new();
    let raised = || seen.events("overflow.alarm_raised").len();
    for (n, alarms) in [(13, 0), (14, 1), (16, 1), (17, 2), (18, 2), (19, 3), (20, 3)] {
        while ids.len() < n {
            ids.push(service.capture(payment(), &who()).await.expect("room").id);
        }
        assert_eq!(raised(), alarms, "at {n} of 20");
    }
    assert_eq!(seen.metric(OVERFLOW_ALARM_PERCENT.name, "(all)"), Some(95.0));
    assert_eq!(seen.metric(OVERFLOW_LIVE_ENTRIES.name, "(all)"), Some(20.0));
    let told = seen.events("overflow.alarm_raised");
    assert!(told[2].contains("percent=95 live=19 limit=20"), "{told:?}");

    assert_eq!(code(&service, payment()).await.0, "limit_reached_all");
    assert_eq!(seen.metric(OVERFLOW_REFUSALS.name, "payment"), Some(1.0));
    assert_eq!(raised(), 3, "an alarm that is raised is not raised again");

    for answer in setup.entries.resolve(&ids[..8], "done", &who()).await {
        answer.expect("it was pending");
    }
    service.capture(payment(), &who()).await.expect("room again");
    // 13 of 20 are 65 %: not yet five points below 70.
    assert_eq!(seen.events("overflow.alarm_cleared").len(), 2);
    assert_eq!(seen.metric(OVERFLOW_ALARM_PERCENT.name, "(all)"), Some(70.0));
    let more = setup.entries.resolve(&ids[8..11], "done", &who()).await;
    assert!(more.iter().all(Result::is_ok));
    service.capture(payment(), &who()).await.expect("room");
    assert_eq!(seen.events("overflow.alarm_cleared").len(), 3);
    assert_eq!(seen.metric(OVERFLOW_ALARM_PERCENT.name, "(all)"), Some(0.0));
}
