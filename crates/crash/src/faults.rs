//! Decorators of the ports: outages, fail points, and the mistakes that the harness must notice.

use std::{
    future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use baldur_core::{
    BackendError, BackendKind,
    command::Capture,
    name::OrderKey,
    port::{
        CaptureError, CaptureStore, Captured, Disposition, Durability, Spool, SpoolError,
        SpoolPosition, SpoolStatus, Spooled,
    },
};
use tokio::time::sleep;

use crate::protocol::{FailPoint, Said};

/// How late the mistaken store commits what it has acknowledged.
const LATE: Duration = Duration::from_millis(200);

/// The fail point of this process, and how often it is passed before it holds.
#[derive(Debug)]
pub(crate) struct Hold {
    point: Option<FailPoint>,
    passes: AtomicU64,
}

impl Hold {
    pub(crate) fn new(point: Option<FailPoint>, passes: u64) -> Self {
        Self { point, passes: AtomicU64::new(passes) }
    }

    /// Holds for ever where this is the point and its time has come.
    async fn at(&self, point: FailPoint) {
        if self.point == Some(point) && self.passes.fetch_sub(1, Ordering::Relaxed) == 0 {
            crate::victim::say(&Said::Held(point));
            future::pending::<()>().await;
        }
    }
}

/// Whether the store is out at present.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    out: AtomicBool,
    asked: AtomicU64,
}

impl Outage {
    pub(crate) fn set(&self, out: bool) {
        self.out.store(out, Ordering::Release);
    }
}

/// A store that can be out, be held, and lie.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    pub(crate) store: Arc<dyn CaptureStore>,
    pub(crate) outage: Arc<Outage>,
    pub(crate) hold: Arc<Hold>,
    pub(crate) acknowledges_early: bool,
}

#[async_trait]
impl CaptureStore for FaultyStore {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        let asked = captures.len();
        if self.outage.out.load(Ordering::Acquire) {
            // Every other call is lost on its way back only: it was applied, and its caller can't know.
            let lost_answer = self.outage.asked.fetch_add(1, Ordering::Relaxed) % 2 == 1;
            let mut error =
                BackendError::new("crash", "capture", BackendKind::Unavailable).retryable();
            if lost_answer {
                self.store.capture_batch(captures).await;
            } else {
                error = error.not_applied();
            }
            return vec![Err(error.into()); asked];
        }
        if self.acknowledges_early {
            return self.promise(captures);
        }
        self.hold.at(FailPoint::StoreBefore).await;
        let answers = self.store.capture_batch(captures).await;
        self.hold.at(FailPoint::StoreAfter).await;
        answers
    }
}

impl FaultyStore {
    fn promise(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        let stored = || Durability::Stored { level: "promised".into() };
        let promised =
            |capture: &Capture| Ok(Captured::new(capture.op.id, stored(), 1, Disposition::New));
        let answers = captures.iter().map(promised).collect();
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            sleep(LATE).await;
            store.capture_batch(captures).await
        });
        answers
    }
}

/// A spool that can be held, and forget.
#[derive(Debug)]
pub(crate) struct FaultySpool {
    pub(crate) spool: Arc<dyn Spool>,
    pub(crate) hold: Arc<Hold>,
    pub(crate) removes_early: bool,
}

#[async_trait]
impl Spool for FaultySpool {
    async fn append(&self, captures: Vec<Capture>) -> Vec<Result<(), SpoolError>> {
        self.hold.at(FailPoint::AppendBefore).await;
        let answers = self.spool.append(captures).await;
        self.hold.at(FailPoint::AppendAfter).await;
        answers
    }

    async fn peek(&self, limit: usize) -> Result<Vec<Spooled>, SpoolError> {
        let records = self.spool.peek(limit).await?;
        if let Some(last) = records.last() {
            if self.removes_early {
                self.spool.remove(last.position).await?;
                // A kill finds the records in no place for as long as this lasts.
                sleep(LATE).await;
            }
            self.hold.at(FailPoint::PeekAfter).await;
        }
        Ok(records)
    }

    async fn remove(&self, through: SpoolPosition) -> Result<(), SpoolError> {
        self.hold.at(FailPoint::RemoveBefore).await;
        self.spool.remove(through).await?;
        self.hold.at(FailPoint::RemoveAfter).await;
        Ok(())
    }

    async fn set_aside(&self, record: SpoolPosition, reason: String) -> Result<(), SpoolError> {
        self.spool.set_aside(record, reason).await
    }

    fn holds(&self, key: &OrderKey) -> bool {
        self.spool.holds(key)
    }

    fn status(&self) -> SpoolStatus {
        self.spool.status()
    }

    async fn close(&self) {
        self.spool.close().await;
    }
}
