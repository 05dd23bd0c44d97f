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
    /// The transaction began with the wrong locks for what it then found.
    #[error("other writers were in the way each time")]
    Again,
    /// The items need more locks than one transaction takes.
    #[error("one transaction can't lock so many order keys")]
    TooManyKeys,
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

/// The operation that a person is told of who can act on it: a program that doesn't start.
const OPENING: &str = "open";

/// The server's own words where there are any: the driver adds others around them, and once more behind.
fn words(error: &StepError) -> String {
    let server = match error {
        StepError::Sql(error) => error.as_database_error(),
        StepError::Row(_) | StepError::Again | StepError::TooManyKeys => None,
    };
    server.map_or_else(|| error.to_string(), |server| server.message().to_owned())
}

/// What helps with a server that does not let us in, or a schema that we may not use.
fn advice(error: &StepError) -> Option<&'static str> {
    let StepError::Sql(error) = error else { return None };
    let Some(state) = sqlstate(error) else {
        return matches!(error, sqlx::Error::Io(_)).then_some(
            "is the server running, and are the host and the port of the store's URL right?",
        );
    };
    Some(match state.as_str() {
        "28000" | "28P01" => {
            "look at the user and the password of the store's URL; without one there, PGPASSWORD and \
             ~/.pgpass are used"
        }
        "3D000" => "create the database, or name another one in the store's URL",
        "42501" => {
            "have the owner of the schema `baldur` migrate it, grant this role what the page \
             `PostgreSQL` of the book tells, and set `store.migrate` to false for it"
        }
        "53300" => "lower `store.max_connections`, or use a pooler",
        _ => return None,
    })
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
        StepError::Again | StepError::TooManyKeys => (BackendKind::Busy, true, true),
    };
    let advice = if operation == OPENING { advice(&error) } else { None };
    let mut classified = BackendError::new(BACKEND, operation, kind);
    classified = match advice {
        Some(advice) => {
            let words = words(&error);
            classified.because(Sentence(format!("{words}; {advice}").into()))
        }
        None => classified.because(Shared(error)),
    };
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
        // Query cancelled: by the statement timeout or by an administrator. Or the transaction took too long.
        "57014" | "25P03" | "25P04" | "57P05" => (BackendKind::Timeout, true),
        // Shutting down, starting up, in recovery.
        "57P01" | "57P02" | "57P03" | "57P04" => (BackendKind::Unavailable, true),
        "25006" => (BackendKind::ReadOnly, false),
        "53100" => (BackendKind::Full, true),
        // Damaged data; a schema that is not ours: a person has to act, as on rights.
        "XX001" | "XX002" | "3F000" | "42P01" | "42703" | "42883" => (BackendKind::Corrupt, false),
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
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => {
            (BackendKind::Unavailable, true)
        }
        sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => (BackendKind::Unavailable, false),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => (BackendKind::Corrupt, false),
        _ => (BackendKind::Other, false),
    }
}

/// Whether a commit that was answered like this certainly did not happen: the server refused it in so many words. A
/// server that went down in the middle, or that gave up waiting for its standby, may have committed it before.
fn is_certain_at_commit(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|state| {
        let doubtful = ["01", "08", "57", "58", "XX"];
        state != "40003" && !doubtful.iter().any(|class| state.starts_with(class))
    })
}

/// Whether the same transaction, done again from its start, may go through at once: another one was in its way.
pub(crate) fn is_conflict(error: &StepError) -> bool {
    match error {
        StepError::Sql(error) => sqlstate(error)
            .is_some_and(|state| matches!(state.as_str(), "40001" | "40P01" | "23505")),
        StepError::Row(_) | StepError::TooManyKeys => false,
        StepError::Again => true,
    }
}

/// Whether a statement gave up waiting for a lock.
pub(crate) fn is_lock_timeout(error: &StepError) -> bool {
    matches!(error, StepError::Sql(error) if sqlstate(error).as_deref() == Some("55P03"))
}

/// Whether the connection can be used again after a rollback: the server refused what was asked, and not how the session
/// is set up. One that is read-only stays so when the server takes writes again, and one that lost a prepared statement, or
/// has one of an older schema, does not find it again.
pub(crate) fn leaves_connection_usable(error: &StepError) -> bool {
    let StepError::Sql(error) = error else { return true };
    sqlstate(error).is_some_and(|state| {
        let benign = ["22", "23", "40", "54", "55", "57"];
        benign.iter().any(|class| state.starts_with(class))
    })
}

/// Whether one row is at fault, so that others may go through without it.
pub(crate) fn is_fault_of_row(error: &StepError) -> bool {
    match error {
        StepError::Sql(error) => sqlstate(error)
            .is_some_and(|state| ["22", "23", "54"].contains(&&state[..2.min(state.len())])),
        StepError::Row(_) => true,
        StepError::Again | StepError::TooManyKeys => false,
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

#[cfg(test)]
mod tests {
    use baldur_core::{Outcome, Retry};
    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    #[derive(Debug)]
    struct Coded(&'static str);

    impl fmt::Display for Coded {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "state {}", self.0)
        }
    }

    impl std::error::Error for Coded {}

    impl DatabaseError for Coded {
        fn message(&self) -> &'static str {
            "coded"
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
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

    fn coded(state: &'static str) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Coded(state)))
    }

    #[test]
    fn each_state_has_its_meaning() {
        use BackendKind as K;
        use Outcome::{NotApplied, Unknown};
        use Retry::{Backoff, Never};
        // The last column is what is known of a commit that was answered so.
        let table = [
            ("40001", K::Busy, Backoff, NotApplied), // serialization_failure
            ("40P01", K::Busy, Backoff, NotApplied), // deadlock_detected
            ("40003", K::Busy, Backoff, Unknown),    // statement_completion_unknown
            ("55P03", K::Busy, Backoff, NotApplied), // lock_not_available
            ("23505", K::Busy, Backoff, NotApplied), // unique_violation
            ("53300", K::Busy, Backoff, NotApplied), // too_many_connections
            ("53100", K::Full, Backoff, NotApplied), // disk_full
            ("53200", K::Unavailable, Backoff, NotApplied), // out_of_memory, also of locks
            ("57014", K::Timeout, Backoff, Unknown), // query_canceled
            ("25P03", K::Timeout, Backoff, NotApplied), // idle_in_transaction_session_timeout
            ("57P01", K::Unavailable, Backoff, Unknown), // admin_shutdown
            ("57P02", K::Unavailable, Backoff, Unknown), // crash_shutdown
            ("57P03", K::Unavailable, Backoff, Unknown), // cannot_connect_now
            ("08006", K::Unavailable, Backoff, Unknown), // connection_failure
            ("08007", K::Unavailable, Backoff, Unknown), // transaction_resolution_unknown
            ("08P01", K::Unavailable, Backoff, Unknown), // protocol_violation
            ("58030", K::Unavailable, Backoff, Unknown), // io_error
            ("25P04", K::Timeout, Backoff, NotApplied), // transaction_timeout
            ("XX000", K::Other, Never, Unknown),     // internal_error
            ("XX001", K::Corrupt, Never, Unknown),   // data_corrupted
            ("01000", K::Other, Never, Unknown),     // warning: committed here, perhaps not there
            ("25006", K::ReadOnly, Never, NotApplied), // read_only_sql_transaction
            ("28P01", K::Unavailable, Never, NotApplied), // invalid_password
            ("3D000", K::Unavailable, Never, NotApplied), // invalid_catalog_name
            ("42501", K::Unavailable, Never, NotApplied), // insufficient_privilege
            ("42P01", K::Corrupt, Never, NotApplied), // undefined_table
            ("42703", K::Corrupt, Never, NotApplied), // undefined_column
            ("22021", K::Refused, Never, NotApplied), // character_not_in_repertoire
            ("23514", K::Refused, Never, NotApplied), // check_violation
            ("54000", K::Refused, Never, NotApplied), // program_limit_exceeded
            ("0A000", K::Other, Never, NotApplied),  // feature_not_supported
        ];
        for (state, kind, retry, at_commit) in table {
            let before = classify("capture", Phase::BeforeCommit, StepError::from(coded(state)));
            assert_eq!((before.kind(), before.retry()), (kind, retry), "state {state}");
            assert_eq!(before.outcome(), NotApplied, "state {state}");
            let commit = classify("capture", Phase::Commit, StepError::from(coded(state)));
            assert_eq!(commit.outcome(), at_commit, "state {state} at commit");
        }
    }

    #[test]
    fn who_opens_a_store_is_told_what_to_do() {
        use baldur_core::Chain;
        let told = |operation, error: sqlx::Error| {
            let error = classify(operation, Phase::BeforeCommit, StepError::from(error));
            Chain(&error).to_string()
        };
        for (state, words) in [
            ("28P01", "the password of the store's URL"),
            ("3D000", "create the database"),
            ("42501", "`store.migrate`"),
            ("53300", "`store.max_connections`"),
        ] {
            let text = told("open", coded(state));
            assert!(text.contains(words) && text.contains(": coded; "), "{text}");
            assert!(!told("capture", coded(state)).contains(words));
        }
        assert!(!told("open", coded("57P03")).contains(';'));
        let refused = || sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into());
        assert!(told("open", refused()).contains("is the server running"));
    }

    #[test]
    fn driver_errors_are_told_apart() {
        let lost = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        let table = [
            (sqlx::Error::PoolTimedOut, BackendKind::Busy),
            (sqlx::Error::PoolClosed, BackendKind::Closed),
            (sqlx::Error::WorkerCrashed, BackendKind::Unavailable),
            (lost(), BackendKind::Unavailable),
            (sqlx::Error::Decode("bad".into()), BackendKind::Corrupt),
            (sqlx::Error::RowNotFound, BackendKind::Other),
        ];
        for (error, kind) in table {
            assert_eq!(classify("find", Phase::BeforeCommit, StepError::from(error)).kind(), kind);
        }
        // The answer was lost, and perhaps the question.
        let commit = classify("capture", Phase::Commit, StepError::from(lost()));
        assert_eq!((commit.outcome(), commit.retry()), (Outcome::Unknown, Retry::Backoff));
    }

    #[test]
    fn what_may_be_wrong_with_a_session_ends_it() {
        for state in ["22021", "23505", "40001", "40P01", "54000", "55P03", "57014"] {
            assert!(leaves_connection_usable(&coded(state).into()), "{state}");
        }
        for state in ["08006", "0A000", "25006", "26000", "42703", "42P05", "XX000"] {
            assert!(!leaves_connection_usable(&coded(state).into()), "{state}");
        }
        assert!(!leaves_connection_usable(&sqlx::Error::WorkerCrashed.into()));
        assert!(leaves_connection_usable(&StepError::Again));
    }

    #[test]
    fn only_errors_of_rows_are_isolated_and_only_conflicts_are_done_again() {
        for state in ["22021", "23514", "54000"] {
            assert!(is_fault_of_row(&coded(state).into()), "{state}");
            assert!(!is_conflict(&coded(state).into()), "{state}");
        }
        for state in ["40001", "40P01", "23505"] {
            assert!(is_conflict(&coded(state).into()), "{state}");
        }
        for state in ["08006", "57014", "53100", "25006", "42P01", "55P03"] {
            let error = StepError::from(coded(state));
            assert!(!is_fault_of_row(&error) && !is_conflict(&error), "{state}");
        }
    }
}
