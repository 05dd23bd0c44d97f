//! Advisory locks of a transaction: on keys, whose rows may not be there yet.
//!
//! They are numbers of 64 bits, hashed from the namespace, the kind and the key. Two keys with one number only wait for
//! each other without need. They end with the transaction, so poolers in transaction mode don't matter.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use crate::error::StepError;

/// The number of the lock for a key of namespace `$1`.
macro_rules! lock_number {
    ($kind:literal, $key:literal) => {
        concat!("hashtextextended('baldur.' || ", $kind, " || '.' || ", $key, ", $1::bigint)")
    };
}
pub(crate) use lock_number;

/// Locks dedup keys and order keys, by number, whoever comes.
const KEYS: &str = concat!(
    "SELECT pg_advisory_xact_lock(k.n) FROM (SELECT DISTINCT ",
    lock_number!("v.kind", "v.key"),
    " AS n FROM unnest($2::text[], $3::text[]) v(kind, key) ORDER BY n) k"
);

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeyKind {
    /// Merging captures.
    Dedup,
    /// Entries that come one after the other.
    Order,
}

impl KeyKind {
    /// The word in the number of the lock.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Dedup => "dedup",
            Self::Order => "order",
        }
    }
}

/// How many keys one transaction locks at most: the server's table of locks has room for 64 of each connection by
/// default, and is shared.
pub(crate) const MAX_KEYS: usize = 64;

/// Locks keys until the end of the transaction.
pub(crate) async fn keys(
    conn: &mut PgConnection,
    ns: i32,
    keys: impl IntoIterator<Item = (KeyKind, &str)>,
) -> Result<(), StepError> {
    let (kinds, keys): (Vec<&str>, Vec<&str>) =
        keys.into_iter().map(|(kind, key)| (kind.as_str(), key)).unzip();
    if !keys.is_empty() {
        sqlx::query(KEYS).bind(ns).bind(&kinds[..]).bind(&keys[..]).execute(conn).await?;
    }
    Ok(())
}

/// Cuts a list so that no part has more than [`MAX_KEYS`] different keys, unless one item alone has.
pub(crate) fn chunks<'a, T, K: Ord>(items: &'a [T], keys: impl Fn(&'a T) -> Vec<K>) -> Vec<usize> {
    let mut chunks = Vec::new();
    let (mut held, mut length) = (BTreeSet::new(), 0);
    for item in items {
        let wanted = keys(item);
        let more = wanted.iter().filter(|key| !held.contains(*key)).count();
        if length > 0 && held.len() + more > MAX_KEYS {
            chunks.push(length);
            (held, length) = (BTreeSet::new(), 0);
        }
        held.extend(wanted);
        length += 1;
    }
    if length > 0 {
        chunks.push(length);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_list_has_too_many_keys() {
        let keys = |item: &u64| if *item == 0 { Vec::new() } else { vec![*item, *item + 1] };
        assert_eq!(chunks(&[], keys), Vec::<usize>::new());
        assert_eq!(chunks(&[0; 1000], keys), [1000]);
        assert_eq!(chunks(&[7; 1000], keys), [1000]);
        let each: Vec<u64> = (1..=200).collect();
        // Each has one key of its own, and one that the next has too.
        assert_eq!(chunks(&each, keys), [63, 63, 63, 11]);
        let large = |item: &u64| (item * 100..(item + 1) * 100).collect::<Vec<_>>();
        assert_eq!(chunks(&[1, 2], large), [1, 1]);
    }
}
