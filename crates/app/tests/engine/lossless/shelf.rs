//! A spool in memory that keeps its promises, and fails as a test tells it to.
//!
//! The disk can't be made to lose an answer or to hang, and doesn't follow paused time; this one can and does.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use baldur_core::{
    BackendError, BackendKind, Clock, EntryId,
    command::Capture,
    name::OrderKey,
    port::{Spool, SpoolError, SpoolPosition, SpoolStatus, Spooled},
};

/// What the spool does next, until it is told otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trouble {
    #[default]
    None,
    /// Appends are refused.
    Full,
    /// Appends fail before anything is written.
    Fails,
    /// Appends are written, and their answer gets lost.
    Unheard,
    /// Appends never end.
    Hangs,
    /// Records can be neither read nor removed.
    Stuck,
    /// Records are removed, and nobody hears of it.
    RemovedUnheard,
    /// There is no room for what is put aside.
    NoRoomAside,
}

#[derive(Debug, Default)]
struct Lane {
    number: u32,
    next: u64,
    records: VecDeque<Spooled>,
}

#[derive(Debug, Default)]
struct Lanes {
    own: Lane,
    others: VecDeque<Lane>,
    aside: Vec<(EntryId, String)>,
    trouble: Trouble,
    closed: bool,
}

/// The spool. Clones share what it holds.
#[derive(Clone)]
pub(crate) struct Shelf {
    lanes: Arc<Mutex<Lanes>>,
    clock: Arc<dyn Clock>,
    max_records: usize,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

impl Shelf {
    pub(crate) fn new(clock: Arc<dyn Clock>, max_records: usize) -> Self {
        Self { lanes: Arc::default(), clock, max_records }
    }

    pub(crate) fn is_in(&self, trouble: Trouble) {
        self.lanes().trouble = trouble;
    }

    /// What another process finds after this one died.
    pub(crate) fn reopened(&self) -> Self {
        let mut lanes = self.lanes();
        lanes.closed = true;
        let mut others = std::mem::take(&mut lanes.others);
        others.push_back(std::mem::take(&mut lanes.own));
        others.retain(|lane| !lane.records.is_empty());
        let number = others.iter().map(|lane| lane.number).max().unwrap_or_default() + 1;
        let own = Lane { number, ..Lane::default() };
        let aside = lanes.aside.clone();
        let new = Lanes { own, others, aside, ..Lanes::default() };
        Self { lanes: Arc::new(Mutex::new(new)), ..self.clone() }
    }

    /// Takes over the records of a process that died.
    pub(crate) fn adopt(&self, records: Vec<Spooled>) -> u64 {
        let mut lanes = self.lanes();
        let number = lanes.own.number + 100 + u32::try_from(lanes.others.len()).expect("few");
        let count = u64::try_from(records.len()).expect("few");
        let place = |(n, record): (u64, Spooled)| Spooled {
            position: SpoolPosition { lane: number, record: n },
            ..record
        };
        let records = (0..).zip(records).map(place).collect();
        lanes.others.push_back(Lane { number, next: count, records });
        count
    }

    /// Everything that waits, oldest lane first.
    pub(crate) fn records(&self) -> Vec<Spooled> {
        let lanes = self.lanes();
        lanes.others.iter().chain([&lanes.own]).flat_map(|lane| lane.records.clone()).collect()
    }

    pub(crate) fn aside(&self) -> Vec<(EntryId, String)> {
        self.lanes().aside.clone()
    }

    /// Somebody removes the files.
    pub(crate) fn wipe(&self) {
        let mut lanes = self.lanes();
        lanes.own.records.clear();
        lanes.others.clear();
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().expect("not poisoned")
    }
}

fn failure(operation: &'static str) -> SpoolError {
    BackendError::new("spool", operation, BackendKind::Unavailable).retryable().into()
}

fn failed_before(operation: &'static str) -> SpoolError {
    let error = BackendError::new("spool", operation, BackendKind::Unavailable);
    error.retryable().not_applied().into()
}

impl Lanes {
    fn lane(&mut self, number: u32) -> &mut Lane {
        if self.own.number == number {
            return &mut self.own;
        }
        self.others.iter_mut().find(|lane| lane.number == number).expect("a lane that is there")
    }

    fn check(&self, operation: &'static str) -> Result<(), SpoolError> {
        if self.closed {
            return Err(BackendError::new("spool", operation, BackendKind::Closed)
                .not_applied()
                .into());
        }
        if self.trouble == Trouble::Stuck { Err(failure(operation)) } else { Ok(()) }
    }
}

#[async_trait]
impl Spool for Shelf {
    async fn append(&self, captures: Vec<Capture>) -> Vec<Result<(), SpoolError>> {
        let trouble = self.lanes().trouble;
        if trouble == Trouble::Hangs {
            std::future::pending::<()>().await;
        }
        // An append of the disk takes a moment, in which others run.
        tokio::task::yield_now().await;
        let now = self.clock.now();
        let mut lanes = self.lanes();
        let append = |capture: Capture| {
            lanes.check("append")?;
            let waiting = lanes.own.records.len()
                + lanes.others.iter().map(|lane| lane.records.len()).sum::<usize>();
            if trouble == Trouble::Fails {
                return Err(failed_before("append"));
            }
            if trouble == Trouble::Full || waiting >= self.max_records {
                return Err(SpoolError::Full { bytes: 1, max_bytes: 1 });
            }
            let lane = &mut lanes.own;
            let position = SpoolPosition { lane: lane.number, record: lane.next };
            lane.next += 1;
            lane.records.push_back(Spooled { position, capture, spooled_at: now });
            if trouble == Trouble::Unheard { Err(failure("append")) } else { Ok(()) }
        };
        captures.into_iter().map(append).collect()
    }

    async fn peek(&self, limit: usize) -> Result<Vec<Spooled>, SpoolError> {
        let lanes = self.lanes();
        lanes.check("peek")?;
        let mut all = lanes.others.iter().chain([&lanes.own]);
        let lane = all.find(|lane| !lane.records.is_empty());
        Ok(lane.map(|lane| lane.records.iter().take(limit).cloned().collect()).unwrap_or_default())
    }

    async fn remove(&self, through: SpoolPosition) -> Result<(), SpoolError> {
        tokio::task::yield_now().await;
        let mut lanes = self.lanes();
        lanes.check("remove")?;
        let lane = lanes.lane(through.lane);
        while lane.records.front().is_some_and(|record| record.position <= through) {
            lane.records.pop_front();
        }
        if lanes.trouble == Trouble::RemovedUnheard { Err(failure("remove")) } else { Ok(()) }
    }

    async fn set_aside(&self, record: SpoolPosition, reason: String) -> Result<(), SpoolError> {
        let mut lanes = self.lanes();
        lanes.check("set aside")?;
        if lanes.trouble == Trouble::NoRoomAside {
            return Err(failed_before("set aside"));
        }
        let lane = lanes.lane(record.lane);
        let oldest = lane.records.pop_front().expect("a record");
        assert_eq!(oldest.position, record, "only the oldest of a lane can be put aside");
        lanes.aside.push((oldest.capture.op.id, reason));
        Ok(())
    }

    fn holds(&self, key: &OrderKey) -> bool {
        let lanes = self.lanes();
        lanes.own.records.iter().any(|record| record.capture.op.order_key.as_ref() == Some(key))
    }

    fn status(&self) -> SpoolStatus {
        let lanes = self.lanes();
        let count = |lane: &Lane| u64::try_from(lane.records.len()).expect("few");
        let oldest =
            lanes.others.iter().chain([&lanes.own]).filter_map(|lane| lane.records.front());
        SpoolStatus {
            records: count(&lanes.own) + lanes.others.iter().map(count).sum::<u64>(),
            oldest: oldest.map(|record| record.spooled_at).min(),
            adopted_lanes: u64::try_from(lanes.others.len()).expect("few"),
            set_aside: u64::try_from(lanes.aside.len()).expect("few"),
            ..SpoolStatus::default()
        }
    }

    async fn close(&self) {
        self.lanes().closed = true;
    }
}
