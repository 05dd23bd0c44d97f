//! How a guard is made.

use std::time::Duration;

use baldur_core::{
    name::ServiceName,
    policy::{BackoffPolicy, BreakerPolicy},
};

use super::{
    ConcurrencyPolicy, OnDrop, OnFallback, OnPermanent, Protect, ProtectError, ProtectPolicy,
    RetryBudget, RetryBudgetPolicy, bulkhead::Bulkhead, capture::Keeper, guard::Inner,
    meter::Meter,
};
use crate::{Env, breakers::Breakers, capture::CaptureService};

/// A guard in the making: [`Protect::builder`]. What is not set stays as [`ProtectPolicy::default`] has it.
#[derive(Clone, Debug)]
#[must_use = "a guard is made by `build`"]
pub struct ProtectBuilder {
    name: String,
    capture: CaptureService,
    env: Option<Env>,
    policy: ProtectPolicy,
    budget: Option<RetryBudget>,
    breakers: Option<Breakers>,
}

macro_rules! policy_setters {
    ($($(#[$doc:meta])* $name:ident: $kind:ty),* $(,)?) => {
        $(
            $(#[$doc])*
            pub fn $name(mut self, $name: $kind) -> Self {
                self.policy.$name = $name;
                self
            }
        )*
    };
}

impl ProtectBuilder {
    pub(super) fn new(name: &str, capture: CaptureService) -> Self {
        Self {
            name: name.to_owned(),
            capture,
            env: None,
            policy: ProtectPolicy::default(),
            budget: None,
            breakers: None,
        }
    }

    policy_setters! {
        /// How long a logical call may take: [`ProtectPolicy::deadline`].
        deadline: Duration,
        /// How long one try may take: [`ProtectPolicy::timeout`].
        timeout: Duration,
        /// How often a call is tried: [`ProtectPolicy::tries`].
        tries: u32,
        /// How long to wait between tries: [`ProtectPolicy::backoff`].
        backoff: BackoffPolicy,
        /// How many retries all calls may make together: [`ProtectPolicy::retry_budget`].
        retry_budget: RetryBudgetPolicy,
        /// When the breaker opens and closes: [`ProtectPolicy::breaker`].
        breaker: BreakerPolicy,
        /// How much of the deadline is left to a fallback: [`ProtectPolicy::fallback_timeout`].
        fallback_timeout: Duration,
        /// What to do with a call whose fallback gave a value: [`ProtectPolicy::on_fallback`].
        on_fallback: OnFallback,
        /// How long a capture may take: [`ProtectPolicy::capture_timeout`].
        capture_timeout: Duration,
        /// The longest wait that a target may ask for: [`ProtectPolicy::max_wait`].
        max_wait: Duration,
        /// What to do with permanent failures: [`ProtectPolicy::on_permanent`].
        on_permanent: OnPermanent,
        /// What to do when the future of a call is dropped: [`ProtectPolicy::on_drop`].
        on_drop: OnDrop,
        /// How many captures of dropped calls may be under way: [`ProtectPolicy::background_captures`].
        background_captures: usize,
    }

    /// How many calls may be under way at once: [`ProtectPolicy::concurrency`].
    pub fn concurrency(mut self, concurrency: ConcurrencyPolicy) -> Self {
        self.policy.concurrency = Some(concurrency);
        self
    }

    /// Replaces all that was set so far by this policy.
    pub fn policy(mut self, policy: ProtectPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Shares a budget with other guards, instead of one of its own by [`retry_budget`](Self::retry_budget).
    pub fn shared_retry_budget(mut self, budget: RetryBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Takes the breaker of its name from this registry, instead of one that nobody else knows.
    ///
    /// Guards of one name then share their breaker, events tell of it, people can force it, and other processes may
    /// share its state. The policy of a breaker is that of the first who asked for it.
    pub fn breakers(mut self, breakers: &Breakers) -> Self {
        self.breakers = Some(breakers.clone());
        self
    }

    /// Other surroundings than those of the capture service.
    pub fn env(mut self, env: Env) -> Self {
        self.env = Some(env);
        self
    }

    /// The guard.
    ///
    /// # Errors
    ///
    /// When the name is none or a value of the policy is out of its range.
    pub fn build(self) -> Result<Protect, ProtectError> {
        let Self { name, capture, env, policy, budget, breakers } = self;
        policy.check()?;
        let name = ServiceName::parse(&name)?;
        let env = env.unwrap_or_else(|| capture.env().clone());
        let breakers = breakers.unwrap_or_else(|| Breakers::new(&env));
        let breaker = breakers.get(&name, policy.breaker);
        // The breaker of a registry may have been made by a guard with another policy.
        policy.check_with(&breaker.policy())?;
        Ok(Protect::of(Inner {
            keeper: Keeper::new(capture, &policy),
            budget: budget.unwrap_or_else(|| RetryBudget::of(policy.retry_budget)),
            bulkhead: policy.concurrency.map(Bulkhead::new),
            meter: Meter::new(&name),
            name,
            policy,
            env,
            breaker,
        }))
    }
}
