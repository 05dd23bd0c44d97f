//! The ports, each method handed to a writer or to a reader.

mod breakers;
mod capture;
mod claims;
mod pace;
mod read;

use baldur_core::BackendError;

use crate::error::closed;

/// The answer to a single item.
fn only<T, E: From<BackendError>>(
    operation: &'static str,
    answers: Vec<Result<T, E>>,
) -> Result<T, E> {
    // One item has one answer; a missing one would mean that nobody took it.
    answers.into_iter().next().unwrap_or_else(|| Err(closed(operation).into()))
}
