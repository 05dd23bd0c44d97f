//! How tests claim, settle and act.

use std::{future::Future, time::Duration};

use baldur_contract::evidence;
use baldur_core::{
    EntryId, FailedOp, ResolutionType,
    command::{
        Act, Action, Capture, ClaimBatch, ClaimRef, ClaimSelect, ClaimTerms, Lapse, Settle,
        SettleOutcome,
    },
    name::{Domain, WorkerName},
    port::{CaptureStore, ClaimError, ClaimStore, EntryReader, Settled},
};
use baldur_postgres::PostgresStore;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::Instant;

use crate::lab::Lab;

impl Lab {
    /// Keeps captures, and answers their ids in order.
    pub(crate) async fn keep_all(&self, captures: Vec<Capture>) -> Vec<EntryId> {
        let kept = self.store.capture_batch(captures).await;
        kept.into_iter().map(|kept| kept.expect("a capture is kept").id).collect()
    }

    /// Keeps this many entries, and answers their ids in order.
    pub(crate) async fn entries(&self, count: usize) -> Vec<EntryId> {
        self.keep_all(self.captures.ops(count)).await
    }

    pub(crate) fn terms(&self) -> ClaimTerms {
        ClaimTerms {
            holder: WorkerName::parse("worker").expect("a name"),
            lease: Duration::from_secs(30),
            force: false,
            unchanged_since: None,
            evidence: evidence(&self.clock),
        }
    }

    pub(crate) fn due(&self, limit: usize) -> ClaimBatch {
        let domains = vec![Domain::parse("payment").expect("a name")];
        let select = ClaimSelect::Due { domains, dependency: None, limit };
        ClaimBatch { select, terms: self.terms() }
    }

    pub(crate) fn by_id(&self, ids: &[EntryId]) -> ClaimBatch {
        ClaimBatch { select: ClaimSelect::Ids(ids.to_vec()), terms: self.terms() }
    }

    pub(crate) fn settle(&self, op: &FailedOp, outcome: SettleOutcome) -> Settle {
        Settle {
            id: op.id,
            token: op.state.claim_token,
            outcome,
            trigger: ResolutionType::ScheduledBatch,
            evidence: evidence(&self.clock),
        }
    }

    pub(crate) fn act(&self, id: EntryId, action: Action) -> Act {
        Act { id, action, evidence: evidence(&self.clock) }
    }

    pub(crate) fn lapse(&self, limit: usize) -> Lapse {
        Lapse { limit, retry_in: Duration::ZERO, evidence: evidence(&self.clock) }
    }
}

pub(crate) fn succeeded() -> SettleOutcome {
    SettleOutcome::Succeeded { note: "200 OK".to_owned() }
}

pub(crate) fn failed() -> SettleOutcome {
    SettleOutcome::Failed { error: "503".to_owned(), retry_in: Duration::ZERO }
}

pub(crate) fn claim_ref(op: &FailedOp) -> ClaimRef {
    ClaimRef { id: op.id, token: op.state.claim_token }
}

/// Claims, and answers what was granted.
pub(crate) async fn claim(store: &PostgresStore, claim: ClaimBatch) -> Vec<FailedOp> {
    let outcome = store.claim_batch(claim).await.expect("a claim is answered");
    outcome.claimed.into_iter().map(|claimed| claimed.op).collect()
}

/// Settles one claim.
pub(crate) async fn settle(store: &PostgresStore, settle: Settle) -> Result<Settled, ClaimError> {
    store.settle_batch(vec![settle]).await.pop().expect("one answer")
}

/// The entry as it is.
pub(crate) async fn find(store: &PostgresStore, id: EntryId) -> FailedOp {
    let found = store.find(vec![id]).await.expect("a read");
    found.into_iter().flatten().next().expect("the entry is there")
}

pub(crate) async fn run(conn: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// Locks the row of an entry, in the transaction that is open.
pub(crate) async fn lock(lab: &Lab, conn: &mut PgConnection, id: EntryId) {
    let ns = lab.ns().await;
    let sql =
        format!("SELECT 1 FROM baldur.states WHERE ns = {ns} AND id = '{id}' FOR NO KEY UPDATE");
    run(conn, &sql).await;
}

/// A number that the database gives.
pub(crate) async fn number(conn: &mut PgConnection, sql: &str) -> i64 {
    let read = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(conn).await;
    read.unwrap_or_else(|e| panic!("{sql}: {e}"))
}

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so().await {
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::task::yield_now().await;
    }
}

/// Waits until somebody waits for what the connection `holder` has locked.
pub(crate) async fn until_blocked_by(lab: &Lab, holder: &mut PgConnection) {
    let pid = number(holder, "SELECT pg_backend_pid()::bigint").await;
    let sql =
        format!("SELECT count(*) FROM pg_stat_activity WHERE {pid} = ANY(pg_blocking_pids(pid))");
    until("a waiting statement", || async { number(&mut lab.raw().await, &sql).await > 0 }).await;
}

/// Numbers that look like chance, the same for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits fit") % sides
    }
}
