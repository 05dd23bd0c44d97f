//! The one writer of a process: a task that owns the writing connection and commits in groups.
//!
//! Callers send what they want through a bounded queue. The writer opens a transaction, takes along what is queued,
//! runs it, commits, and only then answers. While one group commits the next one gathers, so under load
//! many writes share one sync to the disk, and a lonely write waits for nobody.
//!
//! A caller that goes away drops its end of the answer and nothing else: no statement is ever cancelled half-way.

mod capture;
mod claim;
mod coordinate;
mod counters;
mod effects;
mod facet_keys;
mod gone;
mod heads;
mod import;
mod insert;
mod merge;
#[cfg(test)]
pub(crate) mod plans;
mod room;
mod session;
mod settle;
mod update;
mod work;

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;

pub(crate) use capture::Capturing;
pub(crate) use claim::{Claiming, Lapsing};
pub(crate) use coordinate::{Saving, Taking};
pub(crate) use import::Importing;
pub(crate) use session::Session;
pub(crate) use settle::{Acting, Extending, Settling};
pub(crate) use work::{Answers, Batched, Command, Work, Write, WriterSettings};

use crate::error::{Phase, StepError, closed, is_fault_of_row};

/// What the writer did so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) commits: AtomicU64,
    pub(crate) items: AtomicU64,
    pub(crate) isolated: AtomicU64,
    pub(crate) rollbacks: AtomicU64,
}

/// The writer.
pub(crate) struct Writer {
    session: Session,
    max_rows: usize,
    counts: Arc<Counts>,
    /// Came out of the queue while a group was gathered, and has its turn after it.
    held: Option<Command>,
}

impl Writer {
    pub(crate) fn new(session: Session, max_rows: usize, counts: Arc<Counts>) -> Self {
        Self { session, max_rows, counts, held: None }
    }

    /// Serves the queue until it is told to close, or everyone who could ask has gone.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = self.next(&mut commands).await {
            if self.serve(command, &mut commands).await.is_break() {
                break;
            }
        }
        self.session.finish().await;
    }

    async fn next(&mut self, commands: &mut mpsc::Receiver<Command>) -> Option<Command> {
        match self.held.take() {
            Some(held) => Some(held),
            None => commands.recv().await,
        }
    }

    async fn serve(
        &mut self,
        command: Command,
        commands: &mut mpsc::Receiver<Command>,
    ) -> ControlFlow<()> {
        match command {
            Command::Close => {
                commands.close();
                while let Some(late) = commands.recv().await {
                    late.fail(&closed);
                }
                ControlFlow::Break(())
            }
            Command::Settings(reply) => {
                let _ = reply.send(self.session.settings().await);
                ControlFlow::Continue(())
            }
            Command::Write(first) => {
                self.commit_group(first, commands).await;
                ControlFlow::Continue(())
            }
        }
    }

    async fn commit_group(&mut self, first: Write, commands: &mut mpsc::Receiver<Command>) {
        // Waiting for other processes comes first: meanwhile the queue fills, and the group takes it along.
        if let Err(error) = self.session.begin().await {
            first.fail(&work::for_all(Phase::BeforeCommit, error));
            return;
        }
        let mut group = self.gather(first, commands).await;
        let items: usize = group.iter().map(Write::items).sum();
        match self.run_group(&mut group).await {
            Ok(()) => {
                self.counts.commits.fetch_add(1, Ordering::Relaxed);
                self.counts.items.fetch_add(items as u64, Ordering::Relaxed);
                group.into_iter().for_each(Write::answer);
            }
            Err((phase, error)) => {
                self.counts.rollbacks.fetch_add(1, Ordering::Relaxed);
                self.session.roll_back().await;
                let error = work::for_all(phase, error);
                for write in group {
                    write.fail(&error);
                }
            }
        }
    }

    /// Takes along what is queued. Yields while that brings more: callers that were just answered often ask again.
    async fn gather(&mut self, first: Write, commands: &mut mpsc::Receiver<Command>) -> Vec<Write> {
        let mut rows = first.items();
        let mut group = vec![first];
        loop {
            let before = rows;
            while rows < self.max_rows {
                match commands.try_recv() {
                    Ok(Command::Write(write)) => {
                        rows += write.items();
                        write.join(&mut group);
                    }
                    Ok(other @ (Command::Settings(_) | Command::Close)) => {
                        self.held = Some(other);
                        return group;
                    }
                    Err(_) => break,
                }
            }
            if rows == before || rows >= self.max_rows {
                return group;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn run_group(&mut self, group: &mut [Write]) -> Result<(), (Phase, StepError)> {
        let before = |error| (Phase::BeforeCommit, error);
        match self.run_all(group).await {
            Ok(()) => {}
            Err(error) if is_fault_of_row(&error) => {
                self.counts.isolated.fetch_add(1, Ordering::Relaxed);
                self.session.roll_back().await;
                self.session.begin().await.map_err(before)?;
                for write in &mut *group {
                    write.run_each(&mut self.session).await.map_err(before)?;
                }
            }
            Err(error) => return Err(before(error)),
        }
        self.session.commit().await.map_err(|error| (Phase::Commit, error))
    }

    async fn run_all(&mut self, group: &mut [Write]) -> Result<(), StepError> {
        for write in group {
            write.run(&mut self.session).await?;
        }
        Ok(())
    }
}
