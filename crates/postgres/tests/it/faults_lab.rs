//! A store whose connections go through a proxy that breaks them, beside one that sees what is really there.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use baldur_contract::{Captures, ManualClock, StoreUnderTest, proxy::FaultProxy};
use baldur_core::Clock;
use baldur_memory::MemoryStore;
use baldur_postgres::{PostgresConfig, PostgresStore};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

use crate::{lab, support};

/// The whole text of the request: `BEGIN ISOLATION LEVEL READ COMMITTED` is another one.
pub(crate) const COMMIT: &str = "COMMIT\0";

/// Far above every timeout of a store in these tests: who takes longer hangs.
const WATCHDOG: Duration = Duration::from_mins(1);

/// Waits for what must end.
pub(crate) async fn ends<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(WATCHDOG, future).await.unwrap_or_else(|_| panic!("{what} hangs"))
}

/// Asks again until it is so.
pub(crate) async fn becomes<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let asked = async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while !so().await {
            looks.tick().await;
        }
    };
    timeout(WATCHDOG, asked).await.unwrap_or_else(|_| panic!("it never came to it: {what}"));
}

/// Short timeouts, so that a test sees them end; long enough for a busy machine.
pub(crate) fn impatient(mut config: PostgresConfig) -> PostgresConfig {
    config.max_connections = 16;
    config.acquire_timeout = Duration::from_secs(3);
    config.statement_timeout = Duration::from_secs(3);
    config.lock_timeout = Duration::from_secs(2);
    config.answer_timeout = Duration::from_secs(5);
    config
}

/// Two stores on the same entries, and the clock of both.
pub(crate) struct FaultLab {
    /// Behind the proxy.
    pub(crate) store: PostgresStore,
    pub(crate) proxy: FaultProxy,
    /// Straight to the server.
    pub(crate) direct: PostgresStore,
    pub(crate) captures: Captures,
    pub(crate) clock: Arc<ManualClock>,
    /// What the server's lists call the connections of `store`.
    pub(crate) application: String,
    server: SecretString,
}

impl FaultLab {
    pub(crate) async fn new() -> Self {
        Self::with(impatient).await
    }

    /// With settings of its own for the store behind the proxy.
    pub(crate) async fn with(set: impl FnOnce(PostgresConfig) -> PostgresConfig) -> Self {
        let server = baldur_services::postgres_url().unwrap_or_else(|missing| panic!("{missing}"));
        Self::on(server, set).await
    }

    /// On a server of the test's own.
    pub(crate) async fn on(
        server: SecretString,
        set: impl FnOnce(PostgresConfig) -> PostgresConfig,
    ) -> Self {
        let namespace = lab::fresh_namespace();
        let application = namespace.to_string();
        let proxy = FaultProxy::start(address(&server)).await.expect("a proxy");
        let mut config = support::config(&through(&server, proxy.address(), &application));
        config.namespace = namespace.clone();
        let mut straight = support::config(&server);
        straight.namespace = namespace.clone();
        let clock = Arc::new(ManualClock::default());
        let direct = lab::open(&straight, &clock).await;
        let store = lab::open(&set(config), &clock).await;
        // Captures ask it for the namespace and the clock only.
        let time: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let named = MemoryStore::new(namespace.clone(), time);
        let close = |store: MemoryStore| async move { store.close().await };
        let named = StoreUnderTest::new(named, namespace, Arc::clone(&clock), close);
        let captures = Captures::new(&named, 7);
        Self { store, proxy, direct, captures, clock, application, server }
    }

    /// A connection that knows nothing of the stores.
    pub(crate) async fn raw(&self) -> PgConnection {
        let options: PgConnectOptions = self.server.expose_secret().parse().expect("a URL");
        options.connect().await.expect("the server answers")
    }

    pub(crate) async fn close(self) {
        ends("closing", self.store.close()).await;
        self.direct.close().await;
        self.proxy.shutdown().await;
    }
}

/// Where the server listens.
fn address(server: &SecretString) -> SocketAddr {
    let options: PgConnectOptions = server.expose_secret().parse().expect("a URL");
    let address = format!("{}:{}", options.get_host(), options.get_port());
    address.parse().expect("tests have servers on 127.0.0.1")
}

/// The URL of the server, with the proxy in its place.
fn through(server: &SecretString, proxy: SocketAddr, application: &str) -> SecretString {
    let url = server.expose_secret();
    let (user, rest) = url.split_once('@').expect("a URL with a user");
    let (_, database) = rest.split_once('/').expect("a URL with a database");
    let database = database.split('?').next().unwrap_or(database);
    // Patterns of traps see plain text only.
    SecretString::from(format!(
        "{user}@{proxy}/{database}?sslmode=disable&application_name={application}"
    ))
}
