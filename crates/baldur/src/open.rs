//! A running Baldur: what hosts hold.

use std::{fmt, sync::Arc, time::Duration};

use baldur_app::{
    Breakers, Drainer, Env, Housekeeping, Intaker, Ledger, Outbox, Recovery, StartError,
    breakers::ShareError,
    capture::CaptureService,
    drain::DrainHooks,
    entries::EntryService,
    outbox::{CloseReport, FlushTimeout},
    protect::{Protect, ProtectBuilder},
    replay::{AlreadyRegistered, HandlerRegistry, ReplayEngine, ReplayError, ReplayPolicy},
};
#[cfg(feature = "postgres")]
use baldur_app::{CaptureFailure, Oversize, Who};
use baldur_core::{
    BackendError, SystemClock,
    name::NameError,
    policy::redact::RedactionRules,
    port::{CaptureStore, CircuitBreakerStore, PaceStore, StoreAdmin},
};
#[cfg(feature = "postgres")]
use baldur_core::{BackendKind, NewFailedOp, port::Captured};
use tokio_util::sync::DropGuard;

use crate::{
    builder::Builder,
    pipeline::Pipeline,
    settings::{Settings, SettingsError},
    stores::{SCHEMES, Stores, known_schemes},
};

/// Why Baldur could not be opened. No text repeats a URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No store was named.
    #[error("no store is set; set `store.url` (BALDUR__STORE__URL), for example to {}", SCHEMES[1].example)]
    NoStore,
    /// The URL names a kind of store that doesn't exist.
    #[error("`{0}` is not a kind of store; use {known}", known = known_schemes())]
    UnknownScheme(String),
    /// This build lacks the kind of store.
    #[error("this build has no {0} store; build it with the feature `{1}`")]
    NotBuilt(&'static str, &'static str),
    /// The URL is of a known kind, but not of its form.
    #[error("the store url is not usable: {0}")]
    Url(&'static str),
    /// A setting can't be put to use.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A handler's domain is no domain.
    #[error("`handlers` names something that is no domain")]
    Domain(#[source] NameError),
    /// No worker name could be made.
    #[error("no worker name could be made; set `worker`")]
    Worker(#[source] NameError),
    /// This build can't call HTTP handlers or probes.
    #[error(
        "`handlers` or a `probe_url` is set, but this build can't call them; build it with the feature `http-target`"
    )]
    NoHttpTarget,
    /// A domain got two handlers.
    #[error(transparent)]
    Handler(#[from] AlreadyRegistered),
    /// The replay engine refused its policy.
    #[error("the replay engine can't be built")]
    Replay(#[from] ReplayError),
    /// This build has no spool.
    #[error("`spool.dir` is set, but this build has no spool; build it with the feature `spool`")]
    NoSpool,
    /// The spool could not be opened.
    #[error("the spool can't be opened")]
    Spool(#[source] BackendError),
    /// The breakers can't be shared.
    #[error("the circuit breakers can't be shared")]
    Breakers(#[from] ShareError),
    /// The store could not be opened.
    #[error("the store can't be opened")]
    Store(#[from] BackendError),
}

/// What a shutdown could not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// The store did not close in time. It goes on closing, and is whole in any case: what was answered as stored is.
    #[error("the store did not close within {0:?}")]
    Timeout(Duration),
    /// Captures that were queued in memory could be neither stored nor spooled in time. Everything is closed.
    #[error(
        "{} queued captures were lost, and it is not known of {} others whether they were kept",
        .0.lost.len(),
        .0.unknown.len()
    )]
    Captures(CloseReport),
}

/// More time than this doesn't count: "for ever" must not overflow a point in time.
const LONGEST_SHUTDOWN: Duration = Duration::from_hours(24);

/// A running Baldur: one store, and the services over it. Cheap to clone.
#[derive(Clone)]
pub struct Baldur {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) env: Env,
    pub(crate) stores: Stores,
    pub(crate) pipeline: Pipeline,
    pub(crate) capture: CaptureService,
    pub(crate) entries: EntryService,
    pub(crate) replay: ReplayEngine,
    pub(crate) breakers: Breakers,
    /// Ends what runs in the background; so does dropping it with the last clone.
    pub(crate) background: DropGuard,
    pub(crate) recovery: Recovery,
    pub(crate) housekeeping: Housekeeping,
    pub(crate) intake: Option<Intaker>,
    pub(crate) terms: (ReplayPolicy, RedactionRules),
}

impl Baldur {
    /// Opens the store that the settings name, and builds the services over it.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        Self::builder(settings).open().await
    }

    /// As [`open`](Self::open), with parts of the host's own.
    pub fn builder(settings: Settings) -> Builder {
        Builder {
            settings,
            handlers: Vec::new(),
            clock: Arc::new(SystemClock),
            spool: None,
            hooks: DrainHooks::default(),
        }
    }

    /// Keeps failed operations.
    pub fn capture(&self) -> &CaptureService {
        &self.inner.capture
    }

    /// Reads entries and moves them by hand.
    pub fn entries(&self) -> &EntryService {
        &self.inner.entries
    }

    /// Replays entries.
    pub fn replay(&self) -> &ReplayEngine {
        &self.inner.replay
    }

    /// Replays entries by these handlers instead of those that this was opened with, on the same terms.
    ///
    /// # Errors
    ///
    /// When the terms are refused, which opening would have found.
    pub fn replay_with(&self, handlers: HandlerRegistry) -> Result<ReplayEngine, ReplayError> {
        let Inner { env, stores, terms: (policy, redaction), .. } = &*self.inner;
        ReplayEngine::new(
            Arc::clone(&stores.claims),
            Arc::clone(&stores.reader),
            handlers,
            env.clone(),
            policy.clone(),
            redaction.clone(),
        )
    }

    /// A guard in the making, for calls to the dependency of this name. It captures here, and its breaker is that of
    /// [`breakers`](Self::breakers): shared as the settings say, and followed by recovery.
    ///
    /// ```
    /// use baldur::{
    ///     Baldur, NewFailedOp, Settings,
    ///     protect::{CallContext, CallFailure, ClassifyFailure, Protected},
    /// };
    ///
    /// #[derive(Debug)]
    /// struct Refused;
    ///
    /// impl ClassifyFailure for Refused {
    ///     fn classify(&self) -> CallFailure {
    ///         CallFailure::transient("CONNECTION_REFUSED", "nobody listens")
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let baldur = Baldur::open(Settings::at("memory:")).await?;
    /// let gateway = baldur.protect("payment-gateway").tries(1).build()?;
    /// let op = NewFailedOp::new("payment", "").request_data(r#"{"amount": 1999}"#);
    /// let paid =
    ///     gateway.call(CallContext::new(op), async |_key, _try| Err::<(), _>(Refused)).await;
    /// assert!(matches!(paid, Err(Protected::Captured { .. })));
    /// assert_eq!(baldur.breakers().states()[0].name.as_str(), "payment-gateway");
    /// # baldur.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn protect(&self, name: &str) -> ProtectBuilder {
        Protect::builder(name, self.capture().clone()).breakers(self.breakers())
    }

    /// The circuit breakers of this process, one for each dependency, shared with all processes that use the store unless
    /// `breakers.shared` is off. Recovery hears of their changes. Guards take theirs from here when they are made by
    /// [`protect`](Self::protect), or by `Protect::builder(..).breakers(baldur.breakers())`.
    pub fn breakers(&self) -> &Breakers {
        &self.inner.breakers
    }

    /// The states of circuit breakers as all processes share them.
    pub fn breaker_store(&self) -> Arc<dyn CircuitBreakerStore> {
        Arc::clone(&self.inner.stores.breakers)
    }

    /// The pace of replays as all processes share it.
    pub fn pace_store(&self) -> Arc<dyn PaceStore> {
        Arc::clone(&self.inner.stores.pace)
    }

    /// Replays entries by itself once their dependency is back. It does so after
    /// [`start_recovery`](Self::start_recovery).
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// Starts what runs in the background: recovery, as far as it is enabled, the housekeeping, which ends claims
    /// that ran out, and the intake, which makes entries of what hosts captured in their own transactions. Recovery also hears of shared breakers that only other processes have. For services, not for
    /// commands. [`shutdown`](Self::shutdown) ends it.
    ///
    /// # Errors
    ///
    /// Outside of a tokio runtime, and when it was started before.
    pub fn start_recovery(&self) -> Result<(), StartError> {
        self.inner.housekeeping.start()?;
        if let Some(intake) = &self.inner.intake {
            intake.start()?;
        }
        self.inner.recovery.start()
    }

    /// Checks the store, and takes in entries of other stores.
    pub fn admin(&self) -> Arc<dyn StoreAdmin> {
        Arc::clone(&self.inner.stores.admin)
    }

    /// Keeps captures that [`CaptureService::prepare`] made: in the store, and in the spool what the store doesn't take.
    pub fn capture_store(&self) -> Arc<dyn CaptureStore> {
        Arc::clone(&self.inner.pipeline.routes().store)
    }

    /// Where async captures wait.
    pub fn outbox(&self) -> &Outbox {
        self.inner.pipeline.outbox()
    }

    /// What brings the spool back into the store; absent without a spool.
    pub fn drainer(&self) -> Option<&Drainer> {
        self.inner.pipeline.drainer()
    }

    /// Where every capture of this process is.
    pub fn ledger(&self) -> &Ledger {
        self.inner.pipeline.ledger()
    }

    /// Waits until everything that was captured before is stored, refused, or in the spool, from where it reaches the store.
    ///
    /// # Errors
    ///
    /// When that takes longer than `within`.
    pub async fn flush(&self, within: Duration) -> Result<(), FlushTimeout> {
        self.outbox().flush(within).await
    }

    /// Makes entries of what hosts captured in their own transactions, where the store has such. It does so after
    /// [`start_recovery`](Self::start_recovery).
    pub fn intake(&self) -> Option<&Intaker> {
        self.inner.intake.as_ref()
    }

    /// Captures an operation in a transaction of the host's own, on the database of this store: it exists if that
    /// commits, and only then. It is redacted before it is written. It becomes an entry soon after the commit, when a process
    /// that called [`start_recovery`](Self::start_recovery) takes it up.
    ///
    /// ```no_run
    /// use baldur::{Baldur, NewFailedOp, Settings, Who, name::Actor, postgres::sqlx};
    ///
    /// # async fn example(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let baldur = Baldur::open(Settings::at("postgres://shop@db/shop")).await?;
    /// let mut transaction = pool.begin().await?;
    /// sqlx::query("UPDATE orders SET state = 'unpaid' WHERE id = 4711").execute(&mut *transaction).await?;
    /// let op = NewFailedOp::new("payment", "TIMEOUT").request_data(r#"{"order": 4711}"#);
    /// baldur.capture_in(&mut transaction, op, &Who::new(Actor::parse("checkout")?)).await?;
    /// transaction.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the operation is not acceptable, or the database did not take it; the transaction can then only be rolled back.
    /// [`CaptureFailure::Store`] of kind `Refused` when the store is not PostgreSQL.
    #[cfg(feature = "postgres")]
    pub async fn capture_in(
        &self,
        transaction: &mut baldur_postgres::sqlx::Transaction<'_, baldur_postgres::sqlx::Postgres>,
        op: NewFailedOp,
        who: &Who,
    ) -> Result<Captured, CaptureFailure> {
        let refused = || BackendError::new("store", "enlist", BackendKind::Refused).not_applied();
        let Some(store) = &self.inner.stores.postgres else {
            return Err(CaptureFailure::Store(refused().into()));
        };
        let capture = self.capture().prepare(op, who, Oversize::Refuse)?;
        let mut answers = store.capture_in(transaction, vec![capture]).await;
        Ok(answers.pop().unwrap_or_else(|| Err(refused().into()))?)
    }

    /// The namespace, clock, ids and worker name of the services.
    pub fn env(&self) -> &Env {
        &self.inner.env
    }

    /// Closes everything, in order: recovery and housekeeping, the outbox, which writes or spools what is left in it, the drainer,
    /// the spool, the store. Writes that were accepted are finished, later ones are refused. May be called again, and on
    /// any clone.
    ///
    /// # Errors
    ///
    /// When closing takes longer than `timeout` (a day at most), of which recovery gets at most a third, and when queued captures could
    /// not be kept.
    pub async fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        let Inner { pipeline, stores, recovery, housekeeping, intake, .. } = &*self.inner;
        let until = tokio::time::Instant::now() + timeout.min(LONGEST_SHUTDOWN);
        self.inner.background.token().cancel();
        // What doesn't end in its time is dropped, and its claims run out.
        let taking = async {
            match intake {
                Some(intake) => intake.close(timeout / 3).await,
                None => Ok(()),
            }
        };
        let _ = tokio::join!(recovery.close(timeout / 3), housekeeping.close(timeout / 3), taking);
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        let report = pipeline.close(left).await;
        // The store closes by itself even if the time is over; it is asked to in any case.
        let closing = tokio::time::timeout_at(until, stores.closer.close());
        closing.await.map_err(|_| ShutdownError::Timeout(timeout))?;
        if report.is_complete() { Ok(()) } else { Err(ShutdownError::Captures(report)) }
    }
}

impl fmt::Debug for Baldur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baldur").field("env", &self.inner.env).finish_non_exhaustive()
    }
}
