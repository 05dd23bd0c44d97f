//! What waits for the writer, and the loop of its thread.

use std::sync::{Arc, mpsc};

use baldur_core::port::SpoolError;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{batch::Batch, core::Core, writer::Writer};

/// What the writer is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Append these.
    Append(Job),
    /// Finish what came before, and end.
    Close,
}

/// Records that were asked for together. They go into one write.
#[derive(Debug)]
pub(crate) struct Job {
    core: Arc<Core>,
    batch: Batch,
    reply: Option<oneshot::Sender<Vec<Result<(), SpoolError>>>>,
    /// The place in the queue.
    _room: [OwnedSemaphorePermit; 2],
}

impl Job {
    pub(crate) fn new(
        core: Arc<Core>,
        batch: Batch,
        reply: oneshot::Sender<Vec<Result<(), SpoolError>>>,
        room: [OwnedSemaphorePermit; 2],
    ) -> Self {
        Self { core, batch, reply: Some(reply), _room: room }
    }

    fn answer(mut self, answers: Vec<Result<(), SpoolError>>) {
        if let Some(reply) = self.reply.take() {
            // Whoever asked may be gone; the record stays.
            let _ = reply.send(answers);
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.reply.is_some() {
            self.core.drop_expected(self.batch.keys());
        }
    }
}

/// The loop of the writer: takes what waits, writes it, answers. Ends with `Close`, or when the last handle is gone.
pub(crate) fn run(
    mut writer: Writer,
    queue: &mpsc::Receiver<Message>,
    most_records: usize,
    most_bytes: usize,
) {
    let mut next = queue.recv().ok();
    while let Some(message) = next.take() {
        let mut group = Vec::new();
        let (mut records, mut bytes) = (0, 0);
        let mut message = Some(message);
        let mut last = false;
        while let Some(taken) = message.take() {
            match taken {
                Message::Append(job) => {
                    let full = records + job.batch.len() > most_records
                        || bytes + job.batch.bytes() > most_bytes as u64;
                    if full && !group.is_empty() {
                        next = Some(Message::Append(job));
                        break;
                    }
                    records += job.batch.len();
                    bytes += job.batch.bytes();
                    group.push(job);
                    message = queue.try_recv().ok();
                }
                Message::Close => last = true,
            }
        }
        commit(&mut writer, group);
        if last {
            return;
        }
        next = next.or_else(|| queue.recv().ok());
    }
}

fn commit(writer: &mut Writer, mut group: Vec<Job>) {
    let mut batches: Vec<&mut Batch> = group.iter_mut().map(|job| &mut job.batch).collect();
    if batches.is_empty() {
        return;
    }
    let mut answers = writer.commit(&mut batches).into_iter();
    for job in group {
        let own = answers.by_ref().take(job.batch.len()).collect();
        job.answer(own);
    }
}
