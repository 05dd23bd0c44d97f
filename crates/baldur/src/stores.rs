//! The kinds of stores, and opening one.

use std::sync::Arc;

use async_trait::async_trait;
#[cfg(any(feature = "memory", feature = "postgres", feature = "sqlite"))]
use baldur_app::capture::OverflowWatch;
#[cfg(feature = "postgres")]
use baldur_core::{Chain, Retry};
use baldur_core::{
    Clock,
    name::Namespace,
    port::{
        CaptureStore, CircuitBreakerStore, ClaimStore, EntryReader, EvidenceLog, Intake, PaceStore,
        StoreAdmin,
    },
};
use secrecy::ExposeSecret as _;

use crate::{open::OpenError, outage::StoreOutage, settings::StoreSettings};

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
    Scheme {
        name: "postgres",
        feature: "postgres",
        built: cfg!(feature = "postgres"),
        example: "postgres://user@host/database",
    },
];

pub(crate) fn known_schemes() -> String {
    let built: Vec<&str> = SCHEMES.iter().filter(|s| s.built).map(|s| s.example).collect();
    built.join(" or ")
}

/// The ports of one store.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) capture: Arc<dyn CaptureStore>,
    pub(crate) reader: Arc<dyn EntryReader>,
    pub(crate) claims: Arc<dyn ClaimStore>,
    pub(crate) evidence: Arc<dyn EvidenceLog>,
    pub(crate) admin: Arc<dyn StoreAdmin>,
    pub(crate) breakers: Arc<dyn CircuitBreakerStore>,
    pub(crate) pace: Arc<dyn PaceStore>,
    /// What hosts captured in their own transactions, where the store has such.
    pub(crate) intake: Option<Arc<dyn Intake>>,
    #[cfg(feature = "postgres")]
    pub(crate) postgres: Option<baldur_postgres::PostgresStore>,
    pub(crate) closer: Arc<dyn Close>,
}

/// What closes the store.
#[async_trait]
pub(crate) trait Close: Send + Sync {
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

#[cfg(feature = "postgres")]
#[async_trait]
impl Close for baldur_postgres::PostgresStore {
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

#[cfg_attr(
    not(all(feature = "postgres", any(feature = "memory", feature = "sqlite"))),
    expect(unused_variables, reason = "what stores in this build don't need")
)]
#[cfg_attr(
    not(any(feature = "postgres", feature = "sqlite")),
    expect(clippy::unused_async, reason = "stores that open at once don't wait")
)]
pub(crate) async fn open(
    settings: &StoreSettings,
    namespace: &Namespace,
    clock: Arc<dyn Clock>,
    spooled: bool,
) -> Result<Stores, OpenError> {
    let (scheme, rest) = named(settings)?;
    match scheme.name {
        #[cfg(feature = "memory")]
        "memory" if rest == Some("") => {
            let store = baldur_memory::MemoryStore::new(namespace.clone(), clock);
            Ok(Stores::of(store))
        }
        #[cfg(feature = "memory")]
        "memory" => Err(OpenError::Url("the memory store is written `memory:`, and nothing else")),
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            let config = sqlite_config(settings, rest, namespace)?;
            let store = baldur_sqlite::SqliteStore::open(config, clock).await?;
            Ok(Stores::of(store))
        }
        #[cfg(feature = "postgres")]
        "postgres" => {
            let config = postgres_config(settings, namespace)?;
            let store = postgres(config, spooled).await?;
            let intake: Arc<dyn Intake> = Arc::new(store.clone());
            let postgres = Some(store.clone());
            Ok(Stores { intake: Some(intake), postgres, ..Stores::of(store) })
        }
        _ => Err(OpenError::NotBuilt(scheme.name, scheme.feature)),
    }
}

/// Takes the store away from whoever writes to it, for as long as the value lives.
#[cfg_attr(
    not(feature = "sqlite"),
    expect(unused_variables, reason = "only a file needs to know where it is")
)]
#[cfg_attr(
    not(any(feature = "postgres", feature = "sqlite")),
    expect(clippy::unused_async, reason = "the same as with a store that can be locked")
)]
pub(crate) async fn outage(settings: &StoreSettings) -> Result<StoreOutage, OpenError> {
    let (scheme, rest) = named(settings)?;
    match scheme.name {
        "memory" => Err(OpenError::Url("no other process can reach a store in memory")),
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            let config = sqlite_config(settings, rest, &Namespace::default_namespace())?;
            Ok(StoreOutage::of(baldur_sqlite::WriteLock::take(&config).await?))
        }
        #[cfg(feature = "postgres")]
        "postgres" => {
            let config = postgres_config(settings, &Namespace::default_namespace())?;
            Ok(StoreOutage::of(baldur_postgres::WriteLock::take(&config).await?))
        }
        _ => Err(OpenError::NotBuilt(scheme.name, scheme.feature)),
    }
}

/// The kind of store that the URL names, and what follows the colon.
fn named(settings: &StoreSettings) -> Result<(&'static Scheme, Option<&str>), OpenError> {
    let url = settings.url.as_ref().ok_or(OpenError::NoStore)?.expose_secret();
    let (name, rest) = url.split_once(':').map_or((url, None), |(name, rest)| (name, Some(rest)));
    // Both are in use for the same.
    let known = if name == "postgresql" { "postgres" } else { name };
    let scheme = SCHEMES.iter().find(|scheme| scheme.name == known);
    // Only what can be the name of a scheme is repeated: the rest may be secret.
    let scheme = scheme.ok_or_else(|| {
        let plain = name.len() <= 16 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        OpenError::UnknownScheme(if plain { name } else { "that" }.to_owned())
    })?;
    Ok((scheme, rest))
}

#[cfg(feature = "sqlite")]
fn sqlite_config(
    settings: &StoreSettings,
    rest: Option<&str>,
    namespace: &Namespace,
) -> Result<baldur_sqlite::SqliteConfig, OpenError> {
    let mut config =
        baldur_sqlite::SqliteConfig::new(path(rest.unwrap_or_default())?, namespace.clone());
    config.busy_timeout = settings.busy_timeout;
    config.max_readers = settings.max_readers;
    config.queue = settings.queue;
    config.max_rows_per_commit = settings.max_rows_per_commit;
    Ok(config)
}

/// A host with a spool starts whether its store can be reached or not: captures wait in the spool until it can. Whatever
/// else is wrong keeps it from starting, since no waiting mends it.
#[cfg(feature = "postgres")]
async fn postgres(
    config: baldur_postgres::PostgresConfig,
    spooled: bool,
) -> Result<baldur_postgres::PostgresStore, OpenError> {
    match baldur_postgres::PostgresStore::open(config.clone()).await {
        Err(error) if spooled && error.retry() == Retry::Backoff => {
            tracing::warn!(error = %Chain(&error), "store.not_reached_at_start");
            Ok(baldur_postgres::PostgresStore::open_lazily(config)?)
        }
        opened => Ok(opened?),
    }
}

#[cfg(feature = "postgres")]
fn postgres_config(
    settings: &StoreSettings,
    namespace: &Namespace,
) -> Result<baldur_postgres::PostgresConfig, OpenError> {
    let parsed = |url: &secrecy::SecretString| {
        url.expose_secret().parse().map_err(|_| {
            OpenError::Url("write a PostgreSQL store as postgres://user@host:5432/database")
        })
    };
    let url = parsed(settings.url.as_ref().ok_or(OpenError::NoStore)?)?;
    let mut config = baldur_postgres::PostgresConfig::new(url, namespace.clone());
    config.direct_url = settings.direct_url.as_ref().map(parsed).transpose()?;
    config.max_connections = settings.max_connections;
    config.acquire_timeout = settings.acquire_timeout;
    config.statement_timeout = settings.statement_timeout;
    config.lock_timeout = settings.lock_timeout;
    config.queue = settings.queue;
    config.max_rows_per_commit = settings.max_rows_per_commit;
    config.migrate = settings.migrate;
    Ok(config)
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

#[cfg(any(feature = "memory", feature = "postgres", feature = "sqlite"))]
impl Stores {
    fn of<S>(store: S) -> Self
    where
        S: CaptureStore + EntryReader + ClaimStore + EvidenceLog + StoreAdmin,
        S: CircuitBreakerStore + PaceStore + Close + Clone,
    {
        Self {
            capture: Arc::new(OverflowWatch::new(Arc::new(store.clone()))),
            reader: Arc::new(store.clone()),
            claims: Arc::new(store.clone()),
            evidence: Arc::new(store.clone()),
            admin: Arc::new(store.clone()),
            breakers: Arc::new(store.clone()),
            pace: Arc::new(store.clone()),
            intake: None,
            #[cfg(feature = "postgres")]
            postgres: None,
            closer: Arc::new(store),
        }
    }
}
