//! What has to be done from time to time, whoever else is at work: ending claims that ran out.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    EntryService, Env,
    env::unit,
    metrics::{CLAIMS_LAPSED, HOUSEKEEPING_TURNS},
    range::within,
    replay::ReplayError,
    tasks::{CloseTimeout, StartError, Tasks, supervised},
};

/// The terms of [`Housekeeping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HousekeepingPolicy {
    /// How often, give or take half of it: 1 second to 1 hour. Claims that ran out wait no longer than half as much again.
    pub every: Duration,
    /// The most claims that one turn ends: 1 to 100 000. When more ran out, the next turn follows after a second.
    pub most: usize,
    /// How long one turn may take: 10 milliseconds to 10 minutes.
    pub timeout: Duration,
}

impl Default for HousekeepingPolicy {
    fn default() -> Self {
        Self { every: Duration::from_secs(15), most: 10_000, timeout: Duration::from_mins(1) }
    }
}

/// Ends claims that ran out, in the background. Cheap to clone. It does nothing before [`start`](Self::start).
///
/// Every process may keep house: claims are ended once, whoever does it.
#[derive(Clone, Debug)]
pub struct Housekeeping {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    keeper: Keeper,
    tasks: Tasks,
}

#[derive(Clone, Debug)]
struct Keeper {
    entries: EntryService,
    env: Env,
    policy: HousekeepingPolicy,
}

impl Housekeeping {
    /// Keeps house through this service.
    ///
    /// # Errors
    ///
    /// [`ReplayError::Invalid`] when a value of the policy is out of its range.
    pub fn new(
        entries: EntryService,
        env: Env,
        policy: HousekeepingPolicy,
    ) -> Result<Self, ReplayError> {
        policy.check().map_err(ReplayError::Invalid)?;
        let keeper = Keeper { entries, env, policy };
        Ok(Self { inner: Arc::new(Inner { keeper, tasks: Tasks::default() }) })
    }

    /// Starts. The first turn comes within one and a half intervals.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(&self) -> Result<(), StartError> {
        let Inner { keeper, tasks } = &*self.inner;
        let closing = tasks.closing().clone();
        let task = (keeper.clone(), closing.clone());
        tasks.start([supervised("housekeeping", closing, task, |(keeper, closing)| {
            keeper.run(closing).boxed()
        })
        .boxed()])
    }

    /// Ends. A turn under way is dropped, which ends the claims of a step or none of them.
    ///
    /// # Errors
    ///
    /// When that takes longer than `timeout`.
    pub async fn close(&self, timeout: Duration) -> Result<(), CloseTimeout> {
        self.inner.tasks.close(timeout).await
    }
}

impl HousekeepingPolicy {
    fn check(&self) -> Result<(), String> {
        const MINUTE: Duration = Duration::from_mins(1);
        within("interval of housekeeping", self.every, Duration::from_secs(1)..=MINUTE * 60)?;
        within("most claims to end", self.most, 1..=100_000)?;
        let limit = Duration::from_millis(10)..=MINUTE * 10;
        within("timeout of housekeeping", self.timeout, limit)
    }
}

impl Keeper {
    async fn run(&self, closing: &CancellationToken) {
        let mut soon = false;
        loop {
            let spread = 0.5 + unit(self.env.ids.entropy());
            let pause = if soon { Duration::from_secs(1) } else { self.policy.every };
            tokio::select! {
                () = closing.cancelled() => return,
                () = sleep(pause.mul_f64(spread)) => {}
            }
            tokio::select! {
                () = closing.cancelled() => return,
                more = self.turn() => soon = more,
            }
        }
    }

    /// One turn; whether there is more to do.
    async fn turn(&self) -> bool {
        let (answer, more) = match timeout(self.policy.timeout, self.lapse()).await {
            Ok(Ok(more)) => ("ok", more),
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "housekeeping.lapse_failed");
                ("failed", false)
            }
            Err(_) => {
                tracing::warn!("housekeeping.lapse_timed_out");
                ("timeout", false)
            }
        };
        metrics::counter!(HOUSEKEEPING_TURNS.name, "answer" => answer).increment(1);
        more
    }

    async fn lapse(&self) -> Result<bool, baldur_core::port::ClaimError> {
        let done = self.entries.lapse(self.policy.most).await?;
        for (_, status) in &done.lapsed {
            metrics::counter!(CLAIMS_LAPSED.name, "status" => status.as_str()).increment(1);
        }
        Ok(done.more)
    }
}
