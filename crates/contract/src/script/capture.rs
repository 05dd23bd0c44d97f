//! Steps that capture.

use std::{num::NonZeroU64, time::Duration};

use baldur_core::{
    Clock, Fingerprint, OpState, TraceContext,
    command::{Capture, LiveLimits, OnMerge, WhenFull},
};

use super::{Flaw, Kept, Limits, More, id_of};
use crate::{
    answer,
    build::{Captures, parsed},
    case::Failure,
    store::StoreUnderTest,
};

pub(super) async fn capture(
    store: &StoreUnderTest,
    batch: &[Kept],
) -> Result<Vec<String>, Failure> {
    let captures = Captures::new(store, 0);
    let batch = batch.iter().map(|kept| capture_of(&captures, store, kept)).collect();
    store.capture.capture_batch(batch).await.into_iter().map(answer::captured).collect()
}

fn capture_of(captures: &Captures, store: &StoreUnderTest, kept: &Kept) -> Capture {
    let Kept { slot, domain, dependency, dedup, order, budget, delay, age, .. } = kept;
    let Kept { unreplayable, labels, limits, keep_last, request, more, .. } = kept;
    let at = store.clock.now().saturating_sub(Duration::from_secs(*age));
    let mut op = captures
        .an_op()
        .id(id_of(*slot))
        .domain(domain)
        .dependency(&dependency.whole())
        .max_retries(*budget)
        .next_attempt_in(Duration::from_secs(*delay))
        .request_data(request.json().as_str())
        .on_merge(if *keep_last { OnMerge::KeepLast } else { OnMerge::KeepFirst });
    if let Some(why) = unreplayable {
        op = op.not_replayable(*why);
    }
    for (name, value) in labels {
        op = op.label(name, &value.whole());
    }
    op.created_at(at)
        .with(|capture| {
            capture.op.dedup_key = dedup.as_ref().map(super::Text::parsed);
            capture.op.order_key = order.as_ref().map(super::Text::parsed);
            capture.limits = limits.map(limits_of);
            if let Some(more) = more {
                add(capture, more);
            }
        })
        .build()
}

fn limits_of(limits: Limits) -> LiveLimits {
    let Limits { in_domain, in_all, drop_oldest } = limits;
    LiveLimits {
        in_domain: NonZeroU64::new(in_domain),
        in_all: NonZeroU64::new(in_all),
        when_full: if drop_oldest { WhenFull::DropOldest } else { WhenFull::Reject },
    }
}

fn add(capture: &mut Capture, more: &More) {
    let op = &mut capture.op;
    op.failure_type = more.failure_type.parsed();
    op.origin_service = more.origin_service.parsed();
    op.entity_type = more.entity.as_ref().map(|(kind, _)| kind.parsed());
    op.entity_id = more.entity.as_ref().map(|(_, id)| id.parsed());
    op.user_id = more.user_id.as_ref().map(super::Text::parsed);
    op.idempotency_key = parsed(more.idempotency_key);
    op.error_code = more.error_code.whole();
    op.error_message = more.error_message.whole();
    op.next_action_hint = more.hint.whole();
    op.snapshot_data = more.snapshot.json();
    op.response_data = more.response.json();
    op.metadata = more.metadata.json();
    op.entity_refs = more.entity_refs.json();
    let (version, fingerprint) = &more.fingerprint;
    op.fingerprint = Fingerprint { version: *version, text: fingerprint.parsed() };
    if more.traced {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        op.trace = TraceContext::parse(parent, Some("a=1")).ok();
        capture.evidence.trace = op.trace.clone();
    }
    capture.evidence.actor = more.actor.parsed();
    capture.evidence.reason = more.reason.as_ref().map(super::Text::parsed);
    capture.expires_in = more.expires_in.map(Duration::from_secs);
    match more.flaw {
        Some(Flaw::Foreign) => op.namespace = parsed("another"),
        Some(Flaw::Used) => op.state = OpState { retry_count: 1, ..op.state.clone() },
        None => {}
    }
}
