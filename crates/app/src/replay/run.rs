//! One run: a loop that starts what can be started, waits for whatever happens next, and takes it in.
//!
//! All state is owned by the loop and nothing is shared. Handlers are tasks; calls of the store are futures, at most
//! one claim, one settle and one heartbeat at a time, so what ends meanwhile is settled together next.

mod dead;
mod ends;
mod pace;

use std::{collections::BTreeMap, future, sync::Arc, time::Duration};

use baldur_core::{
    Evidence, FailedOp, ResolutionType, Retry, Timestamp,
    command::{ClaimRef, ClaimSelect, ClaimTerms, SettleOutcome},
    name::Domain,
    policy::TokenBucket,
    port::{ClaimBatchOutcome, ClaimError, ReplayContext},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::pace::Permits;
use super::{
    Governor, ItemOutcome, ItemResult, ReplayEvent, ReplayReport, ReplayRequest, StopReason,
    WaitReason,
    calls::{Answer, StoreCalls, Trouble},
    engine::Parts,
    listener::{Listener, attempt_number},
    selection::Selection,
    settle::Landed,
    work::{Leases, Work},
};
use crate::{Who, capture::scrub, env::unit};

/// Waits shorter than this are not told.
const TOLD_WAIT: Duration = Duration::from_secs(1);

/// A run under way.
pub(super) struct Run {
    parts: Arc<Parts>,
    store: StoreCalls,
    who: Who,
    trigger: ResolutionType,
    force: bool,
    unchanged_since: Option<Timestamp>,
    selection: Selection,
    bucket: Option<TokenBucket>,
    governor: Option<Arc<dyn Governor>>,
    permits: Permits,
    origin: Instant,
    concurrency: usize,
    limit_left: u64,
    listener: Listener,
    work: Work,
    leases: Leases,
    landed: Vec<Landed>,
    claim_trouble: Trouble,
    settle_trouble: Trouble,
    rate_free_at: Instant,
    /// Results in a row that say that the target is down, by domain.
    streaks: BTreeMap<Domain, u32>,
    down: Vec<Domain>,
    closing: Option<StopReason>,
    grace_until: Option<Instant>,
}

impl Run {
    pub(super) fn new(
        parts: Arc<Parts>,
        request: &ReplayRequest,
        selection: Selection,
        bucket: Option<TokenBucket>,
        concurrency: usize,
        listener: Listener,
    ) -> Self {
        let now = Instant::now();
        Self {
            store: StoreCalls::new(Arc::clone(&parts)),
            who: scrub::who(&request.who, &parts.texts.redaction),
            trigger: request.trigger,
            force: request.force,
            unchanged_since: request.unchanged_since,
            selection,
            bucket,
            governor: request.governor.clone(),
            permits: Permits::none(now),
            origin: now,
            concurrency,
            limit_left: request.limit.unwrap_or(u64::MAX),
            listener,
            work: Work::default(),
            leases: Leases::new(parts.policy.lease),
            landed: Vec::new(),
            claim_trouble: Trouble::none(now),
            settle_trouble: Trouble::none(now),
            rate_free_at: now,
            streaks: BTreeMap::new(),
            down: Vec::new(),
            closing: None,
            grace_until: None,
            parts,
        }
    }

    pub(super) async fn go(
        mut self,
        cancel: CancellationToken,
    ) -> (ReplayReport, Option<ClaimError>) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.parts.end_dead_claims() => {}
        }
        let total = self.selection.total(&self.parts).await.map(|total| total.min(self.limit_left));
        self.listener.tell(ReplayEvent::Started { total });
        if self.limit_left == 0 {
            self.closing = Some(StopReason::LimitReached);
        }
        loop {
            let now = Instant::now();
            self.drop_expired(now);
            self.start_heartbeat(now);
            self.start_settle(now);
            self.start_claim(now);
            if self.is_over() {
                break;
            }
            let wake = self.wake_at();
            tokio::select! {
                biased;
                () = cancel.cancelled(), if self.grace_until.is_none() => self.cancel(),
                answer = self.store.next() => {
                    // A run that was cancelled while it claimed begins nothing of what it got.
                    if cancel.is_cancelled() && self.grace_until.is_none() {
                        self.cancel();
                    }
                    self.take_in(answer);
                }
                ended = self.work.next_ended() => self.ended(ended),
                () = sleep_or_never(wake) => {}
            }
            // Who is done is done, also where a lease or a grace ends at this very moment.
            while let Some(ended) = self.work.try_next_ended() {
                self.ended(ended);
            }
        }
        self.finish()
    }

    fn finish(mut self) -> (ReplayReport, Option<ClaimError>) {
        let stop = match self.closing {
            Some(reason) => reason,
            None if self.down.is_empty() => StopReason::Drained,
            None => StopReason::TargetUnavailable(self.down),
        };
        self.listener.report.stop = stop;
        self.listener.report.elapsed = self.origin.elapsed();
        self.listener.finish()
    }

    /// Whether nothing is under way and nothing may be begun any more.
    fn is_over(&mut self) -> bool {
        if !self.leases.is_empty() || self.store.claiming {
            return false;
        }
        if self.closing.is_some() {
            return true;
        }
        if self.selection.is_exhausted() && self.selection.has_blocked() {
            // Whom they wait for was refused, so nothing will end that could wake them: ask for them once more.
            self.selection.something_ended();
        }
        self.selection.is_exhausted()
    }

    /// When something has to be done although nothing happened.
    fn wake_at(&self) -> Option<Instant> {
        let lease = self.work.claims().filter_map(|claim| self.leases.until(&claim)).min();
        let heartbeat =
            (!self.leases.is_empty() && !self.store.extending).then_some(self.leases.heartbeat_at);
        let settle = (!self.landed.is_empty() && !self.store.settling)
            .then_some(self.settle_trouble.not_before());
        let claim =
            self.wants_claim().then(|| self.claim_trouble.not_before().max(self.rate_free_at));
        let grace = self.grace_until.filter(|_| !self.work.is_empty());
        [lease, heartbeat, settle, claim, grace].into_iter().flatten().min()
    }

    // ---- claims

    fn wants_claim(&self) -> bool {
        self.closing.is_none()
            && !self.store.claiming
            && !self.store.permitting
            && !self.selection.is_exhausted()
            // What can't be settled must not pile up.
            && !self.settle_trouble.is_failing()
            && self.free_slots() > 0
    }

    fn free_slots(&self) -> usize {
        let batch = self.parts.policy.batch;
        let unsettled = self.leases.len().saturating_sub(self.work.len());
        let slots = self.concurrency.saturating_sub(self.work.len());
        let room = (self.concurrency + batch).saturating_sub(unsettled);
        let limit = usize::try_from(self.limit_left).unwrap_or(usize::MAX);
        slots.min(room).min(batch).min(limit)
    }

    fn start_claim(&mut self, now: Instant) {
        if !self.wants_claim() || now < self.claim_trouble.not_before() {
            return;
        }
        let count = self.allowed_now(self.free_slots(), now);
        let Some(select) = self.selection.next(count) else { return };
        let terms = ClaimTerms {
            holder: self.parts.env.worker.clone(),
            lease: self.parts.policy.lease,
            force: self.force,
            unchanged_since: self.unchanged_since,
            evidence: self.evidence(),
        };
        self.store.claim(select, terms);
    }

    fn claimed(&mut self, outcome: ClaimBatchOutcome, asked: Instant) {
        self.claim_trouble.over();
        let leases = &self.leases;
        let refused = self.selection.answered(&outcome, |id| leases.has_entry(id));
        for (id, error) in refused {
            let note = error.to_string();
            self.listener.first_refusal.get_or_insert(error);
            let took = Duration::ZERO;
            let outcome = ItemOutcome::Refused;
            self.listener.item(ItemResult { id, domain: None, outcome, status: None, took, note });
        }
        let now = Instant::now();
        let count = outcome.claimed.len();
        self.took(count, now);
        self.limit_left = self.limit_left.saturating_sub(count as u64);
        for claimed in outcome.claimed {
            self.begin(claimed.op, asked, now);
        }
        if self.limit_left == 0 {
            self.closing.get_or_insert(StopReason::LimitReached);
        }
    }

    /// Starts the replay of a claimed entry, or gives it back where the run ended meanwhile.
    fn begin(&mut self, op: FailedOp, asked: Instant, now: Instant) {
        let claim = ClaimRef { id: op.id, token: op.state.claim_token };
        self.leases.hold(claim, asked);
        let stopped = self.closing.is_some() || self.down.contains(&op.domain);
        if stopped || self.leases.is_over(&claim, now) {
            self.land(claim, op.domain, SettleOutcome::Released, Duration::ZERO);
            return;
        }
        let policy = &self.parts.policy;
        let Some(handler) = self.parts.handlers.get(&op.domain) else {
            let reason = format!("no handler is registered for domain {}", op.domain);
            let outcome = SettleOutcome::Deferred { reason, delay: policy.no_handler_delay };
            self.land(claim, op.domain, outcome, Duration::ZERO);
            return;
        };
        let context = ReplayContext {
            attempt: attempt_number(&op),
            claim_token: claim.token,
            timeout: policy.handler_timeout,
            dry_run: false,
        };
        let (handler, texts) = (Arc::clone(handler), Arc::clone(&self.parts.texts));
        self.work.start(claim, Arc::new(op), handler, context, texts);
    }

    fn claim_failed(&mut self, select: ClaimSelect, error: ClaimError) {
        let now = Instant::now();
        self.selection.unanswered(select);
        let delay = self.claim_trouble.failed(now, self.unit());
        tracing::warn!(error = %error, "replay.claim_failed");
        let patience_is_over =
            self.claim_trouble.lasts(now) + delay > self.parts.policy.store_patience;
        if error.retry() == Retry::Never || patience_is_over {
            self.closing.get_or_insert(StopReason::StoreUnavailable(error));
        } else if delay >= TOLD_WAIT {
            self.listener.tell(ReplayEvent::Waiting { reason: WaitReason::Store, delay });
        }
    }

    fn take_in(&mut self, answer: Answer) {
        match answer {
            Answer::Claimed { asked, select, result } => match result {
                Ok(outcome) => self.claimed(outcome, asked),
                Err(error) => self.claim_failed(select, error),
            },
            Answer::Settled(answers) => {
                self.settled(answers);
            }
            Answer::Extended { asked, answers } => {
                self.extended(&answers, asked);
            }
            Answer::Permitted(paced) => self.permitted(paced),
        }
    }

    fn evidence(&self) -> Evidence {
        self.parts.env.evidence(&self.who)
    }

    fn unit(&self) -> f64 {
        unit(self.parts.env.ids.entropy())
    }
}

async fn sleep_or_never(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => future::pending().await,
    }
}
