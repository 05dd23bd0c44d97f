//! What a write is.

use std::future::Future;

use baldur_core::BackendError;

use super::session::Session;
use crate::error::StepError;

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

    /// Whether items are done one by one after they waited in vain for a lock, so that only those fail that somebody is in
    /// the way of: for writes that lock what their items name, and wait for nothing that all of them need.
    const APART_WHEN_BLOCKED: bool = false;

    /// Whether an item must not be done after one before it met a database in trouble: the later of two captures with one
    /// order key would come first.
    const IN_ORDER: bool = false;

    /// Does it for all items, one after the other, inside the open transaction. It may be done again from its start,
    /// in a new transaction, when another one was in its way.
    fn run(
        session: &mut Session,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Answers<Self>, StepError>> + Send;

    /// Where a list is cut, so that no transaction takes more locks than the server has room for: how many items each of
    /// its transactions takes. They come one after the other, and each item is answered by the transaction that has it.
    fn chunks(items: &[Self::Item]) -> Vec<usize> {
        vec![items.len()]
    }

    /// The answer to an item that the database refused for what it is.
    fn refuse(error: BackendError) -> Self::Error {
        error.into()
    }
}
