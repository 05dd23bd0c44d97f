//! Builders of captures: a case says what matters to it and nothing else.

use std::{fmt, num::NonZeroU64, str::FromStr, time::Duration};

use baldur_core::{
    Clock, EntryId, Evidence, FailedOp, Fingerprint, Json, NotReplayable, OpState, Timestamp,
    command::{Capture, LiveLimits, OnMerge, WhenFull},
    failed_op::DEFAULT_MAX_RETRIES,
    id,
    name::{Actor, Domain, FailureType, IdempotencyKey, Namespace, ServiceName, ShortText},
};

use crate::{
    clock::{ManualClock, SeededIdGen},
    store::StoreUnderTest,
};

/// Reads a constant of a test.
///
/// A wrong constant is a mistake in the test itself, so it may panic.
pub(crate) fn parsed<T: FromStr<Err: fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a constant of the suite follows the rules of its type")
}

fn payload(text: &str) -> Json {
    Json::parse(text).expect("a constant of the suite is JSON")
}

/// Evidence of the suite's own acts, at the time that `clock` shows.
pub fn evidence(clock: &ManualClock) -> Evidence {
    Evidence::new(parsed::<Actor>("contract"), clock.now())
}

/// A source of captures for one store: fresh ids, the store's namespace, the time of its clock.
#[derive(Debug)]
pub struct Captures {
    namespace: Namespace,
    clock: std::sync::Arc<ManualClock>,
    ids: SeededIdGen,
}

impl Captures {
    /// Captures for this store. The same seed gives the same ids.
    pub fn new(store: &StoreUnderTest, seed: u64) -> Self {
        Self {
            namespace: store.namespace.clone(),
            clock: std::sync::Arc::clone(&store.clock),
            ids: SeededIdGen::new(seed),
        }
    }

    /// A capture of a failed payment with an id of its own, captured now.
    pub fn an_op(&self) -> OpBuilder {
        let at = self.clock.now();
        let id = id::mint(&self.ids, at, None);
        OpBuilder(Capture::new(plain(id, self.namespace.clone(), at), evidence(&self.clock)))
    }

    /// This many captures, each with an id of its own.
    pub fn ops(&self, count: usize) -> Vec<Capture> {
        (0..count).map(|_| self.an_op().build()).collect()
    }
}

fn plain(id: EntryId, namespace: Namespace, at: Timestamp) -> FailedOp {
    FailedOp {
        id,
        namespace,
        domain: parsed::<Domain>("payment"),
        failure_type: parsed::<FailureType>("TIMEOUT"),
        dependency: parsed::<ServiceName>("payment-gateway"),
        origin_service: parsed::<ServiceName>("checkout"),
        entity_type: None,
        entity_id: None,
        entity_refs: Json::empty_object(),
        user_id: None,
        request_data: payload(r#"{"amount": 1999}"#),
        payload_version: 1,
        snapshot_data: Json::empty_object(),
        response_data: Json::empty_object(),
        metadata: Json::empty_object(),
        error_code: "504".to_owned(),
        error_message: "no answer within 2 s".to_owned(),
        next_action_hint: String::new(),
        idempotency_key: IdempotencyKey::of_entry(id),
        dedup_key: None,
        order_key: None,
        labels: baldur_core::Labels::new(),
        fingerprint: Fingerprint { version: 1, text: parsed::<ShortText>("v1:0123456789abcdef") },
        trace: None,
        created_at: at,
        state: OpState::captured(DEFAULT_MAX_RETRIES, None, at),
    }
}

/// A capture in the making. Its setters take text and panic when it is not of the field's type.
#[derive(Clone, Debug)]
pub struct OpBuilder(Capture);

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident => $($field:ident).+ $(as $wrap:ident)?),* $(,)?) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(mut self, text: &str) -> Self {
                self.0.$($field).+ = $($wrap)?(parsed(text));
                self
            }
        )*
    };
}

impl OpBuilder {
    setters! {
        /// Sets the domain.
        domain => op.domain,
        /// Sets the failure type.
        failure_type => op.failure_type,
        /// Sets the dependency.
        dependency => op.dependency,
        /// Sets who reports.
        origin_service => op.origin_service,
        /// Sets the idempotency key.
        idempotency_key => op.idempotency_key,
        /// Sets the dedup key.
        dedup_key => op.dedup_key as Some,
        /// Sets the order key.
        order_key => op.order_key as Some,
        /// Sets the kind of the entity.
        entity_type => op.entity_type as Some,
        /// Sets the id of the entity.
        entity_id => op.entity_id as Some,
        /// Sets the user.
        user_id => op.user_id as Some,
        /// Sets the text of the fingerprint.
        fingerprint => op.fingerprint.text,
    }

    /// Sets the id.
    #[must_use]
    pub fn id(mut self, id: EntryId) -> Self {
        self.0.op.id = id;
        self
    }

    /// Sets the time of capture.
    #[must_use]
    pub fn created_at(mut self, at: Timestamp) -> Self {
        self.0.op.created_at = at;
        self.0.op.state.last_occurred_at = at;
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.0.op.labels.insert(parsed(name), parsed(value));
        self
    }

    /// Sets the payload of the request, as JSON text.
    #[must_use]
    pub fn request_data(mut self, json: &str) -> Self {
        self.0.op.request_data = payload(json);
        self
    }

    /// Sets the budget.
    #[must_use]
    pub fn max_retries(mut self, budget: u32) -> Self {
        self.0.op.state.max_retries = budget;
        self
    }

    /// Makes it an operation whose request was not kept.
    #[must_use]
    pub fn not_replayable(mut self, why: NotReplayable) -> Self {
        let state = &self.0.op.state;
        self.0.op.state = OpState::captured(state.max_retries, Some(why), state.updated_at);
        self
    }

    /// Sets how long it may wait before it expires.
    #[must_use]
    pub fn expires_in(mut self, wait: Duration) -> Self {
        self.0.expires_in = Some(wait);
        self
    }

    /// Sets how long it must wait before the first automatic claim.
    #[must_use]
    pub fn next_attempt_in(mut self, delay: Duration) -> Self {
        self.0.next_attempt_in = delay;
        self
    }

    /// Names limits of live entries; 0 is no limit.
    #[must_use]
    pub fn limits(mut self, in_domain: u64, in_all: u64, when_full: WhenFull) -> Self {
        self.0.limits = Some(LiveLimits {
            in_domain: NonZeroU64::new(in_domain),
            in_all: NonZeroU64::new(in_all),
            when_full,
        });
        self
    }

    /// Sets whose payload a merge keeps.
    #[must_use]
    pub fn on_merge(mut self, on_merge: OnMerge) -> Self {
        self.0.on_merge = on_merge;
        self
    }

    /// Changes anything else.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Capture)) -> Self {
        change(&mut self.0);
        self
    }

    /// The capture.
    pub fn build(self) -> Capture {
        self.0
    }
}
