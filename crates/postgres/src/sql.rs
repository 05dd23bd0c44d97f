//! Values for statements over lists.

use baldur_core::EntryId;
use sqlx::types::Uuid;

/// Ids as the driver takes them.
pub(crate) fn uuids(ids: impl IntoIterator<Item = EntryId>) -> Vec<Uuid> {
    ids.into_iter().map(uuid).collect()
}

/// An id as the driver takes it.
pub(crate) fn uuid(id: EntryId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

/// A number for PostgreSQL, which has 64 bits with a sign. Larger ones stop at the end.
pub(crate) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A limit for PostgreSQL.
pub(crate) fn limit(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
