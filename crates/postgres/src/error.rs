//! What PostgreSQL's failures mean: the one place that translates them.

use std::{borrow::Cow, error::Error, fmt, sync::Arc};

use baldur_core::{BackendError, BackendKind};

/// The name of this backend in errors.
pub(crate) const BACKEND: &str = "postgres";

/// A step inside the adapter failed. It becomes a [`BackendError`] where the operation has a name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// The server or the driver failed.
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
    /// No commit was asked for: whatever was done is rolled back, at the latest when the server notices that the connection
    /// is gone.
    BeforeCommit,
    /// The commit was sent.
    Commit,
}

/// The SQLSTATE of an error that the server told, <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
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

/// What the server or the driver said, and whether trying again can help.
fn kind_of(error: &sqlx::Error) -> (BackendKind, bool) {
    let Some(state) = sqlstate(error) else { return kind_of_driver(error) };
    match state.as_str() {
        // Serialization failure, deadlock, a lock that was not to be had, too many connections, a unique row that another
        // transaction was faster to insert.
        "40001" | "40P01" | "55P03" | "53300" | "23505" => (BackendKind::Busy, true),
        // Query cancelled: by the statement timeout or by an administrator.
        "57014" | "25P03" | "57P05" => (BackendKind::Timeout, true),
        // Shutting down, starting up, in recovery.
        "57P01" | "57P02" | "57P03" | "57P04" => (BackendKind::Unavailable, true),
        "25006" => (BackendKind::ReadOnly, false),
        "53100" => (BackendKind::Full, true),
        "XX001" | "XX002" => (BackendKind::Corrupt, false),
        // Of the schema or of rights: a person has to act.
        "3F000" | "42P01" | "42703" | "42883" => (BackendKind::Corrupt, false),
        "42501" | "28000" | "28P01" | "3D000" => (BackendKind::Unavailable, false),
        other => match other.get(..2) {
            Some("08" | "53" | "58") => (BackendKind::Unavailable, true),
            Some("40") => (BackendKind::Busy, true),
            Some("22" | "23" | "54") => (BackendKind::Refused, false),
            Some(_) | None => (BackendKind::Other, false),
        },
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the driver's enum is open")]
fn kind_of_driver(error: &sqlx::Error) -> (BackendKind, bool) {
    match error {
        sqlx::Error::PoolTimedOut => (BackendKind::Busy, true),
        sqlx::Error::PoolClosed => (BackendKind::Closed, false),
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => (BackendKind::Unavailable, true),
        sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => (BackendKind::Unavailable, false),
        sqlx::Error::Protocol(_) => (BackendKind::Unavailable, true),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => (BackendKind::Corrupt, false),
        _ => (BackendKind::Other, false),
    }
}

/// Whether a commit that was answered like this certainly did not happen: the server refused it in so many words. A
/// server that went down in the middle may have written the commit before.
fn is_certain_at_commit(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|state| {
        !(state.starts_with("08") || state.starts_with("57P") || state.starts_with("XX"))
    })
}

/// Whether the same transaction, done again from its start, may go through at once: another one was in its way.
pub(crate) fn is_conflict(error: &StepError) -> bool {
    match error {
        StepError::Sql(error) => sqlstate(error)
            .is_some_and(|state| matches!(state.as_str(), "40001" | "40P01" | "23505")),
        StepError::Row(_) => false,
    }
}

/// Whether one row is at fault, so that others may go through without it.
pub(crate) fn is_fault_of_row(error: &StepError) -> bool {
    match error {
        StepError::Sql(error) => sqlstate(error)
            .is_some_and(|state| ["22", "23", "54"].contains(&&state[..2.min(state.len())])),
        StepError::Row(_) => true,
    }
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
