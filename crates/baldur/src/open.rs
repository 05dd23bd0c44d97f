//! From settings to a running Baldur.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use baldur_app::{
    Env, Housekeeping, Recovery, StartError,
    capture::CaptureService,
    entries::EntryService,
    recovery::RecoverySources,
    replay::{AlreadyRegistered, HandlerRegistry, ReplayEngine, ReplayError, ReplayPolicy},
};
use baldur_core::{
    BackendError, Clock, SystemClock,
    name::{Domain, NameError, Namespace, WorkerName},
    policy::redact::RedactionRules,
    port::{CaptureStore, ClaimStore, EntryReader, EvidenceLog, ReplayHandler, StoreAdmin},
};
use secrecy::ExposeSecret as _;

use crate::policies::unusable;
use crate::settings::{Settings, SettingsError, StoreSettings};

/// A kind of store, as the first part of its URL names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// The name before the colon.
    pub name: &'static str,
    /// The feature that brings it.
    pub feature: &'static str,
    /// Whether this build has it.
    pub built: bool,
    /// What URLs look like.
    pub example: &'static str,
}

/// Every kind of store.
pub const SCHEMES: &[Scheme] = &[
    Scheme {
        name: "memory",
        feature: "memory",
        built: cfg!(feature = "memory"),
        example: "memory:",
    },
    Scheme {
        name: "sqlite",
        feature: "sqlite",
        built: cfg!(feature = "sqlite"),
        example: "sqlite:///absolute/path.db",
    },
];

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
    /// This build can't call HTTP handlers.
    #[error(
        "`handlers` is set, but this build can't call them; build it with the feature `http-target`"
    )]
    NoHttpTarget,
    /// A domain got two handlers.
    #[error(transparent)]
    Handler(#[from] AlreadyRegistered),
    /// The replay engine refused its policy.
    #[error("the replay engine can't be built")]
    Replay(#[from] ReplayError),
    /// The store could not be opened.
    #[error("the store can't be opened")]
    Store(#[from] BackendError),
}

fn known_schemes() -> String {
    let built: Vec<&str> = SCHEMES.iter().filter(|s| s.built).map(|s| s.example).collect();
    built.join(" or ")
}

/// The store did not close in time. It goes on closing, and is whole in any case: what was answered as stored is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store did not close within {0:?}")]
pub struct ShutdownTimeout(pub Duration);

/// A running Baldur: one store, and the services over it. Cheap to clone.
#[derive(Clone)]
pub struct Baldur {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    stores: Stores,
    capture: CaptureService,
    entries: EntryService,
    replay: ReplayEngine,
    recovery: Recovery,
    housekeeping: Housekeeping,
    terms: (ReplayPolicy, RedactionRules),
}

/// The ports of one store.
#[derive(Clone)]
struct Stores {
    capture: Arc<dyn CaptureStore>,
    reader: Arc<dyn EntryReader>,
    claims: Arc<dyn ClaimStore>,
    evidence: Arc<dyn EvidenceLog>,
    admin: Arc<dyn StoreAdmin>,
    closer: Arc<dyn Close>,
}

/// What closes the store.
#[async_trait]
trait Close: Send + Sync {
    /// Finishes accepted writes and refuses later ones. May be called again.
    async fn close(&self);
}

#[cfg(feature = "memory")]
#[async_trait]
impl Close for baldur_memory::MemoryStore {
    async fn close(&self) {
        Self::close(self).await;
    }
}

#[cfg(feature = "sqlite")]
#[async_trait]
impl Close for baldur_sqlite::SqliteStore {
    async fn close(&self) {
        Self::close(self).await;
    }
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
        Builder { settings, handlers: Vec::new(), clock: Arc::new(SystemClock) }
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

    /// Replays entries by itself once their dependency is back. It does so after
    /// [`start_recovery`](Self::start_recovery).
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// Starts what runs in the background: recovery, as far as it is enabled, and the housekeeping, which ends claims
    /// that ran out. For services, not for commands. [`shutdown`](Self::shutdown) ends it.
    ///
    /// # Errors
    ///
    /// Outside of a tokio runtime, and when it was started before.
    pub fn start_recovery(&self) -> Result<(), StartError> {
        self.inner.housekeeping.start()?;
        self.inner.recovery.start()
    }

    /// Checks the store, and takes in entries of other stores.
    pub fn admin(&self) -> Arc<dyn StoreAdmin> {
        Arc::clone(&self.inner.stores.admin)
    }

    /// Keeps captures that [`CaptureService::prepare`] made.
    pub fn capture_store(&self) -> Arc<dyn CaptureStore> {
        Arc::clone(&self.inner.stores.capture)
    }

    /// The namespace, clock, ids and worker name of the services.
    pub fn env(&self) -> &Env {
        &self.inner.env
    }

    /// Ends recovery and the housekeeping, and closes the store: writes that were accepted are finished, later ones are
    /// refused. May be called again, and on any clone.
    ///
    /// # Errors
    ///
    /// When closing takes longer than `timeout`, of which recovery gets at most the half.
    pub async fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownTimeout> {
        let closing = async {
            // What doesn't end in its time is dropped, and its claims run out; the store is closed in any case.
            let _ = self.inner.recovery.close(timeout / 2).await;
            let _ = self.inner.housekeeping.close(timeout / 4).await;
            self.inner.stores.closer.close().await;
        };
        tokio::time::timeout(timeout, closing).await.map_err(|_| ShutdownTimeout(timeout))
    }
}

impl fmt::Debug for Baldur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baldur").field("env", &self.inner.env).finish_non_exhaustive()
    }
}

/// Opens Baldur with parts of the host's own.
#[derive(Debug)]
#[must_use = "nothing is opened before `open`"]
pub struct Builder {
    settings: Settings,
    handlers: Vec<(Domain, Arc<dyn ReplayHandler>)>,
    clock: Arc<dyn Clock>,
}

impl Builder {
    /// Has `handler` replay the entries of exactly this domain.
    pub fn handler(mut self, domain: Domain, handler: Arc<dyn ReplayHandler>) -> Self {
        self.handlers.push((domain, handler));
        self
    }

    /// Takes time from this clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the store and builds the services.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(self) -> Result<Baldur, OpenError> {
        let Self { settings, handlers, clock } = self;
        let redaction = settings.redaction.rules()?;
        let capture_policy = settings.capture.policy(redaction.clone())?;
        let replay_policy = settings.replay.policy()?;
        let recovery_policy = settings.recovery.policy()?;
        let probes = crate::recovering::probes(&settings.recovery)?;
        let registry = registry(&settings, handlers, &clock)?;
        let env = env(&settings, Arc::clone(&clock))?;
        let stores = stores(&settings.store, &settings.namespace, clock).await?;
        let Stores { capture, reader, claims, evidence, admin: _, closer: _ } = stores.clone();
        let capture = CaptureService::new(capture, env.clone(), capture_policy);
        let entries = EntryService::new(
            Arc::clone(&reader),
            Arc::clone(&claims),
            evidence,
            env.clone(),
            redaction.clone(),
        )
        .with_backoff(replay_policy.backoff);
        let housekeeping =
            Housekeeping::new(entries.clone(), env.clone(), settings.recovery.housekeeping())
                .map_err(|error| unusable("recovery", &error))?;
        let replay = ReplayEngine::new(
            claims,
            Arc::clone(&reader),
            registry,
            env.clone(),
            replay_policy.clone(),
            redaction.clone(),
        )?;
        let sources = RecoverySources {
            engine: replay.clone(),
            reader,
            pace: None,
            breakers: None,
            probes,
            env: env.clone(),
        };
        let recovery = Recovery::new(sources, recovery_policy)?;
        let terms = (replay_policy, redaction);
        let inner = Inner { env, stores, capture, entries, replay, recovery, housekeeping, terms };
        Ok(Baldur { inner: Arc::new(inner) })
    }
}

fn env(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Env, OpenError> {
    let worker = match &settings.worker {
        Some(worker) => worker.clone(),
        None => WorkerName::parse(&format!("baldur-{}", std::process::id()))
            .map_err(OpenError::Worker)?,
    };
    let mut env = Env::system(settings.namespace.clone(), worker);
    env.clock = clock;
    env.origin_service = settings.origin_service.clone();
    Ok(env)
}

fn registry(
    settings: &Settings,
    own: Vec<(Domain, Arc<dyn ReplayHandler>)>,
    clock: &Arc<dyn Clock>,
) -> Result<HandlerRegistry, OpenError> {
    let mut registry = HandlerRegistry::new();
    for (domain, handler) in own {
        registry.register(domain, handler)?;
    }
    for (domain, handler) in &settings.handlers {
        let domain = Domain::parse(domain).map_err(OpenError::Domain)?;
        let target = crate::handlers::target(&domain, handler, Arc::clone(clock))?;
        registry.register(domain, target)?;
    }
    Ok(registry)
}

#[cfg_attr(
    not(any(feature = "memory", feature = "sqlite")),
    expect(unused_variables, reason = "a build without stores opens none")
)]
#[cfg_attr(
    not(feature = "sqlite"),
    expect(clippy::unused_async, reason = "stores that open at once don't wait")
)]
async fn stores(
    settings: &StoreSettings,
    namespace: &Namespace,
    clock: Arc<dyn Clock>,
) -> Result<Stores, OpenError> {
    let url = settings.url.as_ref().ok_or(OpenError::NoStore)?.expose_secret();
    let (name, rest) = url.split_once(':').unwrap_or((url, ""));
    let scheme = SCHEMES.iter().find(|scheme| scheme.name == name);
    // Only what can be the name of a scheme is repeated: the rest may be secret.
    let scheme = scheme.ok_or_else(|| {
        let plain = name.len() <= 16 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        OpenError::UnknownScheme(if plain { name } else { "that" }.to_owned())
    })?;
    match scheme.name {
        #[cfg(feature = "memory")]
        "memory" if rest.is_empty() && url.ends_with(':') => {
            let store = baldur_memory::MemoryStore::new(namespace.clone(), clock);
            Ok(Stores::of(store))
        }
        #[cfg(feature = "memory")]
        "memory" => Err(OpenError::Url("the memory store is written `memory:`, and nothing else")),
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            let mut config = baldur_sqlite::SqliteConfig::new(path(rest)?, namespace.clone());
            config.busy_timeout = settings.busy_timeout;
            config.max_readers = settings.max_readers;
            config.queue = settings.queue;
            config.max_rows_per_commit = settings.max_rows_per_commit;
            let store = baldur_sqlite::SqliteStore::open(config, clock).await?;
            Ok(Stores::of(store))
        }
        _ => Err(OpenError::NotBuilt(scheme.name, scheme.feature)),
    }
}

/// The path of an SQLite URL, taken as it stands: nothing is decoded.
#[cfg(feature = "sqlite")]
fn path(rest: &str) -> Result<std::path::PathBuf, OpenError> {
    const FORM: &str = "write an SQLite store as sqlite:///absolute/path.db, with three slashes";
    let path = rest.strip_prefix("//").filter(|path| path.starts_with('/'));
    let path = path.filter(|path| !path.ends_with('/')).ok_or(OpenError::Url(FORM))?;
    if path.contains('?') || path.contains('#') {
        return Err(OpenError::Url("an SQLite url takes no options; use the `store` settings"));
    }
    // `sqlite:///C:/baldur.db`: the slash before a drive letter is the URL's.
    let path = if cfg!(windows) { path.trim_start_matches('/') } else { path };
    Ok(std::path::PathBuf::from(path))
}

#[cfg(any(feature = "memory", feature = "sqlite"))]
impl Stores {
    fn of<S>(store: S) -> Self
    where
        S: CaptureStore + EntryReader + ClaimStore + EvidenceLog + StoreAdmin + Close + Clone,
    {
        Self {
            capture: Arc::new(store.clone()),
            reader: Arc::new(store.clone()),
            claims: Arc::new(store.clone()),
            evidence: Arc::new(store.clone()),
            admin: Arc::new(store.clone()),
            closer: Arc::new(store),
        }
    }
}
