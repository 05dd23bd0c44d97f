//! What the disk's failures mean: the one place that translates them.

use std::{borrow::Cow, io};

use baldur_core::{BackendError, BackendKind};

/// The name of this backend in errors.
pub(crate) const BACKEND: &str = "spool";

/// A refusal of the spool itself, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct Sentence(Cow<'static, str>);

/// What a failure of the disk means to whoever asked for `operation`.
#[expect(clippy::wildcard_enum_match_arm, reason = "the kinds of I/O errors are open")]
pub(crate) fn classify(operation: &'static str, error: io::Error) -> BackendError {
    let (kind, again) = match error.kind() {
        // A limit on the size of files fills like a disk does.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            (BackendKind::Full, true)
        }
        io::ErrorKind::ReadOnlyFilesystem => (BackendKind::ReadOnly, false),
        io::ErrorKind::PermissionDenied => (BackendKind::Unavailable, false),
        io::ErrorKind::TimedOut => (BackendKind::Timeout, true),
        _ => (BackendKind::Unavailable, true),
    };
    let classified = BackendError::new(BACKEND, operation, kind).because(error);
    if again { classified.retryable() } else { classified }
}

/// The handle was closed; nothing was changed.
pub(crate) fn closed(operation: &'static str) -> BackendError {
    BackendError::new(BACKEND, operation, BackendKind::Closed).not_applied()
}

/// An error of the spool with a sentence as its cause; nothing was changed.
pub(crate) fn said(
    operation: &'static str,
    kind: BackendKind,
    sentence: impl Into<Cow<'static, str>>,
) -> BackendError {
    BackendError::new(BACKEND, operation, kind).not_applied().because(Sentence(sentence.into()))
}

#[cfg(test)]
mod tests {
    use baldur_core::Retry;

    use super::*;

    #[test]
    fn each_failure_of_the_disk_has_its_meaning() {
        let table = [
            (io::ErrorKind::StorageFull, BackendKind::Full, Retry::Backoff),
            (io::ErrorKind::QuotaExceeded, BackendKind::Full, Retry::Backoff),
            (io::ErrorKind::FileTooLarge, BackendKind::Full, Retry::Backoff),
            (io::ErrorKind::ReadOnlyFilesystem, BackendKind::ReadOnly, Retry::Never),
            (io::ErrorKind::PermissionDenied, BackendKind::Unavailable, Retry::Never),
            (io::ErrorKind::Other, BackendKind::Unavailable, Retry::Backoff),
        ];
        for (of_disk, kind, retry) in table {
            let error = classify("append", io::Error::from(of_disk));
            assert_eq!((error.kind(), error.retry()), (kind, retry), "{of_disk:?}");
        }
    }
}
