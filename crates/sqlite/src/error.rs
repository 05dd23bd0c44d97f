//! What SQLite's failures mean: the one place that translates them.

use std::{borrow::Cow, error::Error, fmt, sync::Arc};

use baldur_core::{BackendError, BackendKind};

/// The name of this backend in errors.
pub(crate) const BACKEND: &str = "sqlite";

/// A step inside the adapter failed. It becomes a [`BackendError`] where the operation has a name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// SQLite or the driver failed.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// A row was read that nobody of us can have written.
    #[error(transparent)]
    Row(#[from] CorruptRow),
}

/// A stored row that can't be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("row {row} of table {table} has a bad value in column {column}")]
pub(crate) struct CorruptRow {
    /// The table.
    pub(crate) table: &'static str,
    /// The column.
    pub(crate) column: &'static str,
    /// The key of the row.
    pub(crate) row: String,
}

/// A refusal of this adapter itself, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Sentence(pub(crate) Cow<'static, str>);

/// How far a failed step had come, which decides what is known about its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No commit was asked for: whatever was done is rolled back, if not now then when the file is next opened.
    BeforeCommit,
    /// The commit itself failed.
    Commit,
}

/// The primary result code of SQLite, without the details of the extended one.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    extended_code(error).map(|code| code & 0xff)
}

fn extended_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

mod code {
    //! Result codes, <https://www.sqlite.org/rescode.html>.
    pub(super) const PERM: i32 = 3;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const NOMEM: i32 = 7;
    pub(super) const READONLY: i32 = 8;
    pub(super) const INTERRUPT: i32 = 9;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const PROTOCOL: i32 = 15;
    pub(super) const TOOBIG: i32 = 18;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const MISMATCH: i32 = 20;
    pub(super) const RANGE: i32 = 25;
    pub(super) const NOTADB: i32 = 26;
    pub(super) const BUSY_RECOVERY: i32 = 261;
}

/// A failure that several callers of one commit share.
#[derive(Clone, Debug)]
struct Shared(Arc<StepError>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for Shared {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// What a step's failure means to whoever asked for `operation`.
pub(crate) fn classify(
    operation: &'static str,
    phase: Phase,
    error: impl Into<Arc<StepError>>,
) -> BackendError {
    let error = error.into();
    let (kind, again, certain) = match &*error {
        StepError::Sql(sql) => {
            let (kind, again) = kind_of(sql);
            let certain = match phase {
                Phase::BeforeCommit => true,
                // After a failed write or sync the commit record may have reached the disk, and a recovery
                // would honour it.
                Phase::Commit => is_certain_at_commit(sql),
            };
            (kind, again, certain)
        }
        StepError::Row(_) => (BackendKind::Corrupt, false, true),
    };
    let mut classified = BackendError::new(BACKEND, operation, kind).because(Shared(error));
    if again {
        classified = classified.retryable();
    }
    if certain {
        classified = classified.not_applied();
    }
    classified
}

fn kind_of(error: &sqlx::Error) -> (BackendKind, bool) {
    match primary_code(error) {
        Some(code::BUSY | code::LOCKED | code::PROTOCOL) => (BackendKind::Busy, true),
        Some(code::FULL) => (BackendKind::Full, true),
        Some(code::READONLY) => (BackendKind::ReadOnly, false),
        Some(code::CORRUPT | code::NOTADB) => (BackendKind::Corrupt, false),
        Some(code::IOERR | code::CANTOPEN | code::NOMEM) => (BackendKind::Unavailable, true),
        Some(code::PERM) => (BackendKind::Unavailable, false),
        Some(code::INTERRUPT) => (BackendKind::Timeout, true),
        Some(code::TOOBIG | code::CONSTRAINT | code::MISMATCH | code::RANGE) => {
            (BackendKind::Refused, false)
        }
        Some(_) => (BackendKind::Other, false),
        None => kind_of_driver(error),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the driver's enum is open")]
fn kind_of_driver(error: &sqlx::Error) -> (BackendKind, bool) {
    match error {
        sqlx::Error::PoolTimedOut => (BackendKind::Busy, true),
        sqlx::Error::PoolClosed => (BackendKind::Closed, false),
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => (BackendKind::Unavailable, true),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => (BackendKind::Corrupt, false),
        _ => (BackendKind::Other, false),
    }
}

/// Whether a commit that failed like this has left no commit record behind.
fn is_certain_at_commit(error: &sqlx::Error) -> bool {
    matches!(
        primary_code(error),
        Some(code::BUSY | code::LOCKED | code::FULL | code::READONLY | code::CONSTRAINT)
    )
}

/// Whether one row is at fault, so that others may go through without it.
pub(crate) fn is_fault_of_row(error: &StepError) -> bool {
    match error {
        StepError::Sql(error) => matches!(
            primary_code(error),
            Some(code::TOOBIG | code::CONSTRAINT | code::MISMATCH | code::RANGE)
        ),
        StepError::Row(_) => true,
    }
}

/// Whether others held what was needed.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    kind_of(error).0 == BackendKind::Busy
}

/// Whether SQLite said busy without having waited: another process recovers the log at this moment.
pub(crate) fn is_recovering(error: &sqlx::Error) -> bool {
    extended_code(error) == Some(code::BUSY_RECOVERY)
}

/// The handle was closed; nothing was changed.
pub(crate) fn closed(operation: &'static str) -> BackendError {
    BackendError::new(BACKEND, operation, BackendKind::Closed).not_applied()
}

/// An error of this adapter with a sentence as its cause; nothing was changed.
pub(crate) fn said(
    operation: &'static str,
    kind: BackendKind,
    sentence: impl Into<Cow<'static, str>>,
) -> BackendError {
    BackendError::new(BACKEND, operation, kind).not_applied().because(Sentence(sentence.into()))
}

#[cfg(test)]
mod tests {
    use baldur_core::{Outcome, Retry};
    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    #[derive(Debug)]
    struct Coded(i32);

    impl fmt::Display for Coded {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "code {}", self.0)
        }
    }

    impl std::error::Error for Coded {}

    impl DatabaseError for Coded {
        fn message(&self) -> &'static str {
            "coded"
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.to_string().into())
        }
        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn coded(code: i32) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Coded(code)))
    }

    #[test]
    fn each_result_code_has_its_meaning() {
        use BackendKind as K;
        use Outcome::{NotApplied, Unknown};
        use Retry::{Backoff, Never};
        let table = [
            (5, K::Busy, Backoff, NotApplied),
            (261, K::Busy, Backoff, NotApplied), // BUSY_RECOVERY
            (517, K::Busy, Backoff, NotApplied), // BUSY_SNAPSHOT
            (6, K::Busy, Backoff, NotApplied),
            (15, K::Busy, Backoff, Unknown),
            (7, K::Unavailable, Backoff, Unknown),
            (8, K::ReadOnly, Never, NotApplied),
            (1032, K::ReadOnly, Never, NotApplied), // READONLY_DBMOVED
            (9, K::Timeout, Backoff, Unknown),
            (10, K::Unavailable, Backoff, Unknown),
            (1034, K::Unavailable, Backoff, Unknown), // IOERR_FSYNC
            (11, K::Corrupt, Never, Unknown),
            (267, K::Corrupt, Never, Unknown), // CORRUPT_VTAB
            (13, K::Full, Backoff, NotApplied),
            (14, K::Unavailable, Backoff, Unknown),
            (3, K::Unavailable, Never, Unknown),
            (18, K::Refused, Never, Unknown),
            (19, K::Refused, Never, NotApplied),
            (2067, K::Refused, Never, NotApplied), // CONSTRAINT_UNIQUE
            (20, K::Refused, Never, Unknown),
            (26, K::Corrupt, Never, Unknown),
            (1, K::Other, Never, Unknown),
        ];
        for (code, kind, retry, at_commit) in table {
            let before = classify("capture", Phase::BeforeCommit, StepError::from(coded(code)));
            assert_eq!((before.kind(), before.retry()), (kind, retry), "code {code}");
            assert_eq!(before.outcome(), NotApplied, "code {code}");
            let commit = classify("capture", Phase::Commit, StepError::from(coded(code)));
            assert_eq!(commit.outcome(), at_commit, "code {code} at commit");
        }
    }

    #[test]
    fn driver_errors_are_told_apart() {
        let table = [
            (sqlx::Error::PoolTimedOut, BackendKind::Busy),
            (sqlx::Error::PoolClosed, BackendKind::Closed),
            (sqlx::Error::WorkerCrashed, BackendKind::Unavailable),
            (sqlx::Error::Decode("bad".into()), BackendKind::Corrupt),
            (sqlx::Error::RowNotFound, BackendKind::Other),
        ];
        for (error, kind) in table {
            assert_eq!(classify("find", Phase::BeforeCommit, StepError::from(error)).kind(), kind);
        }
        let crashed =
            classify("capture", Phase::Commit, StepError::from(sqlx::Error::WorkerCrashed));
        assert_eq!(crashed.outcome(), Outcome::Unknown);
    }

    #[test]
    fn only_errors_of_rows_are_isolated() {
        for code in [18, 19, 20, 25, 2067] {
            assert!(is_fault_of_row(&coded(code).into()), "code {code}");
        }
        for code in [5, 8, 10, 11, 13, 26] {
            assert!(!is_fault_of_row(&coded(code).into()), "code {code}");
        }
    }
}
