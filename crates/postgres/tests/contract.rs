//! Conformance: every case of the suite, none declined, on the server that `BALDUR_TEST_POSTGRES_URL` names.
//!
//! All stores of a run have the same namespace, and cases may hold several at once, so each gets a database. A database is
//! used again when its store is gone: what is in it then gets another namespace's name.

use std::{
    process::ExitCode,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use baldur_contract::{BoxFuture, Harness, ManualClock, StoreUnderTest};
use baldur_core::{Clock, SystemClock, name::Namespace};
use baldur_memory::MemoryStore;
use baldur_postgres::{PostgresConfig, PostgresStore, PostgresUrl};
use secrecy::ExposeSecret;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

/// The namespace of this run. Other runs use the same databases.
static NAMESPACE: LazyLock<Namespace> = LazyLock::new(|| {
    let at = SystemClock.now();
    Namespace::parse(&format!("c-{}-{}", at.as_micros(), std::process::id())).expect("a name")
});

fn server() -> PgConnectOptions {
    let url = baldur_services::postgres_url().unwrap_or_else(|missing| panic!("{missing}"));
    url.expose_secret().parse().expect("a URL")
}

/// A database that no other store of this run uses, as long as this is there.
struct Database {
    number: usize,
}

static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

impl Database {
    async fn take() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let number = free.unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed));
        let database = Self { number };
        let mut conn = server().connect().await.expect("the server answers");
        database.create(&mut conn).await;
        conn.close().await.expect("it ends");
        database.empty().await;
        database
    }

    fn options(&self) -> PgConnectOptions {
        server().database(&format!("baldur_contract_{}", self.number))
    }

    async fn create(&self, conn: &mut PgConnection) {
        // Two can't be made at the same time.
        let mut alone = conn.begin().await.expect("a transaction");
        sqlx::query("SELECT pg_advisory_xact_lock(4711)")
            .execute(&mut *alone)
            .await
            .expect("a lock");
        let name = format!("baldur_contract_{}", self.number);
        let there: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(&name)
                .fetch_one(&mut *alone)
                .await
                .expect("an answer");
        if !there {
            // Not inside a transaction, so on a connection of its own.
            let mut other = server().connect().await.expect("the server answers");
            let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
            sqlx::raw_sql(create).execute(&mut other).await.expect("a database");
        }
        alone.rollback().await.expect("it ends");
    }

    /// Gives the namespaces of stores that are gone other names.
    async fn empty(&self) {
        let mut conn = self.options().connect().await.expect("the database answers");
        let there: bool = sqlx::query_scalar("SELECT to_regclass('baldur.namespaces') IS NOT NULL")
            .fetch_one(&mut conn)
            .await
            .expect("an answer");
        if there {
            let rename =
                "UPDATE baldur.namespaces SET name = 'gone-' || ns WHERE starts_with(name, $1)";
            sqlx::query(rename)
                .bind(NAMESPACE.as_str())
                .execute(&mut conn)
                .await
                .expect("an update");
        }
        conn.close().await.expect("it ends");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
    }
}

fn open(
    url: PostgresUrl,
    namespace: Namespace,
    clock: Arc<ManualClock>,
) -> BoxFuture<'static, StoreUnderTest> {
    Box::pin(async move {
        let mut config = PostgresConfig::new(url.clone(), namespace.clone());
        // Many cases run at the same time.
        config.max_connections = 6;
        config.acquire_timeout = Duration::from_secs(30);
        let time: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let store = PostgresStore::open_with_clock(config, time).await.expect("it opens");
        let close = |store: PostgresStore| async move { store.close().await };
        let (again, beside) = (url.clone(), url);
        let (its_namespace, its_clock) = (namespace.clone(), Arc::clone(&clock));
        let beside_clock = Arc::clone(&clock);
        StoreUnderTest::new(store, namespace, clock, close)
            .reopens(move || open(again.clone(), its_namespace.clone(), Arc::clone(&its_clock)))
            .shares_backend(move |other| open(beside.clone(), other, Arc::clone(&beside_clock)))
    })
}

async fn fresh() -> StoreUnderTest {
    let database = Database::take().await;
    let url = database.options().to_url_lossy().as_str().parse().expect("a URL");
    let store = open(url, NAMESPACE.clone(), Arc::new(ManualClock::default())).await;
    store.keeping(database)
}

async fn model() -> StoreUnderTest {
    let clock = Arc::new(ManualClock::default());
    let namespace = NAMESPACE.clone();
    let time: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let store = MemoryStore::new(namespace.clone(), time);
    StoreUnderTest::new(store, namespace, clock, |store: MemoryStore| async move {
        store.close().await;
    })
}

fn main() -> ExitCode {
    Harness::new("postgres", fresh).model(model).differential().run()
}
