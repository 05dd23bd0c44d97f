//! From a transaction of a host's own to an entry, on a real PostgreSQL.

mod sql;
mod transactions;
mod workers;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use baldur::{
    Baldur, EntryId, EntrySummary, FailedOp, ListOrder, ListQuery, PageSize, Settings,
    name::Namespace,
    port::{Gate, ReplayContext, ReplayHandler, ReplayOutcome},
    postgres::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection},
    replay::{ReplayReport, ReplayRequest},
};
use baldur_services::postgres_url;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

/// For what is sure to happen, and only waits for the machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Notes what it is given, and succeeds.
#[derive(Clone, Debug, Default)]
struct Notes(Arc<Mutex<Vec<EntryId>>>);

#[async_trait]
impl ReplayHandler for Notes {
    async fn can_replay(&self, _: &FailedOp) -> Gate {
        Gate::Open
    }

    async fn replay(&self, op: &FailedOp, _: ReplayContext) -> ReplayOutcome {
        self.0.lock().expect("unbroken").push(op.id);
        ReplayOutcome::Succeeded { note: String::new() }
    }
}

/// One process, and a host with a connection of its own, on a namespace that nobody else has.
struct World {
    url: SecretString,
    namespace: String,
    baldur: Baldur,
    host: PgConnection,
    replayed: Notes,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(set: impl FnOnce(&mut Settings)) -> Self {
        let url = postgres_url().unwrap_or_else(|missing| panic!("{missing}"));
        let mut host = PgConnection::connect(url.expose_secret()).await.expect("the server is up");
        let namespace = "SELECT 'intake-' || gen_random_uuid()::text";
        let namespace: String =
            sqlx::query_scalar(namespace).fetch_one(&mut host).await.expect("a name");
        let replayed = Notes::default();
        let baldur = open(&url, &namespace, &replayed, set).await;
        Self { url, namespace, baldur, host, replayed }
    }

    /// Another process.
    async fn another(&self) -> Baldur {
        open(&self.url, &self.namespace, &self.replayed, |_| {}).await
    }

    /// A connection that a host has.
    async fn host(&self) -> PgConnection {
        PgConnection::connect(self.url.expose_secret()).await.expect("the server is up")
    }

    /// Captures by SQL; answers the id.
    async fn capture(&mut self, operation: &str) -> EntryId {
        capture(&mut self.host, operation, &self.namespace).await
    }

    async fn number(&mut self, sql: &str) -> i64 {
        let sql = sql.replace("{ns}", &ns(&self.namespace));
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.host).await.expect("a number")
    }

    async fn waiting(&mut self) -> i64 {
        self.number("SELECT count(*) FROM baldur.intake WHERE {ns} AND refused IS NULL").await
    }

    /// Why operations were put aside, in their order.
    async fn refused(&mut self) -> Vec<String> {
        let sql =
            "SELECT refused FROM baldur.intake WHERE {ns} AND refused IS NOT NULL ORDER BY pos";
        let sql = sql.replace("{ns}", &ns(&self.namespace));
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut self.host).await.expect("reasons")
    }

    /// Takes up all that waits and that nobody holds.
    async fn turns(&self) {
        let intake = self.baldur.intake().expect("PostgreSQL has one");
        while intake.turn().await.expect("it answers") {}
    }

    /// All entries, oldest first.
    async fn entries(&self) -> Vec<EntrySummary> {
        let limit = PageSize::new(1_000).expect("a size");
        let order = ListOrder::OldestFirst;
        let mut query = ListQuery { limit, order, ..ListQuery::default() };
        let mut all = Vec::new();
        loop {
            let page = self.baldur.entries().list(query.clone()).await.expect("a page");
            all.extend(page.items);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return all,
            }
        }
    }

    async fn entry(&self, id: EntryId) -> FailedOp {
        self.baldur.entries().get(id).await.expect("it answers").expect("an entry")
    }

    async fn replay(&self, request: ReplayRequest) -> ReplayReport {
        let run = self.baldur.replay().run(request, None, CancellationToken::new());
        run.await.expect("it runs")
    }

    async fn close(self) {
        self.host.close().await.expect("it closes");
        self.baldur.shutdown(PATIENCE).await.expect("in order");
    }
}

async fn open(
    url: &SecretString,
    namespace: &str,
    replayed: &Notes,
    set: impl FnOnce(&mut Settings),
) -> Baldur {
    let mut settings = Settings::at(url.clone());
    settings.namespace = Namespace::parse(namespace).expect("a name");
    set(&mut settings);
    let domain = "payment".parse().expect("a domain");
    let builder = Baldur::builder(settings).handler(domain, Arc::new(replayed.clone()));
    builder.open().await.expect("it opens")
}

/// Captures by SQL as a host does; answers the id.
async fn capture(conn: &mut PgConnection, operation: &str, namespace: &str) -> EntryId {
    let id: String = sqlx::query_scalar("SELECT baldur.capture($1::json, $2)::text")
        .bind(operation)
        .bind(namespace)
        .fetch_one(conn)
        .await
        .expect("captured");
    id.parse().expect("an id")
}

/// The condition for rows of a namespace.
fn ns(namespace: &str) -> String {
    format!("ns = (SELECT n.ns FROM baldur.namespaces n WHERE n.name = '{namespace}')")
}
