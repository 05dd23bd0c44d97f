//! The spool: a handle to the writer and the keeper.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use async_trait::async_trait;
use baldur_core::{
    BackendError, BackendKind, Clock,
    command::Capture,
    name::OrderKey,
    port::{Spool, SpoolError, SpoolPosition, SpoolStatus, Spooled},
    wire,
};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::timeout,
};

use crate::{
    batch::Batch,
    config::SpoolConfig,
    core::Core,
    disk::{self, RealDisk},
    error::{BACKEND, classify, closed, said},
    keeper::Keeper,
    queue::{Job, Message, run},
    writer::Writer,
};

/// A spool in a directory of the machine.
///
/// Clones share everything. Dropping the last clone without [`close`](Spool::close) loses nothing that was acknowledged, and
/// gives up the locks once what is queued was written.
#[derive(Clone)]
pub struct DiskSpool {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    /// Waited for without a thread: a disk that hangs takes one of the runtime's, not all.
    keeper: Arc<Mutex<Keeper>>,
    messages: mpsc::Sender<Message>,
    records: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    closed: AtomicBool,
    /// Its sender lives as long as the writer.
    finished: watch::Receiver<()>,
}

impl DiskSpool {
    /// Opens the spool in a directory, makes the directory and a lane of its own in it, and takes over the lanes of processes
    /// that died. Takes as long as it takes to read these. Must be called inside a tokio runtime.
    ///
    /// On a full disk it opens all the same, so that what waits can be taken out; then the own lane is made later.
    ///
    /// # Errors
    ///
    /// - `Refused` for settings out of range, and for a directory that is a link, belongs to others, or that others can write into.
    /// - `Unavailable`, `ReadOnly` when the directory can't be made, read or written.
    pub async fn open(config: SpoolConfig, clock: Arc<dyn Clock>) -> Result<Self, BackendError> {
        config.validate()?;
        blocking("open", move || {
            let root = disk::prepare(&config.dir).map_err(unfit)?;
            let core = Arc::new(Core::new(Arc::new(RealDisk), root, config, clock));
            Self::on(core)
        })
        .await
    }

    /// A spool over a file layer. Blocks.
    pub(crate) fn on(core: Arc<Core>) -> Result<Self, BackendError> {
        let (writer, keeper) = begin(&core)?;
        let (messages, queue) = mpsc::channel();
        let (alive, finished) = watch::channel(());
        let (most_records, most_bytes) = (core.config.group_records, core.config.group_bytes);
        let work = move || {
            run(writer, &queue, most_records, most_bytes);
            drop(alive);
        };
        std::thread::Builder::new()
            .name("baldur-spool".to_owned())
            .spawn(work)
            .map_err(|error| classify("open", error).not_applied())?;
        let inner = Inner {
            keeper: Arc::new(Mutex::new(keeper)),
            messages,
            records: Arc::new(Semaphore::new(core.config.queue_records)),
            bytes: Arc::new(Semaphore::new(core.config.queue_bytes)),
            closed: AtomicBool::new(false),
            finished,
            core,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Takes over the lanes of processes that died since; answers how many records wait in them. Cheap when there are none.
    ///
    /// A lane that can't be read now is left for the next call.
    ///
    /// # Errors
    ///
    /// When the directory can't be listed, or the spool is closed.
    pub async fn adopt(&self) -> Result<u64, BackendError> {
        self.with_keeper("adopt", Keeper::adopt).await?
    }

    pub(crate) fn core(&self) -> &Core {
        &self.inner.core
    }

    /// The directory of the spool.
    pub fn dir(&self) -> &Path {
        &self.inner.core.root
    }

    pub(crate) async fn with_keeper<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Keeper) -> T + Send + 'static,
    ) -> Result<T, BackendError> {
        let keeper = Arc::clone(&self.inner.keeper);
        let worked = async {
            let mut keeper = keeper.lock_owned().await;
            blocking(operation, move || Ok(work(&mut keeper))).await
        };
        match timeout(self.inner.core.config.answer_timeout, worked).await {
            Ok(worked) => worked,
            Err(_) => Err(late(operation)),
        }
    }

    /// Appends records that go into one write, and waits for the answers.
    pub(crate) async fn submit(&self, batch: Batch) -> Vec<Result<(), SpoolError>> {
        let asked = batch.len();
        let all = |error: BackendError| vec![Err(SpoolError::Backend(error)); asked];
        let answer = match self.enqueue(batch).await {
            Ok(answer) => answer,
            Err(error) => return all(error),
        };
        match timeout(self.inner.core.config.answer_timeout, answer).await {
            Ok(Ok(answers)) => answers,
            // The writer answers everything that it takes. This came after the end of the spool.
            Ok(Err(_)) if self.inner.closed.load(Ordering::Acquire) => all(closed("append")),
            Ok(Err(_)) => all(BackendError::new(BACKEND, "append", BackendKind::Unavailable)),
            Err(_) => all(late("append")),
        }
    }

    async fn enqueue(
        &self,
        batch: Batch,
    ) -> Result<oneshot::Receiver<Vec<Result<(), SpoolError>>>, BackendError> {
        let Inner { core, messages, closed: is_closed, .. } = &*self.inner;
        if is_closed.load(Ordering::Acquire) {
            return Err(closed("append"));
        }
        let room = timeout(core.config.queue_wait, self.room(&batch)).await;
        let Ok(room) = room else {
            let full = "the queue of the writer stayed full for the time that callers wait";
            return Err(said("append", BackendKind::Busy, full).retryable());
        };
        let room = room.ok_or_else(|| closed("append"))?;
        let (reply, answer) = oneshot::channel();
        core.expect(batch.keys());
        let job = Job::new(Arc::clone(core), batch, reply, room);
        // A job that is dropped unread lets go of its keys.
        messages.send(Message::Append(job)).map_err(|_| closed("append"))?;
        Ok(answer)
    }

    /// Waits for a place in the queue; `None` once it is closed.
    async fn room(&self, batch: &Batch) -> Option<[OwnedSemaphorePermit; 2]> {
        let Inner { core, records: by_count, bytes: by_size, .. } = &*self.inner;
        let count = batch.len().min(core.config.queue_records);
        let bytes =
            usize::try_from(batch.bytes()).unwrap_or(usize::MAX).min(core.config.queue_bytes);
        let permits = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let count = Arc::clone(by_count).acquire_many_owned(permits(count)).await.ok()?;
        let bytes = Arc::clone(by_size).acquire_many_owned(permits(bytes)).await.ok()?;
        Some([count, bytes])
    }
}

/// Takes up what is there. The caller blocks as long as that takes.
pub(crate) fn begin(core: &Arc<Core>) -> Result<(Writer, Keeper), BackendError> {
    let mut keeper = Keeper::new(Arc::clone(core));
    keeper.count_aside().map_err(|error| classify("open", error).not_applied())?;
    keeper.adopt()?;
    let mut writer = Writer::new(Arc::clone(core));
    match writer.lane().map_err(|error| classify("open", error).not_applied()) {
        Ok(_) => {}
        Err(full) if full.kind() == BackendKind::Full => {
            tracing::warn!(error = %baldur_core::Chain(&full), "spool.disk_full");
        }
        Err(error) => return Err(error),
    }
    Ok((writer, keeper))
}

fn unfit(unfit: disk::Unfit) -> BackendError {
    match unfit {
        disk::Unfit::Disk(error) => classify("open", error).not_applied(),
        disk::Unfit::Refused(sentence) => said("open", BackendKind::Refused, sentence),
    }
}

fn late(operation: &'static str) -> BackendError {
    BackendError::new(BACKEND, operation, BackendKind::Timeout).retryable()
}

pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, BackendError> + Send + 'static,
) -> Result<T, BackendError> {
    let worked = tokio::task::spawn_blocking(work).await;
    worked.unwrap_or_else(|gone| {
        Err(BackendError::new(BACKEND, operation, BackendKind::Unavailable).because(gone))
    })
}

#[async_trait]
impl Spool for DiskSpool {
    async fn append(&self, captures: Vec<Capture>) -> Vec<Result<(), SpoolError>> {
        let Core { clock, config, .. } = &*self.inner.core;
        let SpoolConfig {
            group_records, group_bytes, queue_records, max_record_bytes: max, ..
        } = *config;
        let (most_records, most_bytes) = (group_records.min(queue_records), group_bytes as u64);
        let at = clock.now();
        let mut answers: Vec<Option<Result<(), SpoolError>>> = Vec::with_capacity(captures.len());
        let room = captures.iter().take(most_records).map(wire::spooled_room).sum::<usize>();
        let mut batch = Batch::with_room(room.min(group_bytes));
        for capture in &captures {
            let bytes = batch.push(capture, at);
            if bytes > max {
                batch.pop();
                let id = capture.op.id;
                answers.push(Some(Err(SpoolError::TooLarge { id, bytes, max })));
                continue;
            }
            if batch.len() > 1 && (batch.bytes() > most_bytes || batch.len() > most_records) {
                let next = batch.split_last();
                let full = std::mem::replace(&mut batch, next);
                fill(&mut answers, self.submit(full).await);
            }
            answers.push(None);
        }
        if !batch.is_empty() {
            fill(&mut answers, self.submit(batch).await);
        }
        answers.into_iter().flatten().collect()
    }

    async fn peek(&self, limit: usize) -> Result<Vec<Spooled>, SpoolError> {
        self.with_keeper("peek", move |keeper| keeper.peek(limit)).await?
    }

    async fn remove(&self, through: SpoolPosition) -> Result<(), SpoolError> {
        self.with_keeper("remove", move |keeper| keeper.remove(through)).await?
    }

    async fn set_aside(&self, record: SpoolPosition, reason: String) -> Result<(), SpoolError> {
        self.with_keeper("set_aside", move |keeper| keeper.set_aside(record, &reason)).await?
    }

    fn holds(&self, key: &OrderKey) -> bool {
        self.inner.core.state().holds(key)
    }

    fn status(&self) -> SpoolStatus {
        self.inner.core.state().status(self.inner.core.config.max_bytes)
    }

    async fn close(&self) {
        let Inner { messages, records, bytes, closed, finished, .. } = &*self.inner;
        if !closed.swap(true, Ordering::AcqRel) {
            // Who waits for a place in the queue is told; who has one is answered.
            records.close();
            bytes.close();
            // It fails only when the writer is gone already.
            let _ = messages.send(Message::Close);
        }
        // It never sends: this ends when the writer has. A disk that hangs must not hang the end of the process.
        let limit = self.inner.core.config.answer_timeout;
        let ended = timeout(limit, finished.clone().changed()).await;
        if ended.is_err() || self.with_keeper("close", Keeper::close).await.is_err() {
            tracing::warn!("spool.close_timed_out");
        }
    }
}

/// Gives the answers of a group to the records that wait for them.
fn fill(answers: &mut [Option<Result<(), SpoolError>>], of_group: Vec<Result<(), SpoolError>>) {
    let waiting = answers.iter_mut().filter(|answer| answer.is_none());
    for (slot, answer) in waiting.zip(of_group) {
        *slot = Some(answer);
    }
}

impl fmt::Debug for DiskSpool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskSpool")
            .field("dir", &self.inner.core.root)
            .field("closed", &self.inner.closed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
