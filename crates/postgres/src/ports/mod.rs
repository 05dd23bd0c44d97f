//! The ports, each method handed to a writer or to a reader.

mod admin;
mod breakers;
mod capture;
mod claims;
mod pace;
mod read;

use baldur_core::BackendError;

use crate::{
    error::closed,
    store::PostgresStore,
    writer::{Answers, Queue, Queues, Work},
};

impl PostgresStore {
    /// Writes together with others that wait at the same time.
    async fn submit<W: Work>(
        &self,
        queue: fn(&Queues) -> &Queue<W>,
        items: Vec<W::Item>,
    ) -> Answers<W> {
        // Nothing to do needs no server.
        if items.is_empty() {
            return Vec::new();
        }
        match self.queues(W::OPERATION).await {
            Ok((engine, queues)) => queue(queues).submit(engine, items).await,
            Err(error) => items.iter().map(|_| Err(error.clone().into())).collect(),
        }
    }
}

/// The answer to a single item.
fn only<T, E: From<BackendError>>(
    operation: &'static str,
    answers: Vec<Result<T, E>>,
) -> Result<T, E> {
    // One item has one answer; a missing one would mean that nobody took it.
    answers.into_iter().next().unwrap_or_else(|| Err(closed(operation).into()))
}
