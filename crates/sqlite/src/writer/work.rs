//! What the writer is asked to do, and who waits for the answer.

use std::{future::Future, sync::Arc};

use baldur_core::BackendError;
use tokio::sync::oneshot;

use super::{
    capture::Capturing,
    claim::{Claiming, Lapsing},
    coordinate::{Saving, Taking},
    import::Importing,
    session::Session,
    settle::{Acting, Extending, Settling},
};
use crate::error::{Phase, StepError, classify, is_fault_of_row};

/// The answers to a list of items, in its order.
pub(crate) type Answers<W> = Vec<Result<<W as Work>::Answer, <W as Work>::Error>>;

/// A kind of write.
pub(crate) trait Work: Sized + Send + 'static {
    /// What is asked for.
    type Item: Send + Sync + 'static;
    /// What it gives.
    type Answer: Send + 'static;
    /// Why it may fail.
    type Error: From<BackendError> + Send + 'static;

    /// Its name in errors.
    const OPERATION: &'static str;

    /// Does it for all items, one after the other, inside the open transaction. Leaves the transaction complete:
    /// counters and heads agree with the entries when it returns.
    fn run(
        session: &mut Session,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Answers<Self>, StepError>> + Send;

    /// The answer to an item that the database refused for what it is.
    fn refuse(error: BackendError) -> Self::Error {
        error.into()
    }
}

/// One who waits, and for how many answers.
struct Caller<W: Work> {
    items: usize,
    reply: oneshot::Sender<Answers<W>>,
}

/// Writes of one kind that stand next to each other in the queue.
pub(crate) struct Batched<W: Work> {
    items: Vec<W::Item>,
    callers: Vec<Caller<W>>,
    answers: Answers<W>,
}

impl<W: Work> Batched<W> {
    /// The write of one caller, and where its answers arrive.
    pub(crate) fn new(items: Vec<W::Item>) -> (Self, oneshot::Receiver<Answers<W>>) {
        let (reply, answers) = oneshot::channel();
        let callers = vec![Caller { items: items.len(), reply }];
        (Self { items, callers, answers: Vec::new() }, answers)
    }

    fn absorb(&mut self, other: Self) {
        self.items.extend(other.items);
        self.callers.extend(other.callers);
    }

    async fn run(&mut self, session: &mut Session) -> Result<(), StepError> {
        self.answers = W::run(session, &self.items).await?;
        Ok(())
    }

    /// Item by item, so that one which the database refuses fails alone.
    async fn run_each(&mut self, session: &mut Session) -> Result<(), StepError> {
        self.answers.clear();
        for item in &self.items {
            session.savepoint().await?;
            match W::run(session, std::slice::from_ref(item)).await {
                Ok(answers) => {
                    session.release().await?;
                    self.answers.extend(answers);
                }
                Err(error) if is_fault_of_row(&error) => {
                    session.rollback_to_savepoint().await?;
                    let error = classify(W::OPERATION, Phase::BeforeCommit, error);
                    self.answers.push(Err(W::refuse(error)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells everyone. Who went away does not hear it; what was done stays done.
    fn answer(self) {
        let mut answers = self.answers.into_iter();
        for Caller { items, reply } in self.callers {
            let _ = reply.send(answers.by_ref().take(items).collect());
        }
    }

    fn fail(self, error: &dyn Fn(&'static str) -> BackendError) {
        for Caller { items, reply } in self.callers {
            let failed = std::iter::repeat_with(|| Err(error(W::OPERATION).into())).take(items);
            let _ = reply.send(failed.collect());
        }
    }
}

/// What comes through the queue.
pub(crate) enum Command {
    /// Change entries, in a transaction.
    Write(Write),
    /// Say how the writing connection is set up.
    Settings(oneshot::Sender<Result<WriterSettings, BackendError>>),
    /// Finish what was asked for before, and stop.
    Close,
}

impl Command {
    /// Answers with an error, made for the operation that was asked for.
    pub(crate) fn fail(self, error: &dyn Fn(&'static str) -> BackendError) {
        match self {
            Self::Write(write) => write.fail(error),
            Self::Settings(reply) => {
                let _ = reply.send(Err(error("check")));
            }
            Self::Close => {}
        }
    }
}

/// How the writing connection is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WriterSettings {
    pub(crate) journal_mode: String,
    pub(crate) synchronous: i64,
}

/// A write of some kind.
pub(crate) enum Write {
    Capture(Batched<Capturing>),
    Claim(Batched<Claiming>),
    Extend(Batched<Extending>),
    Settle(Batched<Settling>),
    Lapse(Batched<Lapsing>),
    Act(Batched<Acting>),
    Import(Batched<Importing>),
    SaveBreaker(Batched<Saving>),
    TakePermits(Batched<Taking>),
}

macro_rules! each_kind {
    ($write:expr, $batch:ident => $do:expr) => {
        match $write {
            Write::Capture($batch) => $do,
            Write::Claim($batch) => $do,
            Write::Extend($batch) => $do,
            Write::Settle($batch) => $do,
            Write::Lapse($batch) => $do,
            Write::Act($batch) => $do,
            Write::Import($batch) => $do,
            Write::SaveBreaker($batch) => $do,
            Write::TakePermits($batch) => $do,
        }
    };
}

impl Write {
    /// How many items it has.
    pub(crate) fn items(&self) -> usize {
        each_kind!(self, batch => batch.items.len())
    }

    /// Appends it to a group, joined with its neighbour if that is of the same kind.
    pub(crate) fn join(self, group: &mut Vec<Self>) {
        let write = match (group.last_mut(), self) {
            (Some(Self::Capture(last)), Self::Capture(next)) => return last.absorb(next),
            (Some(Self::Extend(last)), Self::Extend(next)) => return last.absorb(next),
            (Some(Self::Settle(last)), Self::Settle(next)) => return last.absorb(next),
            (Some(Self::Act(last)), Self::Act(next)) => return last.absorb(next),
            (Some(Self::Import(last)), Self::Import(next)) => return last.absorb(next),
            (Some(Self::TakePermits(last)), Self::TakePermits(next)) => return last.absorb(next),
            (_, write) => write,
        };
        group.push(write);
    }

    pub(crate) async fn run(&mut self, session: &mut Session) -> Result<(), StepError> {
        each_kind!(self, batch => batch.run(session).await)
    }

    pub(crate) async fn run_each(&mut self, session: &mut Session) -> Result<(), StepError> {
        each_kind!(self, batch => batch.run_each(session).await)
    }

    /// Gives the answers that the run found.
    pub(crate) fn answer(self) {
        each_kind!(self, batch => batch.answer());
    }

    /// Answers everyone with an error, made for the operation that they asked for.
    pub(crate) fn fail(self, error: &dyn Fn(&'static str) -> BackendError) {
        each_kind!(self, batch => batch.fail(error));
    }
}

/// An error for everyone in a group.
pub(crate) fn for_all(phase: Phase, error: StepError) -> impl Fn(&'static str) -> BackendError {
    let error = Arc::new(error);
    move |operation| classify(operation, phase, Arc::clone(&error))
}

/// From the batch of one kind to a write.
macro_rules! into_write {
    ($($work:ident => $variant:ident),* $(,)?) => {
        $(impl From<Batched<$work>> for Write {
            fn from(batch: Batched<$work>) -> Self {
                Self::$variant(batch)
            }
        })*
    };
}

into_write! {
    Capturing => Capture,
    Claiming => Claim,
    Extending => Extend,
    Settling => Settle,
    Lapsing => Lapse,
    Acting => Act,
    Importing => Import,
    Saving => SaveBreaker,
    Taking => TakePermits,
}
