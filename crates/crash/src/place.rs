//! Where a run keeps its entries, and how each of its processes finds them again.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use baldur_core::{
    Clock as _, SystemClock,
    name::Namespace,
    port::{CaptureStore, ClaimStore, EntryReader, EvidenceLog, StoreAdmin},
};
use baldur_postgres::{PostgresConfig, PostgresStore};
use baldur_services::{POSTGRES_URL, PostgresOptions, PostgresServer, postgres_url};
use baldur_spool::SpoolConfig;
use baldur_sqlite::{SqliteConfig, SqliteStore};
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use tokio::{process::Command, task::block_in_place};

use crate::Failure;

/// The kinds of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// A folder for the spool, and a store.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    dir: PathBuf,
    namespace: Namespace,
    at: At,
}

#[derive(Clone, Debug)]
enum At {
    /// A file in the folder.
    File,
    Server(SecretString),
}

/// How a process is told of its place: the URL comes by the environment, where nobody lists it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PlaceArgs {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    store: Kind,
    #[arg(long)]
    namespace: String,
}

impl Place {
    /// The place that a process was told of.
    pub(crate) fn told(arguments: &PlaceArgs) -> Result<Self, Failure> {
        let PlaceArgs { dir, store, namespace } = arguments;
        let at = match store {
            Kind::Sqlite => At::File,
            Kind::Postgres => At::Server(postgres_url()?),
        };
        Ok(Self { dir: dir.clone(), namespace: Namespace::parse(namespace)?, at })
    }

    /// Tells a process of it.
    pub(crate) fn tell(&self, command: &mut Command) {
        command.arg("--dir").arg(&self.dir).arg("--namespace").arg(self.namespace.as_str());
        match &self.at {
            At::File => command.args(["--store", "sqlite"]),
            At::Server(url) => {
                command.args(["--store", "postgres"]).env(POSTGRES_URL, url.expose_secret())
            }
        };
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Small segments, so that a short run fills and finishes many.
    pub(crate) fn spool_config(&self) -> SpoolConfig {
        let mut config = SpoolConfig::new(self.dir.join("spool"));
        config.segment_bytes = 256 * 1024;
        config
    }

    /// Opens the store.
    pub(crate) async fn open(&self) -> Result<Store, Failure> {
        match &self.at {
            At::File => {
                let path = self.dir.join("store").join("baldur.db");
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                let config = SqliteConfig::new(path, self.namespace.clone());
                Ok(Store::of(SqliteStore::open(config, Arc::new(SystemClock)).await?))
            }
            At::Server(url) => {
                let url = url.expose_secret().parse()?;
                let mut config = PostgresConfig::new(url, self.namespace.clone());
                config.answer_timeout = ANSWER;
                Ok(Store::of(PostgresStore::open(config).await?))
            }
        }
    }
}

/// Shorter than how long the harness waits for anything.
const ANSWER: Duration = Duration::from_secs(20);

/// The ports of an open store.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) capture: Arc<dyn CaptureStore>,
    pub(crate) claims: Arc<dyn ClaimStore>,
    pub(crate) reader: Arc<dyn EntryReader>,
    pub(crate) evidence: Arc<dyn EvidenceLog>,
    pub(crate) admin: Arc<dyn StoreAdmin>,
    closer: Arc<dyn Close>,
}

impl Store {
    fn of<S>(store: S) -> Self
    where
        S: CaptureStore + ClaimStore + EntryReader + EvidenceLog + StoreAdmin + Close + Clone,
    {
        Self {
            capture: Arc::new(store.clone()),
            claims: Arc::new(store.clone()),
            reader: Arc::new(store.clone()),
            evidence: Arc::new(store.clone()),
            admin: Arc::new(store.clone()),
            closer: Arc::new(store),
        }
    }

    pub(crate) async fn close(&self) {
        self.closer.close().await;
    }
}

/// What closes a store.
#[async_trait]
trait Close: fmt::Debug + Send + Sync + 'static {
    async fn close(&self);
}

#[async_trait]
impl Close for SqliteStore {
    async fn close(&self) {
        Self::close(self).await;
    }
}

#[async_trait]
impl Close for PostgresStore {
    async fn close(&self) {
        Self::close(self).await;
    }
}

/// A place of a run's own, and what keeps it. Dropped, its folder is gone, and so is a server that was started for it.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) place: Place,
    server: Option<PostgresServer>,
    _dir: TempDir,
}

impl Ground {
    /// For a store of this kind: on the server that the environment names, else on one that is started.
    pub(crate) fn new(kind: Kind) -> Result<Self, Failure> {
        match (kind, postgres_url()) {
            (Kind::Sqlite, _) => Self::with(At::File, None),
            (Kind::Postgres, Ok(url)) => Self::with(At::Server(url), None),
            (Kind::Postgres, Err(_)) => Self::with_server(),
        }
    }

    /// On a server that may be broken.
    pub(crate) fn with_server() -> Result<Self, Failure> {
        let server = block_in_place(|| PostgresServer::start(PostgresOptions::default()))?;
        Self::with(At::Server(server.url().clone()), Some(server))
    }

    fn with(at: At, server: Option<PostgresServer>) -> Result<Self, Failure> {
        let dir = tempfile::tempdir()?;
        let place = Place { dir: dir.path().to_owned(), namespace: fresh_namespace()?, at };
        Ok(Self { place, server, _dir: dir })
    }

    /// The server of the run's own.
    pub(crate) fn server(&mut self) -> Result<&mut PostgresServer, Failure> {
        self.server.as_mut().ok_or_else(|| "this run has no server of its own".into())
    }
}

/// One that no run had before: servers are shared.
fn fresh_namespace() -> Result<Namespace, Failure> {
    let at = SystemClock.now().as_micros();
    Ok(Namespace::parse(&format!("crash-{at}-{}", std::process::id()))?)
}
