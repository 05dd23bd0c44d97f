//! Making entries of what hosts captured in their own transactions.

use std::{sync::Arc, time::Duration};

use baldur_core::{
    Chain, Evidence, Timestamp,
    command::Capture,
    name::Actor,
    port::{
        CaptureError, Captured, Enlisted, EnlistedForm, Finished, Intake, IntakeError,
        MAX_ENLISTED_TAKEN, TakeEnlisted,
    },
};
use futures_util::FutureExt as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    CaptureFailure, CaptureMode, CaptureService, Env, Oversize, Who,
    describe::parse_op,
    drain::Finish,
    env::unit,
    metrics::{INTAKE_OPERATIONS, INTAKE_TURNS},
    range::within,
    spooling::refused_for_good,
    tasks::{CloseTimeout, StartError, Tasks, supervised},
};

/// Who captured what SQL described: the database knows no better.
const ACTOR: &str = "sql";

/// The terms of [`Intaker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntakePolicy {
    /// How often to look when there was nothing, give or take half of it: 10 milliseconds to 1 minute.
    pub every: Duration,
    /// How many operations are taken at once: 1 to 1000.
    pub batch: usize,
    /// For how long nobody else is given them, and how long a turn may take: 1 second to 1 hour.
    pub hold: Duration,
}

impl Default for IntakePolicy {
    fn default() -> Self {
        Self { every: Duration::from_millis(500), batch: 200, hold: Duration::from_secs(30) }
    }
}

impl IntakePolicy {
    fn check(&self) -> Result<(), String> {
        let Self { every, batch, hold } = self;
        within(
            "interval of the intake",
            *every,
            Duration::from_millis(10)..=Duration::from_mins(1),
        )?;
        within("batch of the intake", *batch, 1..=MAX_ENLISTED_TAKEN)?;
        within("hold of the intake", *hold, Duration::from_secs(1)..=Duration::from_hours(1))
    }
}

/// Completes operations that were captured inside a host's own transaction: redacts what SQL described, keeps them, and
/// puts aside what can never be an entry. Cheap to clone. It does nothing before [`start`](Self::start).
///
/// Every process may do so: keeping is idempotent by id, and what one process holds when it ends comes to another.
#[derive(Clone, Debug)]
pub struct Intaker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    worker: Worker,
    tasks: Tasks,
}

#[derive(Clone)]
struct Worker {
    intake: Arc<dyn Intake>,
    capture: CaptureService,
    finish: Finish,
    env: Env,
    policy: IntakePolicy,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("intake", &self.intake).finish_non_exhaustive()
    }
}

impl Intaker {
    /// Takes from `intake` and keeps by `capture`. `finish` sets the limits of each, as for a record of the spool: their
    /// hosts relied on them, so none is refused for want of room.
    ///
    /// # Errors
    ///
    /// Says which value of the policy is out of its range.
    pub fn new(
        intake: Arc<dyn Intake>,
        capture: CaptureService,
        finish: Finish,
        env: Env,
        policy: IntakePolicy,
    ) -> Result<Self, String> {
        policy.check()?;
        let worker = Worker { intake, capture, finish, env, policy };
        Ok(Self { inner: Arc::new(Inner { worker, tasks: Tasks::default() }) })
    }

    /// Starts.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(&self) -> Result<(), StartError> {
        let Inner { worker, tasks } = &*self.inner;
        let closing = tasks.closing().clone();
        let task = (worker.clone(), closing.clone());
        tasks.start([supervised("intake", closing, task, |(worker, closing)| {
            worker.run(closing).boxed()
        })
        .boxed()])
    }

    /// Takes and completes one batch now; whether there may be more.
    ///
    /// # Errors
    ///
    /// When the intake did not answer.
    pub async fn turn(&self) -> Result<bool, IntakeError> {
        self.inner.worker.turn().await
    }

    /// Ends. A turn under way is dropped; what it held comes again.
    ///
    /// # Errors
    ///
    /// When that takes longer than `timeout`.
    pub async fn close(&self, timeout: Duration) -> Result<(), CloseTimeout> {
        self.inner.tasks.close(timeout).await
    }
}

impl Worker {
    async fn run(&self, closing: &CancellationToken) {
        let mut more = false;
        loop {
            if !more {
                let spread = 0.5 + unit(self.env.ids.entropy());
                tokio::select! {
                    () = closing.cancelled() => return,
                    () = sleep(self.policy.every.mul_f64(spread)) => {}
                }
            }
            tokio::select! {
                () = closing.cancelled() => return,
                done = timeout(self.policy.hold, self.turn()) => more = told(done),
            }
        }
    }

    async fn turn(&self) -> Result<bool, IntakeError> {
        let take = TakeEnlisted { limit: self.policy.batch, hold: self.policy.hold };
        let taken = self.intake.take(take).await?;
        let more = taken.len() == take.limit;
        let mut finished = Vec::with_capacity(taken.len());
        let (mut positions, mut captures) = (Vec::new(), Vec::new());
        let mut times = Times::default();
        for enlisted in taken {
            let position = enlisted.position;
            match self.complete(enlisted, &mut times) {
                Ok(capture) => {
                    positions.push(position);
                    captures.push(capture);
                }
                Err(reason) => finished.push(refuse(position, reason)),
            }
        }
        for (position, answer) in positions.into_iter().zip(self.keep(captures).await) {
            match answer {
                Ok(_) => finished.push(Finished { position, refused: None }),
                Err(failure) if is_final(&failure) => {
                    finished.push(refuse(position, Chain(&failure).to_string()));
                }
                // It comes again when the hold is over.
                Err(_) => count("waits"),
            }
        }
        for one in &finished {
            count(if one.refused.is_some() { "refused" } else { "kept" });
        }
        if !finished.is_empty() {
            self.intake.finish(finished).await?;
        }
        Ok(more)
    }

    /// Keeps captures. Their transactions are committed, so those for which the store has no room are kept without limits.
    async fn keep(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureFailure>> {
        // Not through the queue: an answer that says `queued` would not be enough to remove them from the intake.
        let ask = |captures| self.capture.keep_as(captures, CaptureMode::Sync);
        if captures.iter().all(|capture| capture.limits.is_none()) {
            return ask(captures).await;
        }
        let mut answers = ask(captures.clone()).await;
        let refused: Vec<usize> =
            (0..).zip(&answers).filter(|(_, answer)| is_full(answer)).map(|(at, _)| at).collect();
        if !refused.is_empty() {
            let unlimited =
                refused.iter().map(|at| Capture { limits: None, ..captures[*at].clone() });
            for (at, answer) in refused.iter().zip(ask(unlimited.collect()).await) {
                answers[*at] = answer;
            }
        }
        answers
    }

    /// What to keep, or why it never can be.
    fn complete(&self, enlisted: Enlisted, times: &mut Times) -> Result<Capture, String> {
        let Enlisted { position: _, id, at, form } = enlisted;
        let mut capture = match form {
            EnlistedForm::Prepared(capture) => *capture,
            EnlistedForm::Unreadable(reason) => return Err(reason),
            EnlistedForm::Described(text) => {
                let mut op = parse_op(&text).map_err(|error| error.message)?;
                op.id = Some(id);
                let actor = Actor::parse(ACTOR).map_err(|error| error.to_string())?;
                let who = Who { actor, reason: None, trace: None };
                // Its transaction is committed, so nothing is refused that can be kept in part.
                let prepared = self.capture.prepare(op, &who, Oversize::KeepUnreplayable);
                let mut capture = prepared.map_err(|failure| Chain(&failure).to_string())?;
                let at = times.next(at);
                capture.op.created_at = at;
                capture.evidence = Evidence { at, ..capture.evidence };
                capture
            }
        };
        (self.finish)(&mut capture);
        Ok(capture)
    }
}

/// Tells operations of one microsecond apart, so that their entries come in the order of their places in line.
struct Times {
    clock: Timestamp,
    given: Timestamp,
}

impl Default for Times {
    fn default() -> Self {
        Self { clock: Timestamp::UNIX_EPOCH, given: Timestamp::UNIX_EPOCH }
    }
}

impl Times {
    /// The time for one that was captured then. A clock that went back is believed.
    fn next(&mut self, clock: Timestamp) -> Timestamp {
        let after = self.given.saturating_add(Duration::from_micros(1));
        let given = if clock >= self.clock { clock.max(after) } else { clock };
        *self = Self { clock, given };
        given
    }
}

/// Whether trying again can't help. A limit may have room later.
fn is_final(failure: &CaptureFailure) -> bool {
    match failure {
        CaptureFailure::Refused(_) => true,
        CaptureFailure::Store(error) => !is_limit(error) && refused_for_good(error),
    }
}

fn is_full(answer: &Result<Captured, CaptureFailure>) -> bool {
    matches!(answer, Err(CaptureFailure::Store(error)) if is_limit(error))
}

fn is_limit(error: &CaptureError) -> bool {
    matches!(error, CaptureError::LimitReached { .. })
}

fn refuse(position: u64, reason: String) -> Finished {
    tracing::error!(position, reason, "intake.refused");
    Finished { position, refused: Some(reason) }
}

fn count(outcome: &'static str) {
    metrics::counter!(INTAKE_OPERATIONS.name, "outcome" => outcome).increment(1);
}

fn told(done: Result<Result<bool, IntakeError>, tokio::time::error::Elapsed>) -> bool {
    let (answer, more) = match done {
        Ok(Ok(more)) => ("ok", more),
        Ok(Err(error)) => {
            tracing::warn!(error = %Chain(&error), "intake.failed");
            ("failed", false)
        }
        Err(_) => {
            tracing::warn!("intake.timed_out");
            ("timeout", false)
        }
    };
    metrics::counter!(INTAKE_TURNS.name, "answer" => answer).increment(1);
    more
}
